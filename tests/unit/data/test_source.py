import contextlib
import hashlib
import os
import sqlite3
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from featherlite.data import source
from featherlite.data.source import scan
from featherlite.errors import DataError


def paint(file: Path, shade: int) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 16), (shade, 255 - shade, 40)).save(file, format="PNG")
    return file


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for number in range(3):
        paint(root / "robin" / f"{number}.png", number)
        paint(root / "wren" / f"{number}.png", 100 + number)
    return root


def reasons(root: Path) -> dict[str, str]:
    return {fault.path: fault.reason for fault in scan(root).faults}


def test_folder_per_class_gives_sorted_photos_with_their_content_hash(two_classes: Path) -> None:
    paint(two_classes / "wren" / "deep" / "er" / "x.png", 7)
    found = scan(two_classes)
    assert found.layout == "folders"
    assert found.classes == ("robin", "wren")
    assert [photo.path for photo in found.photos] == [
        "robin/0.png", "robin/1.png", "robin/2.png", "wren/0.png", "wren/1.png", "wren/2.png", "wren/deep/er/x.png",
    ]  # fmt: skip
    file = two_classes / "wren" / "deep" / "er" / "x.png"
    assert found.photos[-1].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert found.photos[-1].bytes == file.stat().st_size
    assert found.faults == ()


def test_train_valid_test_folders_are_given_splits(tmp_path: Path) -> None:
    for shade, folder in enumerate(("train/a", "train/b", "Valid/a", "TEST/b")):
        paint(tmp_path / folder / "1.png", shade)
    paint(tmp_path / "images to predict" / "x.png", 99)
    paint(tmp_path / "train" / "stray.png", 98)
    found = scan(tmp_path)
    assert found.layout == "splits"
    assert {photo.path: (photo.label, photo.split) for photo in found.photos} == {
        "train/a/1.png": ("a", "train"),
        "train/b/1.png": ("b", "train"),
        "Valid/a/1.png": ("a", "val"),
        "TEST/b/1.png": ("b", "test"),
    }
    assert reasons(tmp_path) == {"images to predict": "not-in-split", "train/stray.png": "not-in-class"}


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    paint(tmp_path / "train" / "steam" / "1.png", 1)
    paint(tmp_path / "bus" / "1.png", 2)
    found = scan(tmp_path)
    assert (found.layout, found.classes) == ("folders", ("bus", "train"))


def test_csv_gives_labels_splits_and_groups(tmp_path: Path) -> None:
    inside = paint(tmp_path / "set" / "pix" / "a.png", 1)
    paint(tmp_path / "set" / "pix" / "b.png", 2)
    outside = paint(tmp_path / "elsewhere" / "c.png", 3)
    table = tmp_path / "set" / "photos.csv"
    table.write_text(
        "Path, Label ,split,group,note\n"
        f'pix/a.png,"Robin, red",train,nest 1,x\n{inside},wren,,,\npix/b.png,wren,Validation,,\n{outside},wren,,,\n'
        "../elsewhere/c.png,wren,test,,\npix/none.png,wren,,,\n,wren,,,\npix,wren,,,\n",
        encoding="utf-8-sig",
    )
    found = scan(table)
    assert found.layout == "csv"
    assert [(p.path, p.label, p.split, p.group) for p in found.photos] == [
        ("../elsewhere/c.png", "wren", "test", None),
        (str(outside), "wren", None, None),
        ("pix/a.png", "Robin, red", "train", "nest 1"),
        ("pix/b.png", "wren", "val", None),
    ]
    assert sorted((fault.path, fault.reason) for fault in found.faults) == [
        ("pix", "not-a-file"),
        ("pix/a.png", "two-labels"),
        ("pix/none.png", "missing"),
        ("row 8", "incomplete"),
    ]


def test_csv_with_semicolons_is_read(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", 1)
    paint(tmp_path / "b.png", 2)
    (tmp_path / "t.csv").write_text("path;label\na.png;one, two\nb.png;three\n")
    assert scan(tmp_path / "t.csv").classes == ("one, two", "three")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,species\na,b\n", "no column 'label'"),
        (b"", "no column 'path'"),
        (b"path,label\n", "has no rows"),
        (b"path,label,split\na.png,x,trian\n", "row 2: split 'trian' is unknown"),
        ("path,label\na.png,köln\n".encode("latin-1"), "not UTF-8"),
        (b'path,label\n"' + b"a" * 200_000 + b'",b\n', "not a CSV that can be read"),
    ],
)
def test_csv_that_cannot_be_understood_is_refused_with_the_place(tmp_path: Path, content: bytes, message: str) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        scan(table)
    assert caught.value.hint


def test_a_second_scan_reads_no_photo(two_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (two_classes / "wren" / "bad.jpg").write_text("not a photo")
    first = scan(two_classes, cache=tmp_path / "cache")
    monkeypatch.setattr(
        source, "judge_photos", lambda _, paths: pytest.fail("read again") if paths else (block for block in ())
    )
    assert scan(two_classes, cache=tmp_path / "cache") == first


def test_a_changed_photo_is_read_again_though_its_size_and_time_are_the_same(two_classes: Path, tmp_path: Path) -> None:
    file = two_classes / "wren" / "0.png"
    before = scan(two_classes, cache=tmp_path / "cache")
    facts, content = file.stat(), file.read_bytes()
    file.write_bytes(content[:-20] + bytes(20))
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    after = scan(two_classes, cache=tmp_path / "cache")
    assert len(after.photos) == len(before.photos) - 1
    assert after.digest != before.digest


@pytest.mark.parametrize("spoil", ["damaged", "a folder", "cache is a file"])
def test_a_memo_that_cannot_be_used_costs_nothing_but_time(two_classes: Path, tmp_path: Path, spoil: str) -> None:
    cache = tmp_path / "cache"
    if spoil == "cache is a file":
        cache.write_text("")
    else:
        cache.mkdir()
        memo = cache / "scan.sqlite"
        memo.mkdir() if spoil == "a folder" else memo.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)
    expected = scan(two_classes)
    assert scan(two_classes, cache=cache) == expected
    assert scan(two_classes, cache=cache) == expected


def test_a_cut_row_of_the_memo_is_read_again(two_classes: Path, tmp_path: Path) -> None:
    expected = scan(two_classes, cache=tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "scan.sqlite")) as memo, memo:
        memo.execute("UPDATE looks SET look = substr(look, 1, 50)")
    assert scan(two_classes, cache=tmp_path) == expected


def test_progress_tells_every_photo(two_classes: Path) -> None:
    class Counting:
        told: list[object]

        def __init__(self) -> None:
            self.told = []

        def start(self, what: str, total: int) -> None:
            self.told.append(total)

        def advance(self, units: int = 1, note: str = "") -> None:
            self.told.append(units)

        def finish(self) -> None:
            self.told.append("finish")

    progress = Counting()
    scan(two_classes, progress)
    assert progress.told == [6, 6, "finish"]


# ---- names -------------------------------------------------------------------------------------------------------


def test_spaces_and_unicode_in_class_names_are_kept(tmp_path: Path) -> None:
    paint(tmp_path / "Blåmes 青山雀 🐦" / "1.png", 1)
    paint(tmp_path / "Great Tit" / "1 (2).png", 2)
    assert scan(tmp_path).classes == ("Blåmes 青山雀 🐦", "Great Tit")


def test_a_decomposed_name_becomes_the_composed_label_and_keeps_its_path(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Blåmes")
    paint(tmp_path / decomposed / "1.png", 1)
    paint(tmp_path / "wren" / "1.png", 2)
    photo = scan(tmp_path).photos[0]
    assert (photo.label, photo.path) == (unicodedata.normalize("NFC", "Blåmes"), f"{decomposed}/1.png")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("robin", "Robin"),
        ("robin", "robin "),
        (unicodedata.normalize("NFC", "Blåmes"), unicodedata.normalize("NFD", "Blåmes")),
        ("straße", "STRASSE"),
    ],
)
def test_class_folders_that_cannot_be_told_apart_are_refused_by_name(tmp_path: Path, one: str, other: str) -> None:
    paint(tmp_path / one / "1.png", 1)
    paint(tmp_path / other / "1.png", 2)
    with pytest.raises(DataError, match="differ only in case") as caught:
        scan(tmp_path)
    shown = [f"{name!r}" for name in (one, other)] + [f"{name!a}" for name in (one, other)]
    assert sum(name in caught.value.message for name in set(shown)) >= 2


def test_classes_that_differ_in_case_between_train_and_test_are_refused(tmp_path: Path) -> None:
    for shade, folder in enumerate(("train/Robin", "train/wren", "test/robin", "test/wren")):
        paint(tmp_path / folder / "1.png", shade)
    with pytest.raises(DataError, match="'Robin' and 'robin'"):
        scan(tmp_path)


def test_a_class_name_with_a_line_break_is_refused(tmp_path: Path) -> None:
    paint(tmp_path / "rob\nin" / "1.png", 1)
    paint(tmp_path / "wren" / "1.png", 2)
    with pytest.raises(DataError, match="control characters"):
        scan(tmp_path)


def test_hidden_files_and_folders_are_listed_and_left_out(two_classes: Path) -> None:
    paint(two_classes / ".cache" / "1.png", 1)
    paint(two_classes / "wren" / ".thumb.png", 1)
    found = scan(two_classes)
    assert len(found.photos) == 6
    assert reasons(two_classes) == {".cache": "hidden", "wren/.thumb.png": "hidden"}


def test_a_name_that_is_not_utf8_is_listed(two_classes: Path) -> None:
    raw = os.fsencode(two_classes / "wren") + b"/caf\xe9.png"
    Path(os.fsdecode(raw)).write_bytes((two_classes / "wren" / "0.png").read_bytes())
    assert reasons(two_classes) == {"wren/caf\\xe9.png": "bad-name"}


# ---- too little --------------------------------------------------------------------------------------------------


def test_an_empty_class_is_left_out_and_listed(two_classes: Path) -> None:
    (two_classes / "owl").mkdir()
    found = scan(two_classes)
    assert found.classes == ("robin", "wren")
    assert reasons(two_classes) == {"owl": "empty-class"}


def test_a_class_with_one_photo_is_a_class(two_classes: Path) -> None:
    paint(two_classes / "owl" / "1.png", 77)
    assert scan(two_classes).classes == ("owl", "robin", "wren")


def test_missing_empty_and_single_class_roots_are_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    paint(tmp_path / "flat" / "1.png", 1)
    paint(tmp_path / "one" / "robin" / "1.png", 1)
    (tmp_path / "bare" / "robin").mkdir(parents=True)
    (tmp_path / "text.txt").write_text("")
    for name, message in {
        "nowhere": "no such folder",
        "empty": "is empty",
        "flat": "no photo in it can be used.*not in a class folder",
        "one": r"only one class \('robin'\)",
        "bare": "no photo in it can be used",
        "text.txt": "not a .csv",
        "x" * 300: "cannot be read|no such",
    }.items():
        with pytest.raises(DataError, match=message) as caught:
            scan(tmp_path / name)
        assert "folder" in caught.value.hint or "name" in caught.value.hint
