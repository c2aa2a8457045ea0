"""Proof that each artefact answers as its network does, on every runtime at hand; a disagreement fails the run."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from featherlite.bundle import Bundle
from featherlite.errors import BundleError, ExportError, MissingExtraError, RequestError, VerificationError
from featherlite.step import Context, StepConfig, step

if TYPE_CHECKING:
    from featherlite.data.photos import PhotoSet
    from featherlite.evaluate.checks import Bounds
    from featherlite.runtime.flatbuffer import ArtefactFacts

RuntimeName = Literal["litert", "litert_reference", "tflm"]

FLOATS = ("float32", "float16")
"""Artefacts that answer as the network does but for rounding."""


class VerifyConfig(StepConfig):
    """Where the artefacts run, and how far they may differ.

    Steps of the output (LSB) are compared among the int8 runtimes, where arithmetic leaves little room: the reference
    kernels and TensorFlow Lite Micro agree exactly or within 1. XNNPACK, the default, rounds differently in every
    layer: 4 to 6 steps were measured at the end of a MobileNetV1 and 10 at that of a MobileNetV2, while a kernel that
    computes something else is off by a large part of the 255. Against the float network only answers are compared:
    quantization moves logits by design, and what matters is whether the species changes. On photos that lie between
    two species it may change for nothing, so the bound on agreement is wider than the one on lost top-1.
    """

    split: Literal["val", "test"] = "test"
    """the photos to compare on, all of them"""
    runtimes: tuple[RuntimeName, ...] | None = None
    """runtimes to use; all at hand by default"""
    max_lsb: int = Field(1, ge=0, le=255)
    """largest difference between TensorFlow Lite Micro and the reference kernels"""
    max_lsb_default: int = Field(24, ge=0, le=255)
    """largest difference between the default and the reference kernels"""
    max_lsb_float: int = Field(8, ge=0, le=255)
    """largest difference between a float artefact and the network, in 255ths of the range of its logits"""
    min_agreement: float = Field(0.9, ge=0, le=1)
    """share of photos on which network and artefact must give the same answer (95% interval)"""
    max_loss: float = Field(0.02, ge=0, le=1)
    """top-1 that may be lost against the network"""
    max_flash_bytes: int | None = Field(None, ge=1)
    """largest artefact in integers (int8, int16x8) that fits the device"""
    max_arena_bytes: int | None = Field(None, ge=1)
    """largest working memory in TensorFlow Lite Micro that fits the device"""

    @model_validator(mode="after")
    def _is_compared(self) -> VerifyConfig:
        for key, runtime in {"max_lsb": "tflm", "max_lsb_default": "litert"}.items():
            asked = getattr(self, key) != type(self).model_fields[key].default
            if asked and self.runtimes is not None and not {runtime, "litert_reference"} <= {*self.runtimes}:
                raise ValueError(f"{key} does nothing without {runtime} and litert_reference among the runtimes")
        return self


@dataclass(frozen=True)
class Verified:
    """verify.json, and the logits float32 [n, classes] of what speaks for the bundle."""

    document: dict[str, Any]
    photos: PhotoSet
    logits: NDArray[np.float32] | None


@step(needs=("splits", "network", "labels", "preprocess", "export:*"), reads_test=True)
def verify(bundle: Bundle, config: VerifyConfig, ctx: Context) -> Bundle:
    """The bundle with verify.json, and with the scores of what speaks for it on the same photos.

    Raises:
        VerificationError: an artefact disagrees beyond a bound, does not fit, or was run by none of the runtimes; the
            full document is in the details.
        RequestError: the bundle has no export, or the split no photos.
        BundleError: what the bundle says to speak for it is not there.
        MissingExtraError: a runtime was asked for by name and is not installed.
    """
    from featherlite.evaluate.checks import remedy
    from featherlite.evaluate.measure import with_scores

    verified = _verify(bundle, config, ctx)
    exports = verified.document["exports"]
    ctx.record("exports", exports)
    failures = [f"{entry['name']}: {failure}" for entry in exports for failure in entry["failures"]]
    if failures or verified.logits is None:
        hint = remedy([failure for entry in exports for failure in entry["failures"]])
        raise VerificationError("Verification failed:\n" + "\n".join(f"  - {line}" for line in failures), hint)
    scored = with_scores(bundle, verified.photos, verified.logits, bundle.subject)
    return scored.with_json("verify.json", verified.document)


def _verify(bundle: Bundle, config: VerifyConfig, ctx: Context) -> Verified:
    from featherlite.data.photos import load_photos
    from featherlite.data.splits import read_splits
    from featherlite.evaluate.measure import predict_logits

    if not bundle.exports:
        raise RequestError("The bundle has no export to verify.", "Run the step 'quantize' or 'export' first.")
    if bundle.subject not in ("network", *bundle.exports):
        raise BundleError(
            f"The bundle says that its export '{bundle.subject}' speaks for it, and has none of that name; it has: "
            f"{', '.join(bundle.exports)}.",
            "Run the step 'quantize' or 'export' again.",
        )
    runtimes = _runtimes_at_hand(config, ctx)
    photos = load_photos(bundle, config.split, ctx)
    if not len(photos.labels):
        raise RequestError(f"The {config.split} split has no photos to verify on.", "Split with a larger share.")
    ctx.progress.start("the network", len(photos.labels))
    network = predict_logits(bundle, photos, "network", ctx.progress)
    ctx.progress.finish()
    spoken = network if bundle.subject == "network" else None
    entries = []
    for name in bundle.exports:
        entry, logits = _Verification(bundle, photos, network, config, ctx, runtimes).of(name)
        entries.append(entry)
        if name == bundle.subject:
            spoken = logits
    facts = {"split": config.split, "n": len(photos.labels), "split_hash": read_splits(bundle).hash}
    return Verified({**facts, "exports": entries}, photos, spoken)


def _runtimes_at_hand(config: VerifyConfig, ctx: Context) -> tuple[str, ...]:
    wanted = config.runtimes or ("litert", "litert_reference", "tflm")
    if "tflm" not in wanted or find_spec("tflite_micro") is not None:
        return wanted
    error = MissingExtraError("mcu", "Verification in TensorFlow Lite Micro")
    if config.runtimes:
        raise error
    ctx.warn(f"Not verified in TensorFlow Lite Micro: not at hand. {error.hint}")
    return tuple(name for name in wanted if name != "tflm")


@dataclass(frozen=True)
class _Verification:
    """What the verification of every export of a bundle shares."""

    bundle: Bundle
    photos: PhotoSet
    network: NDArray[np.float32]
    config: VerifyConfig
    ctx: Context
    runtimes: tuple[str, ...]

    def of(self, name: str) -> tuple[dict[str, Any], NDArray[np.float32] | None]:
        """The entry of one export in verify.json, and its logits float32 [n, classes] where it ran."""
        from featherlite.evaluate.checks import MADE, identity_failures
        from featherlite.evaluate.measure import artefact_bytes
        from featherlite.models.artefact import LABELS, PREPROCESS, labels_text, ops_of, tensor_document
        from featherlite.models.export_facts import export_facts
        from featherlite.runtime.flatbuffer import inspect, read_metadata
        from featherlite.runtime.order import INTEGERS

        data = artefact_bytes(self.bundle, name)
        export = export_facts(self.bundle, name)
        facts = inspect(data)
        wanted = ((LABELS, labels_text(self.bundle)), (PREPROCESS, self.bundle.preprocess.model_dump_json().encode()))
        inside = [(entry, read_metadata(data, entry), content) for entry, content in wanted]
        failures = identity_failures(export, data, self.bundle.read("model.keras"), inside)
        int8 = export.get("dtype") == "int8"
        if int8 and not facts.int8_only:
            failures.append(f"{MADE}: not int8 throughout: {'; '.join(facts.not_int8[:6])}")
        rows, logits, arena = self._run(name, data, facts, export, failures)
        if export.get("dtype") in INTEGERS:
            failures += self._too_large(name, facts, len(data), arena)
        entry = {
            "name": name,
            "bytes": len(data),
            "weights_bytes": facts.weights_bytes,
            "int8_only": facts.int8_only,
            "not_int8": list(facts.not_int8) if int8 else [],
            "arena_bytes": arena,
            "ops": ops_of(facts),
            "input": tensor_document(facts.input),
            "output": tensor_document(facts.output),
            "runtimes": rows,
            "bounds": self.config.model_dump(exclude={"split", "runtimes"}),
            "passed": not failures,
            "failures": failures,
        }
        return entry, logits

    def _too_large(self, name: str, facts: ArtefactFacts, size: int, arena: int | None) -> list[str]:
        """What does not fit the device; of a limit that nothing could be held against, a warning tells."""
        from featherlite.evaluate.checks import BUDGETS, budget_failures
        from featherlite.models.memory_plan import activation_bytes

        limit = self.config.max_arena_bytes
        least = activation_bytes(facts) if arena is None else arena  # an arena is larger than the activations
        if limit is not None and arena is None and least <= limit:
            self.ctx.warn(
                f"max_arena_bytes was not checked for exports/{name}: only TensorFlow Lite Micro tells its arena, "
                "and it did not run there."
            )
        needed = ((size, self.config.max_flash_bytes), (least, limit))
        return budget_failures(dict(zip(BUDGETS, needed, strict=True)))

    def _run(
        self, name: str, data: bytes, facts: ArtefactFacts, export: dict[str, Any], failures: list[str]
    ) -> tuple[dict[str, Any], NDArray[np.float32] | None, int | None]:
        """Rows by runtime, the logits that count, and the arena; what fails is added to `failures`."""
        from featherlite.evaluate.checks import compare
        from featherlite.evaluate.measure import dequantized
        from featherlite.history import wilson
        from featherlite.models.export_facts import refused_by_tflm
        from featherlite.runtime.order import INTEGERS, speaking_order

        dtype = str(export.get("dtype"))
        int8, integers = dtype == "int8", dtype in INTEGERS
        raw, arena = self._outputs(name, data, integers, refused_by_tflm(export) if integers else "", failures)
        labels, n, split = self.photos.labels, len(self.photos.labels), self.photos.split
        hits = int((self.network.argmax(axis=1) == labels).sum())
        rows: dict[str, Any] = {"keras": {"top1": wilson(hits, n, split).model_dump(), "agreement": 1.0, "max_lsb": 0}}
        size = facts.output.scale if int8 and facts.output.scale else max(float(np.ptp(self.network)), 1e-6) / 255
        reference = raw.get("litert_reference")
        all_logits = {runtime: dequantized(outputs, facts.output) for runtime, outputs in raw.items()}
        for runtime, logits in all_logits.items():
            lsb: NDArray[np.float64] | None = None
            if dtype in FLOATS:
                lsb = (logits.astype(np.float64) - self.network) / size
            elif reference is not None:
                lsb = (raw[runtime].astype(np.float64) - reference) / (1 if int8 else size)
            found = compare(runtime, logits, self.network, labels, lsb, size, self._bounds(integers), split)
            rows[runtime] = found.row
            failures += found.failures
        spoken = next((all_logits[one] for one in speaking_order(dtype) if one in all_logits), None)
        return rows, spoken, arena

    def _bounds(self, integers: bool) -> Bounds:
        from featherlite.evaluate.checks import Bounds

        config = self.config
        default = config.max_lsb_default if integers else config.max_lsb_float
        return Bounds(config.max_lsb, default, config.min_agreement, config.max_loss)

    def _outputs(
        self, name: str, data: bytes, integers: bool, refused: str, failures: list[str]
    ) -> tuple[dict[str, NDArray[Any]], int | None]:
        """What each runtime puts out for all photos, int8 or float32 [n, classes], and TFLM's arena."""
        from featherlite.evaluate.checks import UNABLE, UNRUN, frame_failures, golden_failures
        from featherlite.evaluate.measure import artefact_raw, cores
        from featherlite.models.golden import read_golden
        from featherlite.runtime.interpreter import TFLMRuntime, open_runtime

        golden = read_golden(self.bundle.read(f"exports/{name}/golden.npz"), f"exports/{name}/golden.npz")
        if golden.frames is not None:
            made = np.stack([self.bundle.preprocess.enhance(frame) for frame in golden.frames])
            failures += frame_failures(golden.inputs, made)
        # The reference kernels, which are slow, stand for a microcontroller, and that takes integers alone.
        able = self.runtimes if integers else tuple(which for which in self.runtimes if which == "litert")
        if refused and "tflm" in able:
            able = tuple(which for which in able if which != "tflm")
            failures.append(f"{UNABLE}: {refused}")
        elif not able:
            failures.append(f"{UNRUN}: none of those asked for ({', '.join(self.runtimes)}) runs it")
        outputs: dict[str, NDArray[Any]] = {}
        arena = None
        for which in self.runtimes:
            self.ctx.progress.start(f"{name} in {which}", len(self.photos.labels))
            try:
                if which == "litert_reference":
                    answered = open_runtime(which, data).run_raw(golden.inputs)
                    failures += golden_failures(golden.outputs, answered)
                if which in able:
                    runtime = open_runtime(which, data, threads=cores())
                    outputs[which] = artefact_raw(runtime, self.photos, self.ctx.progress)
                    arena = runtime.arena_bytes if isinstance(runtime, TFLMRuntime) else arena
            except (ExportError, BundleError) as error:
                failures.append(f"{which}: {error.message}")
            self.ctx.progress.finish()
        return outputs, arena
