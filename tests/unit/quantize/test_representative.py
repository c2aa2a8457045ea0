from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from featherlite.bundle import Bundle
from featherlite.data.splits import Splits, read_splits, write_splits
from featherlite.errors import DataError
from featherlite.quantize.representative import balanced_choice, evenly, representative_set, set_hash
from featherlite.step import Context, load_step


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=60).map(np.array),
    st.integers(1, 70),
    st.integers(0, 2**32 - 1),
)
def test_a_choice_is_balanced_whatever_the_classes(labels: np.ndarray, count: int, seed: int) -> None:
    chosen = balanced_choice(labels, count, seed)
    assert len(chosen) == len(set(chosen.tolist())) == min(count, len(labels))
    assert (np.diff(chosen) > 0).all()
    taken, there = np.bincount(labels[chosen], minlength=6), np.bincount(labels, minlength=6)
    # A class may have fewer than another only where it gave all it has, or by one, in the last round.
    unfinished = taken[taken < there]
    assert not len(unfinished) or taken.max() - unfinished.min() <= 1


def test_a_part_of_a_set_holds_all_its_classes() -> None:
    """A set lies in the order of its classes: 300 photos of five, of which 128 are looked at."""
    photos = np.repeat(np.arange(5, dtype=np.uint8), 60)
    counts = np.bincount(evenly(photos, 128))
    assert counts.sum() == 128
    assert counts.min() >= 25
    np.testing.assert_array_equal(evenly(photos, 300), photos)
    assert evenly(photos, 1).shape == (1,)


def test_the_seed_decides() -> None:
    labels = np.repeat(np.arange(4), 50)
    first = balanced_choice(labels, 20, 1)
    assert (first == balanced_choice(labels, 20, 1)).all()
    assert (first != balanced_choice(labels, 20, 2)).any()


def test_the_hash_is_of_the_set() -> None:
    assert set_hash(["b", "a"]) == set_hash(["a", "b"]) == hashlib.sha256(b"a\nb").hexdigest()
    assert set_hash(["a", "b"]) != set_hash(["a", "c"])


def test_only_training_photos_are_taken(
    color_bundle: Bundle, color_photos: Path, make_context: Callable[[], Context]
) -> None:
    chosen = representative_set(color_bundle, 9, 1, make_context())
    assert chosen.photos.shape == (9, 24, 24, 3)
    assert chosen.photos.dtype == np.uint8
    assert [sum(path.startswith(name) for path in chosen.paths) for name in ("blue", "green", "red")] == [3, 3, 3]
    assert all(int(Path(path).stem) < 8 for path in chosen.paths), "training photos are numbers 0 to 7"
    content = [hashlib.sha256((color_photos / path).read_bytes()).hexdigest() for path in chosen.paths]
    assert chosen.hash == set_hash(content)
    everything = representative_set(color_bundle, 1000, 1, make_context())
    assert everything.facts()["n"] == 24


def test_fewer_photos_than_classes_are_told(color_bundle: Bundle, make_context: Callable[[], Context]) -> None:
    context = make_context()
    representative_set(color_bundle, 2, 1, context)
    assert "2 photos, shows 2 of 3 classes" in context.details["warnings"][0]
    rows = [row for row in read_splits(color_bundle).rows() if (row[2], row[4]) != ("green", "train")]
    context = make_context()
    representative_set(with_rows(color_bundle, rows), 300, 1, context)
    assert "16 photos, shows 2 of 3 classes" in context.details["warnings"][0], "a class without a training photo"
    quiet = make_context()
    representative_set(color_bundle, 2, 1, quiet, shows_ranges=False)
    assert "warnings" not in quiet.details, "no range hangs on it"


def test_without_training_photos_there_is_no_set(color_bundle: Bundle, make_context: Callable[[], Context]) -> None:
    rows = [row for row in read_splits(color_bundle).rows() if row[4] != "train"]
    with pytest.raises(DataError, match="no photos to draw a representative set from"):
        representative_set(with_rows(color_bundle, rows), 9, 1, make_context())


@pytest.mark.parametrize("name", ["quantize", "quantize_aware"])
def test_photos_of_one_color_show_no_range(
    name: str, color_bundle: Bundle, make_context: Callable[[], Context], tmp_path: Path
) -> None:
    rows = []
    for path, _, label, group, split in read_splits(color_bundle).rows():
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (24, 24), (200, 10, 10)).save(file)
        rows.append((path, hashlib.sha256(file.read_bytes()).hexdigest(), label, group, split))
    ctx, step = make_context(), load_step(name)
    ctx.data = tmp_path
    with pytest.raises(DataError, match=r"All 24 representative photos are of one color \(200, 10, 10\)"):
        step.function(with_rows(color_bundle, rows), step.config(), ctx)


def with_rows(bundle: Bundle, rows: Iterable[tuple[str, str, str, str | None, str]]) -> Bundle:
    return bundle.with_files({"splits.parquet": write_splits(Splits.from_rows(rows))})
