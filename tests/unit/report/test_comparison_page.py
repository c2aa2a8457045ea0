from __future__ import annotations

import builtins
import json
import re
from pathlib import Path
from typing import Any

import pytest

from featherlite.comparison import Comparison, Pair, Row, Weigh
from featherlite.errors import MissingExtraError, StorageError
from featherlite.report.comparison_page import PAGE, render, write

from .made_comparison import FIGURES, PHOTOS, failed_row, made_comparison, made_row
from .test_page import Reader

HOSTILE = "<script>alert(1)</script>\"'&amp;</title>\u202egnp"


def lines(page: str, table: str = "study") -> list[str]:
    """The rows of a table's body, as text."""
    body = page.split(f'class="networks {table}"')[1].split("<tbody>")[1].split("</tbody>")[0]
    plain = [re.sub(r"<[^>]+>", " ", line) for line in body.split("</tr>")[:-1]]
    return [re.sub(r"\s+", " ", line).strip() for line in plain]


def data(page: str) -> dict[str, Any]:
    text = page.split('id="data">')[1].split("</script>")[0]
    found: dict[str, Any] = json.loads(text)
    return found


def alone(row: Row, **changes: Any) -> Comparison:
    return made_comparison(rows=(row,), pairs=(), recommended=None, reason="", **changes)


def test_the_page_says_which_network_to_ship(tmp_path: Path) -> None:
    page = write(made_comparison(), tmp_path / "deep" / "out")
    assert page == tmp_path / "deep" / "out" / PAGE
    reader = Reader(page.read_text("utf-8"))
    assert not reader.faults
    for said in (
        "Twelve networks on flowers at 96 px",
        "MobileNetV2 as int8",
        "0.4 points below ConvNeXtTiny in float32 (not significant, p = 0.72)",
        "11 networks on the same 550 photos of 5 classes",
        "1 row failed",
        "94.7% top-1 of the int8 artefact on 550 photos 95% interval 92.5% to 96.3%",
        "2.33 MB int8 2.1% of ConvNeXtTiny's",  # 2,332,320 / 111,298,964 bytes: each as it would ship
        "2.02 ms int8, one thread 3.3% of ConvNeXtTiny's",  # 2.02 / 61.7
        "2.26M 8.1% of ConvNeXtTiny's",  # 2,264,389 / 27,824,741
    ):
        assert said in reader.text, said
    assert re.findall(r"<h2>(.*?)</h2>", page.read_text("utf-8")) == [
        "The comparison",
        "Accuracy against cost",
        "Decide for yourself",
        "All figures",
        "Who is really better",
        "What failed",
        "How to read this",
        "How it was measured",
    ]


def test_a_description_of_many_lines_is_one_paragraph() -> None:
    """As a TOML holds it; a line's end must not show as what cannot be seen."""
    page = render(made_comparison(description="Two lines\nof a study,\n  indented."))
    assert ">Two lines of a study, indented.<" in page
    assert "x0a" not in page


def test_the_first_table_has_the_studys_layout() -> None:
    """Model, accuracy, weight size, inference time, in the comparison's order; then neighbours' tests in words."""
    page = render(made_comparison())
    head = page.split('class="networks study"')[1].split("</thead>")[0]
    order = ["network", "top-1", "float32", "int8", "float32", "int8"]
    assert [name for name in re.findall(r">([^<>]+)</th>", head) if name in order][:6] == order
    assert re.findall(r'class="span[^"]*">([^<]+)<', head) == ["accuracy", "weight size", "time per photo"]
    rows = lines(page)
    assert [row.split()[1] for row in rows] == [figures[0].split()[0] for figures in FIGURES]
    assert "95.3%" in rows[1]
    assert "93.2–96.8" in rows[1]
    assert "★ recommended" in rows[1]
    assert "9.06 MB 2.33 MB 5.13 ms 2.02 ms" in rows[1]
    assert "not told apart p = 0.31" in rows[3]
    assert "better p = 0.0082" in rows[6]
    assert "not told apart" not in rows[-1]
    assert "better" not in rows[-1]


def test_what_ships_stands_out() -> None:
    page = render(made_comparison())
    row = page.split('data-row="2"')[1].split("</tr>")[0]  # ConvNeXtTiny ships in float32
    assert '<td class="num opt ships">111 MB</td><td class="num opt kept">28.7 MB</td>' in row


def test_all_figures() -> None:
    row = lines(render(made_comparison()), "rest")[0]
    assert row.startswith("EfficientNetB0 94.4%")
    for figure in ("0.950", "4.06M", "73.6M", "30m40s", "5.75 ms", "19.4 MB", "96 px", "95.3 · 96.0 · 96.2"):
        assert figure in row, figure


def test_only_the_recommended_row_is_marked() -> None:
    page = render(made_comparison())
    assert page.count('class="recommended"') == 2  # once a table
    shown = re.findall(r'<span class="chip ship"( hidden)?>', page)
    assert len(shown) == len(FIGURES)
    assert shown.count("") == 1
    none = render(made_comparison(recommended=None, reason=""))
    assert 'class="recommended"' not in none
    assert "no recommendation" in none


def test_failed_rows_stand_with_their_error() -> None:
    page = render(made_comparison())
    failed = page.split('id="failed"')[1].split("</section>")[0]
    assert "EfficientNetB7" in failed
    assert "OutOfMemory: lower batch_size." in failed
    assert "EfficientNetB7" not in " ".join(lines(page))


def test_what_could_not_be_measured_is_said() -> None:
    page = render(alone(made_row(*FIGURES[0], notes=("Not timed in int8: <it> stopped.",))))
    assert "Not timed in int8: &lt;it&gt; stopped." in page


def test_a_form_that_was_timed_of_no_row_leaves_a_dash() -> None:
    """int8 ships, and its timing failed."""
    row = made_row(*FIGURES[1])
    page = render(
        alone(row.model_copy(update={"latency": tuple(one for one in row.latency if one.precision != "int8")}))
    )
    assert row.ships == "int8"
    assert lines(page)[0].endswith("2.33 MB int8 –")


def test_a_loss_of_unknown_sureness_counts_in_full() -> None:
    rows = (made_row(*FIGURES[1]), made_row(*FIGURES[2], p_best=None))
    assert [row["p"] for row in data(render(made_comparison(rows=rows, pairs=())))["rows"]] == [0.72, 0.0]


def test_only_failed_rows() -> None:
    reason = "No network finished, so there is none to recommend."
    made = made_comparison(rows=(failed_row(), failed_row("B8", "")), pairs=(), recommended=None, reason=reason, n=0)
    page = render(made)
    reader = Reader(page)
    assert not reader.faults
    assert reason in reader.text
    assert "Nothing was measured." in reader.text
    assert "<table" not in page
    assert "<script" not in page
    assert 'href="#table"' not in page
    links = {attributes["href"] for tag, attributes in reader.tags if tag == "a"}
    places = {f"#{attributes['id']}" for _, attributes in reader.tags if attributes.get("id")}
    assert links <= places


def test_one_row() -> None:
    page = render(alone(made_row(*FIGURES[0])))
    reader = Reader(page)
    assert not reader.faults
    assert "1 network on the same 550 photos" in reader.text
    assert len(lines(page)) == 1
    assert "Who is really better" not in page


def test_without_latency_and_int8() -> None:
    bare = {"latency": (), "ships": None, "int8_top1": None, "macro_f1": None, "top5": None, "per_seed": ()}
    bare |= {"weight_bytes": {}, "file_bytes": {}, "peak_memory_bytes": {}, "macs": None, "train_seconds": None}
    rows = (made_row(*FIGURES[0], **bare), made_row(*FIGURES[1], **bare, parameters=None))
    page = render(made_comparison(rows=rows, pairs=(), recommended=None, reason=""))
    reader = Reader(page)
    assert not reader.faults
    assert len(lines(page)) == 2
    assert "Not drawn, for want of a figure: MobileNetV2." in reader.text
    assert "time per photo" not in page.split('class="networks study"')[1].split("</thead>")[0]
    nothing = render(alone(made_row(*FIGURES[0], **bare, parameters=None)))
    assert not Reader(nothing).faults
    assert 'id="plot"' not in nothing


def test_some_rows_without_latency_have_a_dash() -> None:
    rows = (made_row(*FIGURES[0]), made_row(*FIGURES[1], latency=()))
    page = render(made_comparison(rows=rows, pairs=(), recommended=None))
    assert "9.06 MB 2.33 MB – –" in lines(page)[1]


EMPTY: dict[str, Any] = {
    "input_px": None,
    "top5": None,
    "macro_f1": None,
    "per_seed": (),
    "int8_top1": None,
    "parameters": None,
    "macs": None,
    "weight_bytes": {},
    "file_bytes": {},
    "latency": (),
    "peak_memory_bytes": {},
    "train_seconds": None,
    "ships": None,
    "out": "",
}


@pytest.mark.parametrize("field", EMPTY)
@pytest.mark.parametrize("count", [1, 2])
def test_any_figure_may_be_missing(field: str, count: int) -> None:
    """Of the recommended row alone, and of all rows."""
    rows = [made_row(*FIGURES[0], **{field: EMPTY[field]})]
    rows.append(made_row(*FIGURES[1], **({field: EMPTY[field]} if count == 2 else {})))
    page = render(made_comparison(rows=tuple(rows), pairs=(), recommended=FIGURES[0][0]))
    assert not Reader(page).faults
    assert len(lines(page)) == len(lines(page, "rest")) == 2
    assert "None" not in re.sub(r"<(style|script)[^>]*>.*?</\1>", "", page, flags=re.DOTALL)


def test_hostile_names_do_nothing() -> None:
    row = made_row(*FIGURES[0], name=HOSTILE, model=HOSTILE, road=HOSTILE, weights=HOSTILE, notes=(HOSTILE,))
    worse = made_row(*FIGURES[1], name="b")
    pair = Pair(better=HOSTILE, worse="b", n=9, only_better=1, only_worse=1, p_value=1, significant=False)
    made = made_comparison(
        rows=(row, worse, failed_row(HOSTILE + "2", HOSTILE)),
        pairs=(pair,),
        title=HOSTILE,
        description=HOSTILE,
        reason=HOSTILE,
        command=HOSTILE,
        interval=HOSTILE,
        machine={HOSTILE: HOSTILE},
        recommended=HOSTILE,
    )
    page = render(made)
    reader = Reader(page)
    assert not reader.faults
    assert "\u202e" not in page
    assert "<script>alert" not in page
    assert page.count("<script") == 2 == page.count("</script")
    assert "on" not in {name[:2] for _, attributes in reader.tags for name in attributes}
    assert data(page)["rows"][0]["name"].startswith("<script>alert(1)</script>")  # as text, for the script
    assert '<tr data-row="0" class="recommended">' in page


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = render(made_comparison())
    reader = Reader(page)
    policy = next(a["content"] for _, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert re.search(r"script-src 'sha256-[\w+/]+='", policy)
    assert not [a for _, a in reader.tags if "src" in a]
    assert all(str(a["href"]).startswith("#") for tag, a in reader.tags if tag == "a")
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page)
    assert "@import" not in page


def test_the_page_is_small() -> None:
    hundred = [made_row(f"{figures[0]} {index}", *figures[1:]) for index in range(10) for figures in FIGURES]
    assert len(render(made_comparison()).encode()) < 150_000
    assert len(render(made_comparison(rows=tuple(hundred), pairs=())).encode()) < 700_000


def test_every_control_has_a_name_and_every_anchor_a_place() -> None:
    reader = Reader(render(made_comparison()))
    labels = {attributes.get("for") for tag, attributes in reader.tags if tag == "label"}
    ids = [attributes["id"] for _, attributes in reader.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    for tag, attributes in reader.tags:
        if tag in ("input", "select") and attributes.get("type") not in ("radio", "checkbox"):
            named = attributes.get("id") in labels or "aria-label" in attributes or attributes.get("id") == "kin"
            assert named, attributes
        if tag == "a" and str(attributes["href"]).startswith("#"):
            assert str(attributes["href"])[1:] in ids


def test_drawings_are_no_photos() -> None:
    assert "Measured on sample drawings, not on photos." in render(made_comparison(drawings=True))
    assert "sample drawings" not in render(made_comparison())


def test_how_it_was_measured() -> None:
    text = Reader(render(made_comparison(weigh=Weigh(accuracy=2, size=0.5, time=0)))).text
    for said in (
        "550 of 5 classes, the test split, the same for all rows",
        "95%: photos and seeds resampled 1,000 times with replacement.",
        "Seeds 0, 1, 2",
        "median of 200 photos, litert, 1 and 2 threads",
        "accuracy 2, size 0.5, time 0",
        "Made-Up CPU @ 2.00GHz",
        "Memory 8.20 GB",
        "Versions python 3.11.2, tensorflow 2.21.0, ai-edge-litert 2.0.3",
        "featherlite compare comparison-study --data flowers --out compared",
    ):
        assert said in text, said
    folds = tuple(made_row(*figures, folds=5) for figures in FIGURES[:2])
    text = Reader(render(made_comparison(split="folds", rows=folds))).text
    assert "each tested by a network that had not seen it" in text
    assert "(5 folds)" in text


def test_no_folder_of_this_machine_is_told(tmp_path: Path) -> None:
    """Not in errors, notes or the command, which stays whole but for them."""
    secret = tmp_path / "home" / "ada" / "photos"
    made = made_comparison(
        rows=(
            made_row(*FIGURES[0], notes=(f"Not timed: {secret}/a.tflite is gone.",)),
            failed_row("B7", f"'{secret}/b/1.jpg' cannot be read; see '{tmp_path}/out/rows/B7/log'."),
        ),
        command=f"featherlite compare 'my study.toml' --data {secret} --out {tmp_path}/out --seeds 0,1",
    )
    page = write(made, tmp_path / "out").read_text("utf-8")
    assert "/ada/" not in page
    assert str(tmp_path) not in page
    assert "a.tflite is gone." in page
    assert "1.jpg&#39; cannot be read; see &#39;rows/B7/log&#39;." in page
    command = "featherlite compare &#39;my study.toml&#39; --data …/photos --out …/out --seeds 0,1"
    assert command in page
    assert "un &#39;closed" in render(made_comparison(command="un 'closed"))


def test_reports_of_the_runs_are_linked(tmp_path: Path) -> None:
    """Only those that are there, and none outside of the folder."""
    inside = tmp_path / "out" / "rows" / "a b" / "seed-0" / "report.html"
    outside = tmp_path / "elsewhere" / "report.html"
    for file in (inside, outside):
        file.parent.mkdir(parents=True)
        file.write_text("")
    rows = (
        made_row(*FIGURES[0], out="rows/a b"),
        made_row(*FIGURES[1], out="../elsewhere"),
        made_row(*FIGURES[2], out=str(outside.parent)),
        made_row(*FIGURES[3], out="rows/none"),
    )
    page = write(made_comparison(rows=rows, pairs=()), tmp_path / "out").read_text("utf-8")
    assert re.findall(r'href="(\.[^"]*)"', page) == ["./rows/a%20b/seed-0/report.html"]


def test_the_scripts_data_are_the_comparisons() -> None:
    made = made_comparison()
    found = data(render(made))
    assert [row["name"] for row in found["rows"]] == [figures[0] for figures in FIGURES]
    first = found["rows"][0]
    assert first["costs"]["weight_ships"] == made.rows[0].weight_bytes["int8"]
    assert first["costs"]["ms_ships"] == 4.31
    assert first["top1"] == 519 / PHOTOS
    assert first["scores"]["top1"][0] == 527 / PHOTOS
    assert found["recommended"] == "MobileNetV2"
    assert [column["key"] for column in found["columns"]][:2] == ["weight_ships", "ms_ships"]


def test_no_jinja(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "jinja2":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtraError, match="comparison's page needs the extra 'train'"):
        render(made_comparison())


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write(made_comparison(), tmp_path / "file" / "out")
