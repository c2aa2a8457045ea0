from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from featherlite.evaluate.cost.energy import Meter
from featherlite.evaluate.cost.machine import machine_facts
from featherlite.evaluate.cost.memory import PeakMemory, peak_bytes


def zone(root: Path, name: str, what: str, microjoules: int, reach: int = 1_000_000_000) -> Path:
    (root / name).mkdir(parents=True)
    (root / name / "name").write_text(f"{what}\n")
    (root / name / "energy_uj").write_text(f"{microjoules}\n")
    (root / name / "max_energy_range_uj").write_text(f"{reach}\n")
    return root / name / "energy_uj"


def test_joules_of_all_packages(tmp_path: Path) -> None:
    first, second = zone(tmp_path, "intel-rapl:0", "package-0", 100), zone(tmp_path, "intel-rapl:1", "package-1", 7)
    part = zone(tmp_path, "intel-rapl:0:0", "core", 50)
    other = zone(tmp_path, "intel-rapl:2", "psys", 1)
    meter = Meter(tmp_path)
    first.write_text("2500100\n")
    second.write_text("500007\n")
    part.write_text("900000\n")  # is in its package's already
    other.write_text("900000\n")
    assert meter.joules() == 3.0


def test_a_counter_that_starts_again(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 900_000, reach=1_000_000)
    meter = Meter(tmp_path)
    counter.write_text("400000\n")
    assert meter.joules() == 0.5


@pytest.mark.parametrize("content", ["", "junk", "-5"])
def test_nothing_is_told_where_the_machine_does_not_tell(content: str, tmp_path: Path) -> None:
    assert Meter(tmp_path / "absent").joules() is None
    assert Meter(tmp_path).joules() is None
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 5)
    meter = Meter(tmp_path)
    counter.write_text(content)
    assert meter.joules() is None


@pytest.mark.skipif(os.getuid() == 0, reason="root may read what nobody may")
def test_a_counter_for_root_alone(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 5).chmod(0)
    assert Meter(tmp_path).joules() is None


def test_the_peak_is_read_from_the_status(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tx\nVmPeak:\t  900 kB\nVmHWM:\t    123 kB\nVmRSS:\t 1 kB\n")
    assert peak_bytes(tmp_path) == 123 * 1024
    memory = PeakMemory(tmp_path)
    (tmp_path / "status").write_text("VmHWM:\t 223 kB\n")
    assert memory.grown() == 100 * 1024
    assert (tmp_path / "clear_refs").read_text() == "5"


@pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")
def test_memory_that_was_used_and_freed_counts_after_the_start_and_not_before() -> None:
    script = (
        "from featherlite.evaluate.cost.memory import PeakMemory\n"
        "before = bytearray(80_000_000); del before\n"
        "memory = PeakMemory(); block = bytearray(40_000_000); del block\n"
        "print(memory.grown())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 39_000_000 < int(done.stdout) < 60_000_000


def test_the_machine_is_described(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some  CPU @ 2.00GHz\n")
    facts = machine_facts(tmp_path / "cpuinfo")
    assert facts["processor"] == "Some CPU @ 2.00GHz"
    assert facts["cores"] >= 1
    assert facts["memory_bytes"] > 1e8
    assert "ai-edge-litert" in facts
    assert machine_facts(tmp_path / "absent")["processor"]
