from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from featherlite.cli.arguments import Positional, add_fields, normalized, parse, parser
from featherlite.errors import RequestError


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    place: Annotated[Path, Positional()]
    """where"""
    head_epochs: int = Field(2, ge=0, description="how many")
    rate: float = 1e-3
    fit: Literal["crop", "pad"] = "crop"
    stride: Literal[1, 2, 4] = 2
    flip: bool = True
    seed: int | None = None
    names: list[str] = Field(default_factory=list)


def read(*words: str) -> Options:
    made = parser("featherlite test", "Test.")
    add_fields(made, Options)
    values = vars(made.parse_args(normalized(words)))
    return parse(Options, {key: values[key] for key in Options.model_fields}, "featherlite test")


def test_fields_become_flags() -> None:
    options = read("here", "--head-epochs", "5", "--no-flip", "--fit=pad", "--names", "a", "--names=b", "--seed", "3")
    assert options == Options(place=Path("here"), head_epochs=5, flip=False, fit="pad", names=["a", "b"], seed=3)


def test_one_of_a_few_numbers_can_be_typed() -> None:
    assert read("here", "--stride", "4").stride == 4
    with pytest.raises(RequestError, match="--stride: '3': input should be 1, 2 or 4"):
        read("here", "--stride", "3")


def test_defaults_are_the_models_own() -> None:
    assert read("here") == Options(place=Path("here"))


def test_underscores_and_dashes_are_the_same() -> None:
    assert read("here", "--head_epochs=4").head_epochs == 4


def test_values_keep_their_underscores() -> None:
    assert read("my_place", "--names=a_b").names == ["a_b"]
    assert read("my_place").place == Path("my_place")


def test_all_wrong_values_are_named() -> None:
    with pytest.raises(RequestError) as caught:
        read("here", "--head-epochs", "-1", "--rate", "fast", "--fit", "stretch")
    for part in ("--head-epochs", "--rate", "--fit", "'stretch'", "'crop' or 'pad'"):
        assert part in caught.value.message


def test_an_unknown_flag_suggests_the_nearest() -> None:
    with pytest.raises(RequestError, match="Did you mean '--head-epochs'"):
        read("here", "--head-epoch", "3")


def test_nothing_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RATE", "rate", "SEED", "seed"):
        monkeypatch.setenv(name, "9")
    assert read("here") == Options(place=Path("here"))


def test_list_flags_leave_places_alone() -> None:
    assert read("--names", "a", "here").place == Path("here")


def test_an_empty_place_is_refused() -> None:
    with pytest.raises(RequestError, match="is empty"):
        read("")


def test_words_behind_a_bare_dash_are_places() -> None:
    assert read("--", "--my_place").place == Path("--my_place")


def test_help_tells_defaults_and_descriptions() -> None:
    made = parser("featherlite test", "Test.")
    add_fields(made, Options)
    text = made.format_help()
    assert "how many (default: 2)" in text
    assert "{crop,pad}" in text
    assert "--no-flip" in text
