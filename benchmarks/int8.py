"""What int8 costs: tf.lite's default conversion, `quantize` and `quantize_aware` on the same trained networks.

    python benchmarks/int8.py BUNDLE [BUNDLE ...] --data PHOTOS [--name NAME ...] [--kernels channel tensor]

Each bundle holds a trained network in float (a row of a study, say). All artefacts of a network are calibrated on the
same representative photos, and all are asked for the bundle's test photos in LiteRT's default kernels. `quantize_aware`
trains for some epochs more, so there is a control: the float network trained for as many epochs at the same rate, and
tf.lite's artefact of that. Adds its rows to one CSV, whose name carries machine and versions: top-1 with its 95%
interval, the difference to float in points, and the exact p-value (McNemar) of the difference to tf.lite's artefact of
the network as it came, with the same kernels.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from featherlite.bundle import Bundle
from featherlite.data.photos import PhotoSet, load_photos
from featherlite.evaluate.significance import mcnemar
from featherlite.history import wilson
from featherlite.keys import cache_folder
from featherlite.models.logits import network_logits
from featherlite.models.network import load_network
from featherlite.preprocess import network_input
from featherlite.quantize.representative import representative_set
from featherlite.runtime.interpreter import open_runtime
from featherlite.step import Context

RESULTS = Path(__file__).parent / "results"
PHOTOS, SEED = 300, 0
"""The representative set: the defaults of `quantize`."""
RATE = "3e-4"
SETTINGS = {
    "channel": [[], ["--ranges", "mse"]],
    "tensor": [[], ["--ranges", "mse"], ["--ranges", "mse", "--equalize"]],
}
"""Settings of `quantize` by kernels; the first is what a user gets who sets nothing else."""
COLUMNS = ["network", "kernels", "made_by", "bytes", "n", "top1", "low", "high", "points_to_float", "p_to_tflite"]


def tflite(network: Any, photos: Any, kernels: str) -> bytes:
    """What tf.lite's converter makes of the network as it is, by its documented recipe for full int8.

    With kernels 'channel' it gives dense layers a scale for each output, which featherlite's do not have.
    """
    import tensorflow as tf

    def representative() -> Any:
        for photo in network_input(photos):
            yield [photo[None]]

    signature = [tf.TensorSpec((1, *network.input_shape[1:]), tf.float32)]
    with tempfile.TemporaryDirectory() as folder:
        network.export(folder, format="tf_saved_model", input_signature=signature, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        converter._experimental_disable_per_channel = kernels == "tensor"
        return bytes(converter.convert())


def answers_of(artefact: bytes, photos: Any) -> Any:
    """The class of each photo by LiteRT, for an artefact of any input scale."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=artefact, num_threads=1)
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = given["quantization"]
    found = []
    for photo in photos:
        levels = np.round(network_input(photo[None]) / scale + zero)
        interpreter.set_tensor(given["index"], np.clip(levels, -128, 127).astype(np.int8))
        interpreter.invoke()
        found.append(int(interpreter.get_tensor(made["index"])[0].argmax()))
    return np.array(found)


def featherlite(step: str, source: Path, target: Path, *words: str) -> bytes:
    """The artefact that a step leaves, or nothing where it leaves none."""
    starter = [sys.executable, "-c", "import sys; from featherlite.cli import main; sys.exit(main())"]
    command = [step, str(source), str(target), *words]
    print("featherlite", *command, flush=True)
    subprocess.run([*starter, *command, "--quiet"], check=True)
    made = target / "exports" / "int8" / "model.tflite"
    return made.read_bytes() if made.is_file() else b""


def rows_of(source: Path, name: str, kinds: list[str], epochs: int, ctx: Context, data: Path) -> list[dict[str, Any]]:
    """The rows of one network."""
    bundle, course = Bundle.open(source), ["--epochs", str(epochs), "--rate", RATE]
    test: PhotoSet = load_photos(bundle, "test", ctx)
    images = np.asarray(test.images[np.arange(len(test))])
    network = load_network(bundle)
    floats = network_logits(network, test.images).argmax(axis=1) == test.labels
    rows: list[dict[str, Any]] = []

    def add(kernels: str, made_by: str, hits: Any, size: int, peer: Any = None) -> None:
        top1 = wilson(int(hits.sum()), len(hits))
        facts = [name, kernels, made_by, size, top1.n, *(round(one, 4) for one in (top1.value, top1.low, top1.high))]
        points = round(100 * float(hits.mean() - floats.mean()), 2)
        alone = None if peer is None else mcnemar(int((hits & ~peer).sum()), int((peer & ~hits).sum()))
        rows.append(dict(zip(COLUMNS, [*facts, points, None if alone is None else round(alone, 4)], strict=True)))
        print(rows[-1], flush=True)

    add("", "float", floats, 4 * network.count_params())
    chosen = representative_set(bundle, PHOTOS, SEED, ctx)
    with tempfile.TemporaryDirectory() as place:
        featherlite("train", source, Path(place) / "longer", "--data", str(data), "--head-epochs", "0", *course)
        longer = load_network(Bundle.open(Path(place) / "longer"))
    hits = network_logits(longer, test.images).argmax(axis=1) == test.labels
    add("", f"float, {epochs} epochs more", hits, 4 * longer.count_params())
    for kernels in kinds:
        artefact = tflite(network, chosen.photos, kernels)
        peer = answers_of(artefact, images) == test.labels
        add(kernels, "tf.lite", peer, len(artefact))
        artefact = tflite(longer, chosen.photos, kernels)
        hits = answers_of(artefact, images) == test.labels
        add(kernels, f"tf.lite, {epochs} epochs more", hits, len(artefact), peer)
        with tempfile.TemporaryDirectory() as place:
            root = Path(place)
            words = ["--data", str(data), "--kernels", kernels]
            for number, settings in enumerate(SETTINGS[kernels]):
                made = featherlite("quantize", source, root / str(number), *words, *settings)
                hits = open_runtime("litert", made).run(images).argmax(axis=1) == test.labels
                add(kernels, " ".join(["quantize", *settings]), hits, len(made), peer)
            featherlite("quantize_aware", source, root / "aware", *words, *course)
            made = featherlite("quantize", root / "aware", root / "trained", "--data", str(data))
            hits = open_runtime("litert", made).run(images).argmax(axis=1) == test.labels
            add(kernels, f"quantize_aware, {epochs} epochs", hits, len(made), peer)
    return rows


def main() -> None:
    """Runs the bundles that were named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--name", action="append", default=[], help="what a bundle is called, in their order")
    parser.add_argument("--kernels", nargs="+", default=["channel", "tensor"], choices=["channel", "tensor"])
    parser.add_argument("--epochs", type=int, default=5, help="of quantize_aware")
    options = parser.parse_args()
    place = f"{os.cpu_count()}core-{platform.machine()}_tf{version('tensorflow-cpu')}_litert{version('ai-edge-litert')}"
    path = RESULTS / f"int8_{options.data.name}_{place}.csv"
    names = options.name or [bundle.absolute().parents[1].name for bundle in options.bundles]
    if len(names) != len(options.bundles):
        parser.error(f"{len(options.bundles)} bundles and {len(names)} names were given")
    former: list[dict[str, Any]] = list(csv.DictReader(path.open(encoding="utf-8"))) if path.is_file() else []
    rows = [row for row in former if row["network"] not in names]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        ctx = Context(seed=SEED, scratch=folder, resume=folder, cache=cache_folder(), data=options.data)
        for source, name in zip(options.bundles, names, strict=True):
            rows += rows_of(source, name, options.kernels, options.epochs, ctx, options.data)
            with path.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(stream, COLUMNS)
                writer.writeheader()
                writer.writerows(rows)
    print(path)


if __name__ == "__main__":
    main()
