"""Photos judged in threads and in processes of their own."""

from pathlib import Path

import pytest

from featherlite.data import reading
from featherlite.data.reading import Judged, judge_photos
from featherlite.data.sample import SampleConfig, draw_samples
from featherlite.data.source import scan


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn photos, an empty file, half a photo, and a name with a line break in it."""
    folder = tmp_path_factory.mktemp("reading") / "photos"
    draw_samples(folder, SampleConfig(species=2, photos=40, px=48))
    first = sorted(folder.glob("*/*.jpg"))[0]
    (first.parent / "cut.jpg").write_bytes(first.read_bytes()[:600])
    (first.parent / "empty.jpg").write_bytes(b"")
    (first.parent / "two\nlines é.jpg").write_bytes(first.read_bytes())
    return folder


def paths(root: Path) -> list[str]:
    return [*sorted(file.relative_to(root).as_posix() for file in root.glob("*/*.jpg")), "gone.jpg"]


def judged(root: Path) -> list[Judged]:
    return [one for block in judge_photos(root, paths(root)) for one in block]


def test_processes_say_what_threads_say(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_threads = judged(root)
    monkeypatch.setattr(reading, "FEW", 0)
    assert judged(root) == in_threads
    reasons = {path: one.verdict.reason for path, one in zip(paths(root), in_threads, strict=True)}
    assert {reason for reason in reasons.values() if reason} == {"truncated", "empty", "missing"}


def test_a_scan_is_the_same_from_processes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = scan(root)
    monkeypatch.setattr(reading, "FEW", 0)
    found = scan(root)
    assert found == expected
    assert (found.looks == expected.looks).all()


def test_killed_processes_are_replaced(root: Path) -> None:
    expected = judged(root)
    crew = reading._Crew(root)
    try:
        assert crew.ready()
        for one in crew._all:
            one._process.kill()
        assert crew.judge(paths(root)) == expected
    finally:
        crew.close()


def test_a_photo_that_brings_the_process_down_is_a_fault(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reading._Judge.judge
    deadly = paths(root)[3]

    def judge(one: reading._Judge, asked: list[str]) -> list[Judged]:
        if deadly in asked:
            one._process.kill()
        return whole(one, asked)

    monkeypatch.setattr(reading._Judge, "judge", judge)
    monkeypatch.setattr(reading, "FEW", 0)
    reasons = [one.verdict.reason for one in judged(root)]
    assert reasons[3] == "damaged"
    assert reasons.count("") == len(reasons) - 4


def test_stopping_early_leaves_no_process(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crews: list[reading._Crew] = []
    make = reading._Crew

    def kept(place: Path) -> reading._Crew:
        crews.append(make(place))
        return crews[-1]

    monkeypatch.setattr(reading, "_Crew", kept)
    monkeypatch.setattr(reading, "FEW", 0)
    blocks = judge_photos(root, paths(root))
    next(blocks)
    blocks.close()
    assert all(one._process.returncode is not None for one in crews[0]._all)
