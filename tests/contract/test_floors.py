"""The house's floors: a file imports only from floors below it; the edge runtime never sees a training framework."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent.parent / "src" / "featherlite"
FLOORS = {
    "cli": 7,
    "run": 6,
    "keys": 6,
    "recipe": 6,
    "workplace": 6,
    "study": 6,
    "training": 5,
    "shrink": 5,
    "quantize": 5,
    "export": 5,
    "evaluate": 5,
    "report": 5,
    "data": 4,
    "models": 3,
    "step": 2,
    "bundle": 2,
    "preprocess": 2,
    "download": 2,
    "hub": 2,
    "history": 2,
    "reference": 2,
    "code_version": 2,
    "comparison": 2,
    "devices": 2,
    "runtime": 2,
    "recipes": 2,
    "errors": 1,
}
SIDEWAYS = {("shrink", "training"), ("quantize", "training"), ("shrink", "evaluate"), ("quantize", "evaluate")}
"""Rooms that retrain may call training.fit; rooms that measure may call evaluate."""
FILES = sorted(path for path in SOURCE.rglob("*.py") if path.parent != SOURCE or path.stem != "__init__")


def imported(path: Path) -> set[str]:
    """Modules of featherlite that the file imports, anywhere in it, without the package's name.

    A relative import fails here: what it names depends on where the file lies, so it would slip past the floors.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively: write from featherlite... instead"
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("featherlite"):
            rest = (node.module or "").split(".")[1:]
            found |= {rest[0]} if rest else {alias.name for alias in node.names if alias.name in FLOORS}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("featherlite.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_imports_go_down(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert room in FLOORS, f"{room} has no floor: give it one here and in the design"
    for other in imported(path) - {room}:
        down = FLOORS[other] < FLOORS[room] or (FLOORS[other] == FLOORS[room] and FLOORS[room] in (2, 6))
        assert down or (room, other) in SIDEWAYS, f"{path.relative_to(SOURCE)} imports {other}"


@pytest.mark.parametrize("line", ["from . import cli", "from ..cli import main", "def f():\n    from ...cli import g"])
def test_a_relative_import_cannot_hide(line: str, tmp_path: Path) -> None:
    (tmp_path / "room.py").write_text(f"import os\n{line}\n", "utf-8")
    with pytest.raises(AssertionError, match=r"room\.py:\d imports relatively"):
        imported(tmp_path / "room.py")


@pytest.mark.parametrize("path", sorted((SOURCE / "runtime").glob("*.py")), ids=lambda path: path.name)
def test_the_runtime_stands_alone(path: Path) -> None:
    assert imported(path) <= {"runtime", "bundle", "preprocess", "errors"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_a_file_is_one_room(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 500


def test_light_modules_import_no_framework() -> None:
    """The registries, the command line, the predictor and every step's module load without Keras and TensorFlow."""
    script = (
        "import sys, importlib\n"
        "from featherlite.step import steps, load_step\n"
        "from featherlite.models.backbones import backbones\n"
        "import featherlite, featherlite.cli, featherlite.run, featherlite.recipe, featherlite.runtime.predictor\n"
        "[load_step(name) for name in steps()]; backbones()\n"
        "heavy = {'keras', 'tensorflow', 'torch', 'jax', 'pyarrow', 'h5py', 'tflite_micro'} & set(sys.modules)\n"
        "print(sorted(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
