"""The fitted head: the same answers as scikit-learn's, through the network; what is chosen, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from featherlite.data.photos import PhotoSet
from featherlite.errors import DataError, RequestError
from featherlite.models.logits import network_logits
from featherlite.preprocess import softmax
from featherlite.step import Context
from featherlite.training.probe import ProbeConfig
from featherlite.training.probing.last_layer import fit_last_layer

from .conftest import PX, colored_photos, tiny_network

MakeContext = Callable[..., Context]
TRAIN, VAL = colored_photos(30, 1), colored_photos(60, 2, "val")
ALL_BUT_LAST = slice(None, -2)


def fitted(context: MakeContext, network: Any = None, train: Any = TRAIN, val: Any = None, **options: Any) -> Any:
    network, ctx = network or tiny_network(), context()
    fit_last_layer(network, train, val, ProbeConfig(**options), ctx)
    return network, ctx.details.get("probe"), ctx


def features_of(network: Any, photos: PhotoSet) -> NDArray[np.float64]:
    return np.float64(network_logits(keras.Model(network.input, network.layers[-1].input), photos.images))


def unit(rows: NDArray[Any]) -> NDArray[Any]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def answers(network: Any, photos: PhotoSet = VAL) -> NDArray[np.int64]:
    return network_logits(network, photos.images).argmax(axis=1)


@pytest.mark.parametrize(("normalize", "c"), [("none", 30.0), ("standard", 0.3)])
@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_is_that_of_scikit_learn(context: MakeContext, normalize: str, c: float, classes: int) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, val = colored_photos(30, 1, classes=classes), colored_photos(60, 2, "val", classes)
    network, _, _ = fitted(context, tiny_network(classes=classes), train, normalize=normalize, c=c)
    steps = [StandardScaler()] if normalize == "standard" else []
    reference = make_pipeline(*steps, LogisticRegression(C=c, tol=1e-8, max_iter=10_000))
    reference.fit(features_of(network, train), train.labels)
    wanted = reference.predict_proba(features_of(network, val))
    given = softmax(network_logits(network, val.images))
    np.testing.assert_allclose(given, wanted, atol=2e-3)
    assert np.ptp(wanted[:, 0]) > 0.2
    assert (given.argmax(axis=1) == wanted.argmax(axis=1)).all()


def test_logistic_on_features_of_length_one(context: MakeContext) -> None:
    from sklearn.linear_model import LogisticRegression

    network, _, _ = fitted(context, normalize="l2", c=1000)
    reference = LogisticRegression(C=1000, fit_intercept=False, tol=1e-8, max_iter=10_000)
    reference.fit(unit(features_of(network, TRAIN)), TRAIN.labels)
    wanted = reference.decision_function(unit(features_of(network, VAL)))
    lengths = np.linalg.norm(features_of(network, VAL), axis=1)
    mean = np.linalg.norm(features_of(network, TRAIN), axis=1).mean()
    given = network_logits(network, VAL.images) * (mean / lengths)[:, None]
    np.testing.assert_allclose(given - given.mean(axis=1, keepdims=True), wanted, atol=0.02 * np.ptp(wanted))
    assert (answers(network) == wanted.argmax(axis=1)).all()


@pytest.mark.parametrize("normalize", ["none", "standard"])
def test_centroid_is_that_of_scikit_learn(context: MakeContext, normalize: str) -> None:
    from sklearn.neighbors import NearestCentroid

    network, facts, _ = fitted(context, kind="centroid", normalize=normalize)
    x, y = features_of(network, TRAIN), features_of(network, VAL)
    if normalize == "standard":
        x, y = (x - x.mean(axis=0)) / x.std(axis=0), (y - x.mean(axis=0)) / x.std(axis=0)
    assert (answers(network) == NearestCentroid().fit(x, TRAIN.labels).predict(y)).all()
    assert facts["scale"] > 0


@pytest.mark.parametrize("normalize", ["l2", "standard"])
def test_cosine_is_the_smallest_angle(context: MakeContext, normalize: str) -> None:
    from sklearn.metrics.pairwise import cosine_similarity

    network, _, _ = fitted(context, kind="cosine", normalize=normalize)
    x, y = features_of(network, TRAIN), features_of(network, VAL)
    if normalize == "standard":
        x, y = (x - x.mean(axis=0)) / x.std(axis=0), (y - x.mean(axis=0)) / x.std(axis=0)
    centers = np.stack([unit(x)[TRAIN.labels == label].mean(axis=0) for label in range(3)])
    assert (answers(network) == cosine_similarity(y, centers).argmax(axis=1)).all()


def cosine_network() -> Any:
    from featherlite.models.heads import HeadOrder, build_head

    body = tiny_network()
    keras.utils.set_random_seed(3)
    logits = build_head(body.get_layer("relu").output, 3, HeadOrder(head="cosine"))
    return keras.Model(body.input, logits)


def test_a_cosine_head_gets_imprinted_weights(context: MakeContext) -> None:
    network, _, _ = fitted(context, cosine_network(), kind="cosine")
    kernel = network.layers[-1].kernel.numpy()
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1, rtol=1e-5)
    x = unit(features_of(network, TRAIN))
    for label in range(3):
        mean = x[TRAIN.labels == label].mean(axis=0)
        np.testing.assert_allclose(kernel[:, label], mean / np.linalg.norm(mean), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "says"), [({}, "cosine head"), ({"kind": "cosine", "normalize": "standard"}, "bias")]
)
def test_a_cosine_head_takes_nothing_else(context: MakeContext, options: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        fitted(context, cosine_network(), **options)


def test_only_the_last_layer_changes(context: MakeContext) -> None:
    before = [w.numpy() for w in tiny_network().weights]
    network, facts, _ = fitted(context, c=10)
    after = [w.numpy() for w in network.weights]
    same = [np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert all(same[ALL_BUT_LAST])
    assert not same[-2]
    assert (answers(network) == VAL.labels).mean() > 0.8
    assert facts["c"] == 10
    assert facts["converged"]


def test_the_same_seed_gives_the_same_weights(context: MakeContext) -> None:
    first, second = (fitted(context, views=1)[0] for _ in range(2))
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# ---- what is chosen ----------------------------------------------------------------------------------------------


def test_c_is_chosen_where_held_out_photos_are_foretold_best(context: MakeContext) -> None:
    network, facts, _ = fitted(context)
    best = min(facts["tried"], key=lambda tried: tried["log_loss"])
    assert facts["c"] == best["c"]
    assert len(facts["tried"]) >= 3
    assert facts["chosen_on"] == "3 folds of train"
    assert facts["chosen_on_photos"] == 30
    plain, _, _ = fitted(context, c=facts["c"])
    np.testing.assert_array_equal(network.get_weights()[-2], plain.get_weights()[-2])


def test_c_is_chosen_on_val_where_there_is_one(context: MakeContext) -> None:
    _, facts, _ = fitted(context, val=VAL)
    assert facts["chosen_on"] == "val"
    assert facts["chosen_on_photos"] == 60
    swapped = PhotoSet(VAL.images, (VAL.labels + 1) % 3, VAL.paths, VAL.classes, "val")
    _, misled, _ = fitted(context, val=swapped)
    assert misled["c"] < facts["c"]


def test_folds_say_how_many_are_held_out(context: MakeContext) -> None:
    assert fitted(context, folds=5)[1]["chosen_on"] == "5 folds of train"


def test_one_photo_a_class_is_enough(context: MakeContext) -> None:
    single = PhotoSet(TRAIN.images[:3], TRAIN.labels[:3], TRAIN.paths[:3], TRAIN.classes, "train")
    network, _, ctx = fitted(context, train=single)
    assert (answers(network, single) == single.labels).all()
    assert "second photo" in ctx.details["warnings"][0]
    for kind in ("centroid", "cosine"):
        assert (answers(fitted(context, train=single, kind=kind)[0], single) == single.labels).all()


def test_the_temperature_foretells_best(context: MakeContext) -> None:
    network, _, _ = fitted(context, kind="centroid", val=VAL)
    logits = np.float64(network_logits(network, VAL.images))

    def loss(factor: float) -> float:
        shares = softmax(np.float32(logits * factor))
        return float(-np.log(shares[np.arange(60), VAL.labels]).mean())

    assert loss(1.0) <= min(loss(0.9), loss(1.1)) + 1e-6


# ---- views -------------------------------------------------------------------------------------------------------


def test_views_are_learned_from(context: MakeContext) -> None:
    plain, _, _ = fitted(context, c=10)
    viewed, facts, _ = fitted(context, c=10, views=2)
    other, _, _ = fitted(context, c=10, views=2, rotate_deg=90)
    assert facts["views"] == 2
    assert not np.allclose(plain.get_weights()[-2], viewed.get_weights()[-2], rtol=1e-3)
    assert not np.allclose(other.get_weights()[-2], viewed.get_weights()[-2], rtol=1e-3)


def test_views_that_change_nothing_weigh_nothing(context: MakeContext) -> None:
    plain, _, _ = fitted(context, c=10)
    viewed, _, _ = fitted(context, c=10, views=3, augment=0)
    np.testing.assert_allclose(plain.get_weights()[-2], viewed.get_weights()[-2], atol=2e-2)
    assert (answers(plain) == answers(viewed)).all()


# ---- what is refused ---------------------------------------------------------------------------------------------


def test_a_head_with_more_that_learns_is_refused(context: MakeContext) -> None:
    from featherlite.models.heads import HeadOrder, build_head

    body = tiny_network()
    network = keras.Model(body.input, build_head(body.get_layer("relu").output, 3, HeadOrder(head="dense")))
    with pytest.raises(RequestError, match="head_dense1"):
        fitted(context, network)


def test_a_network_without_a_dense_layer_is_refused(context: MakeContext) -> None:
    inputs = keras.Input((PX, PX, 3))
    logits = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3)(inputs))
    with pytest.raises(RequestError, match="one dense layer"):
        fitted(context, keras.Model(inputs, logits))


def test_a_class_without_photos_is_refused(context: MakeContext) -> None:
    rows = TRAIN.labels != 1
    paths = tuple(path for path, kept in zip(TRAIN.paths, rows, strict=True) if kept)
    lacking = PhotoSet(TRAIN.images[rows], TRAIN.labels[rows], paths, TRAIN.classes, "train")
    with pytest.raises(DataError, match="'b'"):
        fitted(context, train=lacking)


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "centroid", "normalize": "l2"},
        {"kind": "cosine", "normalize": "none"},
        {"views": 1, "mixup": 0.2},
        {"c": 0.0},
        {"c": float("inf")},
        {"c": "best"},
    ],
)
def test_what_does_not_fit_together_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ProbeConfig(**options)


# ---- folds -------------------------------------------------------------------------------------------------------


def test_every_photo_is_tested_once_over_the_folds(sample_photos: Path, context: MakeContext) -> None:
    from featherlite.data.photos import load_photos
    from featherlite.preprocess import Preprocess
    from featherlite.run import run_step
    from featherlite.training.config import FitConfig
    from featherlite.training.fit import fit

    small, network, tested = Preprocess(width=PX, height=PX), tiny_network(), list[str]()
    for fold in range(3):
        bundle, _ = run_step("split", None, None, {"folds": 3, "fold": fold, "val": 0.2}, data=sample_photos)
        ctx = context(data=sample_photos)
        parts = {name: load_photos(bundle, name, ctx, small) for name in ("train", "val", "test")}
        assert {path for photos in parts.values() for path in photos.paths} == {
            file.relative_to(sample_photos).as_posix() for file in sample_photos.glob("*/*.jpg")
        }
        assert sum(map(len, parts.values())) == 42
        _, facts, _ = fitted(context, network, parts["train"], parts["val"], c=100)
        assert facts["features"] == 8
        if fold == 2:
            fit(network, parts["train"], parts["val"], FitConfig(head_epochs=0, epochs=1, batch=8), ctx)
            assert len(ctx.details["curve"]) == 1
        tested += parts["test"].paths
    assert len(tested) == len(set(tested)) == 42
