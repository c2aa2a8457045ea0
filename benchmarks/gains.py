"""What one row of a study gains over another: points of top-1 on the same photos, with an interval.

    python benchmarks/gains.py FOLDER ROW OTHER [ROW OTHER ...]

FOLDER is the `--out` of `featherlite compare`; both rows have been trained with the same seeds. One line a pair and a
subject (the float network, the int8 artefact): the mean difference, 95% of 10,000 bootstrap draws of seeds and of
photos, the paired test's p, and the difference of each seed.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featherlite.bundle import Bundle
from featherlite.evaluate.answers import predictions_file, read_answers
from featherlite.evaluate.significance import paired_test

DRAWS = 10_000
SUBJECTS = ("network", "int8")

Hits = Mapping[str, NDArray[np.bool_]]
"""For each subject whether each photo was known, bool [seeds, photos]."""


def hits_of(folder: Path, row: str) -> tuple[tuple[str, ...], Hits]:
    """The seeds of a row, in order, and what it knew of the test photos in the order of their paths."""
    seeds = sorted(folder.glob(f"rows/{row}/seed-*"), key=lambda one: int(one.name.partition("-")[2]))
    if not seeds:
        sys.exit(f"{folder} has no finished row '{row}'.")
    found: dict[str, list[list[bool]]] = {subject: [] for subject in SUBJECTS}
    for seed in seeds:
        answers = read_answers(Bundle.open(seed).read(predictions_file("test")), str(seed))
        for subject in SUBJECTS:
            one = answers[subject]
            known = sorted(zip(one.path, (a == b for a, b in zip(one.label, one.predicted, strict=True)), strict=True))
            found[subject].append([hit for _, hit in known])
    return tuple(seed.name for seed in seeds), {subject: np.array(rows) for subject, rows in found.items()}


def gain(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[float, float, float]:
    """The mean difference and its interval, in points, of hits bool [seeds, photos]."""
    differences = one.astype(np.int8) - other.astype(np.int8)
    seeds, photos = differences.shape
    random = np.random.default_rng(0)
    means = [
        differences[random.integers(0, seeds, seeds)][:, random.integers(0, photos, photos)].mean()
        for _ in range(DRAWS)
    ]
    low, high = np.quantile(means, (0.025, 0.975))
    return 100 * float(differences.mean()), 100 * float(low), 100 * float(high)


def main() -> None:
    """Prints the lines as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("rows", nargs="+", metavar="ROW")
    asked = parser.parse_args()
    if len(asked.rows) % 2:
        parser.error("rows come in pairs")
    writer = csv.writer(sys.stdout)
    writer.writerow(["row", "other", "subject", "points", "low", "high", "p", "n", "by seed"])
    for name, against in zip(asked.rows[::2], asked.rows[1::2], strict=True):
        (seeds, mine), (theirs, other) = hits_of(asked.folder, name), hits_of(asked.folder, against)
        if seeds != theirs:
            sys.exit(f"'{name}' has {', '.join(seeds)} and '{against}' {', '.join(theirs)}.")
        for subject in SUBJECTS:
            one, two = mine[subject], other[subject]
            by_seed = 100 * (one.mean(axis=1) - two.mean(axis=1))
            figures = [f"{value:.1f}" for value in gain(one, two)]
            told = " ".join(f"{value:+.1f}" for value in by_seed)
            writer.writerow([name, against, subject, *figures, f"{paired_test(one.T, two.T):.2g}", one.shape[1], told])


if __name__ == "__main__":
    main()
