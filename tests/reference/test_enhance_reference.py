"""Noise reduction and autocontrast against the C of docs/bundle.md, compiled: what a device would run."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featherlite.models.golden import draw_inputs
from featherlite.preprocess import Preprocess

DOCS = Path(__file__).parent.parent.parent / "docs" / "bundle.md"


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The page's C as a library."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler is installed")
    source = re.search(r"```c\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert source is not None
    folder = tmp_path_factory.mktemp("device")
    (folder / "enhance.c").write_text("#include <stdint.h>\n" + source.group(1), "utf-8")
    library = folder / "enhance.so"
    subprocess.run(
        [compiler, "-Wall", "-Werror", "-O1", "-shared", "-fPIC", "-o", library, folder / "enhance.c"], check=True
    )
    return ctypes.CDLL(str(library))


@pytest.mark.parametrize("size", [(96, 96), (17, 40), (1, 5)])
def test_a_device_gets_the_same_bytes(device: Any, size: tuple[int, int]) -> None:
    height, width = size
    random = np.random.default_rng(0)
    drawn = draw_inputs(*size) if min(size) > 1 else random.integers(0, 256, (8, *size, 3), dtype=np.uint8)
    narrow = (drawn // 3 + 70).astype(np.uint8)
    for frame in (*drawn, *narrow):
        seen = np.zeros_like(frame)
        pointer = seen.ctypes.data_as(ctypes.c_char_p)
        device.denoise(np.ascontiguousarray(frame).ctypes.data_as(ctypes.c_char_p), pointer, height, width)
        np.testing.assert_array_equal(seen, Preprocess(denoise=True).enhance(frame))
        device.autocontrast(pointer, seen.size)
        np.testing.assert_array_equal(seen, Preprocess(denoise=True, autocontrast=True).enhance(frame))
