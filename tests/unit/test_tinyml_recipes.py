"""The shipped chains of network surgery: that they are roads, and walk the article's rows in its order."""

from __future__ import annotations

from typing import Any

import pytest

from featherlite.recipe import Recipe, load_recipe

NAMES = ("tinyml-birds", "tinyml-birds-quick", "tinyml-mobilenet", "tinyml-feathernet")
ARTICLE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("build", {"backbone": "EfficientNetB0", "input_px": 96, "head": "dense"}),
    ("train", {}),
    ("resize_input", {"sizes": (224,)}),
    ("resize_input", {"sizes": (96,)}),
    ("quantize", {"scheme": "int8", "sets": 1}),
    ("swap_activation", {"source": "any", "target": "relu", "count": 9}),
    ("swap_activation", {"source": "any", "target": "relu", "count": 0}),
    ("remove_blocks", {}),
    ("cut_tail", {"filters": 480}),
    ("shrink_dense", {}),
    ("decimate_dense", {}),
    ("prune_channels", {}),
    ("resize_input", {"sizes": (88,)}),
    ("resize_input", {"sizes": (80,)}),
    ("swap_activation", {"target": "relu6"}),
    ("resize_input", {"sizes": (96,)}),
    ("quantize", {"scheme": "int8", "sets": 10}),
)
"""Small photos first, then the article's rows; its pruning of outputs aside, which needs names."""


def settings(recipe: Recipe) -> list[tuple[str, dict[str, Any]]]:
    return [(plan.step.name, plan.config.model_dump()) for plan in recipe.steps]


@pytest.mark.parametrize("name", NAMES)
def test_a_chain_runs_unattended_and_ends_in_a_proven_artefact_and_its_packages(name: str) -> None:
    recipe = load_recipe(name)
    steps = [plan.step.name for plan in recipe.steps]
    assert steps[:4] == ["audit", "clean", "split", "build"]
    assert steps[-4:] == ["quantize", "verify", "edge_impulse", "c_array"]
    assert steps.count("quantize") == 2, "flash and arena before and after"
    assert not [plan.id for plan in recipe.steps if plan.config.lacking()], "nothing has to be given by hand"


def test_the_article_is_walked_in_its_order() -> None:
    walked = settings(load_recipe("tinyml-birds"))[3:-3]
    assert [name for name, _ in walked] == [name for name, _ in ARTICLE]
    for (name, found), (_, wanted) in zip(walked, ARTICLE, strict=True):
        assert {key: found[key] for key in wanted} == wanted, name


def test_the_articles_eleven_rows_stand_beside_the_steps_in_order() -> None:
    recipe = load_recipe("tinyml-birds")
    assert recipe.reference is not None
    rows = recipe.reference.rows
    assert len(rows) == 11
    assert (rows[0].parameters, rows[0].top1) == (4_491_895, 0.9531)
    assert (rows[-1].parameters, rows[-1].int8_top1) == (190_770, 0.82)
    ids = [plan.id for plan in recipe.steps]
    places = [ids.index(row.step) for row in rows if row.step is not None]
    assert places == sorted(set(places))
    assert len(places) == 10, "outputs are not pruned without names"


@pytest.mark.parametrize("name", ["tinyml-birds", "tinyml-birds-quick"])
def test_it_ends_below_the_articles_size(name: str) -> None:
    (prune,) = [config for step, config in settings(load_recipe(name)) if step == "prune_channels"]
    assert prune["parameters"] <= 195_000


def test_photos_are_as_large_at_the_end_as_the_network_takes_them() -> None:
    """Training with growing photos ends at the network's own size, and each size in between is smaller."""
    found = settings(load_recipe("tinyml-birds"))
    px = next(config["input_px"] for step, config in found if step == "build")
    assert next(config["progressive"] for step, config in found if step == "train")[-1] == px


def test_the_quick_chain_takes_the_same_techniques_and_far_fewer_epochs() -> None:
    full, quick = (settings(load_recipe(name)) for name in NAMES[:2])
    assert {step for step, _ in full} - {step for step, _ in quick} == {"decimate_dense"}

    def epochs(steps: list[tuple[str, dict[str, Any]]]) -> int:
        return sum(config.get("epochs", 0) * config.get("stages", 1) for _, config in steps)

    assert epochs(quick) * 4 < epochs(full)
