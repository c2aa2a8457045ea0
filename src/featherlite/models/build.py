"""An untrained network on a bundle: a backbone by name, its weights, and a head for the bundle's classes."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from featherlite.bundle import Bundle, sha256_of
from featherlite.errors import MissingExtraError, RequestError
from featherlite.models.backbones import Order, card_of, check_order
from featherlite.models.heads import head_of
from featherlite.preprocess import Preprocess
from featherlite.step import Context, StepConfig, step

if TYPE_CHECKING:
    import keras

__all__ = ["BuildConfig", "build"]

NAMED_WEIGHTS = ("none", "imagenet")
"""What `weights` may be besides the path of a file."""


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
    """'none' (from scratch), 'imagenet' (downloaded), or the path of a .weights.h5, .h5 or .keras file."""
    offline: Literal["fail", "scratch"] = "fail"
    """Where the ImageNet weights cannot be downloaded: fail, or go on from scratch with a warning."""
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
    head: str = "plain"
    """Name of the head."""

    @model_validator(mode="after")
    def _can_be_built(self) -> BuildConfig:
        try:
            check_order(self.order())
            head_of(self.head)
        except RequestError as error:
            raise ValueError(str(error)) from None
        return self

    def files(self) -> tuple[Path, ...]:
        """The weights' file, where one is named."""
        return () if self.weights in NAMED_WEIGHTS else (Path(self.weights),)

    def order(self) -> Order:
        """What the backbone's family is asked for."""
        px, imagenet = self.input_px, self.weights == "imagenet"
        return Order(card_of(self.backbone), px, px, self.width, self.depth, self.stem_stride, imagenet)


@step(needs=("labels",), provides=("network", "preprocess"))
def build(bundle: Bundle, config: BuildConfig, ctx: Context) -> Bundle:
    """A new bundle with the network that `config` describes, its weights drawn from the context's seed or read."""
    _check_weights_file(config.weights)
    try:
        import keras
    except ImportError:
        raise MissingExtraError("train", "Building a network") from None
    from featherlite.models.network import count_macs, count_parameters, network_bytes

    keras.utils.set_random_seed(ctx.seed)
    backbone = _backbone(config, ctx)
    logits = head_of(config.head)(backbone.output, len(bundle.labels), config.dropout)
    network = keras.Model(backbone.inputs[0], logits, name=backbone.name)
    ctx.record("backbone", asdict(card_of(config.backbone)))
    ctx.record("parameters", count_parameters(network))
    ctx.record("macs", count_macs(network))
    if (digest := _digest(config.weights)) is not None:
        ctx.record("weights_sha256", digest)
    preprocess = Preprocess(
        width=config.input_px,
        height=config.input_px,
        fit=config.fit,
        denoise=config.denoise,
        autocontrast=config.autocontrast,
    )
    return bundle.with_network(network_bytes(network)).with_json("preprocess.json", preprocess.model_dump())


def _backbone(config: BuildConfig, ctx: Context) -> keras.Model:
    """The backbone with its weights; from scratch where the download fails and the config allows that."""
    from featherlite.models.weights import build_backbone

    try:
        return build_backbone(config.order(), weights=config.weights, after=config.cut)
    except RequestError as error:
        if config.weights != "imagenet" or config.offline == "fail":
            raise
        ctx.warn(
            f"{error.message} This network starts from scratch instead and will be far less accurate on few photos."
            " Give a file with weights=PATH, or run again online with a new --out."
        )
        order = replace(config.order(), imagenet=False)
        return build_backbone(order, weights="none", after=config.cut)


def _check_weights_file(weights: str) -> None:
    """Refuses a missing file before Keras takes its seconds to load."""
    if weights not in NAMED_WEIGHTS and not Path(weights).is_file():
        raise RequestError(
            f"weights: there is no file {weights}.", "Give 'none', 'imagenet' or the path of a weights file."
        )


def _digest(weights: str) -> str | None:
    return None if weights in NAMED_WEIGHTS else sha256_of(Path(weights))
