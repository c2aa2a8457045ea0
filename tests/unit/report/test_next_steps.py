"""What a page says to type next: the command of the very run that it speaks of."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from featherlite.cli.arguments import add_fields, parser
from featherlite.cli.commands.run import RunOptions
from featherlite.errors import StoppedError
from featherlite.recipe import load_recipe
from featherlite.report.next_steps import read_run_note
from featherlite.run import _note

STOPPED = StoppedError("Stopped.", "Go on.")


def command_of(out: Path, *overrides: str, seed: int | None = None) -> str:
    """What the page of a run says to type, which was asked for with these overrides and this seed."""
    out.mkdir(exist_ok=True)
    _note(out, load_recipe("mcu", overrides).with_seed(seed), "failed", STOPPED)
    note = read_run_note(out, Path("/home/me/photos"), ["audit"])
    assert note is not None
    return note.command


def test_the_command_of_a_plain_run_is_plain(tmp_path: Path) -> None:
    assert command_of(tmp_path / "out") == "featherlite run mcu --data photos --out out"


def test_the_command_goes_on_with_the_same_run(tmp_path: Path) -> None:
    """Typed in a shell, it asks for the very recipe and seed: else another run would begin from the first step."""
    overrides = ('clean.apply=["dark", "odd-size"]', "train.epochs=3", "train.epochs = 4")
    typed = shlex.split(command_of(tmp_path / "out", *overrides, seed=7))
    assert typed[:3] == ["featherlite", "run", "mcu"]
    made = parser("featherlite run", "")
    add_fields(made, RunOptions)
    options = made.parse_args(typed[2:])
    asked = load_recipe("mcu", overrides).with_seed(7)
    assert load_recipe(options.recipe, options.set).with_seed(int(options.seed)) == asked


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("clean.overrides=/home/me/secret/list.csv", "--set clean.overrides=list.csv"),
        ("clean.overrides=a\u202eb.csv", "--set STEP.KEY=VALUE"),
        ("clean.overrides=$(rm -rf x).csv", "--set 'clean.overrides=$(rm -rf x).csv'"),
    ],
)
def test_an_override_is_quoted_and_tells_no_places(
    override: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featherlite.data.clean.CleanConfig.files", lambda _config: ())
    assert command_of(tmp_path / "out", override) == f"featherlite run mcu --data photos --out out {said}"
