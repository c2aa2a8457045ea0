from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from featherlite.bundle import Bundle, Label, Manifest, storage_guard
from featherlite.errors import BundleError, StorageError
from featherlite.evaluate.measure import measure_verified
from featherlite.history import StepReport, wilson
from featherlite.models.export_facts import export_facts
from featherlite.preprocess import Preprocess
from featherlite.report.documents import read_scores
from featherlite.report.ladder import ladder_rows


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


DEEP = b"[" * 100_000
NO_JSON = [b"{nope\n", b"\xff\xfe\n", DEEP, b'{"a": ' * 100_000, b"9" * 5000]


def holding(name: str, content: bytes) -> Bundle:
    return Bundle().with_files({name: content})


@pytest.mark.parametrize("text", NO_JSON)
def test_what_is_no_json_is_refused_by_name(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "bundle.json").write_bytes(text)
    with pytest.raises(BundleError, match=r"bundle\.json is not JSON"):
        Bundle.open(tmp_path)
    with pytest.raises(BundleError, match=r"labels\.json is not JSON"):
        _ = holding("labels.json", text).labels
    with pytest.raises(BundleError, match=r"metrics\.json is not JSON"):
        _ = holding("metrics.json", text).metrics
    with pytest.raises(BundleError, match=r"history\.jsonl, line 1 is not JSON"):
        _ = holding("history.jsonl", text).history


def test_facts_of_this_machine_that_cannot_be_read_are_none(folder: Path) -> None:
    bundle = Bundle.open(folder)
    for text in (*NO_JSON, b"[]"):
        (folder / "local.json").write_bytes(text)
        assert bundle.local() == {}


@pytest.mark.parametrize("line", [b"3", b"[]", b"{}", b'{"step": "train"}'])
def test_a_line_that_is_no_report_is_told_by_its_number(line: bytes) -> None:
    with pytest.raises(BundleError, match=r"history\.jsonl, line 2: "):
        _ = holding("history.jsonl", b"\n" + line).history


@pytest.mark.parametrize(
    "metrics", [[1, 2], 3, None, {"test": 3}, {"test": []}, {"test": {"reads": "x"}}, {"val": {"reads": None}}]
)
def test_metrics_that_are_none_are_refused(metrics: Any) -> None:
    bundle = Bundle().with_json("metrics.json", metrics)
    for read in (lambda: bundle.metrics, lambda: measure_verified(bundle), lambda: read_scores(bundle, "test")):
        with pytest.raises(BundleError, match=r"metrics\.json"):
            read()


@pytest.mark.parametrize("entry", [{}, {"top1": 3, "top5": None}, {"top1": {"value": "x"}}])
def test_scores_that_are_none_are_refused(entry: dict[str, Any]) -> None:
    bundle = Bundle().with_json("metrics.json", {"test": {"subject": "network", **entry}})
    with pytest.raises(BundleError, match=r"metrics\.json: top1"):
        measure_verified(bundle)


def spoken_for(export: Any, verify: Any) -> Bundle:
    """A bundle that an int8 export speaks for, scored."""
    score = wilson(1, 2, "test").model_dump()
    bundle = Bundle(subject="int8").with_labels((Label(name="a"), Label(name="b")))
    bundle = bundle.with_files({"exports/int8/model.tflite": b"x"}).with_json("exports/int8/export.json", export)
    bundle = bundle.with_json("preprocess.json", Preprocess().model_dump()).with_json("verify.json", verify)
    return bundle.with_json("metrics.json", {"test": {"subject": "int8", "top1": score, "top5": score}})


WEIGHT = {"parameters": 3, "macs": 4}


@pytest.mark.parametrize(
    "verify", [[], 3, {"exports": 3}, {"exports": [3]}, {"exports": [{"name": "int8", "arena_bytes": "x"}]}]
)
def test_a_verdict_that_is_none_is_refused(verify: Any) -> None:
    good = spoken_for(WEIGHT, {"exports": [{"name": "int8", "arena_bytes": 5}]})
    assert (measure_verified(good).macs, measure_verified(good).arena_bytes) == (4, 5)
    with pytest.raises(BundleError, match=r"verify\.json: "):
        measure_verified(spoken_for(WEIGHT, verify))
    with pytest.raises(BundleError, match=r"verify\.json: "):
        ladder_rows((), verify)


@pytest.mark.parametrize("export", [[], 3, None, {}, {"parameters": "many", "macs": 1}])
def test_an_export_that_is_not_described_is_refused(export: Any) -> None:
    bundle = spoken_for(export, {"exports": []})
    with pytest.raises(BundleError, match=r"exports/int8/export\.json"):
        measure_verified(bundle)
    if not isinstance(export, dict):
        with pytest.raises(BundleError, match="must hold an object"):
            export_facts(bundle, "int8")


def test_a_line_separator_in_a_name_ends_no_report() -> None:
    report = StepReport(
        step="split", id="a\u2028b\x85c", key="k", config={}, seed=1, code="c", started="s", seconds=0.0
    )
    assert Bundle().with_report(report).history == (report,)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENAMETOOLONG, "too long"),
        (errno.EISDIR, "a folder of that name"),
        (errno.EIO, "reported a fault"),
    ],
)
def test_what_a_disk_refuses_is_told(tmp_path: Path, code: int, said: str) -> None:
    with pytest.raises(StorageError, match=said) as caught, storage_guard(tmp_path):
        raise OSError(code, "from the system")
    assert caught.value.hint


def test_a_name_that_is_too_long_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="too long"):
        Bundle().save(tmp_path / "x" / ("n" * 300))


def test_a_missing_parent_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), storage_guard(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "gone")
