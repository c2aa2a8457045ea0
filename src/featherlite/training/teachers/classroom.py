"""Teachers made ready: opened, checked, judged and asked, and the photos that they are asked about gathered."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featherlite.bundle import Bundle
from featherlite.data.cache import decoded
from featherlite.data.photos import PhotoSet, load_photos
from featherlite.data.splits import read_splits
from featherlite.errors import RequestError
from featherlite.history import Estimate, wilson
from featherlite.preprocess import Preprocess
from featherlite.step import Context
from featherlite.training.predict import padded_batches, score
from featherlite.training.teachers.answers import BLOCK, Answers, Asking, store_folder
from featherlite.training.teachers.classes import outputs_for, refuse_other_classes, unknown_classes
from featherlite.training.teachers.guidance import Teaching, Voice, soft_labels
from featherlite.training.teachers.reference import Reference, open_teacher, references, taught_on
from featherlite.training.teachers.teacher import Teacher
from featherlite.training.teachers.unlabelled import Joining, joining_photos
from featherlite.training.teachers.views import ViewedPhotos

if TYPE_CHECKING:
    from featherlite.training.teachers.config import TaughtConfig

__all__ = ["Classroom", "teaching_of"]

Floats = NDArray[np.float32]


class Classroom:
    """Teachers and photos of one training.

    Raises:
        RequestError: a teacher is absent, no classifier, of another shape, of other classes where the same are needed,
            or without features where those are.
        BundleError: a teacher's bundle is damaged.
        DataError: the unlabelled photos cannot be used.
    """

    def __init__(self, bundle: Bundle, config: TaughtConfig, ctx: Context, unlabelled: Path | None = None) -> None:
        self._bundle, self._config, self._ctx = bundle, config, ctx
        self._classes = tuple(label.name for label in bundle.labels)
        named = references(config.teacher, config.teacher_labels, ctx.earlier)
        self._teachers = [open_teacher(one, config.teacher_input, bundle.preprocess) for one in named]
        for teacher in self._teachers:
            self._refuse_unfit(teacher)
        splits = read_splits(bundle)
        held_out = {sha256 for sha256, split in zip(splits.sha256, splits.split, strict=True) if split != "train"}
        self._partial = [bool(self._warn_of_leak(one, held_out)) for one in named]
        self._joining: Joining | None = None
        if unlabelled is not None:
            self._joining = joining_photos(bundle, unlabelled, ctx)
        rows = splits.of("train")
        self._known = list(zip(rows.path, rows.sha256, strict=True))
        self._new = list(self._joining.photos) if self._joining else []

    def _refuse_unfit(self, teacher: Teacher) -> None:
        facts, mine, kind = teacher.facts, self._bundle.preprocess, self._config.kind
        theirs = facts.preprocess
        if theirs.width * mine.height != theirs.height * mine.width:
            raise RequestError(
                f"The teacher {facts.name} takes {theirs.width}x{theirs.height} photos and the student "
                f"{mine.width}x{mine.height}: they cannot be shown the same cut.",
                "Take a teacher or a student whose input has the shape of the other's.",
            )
        if kind in ("logits", "both"):
            refuse_other_classes(facts.name, self._classes, facts.labels)
        if kind in ("features", "both") and not facts.features:
            raise RequestError(
                f"No features can be read from the teacher {facts.name}: its last layer with weights cannot be found.",
                "Take kind=own_labels, or kind=logits where the classes are the same.",
            )

    def _warn_of_leak(self, reference: Reference, held_out: set[str]) -> int:
        """How many of the student's held-out photos the teacher was trained on; a warning tells of them."""
        seen = len(taught_on(reference) & held_out)
        if seen:
            self._ctx.warn(
                f"The teacher {reference.text} was trained on {seen} of the {len(held_out)} photos that this network "
                "is to be judged on: what it says of them is no test, and its own top-1 is left out. Split both alike "
                "(the same split.seed and shares)."
            )
        return seen

    def warn_of_size(self, parameters: int) -> None:
        """Warns where the student has more parameters than a teacher."""
        for teacher in self._teachers:
            if parameters > teacher.facts.parameters:
                self._ctx.warn(
                    f"The student has {parameters:,} parameters, its teacher {teacher.facts.name} "
                    f"{teacher.facts.parameters:,}: a smaller teacher seldom helps."
                )

    # ---- photos --------------------------------------------------------------------------------------------------

    def photos(self, preprocess: Preprocess) -> PhotoSet:
        """The train split and the unlabelled photos behind it, whose labels are -1."""
        train = load_photos(self._bundle, "train", self._ctx, preprocess)
        if not self._new:
            return train
        images = self._images(preprocess)
        labels = np.concatenate([train.labels, np.full(len(self._new), -1, np.int64)])
        paths = (*train.paths, *(f"unlabelled/{path}" for path, _ in self._new))
        return PhotoSet(images, labels, paths, train.classes, train.split)

    def _images(self, preprocess: Preprocess) -> Any:
        """Pixels of both, in one; each kind is decoded from under its own root."""
        cache, progress = self._ctx.cache, self._ctx.progress
        decoded(self._known, self._ctx.data, preprocess, cache, progress)
        if self._joining is not None:
            decoded(self._new, self._joining.root, preprocess, cache, progress)
        return decoded([*self._known, *self._new], self._ctx.data, preprocess, cache, progress)

    def _shown(self, teacher: Teacher) -> Preprocess:
        """How a photo is made ready for a teacher in class: cut as the student's, at the teacher's size."""
        theirs = teacher.facts.preprocess
        return Preprocess(
            width=theirs.width,
            height=theirs.height,
            fit=self._bundle.preprocess.fit,
            denoise=theirs.denoise,
            autocontrast=theirs.autocontrast,
        )

    # ---- teaching ------------------------------------------------------------------------------------------------

    def teaching(self) -> Teaching:
        """The guide for `fit`: with fixed views every teacher is asked now, else batch by batch.

        Raises:
            StorageError: the teachers' word does not fit on the disk.
            TrainingError: a teacher answers with what is no number.
        """
        config = self._config
        return Teaching(
            [self._voice(teacher) for teacher in self._teachers],
            config.kind,
            temperature=config.temperature,
            alpha=config.alpha,
            feature_weight=config.feature_weight,
            views=config.views,
            seed=self._ctx.seed,
        )

    def _voice(self, teacher: Teacher) -> Voice:
        config, seed, shown = self._config, self._ctx.seed, self._shown(teacher)
        asking = Asking(
            teacher,
            ViewedPhotos(self._images(shown), config, seed),
            logits=config.kind != "features",
            features=config.kind in ("features", "both"),
        )
        if not config.views:
            return Voice(asking, asking, self._classes, seed)
        contents = [sha256 for _, sha256 in (*self._known, *self._new)]
        folder = store_folder(self._ctx.cache, asking, contents, shown.model_dump_json(), seed)
        answers = Answers(asking, folder, config.views)
        answers.build(self._ctx.progress)
        return Voice(asking, answers, self._classes, seed)

    # ---- how good the teachers are -------------------------------------------------------------------------------

    def judge_teachers(self) -> list[Estimate | None]:
        """Each teacher's top-1 on the validation photos, then all of them averaged.

        None where its classes differ, or where it was trained on photos that the student is judged on.
        """
        said: list[Floats] = []
        judged: list[Estimate | None] = []
        for teacher, partial in zip(self._teachers, self._partial, strict=True):
            val = load_photos(self._bundle, "val", self._ctx, teacher.facts.preprocess)
            if partial or unknown_classes(self._classes, teacher.facts.labels) or not len(val.labels):
                judged.append(None)
                continue
            logits = self._answers(teacher, val.images)[:, outputs_for(self._classes, teacher.facts.labels)]
            judged.append(_estimate(logits, val.labels))
            said.append(soft_labels(logits, self._config.temperature))
        together = len(said) == len(self._teachers)
        return [*judged, _estimate(np.mean(said, axis=0), val.labels) if together else None]

    def _answers(self, teacher: Teacher, images: Any) -> Floats:
        progress, parts = self._ctx.progress, []
        progress.start(f"Judging the teacher {teacher.facts.name}", len(images))
        for _, count, photos in padded_batches(images, BLOCK):
            parts.append(teacher.answer(photos).logits[:count])
            progress.advance(count)
        progress.finish()
        return np.concatenate(parts)

    def facts(self, judged: list[Estimate | None], student_top1: float | None, photos: int) -> dict[str, Any]:
        """What the step records: teachers and student next to each other. Warns where the student is the better one."""
        student = None if student_top1 is None else wilson(round(student_top1 * photos), photos, "val")
        *each, together = judged
        if together is not None and student is not None and together.value < student.value:
            self._ctx.warn(
                f"The teacher is worse than the student: validation top-1 {together.value:.3f} "
                f"({together.low:.3f}..{together.high:.3f}) against {student.value:.3f} "
                f"({student.low:.3f}..{student.high:.3f}) on {photos} photos. Train it better, or take another one."
            )
        teachers = [
            {
                "name": teacher.facts.name,
                "identity": teacher.facts.identity,
                "classes": len(teacher.facts.labels),
                "input_px": max(teacher.facts.preprocess.width, teacher.facts.preprocess.height),
                "parameters": teacher.facts.parameters,
                "features": teacher.facts.features,
                "val_top1": _dumped(one),
            }
            for teacher, one in zip(self._teachers, each, strict=True)
        ]
        return {
            "teachers": teachers,
            "teacher_top1": _dumped(together),
            "student_top1": _dumped(student),
            "kind": self._config.kind,
            "unlabelled": None if self._joining is None else self._joining.facts(),
        }


def _estimate(logits: Floats, labels: NDArray[np.int64]) -> Estimate:
    top1, _ = score(logits, labels)
    return wilson(round(top1 * len(labels)), len(labels), "val")


def _dumped(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else estimate.model_dump()


def teaching_of(bundle: Bundle, config: TaughtConfig, ctx: Context) -> Callable[[], Teaching | None]:
    """Gives the guide of a training that may have teachers; None without them.

    They are opened and checked now, as `Classroom` does, and asked once, where it is first called for.
    """
    return cache(Classroom(bundle, config, ctx).teaching) if config.teacher else lambda: None
