"""The road as a user walks it: the real command line in processes of its own, from photos to a verified artefact."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
FEATHERLITE = [sys.executable, "-c", "import sys; from featherlite.cli import main; sys.exit(main())"]


def call(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*FEATHERLITE, *map(str, words)], capture_output=True, text=True, env=os.environ.copy())


def document(*words: object, code: int = 0) -> dict[str, Any]:
    done = call(*words, "--json")
    assert done.returncode == code, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def walked(sample_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("road") / "out"
    return out, document("run", HERE / "tiny.toml", "--data", sample_photos, "--out", out)


def test_the_ladder_ends_with_the_verified_artefact(walked: tuple[Path, dict[str, Any]]) -> None:
    out, result = walked
    rows = result["rows"]
    assert [row["step"] for row in rows] == ["split", "build", "train", "quantize", "verify"]
    last = rows[-1]
    assert last["subject"] == "int8"
    assert last["bytes"] == (out / "bundle" / "exports" / "int8" / "model.tflite").stat().st_size
    assert last["top1"]["split"] == "test"
    assert 0 <= last["top1"]["low"] <= last["top1"]["value"] <= last["top1"]["high"] <= 1
    assert last["arena_bytes"] > 0
    assert rows[2]["top1"]["split"] == "val"
    assert document("ladder", out)["rows"] == rows


def test_verify_agrees_in_every_runtime(walked: tuple[Path, dict[str, Any]]) -> None:
    out, result = walked
    (export,) = document("verify", out)["exports"]
    assert export["passed"]
    assert export["int8_only"]
    assert {"litert", "litert_reference", "tflm"} <= set(export["runtimes"])
    assert export["runtimes"]["tflm"]["max_lsb"] <= 1
    assert export["runtimes"]["tflm"]["top1"]["value"] == pytest.approx(result["rows"][-1]["top1"]["value"], abs=0.1)


def test_predict_names_the_species_and_lists_what_it_cannot_read(
    walked: tuple[Path, dict[str, Any]], sample_photos: Path, tmp_path: Path
) -> None:
    out, _ = walked
    photo = next(sample_photos.glob("*/*.jpg"))
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photo.read_bytes()[:500])
    results = document("predict", out, photo, broken, code=1)["results"]
    named = {prediction["label"] for prediction in results[0]["predictions"]}
    assert named == {folder.name for folder in sample_photos.iterdir() if folder.is_dir()}
    assert sum(p["probability"] for p in results[0]["predictions"]) == pytest.approx(1, abs=1e-3)
    assert "error" in results[1]
    assert "predictions" not in results[1]


def test_the_report_is_one_page(walked: tuple[Path, dict[str, Any]]) -> None:
    out, result = walked
    text = Path(result["report"]).read_text("utf-8")
    assert "<html" in text
    assert Path(document("report", out)["report"]) == out / "report.html"


def test_a_second_run_reuses_every_step(walked: tuple[Path, dict[str, Any]], sample_photos: Path) -> None:
    out, result = walked
    again = document("run", HERE / "tiny.toml", "--data", sample_photos, "--out", out)
    assert again["reused"] == 5
    assert again["rows"] == result["rows"]


def test_a_change_in_a_late_step_reuses_the_early_ones(
    walked: tuple[Path, dict[str, Any]], sample_photos: Path, tmp_path: Path
) -> None:
    out, result = walked
    shutil.copytree(out, tmp_path / "out")
    again = document(
        "run", HERE / "tiny.toml", "--data", sample_photos, "--out", tmp_path / "out", "--set", "quantize.photos=6"
    )
    assert again["reused"] == 3
    assert again["rows"][2] == result["rows"][2]


def test_what_does_not_fit_the_device_fails_and_spoils_nothing(
    walked: tuple[Path, dict[str, Any]], sample_photos: Path, tmp_path: Path
) -> None:
    out, _ = walked
    shutil.copytree(out, tmp_path / "out")
    before = json.loads((tmp_path / "out" / "bundle" / "bundle.json").read_text())["id"]
    words = ("run", HERE / "tiny.toml", "--data", sample_photos, "--out", tmp_path / "out")
    failed = document(*words, "--set", "verify.max_flash_bytes=1", code=1)
    assert "flash: needs" in failed["error"]["message"]
    assert not failed["exports"][0]["passed"]
    assert json.loads((tmp_path / "out" / "bundle" / "bundle.json").read_text())["id"] == before
    assert document("verify", tmp_path / "out")["exports"][0]["passed"]


def test_results_do_not_go_among_the_photos(sample_photos: Path) -> None:
    failed = document("run", "demo", "--data", sample_photos, "--out", sample_photos / "out", code=2)
    assert "lies within the photos" in failed["error"]["message"]


def test_evaluate_tells_its_scores(walked: tuple[Path, dict[str, Any]]) -> None:
    scores = document("evaluate", walked[0], "--split", "val")["metrics"]["val"]
    assert {"top1", "top5", "macro_f1", "per_class", "confusion"} <= set(scores)
    assert "macro-F1" in call("evaluate", walked[0], "--split", "val").stdout


def test_a_bundle_moved_without_its_photos_still_predicts(
    walked: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = walked
    moved = tmp_path / "moved"
    shutil.copytree(out / "bundle", moved)
    (moved / "local.json").unlink()
    assert document("predict", moved, next((HERE.parent).glob("e2e/tiny.toml")), code=1)["results"][0]["error"]
    monkeypatch.setenv("FEATHERLITE_CACHE", str(tmp_path / "no photo decoded yet"))
    failed = document("verify", moved, code=2)
    assert "--data" in failed["error"]["hint"]


def test_the_lists_say_what_there_is() -> None:
    assert {"split", "train"} <= {row["step"] for row in document("steps")["steps"]}
    assert {"demo", "mcu", "mcu-small", "phone"} <= {row["name"] for row in document("recipes")["recipes"]}
    assert {"feathernet", "EfficientNetB0"} <= {row["name"] for row in document("models")["models"]}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("trian",), "Did you mean 'train'?"),
        (("run", "demoo", "--data", ".", "--out", "x"), "Did you mean 'demo'?"),
        (("run", "demo", "--data", "nowhere", "--out", "x"), "nowhere"),
        (("run", "demo", "--data", ".", "--out", "x", "--set", "train.epoch=3"), "Did you mean 'epochs'?"),
        (("ladder", "nowhere"), "not a bundle"),
        (("predict",), "BUNDLE"),
    ],
)
def test_a_wrong_request_gets_a_clear_line(words: tuple[str, ...], says: str, tmp_path: Path) -> None:
    done = subprocess.run([*FEATHERLITE, *words, "--json"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    error = json.loads(done.stdout)["error"]
    assert says in error["message"] + error["hint"]
