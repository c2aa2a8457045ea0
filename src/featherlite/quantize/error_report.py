"""Where quantization loses: layer by layer, the noise of an integer artefact against the float network it was made of.

Noise adds up on its way through a network, so a low ratio at a layer says little about that layer. What arises *at* it
is found by giving the float layers the artefact's own inputs; and what that alone does to the logits is found by adding
it to the float network at that one place. Noise of different layers is nearly independent, so these powers add up to
about the whole, and each layer has its share in what is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from featherlite.bundle import Bundle
from featherlite.errors import ExportError, RequestError
from featherlite.models.fusing import activation_name
from featherlite.models.layer_errors import ErrorReport, LayerError, Role
from featherlite.quantize.tally import Floats, Tally, decibels
from featherlite.step import Progress, Silent

if TYPE_CHECKING:
    from featherlite.data.photos import PhotoSet
    from featherlite.quantize.insides import Insides
    from featherlite.quantize.rerun import Rerun
    from featherlite.quantize.tensor_map import Place

__all__ = ["FORMS", "error_report"]

FORMS: Final = ("int8", "int16x8")
"""Exports whose activations are integers."""

PROBED: Final = 16
"""Photos on which each layer's own noise is followed to the logits; that takes most of the time."""

BATCH: Final = 8
MEMORY: Final = 400_000_000
"""Bytes that the outputs of all layers may take at once; a large network gets fewer photos in a batch."""


def error_report(bundle: Bundle, export: str, photos: PhotoSet, progress: Progress | None = None) -> ErrorReport:
    """Layer by layer, how far the export is from the bundle's float network on these photos, and what to do about it.

    The artefact runs in LiteRT's reference kernels. The answers of its last tensor are compared as well.

    Raises:
        RequestError: no photos; or an export whose activations are no integers.
        BundleError: there is no such export.
        ExportError: the export is not one of this network.
        MissingExtraError: Keras or TensorFlow is not installed.
    """
    from featherlite.models.network import load_network
    from featherlite.quantize.insides import Insides
    from featherlite.quantize.tensor_map import places

    form, facts = _form(bundle, export)
    if not len(photos.labels):
        raise RequestError(f"The split '{photos.split}' has no photos.", "Choose another split.")
    network = load_network(bundle)
    insides = Insides(bundle.read(f"exports/{export}/model.tflite"))
    found = places(network, insides.facts)
    if len(found) < 2 or found[-1].layer != network.outputs[0]._keras_history.operation.name:
        raise ExportError(
            f"The export '{export}' does not compute what the bundle's network does.",
            f"Make it anew: featherlite quantize IN OUT --scheme {form}.",
        )
    study = _Study(network, insides, found)
    told = progress or Silent()
    equalized = bool(facts.get("equalized_pairs"))
    told.start("looking into the artefact", len(photos.labels) * (2 if equalized else 1))
    if equalized:
        study.find_gains(photos.images, told)
    study.look(photos.images, photos.labels, told)
    told.finish()
    return study.report(export, photos.split, facts)


def _form(bundle: Bundle, export: str) -> tuple[str, dict[str, Any]]:
    bundle.read(f"exports/{export}/model.tflite")
    facts = bundle.read_json(f"exports/{export}/export.json")
    form = str(facts.get("dtype")) if isinstance(facts, dict) else ""
    if form not in FORMS:
        raise RequestError(
            f"The export '{export}' is {form or 'of an unknown form'}: its activations are not integers.",
            f"This looks into {' and '.join(FORMS)}; make one with the step 'quantize'.",
        )
    return form, facts


class _Study:
    """The network and its artefact side by side."""

    def __init__(self, network: Any, insides: Insides, found: Sequence[Place]) -> None:
        from featherlite.models.surgery.squeeze_excite import find_squeeze_excite
        from featherlite.quantize.rerun import Rerun

        self.rerun: Rerun = Rerun(network)
        self.insides, self.places = insides, found
        self.tallies = {one.layer: Tally(insides.facts.tensors[one.tensor]) for one in found}
        self.layers = {operation.name: operation for operation in network.operations}
        self.roles: dict[str, Role] = {block.product: "squeeze_excite" for block in find_squeeze_excite(network)}
        self.roles[found[-1].layer] = "logits"
        self.photos = self.probed = self.agreeing = self.right_float = self.right_export = 0
        self.signal = self.noise = self.probed_signal = self.probed_noise = 0.0
        size = 4 * sum(int(np.prod(one.output.shape[1:])) for one in network.operations if hasattr(one.output, "shape"))
        self.batch = max(1, min(BATCH, MEMORY // max(1, size)))

    def find_gains(self, images: Any, progress: Progress) -> None:
        """The factor of each channel by which an equalized artefact differs from the network: least squares."""
        sums: dict[str, NDArray[np.float64]] = {}
        for start in range(0, len(images), self.batch):
            photos = np.asarray(images[start : start + self.batch])
            floats, raw = self._both(photos)
            for place in self.places:
                channels = floats[place.layer].shape[-1]
                sides = (floats[place.layer], self._stored(place, raw))
                exact, stored = (one.reshape(-1, channels).astype(np.float64) for one in sides)
                crossed = np.stack([(exact * stored).sum(axis=0), (exact * exact).sum(axis=0)])
                sums[place.layer] = sums.get(place.layer, 0.0) + crossed
            progress.advance(len(photos))
        for layer, (crossed, squared) in sums.items():
            gain = np.where((crossed > 0) & (squared > 0), crossed / np.where(squared > 0, squared, 1.0), 1.0)
            self.tallies[layer].gain = gain.astype(np.float32)

    def look(self, images: Any, labels: NDArray[np.int64], progress: Progress) -> None:
        """Counts all photos in, each once."""
        batches = -(-len(images) // self.batch)
        for first in range(batches):
            # Splits lie in the order of their classes, and the first batches alone are probed: each spans all of them.
            photos = np.asarray(images[first::batches])
            floats, raw = self._both(photos)
            logits = floats[self.rerun.output]
            self._compare(logits, self._stored(self.places[-1], raw), labels[first::batches])
            given = {place.layer: self._restored(place, raw, floats) for place in self.places}
            owns = {place.layer: self._own(place, floats, raw, given) for place in self.places}
            if self.probed < PROBED:
                self.probed, self.probed_signal, self.probed_noise = self.photos, self.signal, self.noise
                self._probe(floats, owns, logits)
            progress.advance(len(photos))

    def _both(self, photos: NDArray[np.uint8]) -> tuple[dict[str, Any], dict[int, NDArray[Any]]]:
        floats = {name: np.asarray(value) for name, value in self.rerun.floats(photos).items()}
        return floats, self.insides.look(photos, [place.tensor for place in self.places])

    def _stored(self, place: Place, raw: Mapping[int, NDArray[Any]]) -> Floats:
        from featherlite.quantize.insides import dequantized

        return dequantized(raw[place.tensor], self.insides.facts.tensors[place.tensor])

    def _restored(self, place: Place, raw: Mapping[int, NDArray[Any]], floats: Mapping[str, Any]) -> Floats:
        """What the artefact has at a place, in the network's units and shape."""
        like = floats[place.layer]
        return np.asarray(self._stored(place, raw).reshape(like.shape) / self.tallies[place.layer].gain, np.float32)

    def _own(
        self, place: Place, floats: dict[str, Any], raw: Mapping[int, NDArray[Any]], given: Mapping[str, Floats]
    ) -> Floats:
        """The noise that arises at a place, in the network's units and shape."""
        exact = floats[place.layer]
        local, count = exact, len(exact)
        if place.parents:
            local = np.asarray(self.rerun.again(floats, {one: given[one] for one in place.parents}, place.layer))
        own = self.tallies[place.layer].add(
            raw[place.tensor], exact.reshape(count, -1), local.reshape(count, -1).astype(np.float32)
        )
        return own.reshape(exact.shape)

    def _probe(self, floats: dict[str, Any], owns: Mapping[str, Floats], logits: Floats) -> None:
        """What each layer's own noise, alone in the float network, does to the logits."""
        for name, own in owns.items():
            changed = floats[name] + own
            if name != self.rerun.output:
                changed = np.asarray(self.rerun.again(floats, {name: changed}, self.rerun.output))
            self.tallies[name].logits += float(np.square(changed - logits, dtype=np.float64).sum())
            self.tallies[name].flips += int(np.count_nonzero(changed.argmax(axis=1) != logits.argmax(axis=1)))

    def _compare(self, logits: Floats, answers: Floats, labels: NDArray[np.int64]) -> None:
        self.photos += len(logits)
        self.signal += float(np.square(logits, dtype=np.float64).sum())
        self.noise += float(np.square(answers - logits, dtype=np.float64).sum())
        named, said = logits.argmax(axis=1), answers.argmax(axis=1)
        self.agreeing += int(np.count_nonzero(named == said))
        self.right_float += int(np.count_nonzero(named == labels))
        self.right_export += int(np.count_nonzero(said == labels))

    def report(self, export: str, split: str, facts: Mapping[str, Any]) -> ErrorReport:
        """The sums as ratios and shares, with a remedy where a layer does harm."""
        from featherlite.quantize.remedies import is_sound, remedy, verdict

        whole = sum(tally.logits for tally in self.tallies.values())
        made = ErrorReport(
            export=export,
            split=split,
            photos=self.photos,
            logits_snr_db=decibels(self.signal, self.noise),
            agreement=self.agreeing / self.photos,
            top1_float=self.right_float / self.photos,
            top1_export=self.right_export / self.photos,
            probed=self.probed,
            explained=whole / self.probed_noise if self.probed_noise > 0 else 1.0,
            equalized=bool(facts.get("equalized_pairs")),
            verdict="",
            layers=tuple(self._error(place, whole) for place in self.places),
        )
        advised = made.layers
        if not is_sound(made):
            advised = tuple(one.model_copy(update={"remedy": remedy(one, facts)}) for one in made.layers)
        return made.model_copy(update={"verdict": verdict(made, facts), "layers": advised})

    def _error(self, place: Place, whole: float) -> LayerError:
        tally, layer = self.tallies[place.layer], self.layers[place.layer]
        before = [self.tallies[one] for one in place.parents]
        own = max(tally.own, 1e-30)
        rounding, clipping = min(1.0, tally.rounding / own), min(1.0, tally.clipping / own)
        spare = max(0.0, 1.0 - clipping)
        return LayerError(
            layer=place.layer,
            kind=type(layer).__name__,
            activation=activation_name(layer),
            operations=place.operations,
            role=self.roles.get(place.layer, ""),
            shape=tuple(int(side) for side in self.insides.facts.tensors[place.tensor].shape),
            range=tally.range,
            largest=tally.largest,
            typical=(tally.signal / max(1, tally.values)) ** 0.5,
            snr_db=decibels(tally.signal, tally.noise),
            input_snr_db=min((decibels(one.signal, one.noise) for one in before), default=None),
            own_snr_db=decibels(tally.signal, tally.own),
            at_low=tally.at_low / max(1, tally.values),
            at_high=tally.at_high / max(1, tally.values),
            clipped=tally.clipped / max(1, tally.values),
            rounding=min(rounding, spare),
            clipping=clipping,
            kernel=max(0.0, spare - rounding),
            harm=tally.logits / whole if whole > 0 else 0.0,
            logits_snr_db=decibels(self.probed_signal, tally.logits),
            flips=tally.flips / max(1, self.probed),
            remedy="",
        )
