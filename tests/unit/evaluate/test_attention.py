"""Where a network looks: hand-worked maps, which method is taken when, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featherlite.bundle import Bundle, Label
from featherlite.errors import BundleError, DataError, RequestError
from featherlite.evaluate.attention import AttentionViewer, attention_map
from featherlite.preprocess import Preprocess

keras = pytest.importorskip("keras")

PX = 16
RED, GREEN = (255, 0, 0), (0, 255, 0)


def network(tail: str = "plain", **head: Any) -> Any:
    """Features are the brightness of each color, 0..2, in a 4x4 map; logits 'green' and 'red' are their means."""
    from featherlite.models.heads import HeadOrder, build_head

    keras.utils.set_random_seed(1)
    photo = keras.Input((PX, PX, 3), name="photo")
    shrink = keras.layers.Conv2D(3, 4, strides=4, activation="relu", name="stem")
    x = shrink(photo)
    if tail == "plain":
        logits = build_head(x, 2, HeadOrder(**head))
    else:
        x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
        x = keras.layers.Rescaling(1.0, name="head_nothing")(x)  # not the plain head by its looks, though by its sums
        logits = keras.layers.Dense(2, name="head_logits")(x)
    model = keras.Model(photo, logits)
    kernel = np.zeros((4, 4, 3, 3), np.float32)
    for channel in range(3):
        kernel[:, :, channel, channel] = 1 / 16
    shrink.set_weights([kernel, np.ones(3, np.float32)])
    if head.get("head", "plain") == "plain":
        model.get_layer("head_logits").set_weights([np.array([[0, 1], [1, 0], [0, 0]], np.float32), np.zeros(2)])
    return model


def bundle_of(model: Any, labels: tuple[str, ...] = ("green", "red")) -> Bundle:
    from featherlite.models.network import network_bytes

    bundle = Bundle().with_labels(tuple(Label(name=name) for name in labels)).with_network(network_bytes(model))
    return bundle.with_json("preprocess.json", Preprocess(width=PX, height=PX).model_dump())


def photo(*patches: tuple[int, int, tuple[int, int, int]]) -> Any:
    """Black but for patches of 4x4 pixels at (row, column) of the map."""
    pixels = np.zeros((PX, PX, 3), np.uint8)
    for row, column, color in patches:
        pixels[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = color
    return pixels


@pytest.fixture(scope="module")
def plain() -> Bundle:
    return bundle_of(network())


@pytest.fixture(scope="module")
def attentive() -> Bundle:
    """Attention is a sigmoid of the sum of the features less 1."""
    model = network(attention="spatial", attention_filters=1)
    model.get_layer("head_attention_conv").set_weights([np.ones((1, 1, 3, 1), np.float32)])
    norm = model.get_layer("head_attention_bn")
    norm.set_weights([np.full(1, np.sqrt(1 + norm.epsilon)), np.zeros(1), np.zeros(1), np.ones(1)])
    model.get_layer("head_attention_score").set_weights([np.ones((1, 1, 1, 1)), np.full(1, -1.0)])
    return bundle_of(model)


def test_class_activation_by_hand(plain: Bundle) -> None:
    """Two red patches, one of half brightness, and a green one: red's map is 1, 0.502 and 0 there, and 0 elsewhere."""
    viewer = AttentionViewer(plain)
    (look,) = viewer.look(photo((0, 1, RED), (3, 0, (128, 0, 0)), (2, 2, GREEN))[None])
    expected = np.zeros((4, 4))
    expected[0, 1], expected[3, 0] = 1.0, 128 / 255
    np.testing.assert_allclose(look.places, expected, atol=1e-5)
    assert look.places.dtype == np.float32
    assert (look.method, look.label) == ("activation", "red")
    logits = np.array([255 / 128 / 16, (255 + 128) / 128 / 16])
    assert look.probability == pytest.approx(np.exp(logits[1]) / np.exp(logits).sum(), abs=1e-5)


def test_another_label_has_a_map_of_its_own(plain: Bundle) -> None:
    shown = photo((0, 1, RED), (0, 2, RED), (2, 2, GREEN))[None]
    (look,) = AttentionViewer(plain, label="green").look(shown)
    assert (look.label, tuple(np.argwhere(look.places == 1)[0])) == ("green", (2, 2))
    assert look.places.sum() == pytest.approx(1)
    assert look.probability < 0.5


def test_the_gradient_gives_the_same_map_where_both_can_be_had(plain: Bundle) -> None:
    """Grad-CAM generalizes class activation: equal for an average and a dense layer (section 3.1 of its paper)."""
    photos = np.random.default_rng(5).integers(0, 256, (20, PX, PX, 3), dtype=np.uint8)
    exact, by_gradient = AttentionViewer(plain), AttentionViewer(bundle_of(network("odd")))
    assert (exact.method, by_gradient.method) == ("activation", "gradient")
    for one, other in zip(exact.look(photos), by_gradient.look(photos), strict=True):
        np.testing.assert_allclose(one.places, other.places, atol=1e-5)
        assert one.places.max() == pytest.approx(1)


def test_spatial_attention_by_hand(attentive: Bundle) -> None:
    """Features sum to 255/128 in the patch and to 0 elsewhere."""
    (look,) = AttentionViewer(attentive).look(photo((1, 2, RED))[None])
    expected = np.full((4, 4), 1 / (1 + np.e))
    expected[1, 2] = 1 / (1 + np.exp(1 - 255 / 128))
    np.testing.assert_allclose(look.places, expected, atol=1e-5)
    assert look.method == "attention"
    np.testing.assert_array_equal(attention_map(attentive, photo((1, 2, RED))), look.places)


def test_of_an_attentive_network_class_activation_can_be_asked_for(attentive: Bundle) -> None:
    """What is behind the attention counts: a dim patch counts for less than its brightness: it is attended less."""
    shown = photo((1, 2, RED), (3, 3, (128, 0, 0)))[None]
    viewer = AttentionViewer(attentive, "activation")
    (look,) = viewer.look(shown)
    share = (1 / (1 + np.exp(1 - 1.0))) / (1 / (1 + np.exp(1 - 255 / 128))) * 128 / 255
    assert viewer.method == "activation"
    assert look.places[3, 3] == pytest.approx(share, abs=1e-5)
    assert AttentionViewer(attentive, label="green").method == "activation"


@pytest.mark.parametrize("head", [{"pool": "gem"}, {"head": "cosine"}, {"head": "dense", "head_units": (8,)}])
def test_every_other_head_goes_by_the_gradient(head: dict[str, Any]) -> None:
    viewer = AttentionViewer(bundle_of(network(**head)))
    photos = np.random.default_rng(6).integers(0, 256, (3, PX, PX, 3), dtype=np.uint8)
    assert viewer.method == "gradient"
    for look in viewer.look(photos):
        assert look.places.shape == (4, 4)
        assert 0 <= look.places.min() <= look.places.max() <= 1


def test_a_photo_in_which_nothing_speaks_for_the_class_is_dark(plain: Bundle) -> None:
    assert not AttentionViewer(plain).look(photo()[None])[0].places.any()


def test_more_photos_than_a_batch_keep_their_order(plain: Bundle) -> None:
    cells = [(number // 4, number % 4) for number in range(16)] + [(0, 0), (1, 3)]
    looks = AttentionViewer(plain).look(np.stack([photo((*cell, RED)) for cell in cells]))
    assert [tuple(np.argwhere(look.places == 1)[0]) for look in looks] == cells


def test_a_photo_may_be_a_file(plain: Bundle, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(photo((2, 1, RED))).save(tmp_path / "one.png")
    assert attention_map(plain, tmp_path / "one.png")[2, 1] == 1
    (tmp_path / "two.jpg").write_bytes(b"no photo")
    with pytest.raises(DataError, match=r"two\.jpg"):
        attention_map(plain, tmp_path / "two.jpg")


def test_wrong_requests(plain: Bundle, attentive: Bundle) -> None:
    with pytest.raises(RequestError, match="no spatial attention") as caught:
        AttentionViewer(plain, "attention")
    assert "'activation'" in caught.value.hint
    with pytest.raises(RequestError, match="There is no method 'atention'"):
        AttentionViewer(plain, "atention")
    with pytest.raises(RequestError, match="no label 'gren'") as caught:
        AttentionViewer(plain, label="gren")
    assert caught.value.hint == "Did you mean 'green'?"
    with pytest.raises(RequestError, match="the same for every label"):
        AttentionViewer(attentive, "attention", "red")
    with pytest.raises(RequestError, match=r"of \(16, 16, 3\), not uint8 of \(8, 8, 3\)"):
        AttentionViewer(plain).look(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(BundleError, match="2 outputs and 3 labels"):
        AttentionViewer(bundle_of(network(), ("a", "b", "c")))
    with pytest.raises(BundleError, match=r"has no model\.keras"):
        AttentionViewer(Bundle().with_labels((Label(name="a"), Label(name="b"))))


def test_a_network_without_a_map_is_refused() -> None:
    inputs = keras.Input((PX, PX, 3))
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, PX)(inputs))
    with pytest.raises(RequestError, match="no feature map of more than one place"):
        AttentionViewer(bundle_of(keras.Model(inputs, keras.layers.Dense(2)(x))))


def test_a_map_that_part_of_the_network_passes_by_is_not_taken() -> None:
    """The later branch sees half of what decides; the map before the fork sees all."""
    inputs = keras.Input((PX, PX, 3))
    x = keras.layers.Conv2D(4, 4, strides=4, name="fork")(inputs)
    one = keras.layers.Conv2D(4, 1, name="one")(x)
    pools = [keras.layers.GlobalAveragePooling2D()(each) for each in (x, keras.layers.Conv2D(4, 2, name="two")(one))]
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Concatenate()(pools)))
    (look,) = AttentionViewer(bundle_of(model)).look(photo((1, 1, RED))[None])
    assert (look.method, look.places.shape) == ("gradient", (4, 4))
