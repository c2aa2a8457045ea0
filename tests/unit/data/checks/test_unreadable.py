from __future__ import annotations

import io
from collections.abc import Callable

from PIL import Image

from featherlite.data.checks import load_check
from featherlite.data.evidence import Evidence


def test_what_is_damaged_is_certain_and_what_is_beside_is_not(
    evidence_of: Callable[..., Evidence], draw: Callable[..., Image.Image]
) -> None:
    stream = io.BytesIO()
    draw(0).save(stream, "JPEG")
    whole = stream.getvalue()
    files = {
        "a/1.jpg": whole,
        "b/1.jpg": whole,
        "a/cut.jpg": whole[: len(whole) // 2],
        "a/empty.jpg": b"",
        "a/page.jpg": b"<html>404</html>",
        "a/clip.mp4": b"not a photo, and not called one",
        "a/notes.txt": b"documents are no faults",
        "README.md": b"nor here",
        "labels.CSV": b"path,label",
        "loose.jpg": whole,
        "a/.DS_Store": b"hidden",
    }
    evidence = evidence_of(files)
    found = {issue.paths[0]: issue for issue in load_check("unreadable").judge(evidence)}
    assert {path: issue.score for path, issue in found.items()} == {
        "a/cut.jpg": 1.0,
        "a/empty.jpg": 1.0,
        "a/page.jpg": 1.0,
        "a/clip.mp4": 0.5,
        "loose.jpg": 0.5,
    }
    assert found["a/empty.jpg"].message == "not used (empty): the file is empty"
    assert {issue.action for issue in found.values()} == {"look"}


def test_many_of_one_reason_are_one_issue(
    evidence_of: Callable[..., Evidence], draw: Callable[..., Image.Image]
) -> None:
    stream = io.BytesIO()
    draw(0).save(stream, "JPEG")
    files = {"a/1.jpg": stream.getvalue(), "b/1.jpg": stream.getvalue(), "b/page.jpg": b"<html>404</html>"}
    files |= {f"a/{number:03}-empty.jpg": b"" for number in range(60)}
    found = {len(issue.paths): issue for issue in load_check("unreadable").judge(evidence_of(files))}
    assert set(found) == {1, 60}
    assert found[60].message == "not used (empty): 60 files, such as a/000-empty.jpg: the file is empty"
