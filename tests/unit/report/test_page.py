from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from featherlite.bundle import Bundle
from featherlite.errors import BundleError, MissingExtraError, StorageError
from featherlite.report.page import render_page, write_page
from featherlite.report.thumbnails import Thumbnails, without_places

from .conftest import draw_photos, photo_rows

Maker = Callable[..., Bundle]
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Reader(HTMLParser):
    """What a browser would see: elements, their attributes, text; and whether they nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.faults: list[str] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    draw_photos(root, photo_rows([f"Species {index:03}" for index in range(5)], 20))
    return root


def test_the_page_tells_the_whole_story(make_bundle: Maker, photos: Path, tmp_path: Path) -> None:
    page = write_page(make_bundle(), photos, tmp_path / "deep" / "report.html").read_text("utf-8")
    reader = Reader(page)
    assert not reader.faults
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == [
        "What went in",
        "The ladder",
        "How it learned",
        "What it confuses",
        "Most confident mistakes",
        "What verification found",
        "How to use it",
        "Provenance",
    ]
    for said in (
        "verified on 3 runtimes",
        "An int8 model for 96 × 96 pixel photos that tells 5 classes apart.",
        "310,792 bytes",
        "160,960 bytes of arena",
        "TensorFlow Lite Micro",
        "DEPTHWISE_CONV_2D",
        "Epoch 22 was kept",
        "head only",
        "19 of them are copies",
        "featherlite predict out photo.jpg",
        "read once",
        "Not drawn, since no better than guessing: build",
    ):
        assert said in reader.text, said
    images = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert len(images) >= 20
    assert all(image["alt"] and (image["src"] or "").startswith("data:image/jpeg;base64,") for image in images)


def test_a_browser_has_nothing_to_fetch_and_nothing_to_run(make_bundle: Maker, photos: Path) -> None:
    page = render_page(make_bundle(), photos)
    for tag, attributes in Reader(page).tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster", "background"):
                assert (value or "").startswith(("data:image/jpeg;base64,", "#")), (tag, name, value)
    assert not re.search(r"url\(|@import|https?://", page)


def test_every_link_leads_somewhere_and_ids_are_unique(make_bundle: Maker) -> None:
    tags = Reader(render_page(make_bundle(), None)).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"] for tag, attributes in tags if tag == "a"} <= {f"#{name}" for name in ids}


def test_hostile_names_are_text(make_bundle: Maker) -> None:
    names = [
        '<script>alert("1")</script>',
        "\"><img src=x onerror='a()'>",
        "{{ 7 * 7 }}",
        "</style><b>",
        "Zaunkönig 🐦 </title>",
    ]
    fault = {"path": "<svg onload=a()>.jpg", "reason": "</td>", "message": "<b>bold</b>"}
    page = render_page(make_bundle(names, faults=[fault]), None)
    reader = Reader(page)
    assert not reader.faults
    assert "script" not in {tag for tag, _ in reader.tags}
    assert not [tag for tag, attributes in reader.tags if "onerror" in attributes or "onload" in attributes]
    assert sum(tag == "title" for tag, _ in reader.tags[:8]) == 1
    assert "<script" not in page
    assert "<b>" not in page
    assert "{{ 7 * 7 }}" in page
    for name in names:
        assert name in reader.text


@pytest.mark.parametrize(
    "gone",
    [
        ("verify.json",),
        ("metrics.json",),
        ("history.jsonl",),
        ("splits.parquet",),
        ("labels.json", "preprocess.json"),
        ("verify.json", "metrics.json", "history.jsonl", "splits.parquet", "labels.json", "preprocess.json"),
    ],
    ids=" ".join,
)
def test_what_is_missing_is_left_out_or_named_with_its_command(make_bundle: Maker, gone: tuple[str, ...]) -> None:
    reader = Reader(render_page(make_bundle(without=gone), None))
    assert not reader.faults
    hints = {
        "verify.json": "featherlite verify",
        "metrics.json": "featherlite evaluate",
        "history.jsonl": "featherlite run RECIPE",
    }
    for name in gone:
        # a verdict alone is a row of the ladder already
        assert hints.get(name, "") in reader.text or (name == "history.jsonl" and "verify.json" not in gone)
    assert ("not verified yet" in reader.text) == ("verify.json" in gone)
    assert "None" not in reader.text


def test_an_empty_bundle_has_a_page_too() -> None:
    page = render_page(Bundle(), None)
    assert "<h1>No model yet</h1>" in page
    assert "No network was trained." in page
    assert "What it confuses" not in page


def test_a_failed_verification_is_the_first_thing_said(make_bundle: Maker) -> None:
    text = Reader(render_page(make_bundle(passed=False), None)).text
    assert text.index("verification failed") < text.index("What went in")
    assert text.index("below the bound of 0.98") < text.index("What went in")


def test_drawings_are_called_drawings(make_bundle: Maker) -> None:
    bundle = make_bundle(synthetic=True)
    said = "they say nothing about real birds"
    assert said in render_page(bundle, None)
    assert said not in render_page(bundle, None, synthetic=False)


@pytest.mark.parametrize(("classes", "matrix"), [(5, True), (30, True), (31, False), (419, False)])
def test_many_classes_stay_one_small_page(make_bundle: Maker, tmp_path: Path, classes: int, matrix: bool) -> None:
    bundle = make_bundle(classes, each=7)
    root = tmp_path / "photos"
    draw_photos(root, photo_rows([f"Species {i:03}" for i in range(min(classes, 60))], 7), 300)
    page = render_page(bundle, root)
    assert len(page.encode()) < 1_000_000
    assert ('<table class="matrix' in page) == matrix
    if classes == 419:
        assert "And 379 more classes." in page
        assert "and 403 more classes in between" in page
        assert "And 403 more classes in between." in page


def test_thumbnails_stay_inside_their_root_and_budget(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    draw_photos(root, photo_rows(["a"], 3), 400)
    Image.new("RGB", (50, 50)).save(tmp_path / "secret.jpg")
    (root / "a" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "a" / "loop.jpg").symlink_to(root / "a" / "loop.jpg")
    (root / "a" / "text.jpg").write_text("not a photo")
    thumbnails = Thumbnails(root)
    for path in (
        "../secret.jpg",
        str(tmp_path / "secret.jpg"),
        "a/link.jpg",
        "a/loop.jpg",
        "a/text.jpg",
        "a",
        "x\0.jpg",
        "b.jpg",
    ):
        assert thumbnails.of(path) is None, path
    uri = thumbnails.of("a/000.jpg")
    assert uri is not None
    assert uri.startswith("data:image/jpeg;base64,")
    assert 2_000_000 - thumbnails.left < 30_000
    small = Thumbnails(root, budget=len(uri) // 2)
    assert small.of("a/000.jpg") is None
    assert small.left == 0
    assert Thumbnails(None).of("a/000.jpg") is None


def test_the_page_names_no_folder_of_this_machine(make_bundle: Maker, photos: Path, tmp_path: Path) -> None:
    faults = [
        {
            "path": "a.jpg",
            "reason": "truncated",
            "message": f"{photos / 'Species 000' / 'a.jpg'}: not a readable photo.",
        },
        {"path": "/home/someone/my birds/b.jpg", "reason": "empty", "message": "zero bytes"},
    ]
    page = render_page(make_bundle(faults=faults), photos)
    assert str(tmp_path) not in page
    assert "someone" not in page
    assert "b.jpg" in page


def test_folders_are_taken_out_of_messages() -> None:
    assert without_places("/home/me/my photos/a b.jpg: bad", None) == "…/a b.jpg: bad"
    assert without_places("C:\\Users\\me\\a.jpg") == "…/a.jpg"
    assert without_places("tulip/a.jpg at 3/4") == "tulip/a.jpg at 3/4"
    assert without_places("see /data/x/y", Path("/data/x")) == "see y"


def test_a_training_that_kept_nothing_says_so(make_bundle: Maker) -> None:
    bundle = make_bundle()
    assert "Epoch 22 was kept (dotted line)" in render_page(bundle, None)
    lines = bundle.read("history.jsonl").replace(b'"best_epoch":22', b'"best_epoch":0')
    page = render_page(bundle.with_files({"history.jsonl": lines}), None)
    assert "No epoch was better than the network it started from" in page
    assert "was kept (dotted line)" not in page
    assert page.count("measures only") == 1, "evaluate"


def test_a_damaged_document_is_named(make_bundle: Maker) -> None:
    bundle = make_bundle().with_json("metrics.json", {"test": {"n": "many"}})
    with pytest.raises(BundleError, match=r"metrics\.json: n"):
        render_page(bundle, None)


def test_a_place_that_cannot_be_written_is_said(make_bundle: Maker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Cannot write"):
        write_page(make_bundle(), None, tmp_path / "file" / "report.html")


def test_without_jinja_the_extra_is_named(make_bundle: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match="train"):
        render_page(make_bundle(), None)


def test_the_same_bundle_gives_the_same_page(make_bundle: Maker, photos: Path, tmp_path: Path) -> None:
    bundle = make_bundle()
    first, moved = render_page(bundle, photos), tmp_path / "elsewhere" / "out"
    shutil.copytree(tmp_path / "out", moved)
    assert render_page(Bundle.open(moved), photos) == first


def test_the_ladder_needs_neither_templates_nor_keras() -> None:
    code = (
        "import sys; import featherlite.report.ladder, featherlite.report.page;"
        "print([name for name in ('jinja2', 'keras', 'tensorflow', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_scores_of_the_network_are_not_the_artefacts(make_bundle: Maker) -> None:
    """Trained, evaluated, then quantized: what is known of the artefact is its score on validation photos."""
    bundle = make_bundle(without=("verify.json",))
    metrics = bundle.metrics
    metrics["test"]["subject"] = "network"
    lines = bundle.read("history.jsonl").splitlines(keepends=True)[:-2]
    bundle = bundle.with_json("metrics.json", metrics).with_files({"history.jsonl": b"".join(lines)})
    text = Reader(render_page(bundle, None)).text
    assert "An int8 model for 96" in text
    assert "val photos correctly" in text
    assert "test photos that it had never seen" not in text
    assert text.count("of the float32 network, not of the int8 artefact") == 2, "confusions and mistakes"
    assert "Macro-F1" not in text, "a figure of another model among this one's"


def test_an_artefact_that_nothing_scored_has_no_score(make_bundle: Maker) -> None:
    """Evaluated, then quantized where there are no validation photos: the row before is the network's."""
    bundle = make_bundle(without=("verify.json", "metrics.json"))
    history = [report for report in bundle.history if report.step != "verify"]
    evaluated, quantized = history.pop(), history.pop()
    assert evaluated.after is not None
    assert quantized.after is not None
    network = evaluated.after.model_copy(update={"subject": "network"})
    silent = quantized.after.model_copy(update={"top1": None})
    history += [evaluated.model_copy(update={"after": network}), quantized.model_copy(update={"after": silent})]
    lines = b"".join(report.model_dump_json(exclude_none=True).encode() + b"\n" for report in history)
    text = Reader(render_page(bundle.with_files({"history.jsonl": lines}), None)).text
    assert "An int8 model for 96" in text
    assert "It named" not in text


def test_scores_of_the_bundles_own_model_come_first(make_bundle: Maker) -> None:
    bundle = make_bundle(without=("verify.json",))
    test = bundle.metrics["test"]
    metrics = {"test": test | {"subject": "network", "reads": 3}, "val": test}
    text = Reader(render_page(bundle.with_json("metrics.json", metrics), None)).text
    assert re.search(r"of \d+ validation photos were named wrongly", text)
    assert "not of the int8 artefact" not in text
    assert "The test split was read 3 times" in text


def test_the_artefact_that_speaks_for_the_bundle_speaks_on_the_page(make_bundle: Maker) -> None:
    bundle = make_bundle()
    verdict, metrics = bundle.read_json("verify.json"), bundle.metrics
    (int8,) = verdict["exports"]
    verdict["exports"].insert(0, int8 | {"name": "int16x8", "bytes": 400_123, "arena_bytes": 222_333})
    metrics["test"]["subject"] = "int16x8"
    last = bundle.history[-1]
    assert last.after is not None
    bundle = bundle.with_report(last.model_copy(update={"after": last.after.model_copy(update={"subject": "int16x8"})}))
    bundle = bundle.with_files({"exports/int16x8/model.tflite": b"wider"}, subject="int16x8")
    text = Reader(render_page(bundle.with_json("verify.json", verdict).with_json("metrics.json", metrics), None)).text
    assert "An int16x8 model for 96" in text
    assert "400,123 bytes, int16x8 model file" in text
    assert "222,333 bytes of arena" in text[: text.index("What went in")]
    assert text.index("exports/int16x8/model.tflite") < text.index("exports/int8/model.tflite")
    assert "cp BUNDLE/exports/int16x8/model.tflite" in text
