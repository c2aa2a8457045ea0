"""Scores with intervals, per class and as a confusion matrix, on photos that no training step has seen."""

from __future__ import annotations

from typing import Literal

from featherlite.bundle import Bundle
from featherlite.step import Context, StepConfig, step


class EvaluateConfig(StepConfig):
    """Which photos are looked at."""

    split: Literal["val", "test"] = "test"
    """test: read once, at the end; val: as often as you like"""


@step(needs=("splits", "network", "labels", "preprocess"), reads_test=True)
def evaluate(bundle: Bundle, config: EvaluateConfig, ctx: Context) -> Bundle:
    """The bundle with the scores of what speaks for it (network or artefact) in metrics.json."""
    from featherlite.data.photos import load_photos
    from featherlite.evaluate.measure import predict_logits, with_scores

    photos = load_photos(bundle, config.split, ctx)
    ctx.progress.start(f"evaluating on {config.split}", len(photos.labels))
    logits = predict_logits(bundle, photos, bundle.subject, ctx.progress)
    ctx.progress.finish()
    return with_scores(bundle, photos, logits, bundle.subject)
