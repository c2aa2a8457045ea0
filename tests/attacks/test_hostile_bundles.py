from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from featherlite.bundle import Bundle, Label, Manifest
from featherlite.errors import BundleError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bundle = Bundle().with_labels((Label(name="a"), Label(name="b"))).with_network(b"network" * 100)
    bundle.save(tmp_path / "b")
    return tmp_path / "b"


def forge(folder: Path, **changes: Any) -> None:
    """Rewrites bundle.json with an id that fits, as an attacker would."""
    document = json.loads((folder / "bundle.json").read_text()) | changes
    manifest = Manifest.model_validate(document)
    document["id"] = manifest.expected_id()
    (folder / "bundle.json").write_text(json.dumps(document))


def test_a_changed_byte_is_found(folder: Path) -> None:
    content = bytearray((folder / "model.keras").read_bytes())
    content[300] ^= 1
    (folder / "model.keras").write_bytes(bytes(content))
    with pytest.raises(BundleError, match=r"model\.keras: its content is not what"):
        Bundle.open(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "labels.json").unlink()
    with pytest.raises(BundleError, match=r"labels\.json is missing"):
        Bundle.open(folder)


@pytest.mark.parametrize("version", [0, 2, "1", None, 10**30])
def test_an_unknown_version_is_refused(folder: Path, version: Any) -> None:
    document = json.loads((folder / "bundle.json").read_text()) | {"format_version": version}
    (folder / "bundle.json").write_text(json.dumps(document))
    with pytest.raises(BundleError, match="format version"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/passwd", "a/../../secret", "..", "", ".", "a\\..\\b", "C:x", "a\0b", "./model.keras", "a//b"],
)
def test_a_path_that_climbs_out_is_refused(folder: Path, name: str) -> None:
    secret = folder.parent / "secret"
    secret.write_bytes(b"s")
    files = json.loads((folder / "bundle.json").read_text())["files"]
    forge(folder, files={**files, name: hashlib.sha256(b"s").hexdigest()})
    with pytest.raises(BundleError, match="not allowed in a bundle"):
        Bundle.open(folder)


def test_a_link_is_refused_even_if_its_target_has_the_right_hash(folder: Path) -> None:
    outside = folder.parent / "outside"
    (folder / "model.keras").rename(outside)
    (folder / "model.keras").symlink_to(outside)
    with pytest.raises(BundleError, match="is a link"):
        Bundle.open(folder)


def test_a_linked_subfolder_is_refused(folder: Path) -> None:
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "model.tflite").write_bytes(b"t")
    (folder / "exports").symlink_to(elsewhere)
    files = json.loads((folder / "bundle.json").read_text())["files"]
    forge(folder, files={**files, "exports/model.tflite": hashlib.sha256(b"t").hexdigest()})
    with pytest.raises(BundleError, match="is a link"):
        Bundle.open(folder)


def test_an_edited_manifest_is_found(folder: Path) -> None:
    document = json.loads((folder / "bundle.json").read_text()) | {"subject": "int8"}
    (folder / "bundle.json").write_text(json.dumps(document))
    with pytest.raises(BundleError, match="id does not match"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '"x"', "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")]
)
def test_a_manifest_that_is_not_one_is_refused(folder: Path, text: str) -> None:
    (folder / "bundle.json").write_text(text)
    with pytest.raises(BundleError):
        Bundle.open(folder)


@pytest.mark.parametrize("labels", [[], {}, [1], [{"name": ""}], [{"name": "a", "extra": 1}]])
def test_labels_that_are_not_labels_are_refused(tmp_path: Path, labels: Any) -> None:
    Bundle().with_json("labels.json", labels).save(tmp_path / "b")
    with pytest.raises(BundleError, match="labels"):
        _ = Bundle.open(tmp_path / "b").labels


def test_writing_outside_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not allowed"):
        Bundle().with_files({"../x": b""})
