"""Ranges: each method by hand-worked counts, and what all of them owe."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherlite.errors import BundleError, RequestError
from featherlite.quantize.measured import measured_scheme
from featherlite.quantize.observed import BINS, Histogram, Observed, Seen
from featherlite.quantize.ranges import method_of, methods, settings_of
from featherlite.quantize.ranges.entropy import divergence
from featherlite.quantize.ranges.mse import error
from featherlite.quantize.scheme import INPUT, Scheme, read_scheme, spanning, with_scheme

keras = pytest.importorskip("keras")


class Counted:
    """Where a `Seen` finds its histogram, made of values rather than of a network."""

    def __init__(self, values: Any) -> None:
        values = np.asarray(values, dtype=np.float64)
        limit = float(np.abs(values).max()) or 1.0
        kept = values[values != 0]
        places = np.clip(np.floor(kept * BINS / limit).astype(int) + BINS, 0, 2 * BINS - 1)
        counts = np.bincount(places, minlength=2 * BINS)
        self.histograms = {"layer": Histogram(counts, len(values) - len(kept), limit)}


def seen(values: Any) -> Seen:
    low, high = min(0.0, float(np.min(values))), max(0.0, float(np.max(values)))
    return Seen("layer", low, high, Counted(values))  # type: ignore[arg-type]


def test_the_methods_are_found_by_name_with_their_settings() -> None:
    assert set(methods()) == {"entropy", "minmax", "mse", "percentile"}
    assert {name: settings_of(name) for name in methods()}["percentile"] == ("percentile",)
    assert settings_of("mse") == ()
    with pytest.raises(RequestError, match="no way to choose ranges called 'minmx'") as caught:
        method_of("minmx")
    assert "minmax" in caught.value.hint


def test_minmax_is_the_extremes_and_counts_nothing() -> None:
    assert method_of("minmax")(Seen("layer", -0.5, 4.0)) == (-0.5, 4.0)
    with pytest.raises(LookupError, match="extremes alone"):
        _ = Seen("layer", -0.5, 4.0).histogram


def test_percentile_by_hand() -> None:
    """Of 1000 values 5 are 10 and 2 are -10: 99.5 percent keeps all but 5 on either end, 99.9 all but one."""
    values = np.concatenate([np.full(593, 1.0), np.full(400, -1.0), np.full(5, 10.0), np.full(2, -10.0)])
    low, high = method_of("percentile")(seen(values), percentile=99.5)
    width = 10 / BINS
    assert (low, high) == (pytest.approx(-1, abs=2 * width), pytest.approx(1, abs=2 * width))
    assert low <= -1
    assert high >= 1
    assert method_of("percentile")(seen(values), percentile=99.9) == (-10, 10)
    # Zeros count: among ten times as many values the outliers are rarer than one in a thousand.
    low, high = method_of("percentile")(seen(np.concatenate([values, np.zeros(9000)])), percentile=99.9)
    assert high == pytest.approx(1, abs=2 * width)


def test_percentile_leaves_a_range_to_what_is_nearly_always_zero() -> None:
    """A detector that speaks on 5 photos of 100 would be silenced, since 90 percent of its values are zero."""
    assert method_of("percentile")(seen([0.0] * 95 + [4.0] * 5), percentile=90) == (0.0, 4.0)
    low, high = method_of("percentile")(seen([0.0] * 80 + [4.0] * 20), percentile=90)
    assert (low, high) == (0.0, pytest.approx(4, abs=8 / BINS))


def test_mse_cuts_a_rare_outlier_and_no_common_value() -> None:
    """A million values lose T^2 / 12 / 255^2 each, one at 8 loses (8 - T)^2: least at T = 16 / (2 + 2.563) = 3.5."""
    values = np.random.default_rng(1).uniform(0, 1, 1_000_000)
    assert method_of("mse")(seen(values)) == (0.0, pytest.approx(values.max()))
    assert method_of("mse")(seen(np.append(values, 8.0))) == (0.0, pytest.approx(3.5, abs=0.2))


def test_the_error_by_hand() -> None:
    """Steps of 1 from -55 to 200: 0.25 rounds to 0, 201.5 is cut to 200, -56 to -55."""
    values, weights = np.array([0.25, 201.5, -56.0]), np.array([4.0, 1.0, 2.0])
    assert error(values, weights, -55.0, 200.0) == pytest.approx(4 * 0.0625 + 2.25 + 2 * 1.0)
    assert error(values, weights, 0.0, 0.0) == math.inf


def test_divergence_by_hand() -> None:
    """Bins 1, 3, 0, 4 in two levels: (2, 2) and (4): the spread is [2, 2, 0, 4] / 8; nothing was cut."""
    counts = np.array([1.0, 3.0, 0.0, 4.0])
    expected = (1 * math.log(1 / 2) + 3 * math.log(3 / 2)) / 8
    assert divergence(counts, 4, 2) == pytest.approx(expected)
    # Cut behind two bins, of one level each: the last holds 3 + 4 in truth, and 3 for the levels.
    cut = 1 / 8 * math.log((1 / 8) / (1 / 4)) + 7 / 8 * math.log((7 / 8) / (3 / 4))
    assert divergence(counts, 2, 2) == pytest.approx(cut)
    # What is cut would lie where nothing else was: the levels give it one in ten thousand.
    alone = 1 / 8 * math.log((1 / 8) / (0.9999 / 4)) + 3 / 8 * math.log((3 / 8) / (0.9999 * 3 / 4))
    assert divergence(counts, 3, 3) == pytest.approx(alone + 4 / 8 * math.log((4 / 8) / 1e-4))


def test_entropy_keeps_the_body_of_a_distribution_and_lets_its_tail_go() -> None:
    values = np.append(np.abs(np.random.default_rng(2).normal(0, 1, 200_000)), [40.0, 60.0])
    low, high = method_of("entropy")(seen(values))
    assert low == 0
    assert 3 < high < 30
    even = np.random.default_rng(2).uniform(0, 1, 200_000)
    assert method_of("entropy")(seen(even))[1] > 0.95
    dipped = np.append(values, -0.3)  # as behind a swish: hardly a level goes to the other side
    assert method_of("entropy")(seen(dipped))[1] == pytest.approx(high, rel=0.02)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=50), st.sampled_from(sorted(methods())))
def test_no_method_goes_beyond_what_was_seen(values: list[float], name: str) -> None:
    one = seen(np.asarray(values))
    arguments = {"percentile": 99.0} if name == "percentile" else {}
    low, high = method_of(name)(one, **arguments)
    assert one.low <= low <= 0 <= high <= one.high
    scheme = Scheme(activations={"layer": spanning(low, high)}, method=name)
    assert scheme.activations["layer"][0] < scheme.activations["layer"][1]


def test_what_layers_put_out_is_counted_batch_by_batch() -> None:
    """Eleven photos, of which the last three fill no batch: each is counted once, zeros apart."""
    photo = keras.Input((4, 4, 3))
    relu = keras.layers.ReLU(name="relu")(photo)
    network = keras.Model(photo, keras.layers.Flatten()(relu))
    photos = np.random.default_rng(3).integers(0, 256, (11, 4, 4, 3), dtype=np.uint8)
    found = Observed(network, ["relu"], photos)
    values = np.maximum((photos.astype(np.float32) - 128) / 128, 0)
    assert (found.seen["relu"].low, found.seen["relu"].high) == (0.0, float(values.max()))
    counted = found.seen["relu"].histogram
    assert counted.zeros == (values == 0).sum()
    assert counted.counts.sum() == (values > 0).sum()
    assert counted.counts[:BINS].sum() == 0
    top = counted.counts[-1]
    assert top == (values >= values.max() * (1 - 1 / BINS)).sum()
    assert float((counted.centers * counted.counts).sum()) == pytest.approx(float(values.sum()), rel=1e-3)


def test_joined_points_share_a_range() -> None:
    photo = keras.Input((4, 4, 3))
    low = keras.layers.Rescaling(0.5, name="small")(photo)
    high = keras.layers.Rescaling(2.0, offset=0.25, name="large")(photo)
    network = keras.Model(photo, keras.layers.Concatenate(name="joined")([low, high]))
    photos = np.full((2, 4, 4, 3), 128, np.uint8)
    photos[0, 0, 0, 0], photos[1, 0, 0, 0] = 64, 192  # -0.5 and 0.5 to the network
    scheme = measured_scheme(network, photos, "minmax", kernels="tensor")
    assert scheme.activations == {"small": (-0.75, 1.25), "large": (-0.75, 1.25)}
    assert (scheme.kernels, scheme.method, scheme.input) == ("tensor", "minmax", INPUT)


@pytest.mark.parametrize("method", ["mse", "percentile"])
def test_the_logits_keep_the_one_large_value_that_names_the_class(method: str) -> None:
    """The same values twice: a method cuts their outlier within the network, and leaves it where it is the answer."""
    photo = keras.Input((64, 64, 3))
    inside = keras.layers.Rescaling(1.0, name="inside")(photo)
    x = keras.layers.Rescaling(1.0, name="logits")(keras.layers.Flatten()(inside))
    network = keras.Model(photo, keras.layers.Activation("linear", name="last")(x))
    photos = np.random.default_rng(4).integers(96, 160, (64, 64, 64, 3), dtype=np.uint8)
    photos[3, 5, 5, 1] = 255
    settings = {"percentile": 99.9} if method == "percentile" else None
    ranges = measured_scheme(network, photos, method, settings).activations
    assert ranges["logits"] == (-0.25, 127 / 128)
    assert ranges["inside"][1] < 0.9


def test_a_scheme_goes_with_the_bundle_and_leaves_with_the_network() -> None:
    from featherlite.bundle import Bundle

    scheme = Scheme(activations={"stem": (0.0, 6.0), "head": (-1.5, 2.0)}, kernels="tensor", method="trained")
    bundle = with_scheme(Bundle(), scheme)
    assert read_scheme(bundle) == scheme
    assert bundle.read_json("quantization.json")["activations"]["head"] == [-1.5, 2.0]
    assert read_scheme(Bundle()) is None
    assert read_scheme(bundle.with_network(b"another")) is None, "another network has other ranges"


@pytest.mark.parametrize("limits", [[0.5, 2.0], [-2.0, -1.0], [0.0, 0.0], [1.0, -1.0], [0.0, "inf"], [0.0]])
def test_ranges_that_int8_cannot_have_are_refused(limits: list[Any]) -> None:
    from featherlite.bundle import Bundle

    document = {"activations": {"stem": limits}, "method": "trained"}
    with pytest.raises(BundleError, match=r"quantization\.json: activations\.stem"):
        read_scheme(Bundle().with_json("quantization.json", document))


def test_the_smallest_range_holds_zero() -> None:
    assert spanning(0.5, 2.0) == (0.0, 2.0)
    assert spanning(-2.0, -1.0) == (-2.0, 0.0)
    low, high = spanning(0.0, 0.0)
    assert low == 0 < high
