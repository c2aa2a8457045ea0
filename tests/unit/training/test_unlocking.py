"""Which layers train when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from featherlite.errors import RequestError
from featherlite.step import Context
from featherlite.training.fit import FitConfig, fit

from .conftest import block_network, colored_photos

QUICK: dict[str, Any] = {"head_epochs": 1, "batch": 12, "rate": 0.02, "augment": 0.3, "ema": "none"}


def test_blocks_unlock_from_the_backbones_end() -> None:
    from featherlite.training.unlocking import unlock_groups

    network = block_network(norm=True)
    whole = [["c_conv", "c_norm"], ["b_conv", "b_norm"], ["a_conv", "a_norm"]]
    assert unlock_groups(network, FitConfig(unlock_stages=3)) == whole
    assert unlock_groups(network, FitConfig(unlock_stages=2)) == [whole[0] + whole[1], whole[2]]
    assert unlock_groups(network, FitConfig(unlock_stages=2, unlock=3)) == [["c_conv", "c_norm"], ["b_norm"]]
    assert unlock_groups(network, FitConfig()) == [["a_conv", "a_norm", "b_conv", "b_norm", "c_conv", "c_norm"]]
    assert unlock_groups(network, FitConfig(unlock=1)) == [["c_norm"]]
    with pytest.raises(RequestError, match="unlock_stages is 4, and 'blocks' has 3 blocks") as error:
        unlock_groups(network, FitConfig(unlock_stages=4))
    assert "at most 3" in error.value.hint


@pytest.mark.parametrize("movement", ["learned", "moving"])
def test_ranges_that_train_along_unlock_with_the_layers_that_they_round(movement: str) -> None:
    """They are no layers of their own to `unlock`, and none begins a stage."""
    from featherlite.quantize.points import points
    from featherlite.quantize.scheme import Scheme
    from featherlite.quantize.simulation import fake_quantized
    from featherlite.training.unlocking import unlock_groups

    plain = block_network()
    scheme = Scheme(activations=dict.fromkeys(points(plain), (-1.0, 1.0)), method="minmax")
    network = fake_quantized(plain, scheme, movement=movement)
    ranges = {layer.name for layer in network.layers if layer.name.endswith("_range") and layer.weights}
    assert len(ranges) > 3
    for keys in ({"unlock_stages": 3}, {"unlock_stages": 2, "unlock": 2}, {"unlock": 2}, {}):
        config = FitConfig(**keys)
        found = unlock_groups(network, config)
        assert [[name for name in group if name not in ranges] for group in found] == unlock_groups(plain, config)
    (last,) = unlock_groups(network, FitConfig(unlock=1))
    assert last[0] == "c_conv"
    assert set(last[1:]) <= ranges
    order = [layer.name for layer in network.layers]
    assert all(order.index(name) > order.index("c_conv") for name in last[1:])


def test_what_is_locked_stays_as_it_is_until_its_stage(context: Callable[..., Context]) -> None:
    names = ("a_conv", "b_conv", "c_conv", "head_logits")
    start = block_network()
    for epochs, moved in ((1, {"head_logits", "c_conv", "b_conv", "a_conv"}), (0, {"head_logits"})):
        network = block_network()
        config = FitConfig(**QUICK, unlock_stages=3, epochs=epochs)  # one epoch: the last stage alone
        fit(network, colored_photos(12, 1), None, config, context(seed=epochs))
        changed = {n for n in names if not np.array_equal(start.get_layer(n).kernel, network.get_layer(n).kernel)}
        assert changed == moved

    network, seen = block_network(), list[set[str]]()

    class Looking:
        """Sees at the first step of every phase which layers train."""

        def start(self, what: str, total: int) -> None:
            seen.append({layer.name for layer in network.layers if layer.trainable and layer.weights})

        def advance(self, units: int = 1, note: str = "") -> None: ...
        def finish(self) -> None: ...

    config = FitConfig(**QUICK, unlock_stages=3, epochs=3)
    result = fit(network, colored_photos(12, 1), None, config, context(progress=Looking()))
    assert seen == [{"head_logits"}, {"head_logits", "c_conv"}, {"head_logits", "c_conv", "b_conv"}, set(names)]
    assert [entry["phase"] for entry in result.curve] == ["head", "stage 1/3", "stage 2/3", "stage 3/3"]


def test_patience_goes_on_to_the_next_stage_and_stops_in_the_last(context: Callable[..., Context]) -> None:
    """At next to no rate nothing improves: every stage ends after the epochs that patience grants."""
    config = FitConfig(**(QUICK | {"head_epochs": 0, "rate": 1e-12}), unlock_stages=2, epochs=8, patience=1)
    train, val = colored_photos(12, 1), colored_photos(6, 2, "val")
    result = fit(block_network(), train, val, config, context())
    assert [(entry["epoch"], entry["phase"]) for entry in result.curve][-1][1] == "stage 2/2"
    assert [entry["epoch"] for entry in result.curve if entry["phase"] == "stage 1/2"][-1] < 4
    assert result.stopped_early
    assert result.epochs == len(result.curve) < 8


def test_patience_waits_for_the_networks_own_size(context: Callable[..., Context]) -> None:
    """At next to no rate nothing improves: the small size has all its epochs, the own one those of patience."""
    config = FitConfig(**(QUICK | {"head_epochs": 0, "rate": 1e-12}), progressive=(8, 16), epochs=10, patience=1)
    train, val = colored_photos(12, 1), colored_photos(6, 2, "val")
    result = fit(block_network(), train, val, config, context())
    assert [entry["phase"] for entry in result.curve] == ["8 px"] * 5 + ["16 px"] * 2  # the first begins to judge
    assert result.stopped_early


@pytest.mark.parametrize(("photos", "learns"), [(20, False), (32, True)])
def test_norms_rest_where_a_micro_batch_is_small(photos: int, learns: bool) -> None:
    """20 photos in 4 micro-batches of one step are 5 at a time, whatever `batch` is."""
    from featherlite.training.unlocking import choose_layers, phases_of

    network, config = block_network(norm=True), FitConfig(batch=32, accumulate=4, head_epochs=0)
    choose_layers(network, phases_of(network, config)[0], config, photos, [True] * len(network.layers))
    assert network.get_layer("a_norm").trainable is learns
    assert network.get_layer("a_conv").trainable


def test_deeper_layers_step_in_proportion(context: Callable[..., Context]) -> None:
    """One SGD step without momentum moves a weight by its rate times its gradient."""
    moved = {}
    for decay in (1.0, 0.25):
        network = block_network()
        before = {layer.name: layer.get_weights() for layer in network.layers if layer.weights}
        keys = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.5, "schedule": "constant", "warmup": 0.0}
        config = FitConfig(
            **(QUICK | {"head_epochs": 0} | keys), epochs=1, unlock_stages=3, unlock_rate_decay=decay, clip_norm=0.0
        )
        fit(network, colored_photos(12, 1), None, config, context())
        moved[decay] = {
            layer.name: layer.get_weights()[0] - before[layer.name][0] for layer in network.layers if layer.weights
        }
    for name, share in (("head_logits", 1.0), ("c_conv", 1.0), ("b_conv", 0.25), ("a_conv", 0.0625)):
        assert np.abs(moved[1.0][name]).max() > 1e-4
        np.testing.assert_allclose(moved[0.25][name], share * moved[1.0][name], rtol=1e-2, atol=1e-6)
