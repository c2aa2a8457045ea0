"""Fits the head alone, on features of the frozen backbone: logistic regression, nearest center or cosine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from featherlite.bundle import Bundle
from featherlite.step import Context, step
from featherlite.training.augment.config import AugmentConfig

SMALLEST, LARGEST = 1e-6, 1e6


class ProbeConfig(AugmentConfig):
    """How the head is fitted; augmentation counts where there are views."""

    kind: Literal["logistic", "centroid", "cosine"] = "logistic"
    """logistic regression; the class with the nearest mean of features; or that with the smallest angle to it"""
    normalize: Literal["auto", "l2", "standard", "none"] = "auto"
    """what is done to features before: length 1 (l2), each with mean 0 and deviation 1 (standard), or nothing; auto:
    l2, but none for centroid, which no dense layer can be on features of length 1"""
    c: Literal["auto"] | float = "auto"
    """logistic: weight of the photos' loss against the squared weights; auto: what foretells held-out photos best"""
    folds: int = Field(3, ge=2, le=20)
    """parts of the training photos that are held out in turn to choose c and the confidence, where there is no val"""
    views: int = Field(0, ge=0, le=100)
    """augmented draws of each photo that are learned from beside the photo itself"""

    @field_validator("c")
    @classmethod
    def _is_positive(cls, value: str | float) -> str | float:
        if isinstance(value, float) and not SMALLEST <= value <= LARGEST:
            raise ValueError(f"must be 'auto' or lie in {SMALLEST:g}..{LARGEST:g}")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> ProbeConfig:
        if self.kind == "centroid" and self.normalize == "l2":
            raise ValueError("kind centroid takes normalize none or standard; with l2, take kind cosine")
        if self.kind == "cosine" and self.normalize == "none":
            raise ValueError("kind cosine takes normalize l2 or standard: it compares directions")
        if self.views and (self.mixup or self.cutmix):
            raise ValueError("views are of one photo each: mixup and cutmix have to be 0")
        return self

    @property
    def normalized(self) -> Literal["l2", "standard", "none"]:
        """What `normalize` comes to."""
        if self.normalize == "auto":
            return "none" if self.kind == "centroid" else "l2"
        return self.normalize


@step(needs=("splits", "network", "preprocess"), provides=("network",))
def probe(bundle: Bundle, config: ProbeConfig, ctx: Context) -> Bundle:
    """The bundle with the last layer of its network fitted; all other weights are as they were.

    Raises:
        RequestError: the network's head is more than one dense layer.
        DataError: no training photo, or none of some class.
    """
    from featherlite.data.photos import load_photos
    from featherlite.models.network import load_network, network_bytes
    from featherlite.training.probing.last_layer import fit_last_layer

    network = load_network(bundle)
    photos = load_photos(bundle, "train", ctx)
    judged = load_photos(bundle, "val", ctx)
    fit_last_layer(network, photos, judged if len(judged.labels) else None, config, ctx)
    return bundle.with_network(network_bytes(network))
