"""The step `distill`: what it refuses, what its key holds, and a real teacher."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from featherlite.bundle import Bundle, Label
from featherlite.errors import RequestError
from featherlite.keys import recipe_keys, step_key
from featherlite.preprocess import Preprocess
from featherlite.step import Context, load_step
from featherlite.training.augment.config import ALL_OFF
from featherlite.training.distill import DistillConfig, distill
from featherlite.training.teachers.classroom import Classroom

from ..conftest import PX
from .conftest import tiny_network
from .distillation import MakeContext, taught, word_of

# ---- what is refused ---------------------------------------------------------------------------------------------


def test_other_classes_are_refused_for_soft_labels_only(
    color_bundle: Bundle, room_of: Callable[..., Classroom], tmp_path: Path
) -> None:
    named = tuple(Label(name=name) for name in ("blue", "jade", "ruby"))
    color_bundle.with_labels(named).save(tmp_path / "other")
    for kind in ("logits", "both"):
        with pytest.raises(RequestError, match=r"lacks 2 \('green', 'red'\).*lacks 2 \('jade', 'ruby'\)") as refusal:
            room_of(teacher=[str(tmp_path / "other")], kind=kind)
        assert "kind=own_labels" in refusal.value.hint
    for kind, width in (("own_labels", 3), ("features", 8)):
        room = room_of(teacher=[str(tmp_path / "other")], kind=kind, alpha=0.5)
        assert word_of(room)["guide_0"].shape == (6, width)
        assert room.judge_teachers() == [None, None], "nobody knows how good it is at these classes"


def test_a_teacher_of_another_shape_is_refused(student: Bundle, color_bundle: Bundle, fresh: MakeContext) -> None:
    wide = student.with_json("preprocess.json", Preprocess(width=32, height=16).model_dump())
    with pytest.raises(RequestError, match="takes 24x24 photos and the student 32x16"):
        taught(wide, fresh(), teacher=[str(color_bundle.home)])


def test_a_teacher_is_needed_before_anything_runs(student: Bundle, tmp_path: Path) -> None:
    from featherlite.recipe import load_recipe
    from featherlite.run import run_recipe, run_step

    with pytest.raises(RequestError, match=r"needs a teacher.*teacher=PATH"):
        run_step("distill", student, None, {})
    with pytest.raises(RequestError, match="1 fault") as refusal:
        run_recipe(load_recipe("mcu-distilled"), tmp_path / "no-photos", tmp_path / "out")
    assert "distill: needs a teacher" in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_photos_in_pairs_are_refused(student: Bundle, color_bundle: Bundle, fresh: MakeContext) -> None:
    with pytest.raises(ValidationError, match="mixup"):
        taught(student, fresh(), teacher=[str(color_bundle.home)], mixup=0.2)


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 1.0, "kind": "features"},
        {"alpha": 1.0, "kind": "own_labels"},
        {"alpha": 0.0, "unlabelled": "folder"},
        {"alpha": 1.2},
        {"temperature": 0.0},
        {"kind": "hints"},
        {"views": -1},
        {"progressive_augment": True, "progressive": [8], "teacher": "bundle"},
    ],
)
def test_settings_that_teach_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DistillConfig.model_validate(options)


# ---- the step ----------------------------------------------------------------------------------------------------


def test_the_step_is_declared() -> None:
    found = load_step("distill")
    assert found.config is DistillConfig
    assert (found.needs, found.provides) == ({"splits", "network", "preprocess"}, {"network"})


def test_one_teacher_may_be_named_without_a_list() -> None:
    assert DistillConfig.model_validate({"teacher": "runs/bird#int8"}).teacher == ("runs/bird#int8",)
    assert DistillConfig.model_validate({"teacher_labels": "a.txt"}).teacher_labels == (Path("a.txt"),)


def test_what_is_read_counts_in_the_key(color_bundle: Bundle, tmp_path: Path) -> None:
    from featherlite.recipe import PlannedStep

    bundle = color_bundle.with_json("note.json", 1).save(tmp_path / "teacher")
    file, labels, folder = tmp_path / "m.tflite", tmp_path / "beside.txt", tmp_path / "photos"
    file.write_bytes(b"one")
    labels.write_text("a\nb")
    folder.mkdir()
    Image.new("RGB", (20, 20), (200, 10, 10)).save(folder / "a.png")
    config = DistillConfig(teacher=(str(bundle.home), str(file)), unlabelled=folder)

    def key() -> str:
        return step_key("parent", PlannedStep("distill", load_step("distill"), config), 0)

    keys = [key()]
    file.write_bytes(b"two")
    keys.append(key())
    labels.write_text("a\nc")
    keys.append(key())
    Image.new("RGB", (20, 20), (10, 200, 10)).save(folder / "b.png")
    keys.append(key())
    shutil.rmtree(tmp_path / "teacher")
    color_bundle.with_json("note.json", 2).save(tmp_path / "teacher")
    keys.append(key())
    assert len(set(keys)) == 5
    assert key() == keys[-1]


def test_an_earlier_step_of_the_recipe_teaches(color_photos: Path, tmp_path: Path) -> None:
    from featherlite.recipe import parse_recipe
    from featherlite.run import run_recipe, run_step

    build = {"step": "build", "backbone": "feathernet", "input_px": 32, "width": 0.5}
    pupil = {"step": "distill", "epochs": 1, "views": 1, "batch": 8}
    steps = [
        {"step": "split", "near_duplicates": False},
        build | {"id": "wide", "width": 0.6},
        build | {"id": "narrow"},
    ]

    def recipe(teacher: str) -> Any:
        return parse_recipe({"steps": [*steps, pupil | {"teacher": f"step:{teacher}"}]}, "test")

    store, cache = tmp_path / "store", tmp_path / "cache"
    run = run_recipe(recipe("wide"), color_photos, tmp_path / "out", store=store, cache=cache)
    *_, wide, narrow, taught_ = run.bundle.history
    (told,) = taught_.details["distill"]["teachers"]
    assert (told["name"], told["parameters"]) == ("step:wide", wide.after.parameters)  # type: ignore[union-attr]
    assert wide.after.parameters > narrow.after.parameters  # type: ignore[union-attr]
    assert recipe_keys(recipe("narrow"), "photos") != recipe_keys(recipe("wide"), "photos")
    with pytest.raises(RequestError, match="'wide' of a recipe, and runs by itself here"):
        run_step("distill", run.bundle, None, {"teacher": "step:wide"}, data=color_photos)


def test_the_key_is_that_of_the_teacher_and_not_of_its_name() -> None:
    """Two roads of the same steps may call them the other way round."""
    from featherlite.recipe import parse_recipe

    build = {"step": "build", "backbone": "feathernet"}

    def last_key(first: str, second: str) -> str:
        steps = [{"step": "split"}, build | {"id": first}, build | {"id": second}]
        return recipe_keys(parse_recipe({"steps": [*steps, {"step": "distill", "teacher": "step:a"}]}, "test"), "p")[-1]

    assert last_key("a", "b") != last_key("b", "a")
    assert last_key("a", "b") == last_key("a", "c")


def test_opening_the_step_loads_no_framework() -> None:
    code = (
        "import sys, featherlite.training.distill as d\n"
        "d.DistillConfig(teacher=('a#int8', 'b.tflite')).files()\n"
        "print(sorted({'keras', 'tensorflow', 'pyarrow', 'ai_edge_litert'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_cut_is_the_students_even_for_a_teacher_with_its_own(color_bundle: Bundle, fresh: MakeContext) -> None:
    """In class a teacher is shown the student's cut at its own size; on its own it is judged by its own contract."""
    squashing = color_bundle.with_json("preprocess.json", Preprocess(width=PX, height=PX, fit="squash").model_dump())
    config = DistillConfig(teacher=(str(color_bundle.home),))
    room = Classroom(squashing, config, fresh())
    (teacher,) = room._teachers
    assert teacher.facts.preprocess.fit == "crop"
    assert room._shown(teacher).fit == "squash"


# ---- real photos -------------------------------------------------------------------------------------------------


def test_the_inaturalist_model_teaches_birds(real_data: Path, tmp_path: Path) -> None:
    """965 classes of its own, none by the student's names: refused for soft labels, at work for the two others."""
    from featherlite.bundle import sha256_of
    from featherlite.data.splits import Splits, write_splits
    from featherlite.models.network import network_bytes

    names = ("BALD EAGLE", "BARN OWL", "AMERICAN COOT")
    splits = Splits.from_rows(
        (f"{name}/{file.name}", sha256_of(file), name, None, "val" if file.stem == "4" else "train")
        for name in names
        for file in sorted((real_data / "birds" / name).iterdir())
    )
    bundle = Bundle().with_files({"splits.parquet": write_splits(splits)})
    bundle = bundle.with_labels(tuple(Label(name=name) for name in names))
    bundle = bundle.with_json("preprocess.json", Preprocess(width=16, height=16).model_dump())
    bundle = bundle.with_network(network_bytes(tiny_network(dropout=0.0)))
    inat = str(real_data / "peers" / "mobilenet_v2_1.0_224_inat_bird_quant.tflite")
    options: dict[str, Any] = {"head_epochs": 0, "epochs": 6, "rate": 0.02, "views": 1, "batch": 9, "alpha": 0.9}
    options |= ALL_OFF | {"teacher": (inat,), "ema": "none"}

    def run(kind: str) -> list[float]:
        ctx = Context(1, tmp_path, tmp_path / kind, tmp_path / "cache", real_data / "birds")
        distill(bundle, DistillConfig(**options, kind=kind), ctx)
        (teacher,) = ctx.details["distill"]["teachers"]
        assert (teacher["classes"], teacher["features"], teacher["val_top1"]) == (965, 1280, None)
        return [entry["loss"] for entry in ctx.details["curve"]]

    curve = run("own_labels")
    assert curve[-1] < 0.9 * curve[0]
    ctx = Context(1, tmp_path, tmp_path, tmp_path / "cache", real_data / "birds")
    room = Classroom(bundle, DistillConfig(**options, kind="features"), ctx)
    assert room.teaching().targets(np.arange(9), 0)["guide_0"].shape == (9, 1280)
    with pytest.raises(RequestError, match=r"of the student's 3 it lacks 3 .*of its own 965 the student lacks 965"):
        run("logits")
