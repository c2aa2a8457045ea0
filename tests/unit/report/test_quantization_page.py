"""The page of quantization errors: what it says, draws and escapes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from featherlite.models.layer_errors import ErrorReport, LayerError
from featherlite.report.quantization_page import causes, render_quantization, write_quantization
from featherlite.report.quantization_plot import noise_plot


def layer(name: str, harm: float, snr: float = 30.0, **facts: Any) -> LayerError:
    settled: dict[str, Any] = {
        "kind": "Conv2D",
        "activation": "relu6",
        "operations": ("CONV_2D",),
        "shape": (1, 4, 4, 8),
        "range": (0.0, 6.0),
        "largest": 6.0,
        "typical": 1.5,
        "input_snr_db": 36.0,
        "own_snr_db": 31.0,
        "at_low": 0.4,
        "at_high": 0.0123,
        "clipped": 0.0456,
        "rounding": 0.25,
        "clipping": 0.7,
        "kernel": 0.05,
        "logits_snr_db": 24.0,
        "flips": 0.125,
        "remedy": f"mend {name}",
    }
    return LayerError.model_validate(settled | facts | {"layer": name, "harm": harm, "snr_db": snr})


def report(*layers: LayerError, **facts: Any) -> ErrorReport:
    settled: dict[str, Any] = {
        "export": "int8",
        "split": "val",
        "photos": 32,
        "probed": 16,
        "logits_snr_db": 20.0,
        "agreement": 0.875,
        "top1_float": 0.9,
        "top1_export": 0.8,
        "explained": 1.07,
        "equalized": False,
        "verdict": "It loses.",
    }
    return ErrorReport.model_validate(settled | facts | {"layers": [one.model_dump() for one in layers]})


PHOTO = layer("photo", 0.0, 120.0, kind="InputLayer", input_snr_db=None, operations=(), own_snr_db=120.0, remedy="")
FOUND = report(PHOTO, layer("first", 0.2), layer("<b>worst</b>", 0.7), layer("quiet", 0.005, remedy=""))


def test_it_says_what_is_lost_where_and_what_to_do() -> None:
    text = render_quantization(FOUND)
    for said in (
        "It loses.",
        "87.5%",
        "20.0 dB",
        "0.1 of their size",
        "it is 1.07 times",
        "mend first",
        "4.56%",
        "12.5%",
    ):
        assert said in text, said
    rows = re.findall(r'<td class="num">(\d)</td><th scope="row">(.*?)<small>', text)
    assert rows[:2] == [("1", "&lt;b&gt;worst&lt;/b&gt;"), ("2", "first")], "the worst first, and no markup of names"
    assert "<b>worst" not in text
    assert ">quiet<small>" in text.split('id="layers"')[1]
    assert ">quiet<small>" not in text.split('id="layers"')[0]
    assert "mend quiet" not in text
    assert "scaled back" not in text
    assert "scaled back" in render_quantization(FOUND.model_copy(update={"equalized": True}))


def test_causes_are_told_by_size() -> None:
    assert causes(FOUND.layers[1]) == "70% cut off, 25% storing in steps"


def test_the_plot_numbers_the_worst_and_keeps_the_rest_apart() -> None:
    plot = noise_plot(FOUND.layers, {"<b>worst</b>": 1})
    assert plot.count('class="harm"') == 3
    assert plot.count('class="harm worst"') == 1
    assert plot.count("<circle") == 2 * 4
    assert "&lt;b&gt;worst" in plot
    assert "first (Conv2D): 30.0 dB here, 31.0 dB of its own" in plot
    heights = [float(found) for found in re.findall(r'height="([\d.]+)" class="harm', plot)]
    assert heights[2] / heights[1] == pytest.approx(3.5, rel=0.01)


def test_one_layer_alone_can_be_drawn() -> None:
    assert "<svg" in noise_plot([PHOTO], {})


def test_the_file_is_written_whole(tmp_path: Path) -> None:
    page = write_quantization(FOUND, tmp_path / "deep" / "page.html")
    assert page.read_text("utf-8") == render_quantization(FOUND)
