import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from featherlite.bundle import Bundle
from featherlite.data.assign import cut, units_of
from featherlite.data.source import Photo, Scan
from featherlite.data.split import SplitConfig, assign_splits, split
from featherlite.data.splits import Splits, read_splits, write_splits
from featherlite.errors import BundleError, DataError, MissingExtraError
from featherlite.step import Context


def context(data: Path | None = None, seed: int = 0, base: Path = Path("unused")) -> Context:
    return Context(seed=seed, scratch=base, resume=base, cache=base / "cache", data=data)


def photo(path: str, content: str = "", split: str | None = None, group: str | None = None) -> Photo:
    return Photo(path, path.split("/")[0], content or f"content of {path}", 1, split, group)


def photos(classes: int, each: int) -> list[Photo]:
    return [photo(f"c{label:03}/{number}.jpg") for label in range(classes) for number in range(each)]


def assigned(found: list[Photo], ctx: Context | None = None, **config: object) -> Splits:
    ordered = tuple(sorted(found, key=lambda one: one.path))
    return assign_splits(Scan(Path("x"), "folders", ordered, ()), SplitConfig(**config), ctx or context())  # type: ignore[arg-type]


def where(splits: Splits) -> dict[str, str]:
    return dict(zip(splits.path, splits.split, strict=True))


# ---- how many ----------------------------------------------------------------------------------------------------


def test_shares_hold_in_every_class() -> None:
    splits = assigned(photos(3, 100), test=0.15, val=0.1, calibration=0.05)
    pairs = Counter(zip(splits.label, splits.split, strict=True))
    for label in ("c000", "c001", "c002"):
        assert [pairs[label, name] for name in ("train", "val", "calibration", "test")] == [70, 10, 5, 15]


def test_shares_smaller_than_a_photo_hold_over_the_whole_set() -> None:
    splits = assigned(photos(100, 3), test=0.15, val=0.15)
    assert splits.counts() == {"train": 210, "val": 45, "calibration": 0, "test": 45}
    pairs = Counter(zip(splits.label, splits.split, strict=True))
    assert all(pairs[label, "test"] + pairs[label, "val"] <= 1 for label in set(splits.label))


def test_shares_hold_over_the_whole_set_where_groups_are_large() -> None:
    found = [photo(f"c{label}/{n}.jpg", group=f"{label}-{n // 5}") for label in range(40) for n in range(10)]
    counts = assigned(found, test=0.15, val=0.1).counts()
    assert counts == {"train": 300, "val": 40, "calibration": 0, "test": 60}


def test_zero_shares_give_empty_splits() -> None:
    assert assigned(photos(2, 10), test=0, val=0).counts() == {"train": 20, "val": 0, "calibration": 0, "test": 0}


def test_every_class_keeps_a_photo_to_train_and_a_single_one_is_told() -> None:
    ctx = context()
    splits = assigned([*photos(4, 2), photo("lonely/1.jpg")], ctx, test=0.45, val=0.45)
    pairs = Counter(zip(splits.label, splits.split, strict=True))
    assert all(pairs[label, "train"] >= 1 for label in set(splits.label))
    assert where(splits)["lonely/1.jpg"] == "train"
    assert "'lonely'" in ctx.details["warnings"][0]


@pytest.mark.parametrize("shares", [{"test": 0.5, "val": 0.5}, {"test": 0.9}, {"test": 1.0}, {"val": -0.1}])
def test_shares_that_leave_nothing_to_train_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        SplitConfig(**shares)  # type: ignore[arg-type]


# ---- who ---------------------------------------------------------------------------------------------------------


def test_the_seed_alone_decides() -> None:
    found = photos(5, 40)
    assert assigned(found) == assigned(list(reversed(found)))
    assert where(assigned(found)) != where(assigned(found, context(seed=1)))
    assert where(assigned(found, seed=1)) == where(assigned(found, context(seed=1)))


@given(st.integers(0, 400), st.integers(0, 4), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_one_photo_more_moves_few_others(name: int, label: int, seed: int) -> None:
    before = where(assigned(photos(5, 40), seed=seed))
    after = where(assigned([*photos(5, 40), photo(f"c00{label}/new{name}.jpg")], seed=seed))
    assert sum(before[path] != after[path] for path in before) <= 4


def test_the_test_split_does_not_depend_on_the_other_shares() -> None:
    one, other = assigned(photos(7, 13), val=0.3), assigned(photos(7, 13), val=0, calibration=0.2)
    assert one.of("test").hash == other.of("test").hash


KINDS = st.tuples(
    st.integers(0, 3), st.integers(0, 12), st.sampled_from([None, None, "g1", "g2", "g3"]),
    st.sampled_from([None, None, None, "train", "test", "val"]),
)  # fmt: skip


@given(st.lists(KINDS, min_size=4, max_size=60), st.integers(0, 5), st.floats(0, 0.4), st.floats(0, 0.4))
@settings(max_examples=150, deadline=None)
def test_no_content_and_no_group_is_on_two_sides(
    kinds: list[tuple[int, int, str | None, str | None]], seed: int, test: float, val: float
) -> None:
    found = [
        photo(f"c{label}/{number}.jpg", f"content {content}", given_split, group)
        for number, (label, content, group, given_split) in enumerate(kinds)
    ]
    try:
        splits = assigned(found, seed=seed, test=test, val=val)
    except DataError as error:
        assert "no photo to train on" in error.message  # noqa: PT017
        return
    assert sorted(splits.path) == sorted(one.path for one in found)
    for column in (splits.sha256, splits.group):
        sides: dict[str, set[str]] = {}
        for key, side in zip(column, splits.split, strict=True):
            if key is not None:
                sides.setdefault(key, set()).add(side)
        assert all(len(side) == 1 for side in sides.values())


def test_content_and_groups_chain_into_one_unit() -> None:
    chain = [
        photo("a/1", "x", group="g"),
        photo("b/2", "x"),
        photo("a/3", "y", group="g"),
        photo("a/4", "y"),
        photo("a/5"),
    ]
    units = units_of(chain)
    assert sorted(len(unit.photos) for unit in units) == [1, 4]
    assert {unit.label for unit in units} == {"a"}


def test_a_photo_under_two_labels_is_told_with_its_paths() -> None:
    ctx = context()
    assigned([*photos(2, 20), photo("c000/x.jpg", "same"), photo("c001/y.jpg", "same")], ctx)
    assert "c000/x.jpg = c001/y.jpg" in ctx.details["warnings"][0]
    assert ctx.details["kept_together"]["byte_identical"] == 1


# ---- given splits ------------------------------------------------------------------------------------------------


def given_photos(**counts: int) -> list[Photo]:
    return [
        photo(f"{label}/{name}{number}.jpg", split=name)
        for label in "ab"
        for name, count in counts.items()
        for number in range(count)
    ]


def test_given_splits_stand() -> None:
    splits = assigned(given_photos(train=20, val=3, test=5))
    assert splits.counts() == {"train": 40, "val": 6, "calibration": 0, "test": 10}
    assert all(name in path for path, name in where(splits).items())


def test_a_split_that_is_not_given_is_cut_from_train() -> None:
    splits = assigned(given_photos(train=20, test=5), val=0.15)
    assert splits.counts() == {"train": 34, "val": 6, "calibration": 0, "test": 10}
    assert all("train" in path for path, name in where(splits).items() if name == "val")


def test_free_photos_are_cut_before_given_train_photos() -> None:
    free = [photo(f"{label}/free{number}.jpg") for label in "ab" for number in range(10)]
    splits = assigned(given_photos(train=20) + free, val=0.2, test=0.2)
    assert splits.counts() == {"train": 52, "val": 4, "calibration": 0, "test": 4}
    assert all("free" in path for path, name in where(splits).items() if name != "train")


def test_a_photo_given_to_train_and_test_leaves_train_and_is_told() -> None:
    ctx = context()
    leaked = [photo("a/train-copy.jpg", "same", "train"), photo("a/test-copy.jpg", "same", "test")]
    splits = assigned(given_photos(train=10, val=2, test=2) + leaked, ctx)
    assert where(splits)["a/train-copy.jpg"] == where(splits)["a/test-copy.jpg"] == "test"
    assert "a/train-copy.jpg" in ctx.details["warnings"][0]


def test_a_class_with_test_photos_only_is_refused() -> None:
    with pytest.raises(DataError, match="Class 'owl' has no photo to train on: all are in test"):
        assigned([*given_photos(train=5, val=1, test=1), photo("owl/1.jpg", split="test")])


# ---- options -----------------------------------------------------------------------------------------------------


def test_named_files_make_up_the_split() -> None:
    splits = assigned(photos(6, 14), test_files="*/4.jpg", val_files="*/1?.jpg")
    assert {path.split("/")[1] for path, name in where(splits).items() if name == "test"} == {"4.jpg"}
    assert splits.counts() == {"train": 54, "val": 24, "calibration": 0, "test": 6}


def test_named_test_files_leave_the_validation_share_to_be_cut() -> None:
    assert assigned(photos(20, 4), test_files="*/3.jpg", val=0.1).counts() == {
        "train": 54, "val": 6, "calibration": 0, "test": 20,
    }  # fmt: skip


def test_a_pattern_that_matches_nothing_or_twice_is_refused() -> None:
    with pytest.raises(DataError, match=r"no photo's path matches '9\.jpg'") as caught:
        assigned(photos(2, 3), test_files="9.jpg")
    assert "c000/0.jpg" in caught.value.hint
    with pytest.raises(DataError, match=r"both match 'c000/1.jpg'"):
        assigned(photos(2, 3), test_files="*/1.jpg", val_files="*/1*")


def test_include_takes_these_classes_only() -> None:
    assert set(assigned(photos(5, 9), include=("c001", "c003")).label) == {"c001", "c003"}
    with pytest.raises(DataError, match="no class 'c01'") as caught:
        assigned(photos(2, 3), include=("c01",))
    assert "Did you mean" in caught.value.hint
    with pytest.raises(DataError, match="only one class"):
        assigned(photos(2, 3), include=("c001",))


def test_max_per_class_draws_a_stable_sample() -> None:
    few = assigned(photos(3, 50), max_per_class=10)
    assert Counter(few.label) == {"c000": 10, "c001": 10, "c002": 10}
    assert set(few.path) < set(assigned(photos(3, 50), max_per_class=20).path)


def test_ties_between_classes_do_not_follow_their_names() -> None:
    units = units_of(photos(100, 2))
    chosen = cut(units, {"test": 0.1}, 0, frozenset())
    tested = sorted(unit.label for unit in units if chosen[unit.key] == "test")
    assert len(tested) == 20
    assert tested[-1] > "c050"
    assert tested[0] < "c050"


# ---- the step and its table --------------------------------------------------------------------------------------


def test_the_step_gives_splits_labels_and_faults(tmp_path: Path) -> None:
    for label in ("wren", "Great Tit"):
        for number in range(10):
            (tmp_path / "d" / label).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (9, 9), (number, len(label), 0)).save(tmp_path / "d" / label / f"{number}.png")
    (tmp_path / "d" / "wren" / "bad.jpg").write_text("text")
    ctx = context(tmp_path / "d", base=tmp_path)
    bundle = split(Bundle(), SplitConfig(val=0.2, test=0.2), ctx)
    assert bundle.provides() == {"splits", "labels"}
    assert [label.name for label in bundle.labels] == ["Great Tit", "wren"]
    assert ctx.details["photos"] == read_splits(bundle).counts() == {"train": 12, "val": 4, "calibration": 0, "test": 4}
    assert ctx.details["classes"]["wren"] == {"train": 6, "val": 2, "test": 2}
    assert ctx.details["faults"]["by_reason"] == {"not-an-image": 1}
    assert bundle.read_json("faults.json")[0]["path"] == "wren/bad.jpg"
    again = split(Bundle(), SplitConfig(val=0.2, test=0.2), context(tmp_path / "d", base=tmp_path))
    assert again.files == bundle.files


TABLE = Splits.from_rows([("b/2", "s2", "b", "g", "test"), ("a/1 é", "s1", "a", None, "train")])


def test_the_table_survives_writing_and_reading() -> None:
    assert read_splits(Bundle().with_files({"splits.parquet": write_splits(TABLE)})) == TABLE
    empty = Splits.from_rows([])
    assert read_splits(Bundle().with_files({"splits.parquet": write_splits(empty)})) == empty
    assert len(TABLE.of("val")) == 0


def test_the_hash_sees_content_label_and_split_but_no_order() -> None:
    rows = list(TABLE.rows())
    shuffled = Splits(*zip(*reversed(rows), strict=True))
    assert shuffled.path != TABLE.path
    assert shuffled.hash == TABLE.hash
    for column in (0, 1, 2, 4):
        row = list(rows[0])
        row[column] = "val"
        assert Splits.from_rows([tuple(row), rows[1]]).hash != TABLE.hash  # type: ignore[list-item]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PAR1 nonsense PAR1",
        write_splits(TABLE)[:-30],
        write_splits(Splits.from_rows([("a", "b", "c", None, "tset")])),
        write_splits(Splits.from_rows([("a", None, "c", None, "test")])),  # type: ignore[list-item]
    ],
)
def test_a_damaged_table_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError, match=r"splits.parquet"):
        read_splits(Bundle().with_files({"splits.parquet": content}))


def test_without_pyarrow_the_install_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError) as caught:
        write_splits(TABLE)
    assert "pip install 'featherlite[train]'" in caught.value.hint


def test_importing_the_step_imports_nothing_heavy() -> None:
    program = (
        "import sys, featherlite.data.split, featherlite.data.photos;"
        "print({'keras', 'tensorflow', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# ---- folds, groups, twins ----------------------------------------------------------------------------------------


def test_folds_share_out_every_photo_and_class_evenly() -> None:
    found = photos(4, 10)
    seen: Counter[str] = Counter()
    for fold in range(5):
        splits = assigned(found, folds=5, fold=fold, val=0.0)
        tested = splits.of("test")
        assert Counter(tested.label) == dict.fromkeys(("c000", "c001", "c002", "c003"), 2)
        seen.update(tested.path)
    assert seen == dict.fromkeys((one.path for one in found), 1)


def test_folds_leave_validation_photos_beside_the_fold() -> None:
    splits = assigned(photos(4, 20), folds=4, fold=1, val=0.2)
    assert splits.counts() == {"train": 48, "val": 12, "calibration": 0, "test": 20}


@pytest.mark.parametrize("config", [{"folds": 3, "fold": 3}, {"folds": 3, "test_files": "*"}, {"folds": 1}])
def test_impossible_folds_are_refused(config: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SplitConfig(**config)  # type: ignore[arg-type]


def test_photos_of_one_folder_stay_together() -> None:
    found = [photo(f"{label}/video {video}/{frame}.jpg") for label in "ab" for video in range(8) for frame in range(4)]
    splits = assigned(found, group_folder=2, val=0.25, test=0.25)
    places = {(path.rsplit("/", 1)[0], split) for path, split in where(splits).items()}
    assert len(places) == 16
    assert set(splits.group) == {f"{label}/video {video}" for label in "ab" for video in range(8)}


def test_photos_whose_names_match_alike_stay_together() -> None:
    found = [
        photo(f"{label}/cam{cam}_{day}_{n}.jpg") for label in "ab" for cam in (1, 2) for day in "xyz" for n in "123"
    ]
    splits = assigned(found, group_pattern=r"(cam\d+)_([xyz])_", val=0.25, test=0.25)
    sides: dict[str | None, set[str]] = {}
    for group, side in zip(splits.group, splits.split, strict=True):
        sides.setdefault(group, set()).add(side)
    assert set(sides) == {f"cam{cam}/{day}" for cam in (1, 2) for day in "xyz"}
    assert all(len(its) == 1 for its in sides.values())


def test_a_pattern_without_groups_takes_what_it_matches_and_what_it_misses_stands_alone() -> None:
    splits = assigned(
        [photo(f"{label}/{name}.jpg") for label in "ab" for name in ("day1-a", "day1-b", "x")], group_pattern="day\\d"
    )
    assert set(splits.group) == {"day1", None}


def test_a_group_of_the_table_goes_before_the_folder() -> None:
    splits = assigned(
        [photo("a/1.jpg", group="mine"), photo("a/2.jpg"), photo("b/1.jpg"), photo("b/2.jpg")], group_folder=1
    )
    assert splits.group == ("mine", "a", "b", "b")


def test_a_pattern_that_does_not_compile_is_refused() -> None:
    with pytest.raises(ValidationError, match="not a regular expression"):
        SplitConfig(group_pattern="(cam")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.lists(st.integers(0, 59), min_size=2, max_size=5), max_size=12))
def test_twins_never_straddle(seed: int, clusters: list[list[int]]) -> None:
    found = photos(3, 20)
    twins = [tuple(found[number].sha256 for number in cluster) for cluster in clusters]
    ordered = tuple(sorted(found, key=lambda one: one.path))
    config = SplitConfig(val=0.2, test=0.2, seed=seed)
    try:
        splits = assign_splits(Scan(Path("x"), "folders", ordered, ()), config, context(), twins)
    except DataError as error:  # a cluster may hold all of a class
        assert "no photo to train on" in error.message  # noqa: PT017
        return
    place = dict(zip(splits.sha256, splits.split, strict=True))
    assert all(len({place[member] for member in cluster}) == 1 for cluster in twins)
