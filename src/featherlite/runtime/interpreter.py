"""An artefact, run: photos in, logits out, in LiteRT with its default kernels, in its reference kernels, in
TFLM.

The reference kernels are the desktop's stand-in for a device: they agree with TensorFlow Lite Micro, while
the default kernels (XNNPACK) round differently by a few steps of the last bit.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import BundleError, ExportError, MissingExtraError, RequestError, did_you_mean
from featherlite.preprocess import network_input
from featherlite.runtime.flatbuffer import ArtefactFacts, contract_fault, inspect
from featherlite.runtime.worker import run_worker

__all__ = ["RUNTIMES", "LiteRTReferenceRuntime", "LiteRTRuntime", "Runtime", "TFLMRuntime", "open_runtime"]

Photos = NDArray[np.uint8]
Place = TypeVar("Place")
Raw = NDArray[np.int8] | NDArray[np.float32]

PHOTOS_PER_PROCESS: Final = 16
"""Fewer photos than this are not worth another process."""

NOTICE: Final = b"Created TensorFlow Lite XNNPACK delegate"

_STDERR_LOCK = threading.Lock()


class Runtime(ABC):
    """One artefact, ready to run; `threads` is how many photos or parts of a photo are computed at once.

    Raises:
        BundleError: the artefact is damaged or breaks featherlite's contract.
        ExportError: the runtime refuses the artefact.
        MissingExtraError: the runtime is not installed.
    """

    name: ClassVar[str]

    def __init__(self, artefact: bytes | Path, threads: int = 1) -> None:
        if threads < 1:
            raise RequestError(f"{threads} threads were asked for; at least 1 is needed.")
        self.data = artefact.read_bytes() if isinstance(artefact, Path) else bytes(artefact)
        self.facts: ArtefactFacts = inspect(self.data)
        self.threads = threads
        fault = contract_fault(self.facts)
        if fault:
            raise BundleError(f"The artefact cannot be run: {fault}.", "Run an artefact that featherlite exported.")

    def run(self, photos: Photos) -> NDArray[np.float32]:
        """Logits, float32 [n, classes], of uint8 photos [n, height, width, 3]."""
        raw = self.run_raw(photos)
        output = self.facts.output
        if output.dtype == "float32" or output.scale is None or output.zero_point is None:
            return raw.astype(np.float32, copy=False)
        return (raw.astype(np.float32) - np.float32(output.zero_point)) * np.float32(output.scale)

    def run_raw(self, photos: Photos) -> Raw:
        """What the artefact itself puts out, [n, classes]: int8 of an int8 artefact, else float32 logits.

        Raises:
            RequestError: the photos are not uint8 [n, height, width, 3] of the artefact's size.
            ExportError: the runtime failed.
        """
        expected = self.facts.input.shape[1:]
        if photos.dtype != np.uint8 or photos.ndim != 4 or photos.shape[1:] != expected:
            raise RequestError(
                f"The artefact takes uint8 photos of {expected}, not {photos.dtype} of {photos.shape[1:]}.",
                "Prepare them with the preprocessing of the same bundle.",
            )
        if len(photos):
            return self._compute(photos)
        none = (0, self.facts.output.shape[1])
        return np.empty(none, np.int8) if self.facts.output.dtype == "int8" else np.empty(none, np.float32)

    def quantized(self, photos: Photos) -> Raw:
        """Photos as the artefact takes them: int8 `pixel - 128`, or float32 `(pixel - 128) / 128`."""
        if self.facts.input.dtype == "int8":
            # Flipping the top bit of pixel is pixel - 128 in two's complement, with no wider type in between.
            return (photos ^ np.uint8(128)).view(np.int8)
        return network_input(photos)

    @abstractmethod
    def _compute(self, photos: Photos) -> Raw: ...


class LiteRTRuntime(Runtime):
    """LiteRT with its default kernels; `threads` share one photo."""

    name = "litert"
    _resolver: ClassVar[str] = "AUTO"

    def __init__(self, artefact: bytes | Path, threads: int = 1) -> None:
        super().__init__(artefact, threads)
        self._lock = threading.Lock()
        self._interpreter = self._load(threads)

    def _load(self, threads: int) -> Any:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        try:
            with _without_delegate_notice():
                interpreter = Interpreter(
                    model_content=self.data,
                    num_threads=threads,
                    experimental_op_resolver_type=getattr(OpResolverType, self._resolver),
                )
                interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ExportError(f"LiteRT refuses the artefact: {_short(error)}.") from error
        return interpreter

    def stopwatch(self, photo: Photos) -> Callable[[], None]:
        """What computes this one photo, uint8 [height, width, 3], each time it is called: for timing."""
        tensor = self.quantized(photo)[None]
        source = self._interpreter.get_input_details()[0]["index"]
        target = self._interpreter.get_output_details()[0]["index"]

        def compute() -> None:
            self._interpreter.set_tensor(source, tensor)  # each time: its memory may serve other tensors afterwards
            self._interpreter.invoke()
            self._interpreter.get_tensor(target)

        return compute

    def _compute(self, photos: Photos) -> Raw:
        with self._lock:
            return self._feed(self._interpreter, photos)

    def _feed(self, interpreter: Any, photos: Photos) -> Raw:
        source = interpreter.get_input_details()[0]["index"]
        target = interpreter.get_output_details()[0]["index"]
        answers = []
        try:
            for photo in photos:
                interpreter.set_tensor(source, self.quantized(photo)[None])
                interpreter.invoke()
                answers.append(interpreter.get_tensor(target)[0])
        except (RuntimeError, ValueError) as error:
            raise ExportError(f"LiteRT failed while it ran the artefact: {_short(error)}.") from error
        return np.stack(answers)


class LiteRTReferenceRuntime(LiteRTRuntime):
    """LiteRT with its reference kernels, which know no threads: `threads` photos are computed at once."""

    name = "litert_reference"
    _resolver = "BUILTIN_REF"

    def _compute(self, photos: Photos) -> Raw:
        with self._lock:
            others = [self._load(1) for _ in range(min(self.threads, len(photos)) - 1)]
            return _in_parts(photos, [self._interpreter, *others], self._feed)


class TFLMRuntime(Runtime):
    """TensorFlow Lite Micro on the host, in `threads` processes of its own, since a wrong arena can crash
    it.
    """

    name = "tflm"

    def __init__(self, artefact: bytes | Path, threads: int = 1, timeout_s: float = 3600.0) -> None:
        super().__init__(artefact, threads)
        if find_spec("tflite_micro") is None:
            raise MissingExtraError("mcu", "TensorFlow Lite Micro")
        self.timeout_s = timeout_s
        self._account = ""

    @property
    def arena_bytes(self) -> int:
        """Working memory: activations and the interpreter's own structures, as the recording allocator counts
        them.

        The structures are those of a 64-bit host; a 32-bit device needs less for them.
        """
        return self._recorded("total")

    @property
    def arena_activation_bytes(self) -> int:
        """The part of the arena that holds activations, which is the same on a device."""
        return self._recorded("head")

    def _recorded(self, part: str) -> int:
        if not self._account:
            self._compute(np.zeros((1, *self.facts.input.shape[1:]), np.uint8))
        found = re.search(rf"Arena allocation {part} (\d+) bytes", self._account)
        if found is None:
            raise ExportError("TensorFlow Lite Micro told no arena size.", "Use the tflite-micro version of the extra.")
        return int(found[1])

    @cached_property
    def _reserved(self) -> int:
        """An arena that is never too small: every tensor at once, and room for structures."""
        computed = [tensor for tensor in self.facts.tensors if not tensor.constant_bytes]
        item = 1 if self.facts.int8_only else 4
        size = (4 << 20) + sum(prod(tensor.shape) * item + 64 for tensor in computed) + self.facts.flash_bytes
        return size // 16 * 16  # what is beyond the last full 16 bytes would be counted as used

    def _compute(self, photos: Photos) -> Raw:
        processes = max(1, min(self.threads, len(photos) // PHOTOS_PER_PROCESS))
        with tempfile.TemporaryDirectory(prefix="featherlite-tflm-") as folder:
            artefact = Path(folder, "model.tflite")
            artefact.write_bytes(self.data)
            parts = [Path(folder, str(number)) for number in range(processes)]
            return _in_parts(photos, parts, lambda part, some: self._process(artefact, part, some))

    def _process(self, artefact: Path, part: Path, photos: Photos) -> Raw:
        inputs, outputs = part.with_suffix(".in.npy"), part.with_suffix(".out.npy")
        np.save(inputs, self.quantized(photos), allow_pickle=False)
        self._account = run_worker(
            "featherlite.runtime.tflm_worker",
            [str(artefact), str(inputs), str(outputs), str(self._reserved)],
            what="TensorFlow Lite Micro",
            timeout_s=self.timeout_s,
        )
        answers: Raw = np.load(outputs, allow_pickle=False)
        return answers


def _in_parts(photos: Photos, places: list[Place], compute: Callable[[Place, Photos], Raw]) -> Raw:
    """`compute` of every place on its share of the photos, all at once; the answers in the photos' order."""
    shares = np.array_split(photos, len(places))
    with ThreadPoolExecutor(len(places)) as pool:
        return np.concatenate(list(pool.map(compute, places, shares)))


@contextmanager
def _without_delegate_notice() -> Iterator[None]:
    """Whatever C++ code writes to stderr meanwhile, without LiteRT's notice that it uses XNNPACK.

    The notice has no switch and would land in the output of every command and between progress bars.
    """
    with _STDERR_LOCK, tempfile.TemporaryFile() as said:
        try:
            before = os.dup(2)
        except OSError:  # a service may have closed it
            yield
            return
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            said.seek(0)
            for line in said:
                if NOTICE not in line:
                    os.write(before, line)
            os.close(before)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")


RUNTIMES: Final[dict[str, type[Runtime]]] = {
    runtime.name: runtime for runtime in (LiteRTRuntime, LiteRTReferenceRuntime, TFLMRuntime)
}


def open_runtime(name: str, artefact: bytes | Path, threads: int = 1) -> Runtime:
    """The runtime `name` with the artefact loaded.

    Raises:
        RequestError: there is no such runtime; and whatever `Runtime` raises.
    """
    if name not in RUNTIMES:
        raise RequestError(f"There is no runtime {name!r}.", did_you_mean(name, RUNTIMES))
    return RUNTIMES[name](artefact, threads)
