"""A Keras network as a LiteRT artefact: float32, float16, or int8 in every operation."""

from __future__ import annotations

import re
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import ExportError, MissingExtraError, RequestError
from featherlite.runtime.flatbuffer import ArtefactFacts, contract_fault, inspect
from featherlite.runtime.worker import run_worker

__all__ = ["ArtefactType", "convert"]

ArtefactType = Literal["float32", "float16", "int8"]

_ENVIRONMENT: Final = {
    "KERAS_BACKEND": "tensorflow",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


def convert(
    model_file: Path,
    out: Path,
    dtype: ArtefactType,
    representative: NDArray[np.uint8] | None = None,
    *,
    timeout_s: float = 3600.0,
) -> None:
    """`out`, the LiteRT artefact of the network in `model_file` (.keras), with a static batch of one.

    `representative` is uint8 [n, height, width, 3]; int8 needs it, the others ignore it. Ranges are the true
    minimum and maximum over the whole set. int8 is per channel, int8 in and out, and its input is exactly
    `pixel - 128`. The conversion runs in a process of its own on the TensorFlow backend, so the caller's
    backend does not matter.

    Raises:
        MissingExtraError: TensorFlow or Keras is not installed.
        RequestError: representative photos are missing, or are no uint8 photos.
        ExportError: the converter failed, or an operation cannot be computed in int8 (it is named).
    """
    if find_spec("tensorflow") is None or find_spec("keras") is None:
        raise MissingExtraError("train", "Conversion to LiteRT")
    if not model_file.is_file():
        raise RequestError(f"There is no network at {model_file}.", "Give the model.keras of a bundle.")
    arguments = [str(model_file.resolve()), "", dtype]
    with tempfile.TemporaryDirectory(prefix="featherlite-convert-") as folder:
        artefact = Path(folder, "model.tflite")
        arguments[1] = str(artefact)
        if dtype == "int8":
            arguments.append(str(_stored(representative, Path(folder, "representative.npy"))))
        try:
            run_worker(
                "featherlite.models.convert_worker",
                arguments,
                what=f"The conversion to {dtype}",
                timeout_s=timeout_s,
                environment=_ENVIRONMENT,
            )
        except ExportError as error:
            raise _explained(error, dtype) from None
        data = artefact.read_bytes()
    _check(inspect(data), dtype)
    partial = out.with_name(out.name + ".part")
    partial.write_bytes(data)
    partial.replace(out)


def _stored(photos: NDArray[np.uint8] | None, path: Path) -> Path:
    if photos is None or not len(photos):
        raise RequestError("Quantizing to int8 needs representative photos, and none were given.", "Give 100 to 500.")
    if photos.dtype != np.uint8 or photos.ndim != 4:
        raise RequestError(f"Representative photos are uint8 [n, height, width, 3], not {photos.dtype} {photos.shape}.")
    np.save(path, photos, allow_pickle=False)
    return path


def _explained(error: ExportError, dtype: str) -> ExportError:
    """The error in terms of layers, where the converter names the operation that it has no kernel for."""
    names = sorted(set(re.findall(r"'(?:tf|tfl)\.(\w+)' op is neither", error.message)))
    if not names:
        return error
    return ExportError(
        f"LiteRT has no {dtype} kernel for {', '.join(names)}.",
        "Replace the layer that needs it by a plainer one.",
    )


def _check(facts: ArtefactFacts, dtype: str) -> None:
    fault = contract_fault(facts)
    if fault:
        raise ExportError(f"The converted network breaks the contract of featherlite: {fault}.")
    if facts.ops and facts.ops[-1].name in ("SOFTMAX", "LOG_SOFTMAX", "LOGISTIC"):
        raise ExportError(f"The network ends in {facts.ops[-1].name}.", "Cut it: artefacts return logits.")
    if dtype == "int8" and (not facts.int8_only or facts.input.dtype != "int8" or facts.output.dtype != "int8"):
        ops = ", ".join(_float_operations(facts)) or "; ".join(facts.not_int8[:4])
        raise ExportError(
            f"The network cannot be computed in int8 alone; not in int8: {ops}.",
            "Replace the layers behind these operations (ReLU6 and batch normalization are safe choices).",
        )


def _float_operations(facts: ArtefactFacts) -> list[str]:
    """The operations that compute in something else than int8, each once, without the conversions around
    them.
    """
    names = {
        op.name: None
        for op in facts.ops
        if op.name not in ("QUANTIZE", "DEQUANTIZE")
        and any(
            facts.tensors[index].dtype not in ("int8", "int32") for index in (*op.inputs, *op.outputs) if index >= 0
        )
    }
    return list(names)
