"""From what every training left to the comparison: rows, their ranking, the neighbours' tests, the recommendation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from featherlite.comparison import Comparison, Latency, Pair, Precision, Row, SeedScore
from featherlite.errors import DataError
from featherlite.evaluate.answers import Answers, read_answers
from featherlite.evaluate.cost.latency import Timings
from featherlite.evaluate.pooled import INTERVAL, INTERVAL_OF_SEEDS, mean_estimate, mean_macro_f1
from featherlite.evaluate.recommend import Candidate, Recommendation, recommend
from featherlite.evaluate.significance import flip_test, holm, paired_test
from featherlite.history import wilson
from featherlite.study.plan import Entry, Study
from featherlite.study.result import Figures, Result
from featherlite.study.sheet import Sheet, difference, shared_hits, sheet_of

__all__ = ["Done", "Surroundings", "artefact_name", "tally"]

Found = Mapping[tuple[int, int], tuple[Result, bytes]]
"""The results of one row by (seed, fold), with their answers."""

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Done:
    """A row with its answers: those of the network, and of the int8 artefact where there is one in every training."""

    row: Row
    network: Sheet
    int8: Sheet | None

    @property
    def shipped(self) -> Sheet:
        """The answers of what would be shipped."""
        return self.int8 if self.row.ships == "int8" and self.int8 is not None else self.network


@dataclass(frozen=True)
class Surroundings:
    """What a comparison says beside its rows."""

    machine: Mapping[str, str | int | float] = field(default_factory=dict)
    timings: Timings = field(default_factory=Timings)
    command: str = ""


def artefact_name(row: str, precision: str) -> str:
    """What an artefact is called while it is timed."""
    return f"{row} in {precision}"


def tally(study: Study, found: Mapping[str, Found], around: Surroundings) -> Comparison:
    """The comparison of all rows of which something is done or failed; `found` is by the rows' names."""
    done: list[Done] = []
    failed: list[Row] = []
    classes, drawings = None, False
    for entry in study.entries:
        results = found.get(entry.name, {})
        made = _row(study, entry, results, around.timings)
        if isinstance(made, Done):
            figures = next(result.figures for result, _ in results.values() if result.figures)
            classes, drawings = figures.classes, drawings or figures.drawings
            done.append(made)
        elif made is not None:
            failed.append(made)
    done.sort(key=lambda one: (-one.network.top1, one.row.weight_bytes.get("float32", 0), one.row.name))
    chosen, judged = _recommendation(study, done)
    rows = [
        one.row.model_copy(
            update={"tied": by.tied, "p_best": by.p_alone, "efficient": one.row.name in chosen.efficient}
        )
        for one, by in zip(done, judged, strict=True)
    ]
    several = any(len(one.network.seeds) > 1 for one in done)
    return Comparison(
        name=study.name,
        title=study.title,
        description=study.description,
        machine=_machine(around),
        split="test" if study.folds is None else "folds",
        n=min((len(one.network.paths) for one in done), default=0),
        interval=INTERVAL_OF_SEEDS if several else INTERVAL,
        rows=(*rows, *failed),
        pairs=_pairs(done),
        recommended=chosen.name,
        reason=chosen.reason,
        weigh=study.weigh,
        classes=classes,
        drawings=drawings,
        command=around.command,
    )


def _machine(around: Surroundings) -> dict[str, str | int | float]:
    """The machine's facts, with how busy it was while the artefacts were timed."""
    load = around.timings.load
    return dict(around.machine) | ({} if load is None else {"load_when_timed": load})


def _row(study: Study, entry: Entry, results: Found, timings: Timings) -> Done | Row | None:
    """The row with its answers; the bare row where it failed; None where nothing is known of it yet."""
    failures = _failures(study, results)
    blank = Row(
        name=entry.name,
        model=entry.model,
        weights=entry.weights,
        road=entry.road,
        seeds=tuple(sorted({seed for seed, _ in results})),
        folds=study.folds,
        status="failed",
        out=f"rows/{entry.name}",
    )
    whole = [
        seed
        for seed in study.seeds
        if seed not in failures and all((seed, fold) in results for fold in range(study.folds or 1))
    ]
    if not whole:
        return blank.model_copy(update={"error": next(iter(failures.values()))}) if failures else None
    blank = blank.model_copy(
        update={
            "failed_seeds": tuple(failures),
            "notes": tuple(f"Not in the figures: {error}" for error in failures.values()),
        }
    )
    try:
        sheets = {subject: _sheet(study, whole, results, subject) for subject in ("network", "int8")}
    except DataError as error:
        return blank.model_copy(update={"error": str(error)})
    network, int8 = sheets["network"], sheets["int8"]
    if network is None:
        return blank.model_copy(update={"error": "The answers of its network were not kept."})
    return Done(_measured(blank, network, int8, whole, results, timings), network, int8)


def _failures(study: Study, results: Found) -> dict[int, str]:
    """What stopped each seed that failed, by seed: its first failure, with where it was."""
    failures: dict[int, str] = {}
    for (seed, fold), (result, _) in sorted(results.items()):
        if result.failure is not None:
            where = [f"seed {seed}"] * (len(study.seeds) > 1) + [f"fold {fold}"] * (study.folds is not None)
            message = f"{result.failure.message} {result.failure.hint}".strip()
            failures.setdefault(seed, (", ".join(where) + ": " if where else "") + message)
    return failures


def _sheet(study: Study, seeds: Sequence[int], results: Found, subject: str) -> Sheet | None:
    """The answers of one subject over all seeds and folds; None where it was not asked in all of them."""
    answers: dict[int, list[Answers]] = {}
    for seed in seeds:
        for fold in range(study.folds or 1):
            one = read_answers(results[seed, fold][1], f"the answers of seed {seed}").get(subject)
            if one is None:
                return None
            answers.setdefault(seed, []).append(one)
    return sheet_of(answers)


def _measured(
    blank: Row, network: Sheet, int8: Sheet | None, seeds: Sequence[int], results: Found, timings: Timings
) -> Row:
    """The row with all its figures."""
    split = "test" if blank.folds is None else None
    every = [one.figures for (seed, _), (one, _) in results.items() if seed in seeds and one.figures is not None]
    figures = _first(results, seeds)
    hits = network.hits
    timed, memory, energy, notes = _timed(blank.name, figures, timings)
    values = {
        "status": "done",
        "seeds": tuple(seeds),
        "weights": "none" if any(one.from_scratch for one in every) else blank.weights,
        "input_px": figures.input_px,
        "top1": mean_estimate(hits, split),
        "top5": mean_estimate(network.in_top5, split),
        "macro_f1": mean_macro_f1(network.labels, network.predicted, len(network.names)),
        "per_seed": tuple(
            SeedScore(seed=seed, top1=wilson(int(hits[:, place].sum()), len(hits), split))
            for place, seed in enumerate(seeds)
        ),
        "int8_top1": mean_estimate(int8.hits, split) if int8 is not None else None,
        "parameters": figures.parameters,
        "macs": figures.macs,
        "weight_bytes": figures.weight_bytes,
        "file_bytes": figures.file_bytes,
        "latency": timed,
        "peak_memory_bytes": memory,
        "energy_mj": energy,
        "train_seconds": round(sum(one.train_seconds for one in every) / len(seeds), 3),
        "ships": _ships(network, int8),
        "notes": tuple(dict.fromkeys((*blank.notes, *(note for one in every for note in one.notes), *notes))),
    }
    return Row.model_validate(blank.model_dump() | values)


def _first(results: Found, seeds: Sequence[int]) -> Figures:
    """The figures of the first seed (and fold): sizes and times do not hang on what was learned."""
    figures = results[seeds[0], 0][0].figures
    assert figures is not None
    return figures


def _ships(network: Sheet, int8: Sheet | None) -> str:
    """int8, unless its answers are significantly worse than the network's own."""
    if int8 is None:
        return "float32"
    lost, _, _ = difference(network, int8)
    return "float32" if lost.sum() > 0 and flip_test(lost) < SIGNIFICANT else "int8"


def _timed(
    name: str, figures: Figures, timings: Timings
) -> tuple[tuple[Latency, ...], dict[Precision, int], float | None, list[str]]:
    """(latency, peak memory by precision, millijoules of float32 on one thread, what failed) of a row's artefacts."""
    latency: list[Latency] = []
    memory: dict[Precision, int] = {}
    energy, notes = None, []
    for precision in figures.file_bytes:
        called = artefact_name(name, precision)
        if called in timings.failed:
            notes.append(f"Not timed in {precision}: {timings.failed[called]}")
        for one in timings.timed.get(called, ()):
            latency.append(
                Latency(
                    runtime="litert",
                    precision=precision,
                    threads=one.threads,
                    p50_ms=one.p50_ms,
                    p95_ms=one.p95_ms,
                    runs=one.runs,
                )
            )
            if one.threads == 1 and one.memory_bytes is not None:
                memory[precision] = one.memory_bytes
            if one.threads == 1 and precision == "float32":
                energy = one.energy_mj
    return tuple(latency), memory, energy, notes


def _pairs(done: Sequence[Done]) -> tuple[Pair, ...]:
    """Every row against the next in the ranking."""
    held = [(better, worse, difference(better.network, worse.network)) for better, worse in pairwise(done)]
    corrected = holm([paired_test(*shared_hits(better.network, worse.network)) for better, worse, _ in held])
    return tuple(
        Pair(
            better=better.row.name,
            worse=worse.row.name,
            n=len(differences),
            only_better=won,
            only_worse=lost,
            p_value=p_value,
            significant=p_value < SIGNIFICANT,
        )
        for (better, worse, (differences, won, lost)), p_value in zip(held, corrected, strict=True)
    )


def _recommendation(study: Study, done: Sequence[Done]) -> tuple[Recommendation, list[Candidate]]:
    """What to ship, and what each row was judged by, in their order."""
    if not done:
        return recommend([], study.weigh), []
    best = max(done, key=lambda one: (one.shipped.top1, -_size(one)))
    others = [one for one in done if one is not best]
    alone = [paired_test(*shared_hits(best.shipped, one.shipped)) for one in others]
    p_values = {one.row.name: both for one, both in zip(others, zip(holm(alone), alone, strict=True), strict=True)}
    candidates = []
    for one in done:
        form = one.row.ships or "float32"
        timed = one.row.latency_of(form)
        p_value, p_alone = p_values.get(one.row.name, (1.0, 1.0))
        candidates.append(
            Candidate(
                one.row.name,
                one.shipped.top1,
                _size(one),
                timed.p50_ms if timed else None,
                p_value,
                len(one.shipped.paths),
                form,
                p_alone=p_alone,
                seeds=len(one.shipped.seeds),
            )
        )
    return recommend(candidates, study.weigh), candidates


def _size(one: Done) -> int:
    return one.row.weight_bytes["int8" if one.row.ships == "int8" else "float32"]
