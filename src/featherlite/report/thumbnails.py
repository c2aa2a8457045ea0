"""Thumbnails as data URIs, within a budget of bytes: the page stays one small file however many photos there are."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

from PIL import Image

from featherlite.data.reader import PhotoReader
from featherlite.errors import DataError
from featherlite.preprocess import decode

__all__ = ["Thumbnails", "without_places"]

_PLACE = re.compile(r"(?<![\w.:/<])(?:[A-Za-z]:)?[/\\](?:[^/\\\n:*?\"<>|']*[/\\])+(?=[^/\\\s])")
"""The folders of an absolute path, spaces in their names included."""


class Thumbnails:
    """Small JPEGs of photos under one root (a folder, table or container), as long as the budget lasts."""

    def __init__(self, root: Path | None, budget: int = 2_000_000, pixels: int = 160) -> None:
        there = root is not None and root.exists()
        self._reader = PhotoReader(root.resolve()) if root is not None and there else None
        self.root = Path(self._reader.base) if self._reader is not None else None
        self.left = budget
        self.pixels = pixels

    def __bool__(self) -> bool:
        """Whether there are photos to look at."""
        return self.root is not None

    def of(self, path: str) -> str | None:
        """The photo at `path` (relative to the root) as a data URI.

        None where it is absent, unreadable, outside the root, or the budget is used up.
        """
        image = self.photo(path)
        return None if image is None else self.of_image(image)

    def photo(self, path: str) -> Image.Image | None:
        """The photo at `path` in full size; None where there is none to be had, or no budget left to show it."""
        if self.root is None or self._reader is None or self.left <= 0 or "\0" in path:
            return None
        try:
            file = self._reader.locate(path)
            if file is None or not file.resolve().is_relative_to(self.root):
                return None
            return decode(self._reader.read(path))
        except (DataError, OSError, RuntimeError):  # RuntimeError: links in a circle
            return None

    def of_image(self, image: Image.Image) -> str | None:
        """An image as a data URI; None where the budget is used up. `image` itself is made small."""
        if self.left <= 0:
            return None
        image.thumbnail((self.pixels, self.pixels), Image.Resampling.BILINEAR)
        content = io.BytesIO()
        image.save(content, "JPEG", quality=70, optimize=True)
        encoded = base64.b64encode(content.getvalue()).decode("ascii")
        if len(encoded) > self.left:
            self.left = 0
            return None
        self.left -= len(encoded)
        return f"data:image/jpeg;base64,{encoded}"


def without_places(text: str, *roots: Path | None) -> str:
    """The text with the folders of this machine left out: a page that is sent around must not tell them."""
    for root in roots:
        if root is not None:
            for name in {str(root), str(root.absolute()), str(root.resolve())}:
                if len(name) > 1:
                    text = text.replace(name.rstrip("/\\") + "/", "")
    return _PLACE.sub("…/", text)
