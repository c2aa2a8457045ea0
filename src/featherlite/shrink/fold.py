"""A network with BatchNorm and constants folded into its kernels, and without what only training needed.

The answers stay the same but for rounding. A folded network can be trained further, but has no BatchNorm and no dropout
to help with that: fold at the end of the road.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from featherlite.bundle import QUANTIZATION, Bundle
from featherlite.step import Context, StepConfig, step

if TYPE_CHECKING:
    import keras

__all__ = ["FoldConfig", "fold"]

PROBES = 8
"""Random photos by which the answers before and after are compared."""


class FoldConfig(StepConfig):
    """What is folded away."""

    training_layers: bool = True
    """Leave out dropout, noise and random changes of the photo, which do nothing outside training."""
    batchnorm: bool = True
    """Fold each BatchNorm into the layer before it, or into those behind it where that is exact."""
    constants: bool = True
    """Fold numbers that are added or multiplied likewise, make one of linear layers in a row where that saves weights,
    and leave out layers that return their input as it is."""

    @model_validator(mode="after")
    def _folds_something(self) -> FoldConfig:
        if not (self.training_layers or self.batchnorm or self.constants):
            raise ValueError("with training_layers, batchnorm and constants off there is nothing to do")
        return self


@step(needs=("network",), provides=("network",))
def fold(bundle: Bundle, config: FoldConfig, ctx: Context) -> Bundle:
    """The bundle with the folded network; as it came, with a warning, where there is nothing to fold.

    What `quantize_aware` trained is folded already, and its ranges are of that very network.
    """
    from featherlite.models.network import count_parameters, load_network, network_bytes
    from featherlite.models.surgery.folding import unfolded_batchnorm
    from featherlite.training.phases import reseed

    if QUANTIZATION in bundle:
        ctx.warn("The network was trained for int8, folded, in ranges of its own: it is returned as it came.")
        return bundle
    network = load_network(bundle)
    folded = _folded(network, config)
    kept = {operation.name for operation in folded.operations}
    gone = [operation.name for operation in network.operations[1:] if operation.name not in kept]
    left = unfolded_batchnorm(folded) if config.batchnorm else {}
    ctx.record("fold", {"gone": gone, "batchnorm_left": left, **_difference(network, folded, ctx.seed)})
    if left:
        name, why = next(iter(left.items()))
        ctx.warn(f"{len(left)} BatchNorm layers stay: '{name}', for one, because {why}.")
    if not gone:
        ctx.warn("There was nothing to fold: the network is returned as it came.")
        return bundle
    ctx.record("parameters", {"before": count_parameters(network), "after": count_parameters(folded)})
    reseed(folded, ctx.seed, 0)
    return bundle.with_network(network_bytes(folded))


def _folded(network: keras.Model, config: FoldConfig) -> keras.Model:
    from featherlite.models.surgery.folding import fold_batchnorm, fold_constants
    from featherlite.models.surgery.leftovers import drop, idle_layers, merge_linear, training_layers

    if config.training_layers:
        network = drop(network, training_layers(network))
    if config.constants:
        network = drop(network, idle_layers(network))
        network = fold_constants(network, batchnorm=config.batchnorm)
        return merge_linear(network)[0]
    return fold_batchnorm(network) if config.batchnorm else network


def _difference(before: keras.Model, after: keras.Model, seed: int) -> dict[str, Any]:
    """The largest difference of a logit over random photos, and the largest logit."""
    import numpy as np

    from featherlite.models.logits import network_logits

    shape = (PROBES, *before.input_shape[1:])
    photos = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    wanted, found = network_logits(before, photos), network_logits(after, photos)
    return {"largest_difference": float(np.abs(wanted - found).max()), "largest_logit": float(np.abs(wanted).max())}
