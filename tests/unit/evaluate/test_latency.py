from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from featherlite.bundle import Bundle
from featherlite.evaluate.cost import latency, latency_worker
from featherlite.evaluate.cost.latency import time_artefacts


@pytest.fixture(autouse=True)
def collecting() -> Iterator[None]:
    """The worker switches the collector off for good, as its process ends with it; this one goes on."""
    yield
    gc.enable()


def test_artefacts_are_timed_in_processes_of_their_own(quantized: Bundle) -> None:
    assert quantized.home is not None
    file = quantized.home / "exports" / "int8" / "model.tflite"
    timings = time_artefacts({"colors": file}, threads=(1,), rounds=1, seconds=0.02)
    (timed,) = timings.timed["colors"]
    assert timed.threads == 1
    assert timed.runs >= 5
    assert 0 < timed.p50_ms <= timed.p95_ms < 1000
    assert timed.memory_bytes is not None
    assert 0 < timed.memory_bytes < 60_000_000
    assert timings.failed == {}
    assert timings.load is None or timings.load >= 0


def test_an_artefact_that_cannot_run_is_told_and_the_others_are_timed(quantized: Bundle, tmp_path: Path) -> None:
    assert quantized.home is not None
    (tmp_path / "bad.tflite").write_bytes(b"junk")
    files = {"bad": tmp_path / "bad.tflite", "good": quantized.home / "exports" / "int8" / "model.tflite"}
    timings = time_artefacts(files, threads=(1,), rounds=1, seconds=0.02)
    assert "no .tflite" in timings.failed["bad"]
    assert list(timings.timed) == ["good"]


def test_rounds_are_interleaved_and_turn_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that grows slower hits all artefacts alike."""
    seen: list[tuple[str, int]] = []
    clock = iter(range(1, 99))

    def stretch(artefact: Path, threads: int, seconds: float) -> dict[str, object]:
        seen.append((artefact.name, threads))
        return {"times_ms": [float(next(clock))] * 2, "joules": 0.006, "memory_bytes": 10 * len(seen)}

    monkeypatch.setattr(latency, "_stretch", stretch)
    files = {name: tmp_path / name for name in ("a", "b")}
    timings = time_artefacts(files, rounds=3)
    round_ = [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert seen == [*round_, *reversed(round_), *round_]
    first = timings.timed["a"][0]  # at the moments 1, 8 and 9
    assert (first.p50_ms, first.runs) == (8.0, 6)
    assert first.memory_bytes == 80
    assert first.energy_mj == pytest.approx(1e3 * 0.018 / 6)


def test_a_slow_round_counts_as_much_as_a_quick_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """1000 runs while nobody disturbs, ten in each of two rounds while somebody does: over all runs together it would
    be 1 ms, in the median as in the 95th percentile."""
    rounds = iter([[1.0] * 1000, [5.0] * 9 + [9.0], [4.0] * 10])
    monkeypatch.setattr(
        latency, "_stretch", lambda *_: {"times_ms": next(rounds), "joules": None, "memory_bytes": None}
    )
    (timed,) = time_artefacts({"a": tmp_path}, threads=(1,), rounds=3).timed["a"]
    assert (timed.p50_ms, timed.p95_ms, timed.runs) == (4.0, 5.0, 1020)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_rounds_of_equal_length_give_the_plain_percentile(share: float) -> None:
    rounds = [[3.0, 1.0, 7.0, 5.0], [2.0, 8.0, 4.0, 6.0]]
    plain = np.percentile(rounds, 100 * share, method="inverted_cdf")
    assert latency._percentile(rounds, share) == plain


def test_a_quick_network_is_timed_as_long_as_a_slow_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A clock that moves by 0.01 ms at every look: a run takes as long, and a round of 0.1 s is 0.1 s of them."""
    clock = iter(range(10**9))
    monkeypatch.setattr(latency_worker.time, "perf_counter", lambda: next(clock) * 1e-5)
    facts = SimpleNamespace(input=SimpleNamespace(shape=(1, 2, 2, 3)))
    runtime = SimpleNamespace(facts=facts, stopwatch=lambda pixels: lambda: None)
    monkeypatch.setattr(latency_worker, "LiteRTRuntime", lambda *_, **__: runtime)
    latency_worker.main("quick.tflite", "1", "0.1", str(tmp_path / "found.json"))
    times = json.loads((tmp_path / "found.json").read_text())["times_ms"]
    assert 3000 < len(times) < 4000  # three looks a run


def test_the_worker_obeys_the_threads_and_writes_the_energy_of_what_it_timed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of the timed runs alone: the meter is made after the warm-up, and tells half a joule a run."""
    opened: list[tuple[Path, int]] = []
    runs: list[int] = []

    class Stub:
        facts = SimpleNamespace(input=SimpleNamespace(shape=(1, 2, 2, 3)))

        def __init__(self, artefact: Path, threads: int) -> None:
            opened.append((artefact, threads))

        def stopwatch(self, pixels: Any) -> Any:
            return lambda: runs.append(pixels.size)

    class HalfAJoule:
        def __init__(self) -> None:
            self.before = len(runs)

        def joules(self) -> float:
            return (len(runs) - self.before) / 2

    monkeypatch.setattr(latency_worker, "LiteRTRuntime", Stub)
    monkeypatch.setattr(latency_worker, "Meter", HalfAJoule)
    # The worker's own words, in this process, where the stubs are.
    monkeypatch.setattr(latency, "run_worker", lambda _, words, **__: latency_worker.main(*words))
    found = latency._stretch(tmp_path / "two.tflite", 2, 0.0)
    assert opened == [(tmp_path / "two.tflite", 2)]
    assert found["joules"] == len(found["times_ms"]) / 2 >= 2.5
    assert len(runs) > len(found["times_ms"]), "there was a warm-up"


def test_energy_is_told_only_where_every_round_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = iter([0.1, None])
    monkeypatch.setattr(latency, "_stretch", lambda *_: {"times_ms": [1.0], "joules": next(told), "memory_bytes": None})
    (timed,) = time_artefacts({"a": tmp_path}, threads=(1,), rounds=2).timed["a"]
    assert timed.energy_mj is None
    assert timed.memory_bytes is None


def test_no_rounds_no_timings(tmp_path: Path) -> None:
    assert time_artefacts({"a": tmp_path}, rounds=0).timed == {}
