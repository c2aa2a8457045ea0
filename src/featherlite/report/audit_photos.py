"""Thumbnails for the audit's page: only of the very photos that were audited, and within a budget of bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from PIL import Image, ImageOps

from featherlite.data.pool import in_order
from featherlite.data.reader import PhotoReader
from featherlite.data.source import Photo
from featherlite.errors import DataError
from featherlite.preprocess import PhotoError, opened, to_rgb
from featherlite.report.thumbnails import Thumbnails
from featherlite.step import Progress, Silent

__all__ = ["AuditPhotos"]

PIXELS = 128
BUDGET = 4_800_000
"""Bytes of all thumbnails of a page, as they are written into it."""


class AuditPhotos:
    """Small pictures of audited photos as data URIs.

    A path that was not among the audited photos is never opened, and a file whose content is no longer what was audited
    is not shown: `changed` names those, in the order in which they were met.
    """

    def __init__(self, root: Path | None, photos: Mapping[str, Photo], budget: int = BUDGET) -> None:
        self.root = root
        self.photos = photos
        self.changed: list[str] = []
        self.spent = False
        self._made: dict[str, str] = {}
        self._thumbnails = Thumbnails(root, budget, PIXELS)

    def load(self, paths: Iterable[str], progress: Progress | None = None) -> None:
        """Makes the thumbnails of these photos, in their order, as long as the budget lasts."""
        if self.root is None:
            return
        wanted = [path for path in dict.fromkeys(paths) if path in self.photos]
        told = progress or Silent()
        told.start("Making thumbnails", len(wanted))
        with PhotoReader(self.root) as reader:

            def small(path: str) -> Image.Image | None:
                return _small(reader, self.photos[path])

            with closing(in_order(small, wanted)) as images:
                for path, image in zip(wanted, images, strict=True):
                    told.advance()
                    made = self._thumbnails.of_image(image) if image is not None else None
                    if image is None:
                        self.changed.append(path)
                    elif made is None:
                        self.spent = True
                        break
                    else:
                        self._made[path] = made
        told.finish()

    def of(self, path: str) -> str | None:
        """The thumbnail of a photo; None where it was not loaded, has changed, or the budget did not reach."""
        return self._made.get(path)


def _small(reader: PhotoReader, photo: Photo) -> Image.Image | None:
    """The photo, upright and reduced; None where it is no longer the one that was audited."""
    try:
        content = reader.read(photo.path)
    except (DataError, OSError):
        return None
    if hashlib.sha256(content).hexdigest() != photo.sha256:
        return None
    try:
        with opened(content) as image:
            if image.format in ("JPEG", "MPO"):
                image.draft("RGB", (2 * PIXELS, 2 * PIXELS))
            image.load()
            rgb = to_rgb(_upright(image))
    except PhotoError:
        return None
    rgb.thumbnail((PIXELS, PIXELS), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return rgb


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # as in preprocess: damaged metadata do not spoil the pixels
        return image
