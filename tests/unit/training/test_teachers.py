"""Teachers as a user names them: what is opened, how it is asked, and what is refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featherlite.bundle import Bundle
from featherlite.data.photos import load_photos
from featherlite.errors import BundleError, RequestError
from featherlite.preprocess import Preprocess, network_input, softmax
from featherlite.runtime.flatbuffer import TensorFacts, inspect
from featherlite.training.teachers.artefact import taps_of
from featherlite.training.teachers.classes import labels_from, outputs_for, refuse_other_classes
from featherlite.training.teachers.convention import Convention, convention_of
from featherlite.training.teachers.reference import open_teacher, references

STUDENT = Preprocess(width=32, height=32)
INAT = "peers/mobilenet_v2_1.0_224_inat_bird_quant.tflite"
CUB = "peers/shankogubbi_cub200_mobilenetv2.tflite"


def teacher_of(named: str, *labels: Path, stated: Any = "auto") -> Any:
    return open_teacher(references([named], labels)[0], stated, STUDENT)


# ---- classes -----------------------------------------------------------------------------------------------------


def test_classes_are_found_by_name_whatever_their_order() -> None:
    assert outputs_for(["wren", "robin"], ["robin", "owl", "wren"]).tolist() == [2, 0]
    assert outputs_for(["House_Wren", "robin"], ["Robin", "house  wren"]).tolist() == [1, 0]


def test_a_name_that_stands_twice_is_no_name() -> None:
    assert outputs_for(["wren"], ["wren", "wren"]).tolist() == [-1]
    assert outputs_for(["wren"], ["Wren", "WREN"]).tolist() == [-1]
    assert outputs_for(["wren"], ["WREN", "wren"]).tolist() == [1], "the exact one goes first"
    assert outputs_for(["wren", "WREN"], ["Wren"]).tolist() == [-1, -1], "one output cannot be two classes"


def test_other_classes_are_refused_with_both_sides_named() -> None:
    refuse_other_classes("t", ["wren"], ["owl", "wren"])
    with pytest.raises(RequestError) as refusal:
        refuse_other_classes("t", ["wren", "robin"], ["owl", "wren"])
    assert "lacks 1 ('robin')" in refusal.value.message
    assert "lacks 1 ('owl')" in refusal.value.message
    assert "kind=features" in refusal.value.hint


def test_labels_of_a_text_file() -> None:
    assert labels_from("owl\nwren \n\n") == ("owl", "wren")
    assert labels_from("0  owl\n1  great wren\n") == ("owl", "great wren")
    assert labels_from("0: owl\n1: wren") == ("owl", "wren")
    assert labels_from("1 owl\n2 wren") == ("1 owl", "2 wren"), "not numbered as outputs are: part of the names"
    assert labels_from("\ufeffowl") == ("owl",)


# ---- conventions -------------------------------------------------------------------------------------------------


def tensor(dtype: str, scale: float | None = None, zero_point: int | None = None) -> TensorFacts:
    return TensorFacts(0, "photo", dtype, (1, 2, 2, 3), 0, 1, scale, zero_point)


LEVELS = network_input(np.array([0, 51, 128, 255], np.uint8))


@pytest.mark.parametrize(
    ("stated", "facts", "expected"),
    [
        ("unit", tensor("float32"), [0.0, 0.2, 128 / 255, 1.0]),
        ("symmetric", tensor("float32"), [-1.0, -0.6, 128 / 127.5 - 1, 1.0]),
        ("bytes", tensor("float32"), [0, 51, 128, 255]),
        ("bytes", tensor("uint8", 1.0, 0), [0, 51, 128, 255]),
        ("bytes", tensor("int8", 1.0, 0), [-128, -77, 0, 127]),
        ("auto", tensor("uint8", 1 / 128, 128), [0, 51, 128, 255]),
        ("auto", tensor("int8", 1 / 255, -128), [-128, -77, 0, 127]),
        ("unit", tensor("int8", 1 / 255, -128), [-128, -77, 0, 127]),
        ("unit", tensor("int8", 2 / 255, -128), [-128, -102, -64, 0]),
        ("symmetric", tensor("uint8", 1 / 127.5, 128), [0, 51, 128, 255]),
    ],
)
def test_an_input_as_stated_or_as_its_type_says(stated: Any, facts: TensorFacts, expected: list[float]) -> None:
    got = convention_of("t", b"", facts, stated, own=False)(LEVELS, facts)
    assert got.dtype == facts.dtype
    # Half a level's rounding may fall either way where 128 lies between two steps.
    np.testing.assert_allclose(got.astype(np.float64), expected, atol=1e-6 if facts.dtype == "float32" else 1)


def test_featherlites_own_float_input_is_the_networks() -> None:
    facts = tensor("float32")
    np.testing.assert_array_equal(convention_of("t", b"", facts, "auto", own=True)(LEVELS, facts), LEVELS)


def metadata(mean: list[float], std: list[float]) -> bytes:
    """TFLite metadata with a normalization of the first input."""
    import flatbuffers

    builder = flatbuffers.Builder(256)

    def floats(values: list[float]) -> int:
        return int(builder.CreateNumpyVector(np.array(values, np.float32)))

    def vector(offset: int) -> int:
        builder.StartVector(4, 1, 4)
        builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    def table(fields: dict[int, int], kind: int | None = None) -> int:
        builder.StartObject(8)
        for number, offset in fields.items():
            builder.PrependUOffsetTRelativeSlot(number, offset, 0)
        if kind is not None:
            builder.PrependUint8Slot(0, kind, 0)
        return int(builder.EndObject())

    options = table({0: floats(mean), 1: floats(std)})
    unit = table({1: options}, kind=1)
    one = table({4: vector(unit)})
    graph = table({2: vector(one)})
    builder.Finish(table({3: vector(graph)}), file_identifier=b"M001")
    return bytes(builder.Output())


def test_a_normalization_in_the_metadata_is_taken(exported: Bundle) -> None:
    facts = tensor("float32")
    data = with_metadata(exported.read("exports/float32/model.tflite"), metadata([127.5], [127.5]))
    got = convention_of("t", data, facts, "auto", own=False)
    assert got == Convention((127.5,), (127.5,), False, "normalization in its metadata")
    useless = with_metadata(exported.read("exports/float32/model.tflite"), metadata([127.5], [0.0]))
    with pytest.raises(RequestError, match="does not say in which range") as refusal:
        convention_of("t", useless, facts, "auto", own=False)
    assert "teacher_input=unit" in refusal.value.hint


def with_metadata(data: bytes, content: bytes | None) -> bytes:
    """The .tflite without featherlite's own metadata; with TFLite's, where given."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data, 0)
    model.metadata = []
    if content is not None:
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = list(content)
        entry.name, entry.buffer = "TFLITE_METADATA", len(model.buffers)
        model.buffers.append(buffer)
        model.metadata.append(entry)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


# ---- opening -----------------------------------------------------------------------------------------------------


def test_a_bundle_and_its_exports_answer_alike(exported: Bundle, make_context: Any, tmp_path: Path) -> None:
    from featherlite.models.logits import network_logits
    from featherlite.models.network import load_network

    home = exported.save(tmp_path / "bundle").home
    photos = load_photos(exported, "val", make_context())
    inputs = network_input(photos.images[:])
    expected = network_logits(load_network(exported), photos.images)
    answers = {}
    for named in (f"{home}", f"{home}#float32", f"{home}#int8", f"{home}/exports/float32/model.tflite"):
        teacher = teacher_of(named)
        assert teacher.facts.labels == ("blue", "green", "red")
        assert teacher.facts.preprocess == exported.preprocess
        assert teacher.facts.features == 8
        answers[named] = teacher.answer(inputs)
        coarse = named.endswith("#int8")
        np.testing.assert_allclose(answers[named].logits, expected, atol=0.4 if coarse else 1e-4)
    features = [answer.features for answer in answers.values()]
    assert features[0].std() > 0.01
    for other in features[1:]:
        np.testing.assert_allclose(other, features[0], atol=0.05)


def test_a_foreign_tflite_takes_the_students_fit_and_the_labels_beside(exported: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(with_metadata(exported.read("exports/float32/model.tflite"), None))
    (tmp_path / "notes.txt").write_text("not labels")
    with pytest.raises(RequestError, match=r"3 outputs and no labels.*notes\.txt \(1 lines\)"):
        teacher_of(str(file), stated="unit")
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    teacher = teacher_of(str(file), stated="unit")
    assert teacher.facts.labels == ("a", "b", "c")
    assert (teacher.facts.preprocess.width, teacher.facts.preprocess.fit) == (24, "crop")
    with pytest.raises(RequestError, match="does not say in which range"):
        teacher_of(str(file))
    other = tmp_path / "sub" / "classes"
    other.parent.mkdir()
    other.write_text("x\ny\nz")
    assert teacher_of(str(file), other, stated="unit").facts.labels == ("x", "y", "z")


def test_two_fitting_labels_files_are_not_guessed_between(exported: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(with_metadata(exported.read("exports/float32/model.tflite"), None))
    (tmp_path / "one.txt").write_text("a\nb\nc")
    (tmp_path / "two.txt").write_text("x\ny\nz")
    with pytest.raises(RequestError, match="no labels for them"):
        teacher_of(str(file), stated="unit")


def test_labels_packed_behind_the_file_are_read(exported: Bundle, tmp_path: Path) -> None:
    data = with_metadata(exported.read("exports/float32/model.tflite"), None)
    packed = io.BytesIO(data)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("labels.txt", "u\nv\nw\n")
    file = tmp_path / "model.tflite"
    file.write_bytes(packed.getvalue())
    assert teacher_of(str(file), stated="unit").facts.labels == ("u", "v", "w")


def test_labels_of_the_wrong_number_are_refused(exported: Bundle, tmp_path: Path) -> None:
    file, labels = tmp_path / "model.tflite", tmp_path / "few"
    file.write_bytes(with_metadata(exported.read("exports/float32/model.tflite"), None))
    labels.write_text("a\nb")
    with pytest.raises(RequestError, match=r"are 2, and the teacher .* has 3 outputs"):
        teacher_of(str(file), labels, stated="unit")
    with pytest.raises(RequestError, match="cannot be read"):
        teacher_of(str(file), tmp_path / "absent", stated="unit")
    labels.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RequestError, match="not UTF-8"):
        teacher_of(str(file), labels, stated="unit")


def test_a_labels_file_needs_a_tflite(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="belongs to no teacher"):
        references(["bundle"], [tmp_path / "labels.txt"])
    one, two = references(["a.tflite", "bundle#int8"], [Path("names")])
    assert (one.labels, one.export, two.labels, two.export) == (Path("names"), None, None, "int8")
    assert two.path == Path("bundle")


def test_a_step_teaches_within_its_recipe_alone(tmp_path: Path) -> None:
    earlier = {"train": tmp_path}
    (one,) = references(["step:train"], earlier=earlier)
    assert (one.text, one.path) == ("step:train", tmp_path)
    with pytest.raises(RequestError, match="no earlier step 'trian'") as refusal:
        references(["step:trian"], earlier=earlier)
    assert refusal.value.hint == "Did you mean 'train'?"
    with pytest.raises(RequestError, match="no earlier step 'train'"):
        references(["step:train"])


def test_what_is_no_teacher_is_refused(color_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is no"):
        teacher_of(str(tmp_path / "absent"))
    with pytest.raises(BundleError, match="not a bundle"):
        teacher_of(str(tmp_path))
    (tmp_path / "notes.md").write_text("hello")
    with pytest.raises(RequestError, match="neither a bundle's folder nor"):
        teacher_of(str(tmp_path / "notes.md"))
    (tmp_path / "broken.tflite").write_bytes(b"not a model at all")
    with pytest.raises(BundleError, match=r"no \.tflite file"):
        teacher_of(str(tmp_path / "broken.tflite"))
    with pytest.raises(BundleError, match="no export 'int8'"):
        teacher_of(f"{color_bundle.home}#int8")
    bare = Bundle({name: color_bundle.files[name] for name in ("labels.json", "preprocess.json")})
    bare.save(tmp_path / "bare")
    with pytest.raises(BundleError, match=r"no model\.keras"):
        teacher_of(str(tmp_path / "bare"))


def test_a_tflite_that_is_no_classifier_is_refused(tmp_path: Path) -> None:
    import tensorflow

    segmenter = tensorflow.function(
        lambda x: x * 2.0, input_signature=[tensorflow.TensorSpec((1, 16, 16, 3), tensorflow.float32)]
    )
    converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([segmenter.get_concrete_function()])
    (tmp_path / "map.tflite").write_bytes(converter.convert())
    with pytest.raises(RequestError, match=r"no classifier of photos: its output is float32 \[1, 16, 16, 3\]"):
        teacher_of(str(tmp_path / "map.tflite"), stated="unit")


# ---- other people's ----------------------------------------------------------------------------------------------


def test_taps_of_other_peoples_files(real_data: Path) -> None:
    """Before the softmax; and what the last dense layer reads."""
    inat = taps_of(inspect((real_data / INAT).read_bytes()))
    assert (inat.logits.index, inat.features.index if inat.features else None) == (170, 168)
    cub = taps_of(inspect((real_data / CUB).read_bytes()))
    assert (cub.logits.index, cub.features.index if cub.features else None) == (177, 176)


def test_the_inaturalist_model_knows_a_bird(real_data: Path) -> None:
    """Labels from inside the file; answers as the file's own output has them in LiteRT's default kernels."""
    from ai_edge_litert.interpreter import Interpreter

    teacher = teacher_of(str(real_data / INAT))
    assert len(teacher.facts.labels) == 965
    assert teacher.facts.labels[-1] == "background"
    assert teacher.facts.features == 1280
    files = sorted((real_data / "birds" / "BALD EAGLE").iterdir())
    photos = np.stack([teacher.facts.preprocess(file) for file in files])
    answer = teacher.answer(network_input(photos))
    named = [teacher.facts.labels[place] for place in answer.logits.argmax(axis=1)]
    assert sum("Bald Eagle" in name for name in named) >= 3
    interpreter = Interpreter(model_path=str(real_data / INAT))
    interpreter.allocate_tensors()
    for photo, shares in zip(photos, softmax(answer.logits), strict=True):
        interpreter.set_tensor(0, photo[None])
        interpreter.invoke()
        own = interpreter.get_tensor(171)[0] / 256
        np.testing.assert_allclose(shares, own, atol=0.1)  # two sets of kernels round differently in every layer
    assert answer.features.shape == (len(files), 1280)
    assert answer.features.std(axis=0).max() > 0.1


def test_the_labels_beside_a_foreign_file_are_found_by_their_number(real_data: Path) -> None:
    teacher = teacher_of(str(real_data / CUB), stated="unit")
    assert teacher.facts.labels[0] == "001.Black_footed_Albatross"
    assert teacher.facts.features == 128


@pytest.mark.parametrize("within", ["", "bundle"])
def test_a_recipe_takes_a_bundle_or_the_folder_of_a_run_as_teacher(tmp_path: Path, within: str) -> None:
    from featherlite.errors import RecipeError
    from featherlite.recipe import load_recipe

    place = tmp_path / "teacher" / within
    Bundle({"note.txt": b"1"}).save(place)
    asked = f'distill.teacher=["{tmp_path / "teacher"}"]'
    recipe = load_recipe("mcu-distilled", [asked])
    assert next(plan for plan in recipe.steps if plan.id == "distill").config.files() == (place / "bundle.json",)
    with pytest.raises(RecipeError, match="there is no file"):
        load_recipe("mcu-distilled", [f'distill.teacher=["{tmp_path / "nobody"}"]'])
