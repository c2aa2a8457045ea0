"""The text of the C files of an int8 artefact."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import ExportError
from featherlite.export.arena import Arena
from featherlite.export.c_text import byte_lines, float_literal, identifiers, number_lines, string_literal
from featherlite.models.tflm_operations import REMEDY, registration
from featherlite.preprocess import Preprocess
from featherlite.runtime.flatbuffer import ArtefactFacts, TensorFacts

__all__ = ["CNetwork", "data_header", "data_source", "golden_header", "resolver_header"]

_FITS = {
    "crop": "Of a frame that is not of this shape the center is taken, as large as it gets.",
    "squash": "A frame that is not of this shape is stretched.",
    "pad": "A frame that is not of this shape is kept whole, on a ground of level 128.",
}


@dataclass(frozen=True)
class CNetwork:
    """An int8 artefact as its C files describe it; all names in them begin with `name`, a lower-case identifier."""

    name: str
    data: bytes
    facts: ArtefactFacts
    labels: Sequence[str]
    preprocess: Preprocess
    arena: Arena

    @property
    def macro(self) -> str:
        """What its macros begin with."""
        return self.name.upper()


def data_header(network: CNetwork) -> str:
    """NAME_data.h: declares the bytes and the labels, and says what goes in and what comes out."""
    name, macro = network.name, network.macro
    _, height, width, channels = network.facts.input.shape
    classes = zip(identifiers(network.labels), range(len(network.labels)), strict=True)
    return f"""\
/* An int8 network for TensorFlow Lite Micro, written by featherlite. Do not edit. */
#ifndef FEATHERLITE_{macro}_DATA_H_
#define FEATHERLITE_{macro}_DATA_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

/* The network, a .tflite aligned to 16 bytes. sha256:
   {hashlib.sha256(network.data).hexdigest()} */
#define {macro}_DATA_BYTES {len(network.data)}UL
extern const unsigned char {name}_data[{macro}_DATA_BYTES];

/* Working memory of the interpreter in bytes.
   {_arena_text(network.arena)} */
#define {macro}_ARENA_BYTES {network.arena.bytes}UL

/* In: one photo, int8, row by row, each pixel red, green, blue.
{_preprocess_text(network.preprocess)} */
#define {macro}_INPUT_HEIGHT {height}
#define {macro}_INPUT_WIDTH {width}
#define {macro}_INPUT_CHANNELS {channels}
#define {macro}_INPUT_BYTES {height * width * channels}UL
{_scale_text(f"{macro}_INPUT", network.facts.input)}

/* A camera's level, 0 to 255, as the network takes it. */
static inline int8_t {name}_input(uint8_t level) {{ return (int8_t)((int)level - 128); }}

/* Out: a logit for each class, int8. The largest is the answer; probabilities are the softmax of the logits. */
#define {macro}_CLASSES {len(network.labels)}
{_scale_text(f"{macro}_OUTPUT", network.facts.output)}

static inline float {name}_logit(int8_t value) {{
  return (float)((int)value - {macro}_OUTPUT_ZERO_POINT) * {macro}_OUTPUT_SCALE;
}}

/* The names of the classes in UTF-8, in the order of the outputs. */
extern const char *const {name}_labels[{macro}_CLASSES];

enum {name}_class {{
{chr(10).join(f"  {macro}_CLASS_{word} = {number}," for word, number in classes)[:-1]}
}};

#ifdef __cplusplus
}}
#endif

#endif
"""


def data_source(network: CNetwork) -> str:
    """NAME_data.c: the bytes and the labels; C99 with GCC's or Clang's alignment, C11 and C++11 alike."""
    name, macro = network.name, network.macro
    return f"""\
/* Written by featherlite. Do not edit. */
#include "{name}_data.h"

#if defined(__cplusplus) && __cplusplus >= 201103L
#define {macro}_ALIGNED alignas(16)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define {macro}_ALIGNED _Alignas(16)
#else
#define {macro}_ALIGNED __attribute__((aligned(16)))
#endif

{macro}_ALIGNED const unsigned char {name}_data[{macro}_DATA_BYTES] = {{
{byte_lines(network.data)}
}};

const char *const {name}_labels[{macro}_CLASSES] = {{
{chr(10).join(f"  {string_literal(label)}," for label in network.labels)}
}};
"""


def resolver_header(network: CNetwork) -> str:
    """NAME_register_ops.h: a resolver with room for the network's operations, and the function that registers them.

    Raises:
        ExportError: TensorFlow Lite Micro lacks an operation; all that are lacking are named.
    """
    methods = {op: registration(op) for op in sorted(network.facts.op_counts)}
    if lacking := [op for op, method in methods.items() if method is None]:
        raise ExportError(
            f"TensorFlow Lite Micro has no {', '.join(lacking)}, which this network needs.",
            REMEDY,
        )
    name, macro = network.name, network.macro
    return f"""\
/* Registers the operations of the network with TensorFlow Lite Micro. Written by featherlite. Do not edit. */
#ifndef FEATHERLITE_{macro}_REGISTER_OPS_H_
#define FEATHERLITE_{macro}_REGISTER_OPS_H_

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

#define {macro}_OPS {len(methods)}

typedef tflite::MicroMutableOpResolver<{macro}_OPS> {name}_resolver;

inline TfLiteStatus {name}_register_ops({name}_resolver &resolver) {{
{chr(10).join(f"  if (resolver.{method}() != kTfLiteOk) return kTfLiteError;" for method in methods.values())}
  return kTfLiteOk;
}}

#endif
"""


def golden_header(network: CNetwork, frame: NDArray[np.uint8], logits: NDArray[np.int8]) -> str:
    """NAME_golden.h: a drawn frame uint8 [height, width, 3] and the logits int8 [classes] that it must give."""
    name, macro = network.name, network.macro
    return f"""\
/* A drawn frame and what the reference kernels answer to it, to try a device with. Written by featherlite. Do not edit.
   Include it in one file: what that does not use, the linker leaves out. */
#ifndef FEATHERLITE_{macro}_GOLDEN_H_
#define FEATHERLITE_{macro}_GOLDEN_H_

#include "{name}_data.h"

/* Levels of a camera: feed them through {name}_input(). */
static const uint8_t {name}_golden_frame[{macro}_INPUT_BYTES] = {{
{byte_lines(np.ascontiguousarray(frame).tobytes())}
}};

static const int8_t {name}_golden_logits[{macro}_CLASSES] = {{
{number_lines(logits.tolist())}
}};

/* The largest difference of these logits to the golden ones: 0 with the reference kernels; optimized kernels may be
   some levels away, and so may a fault: a small distance is a good sign, no proof. */
static inline int {name}_golden_distance(const int8_t *logits) {{
  int class_, worst = 0;
  for (class_ = 0; class_ < {macro}_CLASSES; class_++) {{
    const int off = (int)logits[class_] - {name}_golden_logits[class_];
    if (off > worst) worst = off;
    if (-off > worst) worst = -off;
  }}
  return worst;
}}

#endif
"""


def _scale_text(prefix: str, tensor: TensorFacts) -> str:
    scale = 0.0 if tensor.scale is None else tensor.scale
    return f"#define {prefix}_SCALE {float_literal(scale)}\n#define {prefix}_ZERO_POINT ({tensor.zero_point})"


def _arena_text(arena: Arena) -> str:
    if arena.measured:
        return "Measured on a 64-bit computer with the reference kernels; others may ask for more, 32 bits need less."
    return "An ESTIMATE: raise it where AllocateTensors() fails; 'featherlite verify' measures it."


def _preprocess_text(preprocess: Preprocess) -> str:
    lines = [_FITS[preprocess.fit], "Frames are scaled down by averaging (bilinear with antialiasing)."]
    if preprocess.denoise:
        lines.append("Then: the median of each level and its eight neighbors, channel by channel.")
    if preprocess.autocontrast:
        lines.append("Then: levels stretched to 0..255, all channels alike, 1% cut off at either end.")
    return "\n".join(f"   {line}" for line in lines)
