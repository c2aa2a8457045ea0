from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from featherlite.comparison import read_comparison
from featherlite.errors import RequestError
from featherlite.evaluate.cost.latency import Timed, Timings
from featherlite.study import walk
from featherlite.study.crew import Crew
from featherlite.study.plan import Study, parse_study
from featherlite.study.result import ChangedError, Order
from featherlite.study.walk import walk_study

from .conftest import MadeCrew, document

ROWS = ["feathernet/seed-0", "MobileNetV1/seed-0", "V2 frozen/seed-0"]
Hire = Callable[..., MadeCrew]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for label, color in (("a", "red"), ("b", "blue")):
        (tmp_path / "photos" / label).mkdir(parents=True)
        Image.new("RGB", (8, 8), color).save(tmp_path / "photos" / label / "1.png")
    return tmp_path / "photos"


@pytest.fixture
def hire(monkeypatch: pytest.MonkeyPatch) -> Hire:
    """Puts a crew that makes results up in the place of processes that train."""

    def put(does: Callable[[Order], str | None] = lambda order: None) -> MadeCrew:
        crew = MadeCrew(does)
        monkeypatch.setattr(Crew, "carry_out", lambda self, order: crew.carry_out(self, order))
        return crew

    return put


def test_every_row_once_and_the_shared_steps_first(study: Study, photos: Path, tmp_path: Path, hire: Hire) -> None:
    crew = hire()
    comparison = walk_study(study, photos, tmp_path / "out", rounds=0)
    assert crew.orders == ["shared", *ROWS]
    assert {row.status for row in comparison.rows} == {"done"}
    assert read_comparison(tmp_path / "out") == comparison
    again = hire()
    assert walk_study(study, photos, tmp_path / "out", rounds=0) == comparison
    assert again.orders == []


def test_a_failed_row_is_tried_again_and_no_other(study: Study, photos: Path, tmp_path: Path, hire: Hire) -> None:
    hire(lambda order: "No memory." if order.name == "MobileNetV1" else None)
    comparison = walk_study(study, photos, tmp_path / "out", rounds=0)
    assert [row.status for row in comparison.rows] == ["done", "done", "failed"]
    assert comparison.rows[2].error == "No memory."
    crew = hire()
    assert {row.status for row in walk_study(study, photos, tmp_path / "out", rounds=0).rows} == {"done"}
    assert crew.orders == ["shared", ROWS[1]]


def test_shared_steps_that_fail_fail_the_study(study: Study, photos: Path, tmp_path: Path, hire: Hire) -> None:
    crew = hire(lambda order: None if order.measured else "The photos are of no use.")
    with pytest.raises(Exception, match="of no use"):
        walk_study(study, photos, tmp_path / "out", rounds=0)
    assert crew.orders == ["shared"]


def test_only_works_on_some_and_keeps_the_others(study: Study, photos: Path, tmp_path: Path, hire: Hire) -> None:
    crew = hire()
    comparison = walk_study(study, photos, tmp_path / "out", only=["MobileNetV1"], rounds=0)
    assert [row.name for row in comparison.rows] == ["MobileNetV1"]
    walk_study(study, photos, tmp_path / "out", only=["feathernet"], rounds=0)
    assert crew.orders == ["shared", ROWS[1], "shared", ROWS[0]]
    assert len(read_comparison(tmp_path / "out").rows) == 2
    with pytest.raises(RequestError, match="no row 'nobody'"):
        walk_study(study, photos, tmp_path / "out", only=["nobody"])


def test_a_changed_setting_does_its_own_rows_again(photos: Path, tmp_path: Path, hire: Hire) -> None:
    hire()
    walk_study(parse_study(document(), "x"), photos, tmp_path / "out", rounds=0)
    crew = hire()
    made = document()
    made["networks"][1]["set"]["train.epochs"] = 9
    walk_study(parse_study(made, "x"), photos, tmp_path / "out", rounds=0)
    assert crew.orders == ["shared", ROWS[1]]
    Image.new("RGB", (8, 8), "green").save(photos / "a" / "2.png")
    crew = hire()
    walk_study(parse_study(made, "x"), photos, tmp_path / "out", rounds=0)
    assert crew.orders == ["shared", *ROWS]


def test_another_seed_is_added_to_those_that_are_there(photos: Path, tmp_path: Path, hire: Hire) -> None:
    hire()
    walk_study(parse_study(document(), "x"), photos, tmp_path / "out", rounds=0)
    crew = hire()
    comparison = walk_study(parse_study(document(), "x", seeds=[0, 1]), photos, tmp_path / "out", rounds=0)
    assert crew.orders == ["shared", *(row.replace("-0", "-1") for row in ROWS)]
    assert all(row.seeds == (0, 1) and len(row.per_seed) == 2 for row in comparison.rows)


def test_ctrl_c_keeps_what_is_done(study: Study, photos: Path, tmp_path: Path, hire: Hire) -> None:
    def stop(order: Order) -> None:
        if order.name == "MobileNetV1":
            raise KeyboardInterrupt

    hire(stop)
    with pytest.raises(KeyboardInterrupt):
        walk_study(study, photos, tmp_path / "out", rounds=0)
    comparison = read_comparison(tmp_path / "out")
    assert [row.name for row in comparison.rows] == ["feathernet"]
    assert comparison.recommended == "feathernet"
    crew = hire()
    walk_study(study, photos, tmp_path / "out", rounds=0)
    assert crew.orders == ["shared", *ROWS[1:]]


def test_a_change_in_the_middle_stops_the_study_before_the_next_row(
    study: Study, photos: Path, tmp_path: Path, hire: Hire
) -> None:
    def change(order: Order) -> None:
        if order.name == "MobileNetV1":
            raise ChangedError("The photos changed.", "Undo it.")

    crew = hire(change)
    with pytest.raises(ChangedError, match="The photos changed"):
        walk_study(study, photos, tmp_path / "out", rounds=0)
    assert crew.orders == ["shared", *ROWS[:2]]
    comparison = read_comparison(tmp_path / "out")
    assert [(row.name, row.status) for row in comparison.rows] == [("feathernet", "done")]  # none has failed
    crew = hire()  # it was undone
    walk_study(study, photos, tmp_path / "out", rounds=0)
    assert crew.orders == ["shared", *ROWS[1:]]


def test_a_row_is_held_to_the_files_that_there_were_when_the_study_began(
    photos: Path, tmp_path: Path, hire: Hire
) -> None:
    """The weights change after the first row: the order of the second still asks for the key with the old ones."""
    made = document()
    made["networks"] = made["networks"][:2]
    for network in made["networks"]:
        network["set"] = {"build.weights": str(tmp_path / "w.h5")}
    (tmp_path / "w.h5").write_bytes(b"one")
    asked: list[str] = []

    def change(order: Order) -> None:
        asked.extend([order.keys[1]] if order.measured else [])
        (tmp_path / "w.h5").write_bytes(b"two")

    hire(change)
    walk_study(parse_study(made, "x"), photos, tmp_path / "out", rounds=0)
    assert len(asked) == 2
    assert asked[0] == asked[1]  # both build the same network


def test_the_page_is_written_with_every_row(study: Study, photos: Path, tmp_path: Path, hire: Hire) -> None:
    """A study that is killed leaves a page of what is done."""
    held: list[bool] = []

    def look(order: Order) -> None:
        page = tmp_path / "out" / "comparison.html"
        held.append(page.exists() and "MobileNetV1" in page.read_text("utf-8"))

    hire(look)
    walk_study(study, photos, tmp_path / "out", rounds=0)
    assert held == [False, False, False, True]  # at the start of the shared steps and of each row
    assert "V2 frozen" in (tmp_path / "out" / "comparison.html").read_text("utf-8")


def test_a_flaw_of_the_page_does_not_end_a_study(
    study: Study, photos: Path, tmp_path: Path, hire: Hire, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object) -> None:
        raise ValueError("No figure for this row.")

    monkeypatch.setattr(walk, "write_page", break_down)
    said: list[str] = []
    monkeypatch.setattr(walk.log, "error", lambda text, *words: said.append(text % words))
    crew = hire()
    comparison = walk_study(study, photos, tmp_path / "out", rounds=0)
    assert crew.orders == ["shared", *ROWS]
    assert read_comparison(tmp_path / "out") == comparison
    assert set(said) == {"The page was not written: ValueError: No figure for this row."}


def test_the_seed_that_failed_first_is_not_the_one_that_is_timed(
    photos: Path, tmp_path: Path, hire: Hire, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: dict[str, Path] = {}
    monkeypatch.setattr(walk, "time_artefacts", lambda artefacts, **_: (timed.update(artefacts), Timings())[1])

    def leave(order: Order) -> str | None:
        place = Path(order.out) / "bundle" / "exports" / "int8"
        place.mkdir(parents=True, exist_ok=True)
        (place / "model.tflite").touch()
        return "Not a number." if order.seed == 0 and order.name == "feathernet" else None

    hire(leave)
    comparison = walk_study(parse_study(document(), "x", seeds=[0, 1]), photos, tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").parts[2] for path in timed.values()] == ["seed-1", "seed-0", "seed-0"]
    row = comparison.row("feathernet")
    assert row is not None
    assert (row.status, row.seeds, row.failed_seeds) == ("done", (1,), (0,))


def test_a_damaged_result_is_made_again(study: Study, photos: Path, tmp_path: Path, hire: Hire) -> None:
    hire()
    walk_study(study, photos, tmp_path / "out", rounds=0)
    rows = tmp_path / "out" / "rows"
    (rows / ROWS[0] / "answers.parquet").write_bytes(b"junk")
    (rows / ROWS[1] / "result.json").write_text("{}")
    (rows / ROWS[2] / "bundle" / "bundle.json").unlink()
    crew = hire()
    walk_study(study, photos, tmp_path / "out", rounds=0)
    assert crew.orders == ["shared", *ROWS]


def test_two_studies_do_not_share_a_folder(study: Study, photos: Path, tmp_path: Path, hire: Hire) -> None:
    crew = hire()
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RequestError, match="Another run is at work"):
            walk_study(study, photos, tmp_path / "out")
    assert crew.orders == []


def test_results_do_not_go_among_the_photos(study: Study, photos: Path) -> None:
    with pytest.raises(RequestError, match="lies within the photos"):
        walk_study(study, photos, photos / "out")


def test_all_artefacts_are_timed_together_and_once(
    study: Study, photos: Path, tmp_path: Path, hire: Hire, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[list[str]] = []
    failed: dict[str, str] = {}

    def time_artefacts(artefacts: dict[str, Path], **options: object) -> Timings:
        timed.append(list(artefacts))
        sound = [name for name in artefacts if name not in failed]
        return Timings({name: (Timed(1, 2.0, 3.0, 5, None, None),) for name in sound}, {**failed})

    def leave_artefacts(order: Order) -> None:
        for precision in ("float32", "int8"):
            place = Path(order.out) / "bundle" / "exports" / precision
            place.mkdir(parents=True, exist_ok=True)
            (place / "model.tflite").write_text(order.name)

    monkeypatch.setattr(walk, "time_artefacts", time_artefacts)
    hire(leave_artefacts)
    failed["feathernet in int8"] = "It took too long."
    comparison = walk_study(study, photos, tmp_path / "out", rounds=2, only=["feathernet"])
    assert "Not timed in int8: It took too long." in comparison.rows[0].notes
    failed.clear()
    timed.clear()  # what failed is tried again
    comparison = walk_study(study, photos, tmp_path / "out", rounds=2, only=["feathernet"])
    assert comparison.rows[0].latency_of("int8", 1).p95_ms == 3.0  # type: ignore[union-attr]
    walk_study(study, photos, tmp_path / "out", rounds=2, only=["feathernet"])
    assert len(timed) == 1
    walk_study(study, photos, tmp_path / "out", rounds=2)
    assert timed[1] == [
        f"{name} in {precision}"
        for name in ("feathernet", "MobileNetV1", "V2 frozen")
        for precision in ("float32", "int8")
    ]
    walk_study(study, photos, tmp_path / "out", rounds=3)
    assert len(timed) == 3
    assert json.loads((tmp_path / "out" / "timings.json").read_text())["asked"]["rounds"] == 3
    assert walk_study(study, photos, tmp_path / "out", rounds=0).rows[0].latency == ()
