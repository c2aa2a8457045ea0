"""Studies that mean harm: names that leave the folder, documents of the wrong shape, results that someone edited."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherlite.comparison import read_comparison
from featherlite.errors import FeatherliteError, RecipeError, RequestError
from featherlite.recipe import load_recipe
from featherlite.study.plan import load_study, parse_study
from featherlite.study.result import read_result


def document(name: Any) -> dict[str, Any]:
    return {
        "steps": [{"step": "split"}],
        "road": {"trained": [{"step": "build"}, {"step": "train"}]},
        "networks": [{"name": name, "road": "trained"}],
    }


@pytest.mark.parametrize(
    "name",
    [
        "../out",
        "a/b",
        "a\\b",
        "..",
        ".",
        "/etc/passwd",
        "C:evil",
        "a\0b",
        "a\nb",
        "",
        " a",
        "a ",
        "a.",
        ".hidden",
        "-rf",
        "=1+1",
        "@sum",
        "a,b",
        "<b>",
        "con",
        "NUL.txt",
        "x" * 61,
        "a\u202eb",
        3,
        None,
        ["a"],
    ],
)
def test_a_name_that_is_no_folders_is_refused(name: Any) -> None:
    with pytest.raises(RecipeError, match="name"):
        parse_study(document(name), "hostile")


@given(st.text(max_size=70))
def test_a_name_that_is_accepted_stays_inside(name: str) -> None:
    try:
        study = parse_study(document(name), "hostile")
    except RecipeError:
        return
    place = study.jobs()[0].place
    assert place.parts == ("rows", name, "seed-0")
    assert (Path("/out") / place).resolve() == Path("/out") / place
    assert name.isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(["steps", "road", "networks", "seeds", "seed", "folds", "weigh", "title"]), JSON)
)
def test_any_document_is_a_study_or_a_list_of_faults(made: dict[str, Any]) -> None:
    with pytest.raises(RecipeError) as raised:
        parse_study(made, "hostile")
    assert raised.value.faults


@given(JSON)
def test_any_network_is_a_row_or_a_fault(table: Any) -> None:
    made = document("a")
    made["networks"] = [table, {"name": "b", "road": "trained", "set": table}]
    with contextlib.suppress(RecipeError):  # anything else would be a trace on the user's screen
        parse_study(made, "hostile")


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"networks = ", b"networks = " + b"[" * 5000, b'[[networks]]\nname="a"']
)
def test_a_file_that_is_no_study_is_told_plainly(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(content)
    for read in (load_study, load_recipe):
        with pytest.raises(RequestError):
            read(tmp_path / "x.toml")


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"null", b"\xff", b"[" * 9999, b'{"key": "k", "status": "done", "figures": {"input_px": "x"}}'],
)
def test_a_result_or_comparison_that_is_none_is_never_believed(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(content)
    (tmp_path / "comparison.json").write_bytes(content)
    assert read_result(tmp_path) is None
    with pytest.raises(RequestError, match="is not a comparison"):
        read_comparison(tmp_path)


def test_numbers_that_are_none_are_no_weights() -> None:
    for value in (float("nan"), float("inf"), -1.0, "much"):
        with pytest.raises(FeatherliteError, match="weigh"):
            parse_study(document("a") | {"weigh": {"size": value}}, "hostile")
