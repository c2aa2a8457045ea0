"""A whole study: every row trained in a process of its own, all of them timed side by side, and compared.

What is done is kept: a study that was stopped, or killed, goes on where it was, and its comparison of what is done is
always there to be read.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from featherlite.bundle import storage_guard, write_atomically
from featherlite.comparison import Comparison
from featherlite.errors import FeatherliteError, RequestError, UnexpectedError
from featherlite.evaluate.cost.latency import METHOD, Timed, Timings, time_artefacts
from featherlite.evaluate.cost.machine import machine_facts
from featherlite.keys import cache_folder, photos_key, recipe_keys
from featherlite.recipe import Recipe
from featherlite.report.comparison_page import write as write_page
from featherlite.run import locked, refuse_lacking, refuse_out_within_data, resolve
from featherlite.step import Progress, Silent
from featherlite.study.crew import Crew
from featherlite.study.plan import Job, Study
from featherlite.study.result import RESULT, ChangedError, Order, Result, read_result
from featherlite.study.tables import write_comparison
from featherlite.study.tail import without
from featherlite.study.tally import Surroundings, artefact_name, tally

__all__ = ["walk_study"]

log = logging.getLogger("featherlite")

TIMINGS = "timings.json"
TIMED = ("float32", "int8")
Results = dict[str, dict[tuple[int, int], tuple[Result, bytes]]]


def walk_study(
    study: Study,
    data: Path,
    out: Path,
    *,
    only: Sequence[str] = (),
    rounds: int = 5,
    command: str = "",
    cache: Path | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> Comparison:
    """The comparison of a study's rows on these photos, also written into `out`; goes on where a former one stopped.

    `only` names the rows to work on; what was finished of others before stays in the comparison. `rounds` is how often
    each artefact is timed (see `time_artefacts`); 0 leaves the timing out. `tell` gets sentences about what goes on.

    Raises:
        RequestError: the photos cannot be used, `only` names no row, or another process is at work in `out`.
        ChangedError: the photos, the code or a file changed meanwhile; the comparison of what is done is written.
        KeyboardInterrupt: the user stopped it; the comparison of what is done is written.
        StorageError: the disk refuses; finished rows are kept.
    """
    progress, cache = progress or Silent(), cache or cache_folder()
    jobs = study.jobs(only)
    data = resolve(data, cache, progress).absolute()
    refuse_out_within_data(out, data)
    for job in jobs:
        refuse_lacking(job.recipe)
    with storage_guard(out), locked(out, out / "store"):
        photos = photos_key(data, cache, progress)
        keys = {job.place: recipe_keys(job.recipe, photos) for job in study.jobs()}
        crew = Crew(tell or (lambda _: None), progress)
        walk = _Walk(study, data, out.absolute(), cache, photos, keys, crew, command)
        try:
            walk.train(jobs)
            timings = walk.time(rounds, progress)
        except KeyboardInterrupt:
            walk.compare(walk.former_timings())
            raise
        return walk.compare(timings)


@dataclass(frozen=True)
class _Walk:
    """One study on its way through one folder."""

    study: Study
    data: Path
    out: Path
    cache: Path
    photos: str
    keys: Mapping[Path, tuple[str, ...]]
    """of the steps of every job, as they were when the study began"""
    crew: Crew
    command: str

    def train(self, jobs: Sequence[Job]) -> None:
        """Does every job that is not done; one that failed before is tried again."""
        fresh = [job for job in jobs if not self._is_done(job)]
        if fresh:
            self._prelude()
        for number, job in enumerate(jobs, start=1):
            label = f"[{number}/{len(jobs)}] {job.called}"
            if job not in fresh:
                self.crew.tell(f"{label}: done before")
                continue
            self.crew.tell(label)
            result, _ = self.crew.carry_out(self._order(job))
            if result.failure is not None and result.failure.type == ChangedError.__name__:
                (self.out / job.place / RESULT).unlink(missing_ok=True)  # the row has not failed, it was not begun
                self.compare(self.former_timings())
                raise ChangedError(result.failure.message, result.failure.hint)
            if result.failure is not None:
                self.crew.tell(f"  failed: {result.failure.message}")
            self.compare(self.former_timings())

    def time(self, rounds: int, progress: Progress) -> Timings:
        """Times the artefacts of all rows that are done, all together, unless that was done before and none failed."""
        artefacts = self._artefacts()
        asked = self._timing_facts(artefacts, rounds)
        if not rounds or not artefacts:
            return Timings()
        stored = _read_json(self.out / TIMINGS)
        if stored.get("asked") != asked or stored.get("failed"):
            self.crew.tell(f"Timing {len(artefacts)} artefacts")
            timings = time_artefacts(artefacts, rounds=rounds, progress=progress)
            stored = {"asked": asked, **asdict(timings)}
            write_atomically(self.out / TIMINGS, json.dumps(stored, indent=1).encode() + b"\n")
        return _timings(stored)

    def compare(self, timings: Timings) -> Comparison:
        """The comparison of what there is, written: the tables and the page, so that one is never without the other."""
        around = Surroundings(machine_facts(), timings, self.command)
        comparison = tally(self.study, self._results(), around)
        write_comparison(comparison, self.out)
        try:
            write_page(comparison, self.out)
        except (FeatherliteError, OSError):
            raise
        except Exception as error:  # no flaw of the page may end what trains for days
            log.error("The page was not written: %s: %s", type(error).__name__, error)
        return comparison

    def former_timings(self) -> Timings:
        """The timings of artefacts that are still the same; none where one of them is new."""
        stored = _read_json(self.out / TIMINGS)
        asked = stored.get("asked", {})
        wanted = self._timing_facts(self._artefacts(), asked.get("rounds", 0)) if isinstance(asked, dict) else None
        return _timings(stored) if asked and asked == wanted else Timings()

    def _prelude(self) -> None:
        """Does the steps that all rows share; without them no row can be had.

        Raises:
            RequestError: one of them fails over the photos.
            UnexpectedError: it fails over something else.
        """
        recipe = self.study.prelude()
        if not recipe.steps:
            return
        self.crew.tell("Steps that all rows share")
        keys = recipe_keys(recipe, self.photos)
        result, _ = self.crew.carry_out(self._written(recipe, keys, keys[-1], Path("shared"), measured=False))
        if result.failure is not None:
            kind = RequestError if result.failure.exit_code == 2 else UnexpectedError
            raise kind(result.failure.message, result.failure.hint)

    def _is_done(self, job: Job) -> bool:
        found = read_result(self.out / job.place)
        return found is not None and found[0].status == "done" and found[0].key == self.keys[job.place][-1]

    def _order(self, job: Job) -> Order:
        key_without = recipe_keys(without(job.recipe, job.optional), self.photos)[-1]
        return self._written(
            job.recipe, self.keys[job.place], key_without, job.place, optional=job.optional, tail=job.tail
        )

    def _written(
        self,
        recipe: Recipe,
        keys: tuple[str, ...],
        key_without: str,
        place: Path,
        *,
        optional: str = "",
        tail: int = 0,
        measured: bool = True,
    ) -> Order:
        return Order(
            photos=self.photos,
            keys=keys,
            key_without=key_without,
            name=recipe.name,
            seed=recipe.seed,
            steps=tuple(recipe.to_json()["steps"]),
            own_seeds=tuple(plan.seed for plan in recipe.steps),
            optional=optional,
            tail=tail,
            shared=self.study.shared if measured else 0,
            measured=measured,
            data=str(self.data),
            out=str(self.out / place),
            store=str(self.out / "store"),
            cache=str(self.cache.absolute()),
        )

    def _results(self) -> Results:
        """What there is of all rows, whether this call worked on them or a former one."""
        results: Results = {}
        for job in self.study.jobs():
            found = read_result(self.out / job.place)
            if found is not None and found[0].key == self.keys[job.place][-1]:
                results.setdefault(job.name, {})[job.seed, job.fold or 0] = found
        return results

    def _artefacts(self) -> dict[str, Path]:
        """The artefacts to time, of each row's first seed and fold that is done."""
        places = {(job.name, job.seed, job.fold or 0): job.place for job in self.study.jobs()}
        results, found = self._results(), {}
        for entry in self.study.entries:
            done = [(seed, fold) for (seed, fold), (result, _) in results.get(entry.name, {}).items() if result.figures]
            for precision in TIMED if done else ():
                file = self.out / places[entry.name, *done[0]] / "bundle" / "exports" / precision / "model.tflite"
                if file.is_file():
                    found[artefact_name(entry.name, precision)] = file
        return found

    def _timing_facts(self, artefacts: Mapping[str, Path], rounds: int) -> dict[str, Any]:
        """What a timing holds for: these files, on this machine."""
        digests = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in artefacts.items()}
        machine = {key: machine_facts().get(key) for key in ("processor", "cores", "ai-edge-litert")}
        return {"artefacts": digests, "machine": machine, "rounds": rounds, "method": METHOD}


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of our own; an empty one where there is none, or something else."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _timings(stored: Mapping[str, Any]) -> Timings:
    timed = {name: tuple(Timed(**one) for one in entries) for name, entries in stored["timed"].items()}
    return Timings(timed, dict(stored["failed"]), stored.get("load"))
