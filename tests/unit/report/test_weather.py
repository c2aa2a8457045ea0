"""The section 'In bad weather': what it says, what it shades, and when it stays away."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featherlite.bundle import Bundle
from featherlite.errors import BundleError
from featherlite.history import wilson
from featherlite.report.ladder import ladder_rows
from featherlite.report.page import render_page
from featherlite.report.thumbnails import Thumbnails
from featherlite.report.weather import weather_view

from .conftest import draw_photos, measure, photo_rows, report

Maker = Callable[..., Bundle]
N = 400


def entry(name: str, family: str, hits: tuple[int, ...], answer: str, **more: Any) -> dict[str, Any]:
    scores = [
        {
            "severity": severity,
            "top1": wilson(count, N, "val").model_dump(),
            "drop": (360 - count) / N,
            "beyond_chance": count < 350,
        }
        for severity, count in zip((1, 3, 5), hits, strict=True)
    ]
    mean = sum(hits) / (3 * N)
    return {
        "name": name,
        "family": family,
        "summary": "What it is.",
        "scores": scores,
        "mean": mean,
        "example_answer": answer,
        "trained_on": False,
    } | more


def document(**more: Any) -> dict[str, Any]:
    mean = {"corruptions": 1, "mean": wilson(300, N, "val").model_dump(), "drop": 0.15}
    return {
        "split": "val",
        "split_photos": 600,
        "n": N,
        "subject": "int8",
        "model": hashlib.sha256(b"nor is this").hexdigest(),
        "input_px": [96, 96],
        "seed": 3,
        "severities": [1, 3, 5],
        "clean": wilson(360, N, "val").model_dump(),
        "families": {"train": mean, "held_out": mean},
        "corruptions": [
            entry("low_light", "train", (355, 320, 180), "Species 000"),
            entry("frost", "held_out", (340, 300, 100), "Species 003"),
        ],
        "example": {"path": "Species 000/001.jpg", "label": "Species 000", "severity": 3, "right": True},
    } | more


def section(page: str) -> str:
    found = re.search(r'<section id="weather">.*?</section>', page, re.DOTALL)
    assert found
    return found.group()


def test_a_bundle_without_it_has_no_section(make_bundle: Maker) -> None:
    page = render_page(make_bundle(), None)
    assert 'id="weather"' not in page
    assert "#weather" not in page


def test_the_section_says_on_how_many_photos(make_bundle: Maker) -> None:
    page = render_page(make_bundle().with_json("robustness.json", document()), None)
    assert 'href="#weather"' in page
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", section(page)))
    for said in (
        "The same 400 validation photos, drawn at random from 600,",
        "Clean, 90.0% were named rightly (95% interval 86.7% to 92.6%)",
        "over the 1 corruption that training may use, 75.0% (70.5% to 79.0%)",
        "1 corruption held out from training, 75.0%",
        "Held out: never used in training",
        "low light",
        "No example: the photos were not at hand.",
    ):
        assert said in text, said


def test_only_what_chance_does_not_explain_is_shaded(make_bundle: Maker) -> None:
    bundle = make_bundle().with_json("robustness.json", document())
    page = section(render_page(bundle, None))
    # Hits 355 are within chance; 320 lose 10 points, 180 lose 45; 340 lose 5, 300 lose 15, 100 lose 65.
    assert re.findall(r'<td(?: class="(m\d)")? title="[^"]*">(\d+%)</td>', page)[:7] == [
        ("", "89%"),
        ("m3", "80%"),
        ("m5", "45%"),
        ("", "75%"),
        ("m2", "85%"),
        ("m3", "75%"),
        ("m5", "25%"),
    ]


def test_the_example_is_made_as_the_step_made_it(make_bundle: Maker, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    draw_photos(root, photo_rows(["Species 000"], 2))
    bundle = make_bundle().with_json("robustness.json", document())
    thumbnails = Thumbnails(root)
    view = weather_view(bundle, thumbnails)
    assert view is not None
    images = view["example"]["images"]
    assert [image["name"] for image in images] == ["clean", "low light", "frost"]
    assert len({image["image"] for image in images}) == 3
    page = section(render_page(bundle, root))
    assert "named rightly" in page
    assert '<span class="wrong">Species 003</span>' in page
    nothing_left = weather_view(bundle, Thumbnails(root, budget=0))
    assert nothing_left is not None
    assert nothing_left["example"] is None


def test_figures_of_another_model_are_not_shown(make_bundle: Maker) -> None:
    made = make_bundle()
    for other in ({"model": "0" * 64}, {"subject": "float16"}):
        bundle = made.with_json("robustness.json", document(**other))
        assert weather_view(bundle, Thumbnails(None)) is None


def test_what_was_trained_on_is_marked(make_bundle: Maker) -> None:
    seen = entry("frost", "held_out", (340, 300, 100), "x", trained_on=True)
    families = {"train": document()["families"]["train"]}
    bundle = make_bundle().with_json("robustness.json", document(corruptions=[seen], families=families))
    page = section(render_page(bundle, None))
    assert "trained on" in page
    assert "Training used frost, which is meant to be held out" in page
    assert "trained on none of them" not in page


def test_it_says_whether_training_prepared_for_it(make_bundle: Maker) -> None:
    made = make_bundle()
    assert "trained on none of them" in section(render_page(made.with_json("robustness.json", document()), None))
    fair = [entry("fog", "train", (355, 320, 180), "x", trained_on=True), *document()["corruptions"]]
    page = section(render_page(made.with_json("robustness.json", document(corruptions=fair)), None))
    assert "trained on those marked so" in page
    assert page.count(">trained on<") == 1
    assert "warnings" not in page


def test_names_from_the_document_are_text(make_bundle: Maker, tmp_path: Path) -> None:
    draw_photos(tmp_path, photo_rows(["Species 000"], 2))
    hostile = entry("<script>", "train", (355, 320, 180), "<img src=x onerror=a()>", summary='"><b>')
    page = section(render_page(make_bundle().with_json("robustness.json", document(corruptions=[hostile])), tmp_path))
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page


def test_a_damaged_document_is_named(make_bundle: Maker) -> None:
    made = make_bundle()
    for broken in ({"n": "many"}, {"clean": None}, {"example": {"path": "x", "label": "y", "severity": 9}}):
        bundle = made.with_json("robustness.json", document(**broken))
        with pytest.raises(BundleError, match=r"robustness\.json"):
            weather_view(bundle, Thumbnails(None))


def test_its_row_of_the_ladder_is_a_measurement() -> None:
    scored = measure(wilson(360, N, "val"), 5)
    history = [report("train", 9.0, None, scored), report("robustness", 5.0, scored, scored)]
    assert [row["measures_only"] for row in ladder_rows(history, None)] == [False, True]
