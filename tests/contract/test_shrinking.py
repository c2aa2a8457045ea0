"""What every step that changes a network promises, on each kind of graph: it still is one, and the same each time."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featherlite.bundle import Bundle
from featherlite.run import run_step
from featherlite.step import steps

SHRINKING = sorted(name for name, entry in steps().items() if entry.room == "shrink")
SHORT: dict[str, Any] = {"epochs": 0, "stages": 1, "batch": 8, "max_drop": 1.0}
"""Nothing is given back, and nothing trained: what training does is seen to where each step is tested, and below."""
QUICK: dict[str, dict[str, Any]] = {
    "bottleneck_dense": SHORT | {"changed_epochs": 0, "units": 4},
    "cut_tail": SHORT,
    "decimate_dense": SHORT | {"changed_epochs": 0, "max_steps": 1},
    "fold": {},
    "grow_back": {"epochs": 0},
    "grow_outputs": SHORT | {"changed_epochs": 0, "photos": "more"},
    "prune_channels": SHORT | {"rounds": 1, "criterion": "magnitude"},
    "prune_outputs": {"epochs": 0, "changed_epochs": 0},
    "remove_blocks": SHORT | {"count": 1, "order": "end_first"},
    "resize_input": {"epochs": 0, "max_drop": 1.0, "sizes": [48]},
    "shrink_dense": SHORT | {"changed_epochs": 0},
    "swap_activation": SHORT | {"order": "all_at_once", "final_epochs": 0},
}
DENSE = {"bottleneck_dense", "decimate_dense", "shrink_dense"}
"""What these work on, a plain head does not have."""
GRAPHS = {
    "feathernet": {"backbone": "feathernet", "width": 0.5},
    "ResNet18": {"backbone": "ResNet18"},
    "MobileNetV2": {"backbone": "MobileNetV2", "width": 0.35},
    "EfficientNetB0": {"backbone": "EfficientNetB0"},
}
OF_GRAPH: dict[tuple[str, str], dict[str, Any]] = {
    ("cut_tail", "ResNet18"): {"blocks": 1},
    ("swap_activation", "feathernet"): {"target": "relu"},
    ("swap_activation", "MobileNetV2"): {"target": "hard_swish"},
}
"""What a step must be told on this graph: a ResNet's last map is a sum, so no convolution can be narrowed alone; and
where all activations are ReLU6 already, another one has to come."""


def test_every_shrinking_step_is_walked() -> None:
    assert set(QUICK) == set(SHRINKING)


@pytest.fixture(scope="module")
def built(sample_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Bundle]:
    """An untrained bundle of that graph, 32 px, with hidden dense layers in its head or without."""
    parted, _ = run_step("split", None, None, {"val": 0.25}, data=sample_photos, cache=cache_folder())

    @cache
    def make(graph: str, dense: bool) -> Bundle:
        settings = GRAPHS[graph] | {"input_px": 32} | ({"head": "dense", "head_units": [16]} if dense else {})
        place = tmp_path_factory.mktemp("built")
        bundle = run_step("build", parted, place / "bundle", settings, data=sample_photos, cache=cache_folder())[0]
        living = awake(bundle, sample_photos).save(place / "awake")
        living.remember(data=str(sample_photos))
        return living

    return make


def awake(bundle: Bundle, photos: Path) -> Bundle:
    """The bundle with BatchNorm's statistics measured: behind fifty untrained layers nothing of a photo is left."""
    from PIL import Image

    from featherlite.models.network import load_network, network_bytes
    from featherlite.training.batchnorm import reestimate

    network, size = load_network(bundle), (bundle.preprocess.width, bundle.preprocess.height)
    shown = np.stack([np.asarray(Image.open(file).resize(size)) for file in sorted(photos.rglob("*.jpg"))])
    reestimate(network, shown, np.arange(len(shown)), batch=len(shown))
    return bundle.with_network(network_bytes(network))


@pytest.fixture(autouse=True)
def _tidied() -> Iterator[None]:
    """Some networks a test, of up to four million parameters, which refer to themselves: ten tests would take 10 GB."""
    yield
    gc.collect()


def cache_folder() -> Path:
    return Path(os.environ["FEATHERLITE_CACHE"])


def shrunk(name: str, bundle: Bundle, folder: Path, **options: Any) -> Bundle:
    settings = QUICK[name] | options
    if name == "prune_outputs":
        settings["drop"] = [bundle.labels[0].name]
    if name == "grow_outputs":
        settings["photos"] = str(more_photos(folder))
    return walked(name, bundle, bundle, **settings)


def more_photos(folder: Path) -> Path:
    """Eight photos of a class that no bundle here knows."""
    from PIL import Image

    place = folder / "more" / "gray"
    place.mkdir(parents=True, exist_ok=True)
    for number in range(8):
        pixels = np.random.default_rng(number).integers(90, 160, (40, 40, 1), dtype=np.uint8)
        Image.fromarray(np.repeat(pixels, 3, axis=2)).save(place / f"{number}.png")
    return folder / "more"


def cases() -> list[Any]:
    return [
        pytest.param(name, graph, marks=() if graph == "feathernet" else pytest.mark.slow)
        for name in SHRINKING
        for graph in GRAPHS
    ]


@pytest.mark.parametrize(("name", "graph"), cases())
def test_what_comes_out_is_a_network_of_the_bundle(
    name: str, graph: str, built: Callable[[str, bool], Bundle], tmp_path: Path
) -> None:
    from featherlite.models.logits import network_logits
    from featherlite.models.network import load_network

    bundle = built(graph, name in DENSE)
    given = {file: bundle.read(file) for file in bundle.files}
    chosen = OF_GRAPH.get((name, graph), {})
    result = shrunk(name, bundle, tmp_path, **chosen)
    assert {file: bundle.read(file) for file in bundle.files} == given, "a bundle is never changed in place"
    network, size = load_network(result), result.preprocess
    assert network.input_shape == (None, size.height, size.width, 3), "the contract says what the network takes"
    assert network.output_shape == (None, len(result.labels)), "a class has an output"
    came = [label.name for label in bundle.labels]
    wanted = {"prune_outputs": came[1:], "grow_outputs": [*came, "gray"]}
    assert [label.name for label in result.labels] == wanted.get(name, came), "labels keep their order"
    assert result.read("model.keras") != given["model.keras"], "something was done"
    assert network.layers[0].name == "photo"
    photos = np.random.default_rng(0).integers(0, 256, (2, size.height, size.width, 3), dtype=np.uint8)
    logits = network_logits(network, photos)
    assert np.isfinite(logits).all()
    result.save(tmp_path / "saved")
    reopened = Bundle.open(tmp_path / "saved")
    np.testing.assert_array_equal(network_logits(load_network(reopened), photos), logits)
    again = shrunk(name, bundle, tmp_path, **chosen)
    assert again.read("model.keras") == result.read("model.keras"), "the same seed gives the same network"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "graph"), [(name, graph) for name in SHRINKING for graph in GRAPHS])
def test_what_was_shrunk_still_exports(
    name: str, graph: str, built: Callable[[str, bool], Bundle], tmp_path: Path
) -> None:
    bundle = built(graph, name in DENSE)
    trained: dict[str, Any] = {} if name == "fold" else {"epochs": 1, "batch": 8}
    trained |= OF_GRAPH.get((name, graph), {})
    result, again = (shrunk(name, bundle, tmp_path, **trained) for _ in range(2))
    assert again.read("model.keras") == result.read("model.keras"), "trained too"
    computes_each_layer(quantized(result, bundle, photos=30, correct=False), bundle, tmp_path)


ON_EACH_GRAPH = [pytest.param(graph, marks=() if graph == "feathernet" else pytest.mark.slow) for graph in GRAPHS]


@pytest.mark.parametrize("graph", ON_EACH_GRAPH)
def test_an_artefact_of_a_network_regularized_for_int8(
    graph: str, built: Callable[[str, bool], Bundle], tmp_path: Path
) -> None:
    bundle = built(graph, False)
    course = {"head_epochs": 0, "epochs": 4, "batch": 8, "patience": 0, "cosine": "absolute"}
    trained, again = (walked("train", bundle, bundle, **course) for _ in range(2))
    assert again.read("model.keras") == trained.read("model.keras")
    assert trained.read("model.keras") != bundle.read("model.keras"), "something was learned"
    made, again = quantized(trained, bundle), quantized(trained, bundle)
    assert made.labels == bundle.labels
    assert made.read("model.keras") == trained.read("model.keras"), "the float network goes on"
    made.save(tmp_path / "saved")
    for other in (again, Bundle.open(tmp_path / "saved")):
        assert other.read("exports/int8/model.tflite") == made.read("exports/int8/model.tflite")


@pytest.mark.slow
@pytest.mark.parametrize("graph", GRAPHS)
def test_what_was_trained_for_int8_is_what_litert_computes(
    graph: str, built: Callable[[str, bool], Bundle], tmp_path: Path
) -> None:
    bundle = built(graph, False)
    # Untrained, a MobileNetV2 answers 0 to eleven places.
    course = {"head_epochs": 0, "epochs": 1, "batch": 8}
    begun = walked("train", bundle, bundle, **course)
    trained, again = (walked("quantize_aware", begun, bundle, **course | {"photos": 6}) for _ in range(2))
    for file in ("model.keras", "quantization.json"):
        assert again.read(file) == trained.read(file)
    assert trained.labels == bundle.labels
    made = quantized(trained, bundle)
    follows(made, bundle)
    for package, file in (("c_array", "c-array/model_data.h"), ("edge_impulse", "edge-impulse/upload.tflite")):
        made = walked(package, made, bundle)
        assert f"exports/{file}" in made.packed
    made.save(tmp_path / "saved")
    follows(Bundle.open(tmp_path / "saved"), bundle)


def walked(name: str, bundle: Bundle, source: Bundle, **settings: Any) -> Bundle:
    """The bundle behind that step, on the photos of `source`, which lies in a folder."""
    data = Path(source.local()["data"])
    return run_step(name, bundle, None, settings, seed=3, cache=cache_folder(), data=data)[0]


def quantized(result: Bundle, source: Bundle, **settings: Any) -> Bundle:
    return walked("quantize", result, source, **{"photos": 6} | settings)


def computes_each_layer(exported: Bundle, source: Bundle, scratch: Path) -> None:
    """Holds each layer of the int8 artefact against the network's, given what the artefact's own layers before put out.

    The logits would tell little: behind fifty layers of hardly any training rounding alone leaves a correlation of 0.4.
    """
    from featherlite.data.photos import load_photos
    from featherlite.quantize.error_report import error_report
    from featherlite.step import Context

    ctx = Context(0, scratch, scratch, cache_folder(), Path(source.local()["data"]))
    found = error_report(exported, "int8", load_photos(exported, "train", ctx))
    assert len(found.layers) > 10
    # Ranges were measured in float, and what noise carries beyond them is cut off: that is no fault of the graph.
    without = {one.layer: one.own_snr_db - 10 * np.log10(max(one.rounding + one.kernel, 1e-9)) for one in found.layers}
    logits = without.pop(found.layers[-1].layer)
    assert logits > 5, "an untrained head's sums may all but cancel; those of another layer would be at 0 or less"
    worst = min(without, key=without.__getitem__)
    assert without[worst] > 20, (worst, without[worst])


def follows(exported: Bundle, source: Bundle) -> None:
    """Holds the int8 artefact's logits against the network that it was trained to be: rounded."""
    from PIL import Image

    from featherlite.models.logits import network_logits
    from featherlite.models.network import load_network
    from featherlite.quantize.scheme import read_scheme
    from featherlite.quantize.simulation import fake_quantized
    from featherlite.runtime.interpreter import open_runtime

    size = exported.preprocess
    files = sorted(Path(source.local()["data"]).rglob("*.jpg"))
    photos = np.stack([np.asarray(Image.open(file).resize((size.width, size.height))) for file in files])
    answers = open_runtime("litert_reference", exported.read("exports/int8/model.tflite")).run(photos)
    scheme = read_scheme(exported)
    assert scheme is not None
    logits = network_logits(fake_quantized(load_network(exported), scheme), photos)
    assert np.corrcoef(answers.ravel(), logits.ravel())[0, 1] > 0.98
