"""`featherlite quantization`: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from featherlite.bundle import Bundle
from featherlite.cli import all_commands, main
from featherlite.models.layer_errors import ErrorReport


def called(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    code = main(["quantization", *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_it_is_found_by_name() -> None:
    assert "quantization" in all_commands()


def test_it_compares_and_writes_a_page(
    quantized: Bundle, color_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "deep" / "page.html"
    assert quantized.home is not None
    code, document = called(capsys, quantized.home, "--data", color_photos, "--out", page, "--photos", 4)
    assert code == 0
    assert (document["photos"], document["split"], document["export"]) == (4, "val", "int8")
    assert [one["layer"] for one in document["layers"]] == ["image", "stem", "mix", "head_pool", "head_logits"]
    assert document["page"] == str(page)
    assert "What quantization costs" in page.read_text("utf-8")


def test_the_terminal_names_the_worst_and_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    from featherlite.cli.commands.quantization import _show
    from featherlite.cli.terminal import Terminal

    facts = {"snr_db": 20, "input_snr_db": 30, "own_snr_db": 21, "at_low": 0, "at_high": 0, "clipped": 0.0123}
    shares = {"rounding": 1, "clipping": 0, "kernel": 0, "logits_snr_db": 20, "flips": 0, "largest": 6, "typical": 1}
    kind = {"kind": "Conv2D", "activation": "relu6", "operations": ("CONV_2D",), "shape": (1, 8), "range": None}
    layers = [
        facts | shares | kind | {"layer": name, "harm": harm, "remedy": remedy}
        for name, harm, remedy in (("[red]a", 0.2, ""), ("worst", 0.795, "mend it"), ("quiet", 0.005, ""))
    ]
    whole = {"logits_snr_db": 19, "agreement": 0.9, "top1_float": 0.9, "top1_export": 0.8, "explained": 1}
    told = {"export": "int8", "split": "val", "photos": 32, "probed": 16, "equalized": False, "verdict": "It loses."}
    _show(ErrorReport.model_validate(whole | told | {"layers": layers}), Terminal())
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert lines[3] == ["worst", "20.0", "21.0", "1.23%", "79.5%", "mend", "it"]
    assert lines[4] == ["[red]a", "20.0", "21.0", "1.23%", "20.0%", "-"]
    assert "quiet" not in out
    assert out.endswith("It loses.\n32 val photos: top-1 90.0% float, 80.0% int8.\n")


def test_wrong_requests_are_told(
    quantized: Bundle, color_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, says in (
        ((quantized.home, "--out", "page.png"), "an .html file"),
        ((quantized.home, "--photos", "0"), "--photos"),
        ((quantized.home, "--split", "test"), "calibration"),
        ((quantized.home, "--split", "calibration"), "no photos in calibration"),
        ((quantized.home, "--export", "float16"), "'int8' or 'int16x8'"),
        ((quantized.home, "--export", "int16x8"), "it has: int8"),
        ((color_bundle.home,), "it has: none"),
        ((tmp_path,), "not a bundle"),
    ):
        code, document = called(capsys, *words)
        assert code == 2, words
        assert says in document["error"]["message"] + str(document["error"].get("hint")), words
