"""Containers and tables made to break readers: each is told of with its reason; nothing is written, hangs or swells."""

import io
import json
import os
import random
import resource
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from featherlite.data.reader import PhotoReader, ReadError
from featherlite.data.sources import listing_of
from featherlite.errors import DataError


def photo(shade: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (12, 10), (shade % 256, 9, 40)).save(stream, "PNG")
    return stream.getvalue()


def add(packed: tarfile.TarFile, name: str, content: bytes = b"", **facts: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in facts.items():
        setattr(info, key, value)
    packed.addfile(info, io.BytesIO(content))


def good(packed: tarfile.TarFile) -> None:
    add(packed, "robin/1.png", photo(1))
    add(packed, "wren/1.png", photo(2))


GOOD = {"a.tar/robin/1.png", "a.tar/wren/1.png"}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    def made(fill: Callable[[tarfile.TarFile], None], **options: object) -> Path:
        with tarfile.open(tmp_path / "a.tar", "w", **options) as packed:  # type: ignore[call-overload]
            fill(packed)
        return tmp_path / "a.tar"

    return made


def told(root: Path) -> tuple[set[str], dict[str, str]]:
    found = listing_of(root)
    return {entry.path for entry in found.candidates}, {fault.path: fault.reason for fault in found.faults}


# ---- tar ---------------------------------------------------------------------------------------------------------


def test_members_that_climb_out_link_or_are_devices_are_faults_and_cannot_be_read(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    def fill(packed: tarfile.TarFile) -> None:
        good(packed)
        add(packed, "../../etc/1.png", photo())
        add(packed, "/etc/passwd.png", photo())
        add(packed, "robin/../../x.png", photo())
        add(packed, "C:/x.png", photo())
        add(packed, "robin/link.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(packed, "robin/hard.png", type=tarfile.LNKTYPE, linkname="robin/1.png")
        add(packed, "robin/null.png", type=tarfile.CHRTYPE, devmajor=1, devminor=3)
        add(packed, "robin/pipe.png", type=tarfile.FIFOTYPE)
        add(packed, "robin/line\nbreak.png", photo())
        add(packed, "robin/._1.png", photo())
        add(packed, "robin/1.png", photo(9))

    file = make(fill)
    candidates, faults = told(file)
    assert candidates == GOOD
    assert faults == {
        "a.tar/../../etc/1.png": "climbs-out",
        "a.tar//etc/passwd.png": "climbs-out",
        "a.tar/robin/../../x.png": "climbs-out",
        "a.tar/C:/x.png": "climbs-out",
        "a.tar/robin/link.png": "link",
        "a.tar/robin/hard.png": "link",
        "a.tar/robin/null.png": "not-a-file",
        "a.tar/robin/pipe.png": "not-a-file",
        "a.tar/robin/line\nbreak.png": "bad-name",
        "a.tar/robin/._1.png": "hidden",
        "a.tar/robin/1.png": "repeated",
    }
    reader = PhotoReader(file)
    assert reader.read("a.tar/robin/1.png") == photo(1)
    for path in set(faults) - GOOD:
        with pytest.raises(ReadError):
            reader.read(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tar"]


@pytest.mark.parametrize("keep", [100, 512, 560, 1024 + 300, 2048 + 100, 3072])
def test_a_cut_tar_keeps_what_is_whole_and_lists_the_rest(make: Callable[..., Path], keep: int) -> None:
    file = make(good)
    os.truncate(file, keep)
    whole = {path for path, end in (("a.tar/robin/1.png", 1024), ("a.tar/wren/1.png", 2048)) if keep >= end}
    if not whole:
        with pytest.raises(DataError, match="cannot be used: it ends within"):
            told(file)
        return
    candidates, faults = told(file)
    assert candidates == whole
    assert faults == ({"a.tar": "truncated"} if keep < 3072 else {})
    assert PhotoReader(file).read("a.tar/robin/1.png") == photo(1)


def test_garbage_between_members_is_told(make: Callable[..., Path]) -> None:
    file = make(good)
    content = bytearray(file.read_bytes())
    content[1024:1536] = b"\xff" * 512
    file.write_bytes(content)
    assert told(file) == ({"a.tar/robin/1.png"}, {"a.tar": "damaged"})


def header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108], block[108:116], block[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    block[124:136], block[136:148], block[156:157] = size.ljust(12, b"\0"), b"00000000000\0", kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_sizes_that_lie_neither_circle_nor_fill_the_memory(make: Callable[..., Path]) -> None:
    whole = make(good).read_bytes()[:2048]
    file = make(good)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    for block in (
        header(b"x.png", b"\xff" * 12),  # minus one, in base 256
        header(b"x.png", b"\xff" + b"\xff" * 8 + b"\xfc\0\0"),  # back to an earlier header
        header(b"x.png", b"\x80" + b"\x7f" * 11),  # beyond any disk
        header(b"x", b"77777777777", b"L"),  # a name of 8 GiB
        header(b"x", b"77777777777", b"x"),  # attributes of 8 GiB
    ):
        file.write_bytes(whole + block + bytes(1024))
        candidates, faults = told(file)
        assert candidates == GOOD
        assert set(faults) == {"a.tar"}
    with file.open("wb") as stream:  # the 8 GiB are there, as a hole
        stream.write(whole + header(b"x", b"77777777777", b"x"))
        stream.truncate(9 * 2**30)
    assert told(file) == (GOOD, {"a.tar": "damaged"})
    with file.open("wb") as stream:
        stream.write(whole + header(b"robin/big.png", b"77777777777"))
        stream.truncate(9 * 2**30)
    assert told(file) == (GOOD, {"a.tar/robin/big.png": "too-large"})
    with pytest.raises(ReadError) as caught:
        PhotoReader(file).read("a.tar/robin/big.png")
    assert caught.value.reason == "too-large"
    assert time.perf_counter() - start < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_sparse_members_are_faults_and_what_follows_them_is_found(make: Callable[..., Path]) -> None:
    content = make(good).read_bytes()
    sparse = bytearray(header(b"robin/sparse.png", b"00000000005", b"S"))
    sparse[482] = 1
    sparse[148:156] = b" " * 8
    sparse[148:156] = b"%06o\0 " % sum(sparse)
    file = make(good)
    file.write_bytes(content[:1024] + bytes(sparse) + bytes(512) + b"12345".ljust(512, b"\0") + content[1024:])
    assert told(file) == (GOOD, {"a.tar/robin/sparse.png": "sparse"})

    def fill(packed: tarfile.TarFile) -> None:
        add(packed, "robin/s.png", photo(), pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})
        good(packed)

    assert told(make(fill, format=tarfile.PAX_FORMAT)) == (GOOD, {"a.tar/robin/s.png": "sparse"})


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar.xz", "a.zip"])
def test_compressed_archives_are_refused_with_the_way_out(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x1f\x8b" + bytes(100))
    for root in (tmp_path, tmp_path / name):
        with pytest.raises(DataError, match="compressed") as caught:
            listing_of(root)
        assert "Decompress it" in caught.value.hint


def test_a_gzip_file_under_the_name_of_a_tar_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w:gz") as packed:
        good(packed)
    with pytest.raises(DataError, match="compressed"):
        listing_of(tmp_path)


def test_labels_made_to_hurt_are_no_labels(make: Callable[..., Path]) -> None:
    def fill(packed: tarfile.TarFile) -> None:
        for number, label in enumerate(
            (b"[" * 100_000, b'{"label": [1]}', b'{"label": true}', b"\xff\xfe", b"1" * 9000)
        ):
            add(packed, f"{number}.json", label)
            add(packed, f"{number}.png", photo())
        add(packed, "big.cls", bytes(2**20 + 1))
        add(packed, "big.png", photo())
        good(packed)

    candidates, faults = told(make(fill))
    assert candidates == GOOD
    assert set(faults.values()) == {"no-label"}
    assert len(faults) == 6


@pytest.mark.parametrize("label", ['"a\\nb"', '"\\ud800abc"', '" "'])
def test_one_impossible_class_name_does_not_spoil_the_shard(make: Callable[..., Path], label: str) -> None:
    def fill(packed: tarfile.TarFile) -> None:
        add(packed, "1.json", label.encode())
        add(packed, "1.png", photo())
        good(packed)

    candidates, faults = told(make(fill))
    assert candidates == GOOD
    assert set(faults.values()) == {"bad-label"}


def test_one_impossible_class_name_does_not_spoil_the_rows(tmp_path: Path) -> None:
    images = [{"bytes": photo(), "path": ""}] * 3
    pq.write_table(pa.table({"image": images, "label": ["wren", "a\nb", "robin"]}), tmp_path / "a.parquet")
    found = listing_of(tmp_path)
    assert [one.label for one in found.candidates] == ["wren", "robin"]
    assert [fault.reason for fault in found.faults] == ["bad-label"]


def test_an_extended_header_full_of_records_costs_no_more_than_its_size(make: Callable[..., Path]) -> None:
    records = b"6 a=b\n" * 160_000
    begun = time.process_time()
    file = make(good)
    extended = header(b"x", b"%011o\0" % len(records), b"x") + records
    file.write_bytes(3 * extended + file.read_bytes())
    assert told(file)[0] == GOOD
    assert time.process_time() - begun < 3


def test_damaged_bytes_never_crash_the_walk(make: Callable[..., Path]) -> None:
    original = make(good, format=tarfile.PAX_FORMAT).read_bytes()
    file = make(good)
    choose = random.Random(4)
    for _ in range(150):
        content = bytearray(original[: choose.randrange(1, len(original))] if choose.random() < 0.3 else original)
        for _ in range(choose.randrange(1, 8)):
            content[choose.randrange(min(len(content), 2048))] = choose.randrange(256)
        file.write_bytes(content)
        try:
            candidates = listing_of(file).candidates
        except DataError:
            continue
        reader = PhotoReader(file)
        for candidate in candidates:
            reader.read(candidate.path)


# ---- Parquet -----------------------------------------------------------------------------------------------------

IMAGE = [{"bytes": photo(), "path": None}]


@pytest.mark.parametrize(
    ("columns", "metadata", "message"),
    [
        ({"a": [1]}, None, "has no column 'path'"),
        ({"image": IMAGE}, None, "no column of classes"),
        ({"image": IMAGE, "label": [1.5]}, None, "no column of classes"),
        ({"image": [b"x"], "photo": [b"y"], "label": [1]}, None, None),
        ({"img": [b"x"], "photo": [b"y"], "label": [1]}, None, "more than one column of photos: img, photo"),
        ({"image": [[1, 2]], "label": [1]}, None, "has no column 'path'"),
        ({"image": IMAGE, "label": [1]}, b"{", "metadata cannot be understood"),
        ({"image": IMAGE, "label": [1]}, b"[" * 100_000, "metadata cannot be understood"),
        ({"image": IMAGE, "label": [1]}, {"label": {"_type": "ClassLabel", "names": "ab"}}, "not a list of texts"),
        ({"image": IMAGE, "label": [1]}, {"label": {"_type": "ClassLabel", "names": ["a", "a"]}}, "the same name"),
        ({"image": IMAGE, "label": [1]}, {"label": {"_type": "ClassLabel", "names": ["a", "b\n"]}}, "control char"),
    ],
)
def test_a_wrong_schema_is_told_in_words(
    tmp_path: Path, columns: dict[str, list[object]], metadata: object, message: str | None
) -> None:
    table = pa.table(columns)
    if metadata is not None:
        raw = metadata if isinstance(metadata, bytes) else json.dumps({"info": {"features": metadata}}).encode()
        table = table.replace_schema_metadata({b"huggingface": raw})
    pq.write_table(table, tmp_path / "x.parquet")
    if message is None:
        assert len(listing_of(tmp_path / "x.parquet").candidates) == 1
        return
    with pytest.raises(DataError, match=message) as caught:
        listing_of(tmp_path / "x.parquet")
    assert caught.value.hint


def test_one_foreign_file_in_a_folder_is_a_fault_and_the_others_are_used(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": IMAGE * 2, "label": ["a", "b"]}), tmp_path / "good.parquet")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "text.parquet")
    (tmp_path / "zero.parquet").write_bytes(b"")
    (tmp_path / "junk.parquet").write_bytes(b"PAR1" + bytes(60) + b"PAR1")
    candidates, faults = told(tmp_path)
    assert len(candidates) == 2
    assert faults == {"text.parquet": "wrong-schema", "zero.parquet": "wrong-schema", "junk.parquet": "wrong-schema"}


def test_damaged_parquet_never_crashes_the_reader(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    rows = [{"bytes": photo(number), "path": None} for number in range(20)]
    pq.write_table(pa.table({"image": rows, "label": ["a", "b"] * 10}), file, row_group_size=6)
    original = file.read_bytes()
    choose = random.Random(5)
    refused = 0
    for _ in range(120):
        content = bytearray(original[: choose.randrange(8, len(original))] if choose.random() < 0.2 else original)
        for _ in range(choose.randrange(1, 30)):
            content[choose.randrange(len(content))] = choose.randrange(256)
        file.write_bytes(content)
        try:
            paths = [candidate.path for candidate in listing_of(file).candidates]
            with PhotoReader(file) as reader:
                for path in paths:
                    reader.read(path)
        except DataError:
            refused += 1
    assert refused > 30


def test_a_row_that_swells_from_a_small_file_is_read_alone(tmp_path: Path) -> None:
    """50 MB of zeros shrink to little; rows are decoded a few at a time, so one is not all of them."""
    values = [bytes(50_000_000), *[photo(number) for number in range(30)]]
    pq.write_table(
        pa.table({"image": pa.array(values, pa.binary()), "label": ["a", "b"] * 15 + ["a"]}),
        tmp_path / "x.parquet", compression="zstd", use_dictionary=False,
    )  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with PhotoReader(tmp_path) as reader:
        for number in range(30):
            assert reader.read(f"x.parquet/{number + 1:07d}") == photo(number)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # KiB


def test_one_large_photo_that_all_rows_share_is_not_copied_for_each(tmp_path: Path) -> None:
    large = pa.array([bytes(40_000_000)], pa.binary())
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 32, pa.int32()), large)
    pq.write_table(
        pa.table({"image": shared, "label": ["a", "b"] * 16}), tmp_path / "x.parquet", compression="zstd",
        use_dictionary=True, store_schema=False,
    )  # fmt: skip
    assert pq.ParquetFile(tmp_path / "x.parquet").metadata.row_group(0).column(0).has_dictionary_page
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with PhotoReader(tmp_path) as reader:
        assert [len(reader.read(f"x.parquet/{row:07d}")) for row in (0, 1, 20)] == [40_000_000] * 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000  # KiB; all rows are 1.3 GB


def test_a_table_of_paths_may_hold_other_bytes(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(photo())
    pq.write_table(pa.table({"path": ["1.png"], "label": ["a"], "digest": [b"123"]}), tmp_path / "x.parquet")
    assert told(tmp_path / "x.parquet") == ({"1.png"}, {})


# ---- tables ------------------------------------------------------------------------------------------------------


def test_addresses_in_a_table_are_told_and_never_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket", lambda *_, **__: pytest.fail("a table reached for the network"))
    paths = ["https://x.example/1.png", "HTTP://x/2.png", "ftp://x/3", "file:///etc/passwd", "data:image/png;base64,AA"]
    (tmp_path / "1.png").write_bytes(photo())
    rows = "".join(f'"{path}",a\n' for path in paths)
    (tmp_path / "t.csv").write_text(f"path,label\n1.png,b\n{rows}{paths[0]},a\n")
    candidates, faults = told(tmp_path / "t.csv")
    assert candidates == {"1.png"}
    assert {path: faults[path] for path in paths[1:]} == dict.fromkeys(paths[1:], "url")
    assert paths[0] in faults


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "shift-jis"])
def test_a_table_in_another_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "t.csv").write_bytes("path,label\n鳥.png,鳥\n".encode(encoding, "replace").replace(b"?", b"\xe9"))
    with pytest.raises(DataError, match=r"not UTF-8|no column 'path'"):
        listing_of(tmp_path / "t.csv")


def test_names_made_to_hurt_in_a_table_are_faults(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(photo())
    os.mkfifo(tmp_path / "pipe.png")
    rows = ["1.png", "./1.png", "x/../1.png", str(tmp_path / "1.png"), "nul\0.png", "/dev/zero", "pipe.png", "x" * 300]
    with (tmp_path / "t.csv").open("w", newline="") as stream:
        stream.write("path,label\n" + "".join(f"{row},a\n" for row in rows))
    found = listing_of(tmp_path / "t.csv")
    assert [candidate.path for candidate in found.candidates] == ["1.png"]
    assert sorted(fault.reason for fault in found.faults) == [
        *["not-a-file"] * 2, *["repeated"] * 3, *["unreadable"] * 2,
    ]  # fmt: skip


def test_a_long_table_costs_little_more_than_its_candidates(tmp_path: Path) -> None:
    """20,000 rows: a third repeats, and nearly all of the rest is missing."""
    import tracemalloc

    (tmp_path / "x").mkdir()
    for number in range(100):
        (tmp_path / "x" / f"{number}.png").touch()
    with (tmp_path / "t.csv").open("w") as stream:
        stream.write("path,label,split,group\n")
        for number in range(20_000):
            stream.write(f"x/{number % 13_000}.png,class {number % 500},train,nest {number % 9}\n")
    tracemalloc.start()
    found = listing_of(tmp_path / "t.csv")
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.candidates) == 100
    assert len(found.faults) == 19_900
    assert held < 400 * 20_000
    assert peak - held < 150 * 20_000
