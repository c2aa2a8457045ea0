"""Classes added with their photos: found, shared out, imprinted behind the others, which stay as they were."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featherlite.bundle import Bundle
from featherlite.data.photos import load_photos
from featherlite.data.splits import Splits, read_splits, write_splits
from featherlite.errors import DataError, RequestError
from featherlite.history import StepReport
from featherlite.keys import step_key
from featherlite.models.network import load_network
from featherlite.recipe import PlannedStep
from featherlite.shrink.grow_outputs import _taken
from featherlite.shrink.imprint import Seen, class_means, matched_columns
from featherlite.shrink.recovery import RecoveryConfig, Ward
from featherlite.step import Context, load_step

from ..conftest import PX
from .dense_networks import EAGER, STILL, bundle_of, cosine_network, dense_network, interrupted, run

HEADS = {"plain": lambda: dense_network(), "dense": lambda: dense_network(12), "cosine": cosine_network}


def draw(folder: Path, channels: tuple[int, ...], count: int = 18, seed: int = 1) -> None:
    """Noisy patches in which these channels are brighter."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        pixels = random.integers(40, 170, (PX, PX, 3))
        pixels[..., channels] += random.integers(50, 80)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:02d}.png")


@pytest.fixture
def photos(color_photos: Path, tmp_path: Path) -> Path:
    """The colors' photos, and beside them those of yellow (red and green) and cyan (blue and green)."""
    root = tmp_path / "photos"
    shutil.copytree(color_photos, root)
    draw(root / "yellow", (0, 1))
    draw(root / "cyan", (1, 2), seed=2)
    return root


@pytest.fixture
def at(make_context: Any) -> Callable[[Path], Context]:
    """Makes a context over a folder of photos."""

    def make(root: Path) -> Context:
        ctx: Context = make_context()
        ctx.data = root
        return ctx

    return make


@pytest.mark.parametrize("head", HEADS)
def test_new_classes_stand_behind_the_others(head: str, color_bundle: Bundle, photos: Path, at: Any) -> None:
    before, ctx = bundle_of(color_bundle, HEADS[head]()), at(photos)
    after = run("grow_outputs", before, ctx, max_drop=1, **STILL)
    assert [label.name for label in after.labels] == ["blue", "green", "red", "cyan", "yellow"]
    test = load_photos(after, "test", at(photos))
    batch = (test.images[:].astype(np.float32) - 128) / 128
    old, new = (load_network(one).predict_on_batch(batch) for one in (before, after))
    np.testing.assert_allclose(new[:, :3], old, atol=1e-4)
    fresh = test.labels >= 3
    assert fresh.sum() == 16
    assert (new[fresh][:, 3:].argmax(axis=1) + 3 == test.labels[fresh]).mean() == 1.0, "which of the new ones it is"
    if head == "cosine":
        assert (new[fresh].argmax(axis=1) == test.labels[fresh]).mean() > 0.6, "with no epoch of training"
    else:
        level = float(np.mean([old[test.labels == number, number].mean() for number in range(3)]))
        ahead = float(np.mean([new[test.labels == number, number].mean() for number in (3, 4)]))
        assert ahead == pytest.approx(level, abs=0.15 * abs(level) + 0.3), "as sure of them as of the former ones"
    told = ctx.details["grow_outputs"]
    assert told["classes"] == [3, 5]
    assert told["added"] == {name: {"test": 8, "train": 8, "val": 2} for name in ("cyan", "yellow")}
    if head == "cosine":
        lengths = np.linalg.norm(load_network(after).get_layer("head_logits").get_weights()[0], axis=0)
        np.testing.assert_allclose(lengths, 1.0, atol=1e-5)


def test_former_photos_stay_where_they_were(color_bundle: Bundle, photos: Path, at: Any) -> None:
    draw(photos / "red" / "more", (0,), count=1, seed=9)  # a photo of a class that the bundle has is not its business
    shutil.move(photos / "red" / "more" / "00.png", photos / "red" / "99.png")
    (photos / "red" / "more").rmdir()
    after = run("grow_outputs", color_bundle, at(photos), classes=["yellow"], **STILL, max_drop=1)
    assert [label.name for label in after.labels] == ["blue", "green", "red", "yellow"]
    was, now = (set(read_splits(one).rows()) for one in (color_bundle, after))
    assert was < now
    assert {row[2] for row in now - was} == {"yellow"}


def test_new_photos_are_shared_out_as_the_former_were(color_bundle: Bundle, photos: Path, at: Any) -> None:
    config = {"test_files": "*/0?.png", "val": 0.25, "include": ["blue", "green", "red"], "gone": 1}
    report = StepReport(step="split", id="split", key="k", config=config, seed=0, code="", started="", seconds=0)
    after = run("grow_outputs", color_bundle.with_report(report), at(photos), max_drop=1, **STILL)
    new = [row for row in read_splits(after).rows() if row[2] == "cyan"]
    assert {row[0] for row in new if row[4] == "test"} == {f"cyan/{number:02d}.png" for number in range(10)}
    assert sum(row[4] == "val" for row in new) == 2, "a quarter of the eight that are left"


def test_a_pattern_that_new_photos_do_not_match_leaves_them_the_same_share(
    color_bundle: Bundle, photos: Path, at: Any
) -> None:
    """Of the two new classes one has photos with such names."""
    for file in (photos / "yellow").iterdir():
        file.rename(file.with_stem(f"img_{file.stem}"))
    config = {"test_files": "*/1?.png", "val_files": "*/0[89].png"}
    report = StepReport(step="split", id="split", key="k", config=config, seed=0, code="", started="", seconds=0)
    ctx = at(photos)
    after = run("grow_outputs", color_bundle.with_report(report), ctx, max_drop=1, **STILL)
    assert "test_files '*/1?.png' and val_files '*/0[89].png', which not every new class" in ctx.details["warnings"][0]
    was, sides = read_splits(color_bundle).counts(), [row[4] for row in read_splits(after).rows() if row[2] == "yellow"]
    for side in ("val", "test"):
        assert sides.count(side) == pytest.approx(len(sides) * was[side] / sum(was.values()), abs=1)
        assert sides.count(side) > 0


def test_photos_may_lie_elsewhere(color_bundle: Bundle, photos: Path, color_photos: Path, at: Any) -> None:
    """A folder of one new class alone; the run's own photos are where they were."""
    shutil.copytree(photos / "yellow", photos.parent / "new" / "yellow")
    shutil.copytree(photos / "yellow", photos.parent / "other" / "amber")
    ctx = at(color_photos)
    after = run("grow_outputs", color_bundle, ctx, photos=photos.parent / "new", max_drop=1, **STILL)
    assert [label.name for label in after.labels] == ["blue", "green", "red", "yellow"]
    fresh = at(color_photos)
    fresh.cache = photos.parent / "cache"
    found = load_photos(after, "train", fresh)
    assert len(found) == 32
    assert (photos.parent / "new" / "yellow").as_posix() in next(path for path in found.paths if "yellow" in path)
    config = load_step("grow_outputs").config
    assert config(photos=photos).labelled() == (photos,), "other photos are another result"
    assert config().labelled() == ()


def test_other_labels_in_a_table_of_photos_are_another_result(photos: Path) -> None:
    """Corrected in place, and not one photo changed."""
    table, keys = photos / "new.csv", []
    for label in ("yellow", "amber"):
        table.write_text("path,label\n" + "".join(f"yellow/{number:02d}.png,{label}\n" for number in range(6)))
        entry = load_step("grow_outputs")
        plan = PlannedStep("grow_outputs", entry, entry.config(photos=table))
        keys.append(step_key("", plan, 0))
    assert keys[0] != keys[1]


def test_a_copy_elsewhere_goes_to_the_side_of_what_it_shows(color_bundle: Bundle, photos: Path, at: Any) -> None:
    """Saved anew and as JPEG, in another folder than the run's photos: not one byte is the same."""
    tested = read_splits(color_bundle).of("test").path[0]
    elsewhere = photos.parent / "new" / "yellow"
    shutil.copytree(photos / "yellow", elsewhere)
    random = np.random.default_rng(5)
    scene = Image.fromarray(random.integers(0, 256, (8, 8, 3)).astype(np.uint8)).resize(
        (PX, PX), Image.Resampling.BICUBIC
    )
    scene.save(photos / tested)
    scene.save(elsewhere / "copy.jpg", quality=92)
    splits = read_splits(color_bundle)
    digest = hashlib.sha256((photos / tested).read_bytes()).hexdigest()
    rows = [(path, digest if path == tested else sha, *rest) for path, sha, *rest in splits.rows()]
    bundle = color_bundle.with_files({"splits.parquet": write_splits(Splits.from_rows(rows))})
    after = run("grow_outputs", bundle, at(photos), photos=photos.parent / "new", max_drop=1, **STILL)
    assert {row[4] for row in read_splits(after).rows() if row[0].endswith("copy.jpg")} == {"test"}


def test_the_same_picture_stays_on_one_side(color_bundle: Bundle, photos: Path, at: Any) -> None:
    """A new photo that the test split has already, under another name, must not be trained on."""
    tested = read_splits(color_bundle).of("test").path[0]
    shutil.copy(photos / tested, photos / "yellow" / "copy.png")
    ctx = at(photos)
    after = run("grow_outputs", color_bundle, ctx, classes=["yellow"], max_drop=1, **STILL)
    assert {row[4] for row in read_splits(after).rows() if row[0] == "yellow/copy.png"} == {"test"}
    assert "1 new photos show what photos of the bundle show" in ctx.details["warnings"][0]


def test_requests_that_cannot_be_met(color_bundle: Bundle, color_photos: Path, photos: Path, at: Any) -> None:
    def refused(match: str, root: Path = photos, error: type[Exception] = RequestError, **settings: Any) -> None:
        with pytest.raises(error, match=match):
            run("grow_outputs", color_bundle, at(root), **settings)

    (photos / "magenta").mkdir()
    refused(r"there are no photos of 'yelow' in .*Did you mean 'yellow'\?", classes=["yelow"])
    refused(r"has the class 'red' already\. New are 'cyan', 'yellow'", classes=["red"])
    refused("class 'magenta' has no readable photo", error=DataError, classes=["yellow", "magenta"])
    refused(r"has no class that the bundle lacks.*photos=FOLDER", color_photos)
    refused("no such folder", error=DataError, photos=photos / "absent")
    shutil.copytree(photos / "yellow", photos / "Red")
    refused(r"'Red' and 'red' differ only in case", error=DataError)
    ctx = at(photos)
    ctx.data = None
    with pytest.raises(RequestError, match="Add --data"):
        run("grow_outputs", color_bundle, ctx)


def test_a_class_whose_photos_are_all_tested_is_refused(color_bundle: Bundle, photos: Path, at: Any) -> None:
    tested = read_splits(color_bundle).of("test").path[0]
    (photos / "copied").mkdir()
    shutil.copy(photos / tested, photos / "copied" / "copy.png")
    with pytest.raises(DataError, match="'copied' has no photo to train on"):
        run("grow_outputs", color_bundle, at(photos), classes=["copied"])


# ---- the first weights -------------------------------------------------------------------------------------------


def test_class_means_are_of_directions() -> None:
    """(3, 4) and (0, 2) point to (0.6, 0.8) and (0, 1), however long they are."""
    means = class_means(Seen(np.array([[3.0, 4.0], [0.0, 2.0], [5.0, 0.0]]), np.array([0, 0, 1])))
    np.testing.assert_allclose(means, [[0.3, 0.9], [1.0, 0.0]])


def test_new_answers_are_of_the_others_scale() -> None:
    """On its own photos a new class answers as a former one on its own, on theirs as the others do."""
    random = np.random.default_rng(0)
    labels, new = np.arange(40) % 2, np.arange(8) % 2
    known = Seen(random.uniform(0, 1, (40, 6)) + 2 * np.eye(6)[labels], labels)
    fresh = Seen(random.uniform(0, 1, (8, 6)) + 2 * np.eye(6)[2 + new], new)
    kernel, bias = 3 * np.eye(6)[:, :2], np.array([5.0, 4.0])
    columns, biases = matched_columns(fresh, known, kernel, bias)
    logits, more = known.features @ kernel + bias, fresh.features @ columns + biases
    np.testing.assert_allclose(
        (known.features @ columns + biases).mean(axis=0), logits[np.arange(40), 1 - labels].mean()
    )
    for number in range(2):
        own = logits[np.arange(40), labels].mean()
        np.testing.assert_allclose(more[new == number, number].mean(), own)
    assert (more.argmax(axis=1) == new).all()
    flat = matched_columns(fresh, known, -kernel, None)[0]
    np.testing.assert_array_equal(flat, 0.0, "of a network that knows nothing there is nothing to match")


# ---- recovery ----------------------------------------------------------------------------------------------------


def test_what_the_former_classes_may_lose(make_context: Any) -> None:
    ward = Ward(None, None, RecoveryConfig(max_drop=0.1))  # type: ignore[arg-type]
    ctx = make_context()
    assert _taken(ward, [0.5, 0.85, 0.82], 0.9, ctx) == 2
    assert not ctx.details.get("warnings")
    assert _taken(ward, [0.5, 0.85, 0.7], 0.9, ctx) == 1
    assert "stage 1 of 2 is kept" in ctx.details["warnings"][0]
    assert _taken(ward, [0.5, 0.6, 0.7], 0.9, ctx) == 2, "better than none"
    assert "no stage kept them" in ctx.details["warnings"][1]
    assert _taken(ward, [None, None], None, ctx) == 1


def test_networks_that_were_passed_stay_what_they_were(color_bundle: Bundle, make_context: Any) -> None:
    """The last stage in which the former classes hold is taken afterwards: no later stage may have changed it."""
    from featherlite.shrink.classes import mend_head
    from featherlite.shrink.grow_outputs import GrowOutputsConfig

    network = dense_network(12)
    network.get_layer("head_logits").set_weights([np.zeros((12, 3)), np.zeros(3)])
    config, ctx = GrowOutputsConfig(**EAGER), make_context()  # type: ignore[arg-type]
    ward = Ward.open(color_bundle, config, ctx)
    passed = mend_head(ward, network, ctx, "more")
    assert len(passed) == 4
    assert passed[0].facts["top1"] != passed[1].facts["top1"]
    for one in passed:
        assert ward.top1(one.network) == one.facts["top1"]


@pytest.mark.slow
def test_it_recovers_from_the_output_layer_on_however_often_it_is_killed(
    color_bundle: Bundle, photos: Path, at: Any
) -> None:
    """Interrupted in the epochs of the dense layers, behind the output layer's own: bit for bit the same."""
    network = dense_network(12)
    network.get_layer("head_logits").set_weights([np.zeros((12, 3)), np.zeros(3)])  # so that there is much to learn
    bundle = bundle_of(color_bundle, network)

    def work(ctx: Context) -> Bundle:
        return run("grow_outputs", bundle, ctx, max_drop=1, **EAGER | {"epochs": 0})

    _, told = interrupted(lambda: at(photos), 14, work)
    told = told["grow_outputs"]
    layers = [stage["layers"] for stage in told["stages"]]
    assert layers == [[], ["head_logits"], ["head_dense1", "head_dense1_bn", "head_logits"]]
    assert told["taken"] == 2
    assert told["top1"]["after"] > told["top1"]["imprinted"]
