"""Shared fixtures: where real photos lie, sample photos drawn once, and a cache folder of the tests' own."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Decoded photos go to a folder of this test session, never to the user's cache."""
    os.environ["FEATHERLITE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """What a command in this process does to the library's log ends with the test."""
    log = logging.getLogger("featherlite")
    former = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.level, log.propagate = former


@pytest.fixture(scope="module", autouse=True)
def _tidy() -> Iterator[None]:
    """Networks refer to themselves in circles: what one file built is gone before the next one begins."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photos and weights; the test is skipped where it is absent."""
    folder = Path(os.environ.get("FEATHERLITE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "flowers").is_dir():
        pytest.skip(f"needs real photos and weights in $FEATHERLITE_TEST_DATA; {folder} has none")
    return folder


@pytest.fixture(scope="session")
def sample_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small set of drawn birds: 3 species with 14 photos each. Read only."""
    from featherlite.data.sample import SampleConfig, draw_samples

    folder = tmp_path_factory.mktemp("sample") / "birds"
    draw_samples(folder, SampleConfig(species=3, photos=14, px=96))
    return folder
