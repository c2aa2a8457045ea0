"""The process in which one network of a study is trained: `python -m featherlite.study.worker ORDER`.

What it is doing is told on stdout, a JSON object a line; its result is written into the row's folder. It ends when its
parent does, whose end of stdin it holds.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

from featherlite.bundle import Bundle
from featherlite.errors import FeatherliteError
from featherlite.keys import photos_key, recipe_keys
from featherlite.recipe import Recipe
from featherlite.run import run_recipe
from featherlite.study.result import ChangedError, Failure, Order, Result, figures_of, write_result
from featherlite.study.tail import without

__all__ = ["main"]

PAUSE_S = 0.2
"""Progress is told at most this often."""
SMALLER = "Lower train.batch or build.input_px for this network."


class Channel:
    """The line to the parent. It is a progress of steps as well."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._kept, self._note, self._told = 0, "", 0.0

    def tell(self, event: str, **facts: Any) -> None:
        """Sends one event."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(json.dumps({"event": event, **facts}) + "\n")
            self._stream.flush()

    def start(self, what: str, total: int) -> None:
        """A new stretch of work begins."""
        self._kept = 0
        self.tell("start", what=what, total=total)

    def advance(self, units: int = 1, note: str = "") -> None:
        """Units are done; many small ones are told together."""
        self._kept, self._note = self._kept + units, note or self._note
        if time.monotonic() - self._told >= PAUSE_S:
            self.tell("advance", units=self._kept, note=self._note)
            self._kept, self._told = 0, time.monotonic()

    def finish(self) -> None:
        """The stretch is done."""
        self.tell("finish")


class _Warnings(logging.Handler):
    def __init__(self, channel: Channel) -> None:
        super().__init__(logging.WARNING)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        self._channel.tell("warning", message=record.getMessage())


def main(order_file: str) -> int:
    """Carries the order out; returns the exit code."""
    channel = _channel()
    _end_with_parent()
    logging.getLogger("featherlite").addHandler(_Warnings(channel))
    order = Order.model_validate_json(Path(order_file).read_bytes())
    out = Path(order.out)
    try:
        _carry_out(order, out, channel)
    except KeyboardInterrupt:
        return 130
    except FeatherliteError as error:
        failure = Failure(**error.to_json(), exit_code=error.exit_code)
    except Exception as error:
        traceback.print_exc()  # into the log beside the result
        failure = _unforeseen(error)
    else:
        return 0
    write_result(out, Result(key=order.key, status="failed", failure=failure))
    return failure.exit_code


def _unforeseen(error: Exception) -> Failure:
    """A failure that no step has told of in its own words; a framework's report of it may be pages long."""
    kind = type(error).__name__
    if kind in ("MemoryError", "ResourceExhaustedError"):  # the second is TensorFlow's
        return Failure(type=kind, message="There was not enough memory.", hint=SMALLER)
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return Failure(type=kind, message=f"{kind}: {first[:300]}")


def _carry_out(order: Order, out: Path, channel: Channel) -> None:
    recipe = order.recipe()
    _refuse_changed(recipe, order, channel)
    bundle, notes = _walked(recipe, order, out, channel)
    keys = [report.key for report in bundle.history]
    if keys[-1] not in (order.key, order.key_without):  # it changed while this row was trained
        raise _changed("The photos, featherlite's code, or a file that a step reads,")
    if not order.measured:
        write_result(out, Result(key=order.key, status="done"))
        return
    _write_page(bundle, order, out)
    answers = bundle.read("predictions/test.parquet")
    figures = figures_of(bundle, answers, order.shared, notes)
    write_result(out, Result(key=order.key, status="done", figures=figures), answers)
    for key in keys[len(recipe.steps) - order.tail :]:  # the row's own bundle holds all that they made
        shutil.rmtree(Path(order.store) / key, ignore_errors=True)


def _refuse_changed(recipe: Recipe, order: Order, channel: Channel) -> None:
    """Nothing, where the steps would make what was ordered: told before hours are spent on what cannot be compared.

    Raises:
        ChangedError: the photos, the code, or a file that a step reads, is not what it was.
    """
    photos = photos_key(Path(order.data), Path(order.cache), channel)
    if photos != order.photos:
        raise _changed(f"The photos in {order.data}")
    for plan, key, planned in zip(recipe.steps, recipe_keys(recipe, photos), order.keys, strict=True):
        if key != planned:
            raise _changed(f"featherlite's code, or a file that step '{plan.id}' reads,")


def _changed(what: str) -> ChangedError:
    return ChangedError(
        f"{what} changed while the study was at work; nothing more is trained, since it could not be compared with the "
        "rows that are done.",
        "Undo the change to go on from there, or keep it to have the rows trained anew: the same command does either.",
    )


def _write_page(bundle: Bundle, order: Order, out: Path) -> None:
    """The row's own page, which the comparison's links; a row is none the worse for lacking it."""
    from featherlite.report.page import write_page

    with contextlib.suppress(FeatherliteError, OSError):
        write_page(bundle, Path(order.data), out / "report.html")


def _walked(recipe: Recipe, order: Order, out: Path, channel: Channel) -> tuple[Bundle, tuple[str, ...]]:
    """The last bundle, and what had to be left out."""
    at = ""

    def tell(id_: str, report: Any, cached: bool) -> None:
        nonlocal at
        at = id_
        seconds = None if report is None else report.seconds
        channel.tell("step", id=id_, done=report is not None, cached=cached, seconds=seconds)

    def walk(road: Recipe) -> Bundle:
        return run_recipe(
            road,
            Path(order.data),
            out,
            store=Path(order.store),
            cache=Path(order.cache),
            progress=channel,
            listener=tell,
        ).bundle

    try:
        return walk(recipe), ()
    except FeatherliteError as error:
        if not order.optional or at != order.optional or error.exit_code != 1:
            raise
        note = f"No int8 artefact: {error.message}"
    return walk(without(recipe, order.optional)), (note,)


def _channel() -> Channel:
    """The line to the parent, on what was stdout; whatever else writes there writes to stderr from now on."""
    line = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return Channel(line)


def _end_with_parent() -> None:
    """Ends this process, and those it has started, once nobody holds the other end of stdin."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        if os.getpgrp() == os.getpid():  # a group of its own, as the parent starts it
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=wait, name="end with parent", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
