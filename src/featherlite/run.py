"""The only executor: walks the steps, measures before and after each, stores every result under its hash.

A result's key is the hash of (parent, step, config, seed, the code that the step reaches); the first parent is the
hash of the photos. So a finished step is never run twice: a killed run goes on where it stopped, and runs that differ
in a later step share what comes before.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from pydantic import ValidationError

from featherlite.bundle import QUANTIZATION, Bundle, storage_guard, write_atomically
from featherlite.code_version import code_version
from featherlite.errors import BundleError, FeatherliteError, RecipeError, RequestError, StorageError
from featherlite.history import Measure, StepReport
from featherlite.keys import cache_folder, photos_key, seed_of, step_key
from featherlite.recipe import PlannedStep, Recipe, config_faults
from featherlite.reference import RUN_NOTE
from featherlite.step import Context, Progress, Silent, StepConfig, load_step
from featherlite.workplace import Stopwatch, work_folder

__all__ = [
    "Run",
    "locked",
    "refuse_lacking",
    "refuse_out_within_data",
    "resolve",
    "run_recipe",
    "run_step",
]

log = logging.getLogger("featherlite")

Listener = Callable[[str, StepReport | None, bool], None]
"""Told of each step: (id, None, False) as it starts, (id, report, cached) once its result is stored."""


@dataclass(frozen=True)
class Run:
    """A finished run: the folder, its last bundle, and how many steps were taken from the store."""

    out: Path
    bundle: Bundle
    reused: int


@dataclass(frozen=True)
class Surroundings:
    """What all steps of a run share."""

    store: Path
    cache: Path
    data: Path | None
    seed: int
    progress: Progress


def run_recipe(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    store: Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    listener: Listener | None = None,
) -> Run:
    """Walks a recipe from photos to its last bundle, which ends up in `out/bundle`; goes on where a former run stopped.

    `store` is where the steps' results are kept, `out/store` by default. Runs that share one, and so each other's
    steps, must not be at work at the same time.

    Raises:
        FeatherliteError: whatever a step raises. Finished steps are kept in the store; `out/bundle` is the last good
            one of this run, unless a former run with other settings left one there, which then stays.
    """
    refuse_lacking(recipe)
    cache, progress = cache or cache_folder(), progress or Silent()
    data = resolve(data, cache, progress)
    refuse_out_within_data(out, data)
    around = Surroundings(store or out / "store", cache, Path(data).absolute(), recipe.seed, progress)
    tell = listener or (lambda _id, _report, _cached: None)
    with storage_guard(out, around.store), locked(out, around.store):
        bundle, key, reused = Bundle(), photos_key(Path(data), cache, progress), 0
        keys: dict[str, str] = {}
        _note(out, recipe, "running")
        try:
            for plan in recipe.steps:
                tell(plan.id, None, False)
                bundle, key, cached = _stored_step(plan, bundle, key, around, keys)
                keys[plan.id] = key
                reused += cached
                tell(plan.id, bundle.history[-1], cached)
        except BaseException as error:
            # What failed is told; a full disk must not put another error in its place.
            with contextlib.suppress(OSError, FeatherliteError):
                _note(out, recipe, "interrupted" if isinstance(error, KeyboardInterrupt) else "failed", error)
                if bundle.files and _goes_on_from(out / "bundle", bundle):
                    _publish(bundle, out / "bundle", around)
            raise
        final = _publish(bundle, out / "bundle", around)
        _note(out, recipe, "done")
    return Run(out, final, reused)


def run_step(
    name: str,
    source: Bundle | None,
    out: Path | None,
    settings: dict[str, Any] | StepConfig,
    *,
    data: Path | None = None,
    seed: int = 0,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Bundle, StepReport]:
    """Runs one step on a bundle; the result is written to `out`, or kept in memory only where none is given.

    `data` is where the photos lie; a bundle remembers it on the machine that made it.

    Raises:
        RecipeError: the settings' faults, all of them.
        RequestError: the bundle lacks what the step needs.
    """
    step = load_step(name)
    try:
        config = settings if isinstance(settings, StepConfig) else step.config.model_validate(settings)
    except ValidationError as error:
        raise RecipeError(f"Step '{name}'", config_faults(error, step.config, name)) from None
    if lack := config.lacking():
        raise RequestError(f"Step '{name}' {lack}")
    if alone := config.earlier():
        raise RequestError(
            f"Step '{name}' names the step '{alone[0]}' of a recipe, and runs by itself here.",
            "Name a bundle's folder.",
        )
    bundle = source or Bundle()
    lacking = [need for need in sorted(step.needs) if not _has(bundle, need)]
    if lacking:
        raise RequestError(
            f"Step '{name}' needs {', '.join(lacking)}, which {bundle.home or 'the bundle'} does not have.",
            "Run a step that provides it first (featherlite steps).",
        )
    remembered = bundle.local().get("data")
    root = data or (Path(remembered) if isinstance(remembered, str) else None)
    if root is not None:
        root = resolve(root, cache or cache_folder(), progress)
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RequestError(f"{out} exists already.", "Give a new folder: a bundle is never changed in place.")
    beside = out.parent if out is not None and out.parent.is_dir() else Path(tempfile.gettempdir())
    with work_folder(beside) as work, storage_guard(out or beside, work):
        around = Surroundings(
            work, cache or cache_folder(), root.absolute() if root else None, seed, progress or Silent()
        )
        plan = PlannedStep(name, step, config)
        key = step_key(bundle.id or "", plan, seed)
        result = _execute(plan, bundle, key, around, work / "step")
        saved = result.save(out if out is not None else work / "result")
        _remember_reads(bundle, _test_reads(bundle, saved))
        if out is None:
            saved = _in_memory(saved)
        if around.data is not None:
            saved.remember(data=str(around.data))
    return saved, saved.history[-1]


def _has(bundle: Bundle, need: str) -> bool:
    return bool(bundle.exports) if need == "export:*" else need in bundle.provides()


def _stored_step(
    plan: PlannedStep, parent: Bundle, parent_key: str, around: Surroundings, earlier: Mapping[str, str]
) -> tuple[Bundle, str, bool]:
    """The step's result from the store, or made now and stored: (bundle, key, whether it was there already).

    `earlier` holds the keys of the steps before it, by id.
    """
    around = replace(around, seed=seed_of(plan, around.seed))
    key = step_key(parent_key, plan, around.seed, earlier)
    place, work = around.store / key, around.store / f"{key}.work"
    if place.exists():
        shutil.rmtree(work, ignore_errors=True)  # left behind where the process was killed right after the saving
        try:
            return _renamed(Bundle.open(place), [*(report.id for report in parent.history), plan.id]), key, True
        except BundleError as error:
            log.warning("stored result of '%s' is damaged and made again: %s", plan.id, error)
            shutil.rmtree(place)
    results = {id_: around.store / stored for id_, stored in earlier.items()}
    saved = _execute(plan, parent, key, around, work, results).save(place)
    _remember_reads(parent, _test_reads(parent, saved))
    shutil.rmtree(work, ignore_errors=True)
    return saved, key, False


def _renamed(stored: Bundle, ids: Sequence[str]) -> Bundle:
    """A stored result whose reports have these ids: a step that was renamed since is another by name alone."""
    history = stored.history
    if [report.id for report in history] == list(ids):
        return stored
    renamed = [report.model_copy(update={"id": id_}) for report, id_ in zip(history, ids, strict=True)]
    lines = b"".join(report.model_dump_json(exclude_none=True).encode() + b"\n" for report in renamed)
    return replace(stored, files=MappingProxyType({**stored.files, "history.jsonl": lines}))


def _execute(
    plan: PlannedStep,
    parent: Bundle,
    key: str,
    around: Surroundings,
    work: Path,
    earlier: Mapping[str, Path] | None = None,
) -> Bundle:
    """Runs the step, measures what came out, and adds the report to its history."""
    scratch, resume = work / "scratch", work / "resume"
    shutil.rmtree(scratch, ignore_errors=True)
    for folder in (scratch, resume):
        folder.mkdir(parents=True, exist_ok=True)
    context = Context(
        around.seed,
        scratch,
        resume,
        around.cache,
        around.data,
        around.progress,
        earlier=earlier or {},
        asked=f"{plan.step.name} {plan.config.model_dump_json(exclude_defaults=True)}",
    )
    started = datetime.now(UTC)
    with Stopwatch(work / "seconds") as watch:
        if "network" in plan.step.needs | plan.step.provides:
            from featherlite.models.framework import start_keras

            start_keras(f"Step '{plan.step.name}'")
        try:
            result = plan.step.function(parent, plan.config, context)
            if QUANTIZATION in parent and QUANTIZATION not in result:
                context.warn(
                    "The network was trained for int8 before this step, which made that stale: train it again."
                )
            before = parent.history[-1].after if parent.history else None
            after = _measure(plan, parent, result, before, context)
        except FeatherliteError as error:
            error.details = context.details
            if "test" in context.opened:  # what it found there is told with the error
                from featherlite.evaluate.measure import known_reads

                _remember_reads(parent, known_reads(parent) + 1)
            raise
    report = StepReport(
        step=plan.step.name,
        id=plan.id,
        key=key,
        config=plan.config.model_dump(mode="json"),
        seed=around.seed,
        code=code_version(),
        started=started.isoformat(timespec="seconds"),
        seconds=round(watch.seconds, 3),
        before=before,
        after=after,
        test_reads=_test_reads(parent, result),
        details=context.details,
    )
    return result.with_report(report)


def _test_reads(parent: Bundle, result: Bundle) -> int:
    """How often the test split was opened so far; kept in the history, since a retrained network drops its metrics."""
    before = parent.history[-1].test_reads if parent.history else 0
    return max(before, int(result.metrics.get("test", {}).get("reads", 0)))


def _remember_reads(source: Bundle, reads: int) -> None:
    """Has the source know of so many readings of the test split, where it knew of fewer.

    What a step made of it may lie elsewhere, or be gone, and the next step from the same source must count on.
    """
    from featherlite.evaluate.measure import known_reads

    if reads > known_reads(source):
        source.remember(test_reads=reads)


def _measure(
    plan: PlannedStep, parent: Bundle, result: Bundle, before: Measure | None, context: Context
) -> Measure | None:
    """What the result weighs and scores: on the photos that the step itself scored, else on validation photos.

    A step that makes networks is measured by its network, also where it undid what it tried and an artefact of the
    former one still stands. A step that left what is measured as it was keeps the former measure.
    """
    if "network" not in result.provides():
        return None
    from featherlite.data.photos import load_photos
    from featherlite.evaluate.measure import measure, measure_verified

    if plan.step.reads_test:
        return measure_verified(result, parent)
    subject = "network" if "network" in plan.step.provides else result.subject
    measured = ("model.keras",) if subject == "network" else ("model.keras", f"exports/{subject}/model.tflite")
    unchanged = all(result.files.get(name) == parent.files.get(name) for name in measured)
    if before is not None and before.subject == subject and unchanged:
        return before
    return measure(replace(result, subject=subject), load_photos(result, "val", context))


def _goes_on_from(place: Path, bundle: Bundle) -> bool:
    """Whether the bundle at `place` is an earlier stage of this one, or none that can be read."""
    try:
        former = [report.key for report in Bundle.open(place).history]
    except BundleError:
        return True
    return [report.key for report in bundle.history][: len(former)] == former


def resolve(data: Path, cache: Path, progress: Progress | None = None) -> Path:
    """Where the photos lie: `data` itself, or the folder of the hub's set that it names, fetched first where it is new.

    Raises:
        FeatherliteError: the set cannot be had.
    """
    from featherlite.data import hub

    return hub.resolve(data, cache, progress)


def refuse_lacking(recipe: Recipe) -> None:
    """Nothing, where every step was given what it cannot begin without.

    Raises:
        RecipeError: what lacks, all of it, before anything has run.
    """
    if faults := [f"{plan.id}: {lack}" for plan in recipe.steps if (lack := plan.config.lacking())]:
        raise RecipeError(f"Recipe '{recipe.name}'", faults)


def refuse_out_within_data(out: Path, data: Path) -> None:
    """Nothing, where results do not land among the photos.

    Raises:
        RequestError: they would.
    """
    if out.absolute().is_relative_to(data.absolute()):
        raise RequestError(
            f"{out} lies within the photos ({data}).",
            "Give an --out elsewhere, so that results are not taken for photos.",
        )


def _publish(bundle: Bundle, place: Path, around: Surroundings) -> Bundle:
    """Makes `place` the given bundle. The former one is moved aside first; the store still holds both.

    All that lies about meanwhile is in one folder, which the next run sweeps where this one is killed.
    """
    from featherlite.evaluate.measure import known_reads

    draft = place.parent / f".{place.name}.{uuid4().hex[:8]}.tmp"
    try:
        saved = Bundle(bundle.files, bundle.subject, bundle.parent).save(draft / "new")
        if place.exists():
            place.rename(draft / "former")
        (draft / "new").rename(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    final = Bundle.open(place)
    assert final.id == saved.id
    final.remember(data=str(around.data))
    _remember_reads(final, known_reads(bundle))
    return final


def _in_memory(bundle: Bundle) -> Bundle:
    """The same bundle with all files read, so that its folder may go."""
    return Bundle({name: bundle.read(name) for name in bundle.files}, bundle.subject, bundle.parent, bundle.id)


def _note(out: Path, recipe: Recipe, status: str, error: BaseException | None = None) -> None:
    """Writes run.json: what was asked, and how far it came."""
    document: dict[str, Any] = {"status": status, "recipe": recipe.to_json(), "code": code_version()}
    document["asked"] = {"set": list(recipe.overrides), "seed": recipe.given_seed}
    if isinstance(error, FeatherliteError):
        document["error"] = error.to_json()
    elif error is not None:
        document["error"] = {"type": type(error).__name__, "message": str(error), "hint": ""}
    write_atomically(out / RUN_NOTE, json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n")


@contextlib.contextmanager
def locked(out: Path, store: Path) -> Iterator[None]:
    """Makes both folders and keeps a second process out of `out`. The lock falls with its process, however that ends.

    What a killed process left half-written is swept.
    """
    try:
        for folder in (out, store):
            folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError:  # a file system that holds no folders of ours, such as /proc
        raise StorageError(f"Cannot write {out}: folders cannot be made there.", "Choose another folder.") from None
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RequestError(
                f"Another run is at work in {out}.", "Wait for it to end, or give another --out folder."
            ) from None
        for stale in out.glob(".bundle.*"):
            shutil.rmtree(stale, ignore_errors=True)
        for stale in store.glob(".*.tmp"):
            shutil.rmtree(stale, ignore_errors=True)
        yield
