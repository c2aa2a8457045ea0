from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from featherlite.bundle import Bundle, Label, sha256_of, storage_guard
from featherlite.errors import BundleError, RequestError, StorageError
from featherlite.history import StepReport


def small() -> Bundle:
    return Bundle().with_labels((Label(name="Ember Cap"), Label(name="Spatz ü"))).with_network(b"network")


def report(step: str) -> StepReport:
    return StepReport(step=step, id=step, key="k", config={}, seed=0, code="c", started="2026-01-01", seconds=1.0)


def test_saved_bundle_reads_back_the_same(tmp_path: Path) -> None:
    saved = small().with_report(report("build")).with_report(report("train")).save(tmp_path / "b")
    again = Bundle.open(tmp_path / "b")
    assert again.id == saved.id
    assert [label.name for label in again.labels] == ["Ember Cap", "Spatz ü"]
    assert [row.step for row in again.history] == ["build", "train"]
    assert again.read("model.keras") == b"network"
    manifest = json.loads((tmp_path / "b" / "bundle.json").read_text())
    assert manifest["files"]["model.keras"] == sha256_of(tmp_path / "b" / "model.keras")


def test_deriving_leaves_the_source_as_it_was(tmp_path: Path) -> None:
    parent = small().save(tmp_path / "parent")
    child = parent.with_files({"metrics.json": b"{}"}, subject="int8").save(tmp_path / "child")
    assert "metrics.json" not in Bundle.open(tmp_path / "parent")
    assert child.parent == parent.id
    assert child.subject == "int8"


def test_a_new_network_drops_artefacts_and_verdicts() -> None:
    files = {"exports/int8/model.tflite": b"x", "verify.json": b"{}", "metrics.json": b"{}"}
    old = small().with_files(files, subject="int8")
    assert old.provides() >= {"network", "labels", "export:int8"}
    new = old.with_network(b"other")
    assert new.exports == ()
    assert new.subject == "network"
    assert not {"verify.json", "metrics.json"} & set(new.files)


def test_a_run_folder_means_its_last_bundle(tmp_path: Path) -> None:
    saved = small().save(tmp_path / "out" / "bundle")
    assert Bundle.open(tmp_path / "out").id == saved.id


def test_facts_of_this_machine_are_not_part_of_the_bundle(tmp_path: Path) -> None:
    bundle = small().save(tmp_path / "b")
    bundle.remember(data="/photos")
    again = Bundle.open(tmp_path / "b")
    assert again.local() == {"data": "/photos"}
    assert again.id == bundle.id
    assert again.save(tmp_path / "copy").local() == {}


def test_saving_over_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "precious.txt").write_text("mine")
    with pytest.raises(RequestError, match="exists already"):
        small().save(tmp_path / "b")
    assert (tmp_path / "b" / "precious.txt").read_text() == "mine"


def test_a_file_in_the_way_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match="Cannot write"):
        small().save(tmp_path / "file" / "b")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    """A real disk of 64 KiB, where the machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        small().save(disk / "fits")
        with pytest.raises(StorageError, match="the disk is full"):
            small().with_network(b"x" * 200_000).save(disk / "b")
        assert sorted(path.name for path in disk.iterdir()) == ["fits"]
        assert Bundle.open(disk / "fits").read("model.keras") == b"network"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_file_size_limit_leaves_nothing_behind(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys\n"
        "from featherlite.bundle import Bundle\n"
        "from featherlite.errors import StorageError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    Bundle().with_network(b'x' * 100_000).save(sys.argv[1])\n"
        "except StorageError as error:\n"
        "    print(error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "b")], capture_output=True, text=True)
    assert "a file would grow over the size allowed here" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_killed_while_saving_leaves_no_bundle(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "import featherlite.bundle as bundle\n"
        "Path.rename = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)\n"
        "bundle.Bundle().with_network(b'x').save(sys.argv[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "b")], capture_output=True)
    assert done.returncode == -9
    assert not (tmp_path / "b").exists()
    with pytest.raises(BundleError, match="not a bundle"):
        Bundle.open(tmp_path / "b")
    small().save(tmp_path / "b")
    assert Bundle.open(tmp_path / "b").read("model.keras") == b"network"


@pytest.mark.parametrize(
    ("code", "said"),
    [(errno.EACCES, "Cannot open {}: permission denied."), (errno.ENOSPC, "Cannot write {}: the disk is full.")],
)
def test_what_lies_elsewhere_is_named_and_not_said_to_be_the_target(tmp_path: Path, code: int, said: str) -> None:
    (tmp_path / "keep.txt").touch()
    with pytest.raises(StorageError) as caught, storage_guard(tmp_path / "out"):
        raise OSError(code, "from the system", str(tmp_path / "keep.txt"))
    assert caught.value.message == said.format(tmp_path / "keep.txt")
    assert caught.value.hint


@pytest.mark.parametrize(
    "file",
    [
        "out",
        "out/a/b",
        ".",  # a parent of the target that could not be made
        ".out.1234abcd.tmp",  # what becomes the target once it is whole
        ".out.1234abcd.tmp/model.keras",
        "store/x",
        "../elsewhere/../{}/out/a",
    ],
)
def test_what_lies_in_the_target_is_said_to_be_the_target(tmp_path: Path, file: str) -> None:
    target, store = tmp_path / "out", tmp_path / "store"
    with pytest.raises(StorageError) as caught, storage_guard(target, store):
        raise OSError(errno.EACCES, "from the system", str(tmp_path / file.format(tmp_path.name)))
    assert caught.value.message == f"Cannot write {target}: permission denied."


@pytest.mark.parametrize("name", [None, 7, "model.keras", b"model.keras"])
def test_a_file_that_cannot_be_told_is_said_to_be_the_target(tmp_path: Path, name: object) -> None:
    """A name without its folder is what the system was given beside an open folder, when one is swept."""
    with pytest.raises(StorageError, match="Cannot write"), storage_guard(tmp_path / "out"):
        raise OSError(errno.EACCES, "from the system", name)
