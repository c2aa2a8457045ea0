"""Stores of shards where the system refuses more files."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import pytest

from featherlite.data.shards import open_shards, ready_store, write_shard
from featherlite.errors import StorageError


def test_whole_shards_outlive_a_limit_on_open_files(tmp_path: Path) -> None:
    """A shard that could not be opened for that reason is no damaged one: it must not be deleted."""
    ready_store(tmp_path)
    for number in range(24):
        write_shard(tmp_path, [f"{number}"], (2,), np.float32, [np.full((1, 2), number, np.float32)])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open(tmp_path, os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 8, hard))
    try:
        with pytest.raises(StorageError, match="more files than this process may open") as error:
            open_shards(tmp_path, np.float32)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "ulimit -n" in error.value.hint
    shards, places = open_shards(tmp_path, np.float32)
    assert len(shards) == len(places) == 24
