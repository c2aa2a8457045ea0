"""What a teacher sees of a photo, and its word on it: cut as the student's, kept on the disk, found again."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from featherlite.errors import StorageError, TrainingError
from featherlite.preprocess import Preprocess, network_input
from featherlite.step import Silent
from featherlite.training.augment.config import ALL_OFF, AugmentConfig
from featherlite.training.guide import view_draws
from featherlite.training.teachers import answers as answers_module
from featherlite.training.teachers.answers import BLOCK, SHARD, Answers, Asking, store_folder
from featherlite.training.teachers.teacher import Answer, Teacher, TeacherFacts
from featherlite.training.teachers.views import ViewedPhotos

PX = 8
LIVELY = AugmentConfig(randaugment=2, perspective=0.3, erase=0.5, weather=0.3)


class ColorTeacher(Teacher):
    """Answers with the mean of each color, and with its mean square as features."""

    def __init__(self, scale: float = 1.0) -> None:
        preprocess = Preprocess(width=16, height=16)
        super().__init__(TeacherFacts("colors", f"colors/{scale}", ("a", "b", "c"), preprocess, 0, 3))
        self.scale, self.asked = scale, 0

    def answer(self, photos: NDArray[np.float32]) -> Answer:
        self.asked += len(photos)
        return Answer(self.scale * photos.mean(axis=(1, 2)), np.square(photos).mean(axis=(1, 2)))


def photos_of(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, PX, PX, 3)).astype(np.uint8)


def answers_of(folder: Path, count: int = 2 * BLOCK + 5, views: int = 2, teacher: Any = None) -> Answers:
    asking = Asking(
        teacher or ColorTeacher(), ViewedPhotos(photos_of(count), AugmentConfig(), 3), logits=True, features=True
    )
    return Answers(asking, folder, views)


def test_a_long_asking_makes_few_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shard is an open file as long as it is read from."""
    monkeypatch.setattr(answers_module, "SHARD", 1)
    monkeypatch.setattr(answers_module, "SHARDS", 3)
    answers = answers_of(tmp_path, views=4)  # 12 blocks
    answers.build(Silent())
    assert len(list(tmp_path.glob("*.npy"))) == 3
    assert np.isfinite(answers(np.arange(2 * BLOCK + 5), 3)).all()


# ---- views -------------------------------------------------------------------------------------------------------


def source_places(draws: dict[str, Any], row: int, px: int) -> NDArray[np.float64]:
    """Where the points of a grid over the photo (in shares of its side) are taken from, in the same shares."""
    u, v = np.meshgrid(np.linspace(0.05, 0.95, 5), np.linspace(0.05, 0.95, 5))
    x, y = u * px - 0.5, v * px - 0.5
    a = draws["affine"][row].astype(np.float64)
    scale = a[6] * x + a[7] * y + 1
    from_x, from_y = (a[0] * x + a[1] * y + a[2]) / scale, (a[3] * x + a[4] * y + a[5]) / scale
    return (np.stack([from_x, from_y]) + 0.5) / px


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    view=st.integers(0, 50),
    small=st.integers(24, 64),
    large=st.integers(65, 256),
    perspective=st.sampled_from([0.0, 0.3]),
    randaugment=st.integers(0, 3),
)
def test_teacher_and_student_see_the_same_cut(
    seed: int, view: int, small: int, large: int, perspective: float, randaugment: int
) -> None:
    config = AugmentConfig(perspective=perspective, randaugment=randaugment, erase=0.5, weather=0.5)
    mine, theirs = (view_draws(config, seed, view, 6, px, px) for px in (small, large))
    assert set(mine) == set(theirs)
    for row in range(6):
        apart = np.abs(source_places(mine, row, small) - source_places(theirs, row, large)).max()
        # Perspective is told in units of the outermost pixel's center, which lies a little further in at a small size.
        assert apart < 1e-5 if perspective == 0 else apart < 2 / small
    np.testing.assert_array_equal(mine["color"], theirs["color"])
    np.testing.assert_array_equal(mine["weather"], theirs["weather"])
    np.testing.assert_allclose(mine["box"] / small, theirs["box"] / large, atol=1e-6)
    if randaugment:
        np.testing.assert_array_equal(mine["points"], theirs["points"])


def test_the_pixels_agree_at_two_sizes() -> None:
    """A smooth picture at 24 and at 96 px under one view: halved twice, the large one is the small one."""
    u, v = np.meshgrid((np.arange(96) + 0.5) / 96, (np.arange(96) + 0.5) / 96)
    large = np.stack([np.sin(5 * u + 2 * v), np.cos(4 * v), np.sin(3 * u * v + 1)], axis=-1)
    large = np.stack([(large * sign * 90 + 120) for sign in (1, -1)]).astype(np.uint8)
    small = large.reshape(2, 24, 4, 24, 4, 3).mean(axis=(2, 4)).round().astype(np.uint8)
    rows, config = np.arange(2), AugmentConfig(erase=1.0)
    for view in range(3):
        mine, theirs = (ViewedPhotos(images, config, 7)(rows, view) for images in (small, large))
        shrunk = theirs.reshape(2, 24, 4, 24, 4, 3).mean(axis=(2, 4))
        assert np.abs(mine - shrunk).mean() < 0.02, "the edges of the erased box are those of a pixel"
        assert np.abs(mine - shrunk[::-1]).mean() > 0.2


def test_a_view_is_drawn_for_all_photos_at_once() -> None:
    """Whatever rows are asked for, in whatever order."""
    photos = ViewedPhotos(photos_of(9), LIVELY, 5)  # with weather, which would hang on the rows
    every = photos(np.arange(9), 1)
    np.testing.assert_array_equal(photos(np.array([7, 2]), 1), every[[7, 2]])
    assert np.abs(photos(np.arange(9), 0) - every).max() > 0.5, "views differ"
    plain = ViewedPhotos(photos_of(9), AugmentConfig(**ALL_OFF), 5)
    np.testing.assert_allclose(plain(np.arange(9), 0), network_input(photos_of(9)), atol=1e-6)


# ---- the store ---------------------------------------------------------------------------------------------------


def test_kept_answers_are_those_of_the_teacher(tmp_path: Path) -> None:
    kept = answers_of(tmp_path / "store")
    count = len(kept.asking.photos)
    assert kept.build(Silent()) == 2 * count
    rows = np.random.default_rng(1).permutation(count)
    for view in range(2):
        np.testing.assert_array_equal(kept(rows, view), kept.asking(rows, view))
    assert kept(rows[:3], 0).dtype == np.float16
    assert kept(rows[:3], 0).shape == (3, 6)


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    answers_of(tmp_path).build(Silent())
    again = answers_of(tmp_path)
    assert again.build(Silent()) == 0
    assert again.asking.teacher.asked == 0
    more = answers_of(tmp_path, views=3)
    assert more.build(Silent()) == len(more.asking.photos), "the third view alone"


class StopError(Exception):
    pass


class Stopping(Silent):
    """Interrupts after so many photos."""

    def __init__(self, after: int) -> None:
        self.after = after

    def advance(self, units: int = 1, note: str = "") -> None:
        self.after -= units
        if self.after < 0:
            raise StopError


def test_an_interrupted_asking_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers_module, "SHARD", 2)
    whole = answers_of(tmp_path / "whole")
    whole.build(Silent())
    with pytest.raises(StopError):
        answers_of(tmp_path / "store").build(Stopping(3 * BLOCK))
    resumed = answers_of(tmp_path / "store")
    count = len(resumed.asking.photos)
    assert resumed.build(Silent()) == 2 * count - 2 * BLOCK, "one shard of two blocks was whole"
    for view in range(2):
        np.testing.assert_array_equal(resumed(np.arange(count), view), whole(np.arange(count), view))


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from training.test_teachers_answers import answers_module, answers_of, Silent

class Killing(Silent):
    done = 0
    def advance(self, units=1, note=""):
        self.done += units
        if self.done > 150:
            os.kill(os.getpid(), signal.SIGKILL)

answers_module.SHARD = 1
answers_of(Path(sys.argv[2])).build(Killing())
"""


@pytest.mark.slow
def test_a_killed_asking_goes_on(tmp_path: Path) -> None:
    folder = str(Path(__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", KILLED, folder, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    resumed = answers_of(tmp_path)
    count = len(resumed.asking.photos)
    assert resumed.build(Silent()) == count, "the blocks of the first view were published"
    np.testing.assert_array_equal(resumed(np.arange(count), 1), resumed.asking(np.arange(count), 1))


@pytest.mark.parametrize("damage", ["cut", "flipped", "renamed", "gone", "foreign"])
def test_a_damaged_store_is_made_again(tmp_path: Path, damage: str) -> None:
    expected = answers_of(tmp_path)
    expected.build(Silent())
    count = len(expected.asking.photos)
    wanted = expected(np.arange(count), 1).copy()
    shard = next(tmp_path.glob("*.npy"))
    content = bytearray(shard.read_bytes())
    if damage == "cut":
        shard.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[-BLOCK * 12 - 40] ^= 0x10
        shard.write_bytes(content)
    elif damage == "renamed":
        index = shard.with_suffix(".txt")
        index.write_text(index.read_text("ascii").replace(".", "-", 1), "ascii")
    elif damage == "foreign":
        np.save(shard, np.zeros((2, BLOCK, 5), np.float16))
    else:
        shard.unlink()
    again = answers_of(tmp_path)
    built = again.build(Silent())
    assert built == {"flipped": BLOCK, "renamed": BLOCK}.get(damage, 2 * count)
    np.testing.assert_array_equal(again(np.arange(count), 1), wanted)
    third = answers_of(tmp_path)
    assert third.build(Silent()) == 0, "what is damaged still lies there, and hides nothing"
    np.testing.assert_array_equal(third(np.arange(count), 1), wanted)


def test_a_disk_that_is_too_small_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6, 3000))
    small = answers_of(tmp_path / "store")
    # 2 views x 3 blocks x 64 photos x 6 numbers x 2 bytes = 4,608 bytes
    with pytest.raises(StorageError, match=r"takes 0 MB.*has 0 MB free") as refusal:
        small.build(Silent())
    assert "views=0" in refusal.value.hint
    assert small.asking.teacher.asked == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6, 5000))
    assert small.build(Silent()) > 0


def test_numbers_beyond_float16_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"colors answers some photos with values that are not numbers"):
        answers_of(tmp_path, teacher=ColorTeacher(1e9)).build(Silent())
    assert not list(tmp_path.glob("*.npy"))


def test_all_that_decides_a_word_decides_where_it_is_kept(tmp_path: Path) -> None:
    asking = answers_of(tmp_path).asking
    features = Asking(asking.teacher, asking.photos, logits=False, features=True)
    other = Asking(ColorTeacher(2.0), asking.photos, logits=True, features=True)
    views = ViewedPhotos(photos_of(3), AugmentConfig(zoom=0.1), 3)
    zoomed = Asking(asking.teacher, views, logits=True, features=True)
    base: tuple[Any, ...] = (asking, ["p", "q"], "contract", 0)
    variants = [
        base,
        (features, *base[1:]),
        (other, *base[1:]),
        (zoomed, *base[1:]),
        (asking, ["q", "p"], *base[2:]),
        (*base[:2], "another", *base[3:]),
        (*base[:3], 1),
    ]
    folders = [store_folder(tmp_path, *variant) for variant in variants]
    assert len(set(folders)) == len(folders)
    assert store_folder(tmp_path, *base) == folders[0]


def test_shards_are_bounded(tmp_path: Path) -> None:
    many = answers_of(tmp_path, count=BLOCK * (SHARD + 1), views=1)
    many.build(Silent())
    assert len(list(tmp_path.glob("*.npy"))) == 2
    assert max(file.stat().st_size for file in tmp_path.glob("*.npy")) < 2 * SHARD * BLOCK * 6 * 2
