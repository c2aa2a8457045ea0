"""Small sets of photos on the disk, scanned: what the checks are tested on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from featherlite.data.evidence import Evidence
from featherlite.data.source import scan

Content = Image.Image | bytes
EvidenceOf = Callable[[Mapping[str, Content]], Evidence]


@pytest.fixture
def evidence_of(tmp_path: Path) -> EvidenceOf:
    """Writes photos (path -> image, as PNG, or bytes) and scans them."""

    def make(photos: Mapping[str, Content]) -> Evidence:
        root = tmp_path / "set"
        for path, content in photos.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                (root / path).write_bytes(content)
            else:
                content.save(root / path, "PNG")
        return Evidence(scan(root))

    return make


def drawing(seed: int, size: tuple[int, int] = (128, 128)) -> Image.Image:
    """A sharp picture in many colors: ellipses and rectangles of all sizes."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(random.integers(40, 200, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for number in range(40):
        left, top = random.integers(0, size[0] - 8), random.integers(0, size[1] - 8)
        right, bottom = left + random.integers(6, size[0] // 3), top + random.integers(6, size[1] // 3)
        shape = draw.ellipse if number % 2 else draw.rectangle
        shape((int(left), int(top), int(right), int(bottom)), fill=tuple(random.integers(0, 240, 3).tolist()))
    return image


@pytest.fixture(scope="session")
def draw() -> Callable[..., Image.Image]:
    return drawing
