"""The process in which TensorFlow Lite Micro runs: `python -m featherlite.runtime.tflm_worker`.

Arguments: the .tflite, the inputs (.npy, [n, ...] in the input's own type), where to write the outputs (.npy,
[n, classes]) and the bytes of arena to reserve. What the recording allocator prints on stderr tells the arena
used.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from featherlite.runtime.worker import FAILURE


def main(artefact: str, inputs: str, outputs: str, arena_bytes: str) -> None:
    """The outputs of all inputs, written to `outputs`; then the allocator's account, on stderr."""
    from tflite_micro import runtime

    with _explained():
        interpreter = runtime.Interpreter.from_bytes(Path(artefact).read_bytes(), arena_size=int(arena_bytes))
    answers = []
    for photo in np.load(inputs, allow_pickle=False, mmap_mode="r"):
        interpreter.set_input(np.ascontiguousarray(photo)[None], 0)
        interpreter.invoke()
        answers.append(np.array(interpreter.get_output(0)[0]))
    np.save(outputs, np.stack(answers), allow_pickle=False)
    interpreter.print_allocations()


@contextmanager
def _explained() -> Iterator[None]:
    """What goes wrong inside, with the interpreter's own explanation, which it writes to stderr alone."""
    with tempfile.TemporaryFile() as said:
        sys.stderr.flush()
        before = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            yield
        except Exception as error:
            said.seek(0)
            lines = said.read().decode("utf-8", "replace").splitlines()
            named = [line.strip() for line in lines if re.search(r"^Node \w+|Didn't find op|[Ff]ailed", line)]
            raise RuntimeError(". ".join([str(error).strip(), *dict.fromkeys(named[:2])])) from error
        finally:
            os.dup2(before, 2)
            os.close(before)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:
        sys.exit(f"{FAILURE}{type(error).__name__}: {error}")
