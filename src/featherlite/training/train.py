"""Trains the network on the train split and keeps the best epoch by validation."""

from __future__ import annotations

from featherlite.bundle import Bundle
from featherlite.step import Context, step
from featherlite.training.config import FitConfig


class TrainConfig(FitConfig):
    """How the network is trained."""


@step(needs=("splits", "network", "preprocess"), provides=("network",))
def train(bundle: Bundle, config: TrainConfig, ctx: Context) -> Bundle:
    """The bundle with its network trained: head epochs on the frozen backbone first, then all layers."""
    from featherlite.data.photos import load_photos
    from featherlite.models.network import load_network, network_bytes
    from featherlite.training.fit import fit

    network = load_network(bundle)
    photos = load_photos(bundle, "train", ctx)
    judged = load_photos(bundle, "val", ctx)
    fit(network, photos, judged if len(judged.labels) else None, config, ctx).warn(ctx)
    return bundle.with_network(network_bytes(network))
