"""CONTRIBUTING's walkthrough is executed: its text, saved where it says, is a working step."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_walkthrough_adds_a_step(tmp_path: Path) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    place = re.search(r"saved as `(src/featherlite/\S+\.py)`", text)
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert place is not None
    assert code is not None
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / place[1]).write_text(code[1], "utf-8")

    def featherlite(*words: str) -> dict[str, object]:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
        command = [sys.executable, "-c", "import sys; from featherlite.cli import main; sys.exit(main())", *words]
        done = subprocess.run([*command, "--json"], capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    assert "sparsify" in {entry["step"] for entry in featherlite("steps")["steps"]}  # type: ignore[attr-defined]
    script = (
        "import sys; from featherlite.bundle import Bundle, Label; from featherlite.run import run_step\n"
        "from featherlite.data.splits import Splits, write_splits\n"
        "labeled = Bundle().with_labels((Label(name='a'), Label(name='b')))\n"
        "start = labeled.with_files({'splits.parquet': write_splits(Splits.from_rows([]))})\n"
        "run_step('build', start, None, {'input_px': 48})[0].save(sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "built")], check=True, capture_output=True)
    document = featherlite("sparsify", str(tmp_path / "built"), str(tmp_path / "sparse"), "--share", "0.7")
    assert int(document["zeroed_weights"]) > 1000  # type: ignore[call-overload]
