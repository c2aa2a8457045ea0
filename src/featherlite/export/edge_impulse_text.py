"""What stands in the text files of the folder for Edge Impulse.

Source: https://docs.edgeimpulse.com/studio/projects/dashboard/byom (the form) and
https://docs.edgeimpulse.com/apis/studio/learn/save-parameters-for-pretrained-model (names and values of parameters),
both read in November 2026, and the code named in `export.upload` (what the device computes). The form was not seen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from featherlite.errors import ExportError
from featherlite.export.arena import Arena
from featherlite.export.upload import INPUT_SCALING
from featherlite.preprocess import Preprocess
from featherlite.runtime.flatbuffer import inspect

__all__ = ["Upload", "label_line", "parameters", "readme"]

_RESIZE: Final = {
    "crop": ("fit-short", "Fit shortest axis", "the center of the photo, as featherlite trained it"),
    "squash": ("squash", "Squash", "the whole photo, stretched, as featherlite trained it"),
    "pad": (
        "fit-long",
        "Fit longest axis",
        "the whole photo between bars. featherlite fills the bars with level 128; with what Edge Impulse fills them is "
        "not known here",
    ),
}


@dataclass(frozen=True)
class Upload:
    """What the folder is about: featherlite's artefact, the file made of it, and how it is to be used."""

    source: bytes
    data: bytes
    labels: Sequence[str]
    preprocess: Preprocess
    arena: Arena
    softmax: bool


def label_line(names: Sequence[str], comma: str, warn: Callable[[str], None]) -> tuple[str, ...]:
    """The names as they may stand between commas on one line; a comma within a name becomes `comma`.

    Raises:
        ExportError: a name holds a line break, has a blank at an end, holds a comma and `comma` cannot stand for it, or
            becomes the same as another.
    """
    for name in names:
        if name.splitlines() != [name] or name != name.strip():
            raise ExportError(
                f"The class name {name!r} cannot stand in Edge Impulse's line of labels: it has a line break, or a "
                "blank at an end.",
                "Rename the class.",
            )
    held = [name for name in names if "," in name]
    if held and (not comma or comma == "," or comma.isspace()):
        raise ExportError(
            f"The class name {held[0]!r} holds a comma, at which Edge Impulse's line of labels would break.",
            "Rename the class, or say what is to stand for the comma: --comma ';'.",
        )
    written = tuple(name.replace(",", comma) for name in names)
    if len(set(written)) != len(written):
        twice = next(name for name in written if written.count(name) > 1)
        raise ExportError(f"With {comma!r} for commas two classes are called {twice!r}.", "Choose another --comma.")
    if held:
        warn(f"Edge Impulse will show {written[names.index(held[0])]!r} for {held[0]!r}: names there have no commas.")
    return written


def parameters(upload: Upload) -> bytes:
    """parameters.json: `request` is the body that Edge Impulse's interface takes; beside it what featherlite knows."""
    before, after = inspect(upload.source), inspect(upload.data)
    document: dict[str, Any] = {
        "request": {
            "input": {
                "inputType": "image",
                "inputScaling": INPUT_SCALING,
                "resizeMode": _RESIZE[upload.preprocess.fit][0],
            },
            "model": {"modelType": "classification", "labels": list(upload.labels)},
        },
        "artefact": {
            "file": "upload.tflite",
            "bytes": len(upload.data),
            "sha256": hashlib.sha256(upload.data).hexdigest(),
            "made_from_sha256": hashlib.sha256(upload.source).hexdigest(),
            "input": {"dtype": "int8", "shape": list(after.input.shape), "scale": after.input.scale, "zero_point": 0},
            "input_of_the_original": {"scale": before.input.scale, "zero_point": before.input.zero_point},
            "output": {
                "meaning": "probabilities" if upload.softmax else "logits",
                "dtype": "int8",
                "shape": list(after.output.shape),
                "scale": after.output.scale,
                "zero_point": after.output.zero_point,
            },
            "operations": dict(sorted(after.op_counts.items())),
        },
        "arena_bytes_of_the_original": {"bytes": upload.arena.bytes, "measured": upload.arena.measured},
        "preprocess": upload.preprocess.model_dump(mode="json"),
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def readme(upload: Upload) -> str:
    """README.txt: what to choose in the form, what is known and what is not."""
    _, height, width, _ = inspect(upload.source).input.shape
    _, resize, resize_means = _RESIZE[upload.preprocess.fit]
    return f"""\
FOR EDGE IMPULSE: "UPLOAD YOUR MODEL"

In a new project, on the Dashboard, choose "Upload your model".

Step 1
  The model               upload.tflite ({len(upload.data):,} bytes)
  Representative features none: the network is quantized already

Step 2
  Model input             Image ({width}x{height}, RGB; the size is read from the file)
  Input scaling           the entry for {INPUT_SCALING}
  Resize mode             {resize}: {resize_means}
  Model output            Classification
  Output labels           the one line of labels.txt ({len(upload.labels)} names)

Then try a few photos of your own under "Check model behavior" before you save: what comes out must be what
`featherlite predict` says of the same photos. parameters.json holds the same choices as Edge Impulse's interface takes
them (POST /api/PROJECT/pretrained-model/save).

WHY -128..127
  The network takes pixel - 128 as it is. With this entry Edge Impulse computes just that, because upload.tflite says
  that one step of its input is 1; in all else it is featherlite's int8 artefact. (exports/int8/model.tflite says 1/128
  and is not for upload.) The other entries are wrong for this file, -1..1 among them: in the C++ library of June 2026
  the code for int8 images passes that entry over.

THE OUTPUT
{_output_text(upload.softmax)}

KNOWN, AND NOT
  Known: the entries of the form and the names of the parameters, from Edge Impulse's documentation; the arithmetic of
  the input on a device, from the source of its C++ library (June 2026); that the logits in upload.tflite are those of
  featherlite's own artefact to the last bit, in LiteRT's reference kernels.
  Not known: the form was not seen, and nothing was uploaded from here. How Edge Impulse itself scales a photo down: it
  is not featherlite's filter, so levels differ a little. How much memory its compiler needs: featherlite's artefact
  needs {upload.arena.bytes:,} bytes of arena in TensorFlow Lite Micro ({_arena_text(upload.arena)}).
"""


def _output_text(softmax: bool) -> str:
    if softmax:
        return """\
  upload.tflite ends with a softmax in int8: probabilities in steps of 1/256. featherlite's own artefact has none."""
    return """\
  upload.tflite gives logits, not probabilities: the largest is the answer, and scores are below 0 and above 1. The
  softmax of the logits are the probabilities; without --no-softmax it is part of the file."""


def _arena_text(arena: Arena) -> str:
    return "as measured" if arena.measured else "an estimate"
