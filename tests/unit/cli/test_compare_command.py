from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from featherlite import recipe
from featherlite.cli import main
from featherlite.comparison import Comparison, Row
from featherlite.study import walk

STUDY = """
title = "Two"
[[steps]]
step = "split"
[[road.plain]]
step = "build"
[[road.plain]]
step = "train"
[[networks]]
name = "one"
[[networks]]
name = "two"
set = { "build.input_px" = 64 }
"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command asks of the study's walk, which is left out."""
    found: dict[str, Any] = {}

    def walk_study(study: Any, data: Path, out: Path, **options: Any) -> Comparison:
        found.update(options, study=study, data=data, out=out)
        rows = found.get("rows", ())
        return Comparison(
            name="x", title="x", description="", machine={}, split="test", n=0, interval="", rows=rows, reason="None."
        )

    monkeypatch.setattr(walk, "walk_study", walk_study)
    return found


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "two.toml").write_text(STUDY, "utf-8")
    return tmp_path / "two.toml"


def call(study: Path, *words: object) -> int:
    out = str(study.parent / "out")
    return main(["compare", str(study), "--data", "photos", "--out", out, *map(str, words), "--json"])


def test_every_option_arrives(asked: dict[str, Any], study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--seeds", "0,3", "--folds", 2, "--only", "one,two", "--only", "one", "--rounds", 7)
    assert call(study, *options, "--set", "train.epochs=4", "--weigh", "accuracy=2,time=0") == 0
    assert asked["study"].seeds == (0, 3)
    assert asked["study"].folds == 2
    assert asked["study"].weigh.model_dump() == {"accuracy": 2.0, "size": 0.2, "time": 0.0}
    assert asked["study"].entries[1].recipes[1].steps[2].config.epochs == 4
    assert asked["only"] == ["one", "two", "one"]
    assert asked["rounds"] == 7
    assert asked["command"].endswith("--rounds 7 --set train.epochs=4 --weigh accuracy=2,time=0")
    assert "--only" not in asked["command"]  # the comparison holds the other rows too
    document = json.loads(capsys.readouterr().out)
    assert document["rows"] == []
    assert document["report"] == str(study.parent / "out" / "comparison.html")


def test_networks_alone_are_a_study(asked: dict[str, Any], tmp_path: Path) -> None:
    words = ["--networks", "feathernet, MobileNetV2", "--data", "photos", "--out", str(tmp_path / "out")]
    assert main(["compare", *words]) == 0
    assert [entry.name for entry in asked["study"].entries] == ["feathernet frozen", "feathernet", "MobileNetV2"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--seeds", "0,one"), "no list of whole numbers"),
        (("--seeds", "-1"), "-1"),
        (("--weigh", "accuracy"), "not a name and a number"),
        (("--weigh", "speed=1"), "unknown key 'speed'"),
        (("--weigh", "size=nan"), "weigh.size"),
        (("--folds", "1"), "from 2 to 100"),
        (("--networks", "feathernet"), "and not both"),
        (("--rounds", "-1"), "--rounds"),
        (("--set", "trian.epochs=1"), "Did you mean 'train'?"),
    ],
)
def test_a_wrong_request_gets_a_clear_line(
    words: tuple[str, ...], says: str, asked: dict[str, Any], study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(study, *words) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert says in error["message"] + error["hint"]
    assert not asked


def test_a_seed_that_failed_is_a_failure(asked: dict[str, Any], study: Path) -> None:
    row = Row(name="one", model="m", weights="none", road="r", seeds=(0,), status="done")
    asked["rows"] = [row]
    assert call(study) == 0
    asked["rows"] = [row.model_copy(update={"failed_seeds": (1,)})]
    assert call(study) == 1


def test_a_folder_is_no_study(
    study: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither that of a comparison, with or without --data, nor that of photos; a shipped study may have its name."""
    out = study.parent / "made before"
    out.mkdir()
    assert main(["compare", str(out), "--data", "x", "--out", "y"]) == 2
    assert f"Photos go into --data: --data {out}" in capsys.readouterr().err
    made = Comparison(
        name="x", title="", description="", machine={}, split="test", n=0, interval="", rows=(), command="featherlite x"
    )
    (out / "comparison.json").write_text(made.model_dump_json())
    for words in ([], ["--data", "x", "--out", "y"]):
        assert main(["compare", str(out), *words]) == 2
        said = capsys.readouterr().err
        assert f"'{out}' is a folder, not a study." in said
        assert f"open {out / 'comparison.html'}, or go on with: featherlite x" in said
    assert not asked
    monkeypatch.chdir(study.parent)
    Path("comparison-study").mkdir()
    assert main(["compare", "comparison-study", "--data", "x", "--out", "y"]) == 0


def test_nothing_to_compare(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--data", "x", "--out", "y"]) == 2
    assert "--networks" in capsys.readouterr().err


def test_ctrl_c_shows_what_is_done(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def walk_study(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(walk, "walk_study", walk_study)
    assert call(study) == 130
    assert "Run the same command again" in capsys.readouterr().err


def test_studies_are_listed_as_such(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (study.parent / "road.toml").write_text('title = "A road"\n[[steps]]\nstep = "split"\n', "utf-8")
    monkeypatch.setattr(recipe, "SHIPPED", study.parent)
    assert main(["recipes", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in document["recipes"]] == ["road"]
    assert [entry["name"] for entry in document["studies"]] == ["two"]
    assert [network["name"] for network in document["studies"][0]["networks"]] == ["one", "two"]
    assert main(["recipes"]) == 0
    assert "one, two" in capsys.readouterr().out


def test_a_recipe_is_printed_to_begin_ones_own_with(capsys: pytest.CaptureFixture[str]) -> None:
    """Byte for byte: what is printed into a file runs as the shipped one does."""
    shipped = recipe.shipped_recipes()["tinyml-birds"].read_text("utf-8")
    assert main(["recipes", "tinyml-birds"]) == 0
    assert capsys.readouterr().out == shipped
    assert main(["recipes", "comparison-study", "--json"]) == 0
    assert "[[networks]]" in json.loads(capsys.readouterr().out)["toml"]
    assert main(["recipes", "tinyml-brids"]) == 2
    assert "tinyml-birds" in capsys.readouterr().err
