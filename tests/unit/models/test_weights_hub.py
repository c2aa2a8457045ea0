"""Weights by name, against a stand-in hub that can break off, lie, lack things, or be gone."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from featherlite.bundle import Bundle, Label
from featherlite.errors import DataError, MissingExtraError, RequestError
from featherlite.models.build import BuildConfig, build
from featherlite.models.weights import UnreachableError, fetch_weights, hub_weights, weights_files
from featherlite.models.weights.source import HubWeights
from featherlite.step import Context

from ..stand_in_hub import COMMIT, Hub, served

pytest.importorskip("huggingface_hub")
LATER = "f" * 40
NAME = "someone/birds"
WEIGHTS = bytes(range(256)) * 1200


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub("models", NAME)
    made.files = {
        "model.safetensors": WEIGHTS,
        "config.json": b'{"architecture": "tf_x"}',
        "pytorch_model.bin": b"x",
    }
    with served(made):
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        monkeypatch.setattr("featherlite.download.time.sleep", lambda _: None)
        yield made


def gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("hub:timm/resnet18.tv_in1k", HubWeights("timm/resnet18.tv_in1k")),
        ("hub:a/b@v1.0", HubWeights("a/b", revision="v1.0")),
        ("hub:a/b@refs/pr/1", HubWeights("a/b", revision="refs/pr/1")),
        ("hub:a/b/in/it.safetensors", HubWeights("a/b", "in/it.safetensors")),
        (f"hub:a/b/w.keras@{COMMIT}", HubWeights("a/b", "w.keras", COMMIT)),
        ("weights/hub.h5", None),
    ],
)
def test_names_of_weights(text: str, wanted: HubWeights | None) -> None:
    assert hub_weights(text) == wanted
    if wanted is not None:
        assert BuildConfig(weights=text).files() == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hub:birds", "names no weights of the hub"),
        ("hub:a/../b.safetensors", "names no weights of the hub"),
        ("hub:a/b/../../etc/x.safetensors", "names no weights of the hub"),
        ("hub:a/b/@main", "names no weights of the hub"),
        ("hub:a/b/pytorch_model.bin", "pytorch_model.bin is a pickle by its kind"),
        ("hub:a/b/notes.txt", "notes.txt is of an unknown kind"),
    ],
)
def test_names_that_are_none_are_refused_at_once(text: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        BuildConfig(weights=text)


def test_a_file_is_fetched_once_with_its_config_and_found_offline(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fetch_weights(HubWeights(NAME), tmp_path)
    assert first.commit == COMMIT
    assert first.path.read_bytes() == WEIGHTS
    assert first.path.with_name("config.json").read_bytes() == hub.files["config.json"]
    assert weights_files(str(first.path)) == (first.path, first.path.with_name("config.json"))
    assert not any("pytorch_model.bin" in path for path in hub.asked)
    hub.asked.clear()
    assert fetch_weights(HubWeights(NAME), tmp_path) == first
    assert [path for path in hub.asked if "/resolve/" in path] == []
    hub.asked.clear()
    assert fetch_weights(HubWeights(NAME, revision=COMMIT), tmp_path) == first
    assert hub.asked == []  # a commit never changes
    gone(monkeypatch)
    assert fetch_weights(HubWeights(NAME), tmp_path) == first
    with pytest.raises(UnreachableError, match=r"cannot be fetched from http://127\.0\.0\.1:9.*where it stopped"):
        fetch_weights(HubWeights(NAME, revision="v1"), tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch_weights(HubWeights(NAME), tmp_path) == first
    with pytest.raises(UnreachableError, match="HF_HUB_OFFLINE is set"):
        fetch_weights(HubWeights("someone/else"), tmp_path)


def test_a_branch_that_moved_is_fetched_anew_and_the_old_commit_stays(hub: Hub, tmp_path: Path) -> None:
    old = fetch_weights(HubWeights(NAME), tmp_path)
    hub.commit, hub.files = LATER, {"model.safetensors": b"later" * 100}
    new = fetch_weights(HubWeights(NAME), tmp_path)
    assert (new.commit, new.path.read_bytes()) == (LATER, b"later" * 100)
    assert old.path.read_bytes() == WEIGHTS


def test_an_interrupted_download_is_gone_on_from(hub: Hub, tmp_path: Path) -> None:
    hub.break_after, hub.breaks_left = 100_000, 1
    assert fetch_weights(HubWeights(NAME), tmp_path).path.read_bytes() == WEIGHTS
    assert hub.ranges == ["bytes=100000-"]


def test_a_download_that_died_is_gone_on_from_by_the_next_command(hub: Hub, tmp_path: Path) -> None:
    hub.break_after = 30_000
    with pytest.raises(DataError, match="goes on where it stopped"):
        fetch_weights(HubWeights(NAME), tmp_path)
    assert not (tmp_path / "weights" / "someone--birds" / COMMIT / "model.safetensors").exists()
    done, hub.break_after = len(hub.ranges), None
    assert fetch_weights(HubWeights(NAME), tmp_path).path.read_bytes() == WEIGHTS
    assert hub.ranges[done:] == ["bytes=150000-"]  # five attempts of 30,000 bytes each


def test_other_bytes_than_the_hub_told_of_are_deleted(hub: Hub, tmp_path: Path) -> None:
    hub.lies["model.safetensors"] = WEIGHTS[::-1]
    with pytest.raises(DataError, match=r"not the file it should be: its sha256 is .*deleted"):
        fetch_weights(HubWeights(NAME), tmp_path)
    assert [path.name for path in tmp_path.rglob("model.safetensors*")] == []


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (HubWeights("someone/nobody"), "knows no repository 'someone/nobody'"),
        (HubWeights(NAME, revision="v9"), "has no revision 'v9'"),
        (HubWeights(NAME, "tiny.safetensors"), r"no file 'tiny.safetensors' at 'main'.*It has model\.safetensors"),
    ],
)
def test_what_the_hub_lacks_is_named(wanted: HubWeights, message: str, hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        fetch_weights(wanted, tmp_path)
    assert not isinstance(caught.value, UnreachableError)


def test_a_repository_of_pickles_alone_says_so(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"pytorch_model.bin": b"x"}
    with pytest.raises(RequestError, match="no file of weights that is no pickle"):
        fetch_weights(HubWeights(NAME), tmp_path)


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'featherlite\[hub\]'"):
        fetch_weights(HubWeights(NAME), tmp_path)


def test_the_name_tells_the_layout_where_no_config_does(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"tf_net.safetensors": b"a" * 10, "net.safetensors": b"b" * 10}
    assert fetch_weights(HubWeights(NAME, "tf_net.safetensors"), tmp_path).layout == "tensorflow"
    assert fetch_weights(HubWeights(NAME, "net.safetensors"), tmp_path).layout is None


# ---- the step --------------------------------------------------------------------------------------------------------

LABELS = Bundle().with_labels((Label(name="jay"), Label(name="wren")))


def built(folder: Path, **options: Any) -> tuple[Bundle, Context]:
    ctx = Context(seed=7, scratch=folder, resume=folder, cache=folder)
    facts = {"backbone": "feathernet", "width": 0.5, "input_px": 32, "weights": f"hub:{NAME}/model.keras"}
    return build(LABELS, BuildConfig(**facts | options), ctx), ctx


def test_a_network_is_built_from_the_hub_and_the_report_says_from_which_file(hub: Hub, tmp_path: Path) -> None:
    pytest.importorskip("keras")
    from featherlite.models.network import load_network

    donor = built(tmp_path, weights="none")[0].read("model.keras")
    hub.files = {"model.keras": donor}
    bundle, ctx = built(tmp_path)
    assert ctx.details["weights_revision"] == COMMIT
    assert ctx.details["weights_sha256"] == hashlib.sha256(donor).hexdigest()
    kernels = [
        load_network(LABELS.with_network(content)).get_layer("stem_conv").get_weights()[0]
        for content in (donor, bundle.read("model.keras"))
    ]
    np.testing.assert_array_equal(*kernels)


def test_where_the_hub_is_gone_a_build_fails_or_starts_from_scratch_as_asked(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("keras")
    with pytest.raises(RequestError, match="knows no repository"):  # a wrong name is no reason to go on without
        built(tmp_path, weights="hub:someone/nobody", offline="scratch")
    gone(monkeypatch)
    with pytest.raises(UnreachableError):
        built(tmp_path)
    _, ctx = built(tmp_path, offline="scratch")
    assert "starts from scratch instead" in ctx.details["warnings"][0]
    assert "weights_sha256" not in ctx.details
