"""The learning-rate finder: what it suggests, what it leaves alone, and what it takes over from the fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from featherlite.errors import DataError, RequestError, TrainingError
from featherlite.step import Context
from featherlite.training.config import FitConfig
from featherlite.training.find_rate import HIGHEST, LOWEST, RateCurve, doubtful, find_rate, smoothed, suggestion

from .conftest import colored_photos, tiny_network

MakeContext = Callable[..., Context]
TRAIN, VAL = colored_photos(48, 1), colored_photos(48, 2, "val")
RATES = np.geomspace(1e-6, 1, 120)


def config(**options: Any) -> FitConfig:
    return FitConfig(**({"head_epochs": 0, "epochs": 6, "batch": 8, "augment": 0.3} | options))


def curve(context: MakeContext, network: Any = None, steps: int = 40, **options: Any) -> RateCurve:
    return find_rate(network or tiny_network(), TRAIN, config(**options), context(), steps=steps)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> RateCurve:
    root = tmp_path_factory.mktemp("base")
    return find_rate(tiny_network(), TRAIN, config(), Context(5, root, root, root), steps=40)


def losses_with_minimum_at(rate: float) -> Any:
    """Falls from 2 to 1 within two powers of ten before the rate, and rises steeply after it."""
    away = np.log10(RATES) - np.log10(rate)
    return np.where(away < 0, 2 - np.exp(-((away / 1.2) ** 2)), 1 + 3 * away**2)


@pytest.mark.parametrize("rate", [1e-4, 3e-3, 3e-2])
@pytest.mark.parametrize("noise", [0.0, 0.15])
def test_a_third_of_the_lowest_is_suggested(rate: float, noise: float) -> None:
    losses = losses_with_minimum_at(rate) + noise * np.random.default_rng(1).normal(size=120)
    found = suggestion(RATES.tolist(), smoothed(RATES.tolist(), losses.tolist()))
    assert rate / 6 < found < rate / 1.5


def test_smoothing_moves_nothing() -> None:
    line = 3 - 0.2 * np.log10(RATES)
    inside = slice(25, -25)
    np.testing.assert_allclose(smoothed(RATES.tolist(), line.tolist())[inside], line[inside], rtol=1e-6)
    step = smoothed(RATES.tolist(), (RATES > 1e-3).astype(float).tolist())
    assert step[np.argmin(abs(RATES - 1e-3))] == pytest.approx(0.5, abs=0.1)


def test_what_is_suggested_trains_better_than_far_from_it(context: MakeContext, base: RateCurve) -> None:
    def loss_at(rate: float) -> float:
        from featherlite.training.fit import fit

        ctx = context()
        fit(tiny_network(), TRAIN, None, config(rate=rate, epochs=4), ctx)
        (ctx.resume / "fit.npz").unlink()
        return float(ctx.details["curve"][-1]["loss"])

    assert loss_at(base.suggested) < loss_at(base.suggested / 30) - 0.05


def test_the_network_is_left_bit_for_bit(context: MakeContext) -> None:
    network = tiny_network()
    network.get_layer("conv").trainable = False
    before = [np.array(one.numpy()) for one in network.variables]
    curve(context, network, head_epochs=2)
    assert not network.get_layer("conv").trainable
    assert network.get_layer("norm").trainable
    for old, new in zip(before, network.variables, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


def test_the_same_seed_gives_the_same_curve(context: MakeContext, base: RateCurve) -> None:
    assert curve(context) == base


def test_no_epochs_at_all_have_no_rate(context: MakeContext) -> None:
    with pytest.raises(RequestError, match="both 0"):
        curve(context, epochs=0)


def test_the_curve_runs_up_the_rates(base: RateCurve) -> None:
    found = base
    assert found.rates[0] == pytest.approx(LOWEST)
    assert found.rates[-1] <= HIGHEST * 1.001
    np.testing.assert_allclose(np.diff(np.log(found.rates)), np.log(1e6) / 39, rtol=1e-3)
    assert len(found.rates) == len(found.losses) == len(found.smooth)
    assert found.suggested == pytest.approx(found.rates[int(np.argmin(found.smooth))] / 3)


@pytest.mark.parametrize(
    "option", [{"optimizer": "sgd"}, {"augment": 1.5}, {"label_smoothing": 0.4}, {"accumulate": 2}]
)
def test_it_trains_as_the_config_says(context: MakeContext, base: RateCurve, option: dict[str, Any]) -> None:
    assert base.losses != curve(context, **option).losses


def test_only_the_layers_of_the_phase_are_tried(context: MakeContext, base: RateCurve) -> None:
    from featherlite.training.unlocking import choose_layers, phases_of

    network, settings = tiny_network(), config(head_epochs=2)
    head = phases_of(network, settings)[0]
    choose_layers(network, head, settings, len(TRAIN), [True] * len(network.layers))
    alone = find_rate(network, TRAIN, settings, context(), phase=head, steps=40)
    assert alone.losses != base.losses
    assert not network.get_layer("conv").trainable


def test_a_loss_that_is_no_number_is_told(context: MakeContext) -> None:
    network = tiny_network()
    network.get_layer("conv").kernel.assign(np.full(network.get_layer("conv").kernel.shape, np.nan))
    with pytest.raises(TrainingError, match="finite"):
        curve(context, network)


def test_photos_that_do_not_fit_are_refused(context: MakeContext) -> None:
    with pytest.raises(DataError, match="3 classes"):
        curve(context, tiny_network(classes=4))


def test_a_loss_that_never_falls_is_doubted() -> None:
    noise = 0.1 * np.random.default_rng(4).normal(size=120)
    for losses, doubted in ((2 + noise, True), (losses_with_minimum_at(1e-2) + noise, False)):
        assert doubtful(losses.tolist(), smoothed(RATES.tolist(), losses.tolist())) is doubted


def test_fit_takes_the_rate_that_is_found(context: MakeContext) -> None:
    from featherlite.training.fit import fit

    ctx = context()
    fit(tiny_network(), TRAIN, VAL, config(rate="auto", epochs=1, schedule="constant"), ctx)
    assert ctx.details["curve"][0]["rate"] == pytest.approx(ctx.details["found_rate"])
    assert LOWEST < ctx.details["found_rate"] < HIGHEST


def test_a_doubtful_rate_is_still_doubted_after_a_kill(context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search is over by then: only what the state of the training keeps can tell."""
    from featherlite.training.fit import fit

    monkeypatch.setattr("featherlite.training.find_rate.doubtful", lambda _losses, _smooth: True)
    ctx = context()
    for _ in range(2):
        again = replace(ctx, details={})
        fit(tiny_network(), TRAIN, VAL, config(rate="auto", epochs=1), again)
        assert [text for text in again.details["warnings"] if "doubtful" in text]
