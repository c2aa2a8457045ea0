"""Data sets by name, against a stand-in hub that can be slow, break off, lie, or be gone."""

import io
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featherlite.data import hub as hub_module
from featherlite.data.hub import HubSet, fetch_plan, hub_plan, hub_set, resolve
from featherlite.data.sources import listing_of
from featherlite.errors import DataError, RequestError
from featherlite.step import Silent

from ..stand_in_hub import COMMIT, Hub, served

SET = Path("hub:someone/birds")


def parquet(labels: list[str]) -> bytes:
    stream = io.BytesIO()
    images = [{"bytes": b"photo %d " % number * 40_000, "path": None} for number in range(len(labels))]
    pq.write_table(pa.table({"image": images, "label": labels}), stream, compression="none", use_dictionary=False)
    return stream.getvalue()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub("datasets", "someone/birds")
    made.files = {
        "README.md": b"---\nlicense: cc0-1.0\n---\n",
        "loader.py": b"raise SystemExit('never run')",
        "data/train-00000-of-00001.parquet": parquet(["robin", "wren"]),
        "data/test-00000-of-00001.parquet": parquet(["robin"]),
    }
    with served(made):
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr("featherlite.download.time.sleep", lambda _: None)
        yield made


def test_a_set_by_name_becomes_a_folder_of_parquet(hub: Hub, tmp_path: Path) -> None:
    place = resolve(SET, tmp_path)
    assert place == tmp_path / "hub" / "someone--birds" / COMMIT
    files = sorted(file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file())
    assert files == ["data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"]
    assert [entry.name for entry in place.parent.iterdir() if entry.name.startswith(".")] == []
    assert not any(file.is_symlink() for file in place.rglob("*"))
    found = listing_of(place)
    assert [(photo.label, photo.split) for photo in found.candidates] == [
        ("robin", "test"), ("robin", "train"), ("wren", "train"),
    ]  # fmt: skip
    assert found.faults == []
    plan = hub_plan(hub_set(SET))  # type: ignore[arg-type]
    assert (plan.licence, len(plan.files), plan.commit) == ("cc0-1.0", 2, COMMIT)
    assert plan.size == sum(len(hub.files[file]) for file in files)


def test_a_set_of_photos_is_fetched_as_folders(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"train/robin/1.jpg": b"a", "train/wren/2.jpg": b"b", "logo.png": b"c", "x.zip": b"d"}
    found = listing_of(resolve(SET, tmp_path))
    assert {photo.path: photo.split for photo in found.candidates} == {
        "train/robin/1.jpg": "train", "train/wren/2.jpg": "train",
    }  # fmt: skip


def test_what_was_fetched_is_used_without_asking_for_it_again(hub: Hub, tmp_path: Path) -> None:
    place = resolve(SET, tmp_path)
    hub.methods.clear()
    assert resolve(SET, tmp_path) == place
    assert hub.methods == {"GET": 1}
    hub.methods.clear()
    assert resolve(Path(f"{SET}@{COMMIT}"), tmp_path) == place
    assert not hub.methods


def test_a_new_commit_is_fetched_beside_the_old_one(hub: Hub, tmp_path: Path) -> None:
    old = resolve(SET, tmp_path)
    hub.commit = COMMIT[::-1]
    hub.files["data/test-00000-of-00001.parquet"] = parquet(["wren"])
    new = resolve(SET, tmp_path)
    assert new != old
    assert old.is_dir()
    assert listing_of(new).candidates[0].label == "wren"


def test_paths_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hub:a" / "b").mkdir(parents=True)
    for path in (tmp_path, Path("nowhere"), Path("hub:a/b")):
        assert resolve(path, tmp_path / "cache") == path
    for wrong in ("hub:", "hub:birds", "hub:a/b/c", "hub:../b", "hub:a b/c"):
        with pytest.raises(RequestError, match="names no data set"):
            resolve(Path(wrong), tmp_path)


# ---- the way there -----------------------------------------------------------------------------------------------


def test_a_connection_that_breaks_goes_on_within_one_call(hub: Hub, tmp_path: Path) -> None:
    hub.break_after, hub.breaks_left = 100_000, 3
    place = resolve(SET, tmp_path)
    for name in ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"):
        assert (place / name).read_bytes() == hub.files[name]
    assert hub.ranges


def test_a_fetch_that_failed_half_way_leaves_nothing_to_use_and_goes_on_later(hub: Hub, tmp_path: Path) -> None:
    hub.break_after, hub.dies = 100_000, True
    big = hub.files["data/train-00000-of-00001.parquet"]
    with pytest.raises(DataError, match="cannot be fetched") as caught:
        resolve(SET, tmp_path)
    assert "goes on where it stopped" in caught.value.hint
    shelf = tmp_path / "hub" / "someone--birds"
    assert not (shelf / COMMIT).exists()
    assert not list(shelf.rglob("*.parquet"))
    kept = [file for file in shelf.rglob("*.part") if file.is_file() and file.stat().st_size]
    assert kept
    hub.break_after, hub.ranges = None, []
    place = resolve(SET, tmp_path)
    assert hub.ranges
    assert int(hub.ranges[0].removeprefix("bytes=").rstrip("-")) > 0
    assert (place / "data/train-00000-of-00001.parquet").read_bytes() == big
    assert not list(shelf.rglob("*.part*"))


def test_what_another_set_left_half_way_is_not_mixed_in(hub: Hub, tmp_path: Path) -> None:
    hub.break_after, hub.dies = 100_000, True
    hub.files = {"a.parquet": b"one" * 9, "b.parquet": bytes(300_000)}
    with pytest.raises(DataError, match="cannot be fetched"):
        fetch_plan(hub_plan(HubSet("someone/birds")), tmp_path / "out", Silent())
    hub.commit, hub.break_after = COMMIT[::-1], None
    hub.files = {"a.parquet": b"two" * 9}
    place = fetch_plan(hub_plan(HubSet("someone/birds")), tmp_path / "out", Silent())
    files = {file.relative_to(place).as_posix(): file.read_bytes() for file in place.rglob("*") if file.is_file()}
    assert files == hub.files


def test_without_a_network_what_is_whole_is_used_and_else_told(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = resolve(SET, tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert resolve(SET, tmp_path) == place
    start = time.perf_counter()
    with pytest.raises(DataError, match=r"hub:someone/birds cannot be fetched from http://127.0.0.1:9") as caught:
        resolve(SET, tmp_path / "empty")
    assert "HF_ENDPOINT" in caught.value.hint
    assert time.perf_counter() - start < 30
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert resolve(SET, tmp_path) == place
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        resolve(SET, tmp_path / "empty")


def test_a_hub_that_does_not_answer_is_given_up(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "TIMEOUT_S", 0.2)
    hub.delay_s = 1.0
    start = time.perf_counter()
    with pytest.raises(DataError, match="cannot be fetched"):
        resolve(SET, tmp_path)
    assert time.perf_counter() - start < 60


# ---- hubs that lie -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lie", [b"short", None])
def test_other_bytes_than_the_hub_told_of_are_deleted(hub: Hub, tmp_path: Path, lie: bytes | None) -> None:
    name = "data/train-00000-of-00001.parquet"
    hub.lies[name] = lie if lie is not None else hub.files[name][:-1] + b"X"
    with pytest.raises(DataError, match=r"not the file it should be|were expected"):
        resolve(SET, tmp_path)
    assert not list((tmp_path / "hub").rglob("train-*.parquet"))
    del hub.lies[name]
    assert (resolve(SET, tmp_path) / name).read_bytes() == hub.files[name]


@pytest.mark.parametrize("name", ["../../../../evil.parquet", "/etc/evil.parquet", "data/../../evil.parquet"])
def test_file_names_that_climb_out_are_refused(hub: Hub, tmp_path: Path, name: str) -> None:
    hub.files[name] = b"x"
    with pytest.raises(DataError, match=r"climbs out|absolute"):
        resolve(SET, tmp_path)
    assert not list(tmp_path.rglob("evil*"))


def test_sets_that_are_not_there_or_hold_no_photos_are_told(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="knows no data set 'someone/else'"):
        resolve(Path("hub:someone/else"), tmp_path)
    with pytest.raises(DataError, match="no revision 'v9'"):
        resolve(Path(f"{SET}@v9"), tmp_path)
    hub.files = {"birds.zip": b"x"}
    with pytest.raises(DataError, match="neither Parquet files nor folders of photos"):
        resolve(SET, tmp_path)
    hub.commit = "not a commit"
    with pytest.raises(DataError, match="it is no hub"):
        resolve(SET, tmp_path)
