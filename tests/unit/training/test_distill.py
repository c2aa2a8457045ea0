"""Distillation: its losses worked by hand, the same cut for both, the same graph afterwards, and what is refused."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featherlite.bundle import Bundle, Label
from featherlite.errors import DataError
from featherlite.step import Context, Silent
from featherlite.training.teachers.classroom import Classroom

from ..conftest import color_network
from ..stopping import StopError, Stopping
from .distillation import QUICK, MakeContext, taught, word_of


@dataclass(frozen=True)
class Lesson:
    """A finished distillation of the student by the network that knows the colors."""

    bundle: Bundle
    weights: list[Any]
    told: dict[str, Any]

    def differs(self, other: Lesson) -> bool:
        return any((mine != theirs).any() for mine, theirs in zip(self.weights, other.weights, strict=True))


@pytest.fixture(scope="module")
def lesson(
    student: Bundle, color_bundle: Bundle, color_photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Lesson]:
    """Teaches the student as asked; the same lesson once."""
    cache, given = tmp_path_factory.mktemp("lessons"), dict[str, Lesson]()

    def give(**options: Any) -> Lesson:
        key = repr(sorted(options.items()))
        if key not in given:
            work = tmp_path_factory.mktemp("work")
            ctx = Context(3, work, work / "resume", cache, color_photos)
            after = taught(student, ctx, **({"teacher": [str(color_bundle.home)]} | options))
            given[key] = Lesson(after, weights_of(after), ctx.details)
        return given[key]

    return give


def weights_of(bundle: Bundle) -> list[Any]:
    from featherlite.models.network import load_network

    return [weight.numpy() for weight in load_network(bundle).weights]


# ---- losses ------------------------------------------------------------------------------------------------------


def test_the_soft_label_loss_by_hand() -> None:
    """T = 2: p = (3/4, 1/4), z = (0, 2 ln 3), so q = (1/4, 3/4): KL = 3/4 ln 3 - 1/4 ln 3 = ln 3 / 2, times 4."""
    from featherlite.training.teachers.guidance import SoftLabels

    loss = SoftLabels(2.0)
    got = loss(np.array([[0.75, 0.25]], np.float32), np.array([[0.0, 2 * np.log(3)]], np.float32))
    assert float(got) == pytest.approx(2 * np.log(3), rel=1e-6)
    assert float(loss(np.array([[0.25, 0.75]], np.float32), np.array([[0.0, 2 * np.log(3)]], np.float32))) == (
        pytest.approx(0.0, abs=1e-6)
    )
    sure = loss(np.array([[1.0, 0.0]], np.float32), np.array([[0.0, 0.0]], np.float32))
    assert float(sure) == pytest.approx(4 * np.log(2), rel=1e-6), "no share at all is no infinity"


def test_the_teachers_labels_are_softened() -> None:
    from featherlite.training.teachers.guidance import soft_labels

    got = soft_labels(np.array([[0.0, 2 * np.log(3)]], np.float32), 2.0)
    np.testing.assert_allclose(got, [[0.25, 0.75]], rtol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_the_gradient_is_the_papers(temperature: float) -> None:
    """Equation 2, (q - p) / T, times T^2."""
    import tensorflow

    from featherlite.training.teachers.guidance import SoftLabels, soft_labels

    random = np.random.default_rng(1)
    teacher, student = random.normal(0, 3, (2, 5, 7)).astype(np.float32)
    z = tensorflow.constant(student)
    with tensorflow.GradientTape() as tape:
        tape.watch(z)
        loss = 5 * SoftLabels(temperature)(soft_labels(teacher, temperature), z)  # the mean over 5 photos, undone
    p, q = soft_labels(teacher, temperature), soft_labels(student, temperature)
    np.testing.assert_allclose(tape.gradient(loss, z), temperature * (q - p), atol=2e-6 * temperature)


def test_the_direction_loss_by_hand() -> None:
    from featherlite.training.teachers.guidance import Direction

    unit = np.array([[1.0, 0.0]], np.float32)
    for given, expected in (([3.0, 0.0], 0.0), ([0.0, 5.0], 1.0), ([-2.0, 0.0], 2.0), ([1.0, 1.0], 1 - 0.5**0.5)):
        assert float(Direction()(unit, np.array([given], np.float32))) == pytest.approx(expected, abs=1e-6)
    assert np.isfinite(float(Direction()(unit, np.zeros((1, 2), np.float32))))


# ---- teaching ----------------------------------------------------------------------------------------------------


def test_a_copy_taught_by_itself_has_nothing_to_learn(color_bundle: Bundle, fresh: MakeContext) -> None:
    """The loss is nought in every view only where teacher and student see the very same cut of the very same photo."""
    lively = {"randaugment": 2, "perspective": 0.2, "erase": 0.5, "epochs": 3, "batch": 7, "rate": 1e-9}
    for views in (2, 0):
        ctx = fresh()
        taught(color_bundle, ctx, teacher=[str(color_bundle.home)], alpha=1.0, **(lively | {"views": views}))
        assert [entry["loss"] for entry in ctx.details["curve"]] == pytest.approx([0.0] * 3, abs=2e-4)
    ctx = fresh()
    other = color_network()
    other.get_layer("head_logits").set_weights([w[..., ::-1] for w in other.get_layer("head_logits").get_weights()])
    from featherlite.models.network import network_bytes

    taught(color_bundle.with_network(network_bytes(other)), ctx, teacher=[str(color_bundle.home)], alpha=1.0, **lively)
    assert min(entry["loss"] for entry in ctx.details["curve"]) > 0.01, "the test can tell"


def graph(content: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return json.loads(archive.read("config.json"))


@pytest.mark.parametrize("kind", ["logits", "features", "both", "own_labels"])
def test_every_kind_teaches_and_leaves_the_graph_as_it_was(
    kind: str, student: Bundle, lesson: Callable[..., Lesson]
) -> None:
    from featherlite.models.network import load_network, network_bytes

    after = lesson(kind=kind, alpha=0.5)
    assert graph(after.bundle.read("model.keras")) == graph(network_bytes(load_network(student)))
    assert after.differs(lesson(alpha=0.0))
    assert after.told["distill"]["kind"] == kind


class NoTeacher:
    """Fixed views, and nothing beside the labels."""

    identity = "nobody"
    views = 2

    def model(self, network: Any) -> Any:
        import keras

        return keras.Model(network.inputs[0], {"logits": network.outputs[0]})

    def losses(self) -> Any:
        return {}

    def targets(self, rows: Any, view: int) -> Any:
        return {}


def test_a_teacher_without_a_share_changes_nothing(
    student: Bundle, fresh: MakeContext, lesson: Callable[..., Lesson]
) -> None:
    """Bit for bit the weights of plain training on the same draws."""
    from featherlite.data.photos import load_photos
    from featherlite.models.network import load_network
    from featherlite.training.config import FitConfig
    from featherlite.training.fit import fit

    ctx = fresh()
    network = load_network(student)
    plain = FitConfig.model_validate({key: value for key, value in QUICK.items() if key != "views"})
    fit(network, load_photos(student, "train", ctx), load_photos(student, "val", ctx), plain, ctx, NoTeacher())
    for options in ({}, {"kind": "both"}):
        for mine, theirs in zip(lesson(alpha=0.0, **options).weights, network.weights, strict=True):
            np.testing.assert_array_equal(mine, theirs.numpy())


def test_every_setting_reaches_the_loss(room_of: Callable[..., Classroom]) -> None:
    plain = room_of().teaching()
    weights = {name: weight for name, (_, weight) in plain.losses().items()}
    assert weights == {"logits": pytest.approx(0.1), "guide_soft": 0.9}
    both = room_of(kind="both", alpha=0.6, feature_weight=5.0, temperature=2.0, views=0).teaching()
    weights = {name: weight for name, (_, weight) in both.losses().items()}
    assert weights == {"logits": pytest.approx(0.4), "guide_soft": 0.6, "guide_0": pytest.approx(3.0)}
    assert (plain.losses()["guide_soft"][0].temperature, both.losses()["guide_soft"][0].temperature) == (4.0, 2.0)
    rows = np.arange(6)
    warm, cool = plain.targets(rows, 1)["guide_soft"], both.targets(rows, 1)["guide_soft"]
    np.testing.assert_allclose(cool, np.square(warm) / np.square(warm).sum(axis=1, keepdims=True), rtol=1e-5)
    assert (plain.views, both.views) == (2, 2**31 - 1)
    identities = {plain.identity, both.identity, room_of(alpha=0.5).teaching().identity, room_of().teaching().identity}
    assert len(identities) == 3


def test_features_are_directions_from_their_mean(room_of: Callable[..., Classroom]) -> None:
    """Of length 1, and not all of one direction, as the features themselves are."""
    features = word_of(room_of(kind="features", alpha=0.5))["guide_0"]
    assert features.shape == (6, 8)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1.0, rtol=1e-5)
    assert (features @ features.T).min() < 0.5


def test_kept_answers_teach_as_new_ones(lesson: Callable[..., Lesson]) -> None:
    """Two epochs on two kept views, and on new draws each: the same draws, so bit for bit the same weights."""
    assert not lesson().differs(lesson(views=0))


def test_an_ensemble_is_averaged(color_bundle: Bundle, room_of: Callable[..., Classroom], tmp_path: Path) -> None:
    """The mean of their soft labels; each with features or classes of its own has an equal part of the weight."""
    from featherlite.models.network import network_bytes

    other = color_network()
    other.get_layer("head_logits").set_weights([np.zeros((8, 3)), np.array([0.0, 0.0, 8.0])])
    color_bundle.with_network(network_bytes(other)).save(tmp_path / "stubborn")
    named = [str(color_bundle.home), str(tmp_path / "stubborn")]
    alone = word_of(room_of())["guide_soft"]
    stubborn = np.array([1, 1, np.e**2]) / (2 + np.e**2)  # 8 / T = 2
    np.testing.assert_allclose(word_of(room_of(teacher=named))["guide_soft"], (alone + stubborn) / 2, atol=1e-3)
    room = room_of(teacher=named, kind="own_labels", alpha=0.5)
    assert {name: weight for name, (_, weight) in room.teaching().losses().items()} == {
        "logits": 0.5,
        "guide_0": 0.25,
        "guide_1": 0.25,
    }
    first, second, together = room.judge_teachers()
    assert first is not None
    assert second is not None
    assert together is not None
    third = pytest.approx(1 / 3)
    assert (first.value, second.value, together.value) == (1.0, third, third), "the surer one is heard"


def test_classes_in_another_order_teach_the_same(
    color_bundle: Bundle, room_of: Callable[..., Classroom], tmp_path: Path
) -> None:
    """The same teacher with its outputs turned about, a class more, and its names to match."""
    import keras

    from featherlite.models.network import network_bytes

    order = [2, 0, 1]
    source = color_network()
    kernel, bias = source.get_layer("head_logits").get_weights()
    logits = keras.layers.Dense(4, name="head_logits")
    other = keras.Model(source.inputs[0], logits(source.get_layer("head_pool").output))
    logits.set_weights([np.c_[kernel[:, order], np.ones(8)], np.r_[bias[order], 99.0]])
    names = [color_bundle.labels[place].name for place in order]
    turned = color_bundle.with_network(network_bytes(other))
    turned = turned.with_labels((*(Label(name=name) for name in names), Label(name="none of them")))
    turned.save(tmp_path / "turned")
    room = room_of(teacher=[str(tmp_path / "turned")])
    np.testing.assert_allclose(word_of(room)["guide_soft"], word_of(room_of())["guide_soft"], atol=1e-3)
    assert [None if one is None else one.value for one in room.judge_teachers()] == [1.0, 1.0]


def test_an_export_teaches_too(quantized: Bundle, room_of: Callable[..., Classroom]) -> None:
    room = room_of(teacher=[f"{quantized.home}#int8"], kind="both")
    facts = room.facts(room.judge_teachers(), 0.5, 6)
    (teacher,) = facts["teachers"]
    assert teacher["name"].endswith("#int8")
    assert (teacher["classes"], teacher["features"], teacher["val_top1"]["value"]) == (3, 8, 1.0)
    said, exact = word_of(room), word_of(room_of(kind="both"))
    assert np.abs(said["guide_soft"] - exact["guide_soft"]).max() < 0.1
    assert (said["guide_0"] * exact["guide_0"]).sum(axis=1).min() > 0.8


# ---- what is told ------------------------------------------------------------------------------------------------


def test_teacher_and_student_stand_next_to_each_other(lesson: Callable[..., Lesson]) -> None:
    details = lesson().told
    told = details["distill"]
    low = pytest.approx(0.61, abs=0.01)
    assert told["teacher_top1"] == {"value": 1.0, "low": low, "high": 1.0, "n": 6, "split": "val"}
    assert told["student_top1"]["value"] == details["fit"]["val_top1"]
    assert told["student_top1"]["n"] == 6
    assert not any("worse" in message for message in details.get("warnings", []))


def test_a_worse_and_smaller_teacher_is_told_of(color_bundle: Bundle, student: Bundle, fresh: MakeContext) -> None:
    """The untrained small network teaches the one that knows."""
    ctx = fresh()
    taught(color_bundle, ctx, teacher=[str(student.home)], rate=1e-9)
    warned = "\n".join(ctx.details["warnings"])
    assert "The teacher is worse than the student" in warned
    assert "a smaller teacher seldom helps" in warned


def test_a_teacher_that_learned_held_out_photos_is_told_of(
    color_bundle: Bundle, student: Bundle, fresh: MakeContext, tmp_path: Path
) -> None:
    """Split otherwise: what it scores on those photos is no test of it."""
    from featherlite.data.splits import Splits, read_splits, write_splits

    other = {"train": "val", "val": "train"}
    rows = [(*row[:4], other.get(row[4], row[4])) for row in read_splits(color_bundle).rows()]
    table = write_splits(Splits.from_rows(rows))
    teacher = color_bundle.with_files({"splits.parquet": table}).save(tmp_path / "teacher")
    ctx = fresh()
    taught(student, ctx, teacher=[str(teacher.home)])
    (warned,) = [one for one in ctx.details["warnings"] if "is no test" in one]
    assert "was trained on 6 of the 30 photos that this network is to be judged on" in warned
    assert ctx.details["distill"]["teacher_top1"] is None
    assert ctx.details["distill"]["teachers"][0]["val_top1"] is None


# ---- unlabelled photos -------------------------------------------------------------------------------------------


@pytest.fixture
def more_photos(color_photos: Path, tmp_path: Path) -> Path:
    """Nine new photos in no order, one of them twice, a copy of a training and of a test photo, and a text."""
    root = tmp_path / "more"
    (root / "deep" / "er").mkdir(parents=True)
    random = np.random.default_rng(77)
    for number in range(9):
        coarse = random.integers(0, 256, (6, 6, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((48, 48), Image.Resampling.BICUBIC).save(
            root / ("deep/er" if number % 2 else "") / f"{number}.png"
        )
    shutil.copy(root / "0.png", root / "deep" / "again.png")
    shutil.copy(color_photos / "red" / "00.png", root / "known.png")
    shutil.copy(color_photos / "red" / "17.png", root / "leak.png")
    (root / "notes.txt").write_text("no photo")
    return root


def test_unlabelled_photos_join(lesson: Callable[..., Lesson], more_photos: Path) -> None:
    after = lesson(unlabelled=more_photos)
    told = after.told["distill"]["unlabelled"]
    counted = {key: told[key] for key in ("found", "joined", "repeated", "in_train", "held_out", "unreadable")}
    assert counted == {"found": 12, "joined": 9, "repeated": 1, "in_train": 1, "held_out": 1, "unreadable": 1}
    assert "1 are copies of validation, calibration or test photos" in "\n".join(after.told["warnings"])
    assert after.differs(lesson())


def test_what_looks_like_a_held_out_photo_stays_out(sample_photos: Path, tmp_path: Path) -> None:
    """A test photo saved again, smaller and brighter, is none to learn from; a training photo so changed may join."""
    from featherlite.bundle import sha256_of
    from featherlite.data.splits import Splits, write_splits
    from featherlite.training.teachers.unlabelled import joining_photos

    files = sorted(sample_photos.rglob("*.jpg")) or sorted(sample_photos.rglob("*.png"))
    splits = Splits.from_rows(
        (file.relative_to(sample_photos).as_posix(), sha256_of(file), file.parent.name, None, split)
        for file, split in zip(files, ["train", "test"] * (len(files) // 2), strict=True)
    )
    bundle = Bundle().with_files({"splits.parquet": write_splits(splits)})
    root = tmp_path / "more"
    root.mkdir()
    for name, file in (("of-train", files[0]), ("of-test", files[1])):
        with Image.open(file) as photo:
            photo.convert("RGB").resize((80, 80)).point(lambda level: min(255, level + 12)).save(root / f"{name}.jpg")
    ctx = Context(0, tmp_path, tmp_path, tmp_path / "cache", sample_photos)
    joining = joining_photos(bundle, root, ctx)
    assert [path for path, _ in joining.photos] == ["of-train.jpg"]
    assert joining.like_held_out == 1
    (root / "of-train.jpg").unlink()
    with pytest.raises(DataError, match="none can join"):
        joining_photos(bundle, root, ctx)


def test_a_folder_without_photos_is_refused(
    student: Bundle, color_bundle: Bundle, fresh: MakeContext, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="no such folder"):
        taught(student, fresh(), teacher=[str(color_bundle.home)], unlabelled=tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no photo in it can be used\. It is empty"):
        taught(student, fresh(), teacher=[str(color_bundle.home)], unlabelled=tmp_path / "empty")


# ---- again and again ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "after"), [pytest.param("Asking", 1, marks=pytest.mark.slow), ("train all", 5)])
def test_an_interrupted_distillation_ends_alike(
    what: str,
    after: int,
    student: Bundle,
    color_bundle: Bundle,
    fresh: MakeContext,
    lesson: Callable[..., Lesson],
    tmp_path: Path,
) -> None:
    """Bit for bit, projections included: stopped while the teacher is asked, and in the second epoch."""
    options = {"teacher": [str(color_bundle.home)], "kind": "both", "epochs": 3, "head_epochs": 1}
    expected = lesson(**options)
    ctx = fresh()
    ctx.cache, ctx.progress = tmp_path / "other-cache", Stopping(what, after)
    with pytest.raises(StopError):
        taught(student, ctx, **options)
    ctx.progress = Silent()
    assert taught(student, ctx, **options).read("model.keras") == expected.bundle.read("model.keras")
