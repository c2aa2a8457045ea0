"""Scores with intervals, per class and as a confusion matrix, on photos that no training step has seen."""

from __future__ import annotations

from typing import Literal

from featherlite.bundle import Bundle
from featherlite.step import Context, StepConfig, step


class EvaluateConfig(StepConfig):
    """Which photos are looked at, and by what."""

    split: Literal["val", "test"] = "test"
    """test: read once, at the end; val: as often as you like"""
    subjects: tuple[str, ...] = ()
    """whose answers are kept beside those of what speaks for the bundle: network, or names of exports"""


@step(needs=("splits", "network", "labels", "preprocess"), reads_test=True)
def evaluate(bundle: Bundle, config: EvaluateConfig, ctx: Context) -> Bundle:
    """The bundle with the scores of what speaks for it (network or artefact) in metrics.json.

    Every subject's answer to each photo stands in predictions/<split>.parquet. However many subjects there are, the
    split is read once.
    """
    from featherlite.data.photos import load_photos
    from featherlite.evaluate.answers import answers_of, predictions_file, write_answers
    from featherlite.evaluate.measure import predict_logits, with_scores

    photos = load_photos(bundle, config.split, ctx)
    subjects = tuple(dict.fromkeys((bundle.subject, *config.subjects)))
    logits = {}
    for subject in subjects:
        ctx.progress.start(f"evaluating {subject} on {config.split}", len(photos.labels))
        logits[subject] = predict_logits(bundle, photos, subject, ctx.progress)
        ctx.progress.finish()
    scored = with_scores(bundle, photos, logits[bundle.subject], bundle.subject)
    names = [label.name for label in bundle.labels]
    answers = {subject: answers_of(logits[subject], photos.labels, names, photos.paths) for subject in subjects}
    return scored.with_files({predictions_file(config.split): write_answers(answers)})
