from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featherlite.bundle import Bundle
from featherlite.data.audit import Audit, find_issues
from featherlite.data.audit_tables import ISSUES, SUMMARY, issues_table
from featherlite.data.checks import check_names, load_check
from featherlite.data.decisions import Decision, parse_decisions, write_decisions
from featherlite.data.features import HANDMADE
from featherlite.data.findings import Issue
from featherlite.data.source import Scan, scan
from featherlite.errors import StorageError
from featherlite.report.audit_facts import check_facts, known_photos
from featherlite.report.audit_page import audit_commands, bundle_audit, render_audit_page, write_audit_page
from featherlite.report.audit_photos import AuditPhotos
from featherlite.report.audit_view import sections, wanted_paths
from featherlite.report.audited import AUDIT_PAGE
from featherlite.report.histograms import histogram_plot
from featherlite.report.next_steps import read_run_note
from featherlite.report.page import render_page, write_page
from featherlite.report.templating import visible

from .test_page import Reader

Maker = Callable[..., Bundle]
LABELS = ("finch", "robin", "wren")


def draw(file: Path, seed: int, size: tuple[int, int] = (90, 60)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(file, quality=85)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "my photos"
    for place, label in enumerate(LABELS):
        for number in range(6):
            draw(folder / label / f"{number}.jpg", 100 * place + number)
    return folder


@pytest.fixture
def found(root: Path, tmp_path: Path) -> Scan:
    return scan(root, cache=tmp_path / "cache")


def of(found: Scan, *issues: Issue) -> Audit:
    names = tuple(dict.fromkeys([*(issue.check for issue in issues), "dark"]))
    return Audit(found, issues, names, None)


CONFLICT = Issue("label-conflict", ("finch/0.jpg", "wren/0.jpg"), 0.9, "two labels", "drop", ("wren/0.jpg",))
DOUBT = Issue("wrong-label", ("finch/1.jpg",), 0.8, "looks like wren", "relabel", ("finch/1.jpg",), "wren")
TWINS = Issue("near-duplicate", ("robin/1.jpg", "robin/2.jpg"), 0.75, "alike", "keep-together")
SHAKEN = Issue("blurred", ("robin/3.jpg",), 0.6, "soft")


def images(page: str) -> int:
    """Pictures that the page shows, those that it holds once and shows more often included."""
    return page.count('src="data:image/jpeg;base64,') + len(re.findall(r'<span class="pic p\d+"', page))


def test_the_page_tells_the_whole_story(found: Scan, root: Path, tmp_path: Path) -> None:
    out = write_audit_page(of(found, CONFLICT, DOUBT, TWINS, SHAKEN), root, tmp_path / "an audit" / "report.html")
    page = out.read_text("utf-8")
    reader = Reader(page.replace("<script>", "<style>").replace("</script>", "</style>"))
    assert not reader.faults
    assert re.findall(r"<h2>([^<]*?) ?<", page) == [
        "What was looked for",
        "What to do next",
        "Label conflict",
        "Wrong label",
        "Blurred",
        "Near duplicate",
        "Photos per class",
        "What the photos are like",
    ]
    for told in (
        "4 issues in 18 photos",
        "1 issue stops a run",
        "77.8%",  # 14 of 18: twins alone are nothing against a photo
        "drop 1 of 2",
        "relabel as wren",
        "other photos of",
        "1 other check found nothing: dark",
        "featherlite clean 'my photos' --audit 'an audit' --out 'my photos-clean' --apply label-conflict",
        "featherlite run mcu --data 'my photos-clean'/photos.csv --out out",
        "90 × 60",
        "All photos are 90 × 60 pixels.",
    ):
        assert told in reader.text, told
    # 6 photos of the issues, and 3 each of wren and finch to compare with
    assert images(page) == 6 + 6
    assert str(tmp_path) not in page


def test_a_browser_has_nothing_to_fetch_and_runs_only_our_script(found: Scan, root: Path) -> None:
    page = render_audit_page(of(found, CONFLICT, DOUBT), root)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    shared = re.sub(r"url\(data:image/jpeg;base64,[A-Za-z0-9+/=]+\)", "", page)
    assert not re.search(r"url\(|@import|https?://|\son\w+=", shared)
    for name, value in re.findall(r'\s(src|href|action)="([^"]*)"', page):
        assert value.startswith(("data:image/jpeg;base64,", "#")), (name, value)
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in re.findall(r'href="(#[^"]*)"', page)} <= set(ids)


def test_the_script_and_the_page_name_the_same_things(found: Scan, root: Path) -> None:
    page = render_audit_page(of(found, CONFLICT), root)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    markup = page.replace(script, "")
    for name in re.findall(r'byId\("([\w-]+)"\)', script):
        assert f'id="{name}"' in markup, name
    # what needs the script is not there for those who run none
    assert not re.search(r'class="js[^"]*"(?! hidden)', markup)


def test_pictures_stay_within_the_budget_and_the_worst_come_first(found: Scan, root: Path) -> None:
    issues = [Issue("dark", (photo.path,), 0.5 + number / 100, "dim") for number, photo in enumerate(found.photos)]
    result = of(found, *issues)
    facts = known_photos(result)
    assert wanted_paths(result, facts)[:2] == ["wren/5.jpg", "wren/4.jpg"]
    whole = render_audit_page(result, root)
    page = render_audit_page(result, root, budget=6000)
    assert images(whole) == 18
    assert 0 < images(page) < 6
    assert "Not all pictures are shown" in page
    assert "Not all pictures are shown" not in whole


def test_a_picture_that_stands_on_many_cards_is_held_once(found: Scan, root: Path) -> None:
    doubts = [replace(DOUBT, paths=(path,), targets=(path,)) for path in ("finch/1.jpg", "finch/2.jpg", "finch/3.jpg")]
    page = render_audit_page(of(found, *doubts), root)
    held = re.findall(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", page)
    assert len(held) == len(set(held)) == 3 + 6
    assert images(page) == 3 * (1 + 6)
    styles = set(re.findall(r"\.(p\d+)\{background-image", page))
    assert styles == set(re.findall(r'class="pic (p\d+)"', page))
    assert len(styles) == 6


def test_what_was_not_looked_for_is_not_said_to_be_fine(found: Scan) -> None:
    page = render_audit_page(replace(of(found, SHAKEN), features=None, unmade=("wrong-label", "off-topic")), None)
    assert "2 checks were not made: wrong label, off topic" in page
    assert "nothing is known of this" in page
    assert "was judged by" not in page
    page = render_audit_page(replace(of(found, SHAKEN), features=HANDMADE.name), None)
    assert "not made" not in page
    assert f"What the photos show was judged by {HANDMADE.name}" in page
    assert "take a wrong label below for a hint" in page
    page = render_audit_page(replace(of(found, SHAKEN), features="MobileNetV2 <x>"), None)
    assert "judged by MobileNetV2 &lt;x&gt;." in page
    assert "for a hint" not in page


def test_how_many_issues_are_not_shown_is_said(found: Scan) -> None:
    issues = [Issue("dark", (f"finch/{n}.jpg",), 0.9, "dim") for n in range(1000)]
    page = render_audit_page(of(found, *issues), None)
    assert page.count('class="issue"') == 36
    assert "And 964 more" in page
    assert "issues.parquet" in page


def test_a_photo_that_changed_or_vanished_is_named_and_not_shown(
    found: Scan, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    draw(root / "finch/0.jpg", 999)
    (root / "wren/0.jpg").unlink()
    with caplog.at_level(logging.WARNING, "featherlite"):
        page = render_audit_page(of(found, CONFLICT, SHAKEN), root)
    assert images(page) == 1
    assert "2 photos have</strong>" in page or "2 photos have changed or vanished" in page
    assert "2 photos changed or vanished" in caplog.text


def test_only_audited_photos_are_opened(found: Scan, root: Path, tmp_path: Path) -> None:
    draw(tmp_path / "secret.jpg", 5)
    page = render_audit_page(of(found, Issue("dark", ("../secret.jpg", str(tmp_path / "secret.jpg")), 1.0, "x")), root)
    assert images(page) == 0
    photos = AuditPhotos(root, {})
    photos.load(["../secret.jpg", "finch/0.jpg"])
    assert photos.of("../secret.jpg") is None
    assert photos.of("finch/0.jpg") is None


def test_photos_turned_by_exif_are_shown_upright(tmp_path: Path) -> None:
    root = tmp_path / "turned"
    for label in ("a", "b"):
        draw(root / label / "0.jpg", ord(label))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (120, 40), "red").save(root / "a/1.jpg", exif=exif)
    found = scan(root, cache=tmp_path / "cache")
    photos = AuditPhotos(root, {photo.path: photo for photo in found.photos})
    photos.load(["a/1.jpg"])
    shown = photos.of("a/1.jpg")
    assert shown is not None
    content = base64.b64decode(shown.partition(",")[2])
    (tmp_path / "x.jpg").write_bytes(content)
    with Image.open(tmp_path / "x.jpg") as image:
        assert image.size == (40, 120)


def test_every_check_has_a_title_and_a_sentence() -> None:
    for name in check_names():
        facts = check_facts(name)
        assert facts.title[0].isupper()
        assert "-" not in facts.title
        assert facts.summary
        assert not facts.summary.endswith("."), name
        assert facts.blocks == load_check(name).blocks
        assert len(facts.paragraphs) == 1, name
        assert 60 < len(facts.paragraphs[0]) < 320, name


def test_a_check_tells_more_in_its_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    import featherlite.data.checks.dark as module

    monkeypatch.setattr(module, "__doc__", "first line\n\nWhy it\nmatters, with `code`.\n\nAnd more.\n")
    assert check_facts("dark").paragraphs == ("Why it matters, with `code`.", "And more.")


def test_a_check_of_another_version_is_shown_by_its_name(found: Scan, root: Path) -> None:
    page = render_audit_page(of(found, Issue("moon-phase", ("finch/0.jpg",), 0.4, "waning")), root)
    assert "Moon phase" in page
    assert images(page) == 1


def test_issues_about_classes_and_files_are_listed(found: Scan, root: Path) -> None:
    lists = [
        Issue("small-class", (), 0.7, "class 'finch' has 2 photos"),
        Issue("unreadable", ("finch/torn.jpg",), 1.0, "truncated"),
    ]
    result = of(found, *lists, SHAKEN)
    facts = known_photos(result)
    assert [part.kind for part in sections(result, facts, AuditPhotos(None, {}))] == ["alone", "listed", "listed"]
    page = render_audit_page(result, root)
    assert "class &#39;finch&#39; has 2 photos" in page
    assert "finch/torn.jpg" in page
    assert "no picture" not in page


def test_when_no_photo_can_be_used_the_page_says_what_is_wrong(found: Scan, tmp_path: Path) -> None:
    from featherlite.data.source import Fault

    empty = Scan(tmp_path, "folders", (), (Fault("a/1.jpg", "empty", "the file is empty"),))
    page = render_audit_page(Audit(empty, (), ("dark",), None), tmp_path)
    assert "No photo here can be used" in page
    assert "a/1.jpg" in page
    assert "the file is empty" in page


def test_without_issues_the_page_is_glad(found: Scan, root: Path) -> None:
    page = render_audit_page(of(found), root, audit_commands(of(found), "my photos", "a"))
    assert "18 photos, nothing to complain about" in page
    assert "featherlite run mcu --data &#39;my photos&#39; --out out" in page
    assert "clean" not in "".join(re.findall(r"<pre>.*?</pre>", page))


def test_what_to_type_next_depends_on_what_was_found(found: Scan) -> None:
    assert [what for what, _ in audit_commands(of(found, CONFLICT), "p", "a")] == [
        "Leave out what stops a run, as suggested",
        "Or decide photo by photo, in a list of your own",
        "Then train on what remains",
    ]
    assert audit_commands(of(found, CONFLICT), "p", None)[0][1] == (
        "featherlite run mcu --data p --out out --set clean.apply=label-conflict"
    )
    one = replace(found, photos=found.photos[:6])
    assert audit_commands(of(one), "p", "a") == []
    assert "two classes or more" in render_audit_page(of(one), None)
    assert audit_commands(of(found), "a\u202eb", None)[0][1] == "featherlite run mcu --data PHOTOS --out out"


def test_many_classes_scroll_and_very_many_are_cut(found: Scan) -> None:
    photos = tuple(replace(found.photos[0], path=f"{n}/0.jpg", label=f"class {n:05}") for n in range(3000))
    page = render_audit_page(Audit(Scan(Path("x"), "folders", photos, ()), (), (), None), None)
    assert page.count('<th scope="row"><bdi>') == 1000
    assert "and 2,000 more classes in between" in page
    assert len(page) < 1_000_000


def test_the_same_audit_gives_the_same_page(found: Scan, root: Path) -> None:
    result = of(found, CONFLICT, DOUBT, TWINS)
    assert render_audit_page(result, root) == render_audit_page(result, root)


def test_a_real_audit_of_drawings_makes_a_page(sample_photos: Path, tmp_path: Path) -> None:
    result = find_issues(scan(sample_photos, cache=tmp_path))
    page = write_audit_page(result, sample_photos, tmp_path / "report.html").read_text("utf-8")
    assert f"{len(result.scan.photos):,} photos" in page
    for name, count in result.counts().items():
        assert (f'id="check-{name}"' in page) == (count > 0)


def test_a_place_that_cannot_be_written_is_said(found: Scan, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        write_audit_page(of(found), None, tmp_path / "file" / "report.html")


# ---- beside a run ------------------------------------------------------------------------------------------------


def audited(bundle: Bundle, *issues: Issue, decisions: tuple[Decision, ...] = ()) -> Bundle:
    with_audit = bundle.with_files({ISSUES: issues_table(issues)}).with_json(SUMMARY, {"checks": {"dark": 0}})
    return with_audit.with_files({"decisions.csv": write_decisions(decisions)}) if decisions else with_audit


def test_a_bundle_gives_its_audit_back_with_the_photos_as_they_are(found: Scan, root: Path, tmp_path: Path) -> None:
    bundle = audited(Bundle(), CONFLICT, SHAKEN)
    result = bundle_audit(bundle, root, tmp_path / "cache")
    assert result.issues == (CONFLICT, SHAKEN)
    assert result.checks == ("dark", "label-conflict", "blurred")
    assert images(render_audit_page(result, root)) == 3
    without = bundle_audit(bundle, tmp_path / "gone", tmp_path / "cache")
    page = render_audit_page(without, None)
    assert "2 issues" in page
    assert images(page) == 0


def test_the_page_of_a_run_counts_what_was_found_and_done(make_bundle: Maker, tmp_path: Path) -> None:
    decisions = (
        Decision("drop", "wren/0.jpg", "", "label-conflict", "two labels"),
        Decision("relabel", "finch/1.jpg", "wren", "by hand", "seen"),
    )
    bundle = audited(make_bundle(), CONFLICT, SHAKEN, decisions=decisions)
    page = write_page(bundle, None, tmp_path / "report.html").read_text("utf-8")
    rows = re.findall(r'<th scope="row">([\w ]+?)<?/?(?:th>| <span).*?</td><td>(.*?)</td></tr>', page)
    assert ("Label conflict", "1 left out") in rows
    assert ("Blurred", "–") in rows
    assert ("your own list", "1 relabelled") in rows
    assert "audit.html" not in page
    (tmp_path / AUDIT_PAGE).write_text("the audit")
    assert 'href="audit.html"' in write_page(bundle, None, tmp_path / "report.html").read_text("utf-8")


def test_a_bundle_says_by_what_its_contents_were_judged(make_bundle: Maker, tmp_path: Path) -> None:
    summary = {"checks": {"dark": 0}, "features": "MobileNetV2"}
    told = make_bundle().history[0].model_copy(update={"step": "audit", "config": {"checks": ["dark", "wrong-label"]}})
    bundle = Bundle().with_files({ISSUES: issues_table([])}).with_json(SUMMARY, summary).with_report(told)
    result = bundle_audit(bundle, None, tmp_path)
    assert (result.features, result.checks, result.unmade) == ("MobileNetV2", ("dark",), ("wrong-label",))


@pytest.mark.parametrize("text", ["", "[]", '{"recipe": {}}', '{"recipe": {"name": "x", "steps": [1]}}', "\ud800"])
def test_a_damaged_note_of_a_run_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert read_run_note(tmp_path, None, []) is None


def test_what_stopped_a_run_is_text_on_its_page(tmp_path: Path) -> None:
    steps = [{"id": "audit"}, {"id": "split"}]
    error = {"message": f"<b>{tmp_path}/photos/x.jpg\u202e is bad", "hint": "mend <i>"}
    document = {"recipe": {"name": "$(x)", "steps": steps}, "error": error}
    (tmp_path / "run.json").write_text(json.dumps(document))
    note = read_run_note(tmp_path, Path("hub:owner/name"), ["audit"])
    assert note is not None
    assert note.stopped_at == "split"
    page = render_page(audited(Bundle()), None, note=note)
    assert "&lt;b&gt;" in page
    assert "&lt;i&gt;" in page
    assert "\u202e" not in page
    assert str(tmp_path) not in page
    out = tmp_path.name
    assert f"featherlite run &#39;$(x).toml&#39; --data hub:owner/name --out {out}<" in page


def test_a_run_that_stopped_at_cleaning_shows_its_audit() -> None:
    page = render_page(audited(Bundle(), CONFLICT), None)
    assert "What the audit found" in page
    assert "knows of no photos" not in page


def test_what_the_page_saves_is_a_list_of_decisions() -> None:
    """The script's CSV, as a browser wrote it for three clicks, is what `clean --overrides` reads."""
    text = 'action,target,label,reason\ndrop,"a,b/1.jpg",,decided\nrelabel,a/2.jpg,"x ""y""",decided\n'
    assert [(one.action, one.target, one.label) for one in parse_decisions(text, "x")] == [
        ("drop", "a,b/1.jpg", ""),
        ("relabel", "a/2.jpg", 'x "y"'),
    ]


# ---- pieces ------------------------------------------------------------------------------------------------------


def test_what_cannot_be_seen_is_escaped() -> None:
    assert visible("Zaunkönig 🐦.jpg") == "Zaunkönig 🐦.jpg"
    assert visible("a\u202egpj.exe") == "a\\u202egpj.exe"
    assert visible("a\nb\x1b[0m") == "a\\x0ab\\x1b[0m"
    assert visible("a\ud800") == "a\\ud800"
    visible("a\ud800\u2028").encode()


def test_a_histogram_counts_every_value_once() -> None:
    values = np.array([1.0, 1.0, 10.0, 100.0])
    plot = histogram_plot(values, "sizes", lambda value: f"{value:g}", logarithmic=True)
    counts = [int(count) for count in re.findall(r": (\d+) photo", plot)]
    assert sorted(counts) == [1, 1, 2]
    heights = [float(height) for height in re.findall(r'height="([\d.]+)" rx', plot)]
    assert max(heights) == pytest.approx(150 - 26 - 10)
    assert sorted(heights)[0] == pytest.approx(max(heights) / 2, abs=0.1)


def test_a_histogram_of_one_value_has_a_bar() -> None:
    assert "4 photos" in histogram_plot(np.full(4, 0.5), "light", str)
    assert "4 photos" in histogram_plot(np.full(4, 224.0), "light", str, logarithmic=True)


def test_what_is_said_of_every_photo_alike_is_said_once(found: Scan, root: Path) -> None:
    grey = [Issue("grayscale", (f"finch/{n}.jpg",), 0.96, "grey, unlike the others") for n in range(4)]
    page = render_audit_page(of(found, *grey), root)
    assert page.count("grey, unlike the others") == 1
    assert "All of them: grey, unlike the others (score 0.96)." in page
    page = render_audit_page(of(found, *grey, replace(grey[0], score=0.5)), root)
    assert page.count("grey, unlike the others") == 5
