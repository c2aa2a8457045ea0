"""An artefact in integers (or float16) of the network, quantized after training; int8 takes exactly `pixel - 128`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from featherlite.bundle import Bundle
from featherlite.errors import ExportError
from featherlite.step import Context, StepConfig, step

if TYPE_CHECKING:
    from featherlite.models.artefact import Made
    from featherlite.quantize.post_training import Prepared


class QuantizeConfig(StepConfig):
    """What becomes integers, and how the ranges of the activations are measured."""

    scheme: Literal["int8", "int8-weights", "int16x8", "float16"] = "int8"
    """int8: all of it; int8-weights: weights alone; int16x8: int16 activations; float16: weights at half the size"""
    kernels: Literal["channel", "tensor"] = "channel"
    """a scale for each output channel of a convolution, or one for all of its kernel, as dense kernels always have"""
    ranges: str = "minmax"
    """how the range of an int8 activation is chosen: minmax, percentile, mse or entropy"""
    percentile: float = Field(99.99, ge=50, le=100)
    """percent of the values that ranges=percentile keeps, counted from either end"""
    equalize: bool = False
    """scale neighboring layers' channels against each other first; what kernels=tensor needs most"""
    photos: int = Field(300, ge=1, le=100_000)
    """training photos in the representative set"""
    seed: int | None = Field(None, ge=0)
    """draws the representative set; the run's own seed by default"""
    sets: int = Field(1, ge=1, le=100)
    """representative sets, of consecutive seeds: the artefact is the first one's, its stability the spread over all"""
    correct: bool = True
    """round the kernels first and correct what that shifts, layer by layer"""
    plan_memory: bool = True
    """give TensorFlow Lite Micro a memory plan where that saves arena; not for files that Vela compiles"""

    @field_validator("ranges")
    @classmethod
    def _known(cls, ranges: str) -> str:
        from featherlite.quantize.ranges import methods

        if ranges not in methods():
            raise ValueError(f"one of {', '.join(methods())}, got '{ranges}'")
        return ranges

    @model_validator(mode="after")
    def _does_something(self) -> QuantizeConfig:
        """Refuses settings that the scheme has no use for."""
        idle = {
            "percentile": self.ranges != "percentile",
            "ranges": self.scheme != "int8",
            "sets": self.scheme not in ("int8", "int16x8"),
            "plan_memory": self.scheme in ("int8-weights", "float16"),  # a microcontroller refuses them
        } | dict.fromkeys(("kernels", "equalize", "photos", "seed", "correct"), self.scheme == "float16")
        for key, useless in idle.items():
            if useless and getattr(self, key) != type(self).model_fields[key].default:
                why = f"ranges='{self.ranges}'" if key == "percentile" else f"scheme='{self.scheme}'"
                raise ValueError(f"{key} does nothing with {why}")
        return self


@step(
    needs=("splits", "network", "labels", "preprocess"),
    provides=("export:int8", "export:int8-weights", "export:int16x8", "export:float16"),
)
def quantize(bundle: Bundle, config: QuantizeConfig, ctx: Context) -> Bundle:
    """The bundle with exports/<scheme>, which from now on speaks for it.

    A network that came with quantization.json (`quantize_aware` writes it) becomes int8 in exactly those ranges.
    """
    from featherlite.models.artefact import add_export, make
    from featherlite.quantize.post_training import prepare
    from featherlite.quantize.stability import stability

    seed = ctx.seed if config.seed is None else config.seed
    prepared = prepare(bundle, config, seed, ctx)
    made = make(bundle, config.scheme, ctx, prepared.making)
    if made.refused:
        ctx.warn(f"TensorFlow Lite Micro does not run exports/{config.scheme}: {made.refused}")
    facts = dict(prepared.facts) | _placed(made, prepared)
    if config.sets > 1:
        facts["stability"] = stability(bundle, config, seed, made, str(prepared.facts["representative"]["hash"]), ctx)
        ctx.record("stability", facts["stability"])
    exported = add_export(bundle, config.scheme, ctx, facts=facts, made=made, files=prepared.files)
    return exported.with_files({}, subject=config.scheme)


def _placed(made: Made, prepared: Prepared) -> dict[str, Any]:
    """The fact of which layers have a range of the converter's own, though one was measured.

    Raises:
        ExportError: the range came with the network, which is then not what it was trained to be.
    """
    if prepared.trained and made.absent:
        raise ExportError(
            f"quantization.json gives the layer '{made.absent[0]}' a range, but no artefact stores what it puts out.",
            "Run quantize_aware again: this quantization.json is of another version or was edited.",
        )
    return {"ranges_without_place": list(made.absent)} if made.absent else {}
