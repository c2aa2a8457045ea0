"""Real worker processes, on a road so short that it needs no framework."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from featherlite.errors import ExportError, RequestError
from featherlite.keys import photos_key, recipe_keys
from featherlite.recipe import Recipe, parse_recipe
from featherlite.runtime.worker import module_path
from featherlite.step import Silent
from featherlite.study import worker
from featherlite.study.crew import Crew
from featherlite.study.result import ChangedError, Order, read_result
from featherlite.study.tail import without

MakeOrder = Callable[..., Order]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for label, color in (("a", "red"), ("b", "blue")):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8 + number, 8), color).save(tmp_path / "photos" / label / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def make_order(photos: Path, tmp_path: Path) -> MakeOrder:
    def make(key: str = "", **changes: Any) -> Order:
        recipe = parse_recipe({"steps": [{"step": "split", "near_duplicates": False}]}, "short")
        seen = photos_key(photos, tmp_path / "cache")
        found = key or recipe_keys(recipe, seen)[-1]
        values = {
            "photos": seen,
            "keys": (found,),
            "key_without": found,
            "name": "short",
            "seed": 0,
            "steps": tuple(recipe.to_json()["steps"]),
            "own_seeds": (None,),
            "optional": "",
            "tail": 0,
            "shared": 0,
            "measured": False,
            "data": str(photos),
            "out": str(tmp_path / "out" / "row"),
            "store": str(tmp_path / "out" / "store"),
            "cache": str(tmp_path / "cache"),
        }
        return Order.model_validate(values | changes)

    return make


def test_a_worker_does_what_it_is_ordered(make_order: MakeOrder) -> None:
    said: list[str] = []
    order = make_order()
    result, _ = Crew(said.append, Silent()).carry_out(order)
    assert (result.status, result.key) == ("done", order.key)
    assert said == ["  split: 0 s"]
    assert (Path(order.store) / order.key / "bundle.json").is_file()
    assert not (Path(order.out) / "store").exists()
    Crew(said.append, Silent()).carry_out(order)
    assert said[1] == "  split: done before"


def test_an_error_is_recorded_with_its_hint(make_order: MakeOrder, tmp_path: Path) -> None:
    result, _ = Crew(lambda _: None, Silent()).carry_out(make_order("k", data=str(tmp_path / "nowhere")))
    assert result.failure is not None
    assert "nowhere" in result.failure.message
    assert result.failure.exit_code == 2
    assert read_result(tmp_path / "out" / "row") == (result, b"")


@pytest.mark.parametrize("what", ["photos", "code"])
def test_what_changed_meanwhile_is_told_before_anything_is_done(make_order: MakeOrder, photos: Path, what: str) -> None:
    order = make_order("" if what == "photos" else "made by other code")
    if what == "photos":
        Image.new("RGB", (8, 8), "green").save(photos / "a" / "new.png")
    said: list[str] = []
    result, _ = Crew(said.append, Silent()).carry_out(order)
    assert result.failure is not None
    assert result.failure.type == "ChangedError"
    told = {"photos": f"The photos in {photos} changed while", "code": "a file that step 'split' reads, changed while"}
    assert told[what] in result.failure.message
    assert said == []
    assert not Path(order.store).exists()


def test_what_changes_while_a_row_is_trained_is_told_after_it(
    make_order: MakeOrder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(worker, "_refuse_changed", lambda *_: None)
    with pytest.raises(ChangedError, match="changed while"):
        worker._carry_out(make_order("another key"), tmp_path / "out" / "row", worker.Channel(io.StringIO()))


def test_shared_steps_that_were_done_before_are_not_told_again(make_order: MakeOrder) -> None:
    said: list[str] = []
    Crew(said.append, Silent()).carry_out(make_order())
    Crew(said.append, Silent()).carry_out(make_order(shared=1))
    assert said == ["  split: 0 s"]


def test_an_order_that_cannot_be_read_leaves_a_result_all_the_same(make_order: MakeOrder) -> None:
    result, _ = Crew(lambda _: None, Silent()).carry_out(make_order(seed=-1))
    assert result.failure is not None
    assert "seed" in result.failure.message


def test_a_worker_that_is_killed_fails_its_row_alone(make_order: MakeOrder, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the system does where memory runs out."""
    start = subprocess.Popen

    def start_and_kill(*words: Any, **options: Any) -> Any:
        process = start(*words, **options)
        process.kill()
        return process

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", start_and_kill)
        result, _ = Crew(lambda _: None, Silent()).carry_out(make_order())
    assert result.failure is not None
    assert "SIGKILL" in result.failure.message
    assert Crew(lambda _: None, Silent()).carry_out(make_order())[0].status == "done"


def test_a_worker_ends_with_its_parent(make_order: MakeOrder, tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text(make_order().model_dump_json())
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "featherlite.study.worker", str(tmp_path / "order.json")],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": module_path()},
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.close()  # as the system does for a parent that was killed
    assert process.wait(30) == -signal.SIGKILL


def test_what_nobody_foresaw_is_told_in_a_line() -> None:
    class ResourceExhaustedError(Exception):
        """As TensorFlow calls it."""

    assert worker._unforeseen(MemoryError()).message == "There was not enough memory."
    told = worker._unforeseen(ResourceExhaustedError("Graph execution error:\n" + "line\n" * 99))
    assert (told.message, told.hint) == ("There was not enough memory.", worker.SMALLER)
    told = worker._unforeseen(ValueError("\n first line\nsecond"))
    assert told.message == "ValueError: first line"


class TestWithoutInt8:
    """A network that cannot be computed in int8 keeps its row; any other failure does not."""

    recipe = parse_recipe(
        {
            "steps": [
                {"step": name, **more}
                for name, more in (
                    ("split", {}),
                    ("build", {}),
                    ("quantize", {}),
                    ("evaluate", {"subjects": ["network", "int8"]}),
                )
            ]
        },
        "x",
    )

    def walked(
        self, make_order: MakeOrder, monkeypatch: pytest.MonkeyPatch, at: str, error: Exception
    ) -> tuple[list[Recipe], tuple[str, ...]]:
        roads: list[Recipe] = []

        class Ended:
            bundle = None

        def run_recipe(recipe: Recipe, *_: Any, listener: Callable[..., None], **__: Any) -> Ended:
            roads.append(recipe)
            for plan in recipe.steps:
                listener(plan.id, None, False)
                if plan.id == at:
                    raise error
            return Ended()

        monkeypatch.setattr(worker, "run_recipe", run_recipe)
        channel = worker.Channel(open(os.devnull, "w"))  # noqa: PTH123, SIM115
        _, notes = worker._walked(self.recipe, make_order("k", optional="quantize"), Path(), channel)
        return roads, notes

    def test_the_row_goes_on_without_it(self, make_order: MakeOrder, monkeypatch: pytest.MonkeyPatch) -> None:
        roads, notes = self.walked(make_order, monkeypatch, "quantize", ExportError("No kernel for Erf."))
        assert [plan.id for plan in roads[1].steps] == ["split", "build", "evaluate"]
        assert roads[1].steps[-1].config.subjects == ("network",)  # type: ignore[attr-defined]
        assert notes == ("No int8 artefact: No kernel for Erf.",)
        assert without(self.recipe, "") == self.recipe

    def test_what_the_user_got_wrong_is_no_reason(self, make_order: MakeOrder, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(RequestError):
            self.walked(make_order, monkeypatch, "quantize", RequestError("No photos."))

    def test_nor_is_another_step(self, make_order: MakeOrder, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ExportError):
            self.walked(make_order, monkeypatch, "evaluate", ExportError("Broken."))
