"""CONTRIBUTING's walkthrough is executed: its text, saved where it says, is a working step."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parent.parent.parent


def written_out(tmp_path: Path, name: str) -> Path:
    """A copy of the source in which the walkthrough's file of that name is saved; the copy's folder."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    place = re.search(rf"saved as\s+`(src/featherlite/\S+/{name}\.py)`", text)
    assert place is not None
    code = re.search(r"```python\n(.*?)```", text[place.end() :], re.DOTALL)
    assert code is not None
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / place[1]).write_text(code[1], "utf-8")
    return tmp_path / "src"


def featherlite(source: Path, *words: str) -> dict[str, Any]:
    """The JSON of a command, run from that source."""
    environment = {**os.environ, "PYTHONPATH": str(source)}
    command = [sys.executable, "-c", "import sys; from featherlite.cli import main; sys.exit(main())", *words]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, env=environment, cwd=source.parent)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_the_walkthrough_adds_a_step(tmp_path: Path) -> None:
    source = written_out(tmp_path, "sparsify")
    assert "sparsify" in {entry["step"] for entry in featherlite(source, "steps")["steps"]}
    script = (
        "import sys; from featherlite.bundle import Bundle, Label; from featherlite.run import run_step\n"
        "from featherlite.data.splits import Splits, write_splits\n"
        "labeled = Bundle().with_labels((Label(name='a'), Label(name='b')))\n"
        "start = labeled.with_files({'splits.parquet': write_splits(Splits.from_rows([]))})\n"
        "run_step('build', start, None, {'input_px': 48})[0].save(sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "built")], check=True, capture_output=True)
    document = featherlite(source, "sparsify", str(tmp_path / "built"), str(tmp_path / "sparse"), "--share", "0.7")
    assert document["zeroed_weights"] > 1000


def test_the_walkthrough_adds_a_check(tmp_path: Path) -> None:
    source = written_out(tmp_path, "greenish")
    for label, color in (("a", (90, 90, 90)), ("b", (60, 240, 60))):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (64, 64), tuple(part + number for part in color)).save(  # type: ignore[arg-type]
                tmp_path / "photos" / label / f"{number}.png"
            )
    issues = featherlite(source, "audit", str(tmp_path / "photos"), "--checks", "greenish")["issues"]
    assert [issue["paths"] for issue in issues] == [["b/0.png"], ["b/1.png"], ["b/2.png"]]
    assert all(issue["score"] == 1.0 for issue in issues)
