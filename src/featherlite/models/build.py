"""An untrained network on a bundle: a backbone by name, its weights, and a head for the bundle's classes."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from featherlite.bundle import Bundle, sha256_of
from featherlite.errors import MissingExtraError, RequestError
from featherlite.models.backbones import Order, card_of, check_order
from featherlite.models.heads import HeadOrder, build_head, check_head, settings_of, without_tflm
from featherlite.models.weights import (
    NAMED_WEIGHTS,
    UnreachableError,
    build_backbone,
    check_name,
    check_weights,
    fetch_weights,
    hub_weights,
    weights_files,
)
from featherlite.preprocess import Preprocess
from featherlite.step import Context, StepConfig, step

if TYPE_CHECKING:
    import keras

__all__ = ["BuildConfig", "build"]


class BuildConfig(StepConfig):
    """Which network, at which input size, from which weights."""

    backbone: str = "feathernet"
    """Name of the backbone; `featherlite models` lists them."""
    input_px: int = Field(96, ge=16, le=1024)
    """Side of the square input in pixels."""
    fit: Literal["crop", "squash", "pad"] = "crop"
    """How a photo becomes square: the center cut out, the whole stretched, or the whole on a gray ground."""
    denoise: bool = False
    """Take each pixel's median with its eight neighbors: against the noise of a cheap sensor."""
    autocontrast: bool = False
    """Stretch each photo's levels to 0..255, but for 1% at either end: against haze and dim light."""
    weights: str = "none"
    """'none' (from scratch), 'imagenet' (downloaded), the path of a .weights.h5, .h5, .keras or .safetensors file, or
    hub:owner/name, also with /file.safetensors and @revision (Hugging Face hub)."""
    weights_layout: Literal["auto", "torch", "tensorflow"] = "auto"
    """How safetensors weights were trained: in torch, or converted from TensorFlow (timm's tf_ ones), which pads
    otherwise under the same names. Auto goes by the config.json beside the file, else by 'tf_' in its name."""
    offline: Literal["fail", "scratch"] = "fail"
    """Where weights cannot be downloaded: fail, or go on from scratch with a warning."""
    width: float = Field(1.0, gt=0, le=4)
    """Multiplies the channels of every layer; pretrained weights fit the width that they were trained at."""
    depth: float = Field(1.0, gt=0, le=4)
    """Multiplies the number of blocks (feathernet)."""
    stem_stride: Literal[1, 2, 4] = 2
    """Step of the first convolution (feathernet): 4 keeps the first map small where the arena is tight."""
    cut: str = ""
    """Layer after which the backbone ends, for a smaller network from pretrained weights; empty keeps all of it."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of the pooled features that is dropped in training."""
    head: str = HeadOrder.head
    """Name of the head: 'plain' (one dense layer), 'dense' (a stack of them), or 'cosine' (few photos a class)."""
    head_units: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = HeadOrder.head_units
    """Widths of the dense layers before the logits, each with batch normalization and ReLU (head dense)."""
    head_dropout: float = Field(HeadOrder.head_dropout, ge=0, lt=1)
    """Share that is dropped in training behind each of those layers (head dense)."""
    cosine_scale: float = Field(HeadOrder.cosine_scale, gt=0, le=1000)
    """What the cosines are multiplied by, so the largest logit there can be (head cosine)."""
    pool: str = HeadOrder.pool
    """How the feature map is pooled: 'average', or 'gem' (the generalized mean, which has no kernels on
    microcontrollers)."""
    gem_p: float = Field(HeadOrder.gem_p, ge=1, le=100)
    """Power of the generalized mean: 1 is the average, and the larger, the nearer to the maximum (pool gem)."""
    attention: str = HeadOrder.attention
    """What weighs the places of the feature map: 'none', or 'spatial' (learned; `featherlite attention` shows it)."""
    attention_filters: int = Field(HeadOrder.attention_filters, ge=1, le=8192)
    """Channels from which the weight of a place is computed (attention spatial)."""

    @model_validator(mode="after")
    def _can_be_built(self) -> BuildConfig:
        try:
            check_order(self.order())
            check_name(self.weights)
            check_head(self.head_order())
        except RequestError as error:
            raise ValueError(str(error)) from None
        return self

    def files(self) -> tuple[Path, ...]:
        """The weights' file, where one is named, and the config.json beside it, where that counts."""
        return weights_files(self.weights)

    def order(self) -> Order:
        """What the backbone's family is asked for."""
        px, imagenet = self.input_px, self.weights == "imagenet"
        return Order(card_of(self.backbone), px, px, self.width, self.depth, self.stem_stride, imagenet)

    def head_order(self) -> HeadOrder:
        """What stands behind the backbone."""
        return HeadOrder(**{field.name: getattr(self, field.name) for field in fields(HeadOrder)})


@step(needs=("labels",), provides=("network", "preprocess"))
def build(bundle: Bundle, config: BuildConfig, ctx: Context) -> Bundle:
    """A new bundle with the network that `config` describes, its weights drawn from the context's seed or read."""
    check_weights(config.weights)
    try:
        import keras
    except ImportError:
        raise MissingExtraError("train", "Building a network") from None
    from featherlite.models.network import count_macs, count_parameters, network_bytes

    keras.utils.set_random_seed(ctx.seed)
    backbone = _backbone(config, ctx)
    logits = build_head(backbone.output, len(bundle.labels), config.head_order())
    network = keras.Model(backbone.inputs[0], logits, name=backbone.name)
    ctx.record("backbone", asdict(card_of(config.backbone)))
    _record_head(config.head_order(), ctx)
    ctx.record("parameters", count_parameters(network))
    ctx.record("macs", count_macs(network))
    preprocess = Preprocess(
        width=config.input_px,
        height=config.input_px,
        fit=config.fit,
        denoise=config.denoise,
        autocontrast=config.autocontrast,
    )
    return bundle.with_network(network_bytes(network)).with_json("preprocess.json", preprocess.model_dump())


def _record_head(order: HeadOrder, ctx: Context) -> None:
    """Records the head, and what it needs that TensorFlow Lite Micro lacks: better told now than after the training."""
    missing = without_tflm(order)
    ctx.record("head", settings_of(order) | {"without_tflm": list(missing)})
    if missing:
        ctx.warn(
            f"pool '{order.pool}' runs in LiteRT, but on no microcontroller: TensorFlow Lite Micro has no int8 kernel"
            f" for {' and '.join(missing)}. Where a verify step follows, set its runtimes to litert and"
            " litert_reference."
        )


def _backbone(config: BuildConfig, ctx: Context) -> keras.Model:
    """The backbone with its weights; from scratch where the download fails and the config allows that."""
    try:
        weights, layout = _weights(config, ctx)
        return build_backbone(config.order(), weights=weights, after=config.cut, layout=layout, record=ctx.record)
    except RequestError as error:
        if config.offline == "fail" or not (config.weights == "imagenet" or isinstance(error, UnreachableError)):
            raise
        ctx.warn(
            f"{error.message} This network starts from scratch instead and will be far less accurate on few photos."
            " Give a file with weights=PATH, or run again online with a new --out."
        )
        ctx.record("from_scratch", True)
        order = replace(config.order(), imagenet=False)
        return build_backbone(order, weights="none", after=config.cut)


def _weights(config: BuildConfig, ctx: Context) -> tuple[str, Literal["torch", "tensorflow"] | None]:
    """Where the weights lie, fetched first if the hub has them, and their layout; hash and revision are recorded."""
    weights, layout = config.weights, None if config.weights_layout == "auto" else config.weights_layout
    if (wanted := hub_weights(weights)) is not None:
        fetched = fetch_weights(wanted, ctx.cache, ctx.progress)
        ctx.record("weights_revision", fetched.commit)
        weights, layout = str(fetched.path), layout or fetched.layout
    if weights not in NAMED_WEIGHTS:
        ctx.record("weights_sha256", sha256_of(Path(weights)))
    return weights, layout
