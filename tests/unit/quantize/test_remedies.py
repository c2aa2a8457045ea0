"""Which words a layer's noise earns."""

from __future__ import annotations

import re
from typing import Any

import pytest

from featherlite.models.layer_errors import ErrorReport, LayerError
from featherlite.quantize.quantize import QuantizeConfig
from featherlite.quantize.remedies import is_sound, remedy, verdict

SETTLED: dict[str, Any] = {
    "layer": "block/conv",
    "kind": "Conv2D",
    "activation": "relu6",
    "operations": ("CONV_2D",),
    "shape": (1, 4, 4, 8),
    "range": (0.0, 6.0),
    "largest": 6.0,
    "typical": 1.5,
    "snr_db": 20.0,
    "input_snr_db": 26.0,
    "own_snr_db": 22.0,
    "at_low": 0.4,
    "at_high": 0.01,
    "clipped": 0.0,
    "rounding": 1.0,
    "clipping": 0.0,
    "kernel": 0.0,
    "harm": 0.4,
    "logits_snr_db": 24.0,
    "flips": 0.1,
    "remedy": "",
}
KERNEL = {"rounding": 0.1, "kernel": 0.9}
CUT = {"rounding": 0.1, "clipping": 0.9, "clipped": 0.03}
LINEAR = {"activation": "linear"}
WIDE = {"kind": "Activation", "activation": "relu", "range": (0.0, 80.0), "typical": 1.0, "largest": 80.0}
UNIT = LINEAR | {"kind": "Multiply", "operations": ("L2_NORMALIZATION",), "range": (-1.0, 0.992), "typical": 0.09}
"""Features of length one, of a cosine head."""
LOGITS = WIDE | LINEAR | {"kind": "Dense", "operations": ("FULLY_CONNECTED",), "role": "logits"}


def layer(**facts: Any) -> LayerError:
    return LayerError.model_validate(SETTLED | facts)


@pytest.mark.parametrize(
    ("found", "facts", "says"),
    [
        (CUT, {"ranges": "percentile"}, "ranges=minmax"),
        (CUT, {"ranges": "minmax"}, "more photos"),
        (CUT, {"ranges": "trained"}, "quantize_aware"),
        (KERNEL, {"kernels": "tensor"}, "kernels=channel"),
        (KERNEL | LOGITS, {"kernels": "tensor"}, "only quantize_aware"),
        (KERNEL | {"operations": ("FULLY_CONNECTED",)}, {"kernels": "tensor"}, "noise: try equalize=true"),
        (KERNEL, {"kernels": "channel", "corrected": False}, "correct=true"),
        (KERNEL | {"operations": ("DEPTHWISE_CONV_2D",)}, {"corrected": True}, "equalize=true"),
        (KERNEL | {"operations": ("DEPTHWISE_CONV_2D",)}, {"equalized_pairs": 3}, "only quantize_aware"),
        (KERNEL, {"corrected": True}, "only quantize_aware"),
        ({"activation": "silu", "operations": ("LOGISTIC", "MUL")}, {}, "swap_activation to relu6"),
        (WIDE, {"ranges": "minmax"}, "ranges=percentile or ranges=mse, or bound it with relu6"),
        (WIDE, {"ranges": "mse"}, "bound it with relu6 (swap_activation), or equalize=true"),
        (WIDE | {"range": (0.0, 6.0), "typical": 0.1}, {"ranges": "mse", "equalized_pairs": 2}, "quantize_aware"),
        (
            WIDE | LINEAR | {"kind": "Add", "operations": ("ADD",)},
            {"ranges": "mse"},
            "values: quantize_aware training.",
        ),
        (WIDE | LINEAR | {"kind": "Conv2D"}, {"ranges": "mse"}, "a few large values: equalize=true."),
        (WIDE | LINEAR | {"kind": "GlobalAveragePooling2D", "operations": ("MEAN",)}, {}, "values: quantize_aware"),
        (WIDE | LINEAR | {"kind": "ReLU"}, {"ranges": "mse"}, "bound it with relu6 (swap_activation)"),
        (KERNEL, {"dtype": "int16x8", "corrected": False, "trained": True}, "train longer with quantize_aware."),
        (CUT, {"dtype": "int16x8", "trained": True}, "more photos"),
        (CUT, {"ranges": "mse", "trained": True}, "train longer with quantize_aware, whose ranges"),
        ({}, {"dtype": "int16x8", "trained": True}, "longer quantize_aware training, or scheme=float16"),
        ({"kind": "Multiply", "role": "squeeze_excite"}, {}, "hard sigmoid"),
        ({"kind": "Multiply"}, {}, "It uses its range well"),
        (UNIT, {"ranges": "minmax"}, "Its range is given by what it computes; 255 steps are too few"),
        (LOGITS, {"ranges": "minmax"}, "a few large values: quantize_aware training."),
        (KERNEL | {"kind": "Dense", "operations": ("FULLY_CONNECTED",)}, {"equalized_pairs": 1}, "only quantize_aware"),
        ({}, {}, "int16x8"),
        ({}, {"ranges": "trained"}, "longer quantize_aware training, or scheme=int16x8"),
        ({}, {"dtype": "int16x8"}, "quantize_aware, or scheme=float16"),
        (KERNEL, {"kernels": "tensor", "ranges": "trained"}, "train longer with quantize_aware, with kernels=channel"),
        (WIDE, {"ranges": "trained"}, "a few large values: bound it with relu6 (swap_activation)."),
    ],
)
def test_each_cause_has_its_remedy(found: dict[str, Any], facts: dict[str, Any], says: str) -> None:
    assert says in remedy(layer(**found), facts)


def test_what_does_no_harm_needs_none() -> None:
    assert remedy(layer(harm=0.01), {}) == ""
    assert remedy(layer(input_snr_db=None), {}) == "", "the photo itself"


def report(*layers: LayerError, agreement: float = 0.9, decibels: float = 18.0) -> ErrorReport:
    return ErrorReport(
        export="int8",
        split="val",
        photos=40,
        probed=16,
        logits_snr_db=decibels,
        agreement=agreement,
        top1_float=0.9,
        top1_export=0.8,
        explained=1.0,
        equalized=False,
        verdict="",
        layers=layers,
    )


def test_the_verdict_names_the_worst_or_says_that_none_is() -> None:
    found = report(layer(), layer(layer="last", harm=0.3), layer(layer="quiet", harm=0.0))
    assert "2 layers bring 70% of that noise: 'block/conv', 'last'" in verdict(found, {})
    assert "90.0% of 40 photos" in verdict(found, {})
    assert "No single layer stands out" in verdict(report(layer(harm=0.04)), {})
    assert "4% the CONV_2D operations): quantize_aware" in verdict(report(layer(harm=0.04)), {})
    swish = layer(harm=0.02, activation="silu", operations=("LOGISTIC", "MUL"))
    assert "swap_activation to relu6" in verdict(report(layer(harm=0.04), swish), {})
    assert "One layer brings 40%" in verdict(report(layer()), {})
    trained = {"trained": True}
    assert "operations): longer quantize_aware training" in verdict(report(layer(harm=0.04)), trained)
    assert "relu6, with quantize_aware behind it again," in verdict(report(layer(harm=0.04), swish), trained)
    sound = report(layer(), agreement=1.0, decibels=34.0)
    assert "nothing to mend" in verdict(sound, {})
    assert is_sound(sound)
    assert not is_sound(report(layer(), agreement=1.0, decibels=29.0))
    assert not is_sound(report(layer(), agreement=0.99, decibels=40.0))


def test_the_worst_come_first_and_the_fall_is_against_the_input() -> None:
    found = report(layer(harm=0.1), layer(layer="worst", harm=0.5), layer(layer="third", harm=0.05))
    assert [one.layer for one in found.worst(2)] == ["worst", "block/conv"]
    assert layer().drop_db == pytest.approx(6.0)
    assert layer(input_snr_db=None).drop_db == 0.0


@pytest.mark.parametrize(
    "found", [CUT, KERNEL, KERNEL | {"operations": ("DEPTHWISE_CONV_2D",)}, WIDE, UNIT, LOGITS, {}]
)
@pytest.mark.parametrize("kernels", ["channel", "tensor"])
@pytest.mark.parametrize(
    ("dtype", "ranges"),
    [("int8", "minmax"), ("int8", "mse"), ("int8", "trained"), ("int16x8", None)],
)
@pytest.mark.parametrize("corrected", [True, False])
def test_what_is_advised_can_be_done(
    found: dict[str, Any], kernels: str, dtype: str, ranges: str | None, corrected: bool
) -> None:
    """Each KEY=VALUE is a setting that `quantize` takes on such an artefact and has not had."""
    facts: dict[str, Any] = {"dtype": dtype, "kernels": kernels, "corrected": corrected and ranges != "trained"}
    facts |= {"ranges": ranges} if ranges else {}
    words = remedy(layer(**found), facts)
    assert words
    for key, value in re.findall(r"(\w+)=(\w+)", words):
        if "quantize_aware, with" in words:
            assert facts[key] != value
            continue
        assert key in ("scheme", "corrected") or ranges != "trained", "quantize takes what was trained as it is"
        QuantizeConfig(**{"scheme": dtype} | {key: value})
        assert str(facts.get({"correct": "corrected", "scheme": "dtype"}.get(key, key))).lower() != value
