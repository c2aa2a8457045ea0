"""Features are made once for every content, survive damage, and come without weights where there are none."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featherlite.data import features as features_module
from featherlite.data.features import HANDMADE, FeatureKind, best_features, feature_kind, is_weak, photo_features
from featherlite.data.handmade import WIDTH, handmade, oklab
from featherlite.errors import RequestError
from featherlite.step import Silent

Listed = list[tuple[str, str]]


@pytest.fixture
def photos(tmp_path: Path) -> Listed:
    listed = []
    for number in range(10):
        file = tmp_path / "photos" / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (40, 48, 3), np.uint8)
        Image.fromarray(pixels).save(file)
        listed.append((file.name, hashlib.sha256(file.read_bytes()).hexdigest()))
    return listed


def features(photos: Listed, tmp_path: Path, kind: FeatureKind = HANDMADE) -> np.ndarray:
    return photo_features(photos, tmp_path / "photos", kind, tmp_path / "cache", Silent())[:]


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features_module.handmade, "handmade", lambda _: pytest.fail("made again"))


def test_a_second_reading_makes_nothing(photos: Listed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = features(photos, tmp_path)
    assert (first.shape, first.dtype) == ((10, WIDTH), np.float32)
    forbid(monkeypatch)
    np.testing.assert_array_equal(features(photos[::-1], tmp_path), first[::-1])


def test_only_new_contents_are_made(photos: Listed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features(photos[:7], tmp_path)
    seen: list[int] = []

    def counted(pixels: np.ndarray) -> np.ndarray:
        seen.append(len(pixels))
        return handmade(pixels)

    monkeypatch.setattr(features_module.handmade, "handmade", counted)
    found = features([*photos, ("a copy of 9.png", photos[9][1])], tmp_path)
    assert sum(seen) == 3
    np.testing.assert_array_equal(found[9], found[10])


def test_a_damaged_shard_is_made_again(photos: Listed, tmp_path: Path) -> None:
    first = features(photos, tmp_path)
    (shard,) = (tmp_path / "cache" / "features").rglob("*.npy")
    shard.write_bytes(shard.read_bytes()[:-50])
    np.testing.assert_array_equal(features(photos, tmp_path), first)


def test_features_that_are_not_finite_are_refused(photos: Listed, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="not finite"):
        photo_features(
            photos, tmp_path / "photos", HANDMADE, tmp_path / "cache", Silent(), lambda p: np.full((len(p), 2), np.nan)
        )
    assert not list((tmp_path / "cache" / "features").rglob("*.npy"))


def test_without_weights_hand_made_features_serve_and_it_is_said(
    photos: Listed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def offline(kind: FeatureKind) -> None:
        raise RequestError("The download failed.")

    monkeypatch.setattr(features_module, "_network", offline)
    found = best_features(photos, tmp_path / "photos", tmp_path / "cache", Silent())
    assert is_weak(found)
    assert "The download failed. Hand-made features stand in, which find coarse faults only" in caplog.text
    np.testing.assert_array_equal(found[:], features(photos, tmp_path))


def test_kinds_are_told_apart_by_weights_and_size(tmp_path: Path) -> None:
    one, other = tmp_path / "one.h5", tmp_path / "other.h5"
    one.write_bytes(b"1")
    other.write_bytes(b"2")
    kinds = [feature_kind(str(one)), feature_kind(str(other)), feature_kind(str(one), 160), feature_kind()]
    assert len({kind.identity for kind in (*kinds, feature_kind("none"))}) == 5
    assert feature_kind("none").weak
    assert not feature_kind().weak
    with pytest.raises(RequestError, match="cannot be read"):
        feature_kind(str(tmp_path / "none.h5"))


def test_oklab_of_known_colors() -> None:
    # white (1, 0, 0), red (0.628, 0.225, 0.126), blue (0.452, -0.032, -0.312): Ottosson's own table, rounded
    found = oklab(np.array([[255, 255, 255], [255, 0, 0], [0, 0, 255], [0, 0, 0]], np.uint8))
    expected = [[1, 0, 0], [0.628, 0.225, 0.126], [0.452, -0.032, -0.312], [0, 0, 0]]
    np.testing.assert_allclose(found, expected, atol=6e-4)


def test_hand_made_blocks_are_shares() -> None:
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, :, ::4] = 255
    flat = np.full((1, 64, 64, 3), 90, np.uint8)
    found = handmade(np.concatenate([stripes, flat]))
    assert found[:, :640].sum(axis=1) == pytest.approx([2.0, 2.0])  # all of it and its middle
    assert found[:, 640:1408].sum(axis=1) == pytest.approx([1.0, 1.0])  # cells
    edges = found[:, 1408:].reshape(2, 80, 9)
    assert edges.sum(axis=(1, 2)) == pytest.approx([2.0, 0.0], abs=1e-5)
    assert edges[0, :, 1:].sum() == pytest.approx(0.0, abs=1e-5)  # all gradients of upright stripes lie across


@pytest.mark.slow
def test_flowers_with_planted_wrong_labels(real_data: Path, tmp_path: Path) -> None:
    """Of 15 among 300 real photos most are in the first 30 by a network's features, and more than by hand-made ones."""
    from featherlite.data.confident import wrong_labels

    root = real_data / "flowers"
    files = [file for folder in sorted(root.iterdir()) for file in sorted(folder.glob("*.jpg"))[:60]]
    listed = [(file.relative_to(root).as_posix(), hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]
    labels = np.repeat(np.arange(5), 60)
    random = np.random.default_rng(0)
    planted = random.choice(300, 15, replace=False)
    labels[planted] = (labels[planted] + random.integers(1, 5, 15)) % 5
    recall = {}
    weights = real_data / "weights" / "mobilenet_v2_1.0_224_imagenet.weights.h5"
    for kind in (feature_kind(str(weights), 160), HANDMADE):
        made = photo_features(listed, root, kind, tmp_path, Silent())
        found = wrong_labels(made, labels, np.arange(300), 5)
        recall[kind.weak] = float(np.isin(planted, found.photo[:30]).mean())
    assert recall[False] >= 0.7
    assert recall[False] > recall[True] > 0.2
