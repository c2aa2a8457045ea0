from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featherlite.bundle import Bundle
from featherlite.errors import BundleError, RequestError
from featherlite.models.slim import slim
from featherlite.runtime.predictor import BATCH, Prediction, PredictionFailure, Predictor


@pytest.fixture(scope="module")
def predictor(quantized: Bundle) -> Predictor:
    return Predictor(quantized.home)


@pytest.fixture(scope="module")
def artefact(quantized: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The int8 file alone, far from its bundle."""
    path = tmp_path_factory.mktemp("alone") / "species.tflite"
    path.write_bytes(quantized.read("exports/int8/model.tflite"))
    return path


def best(outcome: Prediction | PredictionFailure) -> str:
    assert isinstance(outcome, Prediction), outcome
    return outcome.guesses[0].label


def test_photos_are_named_in_their_order(predictor: Predictor, color_photos: Path) -> None:
    sources = [color_photos / name / "16.png" for name in ("red", "blue", "green")]
    outcomes = predictor.predict(sources)
    assert [best(one) for one in outcomes] == ["red", "blue", "green"]
    first = outcomes[0]
    assert isinstance(first, Prediction)
    assert first.source == str(sources[0])
    shares = [guess.probability for guess in first.guesses]
    assert sum(shares) == pytest.approx(1.0, abs=1e-5)
    assert shares == sorted(shares, reverse=True)
    assert first.to_json()["predictions"][0] == {"label": "red", "probability": first.guesses[0].probability}


def test_every_kind_of_source_gives_the_same_answer(predictor: Predictor, color_photos: Path) -> None:
    path = color_photos / "red" / "17.png"
    with Image.open(path) as image:
        outcomes = predictor.predict([path, str(path), path.read_bytes(), image, image.convert("RGBA")])
    assert len({one.guesses for one in outcomes if isinstance(one, Prediction)}) == 1
    assert [one.source for one in outcomes] == [str(path), str(path), "photo 2", "photo 3", "photo 4"]


def test_a_bad_photo_fails_alone(predictor: Predictor, color_photos: Path, tmp_path: Path) -> None:
    good, empty = color_photos / "green" / "01.png", tmp_path / "empty.jpg"
    empty.write_bytes(b"")
    outcomes = predictor.predict([good, empty, tmp_path / "none.jpg", b"not a photo", good])
    assert [type(one) for one in outcomes] == [Prediction, *[PredictionFailure] * 3, Prediction]
    missing = outcomes[2].to_json()
    assert missing["path"] == str(tmp_path / "none.jpg")
    assert missing["error"].startswith(f"{tmp_path / 'none.jpg'}: no such file")
    assert best(outcomes[4]) == "green"
    assert [type(one) for one in predictor.predict([empty])] == [PredictionFailure]
    assert predictor.predict([]) == []


def test_more_photos_than_a_batch(predictor: Predictor, color_photos: Path) -> None:
    names = ["red", "green", "blue"] * BATCH
    sources = [color_photos / name / f"{index % 18:02d}.png" for index, name in enumerate(names)]
    assert [best(one) for one in predictor.predict(sources)] == names


def test_top_limits_the_guesses(predictor: Predictor, color_photos: Path) -> None:
    photo = color_photos / "red" / "00.png"
    counts = [len(predictor.predict([photo], top=top)[0].guesses) for top in (1, 2, 9)]  # type: ignore[union-attr]
    assert counts == [1, 2, 3]
    with pytest.raises(RequestError, match="top is 0"):
        predictor.predict([photo], top=0)


def test_folders_are_walked_for_the_command_line(predictor: Predictor, color_photos: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a photo")
    (tmp_path / "b.PNG").write_bytes((color_photos / "red" / "00.png").read_bytes())
    (tmp_path / "a.png").write_bytes(b"")
    named = tmp_path / "notes.txt"
    found = list(predictor.predict_files([tmp_path, named]))
    assert [path.name for path, _ in found] == ["a.png", "b.PNG", "notes.txt"]
    assert [isinstance(outcome, str) for _, outcome in found] == [True, False, True]


def test_a_bare_artefact_answers_as_its_bundle(predictor: Predictor, artefact: Path, color_photos: Path) -> None:
    alone = Predictor(artefact)
    photos = sorted(color_photos.rglob("1*.png"))
    assert alone.predict(photos) == predictor.predict(photos)
    assert alone.labels == predictor.labels == ("blue", "green", "red")
    assert alone.preprocess == predictor.preprocess
    assert (alone.export, predictor.export) == ("species", "int8")


def test_an_export_is_chosen_by_name(exported: Bundle, color_photos: Path, tmp_path: Path) -> None:
    home = exported.save(tmp_path / "all").home
    assert home is not None
    assert Predictor(home).export == "int8"
    floats = Predictor(home, export="float32")
    assert best(floats.predict([color_photos / "red" / "00.png"])[0]) == "red"
    with pytest.raises(RequestError, match="Did you mean 'float16'"):
        Predictor(home, export="float61")


def test_the_folder_of_a_run_means_its_bundle(quantized: Bundle, tmp_path: Path) -> None:
    quantized.save(tmp_path / "run" / "bundle")
    assert Predictor(tmp_path / "run").export == "int8"


def test_what_cannot_predict_is_refused(color_bundle: Bundle, artefact: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such bundle"):
        Predictor(tmp_path / "nothing")
    with pytest.raises(RequestError, match="no export"):
        Predictor(color_bundle.home)
    with pytest.raises(BundleError, match="not a bundle"):
        Predictor(tmp_path)
    with pytest.raises(RequestError, match="one artefact"):
        Predictor(artefact, export="int8")
    (tmp_path / "text.tflite").write_text("hello there, this is text")
    with pytest.raises(BundleError, match=r"no \.tflite file"):
        Predictor(tmp_path / "text.tflite")


@pytest.mark.parametrize(
    ("labels", "preprocess", "message"),
    [
        (None, None, r"carries no labels\.txt"),
        (b"a\nb\nc\n", None, r"carries no preprocess\.json"),
        (b"a\nb\n", b'{"width": 24, "height": 24}', "3 outputs, but carries 2 labels"),
        (b"\xff\n\n\n", b"{}", "not UTF-8"),
        (b"a\nb\nc\n", b'{"width": 48, "height": 24}', "24x24 pixels.*48x24"),
        (b"a\nb\nc\n", b'{"version": 2}', "preprocessing inside the artefact is unknown"),
        (b"a\nb\nc\n", b"\x00", "preprocessing inside the artefact is unknown"),
    ],
)
def test_an_artefact_without_its_papers_is_refused(
    artefact: Path, tmp_path: Path, labels: bytes | None, preprocess: bytes | None, message: str
) -> None:
    entries = {"labels.txt": labels, "preprocess.json": preprocess}
    metadata = {name: content for name, content in entries.items() if content is not None}
    path = tmp_path / "model.tflite"
    path.write_bytes(slim(artefact.read_bytes(), metadata))
    with pytest.raises(BundleError, match=message):
        Predictor(path)


def test_it_runs_without_any_framework(quantized: Bundle, color_photos: Path) -> None:
    script = (
        "import sys, json\n"
        "from featherlite import Predictor\n"
        f"(one,) = Predictor({str(quantized.home)!r}).predict([{str(color_photos / 'red' / '03.png')!r}])\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'torch', 'pyarrow', 'h5py', 'tflite_micro'} & set(sys.modules)\n"
        "print(json.dumps([one.guesses[0].label, sorted(heavy)]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["red", []]


def test_logits_are_those_of_the_runtime(predictor: Predictor) -> None:
    grey = np.full((2, 24, 24, 3), 128, np.uint8)
    logits = predictor.logits(grey)
    assert logits.shape == (2, 3)
    assert (logits[0] == logits[1]).all()
