"""Weight files that lie, break off, belong elsewhere or would run something are refused, with the reason."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from featherlite.errors import RequestError
from featherlite.models.backbones import Order, card_of
from featherlite.models.build import BuildConfig
from featherlite.models.weights import open_weights
from featherlite.models.weights.matching import match
from featherlite.models.weights.namings import namings_of

keras = pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")
safetensors = pytest.importorskip("safetensors.numpy")

CARD = card_of("MobileNetV2")
WIDTH = 0.35
NORM = ("weight", "bias", "running_mean", "running_var")
State = dict[str, Any]


class Explosive:
    """Writes a file where it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.target,)


@pytest.fixture(scope="module")
def model() -> Any:
    """An original that weights are given to, laid out as torch's."""
    from featherlite.models.backbones import family_of
    from featherlite.models.weights.layout import laid_out

    return laid_out(family_of(CARD).build(Order(CARD, 32, 32, WIDTH)), torchvision())


def torchvision() -> Any:
    (naming,) = (naming for naming in namings_of(CARD) if naming.library == "torchvision")
    return naming


@pytest.fixture(scope="module")
def state(model: Any) -> State:
    """A state dict of torch that fits, with a head of 17 classes and counters."""
    from featherlite.models.weights.assigning import leaves

    rng, made = np.random.default_rng(0), {}
    for layer in leaves(model):
        module = torchvision().layers.get(layer.name)
        for part, weight in zip(NORM, layer.weights, strict=False):
            shape = tuple(weight.shape)
            if len(shape) == 4:
                order = (2, 3, 0, 1) if "depthwise" in layer.name else (3, 2, 0, 1)
                shape = tuple(shape[axis] for axis in order)
            made[f"{module}.{part}"] = rng.uniform(0.5, 1.0, shape).astype(np.float32)
        if isinstance(layer, keras.layers.BatchNormalization):
            made[f"{module}.num_batches_tracked"] = np.array(9)
    made["classifier.1.weight"], made["classifier.1.bias"] = np.ones((17, 1280), np.float32), np.ones(17, np.float32)
    return made


def saved(folder: Path, state: State) -> Path:
    path = folder / "weights.safetensors"
    safetensors.save_file(state, path)
    return path


def given(model: Any, path: Path, name: str = "MobileNetV2") -> None:
    """What `build_backbone` does between opening the file and the contract, without building anew."""
    from featherlite.models.weights.stored import Tensors
    from featherlite.models.weights.torch import assign_torch

    card = card_of(name)
    with open_weights(path) as tensors:
        assert isinstance(tensors, Tensors)
        assign_torch(model, tensors, card, match(tensors, card, None))


def raw(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


# ---- pickles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".pkl", ".npz", ".PTH"])
def test_a_pickle_is_refused_by_name_and_never_opened(suffix: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "exploded", tmp_path / f"weights{suffix}"
    path.write_bytes(pickle.dumps(Explosive(mark)))
    path.chmod(0)
    with pytest.raises(RequestError, match=r"never opened: reading one runs whatever.*safetensors"), open_weights(path):
        pass
    with pytest.raises(ValidationError, match="pickles are never opened"):
        BuildConfig(weights=str(path))
    assert not mark.exists()


@pytest.mark.parametrize("archived", [False, True])
def test_a_pickle_under_the_name_of_safetensors_is_known_as_one(archived: bool, tmp_path: Path) -> None:
    mark, path = tmp_path / "exploded", tmp_path / "weights.safetensors"
    content = pickle.dumps({"w": Explosive(mark)}, protocol=2)
    if archived:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
    else:
        path.write_bytes(content)
    with pytest.raises(RequestError, match="is a pickle by its kind"), open_weights(path):
        pass
    assert not mark.exists()


def test_a_header_that_begins_like_a_pickle_is_a_header(tmp_path: Path) -> None:
    """640 as a length is 80 02 00..., which is how pickles of protocol 2 begin."""
    path = tmp_path / "weights.safetensors"
    header = json.dumps({"a": tensor("F32", [1], 0, 4)}).encode().ljust(640)
    path.write_bytes(raw(header, b"\0" * 4))
    assert path.read_bytes()[:2] == b"\x80\x02"
    with open_weights(path) as tensors:
        assert tensors.shapes == {"a": (1,)}


def test_a_keras_archive_is_read_for_its_weights_alone(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Lambda", "config": {"function": "os.system"}}))
        archive.writestr("evil.pkl", pickle.dumps(Explosive(tmp_path / "exploded")))
    with pytest.raises(RequestError, match=r"not a readable weights file.*model\.weights\.h5"), open_weights(path):
        pass
    assert not (tmp_path / "exploded").exists()


# ---- safetensors that lie --------------------------------------------------------------------------------------------

LIES = {
    "empty": b"",
    "shorter than a length": b"abc",
    "a header of 4 EiB": struct.pack("<Q", 2**62) + b"{}",
    "a header longer than the file": struct.pack("<Q", 5000) + b"{}",
    "no JSON": raw(b"not json"),
    "JSON without end": raw(b"[" * 100_000),
    "overlapping places": raw({"a": tensor("F32", [2], 0, 8), "b": tensor("F32", [2], 4, 12)}, b"\0" * 12),
    "a place outside": raw({"a": tensor("F32", [2], 0, 800)}, b"\0" * 8),
    "a place that ends before it begins": raw({"a": tensor("F32", [2], 8, 0)}, b"\0" * 8),
    "a shape beyond its place": raw({"a": tensor("F32", [3], 0, 8)}, b"\0" * 8),
    "a shape that overflows": raw({"a": tensor("F32", [2**40, 2**40], 0, 8)}, b"\0" * 8),
    "a negative shape": raw({"a": tensor("F32", [-2], 0, 8)}, b"\0" * 8),
    "an unknown type": raw({"a": tensor("PICKLE", [2], 0, 8)}, b"\0" * 8),
    "bytes that belong to nothing": raw({"a": tensor("F32", [2], 0, 8)}, b"\0" * 80),
}


@pytest.mark.parametrize("lie", LIES)
def test_safetensors_that_lie_are_refused(lie: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(LIES[lie])
    with pytest.raises(RequestError, match=r"not a readable weights file \(.+\)"), open_weights(path):
        pass


def test_a_file_that_was_cut_off_is_refused(state: State, tmp_path: Path) -> None:
    path = saved(tmp_path, state)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RequestError, match=r"not a readable weights file.*cut off"), open_weights(path):
        pass


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="holds no layer's weights"), open_weights(saved(tmp_path, {})):
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"mean": [0.5, 0.5, 0.5]', "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"mean": [0.5, 0.5, 0.5]}', "not three numbers"),
        ('{"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5]}', "not three numbers"),
        ('{"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0]}', "not three numbers"),
        ('{"mean": [0.5, 0.5, NaN], "std": [0.5, 0.5, 0.5]}', "not three numbers"),
        ('{"mean": [0.5, 0.5, 1e400], "std": [0.5, 0.5, 0.5]}', "not three numbers"),
        ('{"mean": [0.5, 0.5, 1' + "0" * 400 + '], "std": [0.5, 0.5, 0.5]}', "not three numbers"),
        ('{"pretrained_cfg": {"mean": "half", "std": true}}', "not three numbers"),
    ],
)
def test_a_config_beside_that_tells_nonsense_is_refused(text: str, message: str, state: State, tmp_path: Path) -> None:
    path = saved(tmp_path, {"a": np.ones(3, np.float32)})
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RequestError, match=message), open_weights(path):
        pass


# ---- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused_by_name(
    value: float, model: Any, state: State, tmp_path: Path
) -> None:
    bad = state["features.3.conv.0.0.weight"].copy()
    bad.flat[5] = value
    path = saved(tmp_path, state | {"features.3.conv.0.0.weight": bad})
    with pytest.raises(RequestError, match=r"'features\.3\.conv\.0\.0\.weight'.*'block_2_expand', holds 1 of \d+"):
        given(model, path)


def test_a_double_beyond_a_float_is_refused(model: Any, state: State, tmp_path: Path) -> None:
    path = saved(tmp_path, state | {"features.0.1.bias": np.full(state["features.0.1.bias"].shape, 1e300)})
    with pytest.raises(RequestError, match=r"features\.0\.1\.bias.*not finite"):
        given(model, path)


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.bool_])
def test_weights_of_other_types_are_refused(kind: Any, model: Any, state: State, tmp_path: Path) -> None:
    path = saved(tmp_path, state | {"features.0.1.bias": state["features.0.1.bias"].astype(kind)})
    with pytest.raises(RequestError, match=r"'features\.0\.1\.bias' .* of type (I8|I64|BOOL); weights are F64, F32"):
        given(model, path)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_narrow_and_wide_floats_are_brought_to_float32(kind: str, model: Any, state: State, tmp_path: Path) -> None:
    import ml_dtypes  # noqa: F401  (gives NumPy the type bfloat16)

    rounded = {name: value.astype(kind) if value.dtype == np.float32 else value for name, value in state.items()}
    given(model, saved(tmp_path, rounded))
    expected = rounded["features.0.0.weight"].astype(np.float32).transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(model.get_layer("Conv1").get_weights()[0], expected)


def test_nan_in_a_file_of_keras_is_refused_too(tmp_path: Path) -> None:
    from featherlite.models.weights import Stored, assign

    layer = keras.layers.Dense(2, name="dense")
    small = keras.Sequential([keras.Input((3,)), layer])
    layer.set_weights([np.full((3, 2), np.nan), np.zeros(2)])
    small.save_weights(tmp_path / "bad.weights.h5")
    with open_weights(tmp_path / "bad.weights.h5") as stored:
        assert isinstance(stored, Stored)
        with pytest.raises(RequestError, match="for layer 'dense', holds 6 of 6 numbers that are not finite"):
            assign(small, stored, CARD)


# ---- files of something else -----------------------------------------------------------------------------------------


def test_the_file_itself_fits_and_its_head_is_ignored(model: Any, state: State, tmp_path: Path) -> None:
    given(model, saved(tmp_path, state))
    np.testing.assert_array_equal(
        model.get_layer("block_1_depthwise").get_weights()[0],
        state["features.2.conv.1.0.weight"].transpose(2, 3, 0, 1),
    )
    gamma, beta, mean, variance = model.get_layer("Conv_1_bn").get_weights()
    for found, part in zip(
        (gamma, beta, mean, variance), ("weight", "bias", "running_mean", "running_var"), strict=True
    ):
        np.testing.assert_array_equal(found, state[f"features.18.1.{part}"])


def test_a_wrong_shape_names_the_layer_and_both_shapes(model: Any, state: State, tmp_path: Path) -> None:
    before = model.get_layer("Conv1").get_weights()[0]
    other = state | {
        "features.0.0.weight": state["features.0.0.weight"] + 1,
        "features.4.conv.2.weight": np.ones((24, 48, 1, 1), np.float32),
        "features.5.conv.2.weight": np.ones((24, 48, 1, 1), np.float32),
    }
    with pytest.raises(
        RequestError,
        match=r"does not fit MobileNetV2 \(2 layers differ\): layer 'block_3_project' wants 1x1x48x16, the file has "
        r"1x1x48x24\. Set width",
    ):
        given(model, saved(tmp_path, other))
    np.testing.assert_array_equal(model.get_layer("Conv1").get_weights()[0], before)


def test_missing_layers_are_named_and_counted(model: Any, state: State, tmp_path: Path) -> None:
    short = {name: value for name, value in state.items() if not name.startswith(("features.7.", "features.9."))}
    with pytest.raises(RequestError, match=r"\(12 layers are missing\): layer 'block_6_expand' wants .* no such layer"):
        given(model, saved(tmp_path, short))


def test_one_missing_statistic_is_not_made_up(model: Any, state: State, tmp_path: Path) -> None:
    short = {name: value for name, value in state.items() if name != "features.0.1.running_var"}
    with pytest.raises(
        RequestError, match=r"'bn_Conv1' wants 16 and 16 and 16 and 16, the file has 16 and 16 and 16\."
    ):
        given(model, saved(tmp_path, short))


def test_weights_of_another_backbone_are_told_by_their_names(model: Any, tmp_path: Path) -> None:
    (naming, *_) = namings_of(card_of("ResNet18"))
    other = saved(tmp_path, {f"{module}.weight": np.ones(3, np.float32) for module in naming.layers.values()})
    with pytest.raises(RequestError, match=r"layer 'Conv1' wants .* no such layer.*named as those of ResNet18\."):
        given(model, other)
    nothing = saved(tmp_path, {"visual.patch.weight": np.ones(3, np.float32)})
    with pytest.raises(RequestError, match=r"none of MobileNetV2's layers as timm or torchvision name.*visual\.pa"):
        given(model, nothing)


def test_a_deeper_network_does_not_pass_for_a_smaller_one(tmp_path: Path) -> None:
    """All of ResNet18's names, with the same shapes, are in a file of ResNet34."""
    (naming, *_) = namings_of(card_of("ResNet34"))
    path = saved(tmp_path, {f"{module}.weight": np.ones(3, np.float32) for module in naming.layers.values()})
    with open_weights(path) as tensors:
        with pytest.raises(RequestError, match=r"more than ResNet18: 'layer1\.2\..*more have no place.*ResNet34"):
            match(tensors, card_of("ResNet18"), None)
        assert match(tensors, card_of("ResNet34"), None).prefix == ""


def test_biases_that_the_layer_lacks_are_not_dropped(model: Any, state: State, tmp_path: Path) -> None:
    path = saved(tmp_path, state | {"features.0.0.bias": np.ones(16, np.float32)})
    with pytest.raises(RequestError, match=r"'features\.0\.0\.bias' has no place in it"):
        given(model, path)


def test_a_network_that_is_there_twice_is_refused(model: Any, state: State, tmp_path: Path) -> None:
    twice = {f"{prefix}{name}": value for name, value in state.items() for prefix in ("model.", "backbone.")}
    with pytest.raises(RequestError, match=r"holds MobileNetV2 2 times, under the prefixes 'backbone\.', 'model\.'"):
        given(model, saved(tmp_path, twice))


def test_a_wrapper_half_way_is_not_stripped(model: Any, state: State, tmp_path: Path) -> None:
    mixed = {f"module.{name}" if name.startswith("features.0.") else name: value for name, value in state.items()}
    with pytest.raises(RequestError, match=r"2 layers are missing\): layer 'Conv1'"):
        given(model, saved(tmp_path, mixed))


def test_names_cannot_steer_the_terminal(model: Any, tmp_path: Path) -> None:
    path = saved(tmp_path, {"\x1b[2J\x1b]0;owned\x07" + "x" * 10_000: np.ones(3, np.float32)})
    with pytest.raises(RequestError) as caught:
        given(model, path)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_backbone_without_a_naming_says_which_have_one(tmp_path: Path) -> None:
    with (
        open_weights(saved(tmp_path, {"a": np.ones(3, np.float32)})) as tensors,
        pytest.raises(RequestError, match=r"fit feathernet exactly, so none are read.*ConvNeXtTiny, .*MobileNetV2"),
    ):
        match(tensors, card_of("feathernet"), None)


# ---- HDF5 ------------------------------------------------------------------------------------------------------------


def _old_format_link(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv1"]
        file["conv1"] = h5py.ExternalLink("/etc/passwd", "/")


def _circle(path: Path) -> None:
    with h5py.File(path, "w") as file:
        group = file.create_group("layers")
        for name in "abcdefgh":
            group[name] = group  # hard links: eight ways to go round at every level


def _huge_shape(path: Path) -> None:
    """A kilobyte on the disk that would be 8 TB in memory."""
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/conv2d/vars")
        group.attrs["name"] = "Conv1"
        group.create_dataset("0", (10**6, 10**6), "f8", chunks=(1000, 1000))


@pytest.mark.parametrize(
    ("make", "message"),
    [(_old_format_link, "link to elsewhere"), (_circle, "nested too deep")],
)
def test_hostile_hdf5_is_refused(make: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    make(path)
    with pytest.raises(RequestError, match=message), open_weights(path):
        pass


def test_a_huge_shape_is_compared_and_never_read(model: Any, tmp_path: Path) -> None:
    from featherlite.models.weights import Stored, assign

    path = tmp_path / "weights.h5"
    _huge_shape(path)
    assert path.stat().st_size < 100_000
    with open_weights(path) as stored:
        assert isinstance(stored, Stored)
        with pytest.raises(RequestError, match="layer 'Conv1' wants 3x3x3x16, the file has 1000000x1000000"):
            assign(model, stored, CARD)
