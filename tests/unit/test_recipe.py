from __future__ import annotations

from pathlib import Path

import pytest

from featherlite.errors import RecipeError, RequestError
from featherlite.recipe import load_recipe, parse_recipe, shipped_recipes

ROAD = {"steps": [{"step": "split"}, {"step": "build"}, {"step": "train", "epochs": 3}]}


def faults_of(document: dict[str, object], *overrides: str) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(document, "test", overrides)
    return caught.value.faults


def test_a_recipe_becomes_typed_configs() -> None:
    recipe = parse_recipe(ROAD, "test", ["train.epochs=7", "build.backbone=MobileNetV2", "split.val=0.2"])
    split, build, train = (plan.config.model_dump() for plan in recipe.steps)
    assert (split["val"], build["backbone"], train["epochs"]) == (0.2, "MobileNetV2", 7)


def test_all_faults_are_told_together() -> None:
    document = {
        "titel": "typo",
        "steps": [
            {"step": "split", "vall": 0.2},
            {"step": "trian"},
            {"step": "build", "input_px": 7},
            {"nonsense": 1},
        ],
    }
    faults = "\n".join(faults_of(document, "nowhere.x=1", "split=2"))
    assert "unknown key 'titel'. Did you mean 'title'?" in faults
    assert "split: unknown key 'vall'. Did you mean 'val'?" in faults
    assert "no step 'trian'. Did you mean 'train'?" in faults
    assert "build.input_px: 7:" in faults
    assert "step 4: a [[steps]] table with a text key 'step' is needed" in faults
    assert "no step 'nowhere'" in faults
    assert "--set split=2: must look like step.key=value" in faults


def test_a_step_that_lacks_what_it_needs_is_told_before_anything_runs() -> None:
    faults = faults_of({"steps": [{"step": "split"}, {"step": "train"}, {"step": "build"}]})
    assert any("train: needs 'network'; 'build' provides it, but comes later" in fault for fault in faults)
    faults = faults_of({"steps": [{"step": "split"}, {"step": "build"}, {"step": "verify"}]})
    assert any("verify: needs" in fault and "no step of the recipe provides it" in fault for fault in faults)


def test_a_step_may_occur_twice() -> None:
    recipe = parse_recipe({"steps": [*ROAD["steps"], {"step": "train"}]}, "test", ["train-2.epochs=5"])
    assert [plan.id for plan in recipe.steps] == ["split", "build", "train", "train-2"]
    assert recipe.steps[3].config.model_dump()["epochs"] == 5
    assert recipe.steps[2].config.model_dump()["epochs"] == 3


def test_a_teacher_must_be_a_step_before_its_pupil_that_has_a_network() -> None:
    pupil = {"step": "distill", "teacher": "step:train"}
    assert parse_recipe({"steps": [*ROAD["steps"], pupil]}, "test").steps[3].config.earlier() == ("train",)
    late = {"steps": [*ROAD["steps"][:2], pupil, ROAD["steps"][2]]}
    assert faults_of(late) == ("distill: no step 'train' with a network comes before it. Known: build.",)
    blank = {"steps": [*ROAD["steps"], pupil | {"teacher": ["step:split", "step:trian"]}]}
    assert faults_of(blank) == (
        "distill: no step 'split' with a network comes before it. Known: build, train.",
        "distill: no step 'trian' with a network comes before it. Did you mean 'train'?",
    )


@pytest.mark.parametrize("steps", [None, [], "train", {"step": "train"}])
def test_no_steps_is_a_fault(steps: object) -> None:
    assert any("no [[steps]]" in fault for fault in faults_of({"steps": steps}))


def test_broken_toml_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("title = \n")
    with pytest.raises(RecipeError, match="not valid TOML"):
        load_recipe(path)


def test_an_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(RequestError, match="Did you mean 'demo'"):
        load_recipe("demoo")


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_shipped_recipe_is_sound(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.title != name
    assert recipe.description
    assert load_recipe(f"recipes/{name}.toml").steps == recipe.steps
