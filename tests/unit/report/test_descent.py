"""The descent of a chain: which steps are drawn, how their bars compare, and the long ladder of the terminal."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from featherlite.history import Measure, StepReport, wilson
from featherlite.report.descent import descent_plot, rungs_of
from featherlite.report.ladder import ladder_rows, ladder_table
from featherlite.report.ladder_words import arena_text
from featherlite.report.road import ladder_view


def step(name: str, **facts: Any) -> StepReport:
    hits, split = facts.pop("hits", 400), facts.pop("split", "val")
    settled: dict[str, Any] = {"subject": "network", "input_px": 96, "classes": 5, "parameters": facts["bytes"] // 4}
    after = Measure(**(settled | facts), top1=wilson(hits, 500, split))
    return StepReport(
        step=name, id=name, key="0" * 16, config={}, seed=1, code="c", started="now", seconds=60, after=after
    )


def chain(steps: int = 10) -> list[StepReport]:
    first = step("build", bytes=18_000_000, macs=400_000_000, activation_bytes=200_000, hits=100)
    found = [first, first.model_copy(update={"step": "train", "id": "train", "after": trained(first)})]
    for number in range(steps):
        size, macs = int(18_000_000 * 0.8**number), int(400_000_000 * 0.7 ** (number // 2))
        found.append(step(f"remove_blocks-{number}", bytes=size, macs=macs, activation_bytes=200_000 - 9_000 * number))
    facts = {"bytes": 240_000, "macs": 20_000_000, "activation_bytes": 90_000, "subject": "int8"}
    found.append(step("quantize", **facts))
    found.append(
        step("evaluate", split="test", **facts).model_copy(update={"before": found[-1].after, "test_reads": 1})
    )
    found.append(step("verify", arena_bytes=110_000, **facts))
    return found


def trained(report: StepReport) -> Any:
    assert report.after is not None
    return report.after.model_copy(update={"top1": wilson(450, 500, "val")})


def name(row: Any) -> str:
    return str(row["id"])


def test_old_histories_have_no_estimate_and_load() -> None:
    report = step("train", bytes=4000, macs=5000)
    text = report.model_dump_json(exclude_none=True)
    assert "activation_bytes" not in text
    assert StepReport.model_validate_json(text) == report
    assert arena_text(ladder_rows([report], None)[0]) == ""


def test_a_measured_arena_goes_before_an_estimate() -> None:
    rows = ladder_rows(chain(), None)
    texts = {row["id"]: arena_text(row) for row in rows}
    assert texts["build"] == "~200 KB"
    assert texts["verify"] == "110 KB"
    assert texts["evaluate"] == "", "it only measures"
    assert rows[0]["activation_bytes"] == 200_000


def test_what_left_a_model_is_a_rung() -> None:
    rungs = rungs_of(ladder_rows(chain(), None), name)
    assert [rung.name for rung in rungs][:2] == ["build", "train"]
    assert "evaluate" not in [rung.name for rung in rungs]
    assert [rung.measured for rung in rungs] == [False] * 13 + [True]
    assert (rungs[-1].arena, rungs[-2].arena) == (110_000, 90_000)
    assert not rungs[0].learned, "20% of five classes is guessing"
    assert rungs[1].learned


def test_a_ladder_that_hardly_changes_its_weight_has_no_descent() -> None:
    rows = ladder_rows([one for one in chain(0) if one.step != "quantize"], None)
    assert rungs_of(rows, name) == []
    view = ladder_view(rows)
    assert view is not None
    assert view["descent"] is None


def test_bars_are_as_long_as_what_they_stand_for() -> None:
    plot = descent_plot(rungs_of(ladder_rows(chain(), None), name))
    bars = [
        (float(width), kind) for width, kind in re.findall(r'width="([\d.]+)" height="14" rx="2" class="(.*?)"', plot)
    ]
    sizes, arenas, macs = bars[:14], bars[14:28], bars[28:]
    assert len(macs) == 14
    assert sizes[3][0] / sizes[1][0] == pytest.approx(0.8, rel=0.01)
    assert [kind for _, kind in sizes[:3]] == ["bar changed", "bar", "bar"], "train and the first cut left the size"
    assert arenas[0][1] == "bar changed hollow"
    assert arenas[-1][1] == "bar changed"
    assert macs[-1][1] == "bar"
    assert plot.count("<circle") == 13, "what guesses has its figure and no mark"
    assert ">20.0%<" in plot
    assert "14 steps from 18.0 MB" in plot


def test_long_names_are_shortened_and_escaped() -> None:
    rungs = rungs_of(ladder_rows(chain(), None), lambda row: f"<{row['id']}>" * 4)
    plot = descent_plot(rungs, 340, ("top-1", "size"))
    assert "…" in plot
    assert "<remove" not in plot
    assert ">MACs<" not in plot
    assert ">MACs<" in descent_plot(rungs, 340, ("arena", "MACs"))


def test_a_long_ladder_fits_eighty_columns_with_arena_and_half_intervals() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(ladder_table(ladder_rows(chain(16), None)))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in out.getvalue()
    header = next(line for line in lines if line.startswith("step"))
    assert header.split() == ["step", "params", "MACs", "size", "arena", "top-1", "±95%", "on", "diff"]
    cut = next(line for line in lines if line.startswith("remove_blocks-2 "))
    assert cut.split()[1:] == ["2.88M", "280M", "11.5", "MB", "~182", "KB", "80.0%", "±3.5", "val", "0.0"]
    assert "Time: 21m00s in all" in out.getvalue()


STABILITY = {"sets": 10, "min": 0.848, "max": 0.853, "spread": 0.005, "n": 500, "split": "val", "top1": [0.85]}


def quantized(**details: Any) -> StepReport:
    report = step("quantize", bytes=300_000, macs=5_000, subject="int8")
    return report.model_copy(update={"details": details})


def test_the_spread_over_representative_sets_is_told() -> None:
    rows = ladder_rows([quantized(stability=STABILITY)], None)
    assert rows[0]["stability"] == {key: STABILITY[key] for key in ("sets", "min", "max", "spread", "n", "split")}
    said = "quantize: over 10 representative sets top-1 is 84.8% to 85.3%, a spread of 0.5 points."
    out = io.StringIO()
    Console(file=out, width=120).print(ladder_table(rows))
    assert said in out.getvalue()
    view = ladder_view(rows)
    assert view is not None
    assert view["stability"] == [said]


@pytest.mark.parametrize("found", [None, {}, 3, STABILITY | {"sets": "ten"}, STABILITY | {"min": float("nan")}])
def test_what_is_no_spread_is_not_told(found: Any) -> None:
    assert "stability" not in ladder_rows([quantized(stability=found)], None)[0]
