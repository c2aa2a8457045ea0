from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from pydantic import ValidationError

from featherlite.bundle import Bundle
from featherlite.errors import BundleError, MissingExtraError, RequestError, VerificationError
from featherlite.evaluate import verify as room
from featherlite.evaluate.measure import measure_verified
from featherlite.evaluate.verify import VerifyConfig, verify
from featherlite.models.golden import Golden, pack_golden, read_golden
from featherlite.models.slim import slim
from featherlite.step import Context

MakeContext = Callable[[], Context]
ON_LITERT = VerifyConfig(runtimes=("litert_reference", "litert"))


@pytest.fixture(scope="module")
def verified(exported: Bundle, make_context: MakeContext) -> Bundle:
    pytest.importorskip("tflite_micro", reason="needs the extra 'mcu'")
    return verify(exported, VerifyConfig(), make_context())


def entry(bundle: Bundle, name: str) -> dict:
    return next(one for one in bundle.read_json("verify.json")["exports"] if one["name"] == name)


def changed(bundle: Bundle, name: str, content: bytes) -> Bundle:
    """The bundle with one file of the int8 export replaced."""
    return bundle.with_files({f"exports/int8/{name}": content})


def looked(bundle: Bundle, config: VerifyConfig, context: Context) -> list[dict]:
    """What verify finds about each export, whether it passes or not."""
    with contextlib.suppress(VerificationError):
        verify(bundle, config, context)
    return context.details["exports"]


def failures(bundle: Bundle, context: Context, config: VerifyConfig = ON_LITERT) -> list[str]:
    (found,) = [one for one in looked(bundle, config, context) if one["name"] == "int8"]
    assert found["passed"] == (not found["failures"])
    return found["failures"]


def test_int8_is_proven_on_every_runtime(verified: Bundle) -> None:
    int8 = entry(verified, "int8")
    assert int8["passed"], int8["failures"]
    assert int8["int8_only"]
    assert int8["bytes"] == len(verified.read("exports/int8/model.tflite"))
    assert set(int8["runtimes"]) == {"keras", "litert", "litert_reference", "tflm"}
    assert int8["runtimes"]["litert_reference"]["max_lsb"] == 0
    assert int8["runtimes"]["tflm"]["max_lsb"] <= 1
    for row in int8["runtimes"].values():
        assert (row["top1"]["n"], row["top1"]["split"]) == (24, "test")
        assert row["top1"]["value"] == row["agreement"] == 1.0
    # At least the largest pair of neighbours: the input, and the stem's 12 x 12 x 8.
    assert int8["arena_bytes"] > 24 * 24 * 3 + 12 * 12 * 8
    assert int8["input"]["scale"] == 1 / 128


def test_float_artefacts_are_held_against_the_network(verified: Bundle) -> None:
    for name in ("float32", "float16"):
        found = entry(verified, name)
        assert found["passed"]
        assert not found["int8_only"]
        assert set(found["runtimes"]) == {"keras", "litert"}
        assert found["arena_bytes"] is None
    assert entry(verified, "float32")["runtimes"]["litert"]["max_lsb"] < 0.01
    assert entry(verified, "float16")["runtimes"]["litert"]["max_lsb"] < 1


def test_the_row_of_the_ladder_is_the_device(verified: Bundle) -> None:
    row = measure_verified(verified)
    assert row.subject == "int8"
    assert row.arena_bytes == entry(verified, "int8")["arena_bytes"]
    assert row.top1 is not None
    assert (row.top1.value, row.top1.split) == (1.0, "test")
    assert verified.metrics["test"]["reads"] == 1
    assert json.loads(verified.read("verify.json"))["n"] == 24


def test_a_golden_vector_that_is_answered_differently_fails(quantized: Bundle, make_context: MakeContext) -> None:
    golden = read_golden(quantized.read("exports/int8/golden.npz"))
    outputs = golden.outputs.copy()
    outputs[2, 1] ^= 1
    touched = changed(quantized, "golden.npz", pack_golden(Golden(golden.inputs, outputs, golden.logits)))
    assert failures(touched, make_context()) == ["golden vectors: 1 of 8 answered differently"]


def test_frames_that_preprocessing_makes_other_inputs_of_fail(quantized: Bundle, make_context: MakeContext) -> None:
    contract = quantized.preprocess.model_dump() | {"version": 2, "denoise": True}
    bundle = quantized.with_json("preprocess.json", contract)
    golden = read_golden(quantized.read("exports/int8/golden.npz"))
    denoised = np.stack([bundle.preprocess.enhance(frame) for frame in golden.inputs])
    noisy = int((denoised != golden.inputs).any(axis=(1, 2, 3)).sum())
    assert 2 < noisy < 8  # plain gray stays as it is
    told = f"golden frames: preprocessing makes other inputs of {noisy} of 8"
    for inputs, expected in ((denoised, []), (golden.inputs, [told])):
        touched = changed(bundle, "golden.npz", pack_golden(replace(golden, inputs=inputs, frames=golden.inputs)))
        found = failures(touched, make_context(), VerifyConfig(runtimes=("litert",)))
        assert [failure for failure in found if "frames" in failure] == expected
        assert len(found) == 1 + len(expected)  # the other one: the contract inside the artefact is not the bundle's


def test_another_network_in_the_bundle_fails(quantized: Bundle, make_context: MakeContext) -> None:
    """The outputs in another order: a network that is as good, but not this artefact's."""
    import keras

    from featherlite.models.network import load_network, network_bytes

    model = load_network(quantized)
    kernel, bias = model.get_layer("head_logits").get_weights()
    model.get_layer("head_logits").set_weights([kernel[:, ::-1], bias[::-1]])
    assert isinstance(model, keras.Model)
    swapped = quantized.with_files({"model.keras": network_bytes(model)})
    context = make_context()
    with pytest.raises(VerificationError) as caught:
        verify(swapped, ON_LITERT, context)
    assert "made from another network" in caught.value.message
    assert "gives the network's answer on 33.3% of 24 photos" in caught.value.message
    assert "featherlite quantization" in caught.value.hint
    assert "smaller network" not in caught.value.hint
    assert context.details["exports"][0]["runtimes"]["litert"]["agreement"] == pytest.approx(1 / 3)


def test_what_does_not_fit_asks_for_a_smaller_network(quantized: Bundle, make_context: MakeContext) -> None:
    tight = VerifyConfig(runtimes=("litert_reference",), max_flash_bytes=100)
    with pytest.raises(VerificationError, match=r"int8: flash: needs [\d,]+ bytes \(at most 100 allowed\)") as caught:
        verify(quantized, tight, make_context())
    assert "build.input_px" in caught.value.hint
    assert "featherlite quantization" not in caught.value.hint


def test_a_subject_that_names_no_export_is_refused(quantized: Bundle, make_context: MakeContext) -> None:
    with pytest.raises(BundleError, match=r"export 'nope' speaks for it, .* it has: int8\."):
        verify(quantized.with_files({}, subject="nope"), ON_LITERT, make_context())


def test_an_export_that_no_chosen_runtime_ran_fails(exported: Bundle, make_context: MakeContext) -> None:
    context = make_context()
    with pytest.raises(VerificationError) as caught:
        verify(exported, VerifyConfig(runtimes=("litert_reference",)), context)
    told = "runtimes: none of those asked for (litert_reference) runs it"
    assert {one["name"]: one["failures"] for one in context.details["exports"]} == {
        "float16": [told],
        "float32": [told],
        "int8": [],
    }
    assert [one["passed"] for one in context.details["exports"]] == [False, False, True]
    assert f"float32: {told}" in caught.value.message
    assert "'litert'" in caught.value.hint
    assert "featherlite quantization" not in caught.value.hint


def test_a_float_file_under_the_name_of_int8_fails(exported: Bundle, make_context: MakeContext) -> None:
    told = failures(changed(exported, "model.tflite", exported.read("exports/float32/model.tflite")), make_context())
    assert any("not int8 throughout" in one and "float32" in one for one in told)
    assert any("not the file that export.json describes" in one for one in told)


def test_other_labels_inside_the_artefact_fail(quantized: Bundle, make_context: MakeContext) -> None:
    data = slim(quantized.read("exports/int8/model.tflite"), {"labels.txt": b"red\ngreen\nblue\n"})
    told = failures(changed(quantized, "model.tflite", data), make_context())
    assert "files: the labels.txt inside it is not the bundle's" in told
    assert "files: it has no preprocess.json inside" in told


def test_a_bound_of_zero_is_kept(quantized: Bundle, make_context: MakeContext) -> None:
    strict = VerifyConfig(runtimes=("litert_reference",), min_agreement=1.0, max_loss=0.0)
    assert failures(quantized, make_context(), strict) == []


def test_a_missing_runtime_is_told_or_refused(
    quantized: Bundle, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "find_spec", lambda name: None)
    context = make_context()
    (found,) = looked(quantized, VerifyConfig(split="val"), context)
    assert found["passed"]
    assert set(found["runtimes"]) == {"keras", "litert", "litert_reference"}
    assert found["arena_bytes"] is None
    assert "not at hand" in context.details["warnings"][0]
    with pytest.raises(MissingExtraError, match="'mcu'"):
        verify(quantized, VerifyConfig(runtimes=("tflm",)), make_context())


def test_nothing_to_verify_is_refused(color_bundle: Bundle, quantized: Bundle, make_context: MakeContext) -> None:
    with pytest.raises(RequestError, match="no export"):
        verify(color_bundle, VerifyConfig(), make_context())
    from featherlite.data.splits import Splits, read_splits, write_splits

    rows = [row for row in read_splits(quantized).rows() if row[4] != "test"]
    without = quantized.with_files({"splits.parquet": write_splits(Splits.from_rows(rows))})
    with pytest.raises(RequestError, match="test split has no photos"):
        verify(without, VerifyConfig(), make_context())


def test_nothing_is_written_by_looking(quantized: Bundle, make_context: MakeContext) -> None:
    before = {name: quantized.read(name) for name in quantized.files}
    verify(quantized, ON_LITERT, make_context())
    assert {name: quantized.read(name) for name in quantized.files} == before
    assert isinstance(quantized.files, MappingProxyType)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY"])
def test_damaged_golden_vectors_are_refused(content: bytes) -> None:
    from featherlite.errors import BundleError

    with pytest.raises(BundleError, match="golden"):
        read_golden(content)


def test_hostile_golden_vectors_are_refused() -> None:
    """A broken stream inside a sound archive, one that says it is encrypted, and one without a single vector."""
    none = (np.zeros((0, 4, 4, 3), np.uint8), np.zeros((0, 2), np.int8), np.zeros((0, 2), np.float32))
    sound = pack_golden(Golden(np.zeros((1, 64, 64, 3), np.uint8), np.zeros((1, 2), np.int8), np.zeros((1, 2))))
    begin = sound.index(b"inputs.npy") + len(b"inputs.npy") + 20  # behind the entry's header
    broken = sound[:begin] + bytes(byte ^ 0xFF for byte in sound[begin : begin + 12]) + sound[begin + 12 :]
    first, listed = sound.index(b"PK\x03\x04") + 6, sound.index(b"PK\x01\x02") + 8
    encrypted = bytearray(sound)
    encrypted[first] |= 1
    encrypted[listed] |= 1
    for content in (broken, bytes(encrypted), pack_golden(Golden(*none))):
        with pytest.raises(BundleError, match="golden"):
            read_golden(content)


def test_pickled_golden_vectors_are_refused() -> None:
    from featherlite.errors import BundleError

    stream = io.BytesIO()
    np.savez(stream, inputs=np.array([{"a": 1}], dtype=object), outputs=np.zeros(1), logits=np.zeros(1))
    with pytest.raises(BundleError, match="cannot be read"):
        read_golden(stream.getvalue())


def test_an_arena_that_nothing_told_is_no_pass(quantized: Bundle, make_context: MakeContext) -> None:
    """Outside TensorFlow Lite Micro only a lower bound of the arena is known."""
    context = make_context()
    assert failures(quantized, context, VerifyConfig(runtimes=("litert",), max_arena_bytes=10**6)) == []
    assert "max_arena_bytes was not checked for exports/int8" in context.details["warnings"][0]
    context = make_context()
    (told,) = failures(quantized, context, VerifyConfig(runtimes=("litert",), max_arena_bytes=1000))
    assert told.startswith("arena: needs ")
    assert "warnings" not in context.details


def test_a_bound_that_nothing_is_held_against_is_refused() -> None:
    for key, runtimes in (
        ("max_lsb", ("tflm",)),
        ("max_lsb", ("litert", "litert_reference")),
        ("max_lsb_default", ("tflm", "litert_reference")),
    ):
        with pytest.raises(ValidationError, match=f"{key} does nothing without"):
            VerifyConfig.model_validate({"runtimes": runtimes, key: 2})
    assert VerifyConfig(runtimes=("tflm", "litert_reference"), max_lsb=2).max_lsb == 2


def test_what_tflm_lacks_is_said_and_not_tried(quantized: Bundle, make_context: MakeContext) -> None:
    pytest.importorskip("tflite_micro", reason="needs the extra 'mcu'")
    document = quantized.read_json("exports/int8/export.json")
    document["tflm"] = {"runs": False, "why": "it has no int8 kernel for EXP (layers 'odd')."}
    refused = quantized.with_json("exports/int8/export.json", document)
    context = make_context()
    with pytest.raises(VerificationError) as caught:
        verify(refused, VerifyConfig(), context)
    (entry_,) = context.details["exports"]
    assert entry_["failures"] == ["TensorFlow Lite Micro: it has no int8 kernel for EXP (layers 'odd')."]
    assert set(entry_["runtimes"]) == {"keras", "litert", "litert_reference"}
    assert "leave 'tflm' out" in caught.value.hint
    assert "featherlite quantization" not in caught.value.hint
