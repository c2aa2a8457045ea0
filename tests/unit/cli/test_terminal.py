from __future__ import annotations

import json

import pytest

from featherlite.cli import main
from featherlite.cli.terminal import Terminal
from featherlite.errors import RequestError


def test_names_are_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().show("A [/b] x: Robin [female] :smile: " + "y" * 200)
    assert capsys.readouterr().out == "A [/b] x: Robin [female] :smile: " + "y" * 200 + "\n"


def test_json_is_one_document_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(as_json=True)
    terminal.show("not shown")
    terminal.finish({"a": "ü"})
    assert json.loads(capsys.readouterr().out) == {"a": "ü"}


def test_quiet_shows_errors_only(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(quiet=True)
    terminal.show("not shown")
    terminal.fail(RequestError("wrong", "mend it"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: wrong\n  mend it\n"


def test_a_fault_of_ours_is_told_without_a_trace(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> int:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr("featherlite.cli.commands.steps.main", broken)
    assert main(["steps", "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["type"] == "UnexpectedError"
    assert "Traceback" not in captured.err


def test_version_and_help_name_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("featherlite 0.")
    assert main([]) == 0
    assert "usage: featherlite" in capsys.readouterr().out
