"""What code a result depends on: a hash over the files that a step's module reaches by its imports.

A step's stored result stays good while that code stays as it is, whatever changes elsewhere: a new page or another step
makes nothing run again. Source is read, never imported.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

__all__ = ["code_of", "code_version", "reached_by"]

ROOT = Path(__file__).parent
NAME = ROOT.name

_BY_NAME = re.compile(r"import_module\(f\"\{__name__\}\.")
"""How a registry finds its members: what is imported so is not written out anywhere."""


@cache
def code_version() -> str:
    """The version and the hash of all source: which featherlite made a result."""
    from featherlite import __version__

    return f"{__version__}+{_digest(sorted(ROOT.rglob('*.py')))}"


@cache
def code_of(*modules: str) -> str:
    """The version and the hash of all files that these modules reach."""
    from featherlite import __version__

    return f"{__version__}+{_digest(reached_by(*modules))}"


def reached_by(*modules: str) -> list[Path]:
    """The files of these modules and of all that they import, at once or later, sorted.

    Counted as imported: what an import statement names anywhere in a file, the packages it lies in, a module that is
    named in full as text (a process of its own), and every file of a package that finds its members by name.
    """
    found: set[Path] = set()
    pending = [file for module in modules for file in _files(module)]
    while pending:
        file = pending.pop()
        if file in found:
            continue
        found.add(file)
        pending.extend(_imported(file))
    return sorted(found)


@cache
def _imported(file: Path) -> tuple[Path, ...]:
    return tuple(_named_in(file)) if file.suffix == ".py" else ()


def _named_in(file: Path) -> Iterator[Path]:
    text = file.read_text("utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == NAME:
            yield from _files(node.module)
            for alias in node.names:
                yield from _files(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(alias.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(f"{NAME}."):
            yield from _files(node.value)
    if file.name == "__init__.py" and _BY_NAME.search(text):
        yield from (member for member in file.parent.rglob("*") if member.suffix in (".py", ".toml"))


def _files(module: str) -> Iterator[Path]:
    """The file of a module and those of the packages around it; nothing where it is none of ours.

    The outermost package is left out: it lends names to users, and reaches everything by that.
    """
    parts = module.split(".")
    if parts[0] != NAME or len(parts) == 1 or not all(part.isidentifier() for part in parts):
        return
    place = ROOT.joinpath(*parts[1:])
    own = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    if not own.is_file():
        return
    for depth in range(2, len(parts)):
        around = ROOT.joinpath(*parts[1:depth]) / "__init__.py"
        if around.is_file():
            yield around
    yield own


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(ROOT).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
