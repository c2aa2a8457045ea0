"""What code a step's result hangs on: what it reaches, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import featherlite.code_version as subject
from featherlite.code_version import ROOT, code_of, code_version, reached_by


def names(*modules: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in reached_by(*modules)}


def test_a_step_reaches_what_it_imports_even_within_functions() -> None:
    reached = names("featherlite.training.train")
    assert {"training/train.py", "training/fit.py", "training/schedule.py", "data/photos.py", "bundle.py"} <= reached


def test_a_registry_brings_all_of_its_members() -> None:
    assert {"data/checks/blurred.py", "data/checks/wrong_label.py"} <= names("featherlite.data.audit")
    assert "models/backbones/feathernet.py" in names("featherlite.models.build")


def test_a_process_of_its_own_counts() -> None:
    assert {"models/convert_worker.py", "runtime/worker.py"} <= names("featherlite.quantize.quantize")


def test_what_is_not_reached_does_not_count() -> None:
    for module in ("featherlite.data.split", "featherlite.training.train", "featherlite.quantize.quantize"):
        rooms = {name.split("/")[0] for name in names(module)}
        assert not rooms & {"cli", "report", "study", "run.py"}, module
    assert "data/checks/blurred.py" not in names("featherlite.training.train")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small package of its own in featherlite's place."""
    root = tmp_path / "featherlite"
    (root / "room" / "kinds").mkdir(parents=True)
    (root / "__init__.py").write_text("from featherlite.other import everything\n__version__ = '1'\n")
    (root / "other.py").write_text("everything = 1\n")
    (root / "room" / "__init__.py").write_text("")
    (root / "room" / "step.py").write_text("def go():\n    from featherlite.room.kinds import find\n")
    (root / "room" / "kinds" / "__init__.py").write_text('def find(n): return import_module(f"{__name__}.{n}")\n')
    (root / "room" / "kinds" / "one.py").write_text("WORKER = 'featherlite.room.worker'\n")
    (root / "room" / "worker.py").write_text("1\n")
    monkeypatch.setattr(subject, "ROOT", root)
    forget()
    yield root
    forget()


def forget() -> None:
    subject._imported.cache_clear()
    subject.code_of.cache_clear()
    subject.code_version.cache_clear()


def test_the_hash_follows_what_is_reached(package: Path) -> None:
    def now() -> tuple[str, str]:
        forget()
        return code_of("featherlite.room.step"), code_version()

    before = now()
    (package / "other.py").write_text("everything = 2\n")
    unrelated = now()
    assert unrelated[0] == before[0]
    assert unrelated[1] != before[1]
    for reached in ("room/worker.py", "room/kinds/one.py", "room/__init__.py"):
        last = now()[0]
        (package / reached).write_text("2\n" if "one" not in reached else "WORKER = 'featherlite.room.worker' # 2\n")
        assert now()[0] != last, reached
    last = now()[0]
    (package / "room" / "kinds" / "two.py").write_text("2\n")
    assert now()[0] != last


def test_nothing_is_imported(package: Path) -> None:
    (package / "room" / "worker.py").write_text("raise RuntimeError\n")
    forget()
    assert code_of("featherlite.room.step")
    assert "featherlite.room.worker" not in sys.modules
