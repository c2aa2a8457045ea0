from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from featherlite.bundle import Bundle, Label
from featherlite.errors import BundleError, ExportError
from featherlite.export.arena import arena_of
from featherlite.export.c_array import CArrayConfig, c_array
from featherlite.export.c_source import CNetwork, resolver_header
from featherlite.export.c_text import float_literal, identifiers, string_literal
from featherlite.models.golden import read_golden
from featherlite.models.tflm_operations import OPERATIONS, registration
from featherlite.quantize.quantize import QuantizeConfig, quantize
from featherlite.runtime.flatbuffer import inspect
from featherlite.runtime.interpreter import LiteRTReferenceRuntime, TFLMRuntime
from featherlite.step import Context

MakeContext = Callable[[], Context]
FOLDER = "exports/c-array"
NAMES = ('2 "tits"\\??/', "Blåmeis, über", "2-tits")
"""Class names that would break C source written carelessly; the first and the last give the same identifier."""

PROGRAM = """
#include <stdio.h>
#include <string.h>
#include "model_data.h"
int main(int count, char **arguments) {
  if ((unsigned long)(const void *)model_data % 16 != 0) return 3;
  if (count > 1 && arguments[1][0]) {
    int level, value;
    for (level = 0; level < 256; level++) if (model_input((uint8_t)level) != level - 128) return 4;
    for (value = 0; value < MODEL_CLASSES; value++) puts(model_labels[value]);
    printf("%d %d %d\\n", MODEL_CLASS_2_TITS, MODEL_CLASS_BLAMEIS_UBER, MODEL_CLASS_2_TITS_2);
    printf("%d %d %d %lu\\n", MODEL_INPUT_HEIGHT, MODEL_INPUT_WIDTH, MODEL_INPUT_CHANNELS, MODEL_ARENA_BYTES);
    for (value = -128; value < 128; value++) printf("%.9g ", (double)model_logit((int8_t)value));
    return 0;
  }
  return fwrite(model_data, 1, MODEL_DATA_BYTES, stdout) == MODEL_DATA_BYTES ? 0 : 5;
}
"""

gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
gpp = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
arm = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="needs arm-none-eabi-gcc")
TFLM_HEADERS = os.environ.get("FEATHERLITE_TFLM_INCLUDE", "")
"""Folders with the headers of tflite-micro, flatbuffers, gemmlowp and ruy, with colons between them."""

STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic-errors")


@pytest.fixture(scope="module")
def named(quantized: Bundle) -> Bundle:
    return quantized.with_labels(tuple(Label(name=name) for name in NAMES))


def unpacked(bundle: Bundle, folder: Path) -> Path:
    """The package's files on the disk, and the program beside them."""
    folder.mkdir()
    for name in bundle.files:
        if name.startswith(FOLDER):
            (folder / Path(name).name).write_bytes(bundle.read(name))
    (folder / "main.c").write_text(PROGRAM)
    return folder


def run(*command: str | Path) -> bytes:
    done = subprocess.run([str(part) for part in command], capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stderr.decode()}"
    return done.stdout


@gcc
@pytest.mark.parametrize("standard", ["c99", "c11"])
def test_the_compiled_bytes_are_those_of_the_artefact(
    named: Bundle, make_context: MakeContext, tmp_path: Path, standard: str
) -> None:
    made = c_array(named, CArrayConfig(), make_context())
    place = unpacked(made, tmp_path / "c")
    pedantic = STRICT if standard == "c11" else STRICT[:3]  # C99 knows alignment as an extension alone
    run("gcc", f"-std={standard}", *pedantic, place / "main.c", place / "model_data.c", "-o", place / "program")
    assert run(place / "program") == named.read("exports/int8/model.tflite")


@gcc
def test_the_header_says_what_goes_in_and_out(named: Bundle, make_context: MakeContext, tmp_path: Path) -> None:
    made = c_array(named, CArrayConfig(), make_context())
    place = unpacked(made, tmp_path / "c")
    run("gcc", "-std=c11", *STRICT, place / "main.c", place / "model_data.c", "-o", place / "program")
    *labels, classes, shape, logits = run(place / "program", "facts").decode("utf-8").split("\n")
    assert tuple(labels) == NAMES
    assert classes == "0 1 2"
    facts = inspect(named.read("exports/int8/model.tflite"))
    assert shape == f"24 24 3 {arena_of(named, 'int8', facts).bytes}"
    scale, zero_point = np.float32(facts.output.scale or 0), np.float32(facts.output.zero_point or 0)
    expected = (np.arange(-128, 128, dtype=np.float32) - zero_point) * scale
    assert (np.array(logits.split(), np.float32) == expected).all()


GOLDEN = """
#include <stdio.h>
#include "model_golden.h"
int main(void) {
  int8_t logits[MODEL_CLASSES];
  int value, way;
  for (way = 0; way < 3; way++) {
    for (value = 0; value < MODEL_CLASSES; value++) logits[value] = model_golden_logits[value];
    if (way == 1) logits[0] = (int8_t)(logits[0] < 0 ? logits[0] + 100 : logits[0] - 100);
    if (way == 2) logits[MODEL_CLASSES - 1] = (int8_t)(logits[MODEL_CLASSES - 1] < 0 ? 127 : -128);
    printf("%d ", model_golden_distance(logits));
  }
  printf("\\n%d %d %d\\n", model_golden_logits[0], model_golden_logits[1], model_golden_logits[2]);
  fflush(stdout);
  return fwrite(model_golden_frame, 1, sizeof model_golden_frame, stdout) == MODEL_INPUT_BYTES ? 0 : 1;
}
"""


@gcc
def test_a_device_can_be_tried_with_a_golden_frame(named: Bundle, make_context: MakeContext, tmp_path: Path) -> None:
    """The frame gives these logits in the runtime that a device has, and their distance tells what is off."""
    place = unpacked(c_array(named, CArrayConfig(), make_context()), tmp_path / "c")
    (place / "main.c").write_text(GOLDEN)
    run("gcc", "-std=c11", *STRICT, place / "main.c", place / "model_data.c", "-o", place / "program")
    distances, told, frame = run(place / "program").split(b"\n", 2)
    logits = np.array(told.split(), np.int8)
    last = int(logits[-1])
    assert distances.split() == [b"0", b"100", str(127 - last if last < 0 else last + 128).encode()]
    pixels = np.frombuffer(frame, np.uint8).reshape(1, 24, 24, 3)
    runtime = LiteRTReferenceRuntime(named.read("exports/int8/model.tflite"))
    assert runtime.run_raw(pixels).tolist() == [logits.tolist()]


@gpp
@pytest.mark.parametrize("suffix", ["cc", "cpp"])
def test_it_is_cpp_too(named: Bundle, make_context: MakeContext, tmp_path: Path, suffix: str) -> None:
    made = c_array(named, CArrayConfig.model_validate({"suffix": suffix}), make_context())
    place = unpacked(made, tmp_path / "c")
    (place / "main.c").rename(place / "main.cc")
    run("g++", "-std=c++11", *STRICT, place / "main.cc", place / f"model_data.{suffix}", "-o", place / "program")
    assert run(place / "program") == named.read("exports/int8/model.tflite")


@gcc
@gpp
def test_c_source_links_with_a_cpp_program(named: Bundle, make_context: MakeContext, tmp_path: Path) -> None:
    place = unpacked(c_array(named, CArrayConfig(), make_context()), tmp_path / "c")
    (place / "main.c").rename(place / "main.cc")
    run("gcc", "-std=c11", "-c", place / "model_data.c", "-o", place / "data.o")
    run("g++", "-std=c++17", place / "main.cc", place / "data.o", "-o", place / "program")
    assert run(place / "program") == named.read("exports/int8/model.tflite")


@arm
def test_it_compiles_for_a_cortex_m(named: Bundle, make_context: MakeContext, tmp_path: Path) -> None:
    place = unpacked(c_array(named, CArrayConfig(), make_context()), tmp_path / "c")
    source, compiled = place / "model_data.c", place / "data.o"
    run("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-std=c11", *STRICT, "-c", source, "-o", compiled)
    raw = place / "rodata.bin"
    run("arm-none-eabi-objcopy", "-O", "binary", "-j", ".rodata", compiled, raw)
    assert named.read("exports/int8/model.tflite") in raw.read_bytes()


STAND_IN = """
#pragma once
enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
namespace tflite {
template <unsigned int room> class MicroMutableOpResolver {
 public:
  unsigned int used = 0;
  TfLiteStatus add() { return ++used > room ? kTfLiteError : kTfLiteOk; }
  %s
};
}
"""


@gpp
def test_each_operation_is_registered_once_and_fits(
    quantized: Bundle, make_context: MakeContext, tmp_path: Path
) -> None:
    """Against a resolver that counts; whether TFLM's has these methods is asked below, where its headers are."""
    place = unpacked(c_array(quantized, CArrayConfig(name="bird"), make_context()), tmp_path / "c")
    header = place / "tensorflow/lite/micro/micro_mutable_op_resolver.h"
    header.parent.mkdir(parents=True)
    header.write_text(
        STAND_IN % "\n  ".join(f"TfLiteStatus {registration(op)}() {{ return add(); }}" for op in OPERATIONS)
    )
    ops = inspect(quantized.read("exports/int8/model.tflite")).op_counts
    (place / "main.cc").write_text(
        '#include "bird_register_ops.h"\n#include "bird_data.h"\n'
        "int main() { bird_resolver r; if (bird_register_ops(r) != kTfLiteOk) return 1;\n"
        f"return r.used == BIRD_OPS && r.used == {len(ops)} ? 0 : 2; }}\n"
    )
    run("g++", "-std=c++17", *STRICT, "-I", place, place / "main.cc", place / "bird_data.c", "-o", place / "program")
    run(place / "program")
    text = (place / "bird_register_ops.h").read_text()
    assert sorted(set(ops)) == ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MEAN"]
    for method in ("AddConv2D", "AddDepthwiseConv2D", "AddFullyConnected", "AddMean"):
        assert text.count(f"resolver.{method}()") == 1


@gpp
@pytest.mark.skipif(not TFLM_HEADERS, reason="needs tflite-micro's headers: set FEATHERLITE_TFLM_INCLUDE")
@pytest.mark.parametrize("what", ["every method", "the example"])
def test_it_fits_tflms_own_headers(quantized: Bundle, make_context: MakeContext, tmp_path: Path, what: str) -> None:
    """That TFLM's resolver has all methods, and that the program in docs/boards.md is one."""
    place = unpacked(c_array(quantized, CArrayConfig(), make_context()), tmp_path / "c")
    calls = "".join(f"  r.{registration(op)}();\n" for op in sorted(OPERATIONS))
    program = (
        '#include "model_register_ops.h"\n'
        f"void all(tflite::MicroMutableOpResolver<{len(OPERATIONS)}>& r) {{\n{calls}}}\n"
        "TfLiteStatus own(model_resolver& r) { return model_register_ops(r); }\n"
    )
    page = (Path(__file__).parents[3] / "docs" / "boards.md").read_text("utf-8")
    example = "".join(re.findall(r"```cpp\n(.*?)```", page.partition("### On an ESP32")[0], re.DOTALL))
    (place / "main.cc").write_text(example if what == "the example" else program)
    folders = [part for folder in TFLM_HEADERS.split(":") for part in ("-I", folder)]
    run("g++", "-std=c++17", "-fsyntax-only", "-DTF_LITE_STATIC_MEMORY", *folders, place / "main.cc")


def test_an_operation_that_tflm_lacks_is_named(quantized: Bundle) -> None:
    from dataclasses import replace

    data = quantized.read("exports/int8/model.tflite")
    facts = replace(inspect(data), op_counts={"CONV_2D": 3, "ERF": 1, "CUSTOM Flex": 1})
    arena = arena_of(quantized, "int8", facts)
    with pytest.raises(ExportError, match="no CUSTOM Flex, ERF, which"):
        resolver_header(CNetwork("model", data, facts, ["a"], quantized.preprocess, arena))


def test_what_tflm_does_not_run_is_not_packed(quantized: Bundle, make_context: MakeContext) -> None:
    """An operation may be registered and still have no int8 kernel: the program would build, and fail on the device."""
    document = quantized.read_json("exports/int8/export.json")
    document["tflm"] = {"runs": False, "why": "it has no int8 kernel for EXP (layers 'odd')."}
    refused = quantized.with_json("exports/int8/export.json", document)
    with pytest.raises(ExportError, match=r"does not run exports/int8: it has no int8 kernel for EXP"):
        c_array(refused, CArrayConfig(), make_context())


def test_only_a_new_int8_artefact_makes_a_package_stale(quantized: Bundle, make_context: MakeContext) -> None:
    made = c_array(quantized, CArrayConfig(), make_context())
    beside = quantize(made, QuantizeConfig(scheme="float16"), make_context())
    assert "float16" in beside.exports
    assert beside.packed == made.packed
    assert not quantize(made, QuantizeConfig(photos=6), make_context()).packed


def test_names_begin_as_asked(quantized: Bundle, make_context: MakeContext) -> None:
    made = c_array(quantized, CArrayConfig(name="feeder_bird", suffix="cc"), make_context())
    assert sorted(Path(name).name for name in made.packed) == [
        "feeder_bird_data.cc",
        "feeder_bird_data.h",
        "feeder_bird_golden.h",
        "feeder_bird_register_ops.h",
    ]
    header = made.read(f"{FOLDER}/feeder_bird_data.h").decode()
    assert "extern const unsigned char feeder_bird_data[FEEDER_BIRD_DATA_BYTES];" in header
    again = c_array(made, CArrayConfig(), make_context())
    assert f"{FOLDER}/feeder_bird_data.h" not in again.packed, "nothing of a former package stays"
    for name in ("2birds", "Bird", "a-b", "_a", "a__b", "int main", ""):
        with pytest.raises(ValidationError):
            CArrayConfig(name=name)


def test_a_measured_arena_stands_in_the_header(quantized: Bundle, make_context: MakeContext) -> None:
    data, ctx = quantized.read("exports/int8/model.tflite"), make_context()
    estimated = c_array(quantized, CArrayConfig(), ctx)
    assert "is an estimate" in ctx.details["warnings"][0]
    assert b"An ESTIMATE" in estimated.read(f"{FOLDER}/model_data.h")
    verdict = {"exports": [{"name": "int8", "bytes": len(data), "arena_bytes": 12_345}]}
    ctx = make_context()
    header = c_array(quantized.with_json("verify.json", verdict), CArrayConfig(), ctx).read(f"{FOLDER}/model_data.h")
    assert b"#define MODEL_ARENA_BYTES 12345UL" in header
    assert b"ESTIMATE" not in header
    assert "warnings" not in ctx.details
    verdict["exports"][0]["bytes"] = 1  # of another artefact
    assert not arena_of(quantized.with_json("verify.json", verdict), "int8", inspect(data)).measured


def test_the_estimate_is_enough_and_not_far_off(quantized: Bundle) -> None:
    pytest.importorskip("tflite_micro", reason="needs the extra mcu")
    data = quantized.read("exports/int8/model.tflite")
    measured = TFLMRuntime(data).arena_bytes
    estimate = arena_of(quantized, "int8", inspect(data)).bytes
    assert measured <= estimate <= 2 * measured
    assert estimate % 16 == 0


def test_the_same_bundle_gives_the_same_bytes(quantized: Bundle, make_context: MakeContext) -> None:
    first, second = (c_array(quantized, CArrayConfig(), make_context()) for _ in range(2))
    assert first.packed == second.packed
    assert all(first.read(name) == second.read(name) for name in first.packed)


def test_a_package_does_not_stand_in_the_way_of_what_reads_artefacts(
    quantized: Bundle, make_context: MakeContext, tmp_path: Path
) -> None:
    from featherlite.evaluate.verify import VerifyConfig, verify
    from featherlite.runtime.predictor import Predictor

    made = c_array(quantized, CArrayConfig(), make_context()).save(tmp_path / "bundle")
    assert made.exports == ("int8",)
    assert [entry["name"] for entry in verify(made, VerifyConfig(), make_context()).read_json("verify.json")["exports"]]
    assert Predictor(tmp_path / "bundle").export == "int8"
    golden = read_golden(made.read("exports/int8/golden.npz"))
    assert len(golden.inputs)


def test_a_bundle_without_an_int8_artefact_is_refused(color_bundle: Bundle, make_context: MakeContext) -> None:
    with pytest.raises(BundleError, match=r"no exports/int8/model\.tflite"):
        c_array(color_bundle, CArrayConfig(), make_context())


def test_a_float_artefact_in_its_place_is_refused(exported: Bundle, make_context: MakeContext) -> None:
    swapped = exported.with_files({"exports/int8/model.tflite": exported.read("exports/float32/model.tflite")})
    with pytest.raises(BundleError, match="takes float32 instead of int8"):
        c_array(swapped, CArrayConfig(), make_context())


# ---- text --------------------------------------------------------------------------------------------------------


def test_identifiers_are_plain_and_different() -> None:
    assert identifiers(["Great tit", "Blåmeis", "3-toed", "???", "great-tit", "GREAT TIT 4"]) == (
        "GREAT_TIT", "BLAMEIS", "3_TOED", "3", "GREAT_TIT_4", "GREAT_TIT_4_5",
    )  # fmt: skip


@given(st.lists(st.text(), max_size=8))
def test_identifiers_are_always_valid_and_different(names: list[str]) -> None:
    found = identifiers(names)
    assert len(found) == len(set(found)) == len(names)
    assert all(f"C_{word}".isidentifier() and word.isascii() and word for word in found)


@pytest.mark.parametrize(
    ("text", "literal"),
    [("tit", '"tit"'), ('a"b', '"a\\"b"'), ("å1", '"\\303\\2451"'), ("??/", '"\\?\\?/"'), ("a\\", '"a\\\\"')],
)
def test_strings_are_escaped(text: str, literal: str) -> None:
    assert string_literal(text) == literal


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_floats_read_back_as_they_were(value: float) -> None:
    literal = float_literal(value)
    assert literal.endswith("f")
    assert np.float32(literal[:-1]) == np.float32(value)
    assert "." in literal or "e" in literal
