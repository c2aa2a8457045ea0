"""The families of our own: shapes worked out by hand, names, limits, cuts, first weights, and the way to int8."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featherlite.errors import RequestError
from featherlite.models.backbones import TORCH, Order, backbones, card_of, check_order, family_of

keras = pytest.importorskip("keras")

OWN = ("AlexNet", "MobileNetV4ConvSmall", "ResNet18", "ResNet34", "SqueezeNet1_0", "SqueezeNet1_1")
ONE_EACH = ("AlexNet", "MobileNetV4ConvSmall", "ResNet18", "SqueezeNet1_1")
NORMED = ("MobileNetV4ConvSmall", "ResNet18")


def fresh(name: str, height: int, width: int, torch: bool = False) -> Any:
    """The network as its family builds it, before it is brought to the contract."""
    card = card_of(name)
    return family_of(card).build(Order(card, height, width, torch=torch))


@cache
def built(name: str, height: int, width: int) -> Any:
    """The same, in torch's layout, built once for all tests, which leave it as it is."""
    return fresh(name, height, width, torch=True)


def smallest(name: str) -> Any:
    px = card_of(name).min_px
    return built(name, px, px)


def on_contract(model: Any) -> Any:
    from featherlite.models.contract import to_contract

    return to_contract(model, None, model.name)


def side(model: Any, layer: str) -> tuple[int, int]:
    return tuple(model.get_layer(layer).output.shape[1:3])


# ---- shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "px", "sides"),
    [
        # (227 - 7) / 2 + 1, then halved three times, rounding up: Iandola et al. 2016, table 1 (its first pool: 55)
        ("SqueezeNet1_0", 227, {"conv1": 111, "pool1": 55, "pool4": 27, "pool8": 13}),
        ("SqueezeNet1_0", 96, {"conv1": 45, "pool1": 22, "pool4": 11, "pool8": 5}),
        ("SqueezeNet1_0", 21, {"conv1": 8, "pool1": 4, "pool4": 2, "pool8": 1}),
        ("SqueezeNet1_1", 224, {"conv1": 111, "pool1": 55, "pool3": 27, "pool5": 13}),
        ("SqueezeNet1_1", 75, {"conv1": 37, "pool1": 18, "pool3": 9, "pool5": 4}),
        ("AlexNet", 224, {"conv1": 55, "pool1": 27, "conv2": 27, "pool2": 13, "conv5": 13, "pool5": 6, "fc6": 1}),
        ("AlexNet", 96, {"conv1": 23, "pool1": 11, "pool2": 5, "pool5": 2, "fc6": 1}),
        ("AlexNet", 255, {"conv1": 63, "pool1": 31, "pool2": 15, "pool5": 7, "fc6": 2, "fc7": 2}),
        ("ResNet18", 224, {"conv1": 112, "maxpool": 56, "layer1_1_relu": 56, "layer2_1_relu": 28, "layer4_1_relu": 7}),
        ("ResNet18", 75, {"conv1": 38, "maxpool": 19, "layer2_0_add": 10, "layer3_0_add": 5, "layer4_1_add": 3}),
        ("MobileNetV4ConvSmall", 224, {"conv_stem": 112, "blocks_0_1_conv": 56, "blocks_1_1_conv": 28}),
        ("MobileNetV4ConvSmall", 75, {"conv_stem": 38, "blocks_0_0_conv": 19, "blocks_2_0_dw_start_conv": 10}),
        ("MobileNetV4ConvSmall", 75, {"blocks_2_0_dw_mid_conv": 5, "blocks_3_5_add": 3, "blocks_4_0_conv": 3}),
    ],
)
def test_maps_have_the_sides_worked_out_by_hand(name: str, px: int, sides: dict[str, int]) -> None:
    model = built(name, px, px)
    assert {layer: side(model, layer) for layer in sides} == {layer: (n, n) for layer, n in sides.items()}


def test_sides_of_a_photo_need_not_be_equal() -> None:
    # 36 and 33 after the first convolution: the even side is rounded up by a window over its far edge
    model = built("SqueezeNet1_1", 74, 68)
    assert (side(model, "conv1"), side(model, "pool1"), side(model, "fire9_concat")) == ((36, 33), (18, 16), (4, 4))


@pytest.mark.parametrize(
    ("name", "px", "layer", "weights"),
    [
        ("SqueezeNet1_1", 75, "fire2_expand3x3", 3 * 3 * 16 * 64 + 64),
        ("SqueezeNet1_0", 96, "conv1", 7 * 7 * 3 * 96 + 96),
        ("AlexNet", 224, "fc6", 6 * 6 * 256 * 4096 + 4096),
        ("AlexNet", 96, "fc6", 2 * 2 * 256 * 4096 + 4096),
        ("AlexNet", 255, "fc6", 6 * 6 * 256 * 4096 + 4096),
        ("ResNet18", 32, "layer2_0_downsample_0", 64 * 128),
        ("ResNet34", 32, "layer4_2_conv2", 3 * 3 * 512 * 512),
        ("MobileNetV4ConvSmall", 32, "blocks_3_3_dw_mid_conv", 5 * 5 * 3 * 128),
    ],
)
def test_layers_have_the_weights_worked_out_by_hand(name: str, px: int, layer: str, weights: int) -> None:
    assert built(name, px, px).get_layer(layer).count_params() == weights


def test_resnet50_of_torch_halves_its_map_in_the_larger_kernel() -> None:
    """As published it is halved in a block's first 1x1 convolution; torch's version ("v1.5") does it in the 3x3."""
    model = smallest("ResNet50")
    strides = {name: model.get_layer(name).strides for name in ("layer2_0_conv1", "layer2_0_conv2", "layer2_0_conv3")}
    assert strides == {"layer2_0_conv1": (1, 1), "layer2_0_conv2": (2, 2), "layer2_0_conv3": (1, 1)}


def test_resnet50_is_that_of_keras_unless_torch_is_asked_for() -> None:
    model = fresh("ResNet50", 32, 32)
    assert model.get_layer("conv3_block1_1_conv").strides == (2, 2)
    assert model.output_shape == smallest("ResNet50").output_shape == (None, 1, 1, 2048)


# ---- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(backbones()))
def test_sizes_beyond_the_card_are_refused(name: str) -> None:
    card = card_of(name)
    check_order(Order(card, card.min_px, card.max_px))
    with pytest.raises(RequestError, match=rf"at least {card.min_px} px; {card.min_px}x{card.min_px - 1}.*or more"):
        check_order(Order(card, card.min_px, card.min_px - 1))
    with pytest.raises(RequestError, match=rf"at most {card.max_px} px; {card.max_px + 1}x64.*or less"):
        check_order(Order(card, card.max_px + 1, 64))


@pytest.mark.parametrize("name", OWN)
def test_the_smallest_size_can_be_built(name: str) -> None:
    assert smallest(name).output_shape[1:3] == (1, 1)


@pytest.mark.parametrize("name", ["AlexNet", "SqueezeNet1_0", "SqueezeNet1_1"])
def test_one_pixel_less_leaves_no_map(name: str) -> None:
    less = card_of(name).min_px - 1
    with pytest.raises(ValueError, match=r"negative dimension|Computed output size"):
        fresh(name, less, less)


# ---- names and weights of torch --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layer", "module"),
    [
        ("ResNet18", "layer3_1_bn2", "layer3.1.bn2"),
        ("ResNet50", "layer1_0_downsample_1", "layer1.0.downsample.1"),
        ("SqueezeNet1_0", "fire4_squeeze1x1", "features.5.squeeze"),
        ("SqueezeNet1_0", "fire9_expand3x3", "features.12.expand3x3"),
        ("SqueezeNet1_1", "fire4_squeeze1x1", "features.6.squeeze"),
        ("SqueezeNet1_1", "fire9_expand3x3", "features.12.expand3x3"),
        ("AlexNet", "fc7", "classifier.4"),
        ("MobileNetV4ConvSmall", "blocks_2_5_dw_start_bn", "blocks.2.5.dw_start.bn"),
    ],
)
def test_layers_have_their_names_in_torch(name: str, layer: str, module: str) -> None:
    card = card_of(name)
    assert family_of(card).torch_names(card)[layer] == module


@pytest.mark.parametrize("name", [*OWN, "ResNet50"])
def test_every_layer_with_weights_has_one_name_in_torch(name: str) -> None:
    card = card_of(name)
    names = family_of(card).torch_names(card)
    assert {layer.name for layer in smallest(name).layers if layer.weights} == set(names)
    assert len(set(names.values())) == len(names)


def test_a_card_says_where_weights_of_torch_are_from_if_they_can_be_read() -> None:
    from featherlite.models.weights.namings import namings_of

    for card in backbones().values():
        assert bool(card.torch_source) == bool(card.torch_licence) == bool(namings_of(card)), card.name


def test_what_torch_expects_is_the_pixel_less_the_mean_by_the_deviation() -> None:
    pixel = np.array([124.0, 116.0, 104.0])
    value = pixel * TORCH.scale + TORCH.offset
    np.testing.assert_allclose(value, (pixel / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225], rtol=1e-12)


def test_a_kernel_of_alexnet_takes_on_the_pooling_before_it() -> None:
    """torch averages 4 places to 6: 0, 0 and 1, 1, 2, 2 and 3, 3. One output, two channels of 6x6 inputs."""
    from featherlite.models.backbones.alexnet import torch_weight

    dense = np.random.default_rng(0).normal(size=(1, 2 * 6 * 6))
    windows = [[0], [0, 1], [1], [2], [2, 3], [3]]
    seen = np.random.default_rng(1).normal(size=(4, 4, 2))
    stretched = np.array([[seen[np.ix_(rows, columns)].mean((0, 1)) for columns in windows] for rows in windows])
    kernel = torch_weight("fc6", dense, (4, 4, 2, 1))
    assert kernel is not None
    assert np.sum(kernel[..., 0] * seen) == pytest.approx(float(dense[0] @ stretched.transpose(2, 0, 1).ravel()))
    assert torch_weight("fc6", dense, (4, 4, 3, 1)) is None
    assert torch_weight("conv1", dense, (4, 4, 2, 1)) is None


# ---- the contract ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "layer"), [("ResNet18", "bn1"), ("SqueezeNet1_1", "conv1"), ("AlexNet", "conv1")])
@pytest.mark.parametrize("kind", ["convention", "torch_convention"])
def test_published_inputs_fold_into_the_first_layer(name: str, layer: str, kind: str) -> None:
    from featherlite.models.contract import affine_of, to_contract

    original, convention = smallest(name), getattr(card_of(name), kind)
    folded = to_contract(original, affine_of(convention), name)
    photo = np.random.default_rng(0).integers(0, 256, (1, *original.input_shape[1:])).astype(np.float32)
    pixels = photo[..., ::-1] if convention.order == "BGR" else photo
    theirs = keras.Model(original.inputs, original.get_layer(layer).output)
    ours = keras.Model(folded.inputs, folded.get_layer(layer).output)
    expected = theirs.predict_on_batch((pixels * convention.scale + convention.offset).astype(np.float32))
    found = ours.predict_on_batch((photo - 128) / 128)
    inside = slice(2, -2)
    scale = float(np.abs(expected).max())
    np.testing.assert_allclose(found[:, inside, inside], expected[:, inside, inside], atol=1e-4 * scale)


def test_a_file_of_weights_is_read_with_the_input_that_its_authors_fed(tmp_path: Path) -> None:
    """SqueezeNet's first convolution pads nothing, so the fold of blue, green, red less Caffe's means is exact."""
    from featherlite.models.weights import build_backbone

    original = fresh("SqueezeNet1_1", 40, 40)
    original.save_weights(tmp_path / "squeezenet.weights.h5")
    ours = build_backbone(Order(card_of("SqueezeNet1_1"), 40, 40), weights=str(tmp_path / "squeezenet.weights.h5"))
    photo = np.random.default_rng(0).integers(0, 256, (1, 40, 40, 3)).astype(np.float32)
    expected = original.predict_on_batch(photo[..., ::-1] - np.array([104, 117, 123], np.float32))
    found = ours.predict_on_batch((photo - 128) / 128)
    np.testing.assert_allclose(found, expected, atol=1e-4 * float(expected.max()))


@pytest.mark.parametrize(
    "name", ["SqueezeNet1_1", *(pytest.param(name, marks=pytest.mark.slow) for name in ("AlexNet", *NORMED))]
)
def test_a_seed_fixes_the_first_weights(name: str) -> None:
    px = card_of(name).min_px

    def weights(seed: int) -> list[Any]:
        keras.utils.set_random_seed(seed)
        return on_contract(fresh(name, px, px)).get_weights()

    first, again = weights(5), weights(5)
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not np.array_equal(first[0], weights(6)[0])


@pytest.mark.parametrize("name", ["AlexNet", "SqueezeNet1_0", "SqueezeNet1_1"])
def test_first_weights_keep_the_signal_without_batchnorm(name: str) -> None:
    """Keras's own first weights leave 0.0004 of it behind eight fire modules, and 0.016 in AlexNet."""
    keras.utils.set_random_seed(1)
    model = fresh(name, 96, 96)
    photo = np.random.default_rng(0).uniform(-1, 1, (2, 96, 96, 3)).astype(np.float32)
    features = model.predict_on_batch(photo)
    assert 0.1 < features.std() / photo.std() < 10


@pytest.mark.parametrize("name", ONE_EACH)
def test_own_families_are_stock_layers_with_quick_statistics(name: str) -> None:
    model = on_contract(smallest(name))
    kinds = {type(layer).__name__ for layer in model.layers}
    plain = {"InputLayer", "Conv2D", "DepthwiseConv2D", "BatchNormalization", "ReLU", "Add", "MaxPooling2D"}
    assert kinds <= plain | {"ZeroPadding2D", "Concatenate", "Dropout"}
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert all((norm.momentum, norm.epsilon) == (0.9, 1e-5) for norm in norms)
    assert bool(norms) == (name in NORMED)


def test_alexnet_drops_half_before_its_dense_layers() -> None:
    drops = [layer for layer in smallest("AlexNet").layers if isinstance(layer, keras.layers.Dropout)]
    assert [(layer.name, layer.rate) for layer in drops] == [("drop6", 0.5), ("drop7", 0.5)]


def test_a_cut_ends_at_joined_branches_and_at_sums() -> None:
    from featherlite.models.contract import cut, cut_points

    squeezenet = built("SqueezeNet1_1", 75, 75)
    points = cut_points(squeezenet)
    assert {"conv1_relu", "fire4_squeeze1x1_relu", "fire4_concat"} <= set(points)
    assert not {"fire4_expand1x1_relu", "fire4_expand3x3_relu"} & set(points)
    assert cut(squeezenet, "fire5_concat").output_shape == (None, 9, 9, 256)
    resnet = cut_points(smallest("ResNet18"))
    assert resnet == ("relu", *(f"layer{stage}_{block}_relu" for stage in range(1, 5) for block in range(2)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("AlexNet", "fc6_relu"),
        ("SqueezeNet1_1", "fire9_concat"),
        ("ResNet18", "layer2_1_relu"),
        ("MobileNetV4ConvSmall", "blocks_3_0_pw_proj_bn"),
        ("EfficientNetV2B0", "block4b_add"),
    ],
)
def test_each_family_converts_to_int8(name: str, end: str, tmp_path: Path) -> None:
    """Up to where every kind of block has been met."""
    from featherlite.models.contract import cut
    from featherlite.models.convert import convert
    from featherlite.models.network import network_bytes
    from featherlite.runtime.flatbuffer import inspect

    keras.utils.set_random_seed(1)
    model = cut(on_contract(fresh(name, 64, 64)), end)
    pooled = keras.layers.GlobalAveragePooling2D(name="head_pool")(model.output)
    network = keras.Model(model.inputs[0], keras.layers.Dense(3, name="head_logits")(pooled))
    (tmp_path / "model.keras").write_bytes(network_bytes(network))
    photos = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3)).astype(np.uint8)
    convert(tmp_path / "model.keras", tmp_path / "model.tflite", "int8", photos)
    facts = inspect((tmp_path / "model.tflite").read_bytes())
    assert facts.int8_only
    assert tuple(facts.input.shape) == (1, 64, 64, 3)
