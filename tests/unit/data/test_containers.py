"""Parquet files with photos in them and tar shards: read in place, by the same names in the listing and the reader."""

import hashlib
import io
import json
import os
import tarfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from featherlite.data import reader as reader_module
from featherlite.data.cache import decoded
from featherlite.data.listing import Listing
from featherlite.data.parquet import RowPhotos
from featherlite.data.reader import PhotoReader, ReadError
from featherlite.data.sources import listing_of, sources
from featherlite.data.sources.shards import _Shard
from featherlite.data.tar import Member
from featherlite.errors import DataError
from featherlite.preprocess import Preprocess
from featherlite.report.thumbnails import Thumbnails
from featherlite.step import Silent


def photo(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (12, 10), (shade % 256, 255 - shade % 256, 40)).save(stream, "PNG")
    return stream.getvalue()


def tar(file: Path, members: Iterable[tuple[str, bytes]], **options: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w", **options) as packed:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return file


def parquet(file: Path, labels: list[Any], names: list[str] | None = None, *, rows: int = 4, **more: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": photo(number), "path": f"{number}.png"} for number in range(len(labels))]
    table = pa.table({"image": images, "label": labels, **more})
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, file, row_group_size=rows)
    return file


def listed(root: Path) -> dict[str, tuple[str, str | None]]:
    return {photo.path: (photo.label, photo.split) for photo in listing_of(root).candidates}


def faults(root: Path) -> dict[str, str]:
    return {fault.path: fault.reason for fault in listing_of(root).faults}


def test_layouts_are_found_by_name_and_asked_in_order() -> None:
    assert [source.__name__.rpartition(".")[2] for source in sources()] == [  # type: ignore[attr-defined]
        "parquet_images", "shards", "table", "folders",
    ]  # fmt: skip


# ---- Parquet -----------------------------------------------------------------------------------------------------


def test_hugging_face_parquet_gives_classes_splits_and_bytes(tmp_path: Path) -> None:
    parquet(tmp_path / "data" / "train-00000-of-00001.parquet", [0, 1, 0, 1, 1, 0], ["robin", "wren"])
    parquet(tmp_path / "data" / "validation-00000-of-00001-abc.parquet", [1], ["robin", "wren"])
    parquet(tmp_path / "dev" / "0.parquet", [0], ["robin", "wren"])
    found = listing_of(tmp_path)
    assert found.layout == "parquet"
    train = "data/train-00000-of-00001.parquet"
    assert listed(tmp_path) == {
        **{f"{train}/{row:07d}": (("robin", "wren")[label], "train") for row, label in enumerate([0, 1, 0, 1, 1, 0])},
        "data/validation-00000-of-00001-abc.parquet/0000000": ("wren", "val"),
        "dev/0.parquet/0000000": ("robin", "val"),
    }
    first = found.candidates[0]
    assert (first.file, first.place) == (str(tmp_path / train), str(tmp_path / train / "0000000"))
    with PhotoReader(tmp_path) as reader:
        for row in (0, 5, 3, 1, 4, 2):
            assert reader.read(f"{train}/{row:07d}") == photo(row)
        content, facts = reader.read_with_facts(f"{train}/0000002")
        assert (content, facts.st_size) == (photo(2), (tmp_path / train).stat().st_size)


def test_one_parquet_file_with_text_labels_splits_and_groups(tmp_path: Path) -> None:
    columns = {"split": ["train", "test", None], "group": ["nest 1", "nest 2", None]}
    file = parquet(tmp_path / "birds.parquet", ["robin", "wren", None], **columns)
    found = listing_of(file)
    assert [(photo.path, photo.label, photo.split, photo.group) for photo in found.candidates] == [
        ("birds.parquet/0000000", "robin", "train", "nest 1"),
        ("birds.parquet/0000001", "wren", "test", "nest 2"),
    ]
    assert faults(file) == {"birds.parquet/0000002": "no-label"}
    assert PhotoReader(file).read("birds.parquet/0000001") == photo(1)


def test_plain_binary_columns_and_numbered_classes_with_a_file_of_names(tmp_path: Path) -> None:
    table = pa.table({"jpg": pa.array([photo(0), photo(1)], pa.large_binary()), "cls": [0, 0], "class": [1, 0]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert {label for label, _ in listed(tmp_path).values()} == {"0", "1"}
    (tmp_path / "classes.txt").write_text("robin\nwren\n")
    assert listed(tmp_path) == {"a.parquet/0000000": ("wren", None), "a.parquet/0000001": ("robin", None)}
    assert faults(tmp_path) == {}


def test_rows_that_cannot_be_photos_are_faults(tmp_path: Path) -> None:
    file = parquet(tmp_path / "x.parquet", [0, 7, -1, 1], ["robin", "wren"])
    assert faults(file) == {"x.parquet/0000001": "label-out-of-range", "x.parquet/0000002": "no-label"}
    table = pq.read_table(file).to_pydict()
    table["image"][3] = {"bytes": None, "path": "gone.png"}
    table["image"][0] = None
    schema = pq.read_schema(file)
    pq.write_table(pa.table(table, schema=schema), file)
    reader = PhotoReader(tmp_path)
    for path, reason in {
        "x.parquet/0000000": "no-bytes",
        "x.parquet/0000003": "no-bytes",
        "x.parquet/0000004": "missing",
        "x.parquet/-1": "missing",
        "x.parquet/1.png": "missing",
        "y.parquet/0000000": "missing",
    }.items():
        with pytest.raises(ReadError) as caught:
            reader.read(path)
        assert (caught.value.reason, bool(caught.value.hint)) == (reason, True), path
    assert reader.read("x.parquet/0000001") == photo(1)


def test_rows_in_order_decode_each_row_group_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    original = reader_module.RowPhotos._begin

    def begin(self: Any, group: int) -> None:
        begun.append(group)
        original(self, group)

    monkeypatch.setattr(reader_module.RowPhotos, "_begin", begin)
    parquet(tmp_path / "a.parquet", [0, 1] * 300, ["robin", "wren"], rows=200)
    with PhotoReader(tmp_path) as reader, ThreadPoolExecutor(4) as pool:
        read = list(pool.map(reader.read, [f"a.parquet/{row:07d}" for row in range(600)]))
    assert read == [photo(row) for row in range(600)]
    assert begun == [0, 1, 2]


def test_rows_kept_are_counted_once_where_a_row_group_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featherlite.data.parquet.BATCH_BYTES", 1)  # a row at a time
    monkeypatch.setattr("featherlite.data.parquet.KEEP_BYTES", 6 * len(photo(1)))
    with (parquet(tmp_path / "a.parquet", ["robin"] * 16, rows=8)).open("rb") as stream:
        rows = RowPhotos(stream)
        for row in (7, 8, 0, 9):
            assert rows.read(row) == photo(row)
            assert rows._kept_bytes == sum(column.nbytes for column in rows._kept.values())


# ---- tar shards --------------------------------------------------------------------------------------------------


def test_webdataset_samples_get_their_class_from_the_member_beside_them(tmp_path: Path) -> None:
    tar(
        tmp_path / "train-000.tar",
        [
            ("0001.cls", b"3"), ("0001.jpg", photo(1)),
            ("deep/0002.jpg", photo(2)), ("deep/0002.json", b'{"label": "wren"}'), ("deep/0002.seg.npy", b"1"),
            ("0003.left.png", photo(3)), ("0003.right.png", photo(4)), ("0003.txt", b" house sparrow\n"),
            ("0004.jpg", photo(5)), ("0004.json", b"{broken"), ("0005.cls", b"1"), ("README", b"hello"),
        ],
    )  # fmt: skip
    tar(tmp_path / "val" / "shard.tar", [("./a.png", photo(6)), ("./a.cls", b"wren")])
    assert listing_of(tmp_path).layout == "shards"
    assert listed(tmp_path) == {
        "train-000.tar/0001.jpg": ("3", "train"),
        "train-000.tar/deep/0002.jpg": ("wren", "train"),
        "train-000.tar/0003.left.png": ("house sparrow", "train"),
        "train-000.tar/0003.right.png": ("house sparrow", "train"),
        "val/shard.tar/a.png": ("wren", "val"),
    }
    groups = {photo.path: photo.group for photo in listing_of(tmp_path).candidates if photo.group}
    assert set(groups.values()) == {"train-000.tar/0003"}
    assert faults(tmp_path) == {
        "train-000.tar/0004.jpg": "no-label",
        "train-000.tar/0005.cls": "no-photo",
        "train-000.tar/README": "no-photo",
    }
    with PhotoReader(tmp_path) as reader:
        assert reader.read("train-000.tar/0003.right.png") == photo(4)
        assert reader.read("val/shard.tar/a.png") == photo(6)
        assert reader.locate("val/shard.tar/a.png") == tmp_path / "val" / "shard.tar"
        assert reader.locate("val/none.tar/a.png") is None


def test_numbered_classes_get_their_names_from_a_file(tmp_path: Path) -> None:
    tar(tmp_path / "a.tar", [("1.cls", b"1"), ("1.jpg", photo(1)), ("2.cls", b"9"), ("2.jpg", photo(2))])
    (tmp_path / "classes.txt").write_text("robin\nwren\nowl\n")
    assert listed(tmp_path) == {"a.tar/1.jpg": ("wren", None)}
    assert faults(tmp_path) == {"a.tar/2.jpg": "label-out-of-range"}
    assert set(listing_of(tmp_path).folders.values()) == {"robin", "wren", "owl"}


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [("", {("robin", None), ("wren", None)}), ("photos/", {("robin", None), ("wren", None)})],
)
def test_members_in_class_folders(tmp_path: Path, prefix: str, expected: set[tuple[str, str | None]]) -> None:
    file = tar(tmp_path / "birds.tar", [(f"{prefix}robin/1.png", photo(1)), (f"{prefix}wren/deep/2.png", photo(2))])
    assert set(listed(file).values()) == expected


def test_members_in_split_folders(tmp_path: Path) -> None:
    file = tar(tmp_path / "birds.tar", [("set/train/robin/1.png", photo(1)), ("set/valid/wren/2.png", photo(2))])
    assert listed(file) == {
        "birds.tar/set/train/robin/1.png": ("robin", "train"),
        "birds.tar/set/valid/wren/2.png": ("wren", "val"),
    }


@pytest.mark.parametrize("above", ["train", "set/train"])
def test_a_split_folder_that_all_members_share_counts(tmp_path: Path, above: str) -> None:
    file = tar(tmp_path / "a.tar", [(f"{above}/robin/1.png", photo(1)), (f"{above}/wren/2.png", photo(2))])
    assert set(listed(file).values()) == {("robin", "train"), ("wren", "train")}


def test_names_with_dots_do_not_cost_more_the_more_there_are(tmp_path: Path) -> None:
    shard = _Shard(Listing(tmp_path, "shards"), str(tmp_path), "a.tar", str(tmp_path / "a.tar"), ())
    begun = time.process_time()
    for number in range(100_000):
        shard._take(Member(f"robin/cam.{number}.png", "file", 0, 1))
    assert time.process_time() - begun < 4
    assert len(shard.samples["robin/cam"].photos) == 100_000


def test_folders_of_shards_that_are_not_read_are_told(tmp_path: Path) -> None:
    tar(tmp_path / "set" / "a.tar", [("robin/1.png", photo(1))])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "set" / "more").symlink_to(tmp_path / "elsewhere")
    assert faults(tmp_path / "set") == {"more": "link"}


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_and_foreign_names_are_read_in_both_formats(tmp_path: Path, kind: int) -> None:
    name = f"Blåmes 青山雀/{'x' * 180}/{'y' * 60}.png"
    file = tar(tmp_path / "a.tar", [(name, photo(1)), ("wren/1.png", photo(2))], format=kind)
    assert listed(file)[f"a.tar/{name}"] == ("Blåmes 青山雀", None)
    assert PhotoReader(file).read(f"a.tar/{name}") == photo(1)


def test_many_threads_share_a_reader_that_keeps_few_containers_open(tmp_path: Path) -> None:
    paths = {}
    for number in range(12):
        tar(tmp_path / f"{number:02d}.tar", [(f"{at}.png", photo(number * 10 + at)) for at in range(10)])
        paths |= {f"{number:02d}.tar/{at}.png": photo(number * 10 + at) for at in range(10)}
    before = len(list(Path("/proc/self/fd").iterdir()))
    with PhotoReader(tmp_path) as reader, ThreadPoolExecutor(8) as pool:
        names = sorted(paths, key=lambda path: path[::-1]) * 5
        assert list(pool.map(reader.read, names)) == [paths[name] for name in names]
        assert len(list(Path("/proc/self/fd").iterdir())) - before <= reader_module.MAX_OPEN + 1
    assert threading.active_count() < 20
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


def test_a_container_that_changes_is_not_read_from_its_old_map(tmp_path: Path) -> None:
    file = tar(tmp_path / "a.tar", [("robin/1.png", photo(1)), ("wren/2.png", photo(2))])
    reader = PhotoReader(tmp_path)
    assert reader.read("a.tar/wren/2.png") == photo(2)
    changed = tar(tmp_path / "b.tar", [("wren/2.png", photo(9)), ("robin/1.png", photo(1)), ("x/3.png", photo(3))])
    with file.open("r+b") as stream:
        stream.write(changed.read_bytes())
    os.utime(file, (1, 1))
    with pytest.raises(ReadError) as caught:
        reader.read("a.tar/wren/2.png")
    assert caught.value.reason == "changed"
    assert reader.read("a.tar/wren/2.png") == photo(9)


# ---- which layout ------------------------------------------------------------------------------------------------


def test_class_folders_win_over_containers_that_lie_beside_them(tmp_path: Path) -> None:
    for name in ("robin", "wren"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(photo(1))
    tar(tmp_path / "backup.tar", [("robin/1.png", photo(1))])
    parquet(tmp_path / "splits.parquet", [0])
    found = listing_of(tmp_path)
    assert (found.layout, len(found.candidates)) == ("folders", 2)
    assert faults(tmp_path) == {"backup.tar": "not-in-class", "splits.parquet": "not-in-class"}


def test_pictures_beside_containers_do_not_make_them_class_folders(tmp_path: Path) -> None:
    parquet(tmp_path / "data" / "train-0.parquet", ["robin", "wren"])
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "banner.png").write_bytes(photo(1))
    assert listing_of(tmp_path).layout == "parquet"
    assert faults(tmp_path) == {"assets/banner.png": "not-a-container"}


def test_a_parquet_index_beside_tar_shards_does_not_make_them_parquet(tmp_path: Path) -> None:
    tar(tmp_path / "a.tar", [("robin/1.png", photo(1)), ("wren/2.png", photo(2))])
    pq.write_table(pa.table({"key": ["1", "2"], "label": [0, 1]}), tmp_path / "index.parquet")
    assert listing_of(tmp_path).layout == "shards"
    assert faults(tmp_path) == {"index.parquet": "not-a-container"}


def test_tables_in_parquet_and_paths_into_containers(tmp_path: Path) -> None:
    tar(tmp_path / "a.tar", [("x/1.png", photo(1)), ("x/2.png", photo(2))])
    (tmp_path / "3.png").write_bytes(photo(3))
    rows = {
        "Path": ["a.tar/x/1.png", "3.png", "b.tar/1.png", None],
        "label": ["robin", "wren", "owl", "owl"],
        "split": ["Dev", None, "", None],
        "group": [7, 8, None, None],
    }
    pq.write_table(pa.table(rows), tmp_path / "table.parquet")
    found = listing_of(tmp_path / "table.parquet")
    assert found.layout == "table"
    assert [(photo.path, photo.label, photo.split, photo.group) for photo in found.candidates] == [
        ("a.tar/x/1.png", "robin", "val", "7"),
        ("3.png", "wren", None, "8"),
    ]
    assert found.candidates[0].file == str(tmp_path / "a.tar")
    assert [(fault.path, fault.reason) for fault in found.faults] == [
        ("b.tar/1.png", "missing"),
        ("row 4", "incomplete"),
    ]
    assert PhotoReader(tmp_path / "table.parquet").read("a.tar/x/1.png") == photo(1)


def test_a_dev_folder_holds_validation_photos(tmp_path: Path) -> None:
    for place in ("train/robin", "train/wren", "Dev/robin"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "1.png").write_bytes(photo(1))
    assert {split for _, split in listed(tmp_path).values()} == {"train", "val"}


def test_plain_photos_are_read_with_the_facts_of_the_file_that_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "1.png"
    file.write_bytes(photo(1))
    reader = PhotoReader(tmp_path)
    content, facts = reader.read_with_facts("1.png")
    assert (content, facts.st_mtime_ns) == (photo(1), file.stat().st_mtime_ns)
    assert reader.read(str(file)) == photo(1)
    os.mkfifo(tmp_path / "pipe.png")
    monkeypatch.setattr(reader_module, "MAX_BYTES", 10)
    for path, reason in {"1.png": "too-large", "2.png": "missing", "pipe.png": "not-a-file", "a\0": "missing"}.items():
        with pytest.raises(ReadError) as caught:
            reader.read(path)
        assert caught.value.reason == reason


def test_a_photo_that_grows_while_it_is_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "1.png"
    file.write_bytes(photo(1))
    original = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        facts = original(descriptor)
        with file.open("ab") as stream:
            stream.write(b"more")
        return facts

    monkeypatch.setattr(reader_module.os, "fstat", fstat)
    with pytest.raises(ReadError, match="changed while it was read"):
        PhotoReader(tmp_path).read("1.png")


def test_unknown_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"")
    with pytest.raises(DataError, match=r"not a \.csv, \.parquet or \.tar"):
        listing_of(tmp_path / "x.npz")


# ---- all the way -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_photos_in_containers_are_decoded_and_shown_as_those_in_folders(tmp_path: Path, kind: str) -> None:
    if kind == "tar":
        tar(tmp_path / "set" / "a.tar", [(f"robin/{number}.png", photo(number)) for number in range(5)])
    else:
        parquet(tmp_path / "set" / "a.parquet", ["robin", "wren"] * 3)
    for root in (tmp_path / "set", tmp_path / "set" / f"a.{kind}"):
        paths = [candidate.path for candidate in listing_of(root).candidates]
        names = [(path, hashlib.sha256(photo(number)).hexdigest()) for number, path in enumerate(paths)]
        preprocess = Preprocess(width=16, height=16)
        pixels = decoded(names, root, preprocess, tmp_path / f"cache-{root.suffix}", Silent())
        expected = np.stack([preprocess(photo(number)) for number in range(len(paths))])
        np.testing.assert_array_equal(pixels[:], expected)
        thumbnails = Thumbnails(root)
        assert thumbnails.of(paths[1]) is not None
        assert thumbnails.of(f"a.{kind}/nothing") is None
    with pytest.raises(DataError, match="not the photo that was split"):
        decoded([(paths[0], "0" * 64)], tmp_path / "set", preprocess, tmp_path / "other", Silent())
    with pytest.raises(DataError, match="are not under"):
        decoded([("b.tar/x.png", "0" * 64)], tmp_path / "set", preprocess, tmp_path / "other", Silent())
    assert Thumbnails(tmp_path / "cache-").of(f"../set/{paths[0]}") is None


def test_joined_tars_are_read_to_their_end(tmp_path: Path) -> None:
    first = tar(tmp_path / "first.tar", [("a/1.png", photo(1)), ("b/1.png", photo(2))])
    second = tar(tmp_path / "second.tar", [("a/2.png", photo(3))])
    joined = tmp_path / "joined.tar"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    assert set(listed(joined)) == {"joined.tar/a/1.png", "joined.tar/b/1.png", "joined.tar/a/2.png"}
    assert faults(joined) == {}
    with PhotoReader(joined) as reader:
        assert reader.read("joined.tar/a/2.png") == photo(3)
