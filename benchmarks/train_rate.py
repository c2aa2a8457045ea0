"""How fast training is: the real pipeline against the same step on one repeated batch, and against bare Keras.

Usage: python benchmarks/train_rate.py [--steps 40] [--out benchmarks/results]

Reads flowers from $FEATHERLITE_TEST_DATA where they are, else random photos; writes one CSV whose name carries device
and versions. `ratio` is pipeline / repeated batch of the very same compiled step: what reading, shuffling and drawing
the augmentation cost; `cpu_ratio` is the same in processor time, which other programs on the machine disturb less.
`augment_ratio` is that repeated batch / a step without augmentation: what resampling costs.

The rows whose case is 'fit' stand for what a user waits for: an epoch of our fit (photos on the disk, augmentation,
averaged weights, a watched loss) against bare `model.fit` on float32 arrays in memory with Keras's own AdamW, for
the same network and batch: `fit_ratio` with augmentation, `fit_plain_ratio` with `augment = 0`. The rounds are
interleaved, and each ratio is the median of those of the rounds.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from featherlite.models.backbones import Order, card_of
from featherlite.models.heads import build_head
from featherlite.preprocess import Preprocess, network_input
from featherlite.training.config import FitConfig

CASES = (("feathernet", 96, 1.0), ("MobileNetV1", 128, 0.25))
FIT_CASES = (("EfficientNetB0", 96, 1.0),)
CLASSES = 5
ROUNDS = 6


def photos_of(px: int, count: int) -> tuple[Any, str]:
    """Memory-mapped uint8 photos [count, px, px, 3], as a run reads them, and what they are."""
    folder = Path(os.environ.get("FEATHERLITE_TEST_DATA", "")) / "flowers"
    files = sorted(folder.glob("*/*.jpg"))[:: max(1, 3455 // count)] if folder.is_dir() else []
    path = Path(f"/tmp/featherlite-train-rate-{os.getpid()}-{px}.npy")
    stored = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, px, px, 3))
    preprocess, random = Preprocess(width=px, height=px), np.random.default_rng(0)
    for number in range(count):
        drawn = files[number % len(files)] if files else None
        stored[number] = preprocess(drawn) if drawn else random.integers(0, 256, (px, px, 3))
    stored.flush()
    path.unlink()  # the mapping holds the content until the process ends
    return stored, "flowers" if files else "random"


def network_of(backbone: str, px: int, width: float) -> Any:
    import keras

    from featherlite.models.weights import build_backbone

    keras.utils.set_random_seed(0)
    built = build_backbone(Order(card_of(backbone), px, px, width))
    return keras.Model(built.inputs, build_head(built.output, CLASSES))


def rates_of(backbone: str, px: int, width: float, steps: int, batch: int) -> dict[str, Any]:
    """Photos a second of the three ways to train: the best of interleaved rounds, since other programs only slow."""
    import keras

    from featherlite.training.batches import Batches
    from featherlite.training.phases import Watch
    from featherlite.training.trainee import compile_for, trainee_of

    config = FitConfig(batch=batch)
    images, source = photos_of(px, steps * batch)
    labels = np.arange(steps * batch) % CLASSES
    table = np.full(10, 1e-4, np.float32)
    network = network_of(backbone, px, width)
    model = trainee_of(network, config)
    compile_for(model, config, table)
    plain = network_of(backbone, px, width)
    compile_for(plain, config, table)

    def epoch(number: int) -> Batches:
        return Batches(images, labels, CLASSES, config, seed=0, epoch=number, augmented=True)

    inputs, wanted = epoch(1)[0]
    floats = network_input(inputs["photos"])

    class Repeated(keras.utils.PyDataset):
        """One batch, again and again."""

        def __init__(self, x: Any) -> None:
            super().__init__()
            self.x = x

        def __len__(self) -> int:
            return steps

        def __getitem__(self, index: int) -> tuple[Any, Any]:
            return self.x, wanted

    def told(loss: float, top1: float) -> None:
        pass

    def fit(trained: Any, data: Any) -> None:
        trained.fit(data, epochs=1, shuffle=False, verbose=0, callbacks=[Watch(told)])

    ways: dict[str, Callable[[int], None]] = {
        "pipeline": lambda number: fit(model, epoch(number)),
        "repeated": lambda _: fit(model, Repeated(inputs)),
        "bare": lambda _: fit(plain, Repeated(floats)),
    }
    started = time.perf_counter()
    model.train_on_batch(inputs, wanted)
    first_step = time.perf_counter() - started
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        for name, way in ways.items():
            started, busy = time.perf_counter(), time.process_time()
            way(number)
            if number:  # the first round compiles and warms up
                seconds[name].append(time.perf_counter() - started)
                cpu[name].append(time.process_time() - busy)
    rate = {name: steps * batch / min(taken) for name, taken in seconds.items()}
    return {
        "case": "step",
        "network": f"{backbone}-{width:g}" if width != 1 else backbone,
        "parameters": network.count_params(),
        "input_px": px,
        "batch": batch,
        "photos": source,
        "steps": steps,
        "rounds": ROUNDS,
        "pipeline_per_s": round(rate["pipeline"], 1),
        "repeated_batch_per_s": round(rate["repeated"], 1),
        "bare_step_per_s": round(rate["bare"], 1),
        "ratio": round(rate["pipeline"] / rate["repeated"], 3),
        "cpu_ratio": round(min(cpu["repeated"]) / min(cpu["pipeline"]), 3),
        "augment_ratio": round(rate["repeated"] / rate["bare"], 3),
        "first_step_s": round(first_step, 1),
    }


def fit_rates_of(backbone: str, px: int, width: float, steps: int, batch: int, rounds: int) -> dict[str, Any]:
    """Photos a second of an epoch of our fit, with and without augmentation, and of bare `model.fit`: medians."""
    import keras

    from featherlite.data.photos import PhotoSet
    from featherlite.training.phases import start_phase
    from featherlite.training.unlocking import choose_layers, phases_of

    images, source = photos_of(px, steps * batch)
    labels = np.arange(steps * batch) % CLASSES
    photos = PhotoSet(images, labels, tuple(map(str, labels)), tuple(map(str, range(CLASSES))), "train")
    ways: dict[str, Callable[[int], Any]] = {}
    for name, strength in (("fit", 1.0), ("fit_plain", 0.0)):
        config, network = FitConfig(batch=batch, head_epochs=0, augment=strength), network_of(backbone, px, width)
        phase = phases_of(network, config)[0]
        choose_layers(network, phase, config, len(labels), [True] * len(network.layers))
        run = start_phase(phase, network, photos, None, config, 0)
        run.compile(np.full(10, 1e-4, np.float32), 1.0)
        ways[name] = lambda number, run=run: run.epoch(number + 1, lambda _loss, _top1: None)
    plain = network_of(backbone, px, width)
    optimizer = keras.optimizers.AdamW(1e-4, weight_decay=config.weight_decay, global_clipnorm=config.clip_norm)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=config.label_smoothing)
    plain.compile(optimizer, loss, metrics=["accuracy"])
    floats, wanted = network_input(np.array(images)), keras.utils.to_categorical(labels, CLASSES)
    ways["bare"] = lambda _: plain.fit(floats, wanted, batch_size=batch, epochs=1, verbose=0)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            started, busy = time.perf_counter(), time.process_time()
            way(number)
            if number:  # the first round compiles and warms up
                seconds[name].append(time.perf_counter() - started)
                cpu[name].append(time.process_time() - busy)

    def ratio(name: str, taken: dict[str, list[float]]) -> float:
        return round(float(np.median(np.array(taken["bare"]) / np.array(taken[name]))), 3)

    rate = {name: round(steps * batch / float(np.median(taken)), 1) for name, taken in seconds.items()}
    return {
        "case": "fit",
        "network": f"{backbone}-{width:g}" if width != 1 else backbone,
        "parameters": plain.count_params(),
        "input_px": px,
        "batch": batch,
        "photos": source,
        "steps": steps,
        "rounds": rounds,
        "bare_step_per_s": rate["bare"],
        "fit_per_s": rate["fit"],
        "fit_plain_per_s": rate["fit_plain"],
        "fit_ratio": ratio("fit", seconds),
        "fit_cpu_ratio": ratio("fit", cpu),
        "fit_plain_ratio": ratio("fit_plain", seconds),
        "fit_plain_cpu_ratio": ratio("fit_plain", cpu),
    }


def processor() -> str:
    """The processor's name, as the system tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=40, help="steps an epoch")
    parser.add_argument("--fit-steps", type=int, default=20, help="steps an epoch of the fit cases")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the fit cases")
    parser.add_argument("--only", default="", help="network to measure, all where left out")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    import keras
    import tensorflow as tf

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    rows: list[dict[str, Any]] = []
    chosen = [case for case in (*CASES, *FIT_CASES) if not options.only or case[0] == options.only]
    for backbone, px, width in chosen:
        if (backbone, px, width) in FIT_CASES:
            row = fit_rates_of(backbone, px, width, options.fit_steps, options.batch, options.rounds)
        else:
            row = rates_of(backbone, px, width, options.steps, options.batch)
        rows.append(row | {"device": processor(), "cores": cores, "load_1min": round(os.getloadavg()[0], 1)})
        print("  ".join(f"{key}={value}" for key, value in rows[-1].items()))
    versions = f"keras{'.'.join(keras.__version__.split('.')[:2])}_tf{'.'.join(tf.__version__.split('.')[:2])}"
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"train-rate_cpu-{cores}core_{versions}.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    print(path)


if __name__ == "__main__":
    main()
