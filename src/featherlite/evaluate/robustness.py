"""Accuracy in bad weather, poor light and worse: the same photos under each corruption, by severity and by family."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from featherlite.bundle import NETWORK, Bundle
from featherlite.errors import RequestError
from featherlite.history import Estimate, wilson
from featherlite.step import MAX_SEED, Context, StepConfig, step

if TYPE_CHECKING:
    from featherlite.data.corrupt import Corruption
    from featherlite.data.photos import PhotoSet
    from featherlite.preprocess import Preprocess

Hits = NDArray[np.bool_]
Job = tuple["Corruption", int]

LOOKED_AT = 200
"""Photos among which the example is chosen."""
EXAMPLE_SEVERITY = 3
"""Of the severities measured, the one nearest to this is shown on the example."""


class RobustnessConfig(StepConfig):
    """Which corruptions are measured, how strong, and on which photos."""

    split: Literal["val", "test"] = "val"
    """val: as often as you like; test: counts as a reading of the test split"""
    corruptions: tuple[str, ...] | None = None
    """names of corruptions; all by default"""
    severities: tuple[Annotated[int, Field(ge=1, le=5)], ...] = Field((1, 3, 5), min_length=1)
    """from 1 (slight) to 5 (severe)"""
    max_photos: int = Field(500, ge=1)
    """photos of the split to use at most, drawn at random"""
    seed: int = Field(0, ge=0, le=MAX_SEED)
    """what is drawn; with the same seed two bundles of one input size face the same drops and flakes"""


@step(needs=("splits", "network", "labels", "preprocess"), reads_test=True)
def robustness(bundle: Bundle, config: RobustnessConfig, ctx: Context) -> Bundle:
    """The bundle with robustness.json: top-1 of its subject under each corruption, and with its scores on the split.

    Photos are corrupted at the network's input size, so that strengths are relative to what it sees, and before their
    noise is reduced and their levels are stretched where the preprocessing does so.

    Raises:
        RequestError: there is no such corruption, or the split has no photos.
    """
    from featherlite.data.photos import PhotoSet, load_photos
    from featherlite.evaluate.measure import predict_logits, with_scores
    from featherlite.evaluate.metrics import ranking

    chosen = _chosen_corruptions(config)
    severities = tuple(sorted(set(config.severities)))
    photos = load_photos(bundle, config.split, ctx)
    if not len(photos):
        raise RequestError(f"The {config.split} split has no photos to corrupt.", "Split with a larger share.")
    ctx.progress.start(f"clean photos of {config.split}", len(photos))
    logits = predict_logits(bundle, photos, bundle.subject, ctx.progress)
    ctx.progress.finish()
    scored = with_scores(bundle, photos, logits, bundle.subject)

    rows = _drawn(len(photos), config)
    clean = ranking(logits[rows], 1)[:, 0]
    labels = photos.labels[rows]
    jobs = [(one, severity) for one in chosen for severity in severities]
    # All corruptions run as one long set of photos that are made as they are read: the network is loaded once.
    plain = bundle.preprocess.plain
    source = photos if plain == bundle.preprocess else load_photos(bundle, config.split, ctx, plain)
    corrupted = cast("Any", _CorruptedPhotos(source, rows, jobs, config.seed, bundle.preprocess))
    many = PhotoSet(corrupted, np.tile(labels, len(jobs)), (), photos.classes, photos.split)
    ctx.progress.start(f"{len(chosen)} corruptions x {len(severities)} severities", len(many))
    answers = ranking(predict_logits(bundle, many, bundle.subject, ctx.progress), 1)[:, 0].reshape(len(jobs), -1)
    ctx.progress.finish()

    example = _example(photos.images[rows[:LOOKED_AT]], clean == labels)
    document = _Report(photos, rows, clean, dict(zip(jobs, answers, strict=True)), example).document(bundle, config)
    entries = document["corruptions"]
    spoilt = [entry["name"] for entry in entries if entry["trained_on"] and entry["family"] == "held_out"]
    if spoilt:
        ctx.warn(
            f"Training used {', '.join(spoilt)}, of the family that is to be held out: left out of its mean, which "
            "would claim too much."
        )
    ctx.record("robustness", {"n": len(rows), "clean": document["clean"], "families": document["families"]})
    return scored.with_json("robustness.json", document)


def _chosen_corruptions(config: RobustnessConfig) -> list[Corruption]:
    from featherlite.data.corrupt import corruptions, load_corruption

    names = corruptions() if config.corruptions is None else config.corruptions
    wanted = {load_corruption(name).name for name in names}
    if not wanted:
        raise RequestError("No corruption was chosen.", f"There are: {', '.join(corruptions())}.")
    return [one for name, one in corruptions().items() if name in wanted]


def _drawn(count: int, config: RobustnessConfig) -> NDArray[np.int64]:
    """The photos to use, a simple random sample in the order of the split: int64 [n]."""
    if count <= config.max_photos:
        return np.arange(count)
    return np.sort(np.random.default_rng(config.seed).choice(count, config.max_photos, replace=False))


def _example(images: NDArray[np.uint8], right: Hits) -> int:
    """The photo that shows best what corruptions do: named rightly when clean (bool [n]), neither dark nor bright.

    `images` are the first of the n, uint8 [at most n, h, w, 3].
    """
    off = np.abs(images.mean(axis=(1, 2, 3)) - 118)  # the middle gray of photography, 18% of the light
    return int(np.argmin(np.where(right[: len(off)], off, off + 255)))


class _CorruptedPhotos:
    """Every photo under every job, the jobs one after another, made as they are read: uint8 [jobs * n, h, w, 3].

    `photos` are the plain ones, neither denoised nor stretched.
    """

    def __init__(
        self, photos: PhotoSet, rows: NDArray[np.int64], jobs: Sequence[Job], seed: int, preprocess: Preprocess
    ) -> None:
        self._photos, self._rows, self._jobs, self._seed, self._preprocess = photos, rows, jobs, seed, preprocess
        self._count = len(rows) * len(jobs)
        self.shape = (self._count, *photos.images.shape[1:])

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, where: slice) -> NDArray[np.uint8]:
        from featherlite.data.pool import in_order

        return np.stack(list(in_order(self._made, range(*where.indices(len(self))))))

    def _made(self, index: int) -> NDArray[np.uint8]:
        from featherlite.data.corrupt import corrupted_input

        job, place = divmod(index, len(self._rows))
        one, severity = self._jobs[job]
        row = int(self._rows[place])
        photo = self._photos.images[row : row + 1][0]
        return corrupted_input(photo, one, severity, self._seed, self._preprocess)


class _Report:
    """What robustness.json says, from the answers int64 [n] to clean photos and to those of each job."""

    def __init__(
        self,
        photos: PhotoSet,
        rows: NDArray[np.int64],
        clean: NDArray[np.int64],
        answers: Mapping[Job, NDArray[np.int64]],
        example: int,
    ) -> None:
        self.photos, self.rows, self.answers, self.example = photos, rows, answers, example
        self.labels = photos.labels[rows]
        self.clean: Hits = clean == self.labels
        self.hits: dict[Job, Hits] = {job: found == self.labels for job, found in answers.items()}

    def document(self, bundle: Bundle, config: RobustnessConfig) -> dict[str, Any]:
        """The document, in JSON's types."""
        from featherlite.data.corrupt import FAMILIES
        from featherlite.data.splits import read_splits

        severities = sorted({severity for _, severity in self.hits})
        shown: int = min(severities, key=_far_from_example)
        trained_on = _trained_on(bundle)
        chosen = list(dict.fromkeys(one for one, _ in self.hits))
        entries = [self._entry(one, severities, shown, one.name in trained_on) for one in chosen]
        families = {}
        for family in FAMILIES:
            fair = [
                one for one in chosen if one.family == family and not (family == "held_out" and one.name in trained_on)
            ]
            if fair:
                families[family] = {"corruptions": len(fair), **self._mean(fair, severities)}
        return {
            "split": config.split,
            "split_hash": read_splits(bundle).hash,
            "split_photos": len(self.photos),
            "n": len(self.rows),
            "subject": bundle.subject,
            "model": model_of(bundle),
            "input_px": [bundle.preprocess.width, bundle.preprocess.height],
            "seed": config.seed,
            "severities": severities,
            "clean": self._estimate(self.clean).model_dump(),
            "families": families,
            "corruptions": entries,
            "example": {
                "path": self.photos.paths[self.rows[self.example]],
                "label": self._name(int(self.labels[self.example])),
                "severity": shown,
                "right": bool(self.clean[self.example]),
            },
        }

    def _entry(self, one: Corruption, severities: Sequence[int], shown: int, trained_on: bool) -> dict[str, Any]:
        from featherlite.evaluate.metrics import paired_loss

        scores: list[dict[str, Any]] = []
        values: list[float] = []
        for severity in severities:
            hits = self.hits[one, severity]
            drop, beyond_chance = paired_loss(self.clean, hits)
            top1 = self._estimate(hits)
            values.append(top1.value)
            scores.append(
                {"severity": severity, "top1": top1.model_dump(), "drop": drop, "beyond_chance": beyond_chance}
            )
        return {
            "name": one.name,
            "family": one.family,
            "kind": one.kind,
            "summary": one.summary,
            "trained_on": trained_on,
            "scores": scores,
            "mean": float(np.mean(values)),
            "example_answer": self._name(int(self.answers[one, shown][self.example])),
        }

    def _mean(self, chosen: Iterable[Corruption], severities: Sequence[int]) -> dict[str, Any]:
        """Mean top-1 over corruptions and severities, with an interval for the photos, and the drop against clean.

        The interval is Wilson's for n photos, widened to whole hits. The mean of several answers to one photo varies no
        more than one answer, so it is rather too wide than too narrow. It says nothing of corruptions not measured.
        """
        every = np.stack([self.hits[one, severity] for one in chosen for severity in severities])
        value, n = float(every.mean()), len(self.rows)
        whole = value * n
        low = wilson(math.floor(whole), n).low
        high = wilson(min(n, math.ceil(whole)), n).high
        mean = Estimate(value=value, low=low, high=high, n=n, split=self.photos.split)
        return {"mean": mean.model_dump(), "drop": float(self.clean.mean()) - value}

    def _estimate(self, hits: Hits) -> Estimate:
        return wilson(int(hits.sum()), len(hits), self.photos.split)

    def _name(self, number: int) -> str:
        return self.photos.classes[number]


def _far_from_example(severity: int) -> tuple[int, int]:
    return abs(severity - EXAMPLE_SEVERITY), severity


def model_of(bundle: Bundle) -> str:
    """sha256 in hex of what speaks for the bundle: its network's file, or its artefact's."""
    import hashlib

    name = NETWORK if bundle.subject == "network" else f"exports/{bundle.subject}/model.tflite"
    return hashlib.sha256(bundle.read(name)).hexdigest()


def _trained_on(bundle: Bundle) -> set[str]:
    """The corruptions that training used: those that a setting of a step that augments photos names or is named by."""
    from featherlite.data.corrupt import corruptions

    found: set[str] = set()
    for report in bundle.history:
        if report.config.get("augment"):  # 0 switches all of it off, and other steps have no such setting
            unused = () if report.config.get("weather", True) else ("weather_kinds",)
            found |= set(_words({key: value for key, value in report.config.items() if key not in unused}))
    return found & set(corruptions())


def _words(value: Any) -> Iterable[str]:
    """Every text within a JSON value, and the keys of what is neither empty nor zero."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if inner:
                yield key
                yield from _words(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _words(inner)
