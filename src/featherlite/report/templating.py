"""What all pages share: the templates' environment, the style, the texts that must not deceive a reader."""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from importlib import resources
from typing import TYPE_CHECKING

from featherlite.errors import MissingExtraError
from featherlite.report import units

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["environment", "named", "policy_hash", "template_text", "version", "visible"]

BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Signs that turn the direction of text: in a file name they can make `gpj.exe` read as `exe.jpg`."""


def environment(what: str = "The report page") -> Environment:
    """The templates of the pages; whatever goes into them is escaped, and an unknown name is an error.

    Raises:
        MissingExtraError: Jinja2 is not installed; `what` says for what it is needed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise MissingExtraError("train", what) from None
    made = Environment(
        loader=FileSystemLoader(str(resources.files(__package__).joinpath("templates"))),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in units.__all__:
        made.filters[name.removesuffix("_text")] = getattr(units, name)
    return made


def template_text(name: str) -> str:
    """A file of the templates as it is: a style or a script."""
    return resources.files(__package__).joinpath(f"templates/{name}").read_text("utf-8")


def named(labels: list[str], most: int) -> str:
    """The first labels as a list to read; of a long one the count of the others."""
    shown = labels if len(labels) <= most else labels[: most - 2]
    return ", ".join(shown) + (f" and {len(labels) - len(shown):,} more" if len(shown) < len(labels) else "")


def visible(text: str) -> str:
    """The text with what cannot be seen, or turns the direction of reading, written as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_sign(sign) for sign in text)


def policy_hash(script: str) -> str:
    """What a page's policy allows to run: this very script and nothing else."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def version() -> str:
    """The version of featherlite that writes the page."""
    from featherlite import __version__

    return __version__


def _sign(sign: str) -> str:
    if sign not in BIDI and unicodedata.category(sign) not in ("Cc", "Cs", "Zl", "Zp"):
        return sign
    return f"\\x{ord(sign):02x}" if ord(sign) < 256 else f"\\u{ord(sign):04x}"
