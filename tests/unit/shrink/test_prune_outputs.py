"""Classes dropped: outputs, labels, photos and metrics follow, in order; and what cannot be dropped is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from featherlite.bundle import Bundle, Label
from featherlite.data.photos import load_photos
from featherlite.data.splits import read_splits
from featherlite.errors import DataError, RequestError
from featherlite.models.network import load_network
from featherlite.shrink.classes import places_of

from ..conftest import PER_SPLIT
from .dense_networks import EAGER, STILL, bundle_of, cosine_network, dense_network, interrupted, run

HEADS = {"plain": lambda: dense_network(), "dense": lambda: dense_network(12), "cosine": cosine_network}


@pytest.mark.parametrize("head", HEADS)
def test_outputs_labels_and_photos_follow(head: str, color_bundle: Bundle, make_context: Any) -> None:
    before = bundle_of(color_bundle, HEADS[head]())
    before = before.with_json("metrics.json", {"val": {"top1": 1}}).with_files({"exports/int8/model.tflite": b"x"})
    ctx = make_context()
    after = run("prune_outputs", before, ctx, drop=["green"], **STILL)
    assert [label.name for label in after.labels] == ["blue", "red"]
    assert set(read_splits(after).label) == {"blue", "red"}
    assert read_splits(after).counts() == {"train": 16, "val": 4, "calibration": 0, "test": 16}
    assert after.metrics == {}, "they were of other classes"
    assert after.exports == ()
    old, new = load_network(before), load_network(after)
    photos = load_photos(after, "test", make_context())
    assert photos.classes == ("blue", "red")
    batch = (photos.images[:].astype(np.float32) - 128) / 128
    np.testing.assert_allclose(new.predict_on_batch(batch), old.predict_on_batch(batch)[:, [0, 2]], atol=1e-4)
    told = ctx.details["prune_outputs"]
    assert (told["classes"], told["dropped"]) == ([3, 2], ["green"])
    assert told["top1"]["sliced"] >= told["top1"]["before"]
    assert [label.name for label in before.labels] == ["blue", "green", "red"], "what came is left as it is"


def test_it_is_still_a_bundle(color_bundle: Bundle, make_context: Any, tmp_path: Path) -> None:
    """Saved, read, measured by the steps behind it."""
    from featherlite.evaluate.evaluate import EvaluateConfig, evaluate

    after = run("prune_outputs", color_bundle, make_context(), keep=["red", "green"], **STILL).save(tmp_path / "two")
    measured = evaluate(Bundle.open(tmp_path / "two"), EvaluateConfig(split="val"), make_context())
    assert measured.metrics["val"]["n"] == 2 * PER_SPLIT["val"]
    assert [label.name for label in after.labels] == ["green", "red"], "in the order that they had"


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"keep": ["red", "blue"]}, ["blue", "red"]),
        ({"drop": ["Blue"]}, ["green", "red"]),
        ({"drop_file": "blue\n\n"}, ["green", "red"]),
        ({"keep_file": "\ufeffred\r\n  green \r\n"}, ["green", "red"]),
        ({"drop": ["Virens_Color"]}, ["blue", "red"]),
        ({"drop": ["77"]}, ["blue", "red"]),
        ({"keep": ["red"], "keep_file": "blue"}, ["blue", "red"]),
        ({"keep_file": "blue\nviolet\nred\npink", "unknown": "skip"}, ["blue", "red"]),
        ({"keep": ["violet", "pink"], "keep_file": "blue\nred", "unknown": "skip"}, ["blue", "red"]),
    ],
)
def test_classes_are_named_in_many_ways(
    settings: dict[str, Any], kept: list[str], color_bundle: Bundle, make_context: Any, tmp_path: Path
) -> None:
    green = Label(name="green", scientific_name="Virens color", taxon_key="77")
    bundle = color_bundle.with_labels((Label(name="blue"), green, Label(name="red")))
    for key in ("drop_file", "keep_file"):
        if key in settings:
            (tmp_path / "names.txt").write_bytes(settings[key].encode())
            settings = settings | {key: tmp_path / "names.txt"}
    ctx = make_context()
    assert [label.name for label in run("prune_outputs", bundle, ctx, **STILL, **settings).labels] == kept
    if "unknown" in settings:
        assert "2 names are no classes of the bundle and were skipped: 'violet', 'pink'" in ctx.details["warnings"][0]


def test_a_name_of_several_classes_is_refused() -> None:
    labels = [Label(name="Finch", taxon_key="1"), Label(name="finch", taxon_key="2")]
    assert places_of(["finch", "Finch"], labels).places == (0, 1), "as written, they are two"
    with pytest.raises(RequestError, match="'FINCH' means several classes: 'Finch', 'finch'"):
        places_of(["FINCH"], labels)


def test_requests_that_cannot_be_met(color_bundle: Bundle, make_context: Any, tmp_path: Path) -> None:
    def refused(match: str, error: type[Exception] = RequestError, **settings: Any) -> None:
        with pytest.raises(error, match=match):
            run("prune_outputs", color_bundle, make_context(), **settings)

    refused(r"drop: the bundle has no class 'gren'\. Did you mean 'green'\?", drop=["gren"])
    refused(r"no class 'x' \(and 1 more names\)\. The bundle's classes are 'blue', 'green', 'red'", drop=["x", "y"])
    refused("keep: the bundle has no class 'violet'", keep=["violet"], unknown="skip")
    refused("Of 3 classes no class would stay", drop=["blue", "green", "red"])
    refused("Of 3 classes only 'red' would stay, and a classifier needs two", drop=["blue", "green"])
    refused("only 'red' would stay", keep=["red"])
    refused("A class name is blank", drop=["green", " "])
    refused("drop_file: .*absent.txt cannot be read: No such file", DataError, drop_file=tmp_path / "absent.txt")
    (tmp_path / "empty.txt").write_text("\n \n")
    refused("keep_file: .*empty.txt names no class", DataError, keep_file=tmp_path / "empty.txt")
    (tmp_path / "latin.txt").write_bytes("grün".encode("latin-1"))
    refused("is not UTF-8 text", DataError, drop_file=tmp_path / "latin.txt")
    refused("give one of them", ValidationError, drop=["red"], keep=["blue"])
    refused("max_drop does nothing here", ValidationError, drop=["red"], max_drop=0.5)
    refused("give one of drop, drop_file, keep, keep_file")


def test_what_it_needs_counts_before_anything_runs(tmp_path: Path) -> None:
    from featherlite.step import load_step

    config = load_step("prune_outputs").config
    assert "give one of drop, drop_file" in config().lacking()
    given = config(drop_file=tmp_path / "list.txt")
    assert not given.lacking()
    assert given.files() == (tmp_path / "list.txt",), "another list is another result"
    taught = config(drop_file=tmp_path / "list.txt", teacher=("big",))
    assert taught.files() == (Path("big/bundle.json"), tmp_path / "list.txt"), "another teacher is, too"


def test_keeping_all_changes_nothing(color_bundle: Bundle, make_context: Any) -> None:
    ctx = make_context()
    same = run("prune_outputs", color_bundle, ctx, keep=["blue", "green", "red"])
    assert same.read("model.keras") == color_bundle.read("model.keras")
    assert "All 3 classes stay" in ctx.details["warnings"][0]


def test_a_class_without_photos_is_told(color_bundle: Bundle, make_context: Any) -> None:
    from featherlite.data.splits import Splits, write_splits

    rows = [row for row in read_splits(color_bundle).rows() if row[2] != "red" or row[4] != "train"]
    bundle = color_bundle.with_files({"splits.parquet": write_splits(Splits.from_rows(rows))})
    ctx = make_context()
    run("prune_outputs", bundle, ctx, drop=["green"], **STILL)
    assert "1 classes stay without a training photo: 'red'" in ctx.details["warnings"][-1]


@pytest.mark.parametrize("after", [9, pytest.param(13, marks=pytest.mark.slow)])
def test_it_recovers_from_the_output_layer_on_however_often_it_is_killed(
    after: int, color_bundle: Bundle, make_context: Any
) -> None:
    """Interrupted in the epochs of the dense layers, and in that of all layers: bit for bit the same."""
    network = dense_network(12)
    network.get_layer("head_logits").set_weights([np.zeros((12, 3)), np.zeros(3)])
    bundle = bundle_of(color_bundle, network)
    settings = EAGER if after > 12 else EAGER | {"epochs": 0}

    def work(ctx: Any) -> Bundle:
        return run("prune_outputs", bundle, ctx, drop=["green"], **settings)

    whole, told = interrupted(make_context, after, work)
    assert load_network(whole).output_shape == (None, 2)
    told = told["prune_outputs"]
    assert [stage["layers"] for stage in told["recovery"][:2]] == [
        ["head_logits"],
        ["head_dense1", "head_dense1_bn", "head_logits"],
    ]
    assert told["top1"]["sliced"] < told["top1"]["after"] == 1.0
