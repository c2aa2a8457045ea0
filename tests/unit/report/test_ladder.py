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


def step(name: str, after: Measure | None = None, before: Measure | None = None, **details: Any) -> StepReport:
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
        step("evaluate", tested, quantized),
        step("verify", tested, tested),
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


def test_the_last_row_is_the_int8_artefact_as_the_runtimes_ran_it() -> None:
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


def test_steps_that_leave_the_network_alone_are_marked() -> None:
    flags = {row["id"]: row["changed"] for row in ladder_rows(history(), VERIFY)}
    assert flags == {"split": False, "build": True, "train": True, "quantize": True, "evaluate": False, "verify": False}


def test_a_damaged_verdict_is_refused_by_name() -> None:
    with pytest.raises(BundleError, match=r"verify\.json: bytes"):
        ladder_rows([], {"exports": [{"name": "int8", "bytes": "many"}]})


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
