"""Artefacts of the network in the asked formats (float32, float16), beside what the bundle already holds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from featherlite.bundle import Bundle
from featherlite.step import Context, StepConfig, step


class ExportConfig(StepConfig):
    """Which artefacts are written."""

    formats: tuple[Literal["float32", "float16"], ...] = Field(("float32",), min_length=1)
    """float32: the network as it is; float16: weights at half the size, computed in float32"""

    @field_validator("formats")
    @classmethod
    def _once_each(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(formats)) != len(formats):
            raise ValueError(f"each format once, got {', '.join(formats)}")
        return formats


@step(needs=("network", "labels", "preprocess"), provides=("export:float32", "export:float16"))
def export(bundle: Bundle, config: ExportConfig, ctx: Context) -> Bundle:
    """The bundle with exports/<format> for each format; what speaks for it stays."""
    from featherlite.models.artefact import add_export

    for name in config.formats:
        bundle = add_export(bundle, name, ctx)
    return bundle
