"""The error report: against the runtimes, and against artefacts in which one layer was spoilt on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from featherlite.bundle import Bundle
from featherlite.data.photos import PhotoSet, load_photos
from featherlite.errors import BundleError, RequestError
from featherlite.models.layer_errors import ErrorReport
from featherlite.step import Context

MakeContext = Callable[[], Context]


def spoilt(bundle: Bundle, make_context: MakeContext, change: Callable[[Any], None], **facts: Any) -> Bundle:
    """The bundle with an int8 artefact that was made of a changed network."""
    from featherlite.models.artefact import Making, add_export, make
    from featherlite.models.network import load_network, network_bytes

    ctx = make_context()
    network = load_network(bundle)
    change(network)
    photos = np.asarray(load_photos(bundle, "train", ctx).images[:24])
    made = make(bundle, "int8", ctx, Making(representative=photos, network=network_bytes(network)))
    return add_export(bundle, "int8", ctx, facts={"ranges": "minmax"} | facts, made=made)


def reported(bundle: Bundle, make_context: MakeContext, split: str = "test") -> ErrorReport:
    from featherlite.quantize.error_report import error_report

    return error_report(bundle, "int8", load_photos(bundle, split, make_context()))


@pytest.fixture(scope="module", autouse=True)
def _mapped_once() -> Iterator[None]:
    """All artefacts here have the same operations, so that one conversion says where their tensors belong."""
    from featherlite.quantize import tensor_map

    kept: list[tuple[tensor_map.Place, ...]] = []
    find = tensor_map.places

    def once(network: Any, artefact: Any) -> tuple[tensor_map.Place, ...]:
        if not kept:
            kept.append(find(network, artefact))
        return kept[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensor_map, "places", once)
        yield


@pytest.fixture(scope="module")
def plain(quantized: Bundle, make_context: MakeContext) -> ErrorReport:
    return reported(quantized, make_context)


def test_every_stored_layer_has_its_entry(plain: ErrorReport) -> None:
    assert [one.layer for one in plain.layers] == ["image", "stem", "mix", "head_pool", "head_logits"]
    kinds = [one.operations for one in plain.layers]
    assert [one.role for one in plain.layers] == [""] * (len(kinds) - 1) + ["logits"]
    assert kinds == [(), ("CONV_2D",), ("DEPTHWISE_CONV_2D",), ("MEAN",), ("FULLY_CONNECTED",)]
    assert [one.kind for one in plain.layers][1:3] == ["Conv2D", "DepthwiseConv2D"]
    assert plain.layers[1].activation == "relu6"
    assert plain.layers[0].range == (-1.0, 127 / 128)
    assert (plain.export, plain.split, plain.photos) == ("int8", "test", 24)


def test_the_whole_is_what_the_runtimes_answer(
    plain: ErrorReport, quantized: Bundle, make_context: MakeContext
) -> None:
    from featherlite.evaluate.measure import predict_logits
    from featherlite.runtime.interpreter import open_runtime

    photos = load_photos(quantized, "test", make_context())
    logits = predict_logits(quantized, photos, "network")
    answers = open_runtime("litert_reference", quantized.read("exports/int8/model.tflite")).run(
        np.asarray(photos.images[:])
    )
    ratio = 10 * np.log10((logits**2).sum() / ((answers - logits) ** 2).sum())
    assert plain.logits_snr_db == pytest.approx(ratio, abs=0.01)
    assert plain.layers[-1].snr_db == pytest.approx(ratio, abs=0.01)
    assert plain.agreement == pytest.approx((logits.argmax(1) == answers.argmax(1)).mean())
    assert plain.top1_float == pytest.approx((logits.argmax(1) == photos.labels).mean())
    assert plain.top1_export == pytest.approx((answers.argmax(1) == photos.labels).mean())


def test_the_photo_is_exact_and_noise_gathers(plain: ErrorReport) -> None:
    photo, stem, mix, *_ = plain.layers
    assert (photo.snr_db, photo.input_snr_db, photo.harm) == (120.0, None, 0.0)
    assert stem.snr_db == pytest.approx(stem.own_snr_db, abs=0.01), "nothing came with its input"
    assert mix.snr_db < mix.own_snr_db
    assert mix.input_snr_db == pytest.approx(stem.snr_db)
    assert sum(one.harm for one in plain.layers) == pytest.approx(1.0)
    assert 0.2 < plain.explained < 5
    assert all(abs(one.rounding + one.clipping + one.kernel - 1) < 1e-6 for one in plain.layers[1:])


def test_the_photos_that_are_probed_are_of_all_classes(
    quantized: Bundle, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Splits lie in the order of their classes: the first 16 of 24 photos would be those of two classes of three."""
    from featherlite.quantize import error_report

    probed, probe = list[Any](), error_report._Study._probe
    monkeypatch.setattr(
        error_report._Study, "_probe", lambda self, *given: (probed.append(given[-1]), probe(self, *given))[1]
    )
    monkeypatch.setattr(error_report, "PROBED", 4)
    found = reported(quantized, make_context)
    (logits,) = probed
    assert np.bincount(logits.argmax(axis=1)).tolist() == [3, 3, 2], "one batch of eight"
    assert (found.probed, found.photos, found.top1_float) == (8, 24, 1.0), "all are counted, with their own labels"


def test_a_spoilt_kernel_is_found_where_it_is(color_bundle: Bundle, make_context: MakeContext) -> None:
    def change(network: Any) -> None:
        layer = network.get_layer("mix")
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel * np.linspace(0.5, 1.4, 8).reshape(1, 1, 8, 1), bias])

    found = reported(spoilt(color_bundle, make_context, change, corrected=False), make_context)
    (worst,) = found.worst(1)
    assert worst.layer == "mix"
    assert worst.kernel > 0.9
    assert worst.own_snr_db < 20
    assert worst.harm > 0.9
    assert "correct=true" in worst.remedy
    assert "'mix'" in found.verdict
    stem = next(one for one in found.layers if one.layer == "stem")
    assert stem.snr_db > 30, "what stands before it is sound"


def test_balanced_channels_are_scaled_back(color_bundle: Bundle, make_context: MakeContext) -> None:
    factors = np.array([0.5, 0.25, 0.5, 0.5, 0.25, 0.5, 0.5, 0.5])

    def balance(network: Any) -> None:
        stem, mix = network.get_layer("stem"), network.get_layer("mix")
        kernel, bias = stem.get_weights()
        stem.set_weights([kernel * factors, bias * factors])
        kernel, bias = mix.get_weights()
        mix.set_weights([kernel / factors[:, None], bias])

    bundle = spoilt(color_bundle, make_context, balance, equalized_pairs=1)
    found = {one.layer: one for one in reported(bundle, make_context).layers}
    assert found["stem"].snr_db > 30
    assert found["mix"].own_snr_db > 30
    facts = bundle.read_json("exports/int8/export.json") | {"equalized_pairs": 0}
    naive = reported(bundle.with_json("exports/int8/export.json", facts), make_context)
    assert {one.layer: one for one in naive.layers}["stem"].snr_db < 10


def test_what_cannot_be_looked_into_is_refused(quantized: Bundle, make_context: MakeContext) -> None:
    from featherlite.quantize.error_report import error_report

    photos = load_photos(quantized, "val", make_context())
    with pytest.raises(BundleError, match="int4"):
        error_report(quantized, "int4", photos)
    none = PhotoSet(photos.images[:0], photos.labels[:0], (), photos.classes, "val")
    with pytest.raises(RequestError, match="'val' has no photos"):
        error_report(quantized, "int8", none)
    facts = quantized.read_json("exports/int8/export.json") | {"dtype": "float16"}
    with pytest.raises(RequestError, match="activations are not integers"):
        error_report(quantized.with_json("exports/int8/export.json", facts), "int8", photos)


def test_a_layer_is_computed_again_from_what_is_given_alone(color_bundle: Bundle) -> None:
    from featherlite.models.network import load_network
    from featherlite.quantize.rerun import Rerun

    rerun = Rerun(load_network(color_bundle))
    photos = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), dtype=np.uint8)
    floats = rerun.floats(photos)
    assert rerun.output == "head_logits"
    again = rerun.again(floats, {"stem": floats["stem"]}, "head_logits")
    assert np.asarray(again) == pytest.approx(np.asarray(floats["head_logits"]), abs=1e-6)
    nothing = np.zeros_like(np.asarray(floats["head_pool"]))
    biases = rerun.network.get_layer("head_logits").get_weights()[1]
    assert np.asarray(rerun.again(floats, {"head_pool": nothing}, "head_logits")) == pytest.approx(
        np.tile(biases, (2, 1))
    )
    pooled = rerun.again(floats, {"head_logits": again}, "head_pool")
    assert pooled is floats["head_pool"], "what stands before it is not computed again"
