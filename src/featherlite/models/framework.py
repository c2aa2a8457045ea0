"""Keras, started quietly and once: what TensorFlow's libraries say while they load is kept off the user's screen."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator

from featherlite.errors import MissingExtraError

__all__ = ["start_keras"]


def start_keras(what: str) -> None:
    """Imports Keras with its backend, so that every later import is quick and silent.

    Raises:
        MissingExtraError: Keras or its backend is not installed; `what` says what needed it.
    """
    if "keras" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        with _interrupts_held(), _quiet_stderr():
            import keras

            keras.ops.convert_to_tensor(0)  # the first tensor loads the rest, with messages of its own
    except ImportError:
        raise MissingExtraError("train", what) from None


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Lets Ctrl-C wait until the end: libraries that look for other libraries swallow it while they are loaded."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    former = signal.signal(signal.SIGINT, lambda number, _frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
    if held:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keeps file descriptor 2 shut; what was said is shown after all if it ends in an error.

    TensorFlow's C++ libraries write there before their log level can be set.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            said.seek(0)
            os.write(2, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
