from __future__ import annotations

import errno
from pathlib import Path

import pytest

from featherlite.bundle import Bundle, Label
from featherlite.errors import RecipeError, RequestError, StorageError, VerificationError
from featherlite.history import StepReport
from featherlite.keys import photos_key, recipe_keys, step_key
from featherlite.recipe import parse_recipe
from featherlite.run import _goes_on_from, run_recipe, run_step


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    from PIL import Image

    for label, color in (("a", "red"), ("b", "blue")):
        (tmp_path / "photos" / label).mkdir(parents=True)
        Image.new("RGB", (8, 8), color).save(tmp_path / "photos" / label / "1.png")
    return tmp_path / "photos"


def test_a_new_faulty_file_makes_the_data_new(photos: Path, tmp_path: Path) -> None:
    """Else a rerun would reuse the former split, which does not tell of it."""
    before = photos_key(photos, tmp_path / "cache")
    assert photos_key(photos, tmp_path / "cache") == before
    (photos / "a" / "broken.jpg").write_text("junk")
    assert photos_key(photos, tmp_path / "cache") != before


def test_the_content_of_a_weights_file_counts(tmp_path: Path) -> None:
    weights = tmp_path / "w.weights.h5"
    weights.write_bytes(b"one")
    steps = [{"step": "split"}, {"step": "build", "weights": str(weights)}]
    build = parse_recipe({"steps": steps}, "test").steps[1]
    before = step_key("parent", build, 0)
    assert step_key("parent", build, 0) == before
    assert step_key("parent", build, 1) != before
    assert step_key("other", build, 0) != before
    weights.write_bytes(b"two")
    assert step_key("parent", build, 0) != before


def test_a_missing_weights_file_is_a_fault_of_the_recipe(tmp_path: Path) -> None:
    steps = [{"step": "split"}, {"step": "build", "weights": str(tmp_path / "none.h5")}]
    with pytest.raises(RecipeError, match="there is no file"):
        parse_recipe({"steps": steps}, "test")


def with_history(*keys: str) -> Bundle:
    bundle = Bundle().with_labels((Label(name="a"), Label(name="b")))
    for key in keys:
        bundle = bundle.with_report(
            StepReport(step="s", id="s", key=key, config={}, seed=0, code="c", started="2026", seconds=0)
        )
    return bundle


@pytest.mark.parametrize(
    ("there", "new", "goes_on"),
    [(("1",), ("1", "2"), True), (("1", "2"), ("1",), False), (("1", "x"), ("1", "2", "3"), False), ((), ("1",), True)],
)
def test_a_failed_run_replaces_only_its_own_earlier_stage(
    there: tuple[str, ...], new: tuple[str, ...], goes_on: bool, tmp_path: Path
) -> None:
    with_history(*there).save(tmp_path / "bundle")
    assert _goes_on_from(tmp_path / "bundle", with_history(*new)) is goes_on
    assert _goes_on_from(tmp_path / "nothing", with_history(*new))


def test_a_step_says_what_its_bundle_lacks(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="needs network, preprocess, splits"):
        run_step("train", with_history(), tmp_path / "out", {})
    assert not (tmp_path / "out").exists()


def test_a_step_is_never_written_over_something(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    with pytest.raises(RequestError, match="exists already"):
        run_step("build", with_history(), tmp_path / "out", {})


def test_the_keys_are_known_before_anything_has_run(photos: Path, tmp_path: Path) -> None:
    recipe = parse_recipe({"seed": 4, "steps": [{"step": "split", "near_duplicates": False, "val": 0.0}]}, "test")
    keys = recipe_keys(recipe, photos_key(photos, tmp_path / "cache"))
    run = run_recipe(recipe, photos, tmp_path / "out", cache=tmp_path / "cache")
    assert [report.key for report in run.bundle.history] == list(keys)


def test_runs_with_folders_of_their_own_share_a_store(photos: Path, tmp_path: Path) -> None:
    recipe = parse_recipe({"steps": [{"step": "split", "near_duplicates": False}]}, "test")
    store = tmp_path / "store"
    first = run_recipe(recipe, photos, tmp_path / "one", store=store, cache=tmp_path / "cache")
    second = run_recipe(recipe, photos, tmp_path / "two", store=store, cache=tmp_path / "cache")
    assert (first.reused, second.reused) == (0, 1)
    assert not (tmp_path / "one" / "store").exists()
    assert (tmp_path / "two" / "bundle" / "bundle.json").is_file()


def test_a_step_with_a_seed_of_its_own_is_the_same_under_every_seed_of_the_run(photos: Path, tmp_path: Path) -> None:
    recipe = parse_recipe({"steps": [{"step": "split", "near_duplicates": False}]}, "test").with_own_seeds([9])
    store, cache = tmp_path / "store", tmp_path / "cache"
    runs = [
        run_recipe(recipe.with_seed(seed), photos, tmp_path / str(seed), store=store, cache=cache) for seed in (0, 1)
    ]
    assert [run.reused for run in runs] == [0, 1]
    assert runs[1].bundle.history[0].seed == 9


def evaluated(bundle: Bundle, photos: Path, out: Path | None, split: str = "test") -> int:
    """How often the test split was read by the end of an `evaluate` of the bundle."""
    return run_step("evaluate", bundle, out, {"split": split}, data=photos)[1].test_reads


def test_a_bundle_remembers_every_reading_of_its_test_photos(
    color_bundle: Bundle, color_photos: Path, tmp_path: Path
) -> None:
    bundle = color_bundle.save(tmp_path / "bundle")
    places = (tmp_path / "one", None, tmp_path / "two")
    assert [evaluated(bundle, color_photos, place) for place in places] == [1, 2, 3]
    assert evaluated(bundle, color_photos, tmp_path / "val", "val") == 0, "in what came of it nothing was read"
    assert evaluated(bundle, color_photos, None) == 4
    assert evaluated(Bundle.open(tmp_path / "one"), color_photos, tmp_path / "again", "val") == 1
    assert evaluated(Bundle.open(tmp_path / "one"), color_photos, None) == 2


def test_a_failed_verification_is_a_reading_too(quantized: Bundle, color_photos: Path, tmp_path: Path) -> None:
    bundle = quantized.save(tmp_path / "bundle")
    tight = {"runtimes": ("litert",), "max_flash_bytes": 1}
    for split in ("test", "test", "val"):
        with pytest.raises(VerificationError):
            run_step("verify", bundle, None, tight | {"split": split}, data=color_photos)
    with pytest.raises(RequestError, match="exists already"):
        run_step("verify", bundle, bundle.home, tight, data=color_photos)
    assert evaluated(bundle, color_photos, None) == 3


def test_a_reading_by_a_run_that_failed_is_known_to_what_it_left(sample_photos: Path, tmp_path: Path) -> None:
    steps = [
        {"step": "split", "near_duplicates": False},
        {"step": "build", "backbone": "feathernet", "input_px": 32},
        {"step": "quantize", "photos": 6},
        {"step": "verify", "runtimes": ["litert"], "max_flash_bytes": 1},
    ]
    with pytest.raises(VerificationError):
        run_recipe(parse_recipe({"steps": steps}, "test"), sample_photos, tmp_path / "out", cache=tmp_path / "cache")
    assert Bundle.open(tmp_path / "out").local()["test_reads"] == 1
    steps[-1].pop("max_flash_bytes")
    run = run_recipe(parse_recipe({"steps": steps}, "test"), sample_photos, tmp_path / "out", cache=tmp_path / "cache")
    assert run.bundle.history[-1].test_reads == 2


def test_an_artefact_made_anew_is_measured_anew(quantized: Bundle, color_photos: Path, tmp_path: Path) -> None:
    """In the same form, of the same network: only the artefact's bytes tell them apart."""
    _, first = run_step("quantize", quantized, tmp_path / "first", {"photos": 24}, data=color_photos)
    other = {"photos": 24, "kernels": "tensor", "plan_memory": False}
    made, second = run_step("quantize", Bundle.open(tmp_path / "first"), None, other, data=color_photos)
    assert first.after is not None
    assert second.after is not None
    assert second.after.bytes == len(made.read("exports/int8/model.tflite")) != first.after.bytes


def test_a_step_that_undid_its_work_is_told_by_the_network(
    quantized: Bundle, color_photos: Path, tmp_path: Path
) -> None:
    """Behind a look aside (`start-in-int8`): the artefact's bytes are no row of a step that shrinks networks."""
    _, aside = run_step("quantize", quantized, tmp_path / "aside", {"photos": 24}, data=color_photos)
    result, undone = run_step(
        "swap_activation", Bundle.open(tmp_path / "aside"), None, {"target": "relu6", "epochs": 0}, data=color_photos
    )
    assert "returned as it came" in undone.details["warnings"][0]
    assert result.subject == "int8", "what speaks for it is still there"
    assert undone.before is not None
    assert undone.after is not None
    assert undone.before == aside.after
    assert (undone.before.subject, undone.after.subject) == ("int8", "network")
    assert undone.after.bytes == 4 * undone.after.parameters


def test_training_for_int8_that_a_step_made_stale_is_told(
    color_bundle: Bundle, color_photos: Path, tmp_path: Path
) -> None:
    trained = color_bundle.with_json("quantization.json", {}).save(tmp_path / "trained")
    settings = {"sizes": (16,), "epochs": 0, "max_drop": 1.0}
    _, report = run_step("resize_input", trained, None, settings, data=color_photos)
    assert any("trained for int8 before this step" in warning for warning in report.details["warnings"])
    _, report = run_step("evaluate", trained, None, {"split": "val"}, data=color_photos)
    assert "warnings" not in report.details


def test_a_file_that_cannot_be_read_is_not_called_the_output(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may read everything, as in a container, meets no such file: so its refusal is played."""
    weights = tmp_path / "w.weights.h5"
    weights.touch()

    def refused(path: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("featherlite.keys.sha256_of", refused)
    steps = [{"step": "split", "near_duplicates": False}, {"step": "build", "weights": str(weights)}]
    with pytest.raises(StorageError) as caught:
        run_recipe(parse_recipe({"steps": steps}, "test"), photos, tmp_path / "out", cache=tmp_path / "cache")
    assert caught.value.message == f"Cannot open {weights}: permission denied."


def test_a_renamed_step_has_its_new_name_in_what_was_stored(photos: Path, tmp_path: Path) -> None:
    """Also where a later step was stored with the former name of this one in its history."""
    former = [
        {"step": "audit", "id": "look", "checks": ["dark"]},
        {"step": "split", "id": "a", "near_duplicates": False},
    ]
    for ids in (("look", "a"), ("see", "a"), ("see", "b")):
        steps = [entry | {"id": id_} for entry, id_ in zip(former, ids, strict=True)]
        told: list[str] = []
        run = run_recipe(
            parse_recipe({"steps": steps}, "test"),
            photos,
            tmp_path / "out",
            cache=tmp_path / "cache",
            listener=lambda _id, report, _cached, told=told: told.append(report.id) if report else None,
        )
        assert run.reused == (0 if ids == ("look", "a") else 2)
        published = Bundle.open(tmp_path / "out").history
        assert [report.id for report in run.bundle.history] == told == list(ids)
        assert [report.id for report in published] == list(ids)
