"""A .tflite of any make as a teacher: its logits and the features before them, read from inside the graph."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.data.pool import worker_count
from featherlite.errors import ExportError, RequestError
from featherlite.preprocess import Preprocess
from featherlite.runtime.flatbuffer import ArtefactFacts, OpFacts, TensorFacts, inspect
from featherlite.training.teachers.convention import Convention
from featherlite.training.teachers.teacher import Answer, Teacher, TeacherFacts

__all__ = ["ArtefactTeacher", "Taps", "classifier_fault", "taps_of"]

KINDS = ("float32", "uint8", "int8")
SQUASHING = ("SOFTMAX", "LOGISTIC")
PASSED = ("RESHAPE", "SQUEEZE", "QUANTIZE", "DEQUANTIZE")
"""Operations that change how logits are stored, not what they say."""
BETWEEN = (*PASSED, "MEAN", "AVERAGE_POOL_2D", "ADD")
"""What may stand between the last layer with weights and the logits."""
WEIGHTED = ("FULLY_CONNECTED", "CONV_2D")


@dataclass(frozen=True)
class Taps:
    """The tensors that are read: logits, and the features that the last layer with weights reads, where there are."""

    logits: TensorFacts
    features: TensorFacts | None


class ArtefactTeacher(Teacher):
    """A .tflite that classifies photos; as many of them at once as there are cores.

    Raises:
        RequestError: LiteRT refuses it.
    """

    def __init__(
        self, name: str, data: bytes, labels: tuple[str, ...], preprocess: Preprocess, convention: Convention
    ) -> None:
        facts = inspect(data)
        self._photo, self._taps, self._convention = facts.input, taps_of(facts), convention
        self._interpreters = [_interpreter(name, data) for _ in range(worker_count())]
        told = f"artefact/1/{convention.mean}/{convention.std}/{convention.levels}/".encode()
        features = self._taps.features
        super().__init__(
            TeacherFacts(
                name=name,
                identity=hashlib.sha256(told + data).hexdigest(),
                labels=labels,
                preprocess=preprocess,
                parameters=sum(prod(tensor.shape) for tensor in facts.tensors if tensor.constant_bytes),
                features=features.shape[-1] if features is not None else 0,
            )
        )

    def answer(self, photos: NDArray[np.float32]) -> Answer:
        """As `Teacher.answer`."""
        inputs = self._convention(photos, self._photo)
        shares = np.array_split(inputs, min(len(self._interpreters), max(1, len(inputs))))
        with ThreadPoolExecutor(len(shares)) as pool:
            parts = list(pool.map(self._feed, self._interpreters, shares))
        return Answer(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _feed(self, interpreter: Any, inputs: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        logits = np.empty((len(inputs), self._taps.logits.shape[-1]), np.float32)
        features = np.empty((len(inputs), self.facts.features), np.float32)
        try:
            for row, photo in enumerate(inputs):
                interpreter.set_tensor(self._photo.index, photo[None])
                interpreter.invoke()
                logits[row] = _read(interpreter, self._taps.logits)
                if self._taps.features is not None:
                    features[row] = _read(interpreter, self._taps.features)
        except (RuntimeError, ValueError) as error:
            raise ExportError(f"LiteRT failed while it asked the teacher {self.facts.name}: {error}.") from error
        return logits, features


def classifier_fault(facts: ArtefactFacts) -> str | None:
    """Why an artefact is no classifier of single photos, as half a sentence; None where it is one."""
    if len(facts.inputs) != 1 or len(facts.outputs) != 1:
        return f"it has {len(facts.inputs)} inputs and {len(facts.outputs)} outputs instead of one each"
    photo, answer = facts.input, facts.output
    if len(photo.shape) != 4 or photo.shape[0] != 1 or photo.shape[3] != 3 or photo.dtype not in KINDS:
        return f"its input is {photo.dtype} {list(photo.shape)} instead of photos [1, height, width, 3]"
    if not answer.shape or answer.shape[-1] < 2 or prod(answer.shape[:-1]) != 1 or answer.dtype not in KINDS:
        return f"its output is {answer.dtype} {list(answer.shape)} instead of one number a class, [1, classes]"
    plain = [one for one in (photo, answer) if one.dtype != "float32" and (one.scale is None or one.zero_point is None)]
    return f"its {plain[0].dtype} tensor '{plain[0].name}' has no scale" if plain else None


def taps_of(facts: ArtefactFacts) -> Taps:
    """Where logits and features are read: before the softmax, where there is one, and before the last dense layer."""
    makers = {output: op for op in facts.ops for output in op.outputs}
    logits = _before_softmax(facts, makers)
    place = logits.index
    while (op := makers.get(place)) is not None and op.name in BETWEEN:
        place = _computed_input(facts, op)
    features = facts.tensors[_computed_input(facts, op)] if op is not None and op.name in WEIGHTED else None
    return Taps(logits, features if features is not None and _readable(features) else None)


def _before_softmax(facts: ArtefactFacts, makers: dict[int, OpFacts]) -> TensorFacts:
    place = facts.output.index
    while (op := makers.get(place)) is not None and op.name in PASSED:
        place = op.inputs[0]
    if op is None or op.name not in SQUASHING:
        return facts.output
    found = facts.tensors[op.inputs[0]]
    return found if _readable(found) and found.shape[-1] == facts.output.shape[-1] else facts.output


def _computed_input(facts: ArtefactFacts, op: OpFacts) -> int:
    """The first input that is no constant; the first of all where every one is."""
    return next((place for place in op.inputs if place >= 0 and not facts.tensors[place].constant_bytes), op.inputs[0])


def _readable(tensor: TensorFacts) -> bool:
    known = tensor.dtype == "float32" or (tensor.scale is not None and tensor.zero_point is not None)
    batch = len(tensor.shape) in (2, 4) and tensor.shape[0] == 1 and prod(tensor.shape) > 0
    return tensor.dtype in KINDS and known and batch and not tensor.constant_bytes


def _read(interpreter: Any, tensor: TensorFacts) -> NDArray[np.float32]:
    """The tensor's numbers, float32 [d], averaged over a map."""
    values = interpreter.get_tensor(tensor.index).astype(np.float32)
    if tensor.dtype != "float32":
        assert tensor.scale is not None
        assert tensor.zero_point is not None
        values = (values - np.float32(tensor.zero_point)) * np.float32(tensor.scale)
    return np.asarray(values.reshape(-1, tensor.shape[-1]).mean(axis=0, dtype=np.float32))


def _interpreter(name: str, data: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        interpreter = Interpreter(
            model_content=data,
            num_threads=1,
            # A delegate would swallow the tensors inside the graph.
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise RequestError(f"LiteRT refuses the teacher {name}: {' '.join(str(error).split())[:300]}.") from error
    return interpreter
