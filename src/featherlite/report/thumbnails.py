"""Thumbnails as data URIs, within a budget of bytes: the page stays one small file however many photos there are."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

from PIL import Image

from featherlite.errors import DataError
from featherlite.preprocess import decode

__all__ = ["Thumbnails", "without_places"]

_PLACE = re.compile(r"(?<![\w.:/<])(?:[A-Za-z]:)?[/\\](?:[^/\\\n:*?\"<>|']*[/\\])+(?=[^/\\\s])")
"""The folders of an absolute path, spaces in their names included."""


class Thumbnails:
    """Small JPEGs of photos under one root, as long as the budget lasts."""

    def __init__(self, root: Path | None, budget: int = 2_000_000, pixels: int = 160) -> None:
        self.root = root.resolve() if root is not None and root.is_dir() else None
        self.left = budget
        self.pixels = pixels

    def __bool__(self) -> bool:
        """Whether there are photos to look at."""
        return self.root is not None

    def of(self, path: str) -> str | None:
        """The photo at `path` (relative to the root) as a data URI.

        None where it is absent, unreadable, outside the root, or the budget is used up.
        """
        if self.root is None or self.left <= 0 or "\0" in path:
            return None
        try:
            file = (self.root / path).resolve()
            if not file.is_relative_to(self.root) or not file.is_file():
                return None
            image = decode(file)
        except (DataError, OSError, RuntimeError):  # RuntimeError: links in a circle
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
