"""What the shipped comparison and the recipe of the case study stand for: nobody may thin them out unseen."""

from __future__ import annotations

from featherlite.recipe import load_recipe
from featherlite.study.plan import load_study


def test_the_comparison_holds_the_studys_networks_frozen_pretrained_and_from_scratch() -> None:
    study = load_study("comparison-study")
    by_road: dict[str, set[str]] = {}
    for entry in study.entries:
        by_road.setdefault(entry.road, set()).add(entry.model)
    theirs = {"ResNet18", "ResNet34", "ResNet50", "EfficientNetB0", "EfficientNetB1", "EfficientNetB2", "ConvNeXtTiny"}
    assert theirs <= by_road["pretrained"]
    assert theirs | {"AlexNet", "SqueezeNet1_1", "feathernet"} <= by_road["scratch"]
    assert "probe" in [plan.id for plan in study.entries[0].recipes[0].steps], "what has to be beaten comes first"
    probes = [plan.config for entry in study.entries for plan in entry.recipes[0].steps if plan.id == "probe"]
    assert {config.model_dump()["kind"] for config in probes} == {"logistic", "centroid", "cosine"}


def test_two_epochs_for_the_head_then_ten_for_all_layers_in_one_cycle() -> None:
    study = load_study("comparison-study")
    pretrained = next(entry for entry in study.entries if entry.road == "pretrained")
    (train,) = [plan.config.model_dump() for plan in pretrained.recipes[0].steps if plan.id == "train"]
    assert (train["head_epochs"], train["epochs"]) == (2, 10)
    assert (train["optimizer"], train["schedule"]) == ("adamw", "one_cycle")


def test_the_case_studys_configuration() -> None:
    found = {plan.id: plan.config.model_dump() for plan in load_recipe("avian-attention").steps}
    build, train = found["build"], found["train"]
    assert (build["backbone"], build["attention"], build["attention_filters"]) == ("EfficientNetB3", "spatial", 512)
    assert (build["head"], build["head_units"]) == ("dense", (512,))
    assert (build["dropout"], build["head_dropout"]) == (0.3, 0.4)
    assert build["autocontrast"]
    assert build["denoise"]
    assert (train["loss"], train["schedule"]) == ("focal", "plateau")
    for key in ("label_smoothing", "l2", "clip_norm", "warmup", "patience", "progressive"):
        assert train[key], key
    assert train["accumulate"] > 1
    assert train["progressive"][-1] == build["input_px"]
