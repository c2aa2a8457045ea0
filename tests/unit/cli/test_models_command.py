"""`featherlite models`: the list of backbones, all facts of one, and what an unknown name gets."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from featherlite.cli import main
from featherlite.models.backbones import Card, backbones


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> list[list[str]]:
    """The words of every line of the answer."""
    assert main(["models", *words]) == 0
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def document(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main(["models", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_list_says_size_work_and_origin_of_every_backbone(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {line[0]: " ".join(line[1:]) for line in shown(capsys)[1:]}
    assert set(rows) == set(backbones())
    assert rows["SqueezeNet1_0"] == "224 21 to 1024 735k 732M torch BSD-3-Clause"
    assert rows["ResNet50"] == "224 32 to 1024 23.6M 3.86G Keras, torch MIT, BSD-3-Clause"
    assert rows["feathernet"] == "96 32 to 1024 115k 9.53M from scratch -"


def test_a_name_shows_the_whole_card(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(word for line in shown(capsys, "MobileNetV2") for word in line)
    assert "paper Sandler et al., MobileNetV2, 2018, arXiv:1801.04381" in text
    assert "built by keras.applications.MobileNetV2" in text
    assert "input 224 px; takes 32 to 1024 px" in text
    assert "options width, cut" in text
    assert "imagenet keras.applications, converted from TensorFlow's own checkpoints (Apache-2.0)" in text
    assert "its widths 0.35, 0.5, 0.75, 1, 1.3, 1.4" in text
    assert "2,257,984" in text
    assert "299,494,272" in text


def test_a_card_without_download_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(word for line in shown(capsys, "ResNet18") for word in line)
    assert "imagenet none to download" in text
    assert "safetensors timm/resnet18.tv_in1k, torchvision's resnet18 (BSD-3-Clause)" in text


def test_the_document_holds_every_field_of_the_cards(capsys: pytest.CaptureFixture[str]) -> None:
    models = document(capsys)["models"]
    assert {entry["name"] for entry in models} == set(backbones())
    assert all(set(entry) == {field.name for field in dataclasses.fields(Card)} for entry in models)
    assert document(capsys, "ConvNeXtTiny")["models"] == [entry for entry in models if entry["name"] == "ConvNeXtTiny"]


def test_an_unknown_backbone_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "resnet19"]) == 2
    assert "There is no backbone 'resnet19'.\n  Did you mean 'ResNet18'?" in capsys.readouterr().err
