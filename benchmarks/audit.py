"""The audit against planted faults, beside cleanvision on the same photos: recall, false alarms, photos a second.

    python benchmarks/audit.py [flowers] [birds] --peer-python /path/to/venv/bin/python

Needs $FEATHERLITE_TEST_DATA with `flowers`, `birds` and `imagenet_samples`. Without a peer's Python (or
$FEATHERLITE_PEER_PYTHON) featherlite is measured alone. Writes one CSV a set and prints it as a table.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit_rows import Row, share, shown, single, written
from audit_score import ACCEPTED, Finding, Known, false_alarms, first_rank, found, found_among_first
from plant import LEAKS, PHOTOS, SAME, UNREADABLE, Planted, plant_leaks, plant_mess, plant_wrong_labels

HERE = Path(__file__).parent
REPEATS = 3
WEIGHTS = "weights/mobilenet_v2_1.0_224_imagenet.weights.h5"
KINDRED = "weights/mobilenet_v2_1.0_224_inat_birds.weights.h5"
"""Of iNaturalist's birds: what somebody who sorts birds would take."""

SPLIT_SEEDS = 5
ROBIN = "AMERICAN ROBIN/1.jpg"
JAY = "PLUSH CRESTED JAY"


@dataclass(frozen=True)
class Bench:
    """Which photos, which tools (name -> Python), and how many faults of each kind."""

    data: Path
    work: Path
    pythons: dict[str, str]
    each: int
    seed: int
    features: bool

    def options(self, tool: str) -> list[str]:
        """What the tool is given where time does not count."""
        return [str(self.data / WEIGHTS)] if self.features and tool == "featherlite" else []


def told_by(bench: Bench, tool: str, folder: Path, *options: str) -> dict[str, Any]:
    """What the tool says of a folder, in a fresh process; {"crash": last line} where it fell over."""
    out = bench.work / "told.json"
    words = [bench.pythons[tool], str(HERE / "audit_tool.py"), tool, str(folder), str(out), *options]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return {"crash": lines[-1], "findings": []}
    return dict(json.loads(out.read_text(encoding="utf-8")))


def findings_of(told: dict[str, Any]) -> list[Finding]:
    return [Finding(each["check"], tuple(each["paths"]), each["score"]) for each in told["findings"]]


# ---- folders -----------------------------------------------------------------------------------------------------


def listed(folder: Path) -> list[str]:
    """The files that claim to be photos, relative to the folder, sorted."""
    files = (file for file in folder.rglob("*") if file.suffix.casefold() in PHOTOS)
    return sorted(file.relative_to(folder).as_posix() for file in files)


def without(folder: Path, left_out: Collection[str], out: Path) -> Path:
    """The same files, hard links, but for those left out."""
    for name in listed(folder):
        if name not in left_out:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(folder / name, out / name)
    return out


def known_faults(name: str, folder: Path, native: Collection[str]) -> list[Known]:
    """The faults that the photos had before: byte-identical ones, and those of known_faults.csv, seen by eye."""
    places = {"/".join(Path(path).parts[-2:]): path for path in sorted(native)}
    by_content: dict[str, list[str]] = defaultdict(list)
    for path in places.values():
        by_content[hashlib.sha256((folder / path).read_bytes()).hexdigest()].append(path)
    known = [Known(path, "exact", its[0]) for its in by_content.values() for path in its[1:]]
    with (HERE / "known_faults.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            path, same_as = places.get(row["path"]), places.get(row["same_as"], "")
            if row["set"] == name and path and (same_as or not row["same_as"]):
                known.append(Known(path, row["kind"], same_as))
    return known


# ---- measures ----------------------------------------------------------------------------------------------------


def recalls(tool: str, planted: Sequence[Planted], findings: Sequence[Finding], kinds: Iterable[str]) -> list[Row]:
    """Recall of each kind that is the tool's business."""
    rows = []
    for kind in kinds:
        if kind in ACCEPTED[tool]:
            n = sum(fault.kind == kind for fault in planted)
            rows.append(share("recall", kind, tool, len(found(planted, findings, kind, ACCEPTED[tool][kind])), n))
    return rows


def alarms(
    tool: str, where: str, native: Collection[str], planted: Sequence[Planted], known: Sequence[Known], told: Any
) -> list[Row]:
    """Share of the native photos that each check flags for nothing; `as-flagged` counts known faults as alarms too."""
    findings = findings_of(told)
    rows: list[Row] = []
    for measure, excuses in (("false-alarms", known), ("false-alarms-as-flagged", ())):
        flagged = false_alarms(native, planted, excuses, findings, ACCEPTED[tool])
        for check in sorted({finding.check for finding in findings}):
            row = share(measure, f"{where}: {check}", tool, len(flagged.get(check, ())), len(native))
            rows.append(row)
    return rows


def messy(bench: Bench, name: str) -> list[Row]:
    """Every fault that a single folder can have; cleanvision sees it without the unreadable files."""
    folder, strangers = bench.work / "mess", bench.data / "imagenet_samples"
    planted = plant_mess(bench.data / name, folder, each=bench.each, seed=bench.seed, strangers=strangers)
    unreadable = {fault.path for fault in planted if fault.kind in UNREADABLE}
    readable = without(folder, unreadable, bench.work / "readable")
    native = set(listed(folder)) - {fault.path for fault in planted}
    known = known_faults(name, folder, native)
    kinds = sorted({fault.kind for fault in planted})
    rows = []
    for tool in bench.pythons:
        own = tool == "featherlite"
        told = told_by(bench, tool, folder if own else readable, *bench.options(tool))
        if "crash" in told:
            rows.append(single("crash", "mess", tool, told["crash"]))
            continue
        rows += recalls(tool, planted, findings_of(told), kinds)
        rows += alarms(tool, "mess", native, planted, known, told)
        if not own:
            crash = told_by(bench, tool, folder).get("crash", "no")
            rows.append(single("crash", "a folder with unreadable files", tool, crash, len(unreadable)))
    return rows + speeds(bench, readable)


def leaky(bench: Bench, name: str) -> list[Row]:
    """Photos of the train folder again in the valid or test folder."""
    folder = bench.work / "leaks"
    planted = plant_leaks(bench.data / name, folder, each=bench.each, seed=bench.seed)
    native = set(listed(folder)) - {fault.path for fault in planted}
    known = known_faults(name, folder, native)
    rows = []
    for tool in bench.pythons:
        told = told_by(bench, tool, folder)
        if "crash" in told:
            rows.append(single("crash", "leaks", tool, told["crash"]))
            continue
        rows += recalls(tool, planted, findings_of(told), LEAKS)
        rows += alarms(tool, "leaks", native, planted, known, told)
    return rows


def mislabeled(bench: Bench, name: str) -> list[Row]:
    """Photos moved to another class; how many of them stand among the first suggestions, twice as many."""
    if not bench.features:
        return []
    folder = bench.work / "labels"
    planted = plant_wrong_labels(bench.data / name, folder, count=bench.each, seed=bench.seed)
    told = told_by(bench, "featherlite", folder, *bench.options("featherlite"))
    if "crash" in told:
        return [single("crash", "labels", "featherlite", told["crash"])]
    (check,) = ACCEPTED["featherlite"]["wrong-label"]
    hits, n = found_among_first(planted, findings_of(told), check, "wrong-label")
    return [
        share("among-first-twice-n", "wrong-label", "featherlite", hits, n),
        *recalls("featherlite", planted, findings_of(told), ["wrong-label"]),
    ]


def as_they_are(bench: Bench, name: str) -> list[Row]:
    """The photos as they came: what is flagged, the odd sizes of the jay, and the rank of the wrongly labeled robin."""
    folder = bench.data / name
    native = set(listed(folder))
    known = known_faults(name, folder, native)
    rows = []
    for tool in bench.pythons:
        told = told_by(bench, tool, folder, *bench.options(tool))
        if "crash" in told:
            rows.append(single("crash", "native", tool, told["crash"]))
            continue
        findings = findings_of(told)
        rows += alarms(tool, "native", native, (), known, told)
        if name == "birds":
            jays = [path for path in native if path.startswith(f"{JAY}/")]
            sizes = {path for each in findings if each.check in ACCEPTED[tool]["odd-size"] for path in each.paths}
            rows.append(share("odd-size", JAY, tool, len(sizes.intersection(jays)), len(jays)))
        if name == "birds" and bench.options(tool):
            rank, n = first_rank(findings, *ACCEPTED[tool]["wrong-label"], ROBIN)
            rows.append(single("rank-among-wrong-labels", f"{ROBIN}, ImageNet weights", tool, rank, n))
            kindred = findings_of(told_by(bench, tool, folder, str(bench.data / KINDRED)))
            rank, n = first_rank(kindred, *ACCEPTED[tool]["wrong-label"], ROBIN)
            rows.append(single("rank-among-wrong-labels", f"{ROBIN}, iNaturalist weights", tool, rank, n))
    return rows


def straddling(bench: Bench, name: str) -> list[Row]:
    """A third of the photos with a planted twin: how many twins stand on another side of the split than their original.

    Photos of 15% test and 15% validation, over some seeds; once more with the search for near-duplicates switched off.
    """
    from featherlite.bundle import Bundle
    from featherlite.data.split import SplitConfig, split
    from featherlite.data.splits import read_splits
    from featherlite.step import Context

    folder = bench.work / "twins"
    count = len(listed(bench.data / name))
    planted = plant_mess(bench.data / name, folder, each=count // 3 // len(SAME), seed=bench.seed, kinds=SAME)
    rows = []
    for searched, subject in ((True, "twins kept together"), (False, "near-duplicates not looked for")):
        torn = 0
        for seed in range(SPLIT_SEEDS):
            context = Context(seed, bench.work, bench.work, bench.work / "cache", folder)
            table = read_splits(split(Bundle(), SplitConfig(near_duplicates=searched), context))
            side = dict(zip(table.path, table.split, strict=True))
            torn += sum(side[fault.path] != side[fault.of] for fault in planted)
        rows.append(share("straddling-pairs", subject, "featherlite", torn, SPLIT_SEEDS * len(planted)))
    return rows


def speeds(bench: Bench, folder: Path) -> list[Row]:
    """Photos a second: the shared checks, fresh processes, nothing remembered, files in the page cache, in turn."""
    names = listed(folder)
    for name in names:
        (folder / name).read_bytes()
    told: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for _ in range(REPEATS):
        for tool in bench.pythons:
            told[tool].append(told_by(bench, tool, folder))
    rows = []
    rates = {}
    for tool, its in told.items():
        crash = next((each["crash"] for each in its if "crash" in each), None)
        if crash is not None:
            rows.append(single("crash", "speed", tool, crash))
            continue
        seconds = [each["seconds"] for each in its]
        rates[tool] = len(names) / statistics.median(seconds)
        row = single("photos-per-s", "shared checks", tool, round(rates[tool], 1), len(names))
        rows.append(row | {"low": round(len(names) / max(seconds), 1), "high": round(len(names) / min(seconds), 1)})
        for subject, key in (
            ("with imports", "with_imports_seconds"),
            ("of processor time, with imports", "cpu_seconds"),
        ):
            rate = len(names) / statistics.median(each[key] for each in its)
            rows.append(single("photos-per-s", subject, tool, round(rate, 1), len(names)))
        rows.append(single("peak-mib", "one process", tool, round(max(each["peak_mib"] for each in its)), len(names)))
    if len(rates) == 2:
        rows.append(
            single(
                "times-cleanvision",
                "shared checks",
                "featherlite",
                round(rates["featherlite"] / rates["cleanvision"], 2),
            )
        )
    return rows


MEASURES = {"mess": messy, "leaks": leaky, "labels": mislabeled, "native": as_they_are, "straddle": straddling}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sets", nargs="*", default=["flowers", "birds"])
    parser.add_argument("--peer-python", default=os.environ.get("FEATHERLITE_PEER_PYTHON"))
    parser.add_argument("--only", nargs="*", choices=[*MEASURES], default=[*MEASURES], help="nothing else is measured")
    parser.add_argument("--each", type=int, default=50, help="faults of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-features", action="store_true", help="leave out the checks that need a network")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    data = Path(os.environ.get("FEATHERLITE_TEST_DATA", "../shared/data")).resolve()
    pythons = {"featherlite": sys.executable}
    if options.peer_python:
        pythons["cleanvision"] = options.peer_python
    for name in options.sets:
        rows: list[Row] = []
        for measure in options.only:
            with tempfile.TemporaryDirectory() as work:
                bench = Bench(data, Path(work), pythons, options.each, options.seed, not options.no_features)
                rows += MEASURES[measure](bench, name)
        shown(rows)
        print(written(name, rows, options.peer_python, options.out))


if __name__ == "__main__":
    main()
