from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from featherlite.comparison import Comparison
from featherlite.evaluate.answers import answers_of, write_answers
from featherlite.evaluate.cost.latency import Timed, Timings
from featherlite.evaluate.significance import mcnemar
from featherlite.history import wilson
from featherlite.study.plan import Study, parse_study
from featherlite.study.result import Failure, Result
from featherlite.study.sheet import difference, sheet_of
from featherlite.study.tally import Surroundings, artefact_name, tally

from .conftest import document, made_answers, made_figures


def right(hits: int, n: int = 40) -> list[bool]:
    """The first `hits` photos right."""
    return [number < hits for number in range(n)]


def done(network: list[bool], int8: list[bool] | None = None, first: int = 0, **figures: Any) -> tuple[Result, bytes]:
    answers = made_answers(network, int8, first)
    return Result(key="k", status="done", figures=made_figures(answers, **figures)), answers


def failed(message: str) -> tuple[Result, bytes]:
    return Result(key="k", status="failed", failure=Failure(type="X", message=message, hint="Do better.")), b""


def compared(study: Study, timings: Timings | None = None, **found: Any) -> Comparison:
    names = {"small": "feathernet", "mobile": "MobileNetV1", "frozen": "V2 frozen"}
    results = {names[key]: value for key, value in found.items()}
    return tally(study, results, Surroundings({"cores": 2}, timings or Timings(), "featherlite compare x"))


def test_rows_are_ranked_and_neighbours_tested(study: Study) -> None:
    comparison = compared(
        study,
        small={(0, 0): done(right(20), right(20))},
        mobile={(0, 0): done(right(36), right(36))},
        frozen={(0, 0): done(right(34), right(34))},
    )
    assert [row.name for row in comparison.rows] == ["MobileNetV1", "V2 frozen", "feathernet"]
    assert comparison.rows[0].top1 == wilson(36, 40, "test")
    near, far = comparison.pairs
    assert (near.better, near.worse, near.only_better, near.only_worse, near.n) == (
        "MobileNetV1",
        "V2 frozen",
        2,
        0,
        40,
    )
    assert near.p_value == mcnemar(2, 0)
    assert not near.significant
    assert far.p_value == 2 * mcnemar(14, 0)  # the smaller of two, after Holm
    assert far.significant
    assert [row.tied for row in comparison.rows] == [True, True, False]
    assert [row.p_best for row in comparison.rows] == [1.0, mcnemar(2, 0), mcnemar(16, 0)]  # each for itself
    assert (comparison.n, comparison.split, comparison.classes) == (40, "test", 3)


def test_top5_and_macro_f1_by_hand(study: Study) -> None:
    """Twelve photos of six classes. Class 0 is always ranked last, so never among five; class 1 always answered 2.

    F1: class 0 and 1 have none right, class 2 has precision 2/4 and recall 1, so 2/3; classes 3 to 5 are perfect. Class
    0's photos are answered with 5, whose precision is 2/4 too: 2/3.
    """
    names = tuple("abcdef")
    labels = np.repeat(np.arange(6), 2)
    logits = np.eye(6, dtype=np.float32)[labels] * 4 + np.arange(6, dtype=np.float32) / 10
    logits[labels == 0] = np.arange(6)
    logits[labels == 1, 2] = 9
    paths = [f"{number:02d}.jpg" for number in range(12)]
    answers = write_answers({"network": answers_of(logits, labels, names, paths)})
    result = Result(key="k", status="done", figures=made_figures(answers, classes=6))
    (row,) = compared(study, small={(0, 0): (result, answers)}).rows[:1]
    assert row.top1 is not None
    assert row.top5 is not None
    assert row.macro_f1 is not None
    assert row.top1.value == pytest.approx(8 / 12)
    assert row.top5.value == pytest.approx(10 / 12)
    assert row.macro_f1.value == pytest.approx((0 + 0 + 2 / 3 + 1 + 1 + 2 / 3) / 6)


def test_a_failed_row_says_why_and_stands_last(study: Study) -> None:
    comparison = compared(study, small={(0, 0): failed("No memory.")}, mobile={(0, 0): done(right(9), right(9))})
    assert [(row.name, row.status) for row in comparison.rows] == [("MobileNetV1", "done"), ("feathernet", "failed")]
    assert comparison.rows[1].error == "No memory. Do better."
    assert comparison.recommended == "MobileNetV1"
    assert compared(study, small={(0, 0): failed("No memory.")}).recommended is None


def test_seeds_are_pooled() -> None:
    study = parse_study(document(), "x", seeds=[0, 7])
    comparison = compared(
        study,
        small={
            (0, 0): done(right(20), right(20), train_seconds=2.0),
            (7, 0): done(right(30), right(30), train_seconds=4),
        },
        mobile={(0, 0): done(right(40), right(40)), (7, 0): done(right(32), right(32))},
    )
    row = comparison.row("feathernet")
    assert row is not None
    assert row.top1 is not None
    assert (row.top1.value, row.top1.n) == (0.625, 40)
    assert row.top1.high - row.top1.low > wilson(25, 40).high - wilson(25, 40).low
    assert [(one.seed, one.top1.value) for one in row.per_seed] == [(0, 0.5), (7, 0.75)]
    assert row.train_seconds == 3.0
    (pair,) = comparison.pairs
    assert (pair.only_better, pair.only_worse, pair.n) == (22, 0, 40)
    assert not pair.significant  # each network's seeds differ by nearly as much as the two networks
    assert [one.tied for one in comparison.rows] == [True, True]
    assert "over the seeds" in comparison.interval


def test_a_seed_that_failed_is_left_out_and_told() -> None:
    study = parse_study(document(), "x", seeds=[0, 7, 8])
    found = {(0, 0): done(right(20), train_seconds=2.0), (7, 0): failed("Boom."), (8, 0): done(right(30))}
    (row,) = compared(study, small=found).rows
    assert (row.status, row.seeds, row.failed_seeds) == ("done", (0, 8), (7,))
    assert row.notes == ("Not in the figures: seed 7: Boom. Do better.",)
    assert row.top1 is not None
    assert row.top1.value == 0.625
    (row,) = compared(study, small={(0, 0): failed("Boom."), (7, 0): failed("Bang.")}).rows
    assert (row.status, row.error) == ("failed", "seed 0: Boom. Do better.")


def test_a_fold_that_failed_takes_its_seed_with_it_and_no_other() -> None:
    study = parse_study(document(), "x", seeds=[0, 7], folds=2)
    whole = {(0, 0): done(right(15, 20), train_seconds=2.0), (0, 1): done(right(5, 20), first=20, train_seconds=3.0)}
    cut = {(7, 0): done(right(15, 20), train_seconds=99.0), (7, 1): failed("Boom.")}
    (row,) = compared(study, small=whole | cut).rows
    assert (row.seeds, row.train_seconds) == ((0,), 5.0)
    assert row.notes == ("Not in the figures: seed 7, fold 1: Boom. Do better.",)


def test_rows_without_a_seed_in_common_are_not_told_apart() -> None:
    study = parse_study(document(), "x", seeds=[0, 7])
    small = {(0, 0): done(right(39)), (7, 0): failed("Boom.")}
    comparison = compared(study, small=small, mobile={(0, 0): failed("Boom."), (7, 0): done(right(20))})
    assert not comparison.pairs[0].significant


def test_a_stopped_study_has_the_seeds_that_are_whole() -> None:
    study = parse_study(document(), "x", seeds=[0, 7])
    comparison = compared(
        study, small={(0, 0): done(right(20)), (7, 0): done(right(30))}, mobile={(0, 0): done(right(24))}
    )
    assert [(row.name, row.seeds) for row in comparison.rows] == [("feathernet", (0, 7)), ("MobileNetV1", (0,))]
    assert comparison.pairs[0].only_worse == 4  # over the seed that both have


def test_folds_judge_every_photo_once() -> None:
    study = parse_study(document(), "x", folds=2)
    found = {(0, 0): done(right(15, 20), train_seconds=2.0), (0, 1): done(right(5, 20), first=20, train_seconds=3.0)}
    comparison = compared(study, small=found)
    (row,) = comparison.rows
    assert row.top1 is not None
    assert (row.top1.n, row.top1.value, row.train_seconds) == (40, 0.5, 5.0)
    assert comparison.split == "folds"
    assert compared(study, small={(0, 0): found[0, 0]}).rows == ()
    twice = compared(study, small={(0, 0): found[0, 0], (0, 1): found[0, 0]})
    assert "Two folds tested the same photo" in twice.rows[0].error


def test_int8_ships_unless_it_is_significantly_worse(study: Study) -> None:
    comparison = compared(
        study,
        small={(0, 0): done(right(36), right(10))},
        mobile={(0, 0): done(right(30), right(28))},
        frozen={(0, 0): done(right(20))},
    )
    ships = {row.name: row.ships for row in comparison.rows}
    assert ships == {"feathernet": "float32", "MobileNetV1": "int8", "V2 frozen": "float32"}
    assert comparison.row("V2 frozen").int8_top1 is None  # type: ignore[union-attr]
    assert comparison.row("feathernet").int8_top1.value == 0.25  # type: ignore[union-attr]


def test_the_recommendation_judges_what_ships(study: Study) -> None:
    """The best float network loses all of it in int8; its float32 file is four times the other's int8 one."""
    timed = {
        artefact_name(name, precision): tuple(Timed(threads, ms, ms, 9, 77, 0.5) for threads in (1, 2))
        for name, precision, ms in (
            ("feathernet", "float32", 4.0),
            ("feathernet", "int8", 1.0),
            ("MobileNetV1", "float32", 4.0),
            ("MobileNetV1", "int8", 1.0),
        )
    }
    comparison = compared(
        study,
        Timings(timed, load=1.5),
        small={(0, 0): done(right(36), right(10))},
        mobile={(0, 0): done(right(35), right(35))},
    )
    assert comparison.recommended == "MobileNetV1"
    assert comparison.reason == (
        "MobileNetV1 in int8: 2.5 points below feathernet in float32 (not significant, p = 1), at 28% of its size and "
        "a quarter of its time. n = 40 photos cannot tell such a difference; more test photos would."
    )
    row = comparison.row("feathernet")
    assert row is not None
    assert row.latency_of("float32", 2) is not None
    assert row.peak_memory_bytes == {"float32": 77, "int8": 77}
    assert row.energy_mj == 0.5
    assert comparison.machine["load_when_timed"] == 1.5


def test_too_few_photos_make_no_network_good(study: Study) -> None:
    """37 photos, 13.5 points less, a quarter of the size: not significantly worse, and yet not the one to ship."""
    comparison = compared(
        study, small={(0, 0): done(right(35, 37))}, mobile={(0, 0): done(right(30, 37), right(30, 37))}
    )
    row = comparison.row("MobileNetV1")
    assert row is not None
    assert row.tied
    assert comparison.recommended == "feathernet"
    assert "(not significant, p = 0.062)" in comparison.reason
    assert "n = 37 photos cannot tell such a difference; more test photos would." in comparison.reason


def test_what_could_not_be_timed_is_noted(study: Study) -> None:
    timings = Timings({}, {artefact_name("feathernet", "int8"): "LiteRT refuses it."})
    comparison = compared(study, timings, small={(0, 0): done(right(9), right(9), notes=("No luck.",))})
    assert comparison.rows[0].notes == ("No luck.", "Not timed in int8: LiteRT refuses it.")


def test_weights_that_could_not_be_had_are_not_claimed() -> None:
    made = document()
    made["networks"][2]["set"]["build.weights"] = "imagenet"
    study = parse_study(made, "x")
    assert compared(study, frozen={(0, 0): done(right(9))}).rows[0].weights == "imagenet"
    assert compared(study, frozen={(0, 0): done(right(9), from_scratch=True)}).rows[0].weights == "none"


def test_sheets_are_compared_on_the_photos_they_share() -> None:
    def sheet(hits: list[bool], first: int) -> Any:
        from featherlite.evaluate.answers import read_answers

        return sheet_of({0: [read_answers(made_answers(hits, first=first), "x")["network"]]})

    differences, won, lost = difference(sheet([True] * 6, 0), sheet([True, False, False, False], 3))
    assert (differences.tolist(), won, lost) == ([0, 1, 1], 2, 0)
    assert isinstance(differences, np.ndarray)


def test_seeds_on_different_photos_are_refused() -> None:
    study = parse_study(document(), "x", seeds=[0, 7])
    comparison = compared(study, small={(0, 0): done(right(20)), (7, 0): done(right(20), first=1)})
    assert "different photos" in comparison.rows[0].error


def test_the_comparison_survives_json(study: Study) -> None:
    comparison = compared(study, small={(0, 0): done(right(20), right(20))})
    assert Comparison.model_validate_json(comparison.model_dump_json()) == comparison


@pytest.mark.parametrize("hits", [0, 40])
def test_none_and_all_right(hits: int, study: Study) -> None:
    comparison = compared(study, small={(0, 0): done(right(hits), right(hits))})
    assert comparison.rows[0].top1 == wilson(hits, 40, "test")
