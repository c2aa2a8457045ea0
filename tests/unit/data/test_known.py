"""Known sets: the table, downloads that break off, archives of strangers, and the command."""

import hashlib
import io
import json
import re
import struct
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from featherlite.cli import main
from featherlite.data import known as known_module
from featherlite.data.known import KnownFile, KnownSet, fetch_known, known_set, known_sets
from featherlite.data.sources import listing_of
from featherlite.data.unpack import unpack
from featherlite.download import Remote, download
from featherlite.errors import DataError, FeatherliteError, RequestError
from featherlite.step import Silent


class Server:
    """Serves one file; may break off after some bytes, ignore ranges, or send errors first."""

    def __init__(self) -> None:
        self.content = bytes(range(256)) * 4000
        self.etag = '"v1"'
        self.cuts: list[int] = []
        self.ranges = True
        self.errors: list[int] = []
        self.asked: list[str | None] = []
        self.tokens: list[str | None] = []
        self.moved = ""
        self.url = ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    monkeypatch.setattr("featherlite.download.time.sleep", lambda _: None)

    class Answers(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            made.asked.append(wanted)
            made.tokens.append(self.headers.get("Authorization"))
            if made.moved:
                self.send_response(302)
                self.send_header("Location", made.moved)
                self.end_headers()
                made.moved = ""
                return
            if made.errors:
                self.send_error(made.errors.pop(0))
                return
            begin = 0
            if wanted and made.ranges and self.headers.get("If-Range") == made.etag:
                begin = int(wanted.removeprefix("bytes=").rstrip("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {begin}-{len(made.content) - 1}/{len(made.content)}")
            else:
                self.send_response(200)
            content = made.content[begin:]
            self.send_header("ETag", made.etag)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: made.cuts.pop(0)] if made.cuts else content)

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    made.url = f"http://127.0.0.1:{listener.server_port}/birds.tar"
    yield made
    listener.shutdown()
    listener.server_close()
    thread.join()


def photo(shade: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (12, 10), (shade, 9, 40)).save(stream, "PNG")
    return stream.getvalue()


def packed(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


# ---- the table ---------------------------------------------------------------------------------------------------


def test_the_table_holds_what_it_promises() -> None:
    wanted = {
        "birds-525", "cub-200-2011", "intel-scenes", "caltech-256", "caltech-101", "flowers-102", "flowers-5",
        "lasbird", "inat-2021-mini-birds", "nabirds", "oxford-pets",
    }  # fmt: skip
    assert set(known_sets()) >= wanted
    for known in known_sets().values():
        assert known.home.startswith("https://")
        assert all((known.licence, known.faults, known.layout))
        assert known.fetchable or known.by_hand
        assert not known.fetchable or (known.reader and known.root)
        for file in known.files:
            assert file.url.startswith("https://")
            assert re.fullmatch(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", file.digest)
        re.compile(known.only)
    assert known_set("CUB-200-2011").photos == 11_788
    with pytest.raises(RequestError, match="no known set 'flower-5'") as caught:
        known_set("flower-5")
    assert "flowers-5" in caught.value.hint


# ---- downloads ---------------------------------------------------------------------------------------------------


def test_a_download_that_breaks_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.cuts = [300_000, 200_000]
    remote = Remote(server.url, len(server.content), "sha256:" + hashlib.sha256(server.content).hexdigest())
    file = download(remote, tmp_path / "birds.tar", Silent())
    assert file.read_bytes() == server.content
    assert server.asked == [None, "bytes=300000-", "bytes=500000-"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["birds.tar"]


def test_a_download_goes_on_in_another_process_but_not_on_another_file(server: Server, tmp_path: Path) -> None:
    server.cuts = [300_000]
    with pytest.raises(DataError, match="cannot be fetched") as caught:
        download(Remote(server.url), tmp_path / "birds.tar", Silent(), attempts=1)
    assert "goes on where it stopped" in caught.value.hint
    assert not (tmp_path / "birds.tar").exists()
    server.content, server.etag = server.content[::-1], '"v2"'
    assert download(Remote(server.url), tmp_path / "birds.tar", Silent()).read_bytes() == server.content
    assert server.asked == [None, "bytes=300000-"]


def test_a_server_without_ranges_is_asked_for_all(server: Server, tmp_path: Path) -> None:
    server.cuts, server.ranges = [300_000], False
    assert download(Remote(server.url), tmp_path / "x", Silent()).read_bytes() == server.content


def test_busy_servers_are_asked_again_and_refusals_are_not(server: Server, tmp_path: Path) -> None:
    server.errors = [503, 429]
    download(Remote(server.url), tmp_path / "x", Silent())
    server.errors, server.asked = [404], []
    with pytest.raises(DataError, match="answers 404"):
        download(Remote(server.url), tmp_path / "y", Silent())
    assert len(server.asked) == 1


def test_a_part_with_nothing_behind_it_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(bytes(10))
    (tmp_path / "x.part.json").write_text(json.dumps({"url": server.url, "validator": server.etag, "size": None}))
    server.errors = [416]
    assert download(Remote(server.url), tmp_path / "x", Silent()).read_bytes() == server.content
    assert server.asked == ["bytes=10-", None]


def test_a_token_is_not_sent_on_to_another_server(server: Server, tmp_path: Path) -> None:
    server.moved = server.url.replace("127.0.0.1", "localhost") + "2"
    download(Remote(server.url, headers={"Authorization": "Bearer secret"}), tmp_path / "x", Silent())
    assert server.tokens == ["Bearer secret", None]


@pytest.mark.parametrize("wrong", ["digest", "size"])
def test_another_file_than_expected_is_deleted(server: Server, tmp_path: Path, wrong: str) -> None:
    remote = Remote(server.url, digest="md5:" + "0" * 32) if wrong == "digest" else Remote(server.url, 17)
    with pytest.raises(DataError, match=r"is not the file it should be|17 were expected"):
        download(remote, tmp_path / "birds.tar", Silent())
    assert not (tmp_path / "birds.tar").exists()
    assert not list(tmp_path.glob("*.part"))


def test_only_web_addresses_are_fetched_and_nobody_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not an https address"):
        download(Remote("file:///etc/passwd"), tmp_path / "x", Silent())
    with pytest.raises(DataError, match="cannot be fetched"):
        download(Remote("http://127.0.0.1:9/x"), tmp_path / "x", Silent(), attempts=1)


# ---- archives ----------------------------------------------------------------------------------------------------


def test_archives_are_unpacked_whole_or_not_at_all(tmp_path: Path) -> None:
    inner = packed({"set/robin/1.png": photo()})
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("top/inner.tar.gz", inner)
        archive.writestr("top/readme", "x")
        archive.writestr("__MACOSX/._readme", "x")
    out = unpack(tmp_path / "a.zip", tmp_path / "out", ("top/inner.tar.gz",))
    files = {file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()}
    assert files == {"top/readme", "top/set/robin/1.png"}
    with pytest.raises(DataError, match="exists already"):
        unpack(tmp_path / "a.zip", out)


def evil_tar(name: str, **facts: object) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo(name)
        for key, value in facts.items():
            setattr(info, key, value)
        archive.addfile(info)
        info = tarfile.TarInfo("robin/1.png")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    return stream.getvalue()


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_archives_that_climb_out_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    file = tmp_path / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(name, "x")
    else:
        file.write_bytes(evil_tar(name))
    with pytest.raises(DataError, match=r"climbs out|absolute"):
        unpack(file, tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == [file.name]


def test_links_and_devices_in_archives_are_left_out(tmp_path: Path) -> None:
    for kind, target in ((tarfile.SYMTYPE, "/etc"), (tarfile.LNKTYPE, "/etc/passwd"), (tarfile.FIFOTYPE, "")):
        (tmp_path / "a.tar").write_bytes(evil_tar("robin", type=kind, linkname=target))
        out = unpack(tmp_path / "a.tar", tmp_path / f"out{kind.decode()}")
        assert [file.relative_to(out).as_posix() for file in out.rglob("*")] == ["robin", "robin/1.png"]


def test_bombs_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featherlite.data.unpack.SLACK_BYTES", 2**20)
    (tmp_path / "a.tgz").write_bytes(packed({"robin/1.png": bytes(30_000_000)}))
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("robin/1.png", bytes(30_000_000))
    content = bytearray((tmp_path / "b.zip").read_bytes())
    place = content.rindex(b"PK\x01\x02")
    content[place + 24 : place + 28] = struct.pack("<I", 10)  # claims ten bytes
    (tmp_path / "c.zip").write_bytes(content)
    for name in ("a.tgz", "b.zip", "c.zip"):
        with pytest.raises(DataError, match=r"a bomb|cannot be unpacked"):
            unpack(tmp_path / name, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        assert not list(tmp_path.glob(".out*"))


def test_a_name_of_gigabytes_is_not_read_into_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**21
    (tmp_path / "a.tar").write_bytes(info.tobuf() + bytes(2**21) + packed({"robin/1.jpg": photo()}, "w"))
    with pytest.raises(DataError, match="extended header of 2097152 bytes"):
        unpack(tmp_path / "a.tar", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"not an archive" * 99, packed({"a/1.png": photo()})[:-30]])
def test_damaged_archives_leave_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tgz").write_bytes(content)
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpack(tmp_path / "a.tgz", tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tgz"]


# ---- sets --------------------------------------------------------------------------------------------------------


def a_set(url: str, content: bytes, **facts: object) -> KnownSet:
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    file = KnownFile(url=url, bytes=len(content), digest=digest)
    told = {"name": "tiny", "title": "Tiny", "home": "https://x", "licence": "unknown", "layout": "x"}
    return KnownSet(**{**told, "files": (file,), **facts})  # type: ignore[arg-type]


def test_a_set_of_class_folders_is_fetched_and_listed(server: Server, tmp_path: Path) -> None:
    server.content = packed({f"top/{name}/1.png": photo() for name in ("1_Aves_robin", "2_Aves_wren", "3_Fungi_cap")})
    server.cuts = [50]
    known = a_set(server.url, server.content, reader="folders", root="top", only="top/[^/]*_Aves_[^/]*/[^/]+")
    root = fetch_known(known, tmp_path / "out", Silent())
    assert root == tmp_path / "out" / "top"
    assert {photo.label for photo in listing_of(root).candidates} == {"1_Aves_robin", "2_Aves_wren"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_classes_in_file_names_and_in_lists_become_a_table(server: Server, tmp_path: Path) -> None:
    server.content = packed({"images/great_tit_1.png": photo(), "images/wren_10.png": photo(), "images/x.mat": b""})
    known = a_set(server.url, server.content, reader="name", root="images")
    found = listing_of(fetch_known(known, tmp_path / "a", Silent()))
    assert {photo.path: photo.label for photo in found.candidates} == {
        "images/great_tit_1.png": "great_tit", "images/wren_10.png": "wren",
    }  # fmt: skip
    lists = {
        "CUB/images.txt": b"1 001.Robin/a.png\n2 002.Sooty_Tern/b.png\n",
        "CUB/classes.txt": b"1 001.Robin\n2 002.Sooty_Tern\n",
        "CUB/image_class_labels.txt": b"1 1\n2 2\n",
        "CUB/train_test_split.txt": b"1 1\n2 0\n",
        "CUB/images/001.Robin/a.png": photo(),
        "CUB/images/002.Sooty_Tern/b.png": photo(),
    }
    (tmp_path / "given.tgz").write_bytes(packed(lists))
    by_hand = a_set(server.url, b"", reader="lists", root="CUB", files=(), by_hand="log in")
    found = listing_of(fetch_known(by_hand, tmp_path / "b", Silent(), tmp_path / "given.tgz"))
    assert [(photo.path, photo.label, photo.split) for photo in found.candidates] == [
        ("CUB/images/001.Robin/a.png", "Robin", "train"),
        ("CUB/images/002.Sooty_Tern/b.png", "Sooty Tern", "test"),
    ]
    assert (tmp_path / "given.tgz").exists()


@pytest.mark.parametrize("reader", ["folders", "name", "lists"])
def test_an_archive_that_holds_something_else_leaves_nothing(server: Server, tmp_path: Path, reader: str) -> None:
    server.content = packed({"images/robin.txt": b"x"})
    root = "nowhere" if reader == "folders" else "images"
    with pytest.raises(DataError, match=r"holds no folder|No photo was found|cannot be understood"):
        fetch_known(a_set(server.url, server.content, reader=reader, root=root), tmp_path / "out", Silent())
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("*.tmp"))


# ---- the command -------------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["data", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_lists_shows_and_says_what_it_would_do(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert "cub-200-2011" in out
    _, out, _ = run(capsys, "list", "--json")
    assert {entry["name"] for entry in json.loads(out)["sets"]} == set(known_sets())
    _, out, _ = run(capsys, "show", "oxford-pets")
    assert "CC-BY-SA" in out
    assert "known fault" in out
    target = tmp_path / "pets"
    _, out, _ = run(capsys, "fetch", "oxford-pets", "--out", str(target), "--dry-run")
    for word in ("robots.ox.ac.uk", "791.9 MB", "licence: CC-BY-SA", str(target), "Nothing was fetched"):
        assert word in out
    _, out, _ = run(capsys, "fetch", "birds-525", "--out", str(target), "--dry-run")
    assert "Kaggle login" in out
    assert not target.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fletch"], "no action 'fletch'"),
        (["show"], "needs a name"),
        (["show", "cub"], "no known set 'cub'"),
        (["fetch", "oxford-pets"], "needs a folder"),
        (["fetch", "birds-525", "--out", "x"], "cannot be fetched for you"),
        (["fetch", "nabirds", "--out", "x", "--from", "nowhere.tgz"], "no such file"),
        (["fetch", "hub:birds", "--out", "x"], "names no data set"),
    ],
)
def test_wrong_requests_are_told(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    code, _, err = run(capsys, *words)
    assert code == 2
    assert message in err


def test_the_command_fetches(
    server: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content = packed({f"top/{name}/1.png": photo() for name in ("robin", "wren")})
    known = a_set(server.url, server.content, reader="folders", root="top")
    monkeypatch.setattr(known_module, "known_sets", lambda: {"tiny": known})
    code, out, _ = run(capsys, "fetch", "tiny", "--out", str(tmp_path / "out"), "--json")
    assert code == 0
    assert json.loads(out)["data"] == str(tmp_path / "out" / "top")
    assert issubclass(DataError, FeatherliteError)
    assert run(capsys, "fetch", "tiny", "--out", str(tmp_path / "out"))[0] == 2
