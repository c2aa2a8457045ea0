"""tells species and confidence of photos"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from featherlite.cli.arguments import CommandOptions, ManyPaths, Positional, add_fields, parse, parser
from featherlite.cli.terminal import Terminal
from featherlite.errors import RequestError


class PredictOptions(CommandOptions):
    """What `featherlite predict` takes."""

    bundle: Annotated[Path, Positional()]
    """a bundle, a run's folder, or a .tflite file that featherlite wrote"""
    images: ManyPaths
    """photos, or folders of photos"""
    top: int = Field(5, ge=1, le=1000)
    """how many species to name for each photo"""
    export: str | None = None
    """which artefact to use (default: int8 where there is one)"""
    threads: int = Field(1, ge=1, le=64)
    """threads of the interpreter"""


def main(argv: list[str], terminal: Terminal) -> int:
    """Predicts each photo; returns 1 where one could not be read, which is listed."""
    from featherlite.runtime.predictor import Predictor

    made = parser("featherlite predict", "Tell species and confidence of photos.")
    add_fields(made, PredictOptions)
    values = vars(made.parse_args(argv))
    options = parse(PredictOptions, {key: values[key] for key in PredictOptions.model_fields}, "featherlite predict")
    predictor = Predictor(options.bundle, export=options.export, threads=options.threads)
    results: list[dict[str, object]] = []
    failed = 0
    for path, outcome in predictor.predict_files(options.images, top=options.top):
        if isinstance(outcome, str):
            failed += 1
            results.append({"path": str(path), "error": outcome})
            terminal.show(f"not predicted: {outcome}")
        else:
            predictions = [{"label": label, "probability": probability} for label, probability in outcome]
            results.append({"path": str(path), "predictions": predictions})
            named = ", ".join(f"{label} {probability:.1%}" for label, probability in outcome)
            terminal.show(f"{path}: {named}")
    if not results:
        raise RequestError(
            f"There is no photo in {', '.join(map(str, options.images))}.", "Name photos or their folder."
        )
    terminal.finish({"results": results})
    return 1 if failed else 0
