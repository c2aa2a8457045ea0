from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featherlite.cli import all_commands, main, overview
from featherlite.cli.reference import reference
from featherlite.data.audit_tables import read_issues_file
from featherlite.data.checks import check_names

QUICK = ("--weights", "none", "--skip", "wrong-label,off-topic")
"""No features: what they find is tested where they are made."""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes, one photo of which is in both."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    for place, label in enumerate(("finch", "wren")):
        for number in range(5):
            file = folder / label / f"{number}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            coarse = np.random.default_rng(10 * place + number).integers(0, 255, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((90, 60), Image.Resampling.BICUBIC).save(file)
    (folder / "wren/9.jpg").write_bytes((folder / "finch/0.jpg").read_bytes())
    return folder


def document(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["audit", *map(str, words), "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_it_shows_and_writes_what_it_found(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert main(["audit", "photos", *QUICK]) == 0
    shown = capsys.readouterr().out
    assert "label-conflict" in shown
    assert "stops a run until it is decided on" in shown
    assert "featherlite clean photos --audit audit-photos --out photos-clean --apply label-conflict" in shown
    out = Path("audit-photos")
    assert sorted(path.name for path in out.iterdir()) == ["issues.parquet", "report.html"]
    (conflict,) = [issue for issue in read_issues_file(out / "issues.parquet") if issue.check == "label-conflict"]
    assert conflict.paths == ("finch/0.jpg", "wren/9.jpg")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_what_it_names_as_the_next_command_works(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "photos", *QUICK]) == 0
    typed = next(line for line in capsys.readouterr().out.splitlines() if "--apply" in line)
    assert main(typed.partition("featherlite ")[2].split()) == 0
    assert Path("photos-clean/photos.csv").read_text().count(".jpg") == 9


def test_json_is_the_whole_answer_and_writes_nothing_unless_told(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = document(capsys, "photos", "--weights", "none")
    assert told["photos"] == 11
    assert told["report"] is None
    assert not Path("audit-photos").exists()
    (conflict,) = [issue for issue in told["issues"] if issue["check"] == "label-conflict"]
    assert {"check", "paths", "score", "message", "suggestion"} <= set(conflict)
    assert told["checks"]["label-conflict"] == told["blocking"] == 1
    assert {*told["checks"], *told["unmade"]} == set(check_names())
    told = document(capsys, "photos", "--out", "there", "--checks", "dark,leakage")
    assert told["report"] == "there/report.html"
    assert Path("there/issues.parquet").is_file()
    assert set(told["checks"]) == {"dark", "leakage"}


def test_quiet_shows_nothing_and_writes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "photos", *QUICK, "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert Path("audit-photos/report.html").is_file()


def test_the_list_of_checks_needs_no_photos(capsys: pytest.CaptureFixture[str]) -> None:
    listed = document(capsys, "--list")["checks"]
    assert [entry["check"] for entry in listed] == list(check_names())
    assert {entry["check"] for entry in listed if entry["blocks"]} >= {"leakage", "label-conflict"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "the photos are missing"),
        (("photos", "--out", "photos/finch/out"), "lies within the photos"),
        (("photos", "--out", "link"), "lies within the photos"),
        (("photos", "--out", "taken"), "page of something else"),
        (("photos", "--checks", "drak"), "did you mean"),
        (("photos", "--out", "file/audit"), "a parent of it is a file"),
        (("absent",), "no such folder"),
    ],
)
def test_what_is_refused_is_refused_in_words(
    root: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("taken").mkdir()
    Path("taken/report.html").write_text("the page of a run")
    Path("file").write_text("x")
    Path("link").symlink_to(root / "wren")
    assert main(["audit", *words, *QUICK]) == 2
    assert said in capsys.readouterr().err.lower()
    assert Path("taken/report.html").read_text() == "the page of a run"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("closed").mkdir()
    Path("closed").chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert main(["audit", "photos", "--out", "closed"]) == 2
    assert "permission denied" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing_half_written(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["audit", "photos", *QUICK]) == 2
    assert "the disk is full" in capsys.readouterr().err
    assert not list(Path("audit-photos").iterdir())


def test_an_audit_may_be_made_again_in_its_place(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "photos", *QUICK]) == 0
    (root / "wren/9.jpg").unlink()
    assert main(["audit", "photos", *QUICK]) == 0
    assert "label-conflict" not in {issue.check for issue in read_issues_file(Path("audit-photos/issues.parquet"))}


def test_a_command_that_is_a_step_too_is_told_of_once() -> None:
    assert {"audit", "clean"} <= set(all_commands())
    assert overview().count("\n  audit ") == 1
    assert reference().count("## featherlite audit\n") == 1


def test_a_folder_of_which_no_photo_can_be_read_gives_a_page(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in root.rglob("*.jpg"):
        file.write_bytes(b"no photo at all")
    assert main(["audit", "photos", *QUICK]) == 1
    shown = capsys.readouterr().out
    assert "finch/0.jpg: not an image" in shown
    assert "No photo here can be used: see the page." in shown
    assert "Nothing found by" not in shown
    issues = read_issues_file(Path("audit-photos/issues.parquet"))
    assert {issue.check for issue in issues} == {"unreadable"}
    assert len(issues) == 11 + 2
    page = Path("audit-photos/report.html").read_text("utf-8")
    assert "No photo here can be used" in page
    assert "11 files were found" in page
    assert "no photo to look at" in page
    assert "no picture" not in page.lower()
    assert main(["audit", "photos", *QUICK, "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["faults"]) == 13


def test_one_class_only_is_audited_and_called_too_few(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in (root / "wren").iterdir():
        file.unlink()
    (root / "wren").rmdir()
    assert main(["audit", "photos", *QUICK]) == 0
    shown = capsys.readouterr().out
    assert "Only one class ('finch') has photos" in shown
    assert "featherlite run" not in shown
    page = Path("audit-photos/report.html").read_text("utf-8")
    assert "no run takes these photos as they are" in page
    assert "nothing stops a run" not in page
    assert main(["run", "demo", "--data", "photos", "--out", "out"]) == 2
    assert "only one class" in capsys.readouterr().err


def test_names_that_differ_only_by_case_are_reported_and_joined(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "wren/9.jpg").unlink()
    for number in range(3):
        shown = np.random.default_rng(50 + number).integers(0, 255, (6, 6, 3), dtype=np.uint8)
        (root / "Wren").mkdir(exist_ok=True)
        Image.fromarray(shown).resize((90, 60), Image.Resampling.BICUBIC).save(root / "Wren" / f"{number}.jpg")
    assert main(["audit", "photos", *QUICK]) == 0
    told = capsys.readouterr().out
    assert "No run takes these photos as they are. The classes 'Wren' and 'wren' differ only in case" in told
    (alike,) = [one for one in read_issues_file(Path("audit-photos/issues.parquet")) if one.check == "alike-names"]
    assert (alike.action, alike.to, len(alike.targets)) == ("merge", "wren", 3)
    assert "differ only in case" in alike.message
    page = Path("audit-photos/report.html").read_text("utf-8")
    assert "no run takes these photos as they are" in page
    typed = next(line for line in told.splitlines() if "--apply" in line)
    assert typed.startswith("Join the classes of like names")
    assert main(typed.partition("featherlite ")[2].split()) == 0
    rows = Path("photos-clean/photos.csv").read_text("utf-8").splitlines()[1:]
    assert {row.split(",")[1] for row in rows} == {"finch", "wren"}


def test_an_empty_class_folder_is_an_issue(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "owl").mkdir()
    issues = document(capsys, "photos", *QUICK)["issues"]
    (empty,) = [issue for issue in issues if issue["check"] == "unreadable"]
    assert empty["paths"] == ["owl"]
    assert "class 'owl' has no readable photo" in empty["message"]


def test_a_run_that_is_stopped_by_the_audit_leaves_its_page(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = "\n".join(f'[[steps]]\nstep = "{name}"' for name in ("clean", "split"))
    steps = f'[[steps]]\nstep = "audit"\nskip = ["wrong-label", "off-topic"]\n{steps}'
    Path("tidy.toml").write_text(f'title = "Tidy"\ndescription = "No training."\n{steps}\n')
    road = ["run", "tidy.toml", "--data", "photos", "--out", "out"]
    assert main(road) == 2
    told = capsys.readouterr()
    assert "1 of label-conflict" in told.err
    assert "Page: out/audit.html" in told.out
    page = Path("out/audit.html").read_text("utf-8")
    command = "featherlite run tidy.toml --data photos --out out --set clean.apply=label-conflict"
    assert command in page
    assert "data:image/jpeg" in page
    report = Path("out/report.html").read_text("utf-8")
    for said in ("<h1>No model yet</h1>", "the run stopped at clean", "1 of label-conflict", command, "audit.html"):
        assert said in report
    assert "What this model can do" not in report
    assert str(root.parent) not in report
    assert main([*road, "--set", "clean.apply=label-conflict"]) == 0
    report = Path("out/report.html").read_text("utf-8")
    assert 'href="audit.html"' in report
    assert "2 left out" in report
    assert "the photos were looked over, decided on and split; no network was trained" in report
    page = Path("out/audit.html").read_text("utf-8")
    assert "what stops a run was decided on" in page
    assert "clean.apply" not in page
    Path("out/audit.html").unlink()
    assert main(["report", "out"]) == 0
    assert Path("out/audit.html").read_text("utf-8") == page
    assert Path("out/report.html").read_text("utf-8") == report
