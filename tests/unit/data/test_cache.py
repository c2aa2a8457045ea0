import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featherlite.bundle import Bundle, Label
from featherlite.data import cache as cache_module
from featherlite.data.cache import decoded, store_folder
from featherlite.data.photos import load_photos
from featherlite.data.shards import STALE_SECONDS
from featherlite.data.splits import Splits, write_splits
from featherlite.errors import BundleError, DataError, RequestError, StorageError
from featherlite.preprocess import Pixels, Preprocess
from featherlite.step import Context, Silent

SMALL = Preprocess(width=24, height=16)


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    for number in range(100):
        file = tmp_path / "photos" / "ab"[number % 2] / f"{number:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).save(file, compress_level=1)
    return Context(seed=0, scratch=tmp_path, resume=tmp_path, cache=tmp_path / "cache", data=tmp_path / "photos")


def bundle_of(ctx: Context, preprocess: Preprocess = SMALL) -> Bundle:
    root = ctx.photos_root()
    rows = [
        (file.relative_to(root).as_posix(), sha256(file.read_bytes()).hexdigest(), file.parent.name, None, side)
        for number, file in enumerate(sorted(root.rglob("*.png")))
        for side in ["test" if number % 5 == 0 else "train"]
    ]
    bundle = Bundle().with_files({"splits.parquet": write_splits(Splits.from_rows(rows))})
    return bundle.with_labels((Label(name="a"), Label(name="b"))).with_json("preprocess.json", preprocess.model_dump())


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_decode", lambda root, path, *_: pytest.fail(f"{path} was decoded again"))


def files_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*") if file.is_file()) if folder.exists() else []


def test_a_split_has_the_pixels_labels_and_paths_of_its_photos(ctx: Context) -> None:
    train = load_photos(bundle_of(ctx), "train", ctx)
    assert len(train) == len(train.images) == 80
    assert train.images.shape == (80, 16, 24, 3)
    assert train.labels.dtype == np.int64
    assert (train.classes, train.split) == (("a", "b"), "train")
    for place in (0, 17, 79):
        assert train.classes[train.labels[place]] == train.paths[place][0]
        np.testing.assert_array_equal(train.images[np.array([place])][0], SMALL(ctx.photos_root() / train.paths[place]))


def test_indexing_works_like_an_array(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SHARD_BYTES", 33 * 24 * 16 * 3)  # 80 photos in 3 shards
    images = load_photos(bundle_of(ctx), "train", ctx).images
    assert len(list(store_folder(ctx.cache, SMALL).glob("*.npy"))) == 3
    whole = images[:]
    assert whole.dtype == np.uint8
    for indices in (np.array([79, 0, 33, 33, -1]), slice(10, 50, 7), slice(None, None, -1), np.arange(80) % 3 == 1, []):
        chosen = np.asarray(indices, np.int64) if isinstance(indices, list) else indices
        np.testing.assert_array_equal(images[chosen], whole[chosen])
    with pytest.raises(IndexError):
        images[np.array([80])]
    with pytest.raises(IndexError):
        images[3]  # type: ignore[index]
    images[:][0] = 7  # a copy: the store cannot be written to
    np.testing.assert_array_equal(images[:], whole)


def test_nothing_is_decoded_twice(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = bundle_of(ctx)
    first = load_photos(bundle, "train", ctx).images[:]
    load_photos(bundle, "test", ctx)
    forbid_decoding(monkeypatch)
    np.testing.assert_array_equal(load_photos(bundle, "train", ctx).images[:], first)
    everything = Splits.from_rows(
        (f"{path}-elsewhere", digest, label, group, "val")
        for path, digest, label, group, _ in reversed(list(cache_rows(bundle)))
    )
    moved = bundle.with_files({"splits.parquet": write_splits(everything)})
    assert len(load_photos(moved, "val", replace(ctx, data=None))) == 100


def cache_rows(bundle: Bundle) -> Iterator[tuple[str, str, str, str | None, str]]:
    from featherlite.data.splits import read_splits

    return iter(read_splits(bundle).rows())


def test_another_preprocessing_has_a_store_of_its_own(ctx: Context) -> None:
    bundle = bundle_of(ctx)
    load_photos(bundle, "test", ctx)
    squash = Preprocess(width=24, height=16, fit="squash")
    images = load_photos(bundle, "test", ctx, squash).images
    np.testing.assert_array_equal(images[:1][0], squash(ctx.photos_root() / "a/000.png"))
    assert store_folder(ctx.cache, SMALL) != store_folder(ctx.cache, squash)


def test_an_empty_split_has_length_0(ctx: Context) -> None:
    empty = load_photos(bundle_of(ctx), "calibration", replace(ctx, data=None))
    assert (len(empty), empty.images.shape, empty.labels.shape) == (0, (0, 16, 24, 3), (0,))
    assert empty.images[np.array([], np.int64)].shape == (0, 16, 24, 3)


def test_a_csv_as_data_means_its_folder(ctx: Context) -> None:
    table = ctx.photos_root() / "photos.csv"
    table.write_text("path,label\n")
    assert len(load_photos(bundle_of(ctx), "test", replace(ctx, data=table))) == 20


def test_copies_of_a_photo_share_one_row(ctx: Context) -> None:
    root = ctx.photos_root()
    shutil.copy(root / "a/000.png", root / "a/zzz.png")
    shutil.copy(root / "a/000.png", root / "b/zzz.png")
    photos = [
        (path, sha256((root / path).read_bytes()).hexdigest()) for path in ("a/000.png", "a/zzz.png", "b/zzz.png")
    ]
    images = decoded(photos, root, SMALL, ctx.cache, Silent())
    assert np.load(next(store_folder(ctx.cache, SMALL).glob("*.npy"))).shape[0] == 1
    np.testing.assert_array_equal(images[:], np.stack([SMALL(root / "a/000.png")] * 3))


# ---- refusals ----------------------------------------------------------------------------------------------------


def test_a_photo_that_changed_since_the_split_is_named(ctx: Context) -> None:
    bundle = bundle_of(ctx)
    Image.new("RGB", (30, 40)).save(ctx.photos_root() / "b/003.png")
    with pytest.raises(DataError, match=r"'b/003.png'.*content changed"):
        load_photos(bundle, "train", ctx)
    assert files_in(ctx.cache) == []


def test_photos_that_are_gone_are_named(ctx: Context) -> None:
    bundle = bundle_of(ctx)
    for name in ("b/003.png", "a/004.png"):
        (ctx.photos_root() / name).unlink()
    with pytest.raises(DataError, match=r"2 photos .*'a/004.png', 'b/003.png'"):
        load_photos(bundle, "train", ctx)
    with pytest.raises(DataError, match="no photos were given"):
        load_photos(bundle, "train", replace(ctx, data=None))


def test_unknown_splits_and_labels_are_refused(ctx: Context) -> None:
    with pytest.raises(RequestError, match="no split 'tset'") as caught:
        load_photos(bundle_of(ctx), "tset", ctx)
    assert "'test'" in caught.value.hint
    with pytest.raises(BundleError, match="class 'b'"):
        load_photos(bundle_of(ctx).with_labels((Label(name="a"),)), "test", ctx)


# ---- disks and crashes -------------------------------------------------------------------------------------------


def test_a_file_in_place_of_the_cache_is_a_storage_error(ctx: Context) -> None:
    ctx.cache.write_text("")
    with pytest.raises(StorageError, match="Cannot write") as caught:
        load_photos(bundle_of(ctx), "train", ctx)
    assert caught.value.hint


def test_a_disk_that_fills_up_leaves_nothing_half_written(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="the disk is full"):
        load_photos(bundle_of(ctx), "train", ctx)
    assert files_in(ctx.cache) == []
    monkeypatch.undo()
    assert len(load_photos(bundle_of(ctx), "train", ctx)) == 80


def test_a_disk_that_is_really_full_is_a_storage_error_and_no_crash(ctx: Context, tmp_path: Path) -> None:
    small = tmp_path / "small disk"
    small.mkdir()
    program = (
        "import sys, hashlib\nfrom pathlib import Path\nfrom featherlite.data.cache import decoded\n"
        "from featherlite.preprocess import Preprocess\nfrom featherlite.step import Silent\n"
        "root, cache = map(Path, sys.argv[1:])\n"
        "files = list(root.rglob('*.png'))\n"
        "photos = [(str(f.relative_to(root)), hashlib.sha256(f.read_bytes()).hexdigest()) for f in files]\n"
        "try:\n    decoded(photos, root, Preprocess(width=96, height=96), cache, Silent())\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error, [f for f in cache.rglob('*') if f.is_file()])\n"
    )
    mount = 'mount -t tmpfs -o size=1m tmpfs "$4" && exec "$1" -c "$2" "$3" "$4"'
    command = ["unshare", "-rm", "sh", "-c", mount, "sh", sys.executable, program, str(ctx.photos_root()), str(small)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("unshare is not there: no small disk can be made")
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("StorageError Cannot write")
    assert "the disk is full" in done.stdout
    assert done.stdout.rstrip().endswith("[]")


@pytest.mark.parametrize("spoil", ["cut", "other shape", "no pixels", "not npy"])
def test_a_damaged_shard_is_decoded_again(ctx: Context, spoil: str) -> None:
    bundle = bundle_of(ctx)
    whole = load_photos(bundle, "train", ctx).images[:]
    shard = next(store_folder(ctx.cache, SMALL).glob("*.npy"))
    if spoil == "cut":
        os.truncate(shard, 5000)
    elif spoil == "other shape":
        np.save(shard, np.zeros((80, 2, 2, 3), np.uint8))
    elif spoil == "no pixels":
        shard.unlink()
    else:
        shard.write_bytes(b"nonsense")
    np.testing.assert_array_equal(load_photos(bundle, "train", ctx).images[:], whole)


def test_builders_side_by_side_do_no_harm(ctx: Context) -> None:
    bundle = bundle_of(ctx)
    results: list[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda: results.append(load_photos(bundle, "train", ctx).images[:])) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(np.array_equal(result, results[0]) for result in results)


def test_a_killed_build_goes_on_from_its_whole_shards(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import sys, os, signal, hashlib\nfrom pathlib import Path\nfrom featherlite.data import cache\n"
        "from featherlite.preprocess import Preprocess\nfrom featherlite.step import Silent\n"
        "class Killer(Silent):\n    done = 0\n    def advance(self, units=1, note=''):\n        self.done += units\n"
        "        if self.done >= 72: os.kill(os.getpid(), signal.SIGKILL)\n"
        "cache.SHARD_BYTES = 32 * 24 * 16 * 3\nroot = Path(sys.argv[1])\n"
        "photos = [(str(f.relative_to(root)), hashlib.sha256(f.read_bytes()).hexdigest())\n"
        "          for f in sorted(root.rglob('*.png'))]\n"
        "cache.decoded(photos, root, Preprocess(width=24, height=16), Path(sys.argv[2]), Killer())\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(ctx.photos_root()), str(ctx.cache)], timeout=60)
    assert done.returncode == -signal.SIGKILL
    folder = store_folder(ctx.cache, SMALL)
    drafts = list(folder.glob(".*.tmp"))
    assert len(list(folder.glob("*.txt"))) == 2
    assert len(drafts) == 1
    old = time.time() - 2 * STALE_SECONDS
    os.utime(drafts[0], (old, old))
    decode = cache_module._decode
    again: list[str] = []

    def counted(root: Path, path: str, digest: str, preprocess: Preprocess) -> Pixels:
        again.append(path)
        return decode(root, path, digest, preprocess)

    monkeypatch.setattr(cache_module, "_decode", counted)
    bundle = bundle_of(ctx)
    for side in ("train", "test"):
        images = load_photos(bundle, side, ctx)
        for place in (0, len(images) - 1):
            np.testing.assert_array_equal(images.images[[place]][0], SMALL(ctx.photos_root() / images.paths[place]))
    assert len(again) == 100 - 64
    assert not drafts[0].exists()
