from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from featherlite.errors import RecipeError, RequestError
from featherlite.keys import recipe_keys
from featherlite.recipe import load_recipe
from featherlite.study.plan import Study, load_study, parse_study, quick_study

from .conftest import document


def faults(made: dict[str, Any], **options: Any) -> str:
    with pytest.raises(RecipeError) as raised:
        parse_study(made, "bad", **options)
    return "\n".join(raised.value.faults)


def test_a_row_is_an_ordinary_recipe(study: Study) -> None:
    small, mobile, frozen = study.entries
    assert [plan.id for plan in small.recipes[0].steps] == ["split", "build", "train", "export", "quantize", "evaluate"]
    assert small.recipes[0].steps[1].config.width == 0.5  # type: ignore[attr-defined]
    assert (mobile.model, frozen.model) == ("MobileNetV1", "MobileNetV2")
    assert mobile.recipes[0].steps[1].config.width == 0.25  # type: ignore[attr-defined]
    assert frozen.recipes[0].steps[1].config.input_px == 48  # type: ignore[attr-defined]
    assert small.recipes[0].steps[3].config.formats == ("float32", "float16")  # type: ignore[attr-defined]
    assert small.recipes[0].steps[5].config.subjects == ("network", "int8")  # type: ignore[attr-defined]
    assert (small.optional, small.tail) == ("quantize", 3)


def test_all_faults_are_told_at_once() -> None:
    networks = [
        {"name": "one", "road": "trian"},
        {"name": "one", "road": "trained"},
        {"name": "ONE", "road": "trained", "sett": {}},
        {"road": "trained"},
        {"name": "two", "road": "trained", "set": {"build.backbon": "x"}},
        {"name": "three", "road": "trained", "set": {"biuld.width": 1}},
        {"name": "four", "road": "trained", "set": {"build.backbone": "ResNet"}},
        {"name": "five"},
    ]
    told = faults(document(networks=networks, titel="x", seeds=[0, -1], folds=1, weigh={"speed": 1}))
    for fault in (
        "unknown key 'titel'. Did you mean 'title'?",
        "seeds: -1 is not a whole number",
        "folds: 1 is not",
        "weigh: unknown key 'speed'",
        "network 'one': there is no road 'trian'. Did you mean 'trained'?",
        "network 'ONE': the name is taken ('one')",
        "network 'ONE': unknown key 'sett'. Did you mean 'set'?",
        "network 4: a text key 'name' is needed",
        "two: build: unknown key 'backbon'. Did you mean 'backbone'?",
        "three: set biuld.width: the recipe has no step 'biuld'. Did you mean 'build'?",
        "four: build",
        "network 'five': a key 'road' is needed. Known: frozen, trained.",
    ):
        assert fault in told


def test_steps_are_looked_at_even_where_no_network_has_a_proper_name() -> None:
    made = document(networks=[{"name": "../x", "road": "trained"}, {"name": "NUL", "road": "trained", "sett": 1}])
    made["road"]["trained"][1]["epoch"] = 3
    told = faults(made)
    assert "network '../x': the name becomes a folder's" in told
    assert "network 'NUL': the name becomes a folder's, and Windows keeps this one for a device" in told
    assert told.count("train: unknown key 'epoch'. Did you mean 'epochs'?") == 1


def test_a_fault_that_all_share_is_told_once() -> None:
    made = document(steps=[{"step": "split", "tset": 0.1}])
    assert faults(made).count("tset") == 1
    made = document()
    made["road"]["trained"][1]["epoch"] = 3
    assert faults(made) == "road 'trained': train: unknown key 'epoch'. Did you mean 'epochs'?"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"road": {}}, "there is no road"),
        ({"road": {"trained": {"step": "build"}}, "networks": [{"name": "x"}]}, "steps are [[road.trained]] tables"),
        ({"networks": []}, "there are no [[networks]]"),
        ({"networks": "feathernet"}, "there are no [[networks]]"),
        ({"seeds": 3}, "seeds: 3 is not a list of seeds"),
        ({"seeds": [1, 1]}, "seeds: each once"),
        ({"seed": True}, "seed: True is not"),
        ({"steps": [{"step": "audit"}]}, "evaluate: needs 'splits'"),
        ({"weigh": 3}, "weigh: 3 is not a table"),
        ({"weigh": {"size": -1}}, "weigh.size: -1"),
    ],
)
def test_a_fault_of_the_whole(changes: dict[str, Any], fault: str) -> None:
    assert fault in faults(document(**changes))


def test_the_test_split_is_opened_once_and_last() -> None:
    made = document()
    made["road"]["trained"].append({"step": "evaluate"})
    assert "road 'trained': 'evaluate' opens the test split" in faults(made)
    made["road"]["trained"][-1]["split"] = "val"
    assert [plan.id for plan in parse_study(made, "ok").entries[0].recipes[0].steps][-1] == "evaluate-2"


def test_how_rows_are_compared_cannot_be_changed() -> None:
    told = faults(document(), overrides=["evaluate.split=val", "export.formats=['float16']"])
    assert told.startswith("export: how the rows are compared cannot be changed")
    assert "evaluate: how" in told
    study = parse_study(document(), "x", overrides=["quantize.photos=7"])
    assert study.entries[0].recipes[0].steps[4].config.photos == 7  # type: ignore[attr-defined]


def test_what_a_road_exports_itself_is_not_made_twice() -> None:
    made = document()
    made["road"]["trained"] += [{"step": "export", "formats": ["float16"]}, {"step": "quantize", "photos": 5}]
    entry = parse_study(made, "ok").entries[0]
    assert [plan.id for plan in entry.recipes[0].steps][3:] == ["export", "quantize", "export-2", "evaluate"]
    assert entry.recipes[0].steps[5].config.formats == ("float32",)  # type: ignore[attr-defined]
    assert (entry.optional, entry.tail) == ("", 2)


def test_an_override_is_for_the_rows_that_have_the_step() -> None:
    made = document()
    made["road"]["frozen"] = [{"step": "build"}, {"step": "train", "id": "head"}]
    study = parse_study(made, "x", overrides=["head.epochs=7", "build.input_px=64", "split.val=0.1"])
    assert [entry.recipes[0].steps[1].config.input_px for entry in study.entries] == [64, 64, 64]  # type: ignore[attr-defined]
    assert study.entries[2].recipes[0].steps[2].config.epochs == 7  # type: ignore[attr-defined]
    assert study.entries[0].recipes[0].steps[2].config.epochs == 2  # type: ignore[attr-defined]
    told = faults(made, overrides=["haed.epochs=7", "nonsense"])
    assert "--set haed.epochs=7: the study has no step 'haed'. Did you mean 'head'?" in told
    assert "--set nonsense: must look like step.key=value" in told


def test_all_seeds_are_tested_on_the_same_photos() -> None:
    study = parse_study(document(seed=5), "x", seeds=[0, 1])
    one, two = (recipe_keys(study.entries[0].recipes[0].with_seed(seed), "photos") for seed in study.seeds)
    assert one[0] == two[0]
    assert one[1] != two[1]
    assert recipe_keys(study.prelude(), "photos")[-1] == one[0]
    other = parse_study(document(seed=6), "x")
    assert recipe_keys(other.entries[0].recipes[0], "photos")[0] != one[0]


def test_jobs_go_seed_by_seed(study: Study) -> None:
    study = parse_study(document(), "x", seeds=[3, 4])
    assert [(job.name, job.seed) for job in study.jobs(["MobileNetV1", "feathernet"])] == [
        ("feathernet", 3),
        ("MobileNetV1", 3),
        ("feathernet", 4),
        ("MobileNetV1", 4),
    ]
    assert study.jobs()[0].recipe.seed == 3
    assert study.jobs()[0].place == Path("rows/feathernet/seed-3")
    with pytest.raises(RequestError, match="no row 'feathernt'") as raised:
        study.jobs(["feathernt"])
    assert "feathernet" in raised.value.hint


def test_folds_cut_the_split() -> None:
    study = parse_study(document(), "x", folds=3)
    jobs = study.jobs(["feathernet"])
    assert [job.recipe.steps[0].config.fold for job in jobs] == [0, 1, 2]  # type: ignore[attr-defined]
    assert [job.recipe.steps[0].config.folds for job in jobs] == [3, 3, 3]  # type: ignore[attr-defined]
    assert len({job.place for job in jobs}) == 3
    assert parse_study(document(folds=4), "x").folds == 4


def test_weights_of_the_command_go_before_those_of_the_file() -> None:
    made = document(weigh={"accuracy": 3, "size": 0})
    assert parse_study(made, "x", weigh={"size": 2}).weigh.model_dump() == {"accuracy": 3, "size": 2, "time": 0.2}


def test_networks_by_name_are_held_against_frozen_features() -> None:
    study = parse_study(quick_study(["feathernet", "MobileNetV2"]), "networks")
    assert [entry.name for entry in study.entries] == ["feathernet frozen", "feathernet", "MobileNetV2"]
    roads = [[plan.id for plan in entry.recipes[0].steps][:5] for entry in study.entries]
    assert roads[0] == ["audit", "clean", "split", "build", "probe"], "what a trained network has to beat comes first"
    assert roads[1] == roads[2] == ["audit", "clean", "split", "build", "train"]
    assert "feathrnet" in faults(quick_study(["feathrnet"]))


def test_a_study_is_found_by_its_file_and_is_no_recipe(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        '[[steps]]\nstep = "split"\n[[road.r]]\nstep = "build"\n'
        '[[networks]]\nname = "x"\nset = { build.input_px = 32 }\n'
    )
    assert load_study(file).name == "mine"
    with pytest.raises(RequestError, match="is a study of several networks"):
        load_recipe(file)
    with pytest.raises(RequestError, match="is a recipe of one network"):
        load_study("demo")
    with pytest.raises(RequestError, match="There is no study") as found:
        load_study("demoo")
    assert found.value.hint == "Known: comparison-study."
    with pytest.raises(RequestError, match="There is no recipe") as found:
        load_recipe("demoo")
    assert found.value.hint == "Did you mean 'demo'?"


def test_weights_are_named_as_a_reader_knows_them(tmp_path: Path) -> None:
    (tmp_path / "birds.weights.h5").touch()
    made = document()
    made["networks"][0]["set"]["build.weights"] = str(tmp_path / "birds.weights.h5")
    made["networks"][1]["set"]["build"]["weights"] = "imagenet"
    assert [entry.weights for entry in parse_study(made, "x").entries] == ["birds.weights.h5", "imagenet", "none"]
