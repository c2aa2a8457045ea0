"""A Keras network as a LiteRT artefact: in float32 or float16, or with its weights or all of it in integers."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import ExportError, MissingExtraError, RequestError
from featherlite.models.prescribed import NO_KERNEL, layers_of
from featherlite.runtime.flatbuffer import ArtefactFacts, contract_fault, inspect
from featherlite.runtime.worker import run_worker

__all__ = ["CALIBRATED", "ArtefactType", "Converted", "convert"]

ArtefactType = Literal["float32", "float16", "int8", "int8-weights", "int16x8"]
"""int8-weights keeps weights alone in int8 ("dynamic range"); int16x8 has int16 between int8 kernels."""

CALIBRATED: Final = ("int8", "int16x8")
"""The forms whose activations are integers, with ranges measured on photos."""

_WITHIN: Final[Mapping[str, frozenset[str]]] = {
    "int8": frozenset(("int8", "int32")),
    "int16x8": frozenset(("int16", "int8", "int32", "int64")),
}
"""What the tensors of an artefact in integers may be."""

_ENVIRONMENT: Final = {
    "KERAS_BACKEND": "tensorflow",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


@dataclass(frozen=True)
class Converted:
    """An artefact as the converter left it, with what is known of the network's `layers` in it.

    `absent` are those for which a range was prescribed though the artefact does not store their output.
    """

    facts: ArtefactFacts
    layers: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    def layers_of(self, kinds: Sequence[str]) -> tuple[str, ...]:
        """Names of the network's layers that operations of these kinds compute, in the order of execution."""
        found: dict[str, None] = {}
        for op in self.facts.ops:
            if op.name in kinds and op.outputs:
                names = layers_of(self.facts.tensors[op.outputs[0]].name, self.layers)
                found |= dict.fromkeys(names[-1:])
        return tuple(found)


def convert(
    model_file: Path,
    out: Path,
    dtype: ArtefactType,
    representative: NDArray[np.uint8] | None = None,
    *,
    kernels: Literal["channel", "tensor"] = "channel",
    ranges: Mapping[str, tuple[float, float]] | None = None,
    timeout_s: float = 3600.0,
) -> Converted:
    """`out`, the LiteRT artefact of the network in `model_file` (.keras), with a static batch of one.

    `representative` is uint8 [n, height, width, 3]; int8 and int16x8 need it, the others ignore it. Ranges are the true
    minimum and maximum over the whole set, as the converter sees them (what is added to or multiplied in place counts
    twice); `ranges` (int8 alone) prescribes others for the outputs of layers, by name.
    int8 is int8 in and out, and its input is exactly `pixel - 128`; the other forms are float32 at both ends.
    `kernels` says what shares a scale. The conversion runs in a process of its own on the TensorFlow backend, so the
    caller's backend does not matter.

    Raises:
        MissingExtraError: TensorFlow or Keras is not installed.
        RequestError: representative photos are missing, or are no uint8 photos.
        ExportError: the converter failed, or an operation cannot be computed in integers (it is named with its layers).
    """
    if find_spec("tensorflow") is None or find_spec("keras") is None:
        raise MissingExtraError("train", "Conversion to LiteRT")
    if not model_file.is_file():
        raise RequestError(f"There is no network at {model_file}.", "Give the model.keras of a bundle.")
    with tempfile.TemporaryDirectory(prefix="featherlite-convert-") as folder:
        artefact, order, told = (Path(folder, name) for name in ("model.tflite", "order.json", "told.json"))
        photos = _stored(representative, dtype, Path(folder, "photos.npy")) if dtype in CALIBRATED else None
        wanted = {"form": dtype, "kernels": kernels, "ranges": None if ranges is None else dict(ranges)}
        files = {"photos": None if photos is None else str(photos), "tell": str(told)}
        order.write_text(json.dumps(wanted | files), "utf-8")
        try:
            run_worker(
                "featherlite.models.convert_worker",
                [str(model_file.resolve()), str(artefact), str(order)],
                what=f"The conversion to {dtype}",
                timeout_s=timeout_s,
                environment=_ENVIRONMENT,
            )
        except ExportError as error:
            raise _explained(error, dtype, _told(told, "blamed")["blamed"]) from None
        data = artefact.read_bytes()
        converted = Converted(inspect(data), **_told(told, "layers", "absent"))
    _check(converted, dtype)
    partial = out.with_name(out.name + ".part")
    partial.write_bytes(data)
    partial.replace(out)
    return converted


def _told(file: Path, *keys: str) -> dict[str, tuple[str, ...]]:
    """What the worker told of layers; nothing where it did not come as far."""
    known = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return {key: tuple(known.get(key, ())) for key in keys}


def _stored(photos: NDArray[np.uint8] | None, dtype: str, path: Path) -> Path:
    if photos is None or not len(photos):
        raise RequestError(
            f"Quantizing to {dtype} needs representative photos, and none were given.", "Give 100 to 500."
        )
    if photos.dtype != np.uint8 or photos.ndim != 4:
        raise RequestError(f"Representative photos are uint8 [n, height, width, 3], not {photos.dtype} {photos.shape}.")
    np.save(path, photos, allow_pickle=False)
    return path


def _explained(error: ExportError, dtype: str, layers: Sequence[str]) -> ExportError:
    """The error in terms of layers, where the converter names the operation that it has no kernel for."""
    names = sorted(set(re.findall(NO_KERNEL, error.message)))
    if not names:
        return error
    return ExportError(f"LiteRT has no {dtype} kernel for {', '.join(names)}{_at(layers)}.", REMEDY)


REMEDY: Final = (
    "Replace what needs it: `swap_activation` puts relu6, relu or hard_swish in the place of an activation, `fold` "
    "takes up BatchNorm and constants, and another form (`--scheme float16`) keeps the network as it is."
)
"""What to do about a layer that has no integer form."""


def _at(layers: Sequence[str]) -> str:
    """The layers in brackets, a few of them by name."""
    if not layers:
        return ""
    shown = ", ".join(f"'{name}'" for name in layers[:6])
    more = f" and {len(layers) - 6} more" if len(layers) > 6 else ""
    return f" (layer{'s' if len(layers) > 1 else ''} {shown}{more})"


def _check(converted: Converted, dtype: str) -> None:
    facts = converted.facts
    fault = contract_fault(facts)
    if fault:
        raise ExportError(f"The converted network breaks the contract of featherlite: {fault}.")
    last = [op.name for op in facts.ops if op.name not in ("QUANTIZE", "DEQUANTIZE")][-1:]
    if last and last[0] in ("SOFTMAX", "LOG_SOFTMAX", "LOGISTIC"):
        raise ExportError(f"The network ends in {last[0]}.", "Cut it: artefacts return logits.")
    if dtype not in _WITHIN:
        return
    names = _float_operations(facts, _WITHIN[dtype])
    whole = dtype != "int8" or (facts.int8_only and facts.input.dtype == facts.output.dtype == "int8")
    if names or not whole:
        ops = ", ".join(f"{name}{_at(converted.layers_of([name]))}" for name in names) or "; ".join(facts.not_int8[:4])
        raise ExportError(f"The network cannot be computed in {dtype} alone; not in {dtype}: {ops}.", REMEDY)


def _float_operations(facts: ArtefactFacts, within: frozenset[str]) -> list[str]:
    """The operations that compute in something else, each once, without the conversions around them."""
    names = {
        op.name: None
        for op in facts.ops
        if op.name not in ("QUANTIZE", "DEQUANTIZE")
        and any(facts.tensors[index].dtype not in within for index in (*op.inputs, *op.outputs) if index >= 0)
    }
    return list(names)
