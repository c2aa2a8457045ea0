"""A study as a user walks it: the real command line, a process a row, from photos to what to ship."""

from __future__ import annotations

import csv
import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from featherlite.comparison import Comparison, read_comparison

HERE = Path(__file__).parent
FEATHERLITE = [sys.executable, "-c", "import sys; from featherlite.cli import main; sys.exit(main())"]


def words(photos: Path, out: Path, *more: object, study: Path = HERE / "tiny-study.toml") -> list[str]:
    given = ("compare", study, "--data", photos, "--out", out, "--set", "quantize.photos=12", "--rounds", 1, "--json")
    return [*FEATHERLITE, *map(str, (*given, *more))]


def compare(photos: Path, out: Path, *more: object, code: int = 0, **options: Any) -> tuple[dict[str, Any], str]:
    done = subprocess.run(words(photos, out, *more, **options), capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout), done.stderr


def timeless(out: Path) -> list[dict[str, Any]]:
    """The rows without what differs from run to run."""
    rows = [row.model_dump(mode="json") for row in read_comparison(out).rows]
    for row in rows:
        for key in ("latency", "train_seconds", "peak_memory_bytes", "efficient"):  # efficient hangs on the latency
            row.pop(key)
    return rows


@pytest.fixture(scope="module")
def study_with_a_bad_row(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    (folder / "broken.h5").write_bytes(b"no weights at all")
    text = (HERE / "tiny-study.toml").read_text("utf-8").partition('[[networks]]\nname = "MobileNetV1"')[0]
    bad = f'[[networks]]\nname = "broken"\nset = {{ "build.weights" = "{folder / "broken.h5"}" }}\n'
    (folder / "study.toml").write_text(text + bad, "utf-8")
    return folder / "study.toml"


@pytest.fixture(scope="module")
def compared(
    sample_photos: Path, study_with_a_bad_row: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("compared") / "out"
    return out, compare(sample_photos, out, code=1, study=study_with_a_bad_row)[0]


def test_a_row_that_fails_is_told_and_the_others_go_on(compared: tuple[Path, dict[str, Any]]) -> None:
    out, result = compared
    done, failed = result["rows"]
    assert (done["name"], done["status"]) == ("feathernet", "done")
    assert (failed["name"], failed["status"]) == ("broken", "failed")
    assert "broken.h5" in failed["error"]
    assert failed["top1"] is None
    assert result["recommended"] == "feathernet"
    assert read_comparison(out).row("broken") is not None


def test_a_row_has_every_figure(compared: tuple[Path, dict[str, Any]]) -> None:
    out, result = compared
    row = result["rows"][0]
    home = out / "rows" / "feathernet" / "seed-0" / "bundle" / "exports"
    for precision in ("float32", "float16", "int8"):
        file = (home / precision / "model.tflite").stat().st_size
        assert row["file_bytes"][precision] == file
        assert 0 < row["weight_bytes"][precision] < file
    assert row["weight_bytes"]["float16"] == pytest.approx(row["weight_bytes"]["float32"] / 2, rel=0.01)
    assert row["top1"]["n"] == row["int8_top1"]["n"] == result["n"] == 13
    assert row["top5"]["value"] == 1.0  # of three classes
    assert 0 <= row["macro_f1"]["low"] <= row["macro_f1"]["value"] <= row["macro_f1"]["high"] <= 1
    for precision in ("float32", "int8"):
        assert set(row["latency_ms"][precision]) == {"1", "2"}
        assert row["latency_ms"][precision]["1"]["p50"] <= row["latency_ms"][precision]["1"]["p95"]
        assert 0 < row["peak_memory_bytes"][precision] < 100e6
    assert row["train_seconds"] > 0
    assert row["parameters"] > 0
    assert row["macs"] > 0
    assert result["drawings"]
    assert result["classes"] == 3
    assert result["machine"]["cores"] >= 1


def test_tables_and_page_lie_beside(compared: tuple[Path, dict[str, Any]]) -> None:
    import pyarrow.parquet

    out, result = compared
    with (out / "comparison.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == ["feathernet", "broken"]
    assert float(rows[0]["top1"]) == result["rows"][0]["top1"]["value"]
    assert pyarrow.parquet.read_table(out / "comparison.parquet").column("weight_bytes_int8").to_pylist()[0] > 0
    assert "feathernet" in (out / "comparison.html").read_text("utf-8")
    assert (out / "rows" / "feathernet" / "seed-0" / "report.html").is_file()
    assert Comparison.model_validate_json((out / "comparison.json").read_bytes()).recommended == "feathernet"


def test_a_second_run_trains_only_what_failed(
    compared: tuple[Path, dict[str, Any]], sample_photos: Path, study_with_a_bad_row: Path
) -> None:
    out, result = compared
    bundle = out / "rows" / "feathernet" / "seed-0" / "bundle" / "bundle.json"
    before = (bundle.stat().st_mtime_ns, timeless(out))
    again, _ = compare(sample_photos, out, code=1, study=study_with_a_bad_row)
    assert (bundle.stat().st_mtime_ns, timeless(out)) == before
    assert again["rows"] == result["rows"]  # the timings are kept as well


def test_run_and_compare_point_to_each_other(sample_photos: Path, tmp_path: Path) -> None:
    given = ("--data", sample_photos, "--out", tmp_path / "out", "--json")
    for command, file, says in (
        ("run", HERE / "tiny-study.toml", "featherlite compare"),
        ("compare", HERE / "tiny.toml", "featherlite run"),
        ("compare", "demo", "featherlite run demo"),
    ):
        done = subprocess.run([*FEATHERLITE, *map(str, (command, file, *given))], capture_output=True, text=True)
        assert done.returncode == 2
        assert says in json.loads(done.stdout)["error"]["hint"]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_in_the_middle_of_a_row_it_ends_the_same(sample_photos: Path, tmp_path: Path) -> None:
    """SIGKILL to the command alone: the worker has to notice, and the rerun must not find it at work."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    compare(sample_photos, whole)
    process = subprocess.Popen(words(sample_photos, killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    order = killed / "rows" / "MobileNetV1" / "seed-0" / "run.json"
    deadline = time.monotonic() + 1500
    while not order.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = killed / "rows" / "feathernet" / "seed-0" / "result.json"
    digest = hashlib.sha256(first.read_bytes()).hexdigest()
    assert [row.name for row in read_comparison(killed).rows] == ["feathernet"]
    compare(sample_photos, killed)
    assert hashlib.sha256(first.read_bytes()).hexdigest() == digest, "a finished row was repeated"
    assert timeless(killed) == timeless(whole)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ctrl_c_leaves_a_comparison_of_what_is_done(sample_photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(words(sample_photos, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 1500
    while not (out / "rows" / "MobileNetV1" / "seed-0" / "run.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=180)
    assert process.returncode == 130
    assert "Run the same command again to go on" in stderr
    assert [row.name for row in read_comparison(out).rows] == ["feathernet"]
    assert (out / "comparison.html").is_file()
    document, _ = compare(sample_photos, out)
    assert [row["status"] for row in document["rows"]] == ["done", "done"]
    assert len(document["pairs"]) == 1
