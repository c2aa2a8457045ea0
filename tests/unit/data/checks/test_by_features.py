"""The two checks that judge by features: wrong labels and off-topic photos."""

from pathlib import Path

import numpy as np
import pytest

from featherlite.data.checks.off_topic import loneliness, off_topic, reliance, strangeness
from featherlite.data.checks.wrong_label import wrong_label
from featherlite.data.evidence import Evidence
from featherlite.data.features import HANDMADE, ShardedFeatures
from featherlite.data.near import Twins
from featherlite.data.source import Photo, Scan

NO_TWINS = Twins(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))


def evidence(features: np.ndarray | ShardedFeatures | None, labels: list[str], twins: Twins = NO_TWINS) -> Evidence:
    photos = tuple(Photo(f"{label}/{number:03}.jpg", label, f"{number:064}", 9) for number, label in enumerate(labels))
    made = Evidence(Scan(Path("set"), "folders", photos, ()), None if features is None else lambda _: features)
    made.__dict__["near"] = twins  # what the cached property would hold
    return made


def three_classes() -> tuple[np.ndarray, list[str]]:
    random = np.random.default_rng(0)
    features = np.repeat(np.eye(3) * 6, 30, axis=0) + random.uniform(0, 1.5, (90, 3))
    return features.astype(np.float32), [name for name in ("crow", "gull", "wren") for _ in range(30)]


def test_a_wrong_label_is_found_with_the_class_to_give_it() -> None:
    features, labels = three_classes()
    labels[0] = "wren"  # a crow
    (issue,) = wrong_label(evidence(features, labels))
    assert (issue.check, issue.paths, issue.targets) == ("wrong-label", ("wren/000.jpg",), ("wren/000.jpg",))
    assert (issue.action, issue.to) == ("relabel", "crow")
    assert issue.score > 0.5
    assert issue.message.startswith("looks more like 'crow' (")


def test_by_weak_features_no_relabeling_is_suggested() -> None:
    features, labels = three_classes()
    labels[0] = "wren"
    places = np.stack([np.zeros(90, np.int64), np.arange(90)], axis=1)
    (issue,) = wrong_label(evidence(ShardedFeatures(HANDMADE, [features], places), labels))
    assert (issue.action, issue.to) == ("look", "crow")


def test_a_list_that_nobody_would_look_through_is_cut() -> None:
    features, labels = three_classes()
    shuffled = np.random.default_rng(1).permutation(labels).tolist()
    assert len(list(wrong_label(evidence(features, shuffled)))) <= 20


def test_without_features_nothing_is_said() -> None:
    assert list(wrong_label(evidence(None, ["a", "b"]))) == []
    assert list(off_topic(evidence(None, ["a", "b"]))) == []


def test_a_photo_like_no_other_is_off_topic_and_its_copy_is_no_witness() -> None:
    features, labels = three_classes()
    features = np.concatenate([features, [[-5, -4, 3]] * 2]).astype(np.float32)
    twins = Twins(np.array([90]), np.array([91]), np.ones(1, np.float32))
    found = list(off_topic(evidence(features, [*labels, "wren", "wren"], twins)))
    assert {issue.paths[0] for issue in sorted(found, key=lambda issue: -issue.score)[:2]} == {
        "wren/090.jpg",
        "wren/091.jpg",
    }
    assert {issue.action for issue in found} == {"look"}


def test_distances_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featherlite.data.checks.off_topic.NEIGHBORS", 1)
    features = np.array([[1, 0], [2, 0], [0, 3], [3, 4]], np.float32)
    # nearest directions: 0 and 1 are the same, 2 and 3 differ by a cosine of 0.8
    assert loneliness(features, np.arange(4)) == pytest.approx([0, 0, 0.2, 0.2])
    # 0 and 1 in one group: their nearest is 3, with a cosine of 0.6
    assert loneliness(features, np.array([0, 0, 2, 3])) == pytest.approx([0.4, 0.4, 0.2, 0.2])


def test_a_photo_leans_on_itself_where_nothing_else_is_like_it() -> None:
    random = np.random.default_rng(2)
    labels = np.repeat([0, 1], 20)
    features = np.zeros((40, 6))
    features[:, :3] = np.eye(3)[labels] * 3 + random.normal(size=(40, 3)) * 0.3
    features[:, 2] += 1
    features[7, 4] = 2.0  # a direction that no other photo has
    found = reliance(features.astype(np.float32), labels, np.arange(40), 2)
    assert found.argmax() == 7
    assert found[7] > 5 * np.median(found)
    twins = np.concatenate([features, features[7:8]]).astype(np.float32)
    groups = np.append(np.arange(40), 7)
    apart = reliance(twins, np.append(labels, 0), np.arange(41), 2)
    together = reliance(twins, np.append(labels, 0), groups, 2)
    assert together[[7, 40]].min() > 2 * apart[[7, 40]].max()  # a copy vouches for it only if it is not known as one


def test_scores_by_hand() -> None:
    # median 2, upper quartile 3, spread 1.4826; 2 + 2.75 spreads gives 0.5
    scores = strangeness(np.array([0.0, 1.0, 2.0, 3.0, 2 + 2.75 * 1.4826]))
    assert scores == pytest.approx([0, 0, 0, 1 / 1.4826 / (1 / 1.4826 + 2.75), 0.5])


def test_a_set_of_one_picture_has_nothing_off_topic() -> None:
    assert strangeness(loneliness(np.ones((30, 4), np.float32), np.arange(30))).max() < 0.5
