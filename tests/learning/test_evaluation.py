"""Figures against their definitions, intervals that cover, and verdicts that say what they say."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import log_loss, matthews_corrcoef

from learning.bootstrap import Bootstrap, Interval, block_length, intervals, resampled_counts
from learning.bundle import Bundle
from learning.evaluation import evaluate
from learning.models import model_of, train
from learning.training_set import TrainingSet
from market.errors import LearningError, NotEnoughDataError

PastAndFuture = Callable[..., tuple[TrainingSet, TrainingSet]]
Judged = tuple[Bundle, Bundle, TrainingSet]


@pytest.fixture(scope="module")
def judged(past_and_future: PastAndFuture) -> Judged:
    past, future = past_and_future(900, 700, seed=3, signal=0.3)
    return train(model_of("first_passage"), past), train(model_of("xgboost"), past), future


def test_figures_are_those_of_their_definitions(judged: Judged) -> None:
    baseline, trees, rows = judged
    found = evaluate(trees, rows, references={"first_passage": baseline})
    made = trees.predict(rows.columns(trees.features))
    other = baseline.predict(rows.columns(baseline.features))
    p, truth = made.probabilities, rows.y[:, None] == np.array([-1, 0, 1])
    value = {name: interval.value for name, interval in found.metrics.items()}
    assert value["log_loss"] == pytest.approx(log_loss(rows.y, p))
    assert value["brier"] == pytest.approx(((p - truth) ** 2).sum(axis=1).mean())
    assert value["mcc"] == pytest.approx(matthews_corrcoef(rows.y, p.argmax(axis=1) - 1))
    assert value["coverage"] == pytest.approx((made.sets & truth).any(axis=1).mean())
    assert value["set_size"] == pytest.approx(made.sets.sum(axis=1).mean())
    bins = (p.max(axis=1) * 10).astype(int)
    right = p.argmax(axis=1) - 1 == rows.y
    ece = sum(abs((p.max(axis=1) - right)[bins == b].sum()) for b in range(11)) / len(rows)
    assert value["ece"] == pytest.approx(ece)
    difference = log_loss(rows.y, p) - log_loss(rows.y, other.probabilities)
    assert found.against["first_passage"].value == pytest.approx(difference)
    assert found.against["prior"].value == pytest.approx(
        log_loss(rows.y, p) - log_loss(rows.y, np.tile(trees.prior, (len(rows), 1)))
    )


def test_months_and_instruments_add_up_to_the_whole(judged: Judged) -> None:
    _, trees, rows = judged
    split = replace(rows, instrument=np.where(rows.t_c // 10**6 % 2 == 0, "A", "B"))
    split = replace(split, instrument=np.where(np.arange(len(rows)) % 3 == 0, "A", "B"))
    found = evaluate(trees, split, references={})
    for parts in (found.months, found.instruments):
        assert len(parts) > 1
    weight = {"A": np.mean(split.instrument == "A"), "B": np.mean(split.instrument == "B")}
    total = sum(weight[k] * v["log_loss"].value for k, v in found.instruments.items())
    assert total == pytest.approx(found.metrics["log_loss"].value)
    assert sum(b.rows for b in found.reliability) == 3 * len(rows)


def test_an_evaluation_is_plain_data_and_the_same_again(judged: Judged) -> None:
    baseline, trees, rows = judged
    one = evaluate(trees, rows, references={"first_passage": baseline})
    two = evaluate(trees, rows, references={"first_passage": baseline})
    assert json.dumps(one.to_dict()) == json.dumps(two.to_dict())
    flat = one.flat_metrics()
    assert flat["log_loss_against_first_passage_high"] < 0
    assert flat["judged_rows"] == len(rows)


def test_rows_before_a_cutoff_are_not_judged(
    judged: Judged, past_and_future: PastAndFuture
) -> None:
    baseline, trees, rows = judged
    past, _ = past_and_future(900, 700, seed=3, signal=0.3)
    with pytest.raises(LearningError, match="cutoff"):
        evaluate(trees, past, references={})
    later = replace(
        baseline, provenance=replace(baseline.provenance, cutoff_us=int(rows.t_c[0]) + 1)
    )
    with pytest.raises(LearningError, match="of the champion"):
        evaluate(trees, rows, references={"champion": later})
    with pytest.raises(NotEnoughDataError, match="judged rows"):
        evaluate(trees, rows.between(0, 1), references={})


def test_the_verdict_says_no_edge_where_there_is_none(past_and_future: PastAndFuture) -> None:
    past, future = past_and_future(900, 300, seed=4)
    baseline = train(model_of("first_passage"), past)
    claim = replace(baseline, kind="impostor")  # the baseline under another name
    found = evaluate(claim, future, references={"first_passage": baseline})
    assert found.verdict.startswith("no edge over the first-passage baseline: log loss")
    assert "+0.0000 [+0.0000, +0.0000]" in found.verdict


def test_few_rows_have_figures_without_intervals(judged: Judged) -> None:
    baseline, trees, rows = judged
    few = rows.take(np.arange(len(rows)) < 20)
    found = evaluate(trees, few, references={"first_passage": baseline})
    assert found.metrics["log_loss"].low is None
    assert "too few rows for an interval" in found.verdict
    assert found.verdict.startswith("no edge")


def test_blocks_are_several_horizons_and_never_less_than_one() -> None:
    settings = Bootstrap()
    assert block_length(1000, 6, settings) == 24
    assert block_length(60, 6, settings) == 15
    assert block_length(10, 6, settings) == 6


def test_replicates_keep_neighbours_together() -> None:
    counts = resampled_counts(400, 20, Bootstrap(replicates=500))
    np.testing.assert_array_equal(counts.sum(axis=1), 400)
    np.testing.assert_allclose(counts.mean(axis=0), 1.0, atol=0.35)
    deviation = counts - 1.0
    neighbours = (deviation[:, 1:] * deviation[:, :-1]).mean() / (deviation**2).mean()
    assert neighbours == pytest.approx(1 - 1 / 20, abs=0.03)


@pytest.mark.parametrize(("n", "least"), [(120, 0.8), (600, 0.8)])
def test_intervals_of_overlapping_losses_cover_and_plain_ones_do_not(n: int, least: float) -> None:
    rng = np.random.default_rng(1)
    horizon, draws, settings = 6, 150, Bootstrap(replicates=300)
    noise = rng.normal(size=(draws, n + horizon - 1))
    loss = np.array([np.convolve(row, np.ones(horizon), "valid") for row in noise])
    hits = 0
    for row in loss:  # losses as those of labels that overlap by a horizon
        found = intervals(
            np.column_stack([np.ones(n), row]),
            lambda sums: {"mean": sums[:, 1] / sums[:, 0]},
            horizon_bars=horizon,
            settings=settings,
        )["mean"]
        hits += not (found.is_below_zero or found.is_above_zero)
    plain = resampled_counts(n, 1, settings) @ loss.T / n
    low, high = np.percentile(plain, [5, 95], axis=0)
    assert least <= hits / draws <= 0.97
    assert np.mean((low <= 0) & (high >= 0)) < 0.65


def test_float_rounding_is_no_difference() -> None:
    """XGBoost that chose no tree is the baseline to 1e-8: neither better nor worse."""
    dust = Interval(3e-8, 2e-8, 4e-8)
    assert not dust.is_above_zero
    assert not Interval(-3e-8, -4e-8, -2e-8).is_below_zero
    assert Interval(0.02, 0.01, 0.03).is_above_zero
    assert Interval(-0.02, -0.03, -0.01).is_below_zero
