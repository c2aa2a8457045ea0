"""A progress that kills, and what a step has to survive: it ends as if nothing had been, and works less."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest

from featherlite.bundle import Bundle
from featherlite.step import Context, Silent

__all__ = ["StopError", "Stopping", "interrupted"]


class StopError(Exception):
    """Stands for a kill."""


class Stopping(Silent):
    """Interrupts after so many units of the stretches of work whose name begins like that; without a number it counts
    them."""

    def __init__(self, what: str, after: int | None = None) -> None:
        self.what, self.after, self.here, self.done = what, after, False, 0

    def start(self, what: str, total: int) -> None:
        self.here = what.startswith(self.what)

    def advance(self, units: int = 1, note: str = "") -> None:
        if self.here and self.done == self.after:
            raise StopError
        self.done += self.here


def interrupted(
    make: Callable[[], Context], work: Callable[[Context], Bundle], what: str, after: int
) -> tuple[Bundle, dict[str, Any], list[str]]:
    """The bundle and the facts of a calm run, and what lay finished where one was killed after so many units of work.

    Taken up again, that one must end bit for bit alike and tell the same, but not begin anew.
    """
    calm, ctx = make(), make()
    calm.progress = all_of_it = Stopping(what)
    ctx.progress = Stopping(what, after)
    whole = work(calm)
    with pytest.raises(StopError):
        work(ctx)
    left = sorted(file.name for file in ctx.resume.iterdir())
    again = Context(ctx.seed, ctx.scratch, ctx.resume, ctx.cache, ctx.data)
    again.progress = rest = Stopping(what)
    keras.utils.set_random_seed(77)
    resumed = work(again)
    assert {file: resumed.read(file) for file in resumed.files} == {file: whole.read(file) for file in whole.files}
    assert _told(again) == _told(calm), "the report tells nothing of the kill"
    assert rest.done < all_of_it.done, f"what was finished is read back ({', '.join(left)}), not done again"
    return whole, calm.details, left


def _told(ctx: Context) -> dict[str, Any]:
    """The facts but for those of each training, which say how long an epoch took."""
    return {key: value for key, value in ctx.details.items() if key not in ("parts", "curve")}
