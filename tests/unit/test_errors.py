from __future__ import annotations

import pytest

from featherlite import errors
from featherlite.errors import FeatherliteError, MissingExtraError, RecipeError, did_you_mean


def test_a_missing_extra_gives_the_exact_line() -> None:
    error = MissingExtraError("mcu", "TensorFlow Lite Micro")
    assert "pip install 'featherlite[mcu]'" in str(error)
    assert error.to_json()["type"] == "MissingExtraError"


def test_all_faults_are_listed() -> None:
    error = RecipeError("Recipe 'x'", ["one", "two"])
    assert "2 faults" in str(error)
    assert "- one" in str(error)
    assert "- two" in str(error)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("efficientnetb0", "Did you mean 'EfficientNetB0'?"),
        ("EfficentNetB0", "Did you mean 'EfficientNetB0'?"),
        ("zzz", "Known: EfficientNetB0, MobileNetV2."),
    ],
)
def test_the_nearest_name_is_suggested(typed: str, expected: str) -> None:
    assert did_you_mean(typed, ["MobileNetV2", "EfficientNetB0"]) == expected


def test_every_error_has_an_exit_code_of_the_design() -> None:
    classes = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, FeatherliteError)
    ]
    assert len(classes) >= 9
    assert {cls.exit_code for cls in classes} == {1, 2, 130}
