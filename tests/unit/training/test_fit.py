"""The loop: what is trained, what is kept, what it notices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from featherlite.errors import DataError, RequestError, TrainingError
from featherlite.step import Context
from featherlite.training.fit import NONE_BETTER, FitConfig, FitResult, fit

from .conftest import PX, colored_photos, tiny_network

MakeContext = Callable[..., Context]
QUICK: dict[str, Any] = {"head_epochs": 0, "epochs": 2, "batch": 8, "rate": 0.02, "augment": 0.3}
TRAIN, VAL = colored_photos(24, 1), colored_photos(12, 2, "val")


def config(**options: Any) -> FitConfig:
    return FitConfig(**(QUICK | options))


def weights(network: Any, *layers: str) -> list[NDArray[Any]]:
    chosen = [network.get_layer(name) for name in layers] if layers else [network]
    return [w.numpy() for layer in chosen for w in layer.weights]


def same(first: list[NDArray[Any]], second: list[NDArray[Any]]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def top1(network: Any, photos: Any) -> float:
    from featherlite.models.logits import network_logits

    return float((network_logits(network, photos.images).argmax(axis=1) == photos.labels).mean())


def trained(
    context: MakeContext, network: Any = None, val: Any = VAL, **options: Any
) -> tuple[Any, FitResult, Context]:
    network, ctx = network or tiny_network(), context()
    return network, fit(network, TRAIN, val, config(**options), ctx), ctx


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Any]:
    """Makes networks that know the photos: top-1 above 0.8 in validation, and never a warning on the way."""
    root = tmp_path_factory.mktemp("learned")
    network, ctx = tiny_network(), Context(5, root, root / "resume", root)
    fit(network, TRAIN, VAL, config(epochs=12), ctx)
    assert top1(network, VAL) > 0.8
    assert "warnings" not in ctx.details
    values = weights(network)

    def make() -> Any:
        copy = tiny_network()
        copy.set_weights(values)
        return copy

    return make


def test_it_learns_and_tells_its_curve(context: MakeContext) -> None:
    network, result, ctx = trained(context, head_epochs=2, head_rate=0.02, epochs=12)
    assert top1(network, VAL) == result.val_top1
    assert result.val_top1 is not None
    assert result.val_top1 > 0.8
    assert [entry["epoch"] for entry in result.curve] == list(range(1, 15))
    assert [entry["phase"] for entry in result.curve] == ["head"] * 2 + ["all"] * 12
    keys = {"epoch", "phase", "loss", "train_top1", "val_loss", "val_top1", "rate", "seconds"}
    assert all(set(entry) == keys for entry in result.curve)
    assert result.curve[-1]["loss"] < result.curve[2]["loss"]
    assert ctx.details["curve"] == result.curve
    assert ctx.details["fit"]["best_epoch"] == result.best_epoch
    best = max(result.curve, key=lambda e: (e["val_top1"], -e["val_loss"]))
    assert best["epoch"] == result.best_epoch
    assert max(entry["rate"] for entry in result.curve[2:]) <= 0.02


def test_the_best_epoch_is_kept_even_if_it_is_none(context: MakeContext, learned: Callable[[], Any]) -> None:
    """Training towards wrong labels only harms: the network stays as it came."""
    network = learned()
    before = weights(network)
    wrong = replace(TRAIN, labels=(TRAIN.labels + 1) % 3)
    again = context(seed=6)
    result = fit(network, wrong, VAL, config(epochs=2), again)
    assert result.best_epoch == 0
    assert same(before, weights(network))
    assert "warnings" not in again.details, "after surgery this is no fault"
    result.warn(again)
    assert again.details["warnings"] == [NONE_BETTER]


def test_without_validation_the_last_epoch_is_kept(context: MakeContext) -> None:
    network, result, _ = trained(context, val=None)
    empty = replace(VAL, images=VAL.images[:0], labels=VAL.labels[:0], paths=())
    other, also, _ = trained(context, val=empty)
    assert result.best_epoch == also.best_epoch == 2
    assert result.val_top1 is None
    assert same(weights(network), weights(other))


@pytest.mark.parametrize("head_augment", [False, True])
def test_the_head_phase_leaves_the_backbone_alone(context: MakeContext, head_augment: bool) -> None:
    network = tiny_network()
    backbone, head = weights(network, "conv", "norm"), weights(network, "head_logits")
    trained(context, network, head_epochs=2, head_rate=0.02, epochs=0, head_augment=head_augment)
    assert same(backbone, weights(network, "conv", "norm"))  # BatchNorm's moving statistics too
    assert not same(head, weights(network, "head_logits"))
    assert all(layer.trainable for layer in network.layers)


def test_unlock_trains_only_the_last_backbone_layers(context: MakeContext) -> None:
    network = tiny_network()
    first, norm = weights(network, "conv"), weights(network, "norm")
    trained(context, network, unlock=1, val=None)
    assert same(first, weights(network, "conv"))
    assert not same(norm, weights(network, "norm"))


@pytest.mark.parametrize(("freeze", "batch", "frozen"), [(True, 8, True), ("auto", 8, False), ("auto", 4, True)])
def test_batchnorm_freezes_when_asked_or_when_batches_are_tiny(
    context: MakeContext, freeze: Any, batch: int, frozen: bool
) -> None:
    network = tiny_network()
    before = weights(network, "norm")
    trained(context, network, freeze_batchnorm=freeze, batch=batch, epochs=1, val=None)
    assert same(before, weights(network, "norm")) == frozen


def test_same_seed_same_weights_other_seed_other_weights(context: MakeContext) -> None:
    first, _, _ = trained(context, val=None, head_epochs=1)
    ctx = context()
    (ctx.resume / "fit.npz").unlink()  # from the beginning again, not from what is stored
    second = tiny_network()
    fit(second, TRAIN, None, config(head_epochs=1), ctx)
    third = tiny_network()
    fit(third, TRAIN, None, config(head_epochs=1), context(seed=6))
    assert same(weights(first), weights(second))
    assert not same(weights(first), weights(third))
    assert same([v.numpy() for v in first.variables], [v.numpy() for v in second.variables])  # dropout's state too


def test_averaged_weights_are_kept_and_training_goes_on_from_the_others(context: MakeContext) -> None:
    averaged, _, _ = trained(context, val=None, ema=0.999, weight_decay=0.0)
    start = tiny_network()
    moved = np.abs(weights(averaged, "head_logits")[0] - weights(start, "head_logits")[0]).max()
    assert 0 < moved < 0.002  # after 6 steps of at most 0.02, a thousandth of each


def test_averaged_weights_get_statistics_of_their_own(context: MakeContext) -> None:
    """The moving statistics belong to the weights of the steps; those kept must belong to the averages."""
    import keras

    from featherlite.preprocess import network_input

    network, _, _ = trained(context, val=None, ema=0.99, epochs=3)
    convolved = np.asarray(keras.Model(network.input, network.get_layer("conv").output)(network_input(TRAIN.images)))
    np.testing.assert_allclose(weights(network, "norm")[2], convolved.mean(axis=(0, 1, 2)), atol=1e-5)


def test_patience_stops_early(context: MakeContext, learned: Callable[[], Any]) -> None:
    result = fit(
        learned(), replace(TRAIN, labels=(TRAIN.labels + 1) % 3), VAL, config(epochs=30, patience=2), context()
    )
    assert result.stopped_early
    assert result.epochs == result.best_epoch + 2


def test_patience_without_validation_photos_is_said_to_do_nothing(context: MakeContext) -> None:
    said = {patience: trained(context, val=None, patience=patience)[2].details.get("warnings") for patience in (0, 1)}
    assert said[0] is None
    assert "patience does nothing" in said[1][0]


def test_stale_statistics_are_noticed_and_mended(context: MakeContext) -> None:
    network = tiny_network(momentum=0.9999)
    gamma, beta, mean, variance = weights(network, "norm")
    network.get_layer("norm").set_weights([gamma, beta, mean + 3, variance])  # statistics of other photos
    network, result, ctx = trained(context, network, epochs=12, ema="none")
    (warning,) = [w for w in ctx.details["warnings"] if "stale" in w]
    assert "momentum of 0.9" in warning
    assert top1(network, VAL) == result.val_top1
    assert result.val_top1 is not None
    assert result.val_top1 > 0.8


def test_reestimated_statistics_are_the_mean_over_batches() -> None:
    from featherlite.preprocess import network_input
    from featherlite.training.batchnorm import reestimate

    network = tiny_network()
    reestimate(network, TRAIN.images, np.arange(24), 8)
    import keras

    convolved = np.asarray(keras.Model(network.input, network.get_layer("conv").output)(network_input(TRAIN.images)))
    groups = convolved.reshape(3, -1, 8)
    mean, variance = weights(network, "norm")[2:]
    np.testing.assert_allclose(mean, groups.mean(axis=1).mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(variance, groups.var(axis=1).mean(axis=0), rtol=1e-3)
    assert network.get_layer("norm").momentum == 0.9


def test_statistics_are_those_of_prediction_and_the_same_compiled_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout before a BatchNorm must not get into its variance: in prediction there is none. Frozen ones stay."""
    import keras

    from featherlite.training import batchnorm

    def network() -> Any:
        keras.utils.set_random_seed(2)
        photo = keras.Input((PX, PX, 3))
        x = keras.layers.BatchNormalization(name="frozen")(keras.layers.Conv2D(4, 3)(photo))
        x = keras.layers.BatchNormalization(name="norm")(keras.layers.Dropout(0.5)(keras.layers.ReLU()(x)))
        x = keras.layers.BatchNormalization(name="last")(keras.layers.Conv2D(4, 3)(x))
        return keras.Model(photo, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))

    eager, compiled = network(), network()
    for one in (eager, compiled):
        one.get_layer("frozen").trainable = False
    batchnorm.reestimate(eager, TRAIN.images, np.arange(24), 12)
    monkeypatch.setattr(batchnorm, "FEW", 1)
    batchnorm.reestimate(compiled, TRAIN.images, np.arange(24), 12)
    for name in ("frozen", "norm", "last"):
        for one, other in zip(weights(eager, name), weights(compiled, name), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert same(weights(eager, "frozen"), weights(network(), "frozen"))
    given = keras.Model(eager.input, eager.get_layer("norm").input)  # in prediction, dropout passes everything on
    made = np.asarray(given((TRAIN.images.astype(np.float32) - 128) / 128, training=False)).reshape(2, -1, 4)
    np.testing.assert_allclose(weights(eager, "norm")[3], made.var(axis=1).mean(axis=0), rtol=1e-3)


def test_batches_larger_than_the_sample_are_cut_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from featherlite.training import batchnorm

    monkeypatch.setattr(batchnorm, "PHOTOS", 16)
    whole, cut = tiny_network(), tiny_network()
    batchnorm.reestimate(cut, TRAIN.images, np.arange(24), 20)
    batchnorm.reestimate(whole, TRAIN.images, np.arange(16), 16)
    assert weights(cut, "norm")[2].any()
    assert same(weights(cut, "norm"), weights(whole, "norm"))


def test_weights_that_are_no_numbers_are_told_without_validation_too(context: MakeContext) -> None:
    """One step whose loss is finite and whose gradient is not: there is no next batch that would tell."""
    import keras

    @keras.ops.custom_gradient
    def breaking(x: Any) -> Any:
        return keras.ops.convert_to_tensor(x), lambda *_, upstream=None: keras.ops.full_like(x, np.nan)

    inputs = keras.Input((PX, PX, 3))
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(inputs)
    x = keras.layers.Lambda(breaking)(keras.layers.Dense(3, name="head_logits")(x))
    network = keras.Model(inputs, x)
    before = weights(network)
    with pytest.raises(TrainingError, match="not a finite number at epoch 1"):
        trained(context, network, val=None, epochs=1, batch=24)
    assert same(weights(network), before)


def test_destroyed_weights_are_rescued_at_a_lower_rate(context: MakeContext, learned: Callable[[], Any]) -> None:
    network = learned()
    good = top1(network, VAL)
    ctx = context(seed=6)
    result = fit(network, TRAIN, VAL, config(epochs=5, rate=1.0, schedule="constant", warmup=0.0, clip_norm=0.0), ctx)
    destroyed = [w for w in ctx.details["warnings"] if "destroyed" in w]
    assert destroyed
    assert "rate times 0.2" in destroyed[0]
    assert ctx.details["fit"]["rescues"] == len(destroyed)
    rates = [entry["rate"] for entry in result.curve]
    assert rates[0] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.2 ** len(destroyed))
    assert top1(network, VAL) >= good


@pytest.mark.parametrize("options", [{}, {"accumulate": 2, "loss": "focal", "optimizer": "sgd", "schedule": "plateau"}])
def test_a_loss_that_is_no_number_stops_with_the_last_good_weights(
    context: MakeContext, options: dict[str, Any]
) -> None:
    import keras

    inputs = keras.Input((PX, PX, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    x = keras.layers.Dropout(0.9, seed=1)(keras.layers.Rescaling(3e38)(x))  # times 10 in training: more than float32
    tiny = keras.initializers.RandomNormal(stddev=1e-38, seed=1)
    network = keras.Model(inputs, keras.layers.Dense(3, kernel_initializer=tiny, name="head_logits")(x))
    before = weights(network)
    with pytest.raises(TrainingError, match=r"epoch 1, batch \d .*peak rate 0\.02") as error:
        fit(network, TRAIN, VAL, config(**options), context())
    assert "Lower rate" in error.value.hint
    assert same(before, weights(network))
    assert all(layer.trainable for layer in network.layers)


@pytest.mark.parametrize(
    ("photos", "message"),
    [
        (replace(TRAIN, images=TRAIN.images[:0], labels=TRAIN.labels[:0], paths=()), "no photos"),
        (replace(TRAIN, images=TRAIN.images[:, :8]), r"the network takes \(16, 16, 3\)"),
        (replace(TRAIN, classes=("a", "b")), "2 classes, the network answers 3"),
        (replace(TRAIN, labels=TRAIN.labels + 1), r"outside 0\.\.2"),
    ],
)
def test_photos_that_do_not_fit_are_refused(context: MakeContext, photos: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit(tiny_network(), photos, None, config(), context())


def test_one_photo_is_enough(context: MakeContext) -> None:
    one = replace(TRAIN, images=TRAIN.images[:1], labels=TRAIN.labels[:1], paths=TRAIN.paths[:1])
    result = fit(tiny_network(), one, None, config(epochs=1), context())
    assert np.isfinite(result.curve[0]["loss"])


def test_a_plateau_lowers_the_rate(context: MakeContext, learned: Callable[[], Any]) -> None:
    """Towards wrong labels every epoch only harms: the rate falls after each two, those of the warm-up not counted."""
    wrong = replace(TRAIN, labels=(TRAIN.labels + 1) % 3)
    keys = {
        "schedule": "plateau",
        "plateau_patience": 2,
        "plateau_factor": 0.5,
        "warmup": 0.2,
        "ema": "none",
        "freeze_batchnorm": True,
    }
    result = fit(learned(), wrong, VAL, config(epochs=10, rate=3e-3, **keys), context(seed=6))
    losses = [entry["val_loss"] for entry in result.curve]
    assert losses == sorted(losses)
    rates = [entry["rate"] for entry in result.curve]
    assert rates[0] < rates[1] < 3e-3
    # The third epoch is the first that counts, as the best: the fourth and fifth bring the first fall.
    falls = [0, 0, 0, 1, 1, 2, 2, 3]
    assert rates[2:] == pytest.approx([3e-3 / 2**fall for fall in falls])
    with pytest.raises(RequestError, match="no validation photos"):
        trained(context, val=None, schedule="plateau")


def test_a_rate_is_searched_for_once_and_kept(context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    import featherlite.training.find_rate as searching

    asked, find_rate = [], searching.find_rate

    def counted(*args: Any, **options: Any) -> Any:
        asked.append(options["phase"].name)
        return find_rate(*args, **options)

    monkeypatch.setattr(searching, "find_rate", counted)
    keys = {"rate": "auto", "schedule": "constant", "warmup": 0.0, "head_epochs": 1, "unlock_stages": 1}
    _, result, ctx = trained(context, val=None, **keys)
    found = ctx.details["found_rate"]
    assert 1e-6 <= found <= 1
    assert [entry["rate"] for entry in result.curve] == pytest.approx([0.003, found, found])
    assert asked == ["all"]
    _, again, ctx = trained(context, val=None, **keys)  # what is stored
    assert again == result
    assert ctx.details["found_rate"] == found
    assert asked == ["all"]


def test_where_results_cannot_repeat_it_says_so(context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    from featherlite.training.augment import geometry

    _, _, ctx = trained(context, val=None, epochs=1)
    assert "warnings" not in ctx.details
    monkeypatch.setattr(geometry, "on_accelerator", lambda: True)
    for _ in range(2):  # the second goes on from what the first stored
        _, _, ctx = trained(context, val=None, epochs=1, mixed_precision=False)
        (warning,) = ctx.details["warnings"]
        assert "On a CPU it repeats bit for bit" in warning


@pytest.mark.parametrize("accelerator", [False, True])
def test_low_precision_comes_by_itself_on_accelerators_alone(
    context: MakeContext, monkeypatch: pytest.MonkeyPatch, accelerator: bool
) -> None:
    """The backbone then computes in bfloat16; the head, and all that is stored, stays in float32."""
    from featherlite.training import trainee
    from featherlite.training.augment import geometry

    seen: list[dict[str, str]] = []
    network, set_precision = tiny_network(), trainee.set_precision

    def watched(lowered: Any, policy: str) -> None:
        set_precision(lowered, policy)
        seen.append({layer.name: layer.compute_dtype for layer in lowered.layers})
        assert {weight.dtype for weight in lowered.weights} == {"float32"}

    monkeypatch.setattr(trainee, "set_precision", watched)
    monkeypatch.setattr(geometry, "on_accelerator", lambda: accelerator)
    trained(context, network, val=None, epochs=1, mixed_precision="auto")
    assert len(seen) == accelerator
    for dtypes in seen:
        assert {dtypes[name] for name in ("conv", "norm", "relu")} == {"bfloat16"}
        assert dtypes["head_logits"] == "float32"
    assert {layer.compute_dtype for layer in network.layers} == {"float32"}


def test_new_statistics_after_each_epoch_compile_nothing_anew(
    context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    from featherlite.training import batchnorm

    traced, call = list[int](), batchnorm._Moments.call

    def counted(self: Any, inputs: Any) -> Any:
        traced.append(1)
        return call(self, inputs)

    monkeypatch.setattr(batchnorm._Moments, "call", counted)
    monkeypatch.setattr(batchnorm, "FEW", 1)
    keys = {"ema": 0.5, "batch": 8, "schedule": "constant", "warmup": 0.0}
    photos = colored_photos(80, 1)
    counts = []
    for epochs in (1, 4):
        traced.clear()
        fit(tiny_network(), photos, VAL, config(epochs=epochs, **keys), context(seed=epochs))
        counts.append(len(traced))
    assert counts[0] == counts[1] > 0


def test_epochs_and_falling_rates_compile_nothing_anew(context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled step calls the layers' Python once, while it is traced."""
    from featherlite.training.augment.layer import Augment

    traced, call = list[int](), Augment.call

    def counted(self: Any, inputs: Any) -> Any:
        traced.append(1)
        return call(self, inputs)

    monkeypatch.setattr(Augment, "call", counted)
    keys = {"schedule": "plateau", "plateau_patience": 1, "warmup": 0.0, "rate": 0.5, "ema": "none"}
    trained(context, epochs=1, **keys)
    once = len(traced)
    _, result, _ = trained(context, epochs=6, **keys)
    assert len({entry["rate"] for entry in result.curve}) > 1
    assert len(traced) == 2 * once > 0


def test_progress_counts_every_step(context: MakeContext) -> None:
    from .test_killed import Counter

    counter = Counter()
    fit(tiny_network(), TRAIN, VAL, config(head_epochs=1, epochs=2), context(progress=counter))
    assert counter.totals == [3, 6]  # 24 photos in batches of 8
    assert counter.steps == 9
    fit(tiny_network(), TRAIN, VAL, config(epochs=2, batch=4, accumulate=2), context(progress=counter))
    assert counter.totals[2:] == [12]
    assert "validation" in counter.note
