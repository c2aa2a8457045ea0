"""`featherlite attention`: pictures, their names, the document, and what cannot be shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featherlite.bundle import Bundle
from featherlite.cli import main

pytest.importorskip("keras")


def document(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, Any]:
    code = main(["attention", *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_picture_for_every_photo(
    color_bundle: Bundle, sample_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Drawn birds, of a folder in folders; the answers are those of the network."""
    from featherlite.evaluate.attention import AttentionViewer

    folder = tmp_path / "birds"
    species = sorted(path for path in sample_photos.iterdir() if path.is_dir())[:2]
    for one in species:
        (folder / one.name).mkdir(parents=True)
        shutil.copy(sorted(one.iterdir())[0], folder / one.name / "1.jpg")
    code, told = document(capsys, color_bundle.home, folder, "--out", tmp_path / "out")
    assert (code, told["method"]) == (0, "activation")
    assert [entry["picture"] for entry in told["results"]] == [
        str(tmp_path / "out" / one.name / "1.attention.png") for one in species
    ]
    for entry in told["results"]:
        (look,) = AttentionViewer(color_bundle).look(color_bundle.preprocess(Path(entry["path"]))[None])
        assert entry["label"] == look.label
        assert entry["probability"] == pytest.approx(look.probability, abs=1e-5)
        np.testing.assert_allclose(entry["places"], look.places, atol=1e-4)
        with Image.open(entry["picture"]) as picture:
            assert picture.format == "PNG"
            assert picture.width > 2 * 448
    assert sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file()) == ["1.attention.png"] * 2


def test_words_say_what_is_shown_and_pictures_are_no_photos(
    color_bundle: Bundle, color_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Written into the folder of the photos, twice: the second run leaves the pictures of the first out."""
    shutil.copy(color_photos / "red" / "00.png", tmp_path / "00.png")
    for _ in range(2):
        assert main(["attention", str(color_bundle.home), str(tmp_path), "--out", str(tmp_path)]) == 0
        said = capsys.readouterr().out.splitlines()
        assert len(said) == 2
        assert "00.png: red " in said[0]
        assert said[1] == "Shown is class activation: what each place adds to the class, exactly."
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00.attention.png", "00.png"]


def test_equal_names_get_numbers_and_another_label_can_be_asked_about(
    color_bundle: Bundle, color_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = [color_photos / name / "03.png" for name in ("red", "blue")]
    code, told = document(capsys, color_bundle.home, *photos, "--out", tmp_path, "--label", "green")
    assert code == 0
    assert [entry["label"] for entry in told["results"]] == ["green", "green"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["03-2.attention.png", "03.attention.png"]


def test_a_number_never_takes_the_name_of_another_photo(
    color_bundle: Bundle, color_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a-2.png", "a.jpg", "a.png"):
        (photos / name).write_bytes((color_photos / "red" / "03.png").read_bytes())
    code, told = document(capsys, color_bundle.home, photos, "--out", tmp_path / "out")
    assert code == 0
    pictures = {Path(entry["picture"]).name for entry in told["results"]}
    assert pictures == {"a-2.attention.png", "a.attention.png", "a-3.attention.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == pictures


def test_what_cannot_be_read_is_listed(
    color_bundle: Bundle, color_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    photos = [tmp_path / "broken.jpg", color_photos / "red" / "00.png", tmp_path / "gone.jpg"]
    code, told = document(capsys, color_bundle.home, *photos, "--out", tmp_path / "out")
    assert code == 1
    assert ["error" in entry for entry in told["results"]] == [True, False, True]
    assert "broken.jpg: not an image" in told["results"][0]["error"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["00.attention.png"]


def test_where_nothing_could_be_read_nothing_is_shown(
    color_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    assert main(["attention", str(color_bundle.home), str(tmp_path / "broken.jpg"), "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert said.startswith("not shown: ")
    assert "Shown is" not in said


def test_wrong_requests(
    color_bundle: Bundle, color_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, photo = str(color_bundle.home), str(color_photos / "red" / "00.png")
    (tmp_path / "a.tflite").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    out = str(tmp_path / "out")
    for words, message in (
        ([home, photo], "--out"),
        ([str(tmp_path / "a.tflite"), photo, "--out", out], "an artefact shows none of its insides"),
        ([home, str(tmp_path / "empty"), "--out", out], "There is no photo in"),
        ([str(tmp_path / "empty"), photo, "--out", out], "is not a bundle"),
        ([home, photo, "--out", out, "--method", "atention"], "--method: 'atention'"),
        ([home, photo, "--out", out, "--method", "attention"], "no spatial attention"),
        ([home, photo, "--out", out, "--label", "gren"], "Did you mean 'green'"),
        ([home, photo, "--out", str(tmp_path / "a.tflite")], "Cannot write"),
    ):
        assert main(["attention", *words]) == 2, words
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
