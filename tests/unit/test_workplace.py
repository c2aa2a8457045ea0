"""Where a step is at work: what a kill leaves behind, and that nothing of it is lost or lies about for good."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from featherlite.bundle import Bundle
from featherlite.recipe import PlannedStep, Recipe, parse_recipe
from featherlite.run import run_recipe, run_step
from featherlite.step import Context, Step, StepConfig
from featherlite.workplace import WORK, Stopwatch, work_folder


def killed_once_it_prints(code: str, *words: object) -> None:
    """Runs Python code in a process of its own and kills it by SIGKILL as soon as it has printed a line."""
    command = [sys.executable, "-c", code, *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        process.kill()
        assert process.wait() == -signal.SIGKILL, process.stderr.read()
    assert line


def test_the_time_of_a_killed_process_counts(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; import featherlite.workplace as workplace\n"
        "workplace.EVERY = 0.05\n"
        "with workplace.Stopwatch(Path(sys.argv[1])):\n"
        "    time.sleep(0.6); print('at work', flush=True); time.sleep(60)\n"
    )
    for least in (0.4, 0.8):
        killed_once_it_prints(code, tmp_path / "seconds")
        with Stopwatch(tmp_path / "seconds") as watch:
            assert least < watch.seconds < 30


@pytest.mark.parametrize("content", [b"", b"ten hours", b"-5", b"nan", b"inf", b"\xff"])
def test_a_damaged_note_of_the_time_counts_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "seconds").write_bytes(content)
    assert 0 <= Stopwatch(tmp_path / "seconds").seconds < 30


def test_a_step_that_went_on_reports_all_its_time(color_photos: Path, tmp_path: Path) -> None:
    calls = []

    def slow(bundle: Bundle, config: StepConfig, context: Context) -> Bundle:
        calls.append(context)
        if len(calls) == 1:
            time.sleep(0.5)
            raise KeyboardInterrupt
        return bundle.with_files({"labels.json": b"[]"})

    step = Step("slow", StepConfig, slow, frozenset(), frozenset(), "", False)
    recipe = Recipe("test", "test", "", 0, (PlannedStep("slow", step, StepConfig()),))
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, color_photos, tmp_path / "out", cache=tmp_path / "cache")
    report = run_recipe(recipe, color_photos, tmp_path / "out", cache=tmp_path / "cache").bundle.history[0]
    assert 0.5 <= report.seconds < 30
    assert [one.name for one in (tmp_path / "out" / "store").iterdir()] == [report.key]


DIES = (
    "import os, signal, sys; from pathlib import Path; import featherlite.bundle as bundle\n"
    "write = bundle._write\n"
    "def dies(source, target):\n"
    "    if target.name == 'bundle.json' and 'store' not in target.parts:\n"
    "        print('about to end', flush=True); signal.pause()\n"
    "    return write(source, target)\n"
    "bundle._write = dies\n"
    "from featherlite.recipe import parse_recipe; from featherlite.run import run_recipe, run_step\n"
    "photos, out, cache = map(Path, sys.argv[1:])\n"
)
STEPS = [{"step": "split", "near_duplicates": False}]


def test_what_a_kill_left_of_a_publication_is_swept(color_photos: Path, tmp_path: Path) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    code = f"{DIES}run_recipe(parse_recipe({{'steps': {STEPS}}}, 'test'), photos, out, cache=cache)"
    killed_once_it_prints(code, color_photos, out, cache)
    assert {one.name for one in out.iterdir()} > {".lock", "run.json", "store"}
    run_recipe(parse_recipe({"steps": STEPS}, "test"), color_photos, out, cache=cache)
    assert {one.name for one in out.iterdir()} == {".lock", "run.json", "store", "bundle"}


def test_what_a_kill_left_of_a_single_step_is_swept(color_photos: Path, tmp_path: Path) -> None:
    cache, at = tmp_path / "cache", tmp_path / "at"
    at.mkdir()
    settings = {"near_duplicates": False}
    code = f"{DIES}run_step('split', None, out, {settings}, data=photos, cache=cache)"
    killed_once_it_prints(code, color_photos, at / "one", cache)
    left = {one.name for one in at.iterdir()}
    assert any(name.startswith(WORK) for name in left)
    (at / ".mine").mkdir()
    run_step("split", None, at / "two", settings, data=color_photos, cache=cache)
    assert {one.name for one in at.iterdir() if not one.name.startswith(".one.")} == {"two", ".mine"}


def test_a_folder_in_use_is_not_swept(tmp_path: Path) -> None:
    with work_folder(tmp_path) as mine:
        (mine / "x").touch()
        with work_folder(tmp_path) as other:
            assert (mine / "x").exists()
            assert other != mine
        assert not other.exists()
    assert not list(tmp_path.iterdir())


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "x").touch()
    (tmp_path / f"{WORK}link").symlink_to(tmp_path / "precious")
    with work_folder(tmp_path):
        pass
    assert (tmp_path / "precious" / "x").exists()
