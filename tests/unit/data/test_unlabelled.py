"""Photos that have no labels: wherever they lie under a folder, or inside a container."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from featherlite.data.reader import PhotoReader
from featherlite.data.unlabelled import scan_unlabelled
from featherlite.errors import DataError


def photo(level: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (20, 20), (level, 10, 90)).save(content, "PNG")
    return content.getvalue()


def test_photos_are_found_at_any_depth(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    (root / "2025" / "may").mkdir(parents=True)
    (root / ".trash").mkdir()
    for level, name in enumerate(("a.png", "2025/b.png", "2025/may/c.jpg", ".hidden.png", ".trash/d.png")):
        (root / name).write_bytes(photo(level))
    (root / "notes.txt").write_text("no photo")
    (root / "link.png").symlink_to(root / "a.png")
    found = scan_unlabelled(root)
    assert [one.path for one in found.photos] == ["2025/b.png", "2025/may/c.jpg", "a.png"]
    assert {one.label for one in found.photos} == {""}
    assert {fault.path: fault.reason for fault in found.faults} == {
        "link.png": "not-a-file",
        "notes.txt": "not-an-image",
    }
    with PhotoReader(root) as reader:
        assert reader.read("2025/may/c.jpg") == photo(2)


def test_folders_named_as_splits_mean_nothing(tmp_path: Path) -> None:
    for folder in ("train/owl", "valid/owl", "more"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.png").write_bytes(photo(len(folder)))
    assert len(scan_unlabelled(tmp_path).photos) == 3


def test_the_digest_follows_the_photos(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(photo(1))
    before = scan_unlabelled(tmp_path).digest
    assert scan_unlabelled(tmp_path).digest == before
    (tmp_path / "a.png").write_bytes(photo(2))
    assert scan_unlabelled(tmp_path).digest != before


def test_photos_in_a_tar_lose_their_labels(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        for level in range(2):
            info = tarfile.TarInfo(f"{level}.png")
            info.size = len(photo(level))
            archive.addfile(info, io.BytesIO(photo(level)))
            label = tarfile.TarInfo(f"{level}.cls")
            label.size = 1
            archive.addfile(label, io.BytesIO(str(level).encode()))
    found = scan_unlabelled(tmp_path / "shard.tar")
    assert len(found.photos) == 2
    assert {one.label for one in found.photos} == {""}


def test_nothing_to_be_found_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        scan_unlabelled(tmp_path / "absent")
    with pytest.raises(DataError, match="It is empty"):
        scan_unlabelled(tmp_path)
    (tmp_path / "notes.txt").write_text("no photo")
    with pytest.raises(DataError, match=r"Files not used: 1, such as notes\.txt"):
        scan_unlabelled(tmp_path)
