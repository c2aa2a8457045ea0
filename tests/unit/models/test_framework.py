"""Keras is started quietly, and Ctrl-C is not lost meanwhile."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from featherlite.models.framework import _interrupts_held


def test_ctrl_c_waits_until_the_libraries_are_loaded() -> None:
    before = signal.getsignal(signal.SIGINT)
    steps: list[str] = []

    def load() -> None:
        with _interrupts_held():
            try:
                os.kill(os.getpid(), signal.SIGINT)
                steps.append("loaded")
            except BaseException:
                steps.append("swallowed")

    with pytest.raises(KeyboardInterrupt):
        load()
    assert steps == ["loaded"]
    assert signal.getsignal(signal.SIGINT) is before


def test_without_ctrl_c_and_in_other_threads_nothing_happens() -> None:
    with _interrupts_held():
        pass
    seen: list[str] = []

    def work() -> None:
        with _interrupts_held():
            seen.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == ["done"]
