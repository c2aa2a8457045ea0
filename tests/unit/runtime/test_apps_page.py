"""The code that docs/apps.md gives for an app: it answers as featherlite itself does."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from featherlite.bundle import Bundle
from featherlite.runtime.predictor import Prediction, Predictor

PAGE = Path(__file__).parents[3] / "docs" / "apps.md"


def test_the_pages_code_answers_alike(
    quantized: Bundle,
    color_photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    quantized.save(tmp_path / "out" / "bundle")
    shutil.copy(color_photos / "green" / "03.png", tmp_path / "new-photo.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(PAGE), "exec"), {})
    label, chance = capsys.readouterr().out.split()
    (own,) = Predictor("out").predict([Path("new-photo.jpg")])
    assert isinstance(own, Prediction)
    assert label == own.guesses[0].label == "green"
    assert float(chance) == pytest.approx(own.guesses[0].probability, abs=1e-6)
