"""Backbones: looked up by name without Keras, built on the contract, cut, and given weights from files."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featherlite.errors import RequestError
from featherlite.models.backbones import Order, backbones, card_of, check_order
from featherlite.models.backbones.feathernet import channels_of

keras = pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")

SMALL = ("MobileNetV1", "MobileNetV2", "MobileNetV3Small", "feathernet")
NAMES = {
    *(f"EfficientNetB{index}" for index in range(4)),
    *("MobileNetV1", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large"),
    *("ResNet18", "ResNet34", "ResNet50", "ConvNeXtTiny", "feathernet", "AlexNet"),
    *("SqueezeNet1_0", "SqueezeNet1_1", "EfficientNetV2B0", "MobileNetV4ConvSmall"),
}


def order(name: str, px: int = 64, **options: Any) -> Order:
    return Order(card_of(name), px, px, **options)


def backbone(name: str, px: int = 64, *, weights: str = "none", after: str = "", **options: Any) -> Any:
    from featherlite.models.weights import build_backbone

    return build_backbone(order(name, px, **options), weights=weights, after=after)


def shuffle_statistics(model: Any, seed: int = 0) -> None:
    """Gives every BatchNorm statistics of its own, so that a fold into them shows."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            gamma, beta = gamma * rng.uniform(0.5, 1.5, gamma.shape), beta + rng.normal(0, 0.3, beta.shape)
            mean, variance = mean + rng.normal(0, 0.3, mean.shape), variance * rng.uniform(0.5, 1.5, variance.shape)
            layer.set_weights([gamma, beta, mean, variance])


# ---- the registry ----------------------------------------------------------------------------------------------------


def test_every_promised_backbone_has_a_card() -> None:
    assert set(backbones()) >= NAMES
    for name, card in backbones().items():
        assert card.name == name
        assert card.paper
        assert card.summary.endswith(".")
        assert bool(card.imagenet_widths) == bool(card.source) == bool(card.weights_licence), name


def test_names_are_known_without_keras() -> None:
    code = (
        "import sys; from featherlite.models.backbones import backbones; import featherlite.models.build;"
        "print(len(backbones()), sorted({'keras', 'tensorflow', 'h5py'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == [str(len(backbones())), "[]\n"]


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(RequestError, match=r"There is no backbone 'mobilenetv2'.*Did you mean 'MobileNetV2'"):
        card_of("mobilenetv2")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (order("MobileNetV2", 31), "MobileNetV2 takes photos of at least 32 px; 31x31"),
        (order("ResNet50", width=0.5), "ResNet50 has no option 'width'.*MobileNetV1, .*feathernet"),
        (order("MobileNetV1", depth=2.0), "no option 'depth'.*feathernet"),
        (order("MobileNetV2", width=0.3, imagenet=True), "no ImageNet weights for MobileNetV2 of width 0.3.*0.35, 0.5"),
        (order("feathernet", imagenet=True), "no ImageNet weights for feathernet"),
    ],
)
def test_orders_that_a_card_rules_out_are_refused(wanted: Order, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        check_order(wanted)


# ---- the contract ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_backbones_are_stock_layers_without_preprocessing(name: str) -> None:
    model = backbone(name)
    assert model.input_shape == (None, 64, 64, 3)
    assert len(model.output_shape) == 4
    kinds = {type(layer).__name__ for layer in model.layers}
    assert not kinds & {"Rescaling", "Normalization", "Lambda", "ZeroPadding2D", "Sequential", "Functional"}
    momenta = {layer.momentum for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)}
    assert momenta == {0.9}


@pytest.mark.parametrize("name", SMALL)
def test_the_card_states_the_parameters_and_macs_of_what_is_built(name: str) -> None:
    from featherlite.models.network import count_macs, count_parameters

    card = card_of(name)
    model = backbone(name, card.input_px)
    assert (count_parameters(model), count_macs(model)) == (card.parameters, card.macs)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(backbones()) - set(SMALL)))
def test_the_card_states_the_parameters_and_macs_of_large_backbones(name: str) -> None:
    test_the_card_states_the_parameters_and_macs_of_what_is_built(name)


def test_what_is_built_does_not_depend_on_what_was_built_before() -> None:
    from featherlite.models.network import network_bytes

    keras.utils.set_random_seed(4)
    first = network_bytes(backbone("MobileNetV3Small"))
    keras.Sequential([keras.layers.ReLU(), keras.layers.Activation("relu")])  # moves Keras's counters of names on
    keras.utils.set_random_seed(4)
    assert network_bytes(backbone("MobileNetV3Small")) == first


def test_explicit_padding_stays_where_the_same_padding_would_differ() -> None:
    model = backbone("MobileNetV1", 66)
    pads = [layer for layer in model.layers if isinstance(layer, keras.layers.ZeroPadding2D)]
    assert [layer.name for layer in pads] == ["conv_pad_2"]  # 66 -> 33: over an odd size 'same' pads both sides


def test_a_fold_is_exact_inside_and_reads_bgr() -> None:
    from featherlite.models.backbones import Convention
    from featherlite.models.contract import affine_of, to_contract

    keras.utils.set_random_seed(3)
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(5, 3, padding="same", use_bias=False, name="stem")(inputs)
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="stem_norm")(x))
    shuffle_statistics(model)
    convention = Convention(scale=(1.0, 0.5, 2.0), offset=(-103.0, -50.0, 7.0), order="BGR")
    network = to_contract(model, affine_of(convention), "folded")

    photo = np.random.default_rng(0).integers(0, 256, (1, 12, 12, 3)).astype(np.float32)
    theirs = model.predict(photo[..., ::-1] * [1.0, 0.5, 2.0] + [-103.0, -50.0, 7.0], verbose=0)
    ours = network.predict((photo - 128) / 128, verbose=0)
    np.testing.assert_allclose(ours[:, 1:-1, 1:-1], theirs[:, 1:-1, 1:-1], rtol=1e-4, atol=1e-3)
    assert np.abs(ours - theirs)[:, 0].max() > 1.0  # over the zero-padded edge the two grays differ
    np.testing.assert_array_equal(model.get_layer("stem").get_weights()[0].shape, (3, 3, 3, 5))


def test_input_layers_are_read_off_and_folded() -> None:
    """MobileNetV3 carries x / 127.5 - 1 as a layer; its fold must give the same features inside the first map."""
    from featherlite.models.backbones import family_of
    from featherlite.models.contract import built_in_affine, to_contract

    card = card_of("MobileNetV3Small")
    original = family_of(card).build(order("MobileNetV3Small", 32))
    shuffle_statistics(original)
    affine = built_in_affine(original)
    np.testing.assert_allclose(affine.matrix, np.eye(3) / 127.5, atol=1e-7)
    np.testing.assert_allclose(affine.offset, [-1, -1, -1], atol=1e-6)
    network = to_contract(original, affine, card.name)
    photo = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    theirs = keras.Model(original.inputs, original.get_layer("conv_bn").output).predict(photo, verbose=0)
    ours = keras.Model(network.inputs, network.get_layer("conv_bn").output).predict((photo - 128) / 128, verbose=0)
    np.testing.assert_allclose(ours[:, :-1, :-1], theirs[:, :-1, :-1], rtol=1e-4, atol=1e-4)


def test_input_layers_that_are_not_affine_are_refused() -> None:
    from featherlite.models.contract import built_in_affine

    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 255)(keras.layers.ReLU(100.0)(inputs))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3)(x))
    with pytest.raises(RequestError, match="not affine"):
        built_in_affine(model)


def test_imagenet_variances_of_efficientnet_are_put_right() -> None:
    """The published file holds deviations where variances belong; see `ready`."""
    from featherlite.models.backbones import efficientnet
    from featherlite.models.contract import built_in_affine

    inputs = keras.Input((8, 8, 3))
    norm = keras.layers.Normalization()
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3)(norm(keras.layers.Rescaling(1 / 255)(inputs))))
    norm.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]), np.array(0)])
    norm.finalize_state()
    efficientnet.ready(model)
    affine = built_in_affine(model)
    np.testing.assert_allclose(np.diag(affine.matrix) * 255, 1 / np.array([0.229, 0.224, 0.225]), rtol=1e-5)
    np.testing.assert_allclose(affine.offset, -np.array([0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225], rtol=1e-5)


def test_shortcut_scales_and_grouped_convolutions_become_plain_layers() -> None:
    """What ConvNeXt is made of, in small: a nested stem, a depthwise convolution by groups, LayerScale, x + y."""
    from keras.src.applications.convnext import LayerScale

    from featherlite.models.contract import cut_points, to_contract

    keras.utils.set_random_seed(5)
    inputs = keras.Input((8, 8, 3))
    x = keras.Sequential([keras.layers.Conv2D(4, 2, 2), keras.layers.LayerNormalization()])(inputs)
    y = keras.layers.Conv2D(4, 3, padding="same", groups=4)(x)
    y = LayerScale(0.5, 4)(keras.layers.Dense(4)(y))
    model = keras.Model(inputs, x + y)
    network = to_contract(model, None, "net")
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds == ["InputLayer", "Conv2D", "LayerNormalization", "DepthwiseConv2D", "Dense", "Add"]
    photo = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(network.predict(photo, verbose=0), model.predict(photo, verbose=0), rtol=1e-4, atol=1e-5)
    assert cut_points(network) == ("add_1",)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NAMES - set(SMALL)))
def test_large_backbones_build_and_load_in_safe_mode(name: str) -> None:
    from featherlite.models.network import network_bytes, network_from

    model = backbone(name)
    again = network_from(network_bytes(model))
    photo = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    np.testing.assert_array_equal(again.predict(photo, verbose=0), model.predict(photo, verbose=0))


# ---- cutting ---------------------------------------------------------------------------------------------------------


def test_a_cut_ends_the_network_at_a_block() -> None:
    whole, short = backbone("MobileNetV1", width=0.25), backbone("MobileNetV1", width=0.25, after="conv_pw_11_relu")
    assert short.layers[-1].name == "conv_pw_11_relu"
    assert short.output_shape == (None, 4, 4, 128)
    assert short.count_params() < whole.count_params()


def test_a_cut_never_tears_a_shortcut() -> None:
    from featherlite.models.contract import cut_points

    points = cut_points(backbone("MobileNetV2"))
    assert {"block_1_project_BN", "block_2_add", "block_13_expand_relu", "out_relu"} <= set(points)
    assert not {"block_2_expand_relu", "block_2_project_BN", "block_2_depthwise_relu"} & set(points)


def test_an_impossible_cut_lists_the_possible_ones() -> None:
    with pytest.raises(RequestError, match=r"cannot be cut after 'conv_pw_99'.*conv_pw_1_relu, .*conv_pw_13_relu"):
        backbone("MobileNetV1", width=0.25, after="conv_pw_99")


# ---- weights from files ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quarter(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A MobileNetV1 of width 0.25 with a top of 7 classes, as keras.applications makes it, and its weights file."""
    keras.utils.set_random_seed(1)
    model = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None, classes=7)
    shuffle_statistics(model)
    path = tmp_path_factory.mktemp("weights") / "quarter.weights.h5"
    model.save_weights(path)
    return model, path


def features(model: Any, photos: Any) -> Any:
    """Of the original network: its own input, its last feature map."""
    return keras.Model(model.inputs, model.get_layer("conv_pw_13_relu").output).predict(photos / 127.5 - 1, verbose=0)


def test_weights_with_any_top_give_the_original_features(quarter: tuple[Any, Path]) -> None:
    model, path = quarter
    photos = np.random.default_rng(2).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    ours = backbone("MobileNetV1", width=0.25, weights=str(path)).predict((photos - 128) / 128, verbose=0)
    np.testing.assert_allclose(ours, features(model, photos), atol=5e-3)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_other_formats_hold_the_same_weights(quarter: tuple[Any, Path], tmp_path: Path, suffix: str) -> None:
    model, path = quarter
    other = tmp_path / f"quarter{suffix}"
    if suffix == ".h5":
        _write_old_format(model, other)
    else:
        model.save(other)
    first = backbone("MobileNetV1", width=0.25, weights=str(path)).get_weights()
    second = backbone("MobileNetV1", width=0.25, weights=str(other)).get_weights()
    for left, right in zip(first, second, strict=True):
        np.testing.assert_array_equal(left, right)


def _write_old_format(model: Any, path: Path) -> None:
    """The layout of Keras 2's weights: attributes `layer_names` and `weight_names`."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{index}:0" for index in range(len(layer.weights))]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, layer.get_weights(), strict=True):
                group[name] = value


def test_weights_of_a_featherlite_network_are_not_folded_twice(tmp_path: Path) -> None:
    from featherlite.models.heads import build_head

    source = backbone("MobileNetV1", width=0.25)
    shuffle_statistics(source)
    whole = keras.Model(source.inputs, build_head(source.output, 3))
    path = tmp_path / "model.keras"
    whole.save(path)
    again = backbone("MobileNetV1", width=0.25, weights=str(path))
    for left, right in zip(source.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_wrong_width_names_the_layer_and_both_shapes(quarter: tuple[Any, Path]) -> None:
    with pytest.raises(RequestError, match=r"layer 'conv1' wants 3x3x3x16, the file has 3x3x3x8\. Set width"):
        backbone("MobileNetV1", width=0.5, weights=str(quarter[1]))


def test_weights_of_another_backbone_are_refused(quarter: tuple[Any, Path]) -> None:
    with pytest.raises(
        RequestError, match=r"does not fit MobileNetV2.*: layer 'Conv1'.*no such layer.*another backbone"
    ):
        backbone("MobileNetV2", weights=str(quarter[1]))


def _pickle(path: Path) -> None:
    path.write_bytes(b"\x80\x04\x8c\x05posix\x8c\x06system\x93.")


def _half(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["layers/a/vars/0"] = np.zeros(50_000)
    path.write_bytes(path.read_bytes()[:30_000])


def _external_link(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["layers/conv2d/vars"] = h5py.ExternalLink("/etc/passwd", "/")


def _external_data(path: Path) -> None:
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/conv2d/vars")
        group.attrs["name"] = "conv1"
        group.create_dataset("0", (8,), "f4", external=[("/etc/passwd", 0, 32)])


def _objects(path: Path) -> None:
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/conv2d/vars")
        group.attrs["name"] = "conv1"
        group.create_dataset("0", data=["text"], dtype=h5py.string_dtype())


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path.with_suffix(".keras"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", b"\0" * 60_000_000)


@pytest.mark.parametrize(
    ("make", "suffix", "message"),
    [
        (_pickle, ".h5", "not a readable weights file"),
        (_pickle, ".keras", "not a readable weights file"),
        (_half, ".h5", "not a readable weights file"),
        (_external_link, ".h5", "link to elsewhere"),
        (_external_data, ".h5", "not a plain array"),
        (_objects, ".h5", "not a plain array"),
        (_bomb, ".keras", "unreasonable size"),
        (_pickle, ".pt", "a pickle by its kind, and pickles are never opened"),
    ],
)
def test_hostile_and_broken_files_are_refused(make: Any, suffix: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    make(path)
    with pytest.raises(RequestError, match=message):
        backbone("MobileNetV1", 32, width=0.25, weights=str(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"there is no file .*nowhere\.h5"):
        backbone("MobileNetV1", 32, weights=str(tmp_path / "nowhere.h5"))


def test_a_failed_download_says_from_where_and_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from urllib.error import URLError

    from keras.src.utils import file_utils

    def refuse(url: str, target: str, hook: Any = None) -> None:
        Path(target).write_bytes(b"half")
        raise URLError("no network")

    monkeypatch.setattr(file_utils, "urlretrieve", refuse)
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    message = r"ImageNet weights of MobileNetV2 failed \(from https://storage\.googleapis\.com/\S+\.h5\).*weights=PATH"
    with pytest.raises(RequestError, match=message):
        backbone("MobileNetV2", 96, width=0.35, weights="imagenet")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# ---- feathernet ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "width", "channels"), [(8, 0.25, 8), (32, 0.75, 24), (56, 0.5, 32), (8, 1.25, 8), (8, 1.5, 16)]
)
def test_widths_round_to_multiples_of_eight(base: int, width: float, channels: int) -> None:
    assert channels_of(base, width) == channels


def test_feathernet_has_only_what_microcontrollers_run_well() -> None:
    model = backbone("feathernet", 96)
    kinds = {type(layer).__name__ for layer in model.layers}
    assert kinds == {"InputLayer", "Conv2D", "DepthwiseConv2D", "BatchNormalization", "ReLU", "Add"}
    assert {layer.max_value for layer in model.layers if isinstance(layer, keras.layers.ReLU)} == {6.0}


def test_feathernet_grows_with_width_and_depth_within_its_family() -> None:
    sizes = {
        options: backbone("feathernet", 96, width=options[0], depth=options[1]).count_params()
        for options in ((0.5, 1.0), (1.0, 1.0), (1.0, 2.0), (1.75, 1.0))
    }
    assert 30_000 <= sizes[0.5, 1.0] < sizes[1.0, 1.0] < min(sizes[1.0, 2.0], sizes[1.75, 1.0])
    assert max(sizes.values()) <= 400_000


def test_the_stem_stride_sets_the_first_map() -> None:
    maps = {
        stride: backbone("feathernet", 64, stem_stride=stride).get_layer("stem_relu").output.shape[1]
        for stride in (1, 2, 4)
    }
    assert maps == {1: 64, 2: 32, 4: 16}


def test_the_largest_pair_of_activations_leaves_room_in_80_kib() -> None:
    """int8 bytes alive at once when operations run in order, a shortcut staying alive until its sum."""
    assert peak_bytes(backbone("feathernet", 96)) == 96 * 96 * 3 + 48 * 48 * 8  # the input and the first map


def peak_bytes(model: Any) -> int:
    """Largest sum of maps alive at once; BatchNorm and ReLU6 are part of the operation before them."""
    steps = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D | keras.layers.Add)
    ]
    fused = {id(layer): layer for layer in steps}

    def source(tensor: Any) -> Any:
        layer = tensor._keras_history.operation
        return layer if id(layer) in fused or isinstance(layer, keras.layers.InputLayer) else source(layer.input)

    reads = {id(layer): [source(tensor) for tensor in keras.tree.flatten(layer.input)] for layer in steps}
    last = {id(read): index for index, layer in enumerate(steps) for read in reads[id(layer)]}
    size = {id(layer): int(np.prod(layer.output.shape[1:])) for layer in [*steps, model.layers[0]]}
    alive, peak = {id(model.layers[0])}, 0
    for index, layer in enumerate(steps):
        alive.add(id(layer))
        peak = max(peak, sum(size[key] for key in alive))
        alive = {key for key in alive if last.get(key, len(steps)) > index}
    return peak
