"""Names and issues made to break out of the audit's page, or to have it show what is not the user's to show."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featherlite.bundle import Bundle
from featherlite.cli import main
from featherlite.data.audit import Audit, find_issues
from featherlite.data.audit_tables import ISSUES, SUMMARY, issues_table
from featherlite.data.findings import Issue
from featherlite.data.source import Fault, Photo, Scan, scan
from featherlite.report.audit_page import bundle_audit, render_audit_page

NAMES = [
    "<script>alert(1)<⁄script>",
    "\"><img src=x onerror='a()'>",
    "'); alert(1); ('",
    "{{ 7 * 7 }}{% raw %}",
    "<!-- --><⁄style><svg onload=a()>",
    "‮gpj.nrobaer‬",
    "$(touch owned)`id`;&",
]


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def refuse_breakout(page: str) -> None:
    elements = Elements(page).found
    assert sum(tag == "script" for tag, _ in elements) == 1
    assert {"svg", "style", "title"} <= {tag for tag, _ in elements}
    assert not {"iframe", "object", "embed", "form", "base", "link"} & {tag for tag, _ in elements}
    assert not [tag for tag, attributes in elements if any(name.startswith("on") for name in attributes)]
    sources = [attributes.get("src") or "" for _, attributes in elements if "src" in attributes]
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "49" not in {text.strip() for text in re.findall(r">([^<]*)<", page)}
    assert "‮" not in re.sub(r'data-path="[^"]*"', "", page)
    page.encode("utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "ho<st>ile 'photos'"
    generator = np.random.default_rng(0)
    for name in NAMES:
        file = folder / name / f"{name}.jpg"
        file.parent.mkdir(parents=True)
        coarse = generator.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((90, 60), Image.Resampling.BICUBIC).save(file)
        (file.parent / f"again {name}.jpg").write_bytes(file.read_bytes())
        (file.parent / f"torn {name}.jpg").write_bytes(b"")
    return folder


def test_hostile_names_are_text(root: Path, tmp_path: Path) -> None:
    result = find_issues(scan(root, cache=tmp_path / "cache"))
    assert {"exact-duplicate"} <= {issue.check for issue in result.issues}
    page = render_audit_page(result, root)
    refuse_breakout(page)
    assert "&lt;script&gt;alert(1)" in page
    assert "{{ 7 * 7 }}" in page
    assert "\\u202egpj.nrobaer\\u202c" in page


def test_hostile_issues_of_a_bundle_are_text_and_open_nothing(root: Path, tmp_path: Path) -> None:
    Image.new("RGB", (50, 50)).save(tmp_path / "secret.jpg")
    outside = ("../secret.jpg", str(tmp_path / "secret.jpg"), "C:\\secret.jpg", "\0")
    issues = [
        Issue(name.strip("\0"), outside, 0.5, f"</li>{name}", "relabel", outside, f"</b>{name}") for name in NAMES
    ]
    bundle = Bundle().with_files({ISSUES: issues_table(issues)}).with_json(SUMMARY, {"checks": "<b>no mapping</b>"})
    page = render_audit_page(bundle_audit(bundle, root, tmp_path / "cache"), root)
    refuse_breakout(page)
    assert "data:image" not in page
    assert str(tmp_path) not in page


def test_nothing_that_a_terminal_obeys_reaches_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "photos"
    for label in ("a", "b [bold red]"):
        (root / label).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (90, 60), (40 * number, 9, 9)).save(root / label / f"\x1b[2J{number}‮.png")
    assert main(["audit", str(root), "--out", str(tmp_path / "out"), "--skip", "wrong-label,off-topic"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "‮" not in shown


def test_ten_thousand_faults_and_issues_make_a_small_page() -> None:
    photos = tuple(Photo(f"a/{n}.jpg", "a" if n % 2 else "b", "0" * 64, 1) for n in range(10_000))
    faults = tuple(Fault(f"x/{n}.jpg", "empty", "y" * 500) for n in range(10_000))
    issues = tuple(
        Issue("leakage", tuple(photo.path for photo in photos[n : n + 50]), 1.0, "z", "drop") for n in range(9_000)
    )
    page = render_audit_page(Audit(Scan(Path("x"), "folders", photos, faults), issues, ("leakage",), None), None)
    assert len(page) < 1_500_000
    assert "and 9,960 more" in page
    assert "And 8,940 more" in page


def test_a_root_that_is_gone_by_the_time_of_the_page_leaves_a_page(root: Path, tmp_path: Path) -> None:
    result = find_issues(scan(root, cache=tmp_path / "cache"))
    root.rename(tmp_path / "moved")
    page = render_audit_page(result, root)
    assert "changed or vanished" in page
    assert "data:image" not in page
