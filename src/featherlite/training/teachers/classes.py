"""The teacher's classes laid over the student's, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import RequestError

__all__ = ["labels_from", "outputs_for", "read_labels", "refuse_other_classes", "unknown_classes"]

SHOWN = 5
MAX_BYTES = 16 << 20


def labels_from(text: str) -> tuple[str, ...]:
    """The classes of a labels file, one a line; a number in front is dropped where every line has its own one.

    Both `0 beak` and `0: beak` count as numbered; blank lines at the end do not count.
    """
    lines = text.lstrip("\ufeff").splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    parts = [line.strip().partition(" ") for line in lines]
    if all(head.rstrip(":,") == str(number) and rest.strip() for number, (head, _, rest) in enumerate(parts)):
        return tuple(rest.strip() for _, _, rest in parts)
    return tuple(line.strip() for line in lines)


def read_labels(path: Path) -> tuple[str, ...]:
    """The classes in a labels file.

    Raises:
        RequestError: it cannot be read, or is no text.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RequestError(f"{path} is too large for a labels file ({path.stat().st_size} bytes).")
        return labels_from(path.read_text("utf-8"))
    except OSError as error:
        raise RequestError(
            f"The teacher's labels {path} cannot be read: {error.strerror}.", "Give a text file with one class a line."
        ) from None
    except UnicodeDecodeError:
        raise RequestError(f"The teacher's labels {path} are not UTF-8 text.", "Save the file as UTF-8.") from None


def outputs_for(student: Sequence[str], teacher: Sequence[str]) -> NDArray[np.int64]:
    """For each of the student's classes the number of the teacher's output, -1 where it has none: int64 [classes].

    By the name as it is written; else by the name without case, with underscores as spaces, where that is only one.
    """
    exact, loose = _places(teacher), _places([_folded(name) for name in teacher])
    found = []
    for name in student:
        places = exact.get(name) or loose.get(_folded(name)) or []
        found.append(places[0] if len(places) == 1 else -1)
    outputs = np.array(found, np.int64)
    known = outputs[outputs >= 0]
    if len(set(known.tolist())) < len(known):  # two classes that only their case tells apart
        outputs = np.array([exact[name][0] if len(exact.get(name, [])) == 1 else -1 for name in student], np.int64)
    return outputs


def unknown_classes(student: Sequence[str], teacher: Sequence[str]) -> list[str]:
    """The student's classes that the teacher does not have."""
    outputs = outputs_for(student, teacher)
    return [name for name, place in zip(student, outputs.tolist(), strict=True) if place < 0]


def refuse_other_classes(name: str, student: Sequence[str], teacher: Sequence[str]) -> None:
    """Makes sure that the teacher has every class of the student.

    Raises:
        RequestError: it lacks some; both sides' are named, and what to do instead.
    """
    lacking = unknown_classes(student, teacher)
    if not lacking:
        return
    known = {_folded(label) for label in student}
    others = [label for label in teacher if _folded(label) not in known]
    raise RequestError(
        f"The teacher {name} has other classes: of the student's {len(student)} it lacks {len(lacking)} "
        f"({_shown(lacking)}), and of its own {len(teacher)} the student lacks {len(others)} ({_shown(others)}). "
        "Soft labels over the student's classes need every one of them.",
        "Take kind=features or kind=own_labels, which need no common classes; or a teacher trained on these classes; "
        "or name the classes alike.",
    )


def _places(names: Sequence[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        places.setdefault(name, []).append(number)
    return places


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def _shown(names: Sequence[str]) -> str:
    listed = ", ".join(f"'{name}'" for name in names[:SHOWN])
    return f"{listed} ..." if len(names) > SHOWN else listed or "none"
