"""Branches faded out before they go: gates behind them close while the rest of the network learns to do without.

What trains is a network with a gate behind each branch; what is judged after every epoch, and what comes out, is the
network without these branches, which shares all other layers with it. So an epoch counts by what will be left of it,
and no gate ever stands in a bundle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from featherlite.models.surgery.blocks import ResidualBlock
from featherlite.training.guide import LOGITS, Guide

__all__ = ["Closing", "Fade", "Gate", "Penalized"]


class Gate(keras.layers.Layer):  # type: ignore[misc]
    """What comes in, times how far the gate is open: 1 lets all of it through, 0 nothing."""

    def build(self, _input_shape: Any) -> None:
        """Adds the one number."""
        self.opening = self.add_weight(shape=(), initializer="ones", trainable=False, name="opening")

    def call(self, x: Any) -> Any:
        """What passes."""
        return x * ops.cast(self.opening, x.dtype)

    def compute_output_spec(self, x: Any) -> Any:
        """What comes in."""
        return keras.KerasTensor(x.shape, dtype=x.dtype)


class Closing(Gate):
    """A gate that closes evenly over so many steps of training."""

    def __init__(self, steps: int, **options: Any) -> None:
        super().__init__(**options)
        self.steps = steps

    def call(self, x: Any, training: bool | None = None) -> Any:
        """What passes; each step of training leaves the gate less open."""
        passed = super().call(x)
        if training:
            self.opening.assign(ops.maximum(self.opening - 1 / self.steps, 0.0))
        return passed


class Penalized(Gate):
    """A gate that learns how far it is open, with `penalty` times its opening in the loss.

    The number that is learned moves at the pace of all weights, too slowly for a gate; so the gate closes `gain` times
    as fast. Its gradient stays that of the gate itself: else it would fill the clipped norm and stop all other weights.
    """

    def __init__(self, penalty: float, gain: float, **options: Any) -> None:
        super().__init__(**options)
        self.penalty, self.gain = penalty, gain

    def build(self, _input_shape: Any) -> None:
        """Adds the number that is learned; as a bias it is spared the decay."""
        self.closed = self.add_weight(shape=(), initializer="zeros", name="closing_bias")

    def call(self, x: Any) -> Any:
        """What passes."""
        opening = ops.clip(1.0 - self.gain * self.closed, 0.0, 1.0)
        opening = ops.stop_gradient(opening + self.closed) - self.closed
        self.add_loss(self.penalty * opening)
        return x * ops.cast(opening, x.dtype)


class Fade:
    """A guide of `fit` for a network that lacks these blocks: it trains with them, behind gates that close.

    `former` still has the blocks; their branches stay as they are. `steps` is how many steps of training there will
    be, each `accumulate`-th of which moves the weights, and `rate` the peak rate. `kind` anneal closes the gates evenly
    over these steps; penalty lets them learn to close, which takes about two thirds of them where nothing speaks
    against it. What `beside` teaches is taught too.
    """

    def __init__(
        self,
        former: keras.Model,
        blocks: Sequence[ResidualBlock],
        steps: int,
        *,
        kind: Literal["anneal", "penalty"] = "anneal",
        accumulate: int = 1,
        rate: float = 1e-3,
        penalty: float = 0.5,
        beside: Guide | None = None,
    ) -> None:
        self.former, self.blocks, self.kind, self.beside = former, {block.sum: block for block in blocks}, kind, beside
        self.steps, self.penalty, self.gain = steps, penalty, 3 * accumulate / (rate * steps)

    @property
    def views(self) -> int:
        """Those of the guide beside it."""
        return self.beside.views if self.beside else 0

    @property
    def identity(self) -> str:
        """Hash of the gates, of the branches behind them, and of the guide beside it."""
        digest = hashlib.sha256(f"{self.kind} {self.steps} {self.penalty} {self.gain} {[*self.blocks]}".encode())
        behind = {name for block in self.blocks.values() for name in block.branch}
        for layer in self.former.layers:  # a branch has bare operations too, which are no layers
            for weight in layer.weights if layer.name in behind else ():
                digest.update(weight.numpy().tobytes())
        if self.beside:
            digest.update(self.beside.identity.encode())
        return digest.hexdigest()

    def model(self, network: keras.Model) -> keras.Model:
        """The former network with its gates, on the layers of `network` wherever that has them."""
        kept = {one.name: one for one in network.operations if not isinstance(one, keras.layers.InputLayer)}

        def clone(layer: Any) -> Any:
            return kept[layer.name] if layer.name in kept else type(layer).from_config(layer.get_config())

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            block = self.blocks.get(layer.name)
            if block is None:
                return layer(*args, **kwargs)
            terms = list(args[0]) if len(args) == 1 else list(args)
            branch = 1 - block.port
            terms[branch] = self._gate(f"{layer.name}_gate")(terms[branch])
            return layer(terms) if len(args) == 1 else layer(*terms)

        photo = keras.Input(self.former.input_shape[1:], name="photo")
        laid = keras.models.clone_model(self.former, input_tensors=photo, clone_function=clone, call_function=call)
        gated = keras.Model(laid.inputs[0], laid.outputs[0], name=network.name)
        for layer in gated.layers:
            if layer.name not in kept and not isinstance(layer, Gate | keras.layers.InputLayer):
                layer.trainable = False
                layer.set_weights(self.former.get_layer(layer.name).get_weights())
        return self.beside.model(gated) if self.beside else keras.Model(gated.inputs[0], {LOGITS: gated.outputs[0]})

    def losses(self) -> Mapping[str, tuple[keras.losses.Loss, float]]:
        """Those of the guide beside it; without one none but the labels'."""
        return self.beside.losses() if self.beside else {}

    def targets(self, rows: NDArray[np.int64], view: int) -> Mapping[str, NDArray[Any]]:
        """Those of the guide beside it; without one none but the labels."""
        return self.beside.targets(rows, view) if self.beside else {}

    def _gate(self, name: str) -> Gate:
        if self.kind == "anneal":
            return Closing(self.steps, name=name)
        return Penalized(self.penalty, self.gain, name=name)
