"""Somebody else's ladder in a recipe: its faults are told with the others, and a run's folder gives it back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from featherlite.errors import RecipeError
from featherlite.recipe import load_recipe, parse_recipe
from featherlite.reference import RUN_NOTE, read_reference

ROWS: list[dict[str, Any]] = [{"step": "train", "title": "at first", "parameters": 10, "top1": 0.9}, {"title": "later"}]
ROAD = {
    "steps": [{"step": "split"}, {"step": "build"}, {"step": "train"}],
    "reference": {"name": "article", "note": "other photos", "rows": ROWS},
}


def test_it_is_part_of_the_recipe_and_of_what_a_run_notes(tmp_path: Path) -> None:
    recipe = parse_recipe(ROAD, "test")
    assert recipe.reference is not None
    assert [row.step for row in recipe.reference.rows] == ["train", None]
    (tmp_path / RUN_NOTE).write_text(json.dumps({"recipe": recipe.to_json()}))
    assert read_reference(tmp_path) == recipe.reference


def test_steps_may_be_taken_out_of_a_recipe_that_has_one() -> None:
    """What is left of a shipped chain, cut short, still runs: the rows of steps that went are not walked."""
    shorter = ROAD | {"steps": [{"step": "split"}, {"step": "build"}]}
    recipe = parse_recipe(shorter, "test")
    assert recipe.reference is not None
    assert [row.step for row in recipe.reference.rows] == ["train", None]


def test_a_recipe_without_one_notes_none(tmp_path: Path) -> None:
    assert "reference" not in load_recipe("mcu").to_json()
    assert read_reference(tmp_path) is None


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"rows": []}, "reference.rows"),
        ({"rows": [{"step": "train", "title": "x", "top1": 91.2}]}, "reference.rows.0.top1: 91.2"),
        ({"rows": [{"step": "train", "title": "x", "accuracy": 0.9}]}, "unknown key 'rows.0.accuracy'"),
        ({"names": "article"}, "unknown key 'names'. Did you mean 'name'?"),
    ],
)
def test_its_faults_are_told_with_the_others(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({**ROAD, "reference": ROAD["reference"] | changed, "titel": ""}, "test")  # type: ignore[operator]
    assert any(told in fault for fault in caught.value.faults), caught.value.faults
    assert any("titel" in fault for fault in caught.value.faults)


@pytest.mark.parametrize("content", ["", "[]", '{"recipe": []}', '{"recipe": {"reference": {"name": 3}}}', "\udcff"])
def test_a_damaged_note_has_none(tmp_path: Path, content: str) -> None:
    (tmp_path / RUN_NOTE).write_bytes(content.encode("utf-8", "surrogateescape"))
    assert read_reference(tmp_path) is None
