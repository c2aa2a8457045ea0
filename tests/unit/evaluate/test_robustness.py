"""The step on photos whose answers are known: three classes told apart by their color."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from featherlite.bundle import Bundle
from featherlite.data.corrupt import corruptions
from featherlite.data.photos import PhotoSet, load_photos
from featherlite.errors import RequestError
from featherlite.evaluate.evaluate import EvaluateConfig, evaluate
from featherlite.evaluate.robustness import RobustnessConfig, robustness
from featherlite.history import StepReport, wilson
from featherlite.run import run_step
from featherlite.step import Context, Progress

MakeContext = Callable[[], Context]
COUNTS = {"train": 11, "held_out": 7}


def measured(bundle: Bundle, ctx: Context, **options: Any) -> dict[str, Any]:
    document = robustness(bundle, RobustnessConfig(**options), ctx).read_json("robustness.json")
    assert isinstance(document, dict)
    return document


def test_the_document_says_what_was_measured(color_bundle: Bundle, make_context: MakeContext) -> None:
    found = measured(color_bundle, make_context())
    assert (found["split"], found["n"], found["split_photos"], found["subject"]) == ("val", 6, 6, "network")
    assert (found["severities"], found["input_px"], found["seed"]) == ([1, 3, 5], [24, 24], 0)
    assert found["clean"] == wilson(6, 6, "val").model_dump()
    assert [entry["name"] for entry in found["corruptions"]] == list(corruptions())
    for entry in found["corruptions"]:
        values = [score["top1"]["value"] for score in entry["scores"]]
        assert [score["severity"] for score in entry["scores"]] == [1, 3, 5]
        assert all(
            score["top1"] == wilson(round(value * 6), 6, "val").model_dump()
            for score, value in zip(entry["scores"], values, strict=True)
        )
        assert [score["drop"] for score in entry["scores"]] == pytest.approx([1 - value for value in values])
        assert entry["mean"] == pytest.approx(np.mean(values))
        assert not entry["trained_on"]


def test_the_mean_of_a_family_is_that_of_its_cells(color_bundle: Bundle, make_context: MakeContext) -> None:
    found = measured(color_bundle, make_context(), severities=(5,))
    for family in ("train", "held_out"):
        means = [entry["mean"] for entry in found["corruptions"] if entry["family"] == family]
        figure = found["families"][family]
        assert figure["corruptions"] == len(means)
        assert figure["mean"]["value"] == pytest.approx(np.mean(means))
        assert figure["mean"]["n"] == 6
        assert figure["mean"]["low"] <= figure["mean"]["value"] <= figure["mean"]["high"]
        assert figure["drop"] == pytest.approx(1 - np.mean(means))
    # A network that knows nothing but color falls to a wrong white balance, and not to a coarser picture.
    by_name = {entry["name"]: entry["mean"] for entry in found["corruptions"]}
    assert by_name["pixelate"] == by_name["defocus"] == 1.0
    assert by_name["color_cast"] < 1.0


def test_answers_are_those_of_the_corrupted_photos(color_bundle: Bundle, make_context: MakeContext) -> None:
    from featherlite.data.corrupt import corrupt
    from featherlite.models.logits import network_logits
    from featherlite.models.network import load_network

    found = measured(color_bundle, make_context(), corruptions=("color_cast", "fog"), severities=(5, 3), seed=4)
    photos = load_photos(color_bundle, "val", make_context())
    network = load_network(color_bundle)
    for entry in found["corruptions"]:
        for score in entry["scores"]:
            images = np.stack(corrupt(photos.images[:], entry["name"], score["severity"], 4))
            right = network_logits(network, images).argmax(axis=1) == photos.labels
            assert score["top1"]["value"] == right.mean()
    example = found["example"]
    assert (example["severity"], example["right"]) == (3, True)
    assert photos.paths.count(example["path"]) == 1
    assert example["path"].startswith(example["label"])


def test_the_weather_comes_before_noise_is_reduced_and_levels_are_stretched(
    color_bundle: Bundle, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    from featherlite.data.corrupt import corrupt

    contract = color_bundle.preprocess.model_dump() | {"version": 2, "denoise": True, "autocontrast": True}
    bundle = color_bundle.with_json("preprocess.json", contract)
    seen: list[NDArray[np.uint8]] = []

    def answer(bundle: Bundle, photos: PhotoSet, subject: str, progress: Progress) -> NDArray[np.float32]:
        seen.append(np.asarray(photos.images[0 : len(photos)]))
        return np.zeros((len(photos), 3), np.float32)

    monkeypatch.setattr("featherlite.evaluate.measure.predict_logits", answer)
    measured(bundle, make_context(), corruptions=("low_light",), severities=(3,), seed=4)
    clean, corrupted = seen
    np.testing.assert_array_equal(clean, load_photos(bundle, "val", make_context()).images[:])
    plain = load_photos(color_bundle, "val", make_context()).images[:]
    dark = corrupt(plain, "low_light", 3, 4)
    np.testing.assert_array_equal(corrupted, [bundle.preprocess.enhance(photo) for photo in dark])
    # Dusk takes 88% of the light; the levels are stretched after it, and so the photo is bright again.
    assert corrupted.mean() > 2 * np.mean(dark)


def test_the_same_seed_draws_the_same(color_bundle: Bundle, make_context: MakeContext) -> None:
    options: dict[str, Any] = {"corruptions": ("color_cast", "glare"), "max_photos": 4}
    first, again = (measured(color_bundle, make_context(), **options, seed=2) for _ in range(2))
    assert first == again
    assert (first["n"], first["split_photos"]) == (4, 6)
    assert all(score["top1"]["n"] == 4 for entry in first["corruptions"] for score in entry["scores"])


def test_the_artefact_is_measured_where_it_speaks(quantized: Bundle, make_context: MakeContext) -> None:
    found = measured(quantized, make_context(), corruptions=("jpeg",), severities=(1,))
    network = measured(quantized.with_files({}, subject="network"), make_context(), corruptions=("jpeg",))
    assert (found["subject"], network["subject"]) == ("int8", "network")
    assert found["model"] != network["model"]


def test_the_test_split_is_left_alone_unless_asked_for(color_bundle: Bundle, make_context: MakeContext) -> None:
    one = {"corruptions": ("jpeg",), "severities": (1,)}
    on_val = robustness(color_bundle, RobustnessConfig(**one), make_context())  # type: ignore[arg-type]
    assert set(on_val.metrics) == {"val"}
    on_test = robustness(color_bundle, RobustnessConfig(**one, split="test"), make_context())  # type: ignore[arg-type]
    assert on_test.metrics["test"]["reads"] == 1
    assert on_test.read_json("robustness.json")["n"] == 24
    after = robustness(
        evaluate(color_bundle, EvaluateConfig(), make_context()),
        RobustnessConfig(**one, split="test", max_photos=5),  # type: ignore[arg-type]
        make_context(),
    )
    assert (after.metrics["test"]["reads"], after.metrics["test"]["n"]) == (2, 24)


def trained(**settings: Any) -> StepReport:
    return StepReport(
        step="train",
        id="train",
        key="0" * 24,
        config=settings,
        seed=1,
        code="0",
        started="2026-01-01T00:00:00Z",
        seconds=1.0,
    )


def trained_on(found: dict[str, Any]) -> set[str]:
    return {entry["name"] for entry in found["corruptions"] if entry["trained_on"]}


def test_what_training_used_is_marked(color_bundle: Bundle, make_context: MakeContext) -> None:
    kinds = ["fog", "rain"]
    for settings, expected in (
        ({"augment": 1.0, "contrast": 0.3, "weather": 0.2, "weather_kinds": kinds}, {"contrast", "fog", "rain"}),
        ({"augment": 1.0, "contrast": 0.0, "weather": 0.0, "weather_kinds": kinds}, set()),
        ({"augment": 0.0, "contrast": 0.3, "weather": 0.2, "weather_kinds": kinds}, set()),
        ({"contrast": True}, set()),
    ):
        ctx = make_context()
        found = measured(color_bundle.with_report(trained(**settings)), ctx, severities=(1,))
        assert trained_on(found) == expected
        assert {name: family["corruptions"] for name, family in found["families"].items()} == COUNTS
        assert "warnings" not in ctx.details


def test_what_training_used_is_not_called_held_out(color_bundle: Bundle, make_context: MakeContext) -> None:
    ctx = make_context()
    report = trained(augment=1.0, weather=["frost", "fog"], strengths={"shadow": 0.5, "wet_lens": 0})
    found = measured(color_bundle.with_report(report), ctx, severities=(1,))
    assert trained_on(found) == {"frost", "fog", "shadow"}
    assert found["families"]["held_out"]["corruptions"] == COUNTS["held_out"] - 2
    assert found["families"]["train"]["corruptions"] == COUNTS["train"]
    assert "frost" in ctx.details["warnings"][0]


def test_what_cannot_be_measured_is_refused(color_bundle: Bundle, make_context: MakeContext) -> None:
    with pytest.raises(RequestError, match="no corruption 'rains'") as caught:
        measured(color_bundle, make_context(), corruptions=("rains",))
    assert "rain" in caught.value.hint
    with pytest.raises(RequestError, match="No corruption was chosen"):
        measured(color_bundle, make_context(), corruptions=())
    for severities in ((), (0,), (6,)):
        with pytest.raises(ValueError, match="severities"):
            RobustnessConfig(severities=severities)


def test_a_split_without_photos_is_told(color_bundle: Bundle, make_context: MakeContext) -> None:
    from featherlite.data.splits import Splits, read_splits, write_splits

    rows = [row for row in read_splits(color_bundle).rows() if row[4] != "val"]
    bundle = color_bundle.with_files({"splits.parquet": write_splits(Splits.from_rows(rows))})
    with pytest.raises(RequestError, match="val split has no photos"):
        measured(bundle, make_context())


def test_the_executor_runs_it_like_any_step(color_bundle: Bundle, color_photos: Path, tmp_path: Path) -> None:
    settings = {"corruptions": ["jpeg", "pixelate"], "severities": [1]}
    saved, report = run_step("robustness", color_bundle, tmp_path / "out", settings, data=color_photos)
    assert "robustness.json" in saved
    assert report.after is not None
    assert report.after.top1 is not None
    assert (report.after.top1.split, report.after.top1.value, report.test_reads) == ("val", 1.0, 0)
    assert report.details["robustness"]["families"]["train"]["corruptions"] == 1
