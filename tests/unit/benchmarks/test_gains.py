"""What a row gains over another, worked out by hand on made-up answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featherlite.bundle import Bundle, Label
from featherlite.evaluate.answers import Answers, predictions_file, write_answers
from gains import gain, hits_of

LABELS = ("ant", "bee")


def answered(folder: Path, paths: str, known: str) -> None:
    """A finished seed: photos by name, all of them ants, of which the network knew these and the artefact none."""

    def those(names: str) -> Answers:
        predicted = tuple("ant" if path in names else "bee" for path in paths)
        labels = ("ant",) * len(paths)
        return Answers(tuple(paths), labels, predicted, (1.0,) * len(paths), tuple((one,) for one in predicted))

    content = write_answers({"network": those(known), "int8": those("")})
    bundle = Bundle().with_labels(tuple(Label(name=name) for name in LABELS))
    bundle.with_files({predictions_file("test"): content}).save(folder)


def test_photos_and_seeds_are_paired_by_name_whatever_their_order(tmp_path: Path) -> None:
    answered(tmp_path / "rows/mine/seed-10", "abcd", "ab")
    answered(tmp_path / "rows/mine/seed-9", "dcba", "d")
    seeds, hits = hits_of(tmp_path, "mine")
    assert seeds == ("seed-9", "seed-10")
    assert hits["network"].tolist() == [[False, False, False, True], [True, True, False, False]]
    assert not hits["int8"].any()


def test_a_row_without_seeds_is_no_row(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no finished row 'mine'"):
        hits_of(tmp_path, "mine")


def test_a_gain_is_the_mean_difference_in_points() -> None:
    one, other = np.zeros((2, 100), dtype=np.bool_), np.zeros((2, 100), dtype=np.bool_)
    one[:, :20], other[:, 15:25] = True, True  # on each seed 15 more, and 5 less
    mean, low, high = gain(one, other)
    assert mean == pytest.approx(10)
    # The mean of 100 photos, of which 15 count +1, 5 count -1 and 80 nothing, varies by sqrt(0.19/100), 4.4 points.
    assert low == pytest.approx(10 - 1.96 * 4.36, abs=0.7)
    assert high == pytest.approx(10 + 1.96 * 4.36, abs=0.7)


def test_seeds_that_disagree_widen_the_interval() -> None:
    one = np.array([[True] * 50, [False] * 50])
    assert gain(one, np.zeros_like(one)) == pytest.approx((50, 0, 100))
    assert gain(one[:1], np.zeros_like(one[:1])) == pytest.approx((100, 100, 100))
