"""What every head promises, with every pooling and attention: it trains, is stored, and answers in int8 as before."""

from __future__ import annotations

import importlib.util
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from featherlite.bundle import Bundle, Label
from featherlite.errors import ExportError
from featherlite.models.attention import ATTENTIONS
from featherlite.models.heads import HeadOrder, heads, without_tflm
from featherlite.models.pooling import POOLS
from featherlite.step import Context

pytest.importorskip("keras")
pytest.importorskip("tensorflow")

PX = 32
ALL = sorted(product(heads(), POOLS, ATTENTIONS))
QUICK = [("cosine", "average", "none"), ("dense", "gem", "spatial")]
"""Each head but the plain one, each pooling and each attention once."""


@pytest.mark.parametrize(
    ("head", "pool", "attention"),
    [pytest.param(*one, marks=() if one in QUICK else pytest.mark.slow, id="-".join(one)) for one in ALL],
)
def test_a_head_walks_the_whole_road(head: str, pool: str, attention: str, sample_photos: Path, tmp_path: Path) -> None:
    from featherlite.data.photos import PhotoSet
    from featherlite.models.build import BuildConfig, build
    from featherlite.models.convert import convert
    from featherlite.models.logits import network_logits
    from featherlite.models.network import load_network, network_bytes
    from featherlite.preprocess import Preprocess
    from featherlite.runtime.interpreter import open_runtime
    from featherlite.training.fit import FitConfig, fit

    files = sorted(sample_photos.glob("*/*.jpg"))
    names = tuple(sorted({file.parent.name for file in files}))
    images = np.stack([Preprocess(width=PX, height=PX)(file) for file in files])
    labels = np.array([names.index(file.parent.name) for file in files])
    photos = PhotoSet(images, labels, tuple(str(file) for file in files), names, "train")
    ctx = Context(3, tmp_path, tmp_path / "resume", tmp_path)

    bundle = Bundle().with_labels(tuple(Label(name=name) for name in names))
    config = BuildConfig(head=head, pool=pool, attention=attention, input_px=PX, width=0.5, depth=0.3)
    network = load_network(build(bundle, config, ctx))
    before = {weight.path: np.asarray(weight) for weight in network.trainable_variables}
    head_epochs = 0 if (head, pool, attention) in QUICK else 1  # a phase of its own, compiled anew
    course = FitConfig(
        head_epochs=head_epochs, epochs=1, batch=21, rotate_deg=0, schedule="constant", warmup=0, ema=0.5
    )
    fit(network, photos, None, course, ctx)
    still = [weight.path for weight in network.trainable_variables if np.array_equal(before[weight.path], weight)]
    assert not still, "every weight of the head learns"
    if head == "cosine":
        lengths = np.linalg.norm(np.asarray(network.get_layer("head_logits").kernel), axis=0)
        np.testing.assert_allclose(lengths, 1, atol=1e-5)

    (tmp_path / "model.keras").write_bytes(network_bytes(network))
    trained = load_network(bundle.with_network(tmp_path / "model.keras"))
    logits = network_logits(network, images)
    np.testing.assert_array_equal(network_logits(trained, images), logits)

    convert(tmp_path / "model.keras", tmp_path / "model.tflite", "int8", images)
    answers = open_runtime("litert_reference", tmp_path / "model.tflite").run(images)
    assert np.abs(answers - logits).max() < 0.12 * np.ptp(logits)
    assert np.abs(answers - logits).mean() < 0.03 * np.ptp(logits)
    if importlib.util.find_spec("tflite_micro") is None:
        return
    device = open_runtime("tflm", tmp_path / "model.tflite")
    if missing := without_tflm(HeadOrder(head, pool, attention)):
        with pytest.raises(ExportError, match=f"Node {missing[0]} "):
            device.run(images[:1])
    else:
        step = device.facts.output.scale or 0
        assert np.abs(device.run(images[:8]) - answers[:8]).max() <= 1.01 * step
