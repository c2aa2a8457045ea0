"""Ways to choose the range of an activation, by name: what lies outside is cut, what lies inside gets 255 steps.

Each file here is a method: one function of the file's name, `Seen` -> (low, high). Adding a method is adding a file.
Its keyword arguments are the settings that it obeys.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from featherlite.errors import RequestError, did_you_mean

__all__ = ["Method", "method_of", "methods", "settings_of"]

Method = Callable[..., tuple[float, float]]


@cache
def methods() -> Mapping[str, Method]:
    """Every method's function by name. Imports no Keras."""
    found: dict[str, Method] = {}
    for info in pkgutil.iter_modules(__path__):
        function = getattr(importlib.import_module(f"{__name__}.{info.name}"), info.name, None)
        if not inspect.isfunction(function):
            raise TypeError(f"quantize/ranges/{info.name}.py must define a function '{info.name}'")
        found[info.name] = function
    return MappingProxyType(dict(sorted(found.items())))


def method_of(name: str) -> Method:
    """The method of that name.

    Raises:
        RequestError: there is none; the nearest known name is suggested.
    """
    if name not in methods():
        raise RequestError(f"There is no way to choose ranges called '{name}'.", did_you_mean(name, methods()))
    return methods()[name]


def settings_of(name: str) -> tuple[str, ...]:
    """The settings that the method obeys."""
    parameters: Iterable[Any] = inspect.signature(method_of(name)).parameters.values()
    return tuple(one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY)
