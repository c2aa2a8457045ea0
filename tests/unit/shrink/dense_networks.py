"""Networks that tell the colors apart through dense layers set by hand, and steps run on them in seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from featherlite.bundle import Bundle
from featherlite.models.network import load_network, network_bytes
from featherlite.step import Context, load_step

from .. import stopping
from ..conftest import color_network

QUICK: dict[str, Any] = {"epochs": 1, "changed_epochs": 1, "batch": 12, "ema": "none", "stages": 1}
EAGER: dict[str, Any] = QUICK | {"changed_rate": 0.1, "changed_epochs": 3}
"""Epochs that surely change something."""
STILL: dict[str, Any] = QUICK | {"epochs": 0, "changed_epochs": 0}
"""Nothing trains: what comes out is what the surgery did."""
CARRIERS = (1, 4, 6)
"""The units of each hidden layer that carry the three channels."""
CONSTANT = 3
"""The unit of the first hidden layer that says the same of every photo, loudly."""


def dense_network(*widths: int) -> Any:
    """The color network with hidden layers of these widths before its logits, as head=dense builds them."""
    layers = keras.layers
    base = color_network()
    keras.utils.set_random_seed(4)
    x = layers.Dropout(0.2, name="head_dropout")(base.get_layer("head_pool").output)
    for number, units in enumerate(widths, start=1):
        name = f"head_dense{number}"
        x = layers.Dense(units, use_bias=False, name=name)(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.Dropout(0.1, name=f"{name}_dropout")(x)
    model = keras.Model(base.inputs[0], layers.Dense(3, name="head_logits")(x), name="colors")
    sources, gain = (0, 1, 2), 8.0
    for number in range(1, len(widths) + 1):
        layer = model.get_layer(f"head_dense{number}")
        kernel = np.random.default_rng(number).normal(0, 0.001, tuple(layer.kernel.shape))
        for source, carrier in zip(sources, CARRIERS, strict=True):
            kernel[source, carrier] = gain
        layer.set_weights([kernel])
        sources, gain = CARRIERS, 1.0
        if number == 1:
            norm = model.get_layer("head_dense1_bn")
            gamma, beta, *rest = norm.get_weights()
            beta[CONSTANT] = 5.0
            norm.set_weights([gamma, beta, *rest])
    out = model.get_layer("head_logits")
    kernel = np.random.default_rng(9).normal(0, 0.001, tuple(out.kernel.shape))
    for color, carrier in enumerate(CARRIERS if widths else (0, 1, 2)):
        kernel[carrier, 2 - color] += 1.0 if widths else 8.0
    if len(widths) == 1:
        kernel[CONSTANT] = (2.0, 2.0, 2.5)
    out.set_weights([kernel, np.array([-8.0, -8.0, -8.0 - (2.5 if len(widths) == 1 else 0.0)])])
    return model


def cosine_network() -> Any:
    """The color network with a cosine head; what the channels have in common is taken off before."""
    from featherlite.models.heads import HeadOrder, build_head

    base = color_network()
    keras.utils.set_random_seed(6)
    mix = base.get_layer("mix").output
    centered = keras.layers.BatchNormalization(name="center")(mix)
    model = keras.Model(base.inputs[0], build_head(centered, 3, HeadOrder(head="cosine")), name="colors")
    norm = model.get_layer("center")
    gamma, beta, mean, variance = norm.get_weights()
    mean[:3] = 1.0
    norm.set_weights([gamma, beta, mean, variance])
    kernel = np.full((8, 3), 1e-4)
    for color in range(3):
        kernel[color, 2 - color] = 1.0
    model.get_layer("head_logits").set_weights([kernel / np.linalg.norm(kernel, axis=0)])
    return model


def bundle_of(bundle: Bundle, network: Any) -> Bundle:
    return bundle.with_network(network_bytes(network))


def run(name: str, bundle: Bundle, ctx: Context, **settings: Any) -> Bundle:
    step = load_step(name)
    return step.function(bundle, step.config.model_validate(settings), ctx)


def difference(one: Any, other: Any, shape: tuple[int, ...] = (4, 24, 24, 3)) -> float:
    """The largest distance between the answers of two networks to the same noise."""
    photos = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    return float(np.abs(one.predict_on_batch(photos) - other.predict_on_batch(photos)).max())


def weights_of(bundle: Bundle) -> list[Any]:
    return [weight.numpy() for weight in load_network(bundle).weights]


def interrupted(
    make: Callable[[], Context], after: int, work: Callable[[Context], Bundle]
) -> tuple[Bundle, dict[str, Any]]:
    """The bundle and the facts of a calm run, with which one killed after so many training steps ends alike."""
    whole, told, _ = stopping.interrupted(make, work, "train", after)
    fits = [part["fit"] for part in told["parts"].values()]
    assert any(fit["best_epoch"] for fit in fits), "where no epoch is kept, any two runs end alike"
    return whole, told
