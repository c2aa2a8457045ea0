"""Command-line arguments from typed models: the pydantic fields are the flags, their descriptions the help.

Argparse rather than a CLI library: it is the fastest to start, reads nothing from the environment, and leaves every
message to us. Values stay text until pydantic checks them, so a flag, a recipe key and a Python argument obey the
same rules.
"""

from __future__ import annotations

import argparse
import types
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from featherlite.errors import RequestError, did_you_mean

__all__ = [
    "CommandOptions",
    "ManyPaths",
    "Parser",
    "Positional",
    "add_fields",
    "given",
    "normalized",
    "parse",
    "parser",
]

Model = TypeVar("Model", bound=BaseModel)


class Positional:
    """Marks a field that is given by its place rather than by a flag."""


ManyPaths = Annotated[list[Path], Positional()]


class CommandOptions(BaseModel):
    """Base of a command's options."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises a RequestError in place of ending the process."""

    def error(self, message: str) -> NoReturn:
        """Raises what argparse would print, with the nearest flag for an unknown one."""
        hint = f"See: {self.prog} --help"
        if message.startswith("unrecognized arguments:"):
            word = message.partition(": ")[2].split()[0]
            flags = [flag for action in self._actions for flag in action.option_strings]
            near = did_you_mean(word.partition("=")[0], flags) if word.startswith("-") else ""
            raise RequestError(f"{self.prog}: unknown argument '{word}'.", near if near.startswith("Did") else hint)
        raise RequestError(f"{self.prog}: {message}.", hint)


def parser(prog: str, summary: str) -> Parser:
    """An empty parser with the common switches."""
    made = Parser(prog=prog, description=summary, allow_abbrev=False, formatter_class=argparse.HelpFormatter)
    common = made.add_argument_group("output")
    common.add_argument("--json", action="store_true", help="one JSON document on stdout, nothing else there")
    common.add_argument("--quiet", action="store_true", help="no progress, no tables; errors only")
    common.add_argument("--debug", action="store_true", help="show the trace of an error")
    return made


def add_fields(
    target: argparse._ActionsContainer, model: type[BaseModel], names: Collection[str] | None = None
) -> None:
    """Adds one argument for each field of the model, or for those named."""
    for name, field in model.model_fields.items():
        if names is None or name in names:
            _add_field(target, name, field)


def parse(model: type[Model], values: dict[str, Any], prog: str) -> Model:
    """The model from parsed arguments; those not given keep the model's defaults.

    Raises:
        RequestError: a value is not allowed; all such values are named.
    """
    typed = {key: _number(model.model_fields[key], value) for key, value in values.items() if value is not None}
    try:
        return model.model_validate(typed)
    except ValidationError as error:
        faults = []
        for item in error.errors():
            flag = "--" + str(item["loc"][0]).replace("_", "-") if item["loc"] else "arguments"
            message = item["msg"].removeprefix("Value error, ")
            faults.append(f"{flag}: {item['input']!r}: {message[0].lower()}{message[1:]}")
        raise RequestError(f"{prog}: {'; '.join(faults)}.", f"See: {prog} --help") from None


def given(text: str) -> str:
    """The text, unless it is empty: an unset shell variable must not come to mean the current folder.

    Raises:
        ArgumentTypeError: it is empty.
    """
    if not text:
        raise argparse.ArgumentTypeError("is empty")
    return text


def normalized(argv: Sequence[str]) -> list[str]:
    """Flags with dashes, however they were typed: --head_epochs is --head-epochs. What follows a bare -- stays."""
    words = list(argv)
    end = words.index("--") if "--" in words else len(words)
    for place, word in enumerate(words[:end]):
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            words[place] = flag.replace("_", "-") + equals + value
    return words


def _add_field(target: argparse._ActionsContainer, name: str, field: FieldInfo) -> None:
    kind = _bare(field.annotation)
    text = (field.description or "").replace("%", "%%").replace("\n", " ")
    if any(isinstance(mark, Positional) for mark in field.metadata):
        many = get_origin(kind) is list
        count = "+" if many else None if field.is_required() else "?"
        target.add_argument(name, nargs=count, metavar=name.upper(), help=text, type=given)
        return
    flag = "--" + name.replace("_", "-")
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    note = "" if default in (None, "", (), []) else f" (default: {_shown(default)})"
    if kind is bool:
        target.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text + note, dest=name)
    elif get_origin(kind) in (list, tuple):
        inner = _metavar(_bare(get_args(kind)[0]), name)
        again = f"{text.rstrip('.')}; give the flag once for each{note}"
        target.add_argument(flag, action="append", metavar=inner, help=again, dest=name)
    else:
        check, metavar = given if kind is Path else str, _metavar(kind, name)
        required = field.is_required()
        target.add_argument(flag, metavar=metavar, help=text + note, dest=name, required=required, type=check)


def _bare(annotation: Any) -> Any:
    """The annotation without `| None` and without Annotated."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [arg for arg in get_args(annotation) if arg is not type(None)]
        return _bare(inner[0]) if len(inner) == 1 else annotation
    return annotation


def _number(field: FieldInfo, value: Any) -> Any:
    """The number that a text stands for where only certain numbers are allowed, since a text is none of them."""
    kind = _bare(field.annotation)
    numbers = get_args(kind) if get_origin(kind) is Literal else ()
    return next((number for number in numbers if not isinstance(number, str) and str(number) == value), value)


def _metavar(kind: Any, name: str) -> str:
    if get_origin(kind) is Literal:
        return "{" + ",".join(str(value) for value in get_args(kind)) + "}"
    return {int: "N", float: "X", Path: "PATH", str: "TEXT"}.get(kind, name.upper())


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(str(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
