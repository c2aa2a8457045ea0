"""A fit that is taught by a guide beside the labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from featherlite.errors import DataError, RequestError
from featherlite.step import Context
from featherlite.training.batches import Batches
from featherlite.training.fit import FitConfig, fit
from featherlite.training.guide import Guided, guided_by, view_draws, view_of

from .conftest import PX, colored_photos, tiny_network

QUICK: dict[str, Any] = {"head_epochs": 0, "epochs": 3, "batch": 8, "rate": 0.02, "augment": 0.3}
TRAIN, VAL = colored_photos(24, 1), colored_photos(12, 2, "val")


class Teaching:
    """Wants the true classes as soft labels, and what is told of each photo from its pooled features."""

    def __init__(self, views: int = 0, label_weight: float = 1.0, soft_weight: float = 1.0, told: float = 1.0) -> None:
        self.views, self.label_weight, self.soft_weight, self.told = views, label_weight, soft_weight, told
        self.asked: list[tuple[int, int]] = []
        self.identity = f"{views} {label_weight} {soft_weight} {told}"

    def model(self, network: keras.Model) -> keras.Model:
        pooled = network.get_layer("head_pool").output
        start = keras.initializers.RandomNormal(seed=3)
        projected = keras.layers.Dense(2, kernel_initializer=start, name="project")(pooled)
        return keras.Model(network.input, {"logits": network.output, "soft": network.output, "features": projected})

    def losses(self) -> Mapping[str, tuple[keras.losses.Loss, float]]:
        soft = keras.losses.CategoricalCrossentropy(from_logits=True)
        none = keras.losses.MeanSquaredError()
        return {"logits": (none, self.label_weight), "soft": (soft, self.soft_weight), "features": (none, 0.1)}

    def targets(self, rows: NDArray[np.int64], view: int) -> Mapping[str, NDArray[Any]]:
        self.asked.append((len(rows), view))
        return {
            "soft": np.eye(3, dtype=np.float32)[rows % 3],
            "features": np.full((len(rows), 2), self.told, "float32"),
        }


def taught(
    context: Callable[..., Context], guide: Teaching, labels: Any = None, val: Any = VAL, **keys: Any
) -> tuple[Any, Any]:
    network = tiny_network()
    train = TRAIN if labels is None else replace(TRAIN, labels=np.asarray(labels, np.int64))
    return network, fit(network, train, val, FitConfig(**(QUICK | keys)), context(), guide)


def test_a_network_learns_from_its_teacher_alone(context: Callable[..., Context]) -> None:
    """No photo has a label: all that it can know comes from the guide. Unlabelled photos count in no top-1."""
    _, result = taught(context, Teaching(views=2), [-1] * 24, epochs=14)
    assert result.val_top1 is not None
    assert result.val_top1 > 0.8
    assert {entry["train_top1"] for entry in result.curve} == {0.0}


def test_every_word_of_a_guide_counts(context: Callable[..., Context]) -> None:
    results = [
        taught(context, guide, labels, None, epochs=1)
        for guide, labels in (
            (Teaching(), None),
            (Teaching(label_weight=0.3), None),
            (Teaching(soft_weight=0.3), None),
            (Teaching(told=5.0), None),
            (Teaching(views=2), None),
            (Teaching(), [-1, *TRAIN.labels[1:]]),
        )
    ]
    losses = {result.curve[0]["loss"] for _, result in results}
    assert len(losses) == len(results)
    kernels = [network.get_layer("conv").get_weights()[0] for network, _ in results]
    assert not any(np.array_equal(kernels[0], kernel) for kernel in kernels[1:])
    assert {layer.name for layer in results[0][0].layers} == {layer.name for layer in tiny_network().layers}


@pytest.mark.parametrize(("views", "expected"), [(0, [0, 0, 0]), (2, [0, 1, 0])])
def test_views_come_in_turn(context: Callable[..., Context], views: int, expected: list[int]) -> None:
    guide = Teaching(views=views)
    taught(context, guide)
    assert {view for _, view in guide.asked} == set(expected)
    assert [view_of(guide, epoch) for epoch in (1, 2, 3)] == expected


def test_a_fixed_view_shows_the_same_cut_in_whatever_batch_and_size() -> None:
    config = FitConfig(batch=8, erase=0.5)
    drawn = view_draws(config, 7, 1, 24, PX, PX)
    for epoch in (2, 4):  # both show view 1
        batches = Batches(
            TRAIN.images, TRAIN.labels, 3, config, seed=7, epoch=epoch, augmented=True, guide=Teaching(views=2)
        )
        for index in range(len(batches)):
            inputs, wanted = batches[index]
            rows = batches.order[index]
            assert set(wanted) == {"logits", "soft", "features"}
            np.testing.assert_array_equal(wanted["soft"], np.eye(3)[rows % 3])
            for name in ("affine", "color", "box"):
                np.testing.assert_array_equal(inputs[name], drawn[name][rows])
    larger = view_draws(config, 7, 1, 24, 2 * PX, 2 * PX)
    np.testing.assert_array_equal(larger["color"], drawn["color"])
    np.testing.assert_allclose(larger["affine"][:, [0, 1, 3, 4]], drawn["affine"][:, [0, 1, 3, 4]], rtol=1e-5)


def test_the_guides_own_layers_train_and_survive_a_stop(context: Callable[..., Context]) -> None:
    """A fit broken off after two epochs goes on with the projection as it was, and ends as if it had not been."""

    class Broken(Exception):
        pass

    class Breaking:
        """Breaks off in the third epoch."""

        done = 0

        def start(self, what: str, total: int) -> None: ...
        def finish(self) -> None: ...
        def advance(self, units: int = 1, note: str = "") -> None:
            self.done += units
            if self.done == 8:
                raise Broken

    network, result = taught(context, Teaching(views=2))
    ctx = context(seed=5)
    (ctx.resume / "fit.npz").unlink()
    again = tiny_network()
    with pytest.raises(Broken):
        fit(again, TRAIN, VAL, FitConfig(**QUICK), replace(ctx, progress=Breaking()), Teaching(views=2))
    resumed = tiny_network()
    second = fit(resumed, TRAIN, VAL, FitConfig(**QUICK), ctx, Teaching(views=2))
    assert [entry["loss"] for entry in second.curve] == [entry["loss"] for entry in result.curve]
    for mine, theirs in zip(network.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_another_guide_is_another_fit(context: Callable[..., Context]) -> None:
    _, first = taught(context, Teaching())
    _, other = taught(context, Teaching(told=5.0))  # the stored state of the first lies there
    assert first.curve != other.curve


def test_a_guide_works_at_smaller_sizes_and_in_micro_batches(context: Callable[..., Context]) -> None:
    _, result = taught(context, Teaching(views=2), progressive=(8, 16), accumulate=2, batch=4, epochs=14, l2=1e-4)
    assert [entry["phase"] for entry in result.curve] == ["8 px"] * 7 + ["16 px"] * 7
    assert result.val_top1 is not None
    assert result.val_top1 > 0.6


def test_the_head_phase_sees_photos(context: Callable[..., Context]) -> None:
    guide = Teaching()
    network, before = tiny_network(), tiny_network().get_layer("conv").get_weights()[0]
    fit(network, TRAIN, VAL, FitConfig(**(QUICK | {"head_epochs": 2, "epochs": 0})), context(), guide)
    assert guide.asked
    np.testing.assert_array_equal(network.get_layer("conv").get_weights()[0], before)


def test_only_a_guide_takes_photos_without_labels(context: Callable[..., Context]) -> None:
    unlabelled = replace(TRAIN, labels=np.where(np.arange(24) < 3, -1, TRAIN.labels))
    with pytest.raises(DataError, match=r"outside 0\.\.2"):
        fit(tiny_network(), unlabelled, VAL, FitConfig(**QUICK), context())
    with pytest.raises(DataError, match=r"val split lies outside 0\.\.2"):
        fit(tiny_network(), TRAIN, replace(VAL, labels=VAL.labels - 1), FitConfig(**QUICK), context(), Teaching())


@pytest.mark.parametrize("key", ["mixup", "cutmix"])
def test_photos_are_not_mixed_under_a_guide(context: Callable[..., Context], key: str) -> None:
    with pytest.raises(RequestError, match="a teacher speaks of single photos"):
        taught(context, Teaching(), **{key: 0.5})


def test_a_guide_whose_names_do_not_match_is_refused() -> None:
    class Mute(Teaching):
        def losses(self) -> Mapping[str, tuple[keras.losses.Loss, float]]:
            return {"soft": (keras.losses.MeanSquaredError(), 1.0)}

    with pytest.raises(RequestError, match=r"answers \['features', 'logits', 'soft'\]; its losses are for \['soft'\]"):
        guided_by(Mute(), tiny_network())
    guided = guided_by(Teaching(), tiny_network())
    assert isinstance(guided, Guided)
    assert [weight.shape for weight in guided.extras] == [(8, 2), (2,)]
