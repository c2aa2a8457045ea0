"""The steps audit and clean, and the split that goes by them, on drawn photos."""

import csv
import io
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from featherlite.bundle import Bundle
from featherlite.cli import main
from featherlite.data.audit import AuditConfig, audit
from featherlite.data.audit_tables import read_issues, read_twins
from featherlite.data.clean import CleanConfig, clean
from featherlite.data.manifest import write_manifest
from featherlite.data.sample import SampleConfig, draw_samples
from featherlite.data.source import scan
from featherlite.data.split import SplitConfig, split
from featherlite.data.splits import read_splits
from featherlite.errors import BundleError, DataError, RequestError
from featherlite.step import Context

FEATURELESS = AuditConfig(checks=("exact-duplicate", "near-duplicate", "label-conflict", "leakage"))


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn photos; one stands under two labels, one is mirrored in its own class, one is saved twice."""
    root = tmp_path_factory.mktemp("messy") / "photos"
    draw_samples(root, SampleConfig(species=3, photos=10, px=96))
    (root / "README.txt").unlink()
    (root / "faults.csv").unlink(missing_ok=True)
    first, second, third = sorted(folder for folder in root.iterdir())
    one, other, *_ = sorted(first.iterdir())
    shutil.copy(one, second / "copy.jpg")
    with Image.open(other) as image:
        ImageOps.mirror(image.convert("RGB")).save(first / "mirrored.jpg", quality=80)
    shutil.copy(sorted(third.iterdir())[0], third / "again.jpg")
    return root


def context(data: Path, base: Path) -> Context:
    return Context(seed=0, scratch=base, resume=base, cache=base / "cache", data=data)


def test_clean_refuses_conflicts_until_told(messy: Path, tmp_path: Path) -> None:
    ctx = context(messy, tmp_path)
    audited = audit(Bundle(), FEATURELESS, ctx)
    conflict = next(issue for issue in read_issues(audited) if issue.check == "label-conflict")
    assert len(conflict.paths) == 2
    with pytest.raises(DataError, match="1 of label-conflict") as refused:
        clean(audited, CleanConfig(), ctx)
    assert "--set clean.apply=label-conflict" in refused.value.hint

    dropped = read_splits(split(clean(audited, CleanConfig(apply="label-conflict"), ctx), SplitConfig(), ctx))  # type: ignore[arg-type]
    assert not set(conflict.paths) & set(dropped.path)

    accepted = read_splits(split(clean(audited, CleanConfig(accept=("label-conflict",)), ctx), SplitConfig(), ctx))
    places = dict(zip(accepted.path, accepted.split, strict=True))
    assert places[conflict.paths[0]] == places[conflict.paths[1]]


def test_a_person_decides_by_a_csv(messy: Path, tmp_path: Path) -> None:
    ctx = context(messy, tmp_path)
    audited = audit(Bundle(), FEATURELESS, ctx)
    conflict = next(issue for issue in read_issues(audited) if issue.check == "label-conflict")
    mine = tmp_path / "mine.csv"
    with mine.open("w", newline="") as stream:
        csv.writer(stream).writerows([["action", "target"], ["drop", conflict.paths[1]]])
    cleaned = clean(audited, CleanConfig(overrides=mine), ctx)
    paths = read_splits(split(cleaned, SplitConfig(), ctx)).path
    assert conflict.paths[0] in paths
    assert conflict.paths[1] not in paths


def test_twins_stay_on_one_side_with_or_without_an_audit(messy: Path, tmp_path: Path) -> None:
    ctx = context(messy, tmp_path)
    found = scan(messy, cache=ctx.cache)
    audited = audit(Bundle(), FEATURELESS, ctx)
    twins = read_twins(audited, found)
    assert twins is not None
    assert len(twins.clusters) == 3
    for bundle in (Bundle(), clean(audited, CleanConfig(accept=("label-conflict",)), ctx)):
        for seed in range(5):
            table = read_splits(split(bundle, SplitConfig(val=0.3, test=0.3, seed=seed), ctx))
            places = dict(zip(table.path, table.split, strict=True))
            for cluster in twins.clusters:
                assert len({places[found.photos[member].path] for member in cluster}) == 1
    torn = []
    for seed in range(5):
        table = read_splits(split(Bundle(), SplitConfig(val=0.3, test=0.3, seed=seed, near_duplicates=False), ctx))
        places = dict(zip(table.path, table.split, strict=True))
        mirrored = next(path for path in table.path if path.endswith("mirrored.jpg"))
        torn.append(places[mirrored] != places[mirrored.replace("mirrored", "002")])
    assert any(torn)  # so the test above can fail


def test_leakage_between_given_splits_stops_a_run(messy: Path, tmp_path: Path) -> None:
    table = tmp_path / "photos.csv"
    photos = sorted(path for path in messy.rglob("*.jpg") if path.name != "copy.jpg")
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "split"])
        for path in photos:
            place = "test" if path.name in ("001.jpg", "mirrored.jpg", "again.jpg") else "train"
            writer.writerow([str(path), path.parent.name, place])
    ctx = context(table, tmp_path)
    audited = audit(Bundle(), FEATURELESS, ctx)
    leaks = [issue for issue in read_issues(audited) if issue.check == "leakage"]
    assert len(leaks) == 1  # "again" is a copy of 001: both are in test
    assert all("/mirrored.jpg" not in target for target in leaks[0].targets)
    with pytest.raises(DataError, match="1 of leakage"):
        clean(audited, CleanConfig(), ctx)
    kept = read_splits(split(clean(audited, CleanConfig(apply=("leakage",)), ctx), SplitConfig(), ctx))
    assert len(kept) == len(photos) - 1


def test_an_audit_of_other_photos_is_not_believed(messy: Path, tmp_path: Path) -> None:
    audited = audit(Bundle(), FEATURELESS, context(messy, tmp_path))
    fewer = tmp_path / "fewer"
    shutil.copytree(messy, fewer)
    next(fewer.rglob("*.jpg")).unlink()
    assert read_twins(audited, scan(fewer)) is None


@pytest.mark.parametrize("name", ["issues.parquet", "twins.parquet"])
def test_damaged_tables_are_refused(name: str, messy: Path, tmp_path: Path) -> None:
    audited = audit(Bundle(), FEATURELESS, context(messy, tmp_path)).with_files({name: b"PAR1 no parquet"})
    found = scan(messy)
    with pytest.raises(BundleError, match="damaged"):
        read_issues(audited) if name == "issues.parquet" else read_twins(audited, found)


def test_unknown_checks_are_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="near-duplicate"):
        AuditConfig(checks=("near-duplicates",))


def test_a_damaged_row_of_issues_is_refused() -> None:
    columns = {"check": ["dark"], "score": [0.5], "message": ["x"], "action": ["drop"], "to": [""], "paths": [["a"]]}
    sink = io.BytesIO()
    pq.write_table(pa.table({**columns, "targets": pa.array([None], pa.list_(pa.string()))}), sink)
    with pytest.raises(BundleError, match="damaged"):
        read_issues(Bundle().with_files({"issues.parquet": sink.getvalue()}))


def test_an_audit_that_found_no_twins_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "photos"
    draw_samples(root, SampleConfig(species=2, photos=4, px=64))
    ctx = context(root, tmp_path)
    audited = audit(Bundle(), FEATURELESS, ctx)
    assert read_issues(audited) == ()

    def again(*_: object) -> None:
        raise AssertionError("looked for once more")

    monkeypatch.setattr("featherlite.data.split.near_duplicates", again)
    assert len(read_splits(split(audited, SplitConfig(), ctx))) == 8


def test_the_table_that_was_read_is_not_written_over(tmp_path: Path) -> None:
    table = tmp_path / "photos.csv"
    table.write_text("path,label,mine\n")
    with pytest.raises(RequestError, match="not written over"):
        write_manifest(tmp_path, table, (), b"")
    assert table.read_text() == "path,label,mine\n"


@pytest.mark.parametrize(
    ("action", "label", "message"),
    [("merge", "robin", "leave 1 of 2 classes"), ("relabel", "Robin", "differ only in case")],
)
def test_decisions_that_leave_no_task_are_refused(tmp_path: Path, action: str, label: str, message: str) -> None:
    root = tmp_path / "photos"
    draw_samples(root, SampleConfig(species=2, photos=4, px=64))
    one, other = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
    (root / one).rename(root / "robin")
    target = other if action == "merge" else f"{other}/001.jpg"
    lines = f"action,target,label\n{action},{target},{label}\n"
    with pytest.raises(DataError, match=message):
        split(Bundle().with_files({"decisions.csv": lines.encode()}), SplitConfig(), context(root, tmp_path))


def test_the_command_refuses_photos_that_no_classifier_can_be_made_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos.csv").write_text("path,label\nrobin\\1.jpg,robin\nwren\\1.jpg,wren\n")
    assert main(["clean", "photos.csv", "--out", "out"]) == 2
    told = capsys.readouterr().err
    assert "no photo in it can be used" in told
    assert "no such file" in told
    assert not (tmp_path / "out").exists()


def test_the_audit_of_other_photos_hides_nothing_that_stops_a_run(
    messy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_samples(tmp_path / "clean", SampleConfig(species=2, photos=4, px=64))
    assert main(["audit", "clean", "--checks", "dark", "--out", "audited"]) == 0
    assert main(["clean", str(messy), "--audit", "audited"]) == 1
    assert "1 issues would still stop a run: 1 of label-conflict" in capsys.readouterr().out


def test_one_file_twice_in_a_table_under_two_labels_stops_a_run(messy: Path, tmp_path: Path) -> None:
    photos = sorted(messy.glob("*/00*.jpg"))
    rows = [(str(path), path.parent.name) for path in photos]
    table = tmp_path / "photos.csv"
    with table.open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "label"), *rows, rows[0], (rows[0][0], rows[-1][1])])
    ctx = context(table, tmp_path)
    audited = audit(Bundle(), FEATURELESS, ctx)
    conflicts = [issue for issue in read_issues(audited) if issue.check == "label-conflict"]
    assert [issue.targets for issue in conflicts] == [(rows[0][0],)]
    with pytest.raises(DataError, match="1 of label-conflict"):
        clean(audited, CleanConfig(), ctx)
    cleaned = clean(audited, CleanConfig(apply=("label-conflict",)), ctx)
    assert rows[0][0] not in read_splits(split(cleaned, SplitConfig(), ctx)).path
