"""What is set of a foreign teacher reaches its targets; and no key of distill, probe and build is there for show."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from featherlite.bundle import Bundle, Label
from featherlite.errors import RequestError
from featherlite.models.build import BuildConfig, build
from featherlite.step import Context, StepConfig
from featherlite.training.config import FitConfig
from featherlite.training.distill import DistillConfig
from featherlite.training.probe import ProbeConfig
from featherlite.training.teachers.classroom import Classroom

from ..conftest import CLASSES, PX, color_network
from .distillation import word_of

MakeRoom = Callable[..., Classroom]
Targets = NDArray[np.float32]


# ---- a foreign teacher -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network that knows the colors as somebody else's .tflite: it takes x / 255, and nothing in it says so."""
    import keras
    import tensorflow

    inputs = keras.Input((PX, PX, 3))
    shifted = keras.layers.Rescaling(255 / 128, -1)(inputs)  # x / 255 to (x - 128) / 128
    model = keras.Model(inputs, color_network()(shifted))
    asked = tensorflow.function(
        lambda photo: model(photo, training=False),
        input_signature=[tensorflow.TensorSpec((1, PX, PX, 3), tensorflow.float32)],
    )
    converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([asked.get_concrete_function()])
    file = tmp_path_factory.mktemp("foreign") / "colors.tflite"
    file.write_bytes(converter.convert())
    return file


@pytest.fixture
def said(foreign: Path, room_of: MakeRoom, tmp_path: Path) -> Callable[..., Targets]:
    """What it teaches of six photos, asked as a distillation asks; its labels lie in a folder of their own."""

    def ask(teacher_input: str = "unit", teacher_labels: tuple[str, ...] = CLASSES) -> Targets:
        names = tmp_path / "names" / "_".join(teacher_labels)
        names.parent.mkdir(exist_ok=True)
        names.write_text("\n".join(teacher_labels))
        room = room_of(teacher=[str(foreign)], teacher_labels=[str(names)], teacher_input=teacher_input)
        return np.asarray(word_of(room)["guide_soft"])

    return ask


def test_a_foreign_teacher_says_what_the_network_itself_says(said: Callable[..., Targets], room_of: MakeRoom) -> None:
    own = word_of(room_of())["guide_soft"]
    assert np.ptp(own, axis=0).min() > 0.02, "photos differ"
    np.testing.assert_allclose(said(), own, atol=2e-3)


def test_another_input_teaches_something_else(said: Callable[..., Targets]) -> None:
    right = said(teacher_input="unit")
    for stated in ("symmetric", "bytes"):
        assert np.abs(said(teacher_input=stated) - right).max() > 0.05, stated
    with pytest.raises(RequestError, match="does not say in which range"):
        said(teacher_input="auto")


def test_labels_say_which_output_is_which_class(said: Callable[..., Targets], foreign: Path) -> None:
    """The last output is called as the first class, and so on: each class is taught what that output says."""
    assert not list(foreign.parent.glob("*.txt"))
    turned = said(teacher_labels=CLASSES[::-1])
    np.testing.assert_allclose(turned, said()[:, ::-1], rtol=1e-5)
    assert np.abs(turned - turned[:, ::-1]).max() > 0.02


# ---- sizes of a network ------------------------------------------------------------------------------------------


def size(folder: Path, **options: Any) -> tuple[int, int]:
    """Parameters and multiply-accumulates of the network that `build` makes."""
    labels = Bundle().with_labels(tuple(Label(name=name) for name in CLASSES))
    ctx = Context(7, folder, folder, folder)
    build(labels, BuildConfig(**({"width": 0.5, "input_px": 32} | options)), ctx)
    return ctx.details["parameters"], ctx.details["macs"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, int]:
    return size(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(
    ("key", "value"),
    [("backbone", "MobileNetV1"), ("input_px", 48), ("width", 0.75), ("depth", 2.0), ("stem_stride", 4)],
)
def test_every_size_reaches_the_network(key: str, value: Any, plain: tuple[int, int], tmp_path: Path) -> None:
    assert size(tmp_path, **{key: value}) != plain


# ---- no key is left out ------------------------------------------------------------------------------------------

HERE = "training/test_teacher_settings.py"
DISTILL, PROBE = "training/test_distill.py", "training/test_probe.py"
BUILD, HEADS = "models/test_build.py", "models/test_heads.py"
COUNTS: dict[type[StepConfig], dict[str, str]] = {
    DistillConfig: {
        "teacher": f"{DISTILL}::test_an_ensemble_is_averaged",
        "teacher_labels": f"{HERE}::test_labels_say_which_output_is_which_class",
        "teacher_input": f"{HERE}::test_another_input_teaches_something_else",
        "kind": f"{DISTILL}::test_every_kind_teaches_and_leaves_the_graph_as_it_was",
        "temperature": f"{DISTILL}::test_every_setting_reaches_the_loss",
        "alpha": f"{DISTILL}::test_every_setting_reaches_the_loss",
        "feature_weight": f"{DISTILL}::test_every_setting_reaches_the_loss",
        "views": f"{DISTILL}::test_every_setting_reaches_the_loss",
        "unlabelled": f"{DISTILL}::test_unlabelled_photos_join",
    },
    ProbeConfig: {
        "kind": f"{PROBE}::test_centroid_is_that_of_scikit_learn",
        "normalize": f"{PROBE}::test_logistic_is_that_of_scikit_learn",
        "c": f"{PROBE}::test_logistic_is_that_of_scikit_learn",
        "folds": f"{PROBE}::test_folds_say_how_many_are_held_out",
        "views": f"{PROBE}::test_views_are_learned_from",
    },
    BuildConfig: {
        **dict.fromkeys(
            ("backbone", "input_px", "width", "depth", "stem_stride"), f"{HERE}::test_every_size_reaches_the_network"
        ),
        **dict.fromkeys(("fit", "dropout"), f"{BUILD}::test_a_built_bundle_has_network_and_contract"),
        **dict.fromkeys(("denoise", "autocontrast"), "test_enhance.py::test_a_recipe_can_ask_for_it"),
        **dict.fromkeys(("weights", "cut"), f"{BUILD}::test_a_cut_and_its_weights_come_from_a_file"),
        "weights_layout": "models/test_weights_torch.py::test_the_layout_can_be_set_and_is_reported",
        "offline": f"{BUILD}::test_offline_a_build_fails_or_starts_from_scratch_as_asked",
        **dict.fromkeys(("head", "attention"), f"{HEADS}::test_the_case_studys_head"),
        "pool": f"{HEADS}::test_what_microcontrollers_lack_is_told_before_the_training",
        **dict.fromkeys(
            ("head_units", "head_dropout", "cosine_scale", "gem_p", "attention_filters"),
            f"{HEADS}::test_every_setting_reaches_its_layer",
        ),
    },
}
"""Each key beyond those of training, of which test_options.py asks, with the test that fails where it does nothing."""


@pytest.mark.parametrize("config", COUNTS, ids=lambda config: config.__name__)
def test_no_key_is_left_out(config: type[StepConfig]) -> None:
    assert set(COUNTS[config]) == set(config.model_fields) - set(FitConfig.model_fields)


@pytest.mark.parametrize("config", COUNTS, ids=lambda config: config.__name__)
def test_what_shows_that_a_key_counts_is_there_and_sets_it(config: type[StepConfig]) -> None:
    for key, where in COUNTS[config].items():
        file, _, name = where.partition("::")
        text = (Path(__file__).parent.parent / file).read_text("utf-8")
        found = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == name]
        assert len(found) == 1, f"{key}: there is no {where}"
        first = min([found[0].lineno, *(decorator.lineno for decorator in found[0].decorator_list)])
        body = "\n".join(text.splitlines()[first - 1 : found[0].end_lineno])
        assert re.search(rf"\b{key}\b", body), f"{where} never names {key}"
