from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from featherlite.errors import BundleError
from featherlite.history import Measure, StepReport, wilson
from featherlite.report.ladder import changes, ladder_rows, ladder_table

Report = Callable[..., StepReport]


def step(
    name: str, after: Measure | None = None, before: Measure | None = None, test_reads: int = 0, **details: Any
) -> StepReport:
    return StepReport(
        step=name.partition("-")[0],
        id=name,
        key="0" * 16,
        config={},
        seed=1,
        code="0.1.0+abc",
        started="2026-11-03T09:14:07Z",
        seconds=2.5,
        before=before,
        after=after,
        test_reads=test_reads,
        details=details,
    )


def measure(hits: int, n: int, split: str, **facts: Any) -> Measure:
    settled = {"subject": "network", "input_px": 96, "classes": 3, "parameters": 1000, "macs": 5000, "bytes": 4000}
    return Measure(top1=wilson(hits, n, split), **(settled | facts))


VERIFY = {
    "exports": [
        {"name": "float32", "bytes": 4400, "runtimes": {}, "passed": True},
        {
            "name": "int8",
            "bytes": 1500,
            "int8_only": True,
            "arena_bytes": 9000,
            "runtimes": {
                "keras": {"top1": wilson(19, 20).model_dump()},
                "litert": {"top1": wilson(18, 20).model_dump(), "agreement": 0.95, "max_lsb": 3},
                "tflm": {"top1": wilson(17, 20).model_dump(), "agreement": 0.9, "max_lsb": 4},
            },
            "passed": True,
        },
    ]
}


def history() -> list[StepReport]:
    built, trained = measure(10, 30, "val"), measure(27, 30, "val")
    quantized = measure(26, 30, "val", subject="int8", bytes=1500)
    tested = measure(18, 20, "test", subject="int8", bytes=1500)
    return [
        step("split", photos={"train": 50, "val": 30, "test": 20}, classes={"a": {}, "b": {}, "c": {}}),
        step("build", built),
        step("train", trained, built, warnings=["val loss rose"]),
        step("quantize", quantized, trained),
        step("evaluate", tested, quantized, test_reads=1),
        step("verify", tested, tested, test_reads=2),
    ]


def drawn(rows: list[dict[str, Any]], width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(ladder_table(rows))
    return out.getvalue()


def test_rows_hold_what_the_executor_measured() -> None:
    rows = ladder_rows(history(), VERIFY)
    assert [row["id"] for row in rows] == ["split", "build", "train", "quantize", "evaluate", "verify"]
    split, _, train = rows[:3]
    assert (split["classes"], split["bytes"], split["top1"]) == (3, None, None)
    assert split["photos"] == {"train": 50, "val": 30, "test": 20}
    low, high = pytest.approx(0.7438, abs=1e-4), pytest.approx(0.9654, abs=1e-4)
    assert train["top1"] == {"value": 0.9, "low": low, "high": high, "n": 30, "split": "val"}
    assert (train["parameters"], train["macs"], train["bytes"], train["seconds"]) == (1000, 5000, 4000, 2.5)
    assert train["warnings"] == ["val loss rose"]
    json.dumps(rows)


def test_the_row_of_verify_is_the_int8_artefact_as_the_runtimes_ran_it() -> None:
    last = ladder_rows(history(), VERIFY)[-1]
    assert (last["step"], last["subject"], last["bytes"], last["arena_bytes"], last["passed"]) == (
        "verify",
        "int8",
        1500,
        9000,
        True,
    )
    assert last["top1"]["value"] == 0.85  # the microcontroller's: for int8 its answers count
    assert last["top1"]["split"] == "test"
    assert ladder_rows([], VERIFY | {"split": "val"})[-1]["top1"]["split"] == "val"
    assert last["runtimes"]["tflm"] == {"top1": wilson(17, 20).model_dump(), "agreement": 0.9, "max_lsb": 4}


def wider() -> dict[str, Any]:
    """A verdict in which an int16x8 artefact stands beside the others, in the order of their names."""
    float32, int8 = VERIFY["exports"]
    runtimes = {
        "litert": {"top1": wilson(20, 20).model_dump()},
        "litert_reference": {"top1": wilson(18, 20).model_dump()},
        "tflm": {"top1": wilson(19, 20).model_dump()},
    }
    return {"exports": [float32, {"name": "int16x8", "bytes": 2100, "runtimes": runtimes, "passed": True}, int8]}


def test_the_row_of_verify_is_the_artefact_that_speaks_for_the_bundle() -> None:
    five = wilson(20, 20, "test")
    again = measure(27, 30, "val", subject="int16x8", bytes=2100)
    proven = measure(19, 20, "test", subject="int16x8", bytes=2100, top5=five)
    reports = [*history()[:-1], step("quantize-2", again), step("verify", proven, again, test_reads=2)]
    last = ladder_rows(reports, wider())[-1]
    assert (last["subject"], last["bytes"], last["top5"]) == ("int16x8", 2100, five.model_dump())
    assert last["top1"]["value"] == 0.95  # the microcontroller's here too
    without = ladder_rows(reports[:-1], wider())[-1]
    assert (without["step"], without["subject"], without["top1"]) == ("verify", "int16x8", last["top1"])


def test_figures_of_the_network_are_not_those_of_its_artefact() -> None:
    network = measure(19, 20, "test", top5=wilson(20, 20, "test"), activation_bytes=700)
    last = ladder_rows([step("verify", network, test_reads=1)], {"exports": VERIFY["exports"][:1]})[-1]
    assert (last["subject"], last["bytes"], last["parameters"]) == ("float32", 4400, 1000)
    assert last["top5"] is None
    assert "activation_bytes" not in last


def test_a_verdict_without_its_step_still_ends_the_ladder() -> None:
    rows = ladder_rows(history()[:-1], VERIFY)
    assert [row["step"] for row in rows][-2:] == ["evaluate", "verify"]
    assert rows[-1]["seconds"] is None
    assert rows[-1]["parameters"] == 1000


def test_without_a_verdict_a_verify_step_is_a_row_like_others() -> None:
    assert "runtimes" not in ladder_rows(history(), None)[-1]
    assert ladder_rows([], None) == []


def test_changes_compare_the_same_photos_only() -> None:
    found = changes(ladder_rows(history(), VERIFY))
    assert found[:2] == [None, None]
    assert found[2] == pytest.approx(17 / 30)
    assert found[3] == pytest.approx(-1 / 30)
    assert found[4] is None  # the test split, after the validation split
    assert found[5] == pytest.approx(-0.05)


def test_steps_behind_verify_stay_behind_it() -> None:
    again = measure(19, 20, "test", subject="int8", bytes=1500)
    reports = [*history(), step("verify-2", again, again, test_reads=3), step("evaluate-2", again, again, test_reads=4)]
    rows = ladder_rows(reports, VERIFY)
    assert [row["id"] for row in rows] == [report.id for report in reports]
    assert [row["id"] for row in rows if "runtimes" in row] == ["verify-2"]
    assert changes(rows)[-3:] == [0, pytest.approx(-0.05), pytest.approx(0.1)]


def test_a_change_reaches_over_rows_on_other_photos() -> None:
    reports = [
        step("train", measure(27, 30, "val")),
        step("evaluate", measure(18, 20, "test"), test_reads=1),
        step("quantize", measure(24, 30, "val"), test_reads=1),
        step("evaluate-2", measure(16, 20, "test"), test_reads=2),
        step("other", measure(10, 10, "val"), test_reads=2),
    ]
    assert changes(ladder_rows(reports, None)) == [None, None, pytest.approx(-0.1), pytest.approx(-0.1), None]


def test_a_network_is_compared_with_a_network_and_not_with_an_artefact_on_the_way() -> None:
    reports = [
        step("train", measure(27, 30, "val")),
        step("start-in-int8", measure(18, 30, "val", subject="int8", bytes=900)),
        step("prune_channels", measure(24, 30, "val")),
        step("quantize", measure(21, 30, "val", subject="int8", bytes=700)),
    ]
    assert changes(ladder_rows(reports, None)) == [None, *(pytest.approx(share) for share in (-0.3, -0.1, -0.1))]


def test_steps_that_only_measure_are_marked() -> None:
    rows = ladder_rows(history(), VERIFY)
    assert [row["id"] for row in rows if row["measures_only"]] == ["evaluate"]
    plain = ladder_rows(history(), None)
    assert [row["id"] for row in plain if row["measures_only"]] == ["evaluate", "verify"]
    line = next(line for line in drawn(rows).splitlines() if line.startswith("evaluate"))
    assert "1.50 KB" not in line
    assert "90.0%" in line


def test_a_step_that_packs_the_artefact_has_no_figures() -> None:
    verified = history()[-1].after
    assert verified is not None
    rows = ladder_rows([*history(), step("edge_impulse", verified, verified, test_reads=2)], VERIFY)
    assert rows[-1]["id"] == "edge_impulse"
    assert [rows[-1][key] for key in ("subject", "bytes", "top1", "measures_only")] == [None, None, None, False]
    assert changes(rows)[-1] is None
    assert drawn(rows).count("1.50 KB") == drawn(ladder_rows(history(), VERIFY)).count("1.50 KB")
    again = ladder_rows([*history(), step("evaluate-2", verified, verified, test_reads=2)], VERIFY)
    assert again[-1]["top1"] is not None, "what measures shows what it found, were it the same as before"


def test_a_training_that_kept_the_network_as_it_came_is_no_measuring() -> None:
    trained = measure(27, 30, "val")
    rows = ladder_rows([step("build", trained), step("train", trained, trained, fit={"best_epoch": 0})], None)
    assert not rows[1]["measures_only"]
    line = next(line for line in drawn(rows).splitlines() if line.startswith("train"))
    assert line.split()[1:4] == ["1.00k", "5.00k", "4.00"]


def test_a_test_reading_of_a_network_nobody_weighed_before_shows_its_weight() -> None:
    (row,) = ladder_rows([step("evaluate", measure(18, 20, "test"), test_reads=1)], None)
    assert not row["measures_only"]


def test_a_damaged_verdict_is_refused_by_name() -> None:
    with pytest.raises(BundleError, match=r"verify\.json: bytes"):
        ladder_rows([], {"exports": [{"name": "int8", "bytes": "many"}]})


@pytest.mark.parametrize("document", [[], 3, {"exports": 3}, {"exports": [3]}, {"exports": [{"bytes": -1}]}])
def test_what_is_no_verdict_is_refused(document: Any) -> None:
    with pytest.raises(BundleError, match=r"verify\.json: "):
        ladder_rows(history(), document)


@pytest.mark.parametrize("vary", [False, True])
def test_the_table_fits_eighty_columns_with_nothing_cut(vary: bool) -> None:
    reports = history()
    if vary:  # input and classes become columns of their own
        after = measure(
            800, 1000, "test", input_px=224, classes=419, parameters=4_491_895, macs=387_000_000, bytes=17_967_580
        )
        reports.insert(1, step("build-wide", after))
    text = drawn(ladder_rows(reports, VERIFY))
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    train = next(line for line in text.splitlines() if line.startswith("train"))
    assert "90.0% 74.4-96.5" in train
    assert "val" in train
    assert ("4.49M" in text and "419" in text) == vary


def test_the_table_says_what_a_reader_must_know() -> None:
    text = drawn(ladder_rows(history(), VERIFY))
    assert text.startswith("Ladder: 3 classes, 96 px input")
    assert "passed int8: 1,500 bytes, arena 9,000 bytes" in text
    assert "! train: val loss rose" in text
    assert "TensorFlow Lite Micro      85.0%, agrees with Keras on 90.00%" in text
    failed = {"exports": [VERIFY["exports"][1] | {"passed": False, "failures": ["tflm: too far"]}]}
    assert "FAILED int8" in drawn(ladder_rows(history(), failed))
    assert "tflm: too far" in drawn(ladder_rows(history(), failed))


def test_markup_in_names_is_text_and_drawings_are_called_drawings() -> None:
    rows = ladder_rows([step("train-[red]x[/red]", measure(1, 3, "val"), synthetic=True)], None)
    text = drawn(rows, 120)
    assert "train-[red]x[/red]" in text
    assert "say nothing about real birds" in text
    noted = step("train", measure(1, 3, "val"), warnings=["[bold]a.jpg[/nope] \x1b[31mred"], photos={"[b]val": 3})
    found = {"exports": [VERIFY["exports"][1] | {"passed": False, "failures": ["[i]far[/x]\x1b]0;title\x07"]}]}
    text = drawn(ladder_rows([noted, step("split", photos={"[b]val": 3, "test": "[x]"})], found), 120)
    for said in ("[bold]a.jpg[/nope] \ufffd[31mred", "[i]far[/x]\ufffd]0;title\ufffd", "Photos: 3 [b]val.\n"):
        assert said in text
    assert "\x1b" not in text


def test_the_notes_are_as_wide_as_the_terminal() -> None:
    warning = "a sentence of some length " * 5
    lines = drawn(ladder_rows([step("train", measure(1, 3, "val"), warnings=[warning])], None), 160).splitlines()
    assert f"! train: {warning}".strip() in [line.strip() for line in lines]


@pytest.mark.parametrize("warnings", [3, "text", {"a": 1}, None])
def test_warnings_that_are_no_list_are_none(warnings: Any) -> None:
    (row,) = ladder_rows([step("train", measure(1, 3, "val"), warnings=warnings)], None)
    assert row["warnings"] == []
