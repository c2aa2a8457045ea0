"""The drawn sample birds: the same bytes for the same seed, and every planted fault is what faults.csv says."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import fcntl
import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from pydantic import ValidationError

from featherlite.data.sample import SampleConfig, SampleReport, draw_samples
from featherlite.data.sample.bird import draw_bird
from featherlite.data.sample.camera import Light
from featherlite.data.sample.faults import EXPLAINED
from featherlite.data.sample.partial import partial_folder
from featherlite.data.sample.photo import draw_file, draw_photo
from featherlite.data.sample.pose import draw_pose
from featherlite.data.sample.species import ALIKE, SPECIES, Species
from featherlite.errors import RequestError, StorageError

PX = 64


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tree(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): digest(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def gray(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"), dtype=np.float64)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> tuple[SampleReport, dict[str, list[dict[str, str]]]]:
    out = tmp_path_factory.mktemp("sample") / "birds"
    report = draw_samples(out, SampleConfig(species=4, photos=6, px=PX, seed=5, faults=True))
    rows: dict[str, list[dict[str, str]]] = {}
    with (out / "faults.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["fault"], []).append(row)
    return report, rows


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    config = SampleConfig(species=2, photos=3, px=32, seed=1, faults=True)
    draw_samples(tmp_path / "a", config)
    draw_samples(tmp_path / "b", config)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert draw_file(1, 0, 0, PX) != draw_file(2, 0, 0, PX)


def test_a_photo_does_not_depend_on_how_many_are_drawn(tmp_path: Path) -> None:
    draw_samples(tmp_path / "few", SampleConfig(species=2, photos=2, px=PX, seed=3))
    draw_samples(tmp_path / "many", SampleConfig(species=3, photos=4, px=PX, seed=3))
    few, many = tree(tmp_path / "few"), tree(tmp_path / "many")
    photos = {path: value for path, value in few.items() if path.endswith(".jpg")}
    assert len(photos) == 4
    assert photos.items() <= many.items()


def test_several_processes_draw_the_same_files(tmp_path: Path) -> None:
    config = SampleConfig(species=2, photos=9, px=32)
    draw_samples(tmp_path / "one", config)
    draw_samples(tmp_path / "two", config, processes=2)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_the_folder_says_what_it_holds(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = draw_samples(
        tmp_path / "birds", SampleConfig(species=2, photos=2, px=PX), progress=lambda done, of: seen.append((done, of))
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert report.species == ("Embercap Tinlet", "Emberwing Tinlet")
    assert report.alike == (("Embercap Tinlet", "Emberwing Tinlet"),)
    assert (report.photos, report.files, report.faults) == (4, 4, ())
    assert sorted(tree(tmp_path / "birds")) == [
        "Embercap Tinlet/001.jpg",
        "Embercap Tinlet/002.jpg",
        "Emberwing Tinlet/001.jpg",
        "Emberwing Tinlet/002.jpg",
        "README.txt",
    ]
    text = (tmp_path / "birds" / "README.txt").read_text(encoding="utf-8")
    for phrase in ("DRAWINGS", "NO EVIDENCE about real birds", "CC0", "Apache License 2.0", "invented"):
        assert phrase in text
    with Image.open(tmp_path / "birds" / "Embercap Tinlet" / "001.jpg") as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (PX, PX))
        comment, description = image.info["comment"].decode(), image.getexif()[0x010E]
    assert comment == description
    assert "drawing" in comment
    assert "no evidence about real birds" in comment


def test_every_fault_is_listed_and_nothing_else_is_there(
    faulty: tuple[SampleReport, dict[str, list[dict[str, str]]]],
) -> None:
    report, rows = faulty
    assert set(rows) == set(EXPLAINED)
    listed = [row["path"] for group in rows.values() for row in group]
    assert len(listed) == len(set(listed)) == len(report.faults)
    assert [(f.path, f.fault, f.of) for f in report.faults] == sorted(
        (row["path"], row["fault"], row["of"]) for group in rows.values() for row in group
    )
    photos = {path for path in tree(report.out) if path.endswith(".jpg")}
    assert len(photos) == report.files == report.photos + len(listed)
    assert set(listed) <= photos
    hashes = [digest(report.out / path) for path in sorted(photos - set(listed))]
    assert len(hashes) == len(set(hashes)) == 24


def test_duplicates_are_copies_of_their_original(
    faulty: tuple[SampleReport, dict[str, list[dict[str, str]]]],
) -> None:
    report, rows = faulty
    for fault in ("exact_duplicate", "two_labels"):
        for row in rows[fault]:
            assert digest(report.out / row["path"]) == digest(report.out / row["of"])
            same_folder = Path(row["path"]).parent == Path(row["of"]).parent
            assert same_folder == (fault == "exact_duplicate")
    for fault, side in (("reencoded_duplicate", PX), ("resized_duplicate", PX * 3 // 4)):
        for row in rows[fault]:
            assert digest(report.out / row["path"]) != digest(report.out / row["of"])
            assert Path(row["path"]).parent == Path(row["of"]).parent
            with Image.open(report.out / row["path"]) as copy, Image.open(report.out / row["of"]) as original:
                assert copy.size == (side, side)
                a, b = (np.asarray(i.convert("L").resize((16, 16)), dtype=np.float64) for i in (copy, original))
            assert np.abs(a - b).mean() < 6


def test_unreadable_files_are_unreadable(faulty: tuple[SampleReport, dict[str, list[dict[str, str]]]]) -> None:
    report, rows = faulty
    for row in rows["truncated"]:
        with Image.open(report.out / row["path"]) as image, pytest.raises(OSError, match="truncated"):
            image.load()
    assert all((report.out / row["path"]).stat().st_size == 0 for row in rows["zero_byte"])
    for row in rows["text"]:
        assert (report.out / row["path"]).read_text(encoding="utf-8").startswith("Not a picture")
        with pytest.raises(OSError, match="cannot identify"):
            Image.open(report.out / row["path"])


def test_spoilt_photos_are_spoilt(faulty: tuple[SampleReport, dict[str, list[dict[str, str]]]]) -> None:
    report, rows = faulty
    planted = {f.path for f in report.faults}
    clean = [gray(report.out / p) for p in tree(report.out) if p.endswith(".jpg") and p not in planted]

    def detail(picture: np.ndarray) -> float:
        return float(np.abs(np.diff(picture, axis=1)).mean() + np.abs(np.diff(picture, axis=0)).mean())

    sharpest_blur = max(detail(gray(report.out / row["path"])) for row in rows["blurred"])
    assert sharpest_blur < min(detail(picture) for picture in clean)
    assert max(gray(report.out / row["path"]).mean() for row in rows["dark"]) < 26 < min(p.mean() for p in clean)
    assert min(np.median(gray(report.out / row["path"])) for row in rows["overexposed"]) > 225
    for fault, size in (("odd_size", (PX // 8, PX // 8)), ("odd_aspect", (PX, PX // 4))):
        for row in rows[fault]:
            with Image.open(report.out / row["path"]) as image:
                assert image.size == size
    for row in rows["grayscale"]:
        with Image.open(report.out / row["path"]) as image:
            assert image.mode == "L"


def test_a_wrong_label_names_the_true_species_which_looks_different(
    faulty: tuple[SampleReport, dict[str, list[dict[str, str]]]],
) -> None:
    report, rows = faulty
    for row in rows["wrong_label"]:
        folder = Path(row["path"]).parent.name
        assert row["of"] in report.species
        assert folder != row["of"]
        assert frozenset((folder, row["of"])) not in {frozenset(pair) for pair in ALIKE}


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_exif_orientation_sets_a_rotated_photo_right(turn: int) -> None:
    from featherlite.data.sample.faults import _rotated

    upright, _ = draw_photo(9, 2, 77, PX)
    with Image.open(io.BytesIO(_rotated(9, 2, 77, PX, turn))) as stored:
        assert stored.getexif()[0x0112] == (6, 8, 3)[turn]
        righted = np.asarray(ImageOps.exif_transpose(stored), dtype=np.float64)
        lying = np.asarray(stored, dtype=np.float64)
    truth = np.asarray(upright, dtype=np.float64)
    assert 2 * np.abs(righted - truth).mean() < np.abs(lying - truth).mean()


def test_species_have_names_of_their_own_and_alike_pairs_share_nearly_everything() -> None:
    by_name = {kind.name: kind for kind in SPECIES}
    assert len(by_name) == len(SPECIES) == 14
    assert all(name == name.title() for name in by_name)
    fields = [name for name in Species.__dataclass_fields__ if name != "name"]

    def differences(a: Species, b: Species) -> int:
        return sum(getattr(a, name) != getattr(b, name) for name in fields)

    for a, b in ALIKE:
        assert 1 <= differences(by_name[a], by_name[b]) <= 3
    pairs = {frozenset(pair) for pair in ALIKE}
    for i, a_kind in enumerate(SPECIES):
        for b_kind in SPECIES[i + 1 :]:
            if frozenset((a_kind.name, b_kind.name)) not in pairs:
                assert differences(a_kind, b_kind) > 10


def portrait(kind: Species) -> np.ndarray:
    """The bird (64, 64, 3) alone, always in the same pose and light, on gray."""
    light = Light("overcast", 0.0, -1.0, 0.62, 0.5, (1, 1, 1), (1, 1, 1))
    like = dataclasses.replace(SPECIES[0], name=kind.name)
    pose = draw_pose(like, 2 * PX, False, np.random.default_rng(4))
    layer = draw_bird(kind, pose, light, 2 * PX, np.random.default_rng(4))
    assert layer is not None
    picture = Image.new("RGB", (2 * PX, 2 * PX), (128, 128, 128))
    picture.paste(layer.image, layer.corner, layer.cover)
    return np.asarray(picture.reduce(2), dtype=np.float64)


def test_alike_pairs_differ_in_a_visible_field_mark_and_other_species_in_much_more() -> None:
    portraits = {kind.name: portrait(kind) for kind in SPECIES}
    size = float((np.abs(portraits["Crested Rubill"] - 128).max(-1) > 30).sum())

    def differing(a: str, b: str) -> float:
        return float((np.abs(portraits[a] - portraits[b]).max(-1) > 40).sum()) / size

    pairs = {frozenset(pair) for pair in ALIKE}
    for i, a in enumerate(portraits):
        for b in list(portraits)[i + 1 :]:
            if frozenset((a, b)) in pairs:
                assert 0.02 < differing(a, b) < 0.13, (a, b)
            else:
                assert differing(a, b) > 0.14, (a, b)


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(RequestError, match="not empty") as refusal:
        draw_samples(tmp_path, SampleConfig(species=2, photos=1, px=32))
    assert str(tmp_path) in refusal.value.message
    assert refusal.value.hint
    assert [p.name for p in tmp_path.iterdir()] == ["note.txt"]
    with pytest.raises(RequestError, match="not a folder"):
        draw_samples(tmp_path / "note.txt", SampleConfig(species=2, photos=1, px=32))


def test_an_empty_folder_is_filled_and_a_deep_one_made(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    for out in (tmp_path / "here", tmp_path / "a" / "b"):
        draw_samples(out, SampleConfig(species=2, photos=1, px=32))
        assert len(tree(out)) == 3
        assert [p.name for p in out.parent.iterdir() if "partial" in p.name] == []


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_samples(tmp_path / "birds", SampleConfig(species=2, photos=2, px=32), progress=interrupt)
    assert list(tmp_path.iterdir()) == []


ENDLESS = """
import multiprocessing, sys
from pathlib import Path
from featherlite.data.sample import SampleConfig, draw_samples

def show(done, total):
    if done == 1:
        print(len(multiprocessing.active_children()), flush=True)

if __name__ == "__main__":
    draw_samples(Path(sys.argv[1]), SampleConfig(species=8, photos=10_000, px=32), show, processes=2)
"""


def test_a_killed_run_takes_its_processes_along_and_the_next_one_sweeps_its_remains(tmp_path: Path) -> None:
    script, out = tmp_path / "endless.py", tmp_path / "drawn" / "birds"
    script.write_text(ENDLESS, encoding="utf-8")
    run = subprocess.Popen(
        [sys.executable, script, out],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )
    try:
        assert run.stdout is not None
        assert run.stdout.readline() == "2\n"
        run.kill()
        run.communicate(timeout=8)  # both pipes end only once every process that holds them has
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    (remains,) = out.parent.iterdir()
    assert remains.name.startswith(".birds.partial-")
    draw_samples(out, SampleConfig(species=2, photos=1, px=32))
    assert list(out.parent.iterdir()) == [out]


def test_sweeping_spares_a_run_at_work_and_whatever_is_not_a_remain_of_the_same_folder(tmp_path: Path) -> None:
    out, config = tmp_path / "birds", SampleConfig(species=2, photos=1, px=32)
    (tmp_path / ".birds.partial-0123abcd" / "Plain Mosslet").mkdir(parents=True)
    spared = [".birds.partial-mine", ".birds2.partial-0123abcd", "birds.partial-0123abcd", "elsewhere"]
    for name in spared:
        (tmp_path / name).mkdir()
    (tmp_path / ".birds.partial-00000000").symlink_to(tmp_path / "elsewhere")
    (tmp_path / ".birds.partial-11111111").write_text("mine")
    at_work: list[set[Path]] = []

    def look(done: int, total: int) -> None:
        at_work.append(set(tmp_path.glob(".birds.partial-*")))
        if done == 1:  # a second run for the same folder, and it wins
            draw_samples(out, config)

    with pytest.raises(RequestError, match="not empty"):
        draw_samples(out, config, look)
    assert at_work[0] == at_work[1]  # the second run took nothing from the first
    assert len(tree(out)) == 3
    left = {*spared, "birds", ".birds.partial-00000000", ".birds.partial-11111111"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_folders_made_at_the_same_time_are_not_swept_by_one_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    pauses = iter(rng.uniform(0, 0.004, 100_000).tolist())

    def slowed(do: Callable[..., None]) -> Callable[..., None]:
        def later(*arguments: object, **options: object) -> None:
            time.sleep(next(pauses))
            do(*arguments, **options)

        return later

    monkeypatch.setattr(shutil, "rmtree", slowed(shutil.rmtree))  # these pauses widen every gap between two steps
    monkeypatch.setattr(fcntl, "flock", slowed(fcntl.flock))

    def fill(number: int) -> None:
        with partial_folder(tmp_path / "birds") as folder:
            time.sleep(next(pauses))
            (folder / "note").write_text(str(number))
            assert (folder / "note").read_text() == str(number)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(fill, range(120)))
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Cannot write the sample photos"):
        draw_samples(tmp_path / "file" / "birds", SampleConfig(species=2, photos=1, px=32))


@pytest.mark.parametrize(
    "wrong", [{"species": 1}, {"species": 15}, {"photos": 0}, {"px": 8}, {"seed": -1}, {"bird": 1}]
)
def test_a_wrong_setting_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        SampleConfig.model_validate(wrong)


def test_the_config_alone_loads_no_drawing_code() -> None:
    code = "import sys, featherlite.data.sample as s; s.SampleConfig(); sys.exit('PIL' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
