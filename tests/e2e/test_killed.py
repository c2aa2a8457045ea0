"""A run killed with SIGKILL at any moment goes on and ends with the ladder of one that was not."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from featherlite.bundle import Bundle

HERE = Path(__file__).parent
FEATHERLITE = [sys.executable, "-c", "import sys; from featherlite.cli import main; sys.exit(main())"]


TINY = HERE / "tiny.toml"


def command(photos: Path, out: Path, recipe: Path = TINY) -> list[str]:
    return [*FEATHERLITE, "run", str(recipe), "--data", str(photos), "--out", str(out), "--json"]


def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def walk(photos: Path, out: Path, recipe: Path = TINY) -> list[dict[str, Any]]:
    done = subprocess.run(command(photos, out, recipe), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return timeless(json.loads(done.stdout)["rows"])


def kill_after(photos: Path, out: Path, seconds: float, recipe: Path = TINY) -> bool:
    """Starts a run and kills its whole process group after so many seconds; False where it was done before."""
    process = subprocess.Popen(
        command(photos, out, recipe), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def network_of(out: Path) -> bytes:
    bundle = Bundle.open(out)
    return bundle.read("exports/int8/model.tflite")


@pytest.fixture(scope="module")
def unkilled(
    sample_photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[dict[str, Any]], bytes, float]:
    out = tmp_path_factory.mktemp("whole") / "out"
    clock = time.monotonic()
    rows = walk(sample_photos, out)
    return rows, network_of(out), time.monotonic() - clock


def test_killed_again_and_again_the_same_run_ends_the_same(
    sample_photos: Path, unkilled: tuple[list[dict[str, Any]], bytes, float], tmp_path: Path
) -> None:
    """Three kills on the way of one run, at seeded random moments; each rerun goes on where the former one fell."""
    rows, artefact, seconds = unkilled
    moments = random.Random(1)
    kills = sum(kill_after(sample_photos, tmp_path / "out", moments.uniform(0.2, 0.7) * seconds) for _ in range(3))
    assert kills >= 1
    assert walk(sample_photos, tmp_path / "out") == rows
    assert network_of(tmp_path / "out") == artefact


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", range(10))
def test_killed_at_a_random_moment_and_run_again(
    number: int, sample_photos: Path, unkilled: tuple[list[dict[str, Any]], bytes, float], tmp_path: Path
) -> None:
    rows, artefact, seconds = unkilled
    moment = random.Random(number).uniform(0.05, 0.9) * seconds
    while not kill_after(sample_photos, tmp_path / "out", moment):  # this run was quicker than the one measured
        shutil.rmtree(tmp_path / "out")
        moment *= 0.8
    assert walk(sample_photos, tmp_path / "out") == rows
    assert network_of(tmp_path / "out") == artefact


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_chain_of_surgery_killed_on_its_way_ends_the_same(sample_photos: Path, tmp_path: Path) -> None:
    """Five kills spread over the way, most of them inside of a recovery."""
    chain, clock = HERE / "tiny-chain.toml", time.monotonic()
    rows = walk(sample_photos, tmp_path / "whole", chain)
    seconds, killed = time.monotonic() - clock, tmp_path / "killed"
    moments = random.Random(5)
    # A rerun starts anew with reading and compiling: from shorter ones little would come.
    kills = sum(kill_after(sample_photos, killed, moments.uniform(0.25, 0.4) * seconds, chain) for _ in range(5))
    assert kills >= 2
    assert walk(sample_photos, killed, chain) == rows
    assert network_of(killed) == network_of(tmp_path / "whole")


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(sample_photos: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(sample_photos, tmp_path / "out"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "run.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Run the same command again to go on" in stderr
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "interrupted"


def test_two_runs_do_not_share_a_folder(sample_photos: Path, tmp_path: Path) -> None:
    import fcntl

    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(command(sample_photos, tmp_path / "out"), capture_output=True, text=True)
    assert done.returncode == 2
    assert "Another run is at work" in done.stderr
