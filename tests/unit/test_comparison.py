from __future__ import annotations

import csv
from pathlib import Path

import pytest

import featherlite
from featherlite.comparison import Comparison, Latency, Row, flat, read_comparison
from featherlite.history import wilson
from featherlite.study.tables import write_comparison

ROW = Row(
    name="one",
    model="feathernet",
    weights="none",
    road="trained",
    seeds=(0, 1),
    status="done",
    top1=wilson(9, 10, "test"),
    weight_bytes={"int8": 1100},
    latency=(Latency(runtime="litert", precision="int8", threads=2, p50_ms=1.5, p95_ms=2.5, runs=9),),
    notes=("a", "b"),
)
FAILED = Row(name="two, it is", model="m", weights="w", road="r", seeds=(0,), status="failed", error='"no",\nmemory')


def comparison() -> Comparison:
    return Comparison(
        name="x", title="x", description="", machine={"cores": 2}, split="test", n=10, interval="", rows=(ROW, FAILED)
    )


def test_a_comparison_is_written_and_read(tmp_path: Path) -> None:
    import pyarrow.parquet

    write_comparison(comparison(), tmp_path)
    assert read_comparison(tmp_path) == comparison() == read_comparison(tmp_path / "comparison.json")
    with (tmp_path / "comparison.csv").open(newline="", encoding="utf-8") as stream:
        one, two = csv.DictReader(stream)
    assert (one["top1"], one["weight_bytes_int8"], one["weight_bytes_float32"]) == ("0.9", "1100", "")
    assert (one["latency_p95_ms_int8_2"], one["seeds"], one["notes"]) == ("2.5", "0 1", "a | b")
    assert (two["name"], two["error"]) == (FAILED.name, FAILED.error)
    table = pyarrow.parquet.read_table(tmp_path / "comparison.parquet")
    assert table.column("top1").to_pylist() == [0.9, None]
    assert str(table.schema.field("energy_mj").type) == "double"  # though no row has one
    assert str(table.schema.field("weight_bytes_float16").type) == "int64"
    assert table.column_names == list(flat(ROW)) == list(flat(FAILED))


def test_the_document_has_the_latency_by_precision_and_threads() -> None:
    document = comparison().document()
    assert document["rows"][0]["latency_ms"] == {"int8": {"2": {"p50": 1.5, "p95": 2.5}}}
    assert document["rows"][1]["latency_ms"] == {}


def test_what_is_no_comparison_is_told(tmp_path: Path) -> None:
    with pytest.raises(featherlite.FeatherliteError, match="There is no comparison"):
        read_comparison(tmp_path)
    (tmp_path / "comparison.json").write_text('{"name": 3}')
    with pytest.raises(featherlite.FeatherliteError, match="is not a comparison: name"):
        read_comparison(tmp_path)


def test_the_public_names_are_there() -> None:
    for name in featherlite.__all__:
        assert getattr(featherlite, name) is not None
