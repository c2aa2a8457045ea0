"""What is planted is what the list says, and it is what its kind is called."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from damage import BYTES, PIXELS, damaged
from plant import CONFLICTS, FAULTY, SAME, UNREADABLE, plant_leaks, plant_mess, plant_wrong_labels

CLASSES = ("ant", "bee", "cat")
PER_CLASS = 20


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 photos of 48 x 40 px, each with edges and colors of its own."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(4)
    for name in CLASSES:
        (root / name).mkdir()
        for number in range(PER_CLASS):
            image = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize((48, 40))
            image.save(root / name / f"{number}.jpg", quality=95)
    return root


@pytest.fixture
def photo(photos: Path) -> bytes:
    return (photos / "ant/0.jpg").read_bytes()


def files(root: Path) -> dict[str, bytes]:
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def image(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def luma(content: bytes) -> np.ndarray:
    return np.asarray(image(content).convert("L"), np.float64)


def test_mess_is_the_photos_and_what_is_listed(photos: Path, tmp_path: Path) -> None:
    planted = plant_mess(photos, tmp_path / "mess", each=2, seed=1)
    before, after = files(photos), files(tmp_path / "mess")
    changed = {path for path in after if after[path] != before.get(path)}
    assert changed == {fault.path for fault in planted}
    assert before.keys() <= after.keys()
    assert len(after) == len(before) + 2 * len((*SAME, *CONFLICTS))
    assert Counter(fault.kind for fault in planted) == dict.fromkeys((*SAME, *CONFLICTS, *FAULTY), 2)


def test_every_fault_has_an_original_of_its_own(photos: Path, tmp_path: Path) -> None:
    planted = plant_mess(photos, tmp_path / "mess", each=2)
    assert len({fault.of for fault in planted}) == len(planted)
    assert {fault.of for fault in planted} <= files(photos).keys()


def test_places(photos: Path, tmp_path: Path) -> None:
    for fault in plant_mess(photos, tmp_path / "mess", each=2):
        own, place = fault.of.split("/")[0], fault.path.split("/")[0]
        assert (place != own) == (fault.kind in CONFLICTS)
        assert (fault.path == fault.of) == (fault.kind in FAULTY)
        same = (tmp_path / "mess" / fault.path).read_bytes() == (photos / fault.of).read_bytes()
        assert same == (fault.kind in ("exact", "conflict-exact"))


def test_the_seed_decides(photos: Path, tmp_path: Path) -> None:
    planted = [plant_mess(photos, tmp_path / str(n), each=1, seed=seed) for n, seed in enumerate((7, 7, 8))]
    assert planted[0] == planted[1] != planted[2]
    assert files(tmp_path / "0") == files(tmp_path / "1")


def test_too_few_originals(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"61 faults.*60 photos"):
        plant_mess(photos, tmp_path / "mess", each=61, kinds=("dark",))


def test_moved_photos_keep_their_content_and_leave_their_class(photos: Path, tmp_path: Path) -> None:
    planted = plant_wrong_labels(photos, tmp_path / "labels", count=12)
    before, after = files(photos), files(tmp_path / "labels")
    assert len(planted) == 12
    assert len(after) == len(before)
    for fault in planted:
        assert after[fault.path] == before[fault.of]
        assert fault.of not in after
        assert fault.path.split("/")[0] != fault.of.split("/")[0]


def test_leaks_go_from_train_to_another_split(photos: Path, tmp_path: Path) -> None:
    planted = plant_leaks(photos, tmp_path / "leaks", each=5)
    after = files(tmp_path / "leaks")
    assert Counter(path.split("/")[0] for path in after if path not in {fault.path for fault in planted}) == {
        "train": 42,
        "valid": 9,
        "test": 9,
    }
    for fault in planted:
        assert fault.of.startswith("train/")
        assert fault.path.split("/")[0] in ("valid", "test")
        assert fault.path.split("/")[1] == fault.of.split("/")[1]
        assert (after[fault.path] == after[fault.of]) == (fault.kind == "leak-exact")


@pytest.mark.parametrize("kind", [kind for kind in (*SAME, *FAULTY) if kind not in UNREADABLE])
def test_every_readable_fault_is_a_photo(kind: str, photo: bytes) -> None:
    for seed in range(6):
        image(damaged(photo, kind, np.random.default_rng(seed))).load()


@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_files_are_unreadable(kind: str, photo: bytes) -> None:
    for seed in range(6):
        with pytest.raises(OSError, match=r"(?i)identify|truncated"):
            image(damaged(photo, kind, np.random.default_rng(seed))).load()


def test_a_turned_photo_is_upright_again_by_its_exif(photo: bytes) -> None:
    seen = set()
    for seed in range(12):
        turned = image(damaged(photo, "rotated", np.random.default_rng(seed)))
        seen.add(turned.getexif()[0x0112])
        upright = np.asarray(ImageOps.exif_transpose(turned).convert("L"), np.float64)
        assert np.abs(upright - luma(photo)).mean() < 4
    assert seen == {3, 6, 8}


@pytest.mark.parametrize(
    ("kind", "low", "high"), [("dark", 0.07, 0.26), ("brighter", 1.0, 1.31), ("darker", 0.68, 0.72)]
)
def test_light(kind: str, low: float, high: float, photo: bytes) -> None:
    for seed in range(6):
        assert low < luma(damaged(photo, kind, np.random.default_rng(seed))).mean() / luma(photo).mean() < high


def test_over_exposed_photos_are_blown_out(photo: bytes) -> None:
    for seed in range(6):
        pixels = np.asarray(image(damaged(photo, "over-exposed", np.random.default_rng(seed))))
        assert np.mean(pixels.max(axis=2) > 245) > 0.45
        assert luma(photo).mean() < pixels.mean() < 255


@pytest.mark.parametrize("kind", ["blurred", "motion", "low-information", "washed-out"])
def test_detail_is_lost(kind: str, photos: Path) -> None:
    random = np.random.default_rng(1)
    noise = Image.fromarray(random.integers(0, 256, (96, 96, 3), dtype=np.uint8))
    stream = io.BytesIO()
    noise.save(stream, "PNG")
    assert luma(damaged(stream.getvalue(), kind, random)).std() < 0.5 * luma(stream.getvalue()).std()


def test_sizes(photo: bytes) -> None:
    for seed in range(8):
        made = {
            kind: image(damaged(photo, kind, np.random.default_rng(seed)))
            for kind in ("cropped", "resized", "odd-size", "odd-aspect", "tiny")
        }
        assert 42 <= made["cropped"].width <= 46
        assert 24 <= made["resized"].width <= 38
        assert not 22 < made["odd-size"].width < 96
        assert max(made["odd-aspect"].size) / min(made["odd-aspect"].size) > 3
        assert 12 <= made["tiny"].width <= 24


def test_kinds_have_a_way_to_be_made() -> None:
    assert {*SAME, *FAULTY} <= {*BYTES, *PIXELS}
