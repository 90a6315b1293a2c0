"""Figures against their definitions, intervals that cover, and verdicts that say what they say."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import log_loss, matthews_corrcoef

from learning.bootstrap import Bootstrap, Interval, block_length, intervals, resampled_counts
from learning.bundle import Bundle
from learning.edge import Edge
from learning.evaluation import evaluate, is_identical, loss_parts
from learning.models import model_of, train
from learning.training_set import TrainingSet
from learning.xgboost_model import XGBoostModel
from market.errors import LearningError, NotEnoughDataError

pytestmark = pytest.mark.slow

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
    assert found.against["first_passage"].total.value == pytest.approx(difference)
    assert found.against["prior"].total.value == pytest.approx(
        log_loss(rows.y, p) - log_loss(rows.y, np.tile(trees.prior, (len(rows), 1)))
    )


def test_the_log_loss_splits_into_whether_and_which(judged: Judged) -> None:
    """Against two binary models scored by scikit-learn: L = L(touched) + share x L(direction)."""
    baseline, trees, rows = judged
    found = evaluate(trees, rows, references={"first_passage": baseline})
    p = trees.predict(rows.columns(trees.features)).probabilities
    q = baseline.predict(rows.columns(baseline.features)).probabilities
    touched = rows.y != 0

    def of(p: np.ndarray) -> tuple[float, float]:
        up = p[touched, 2] / (p[touched, 0] + p[touched, 2])
        return log_loss(touched, 1 - p[:, 1]), log_loss(rows.y[touched] > 0, up)

    whether, which = of(p)
    value = {name: interval.value for name, interval in found.metrics.items()}
    assert value["touched_share"] == pytest.approx(touched.mean())
    assert value["log_loss_touch"] == pytest.approx(whether, rel=1e-12)
    assert value["log_loss_direction"] == pytest.approx(touched.mean() * which, rel=1e-12)
    assert value["log_loss"] == pytest.approx(whether + touched.mean() * which, rel=1e-12)
    against = found.against["first_passage"]
    assert against.touch.value == pytest.approx(whether - of(q)[0], rel=1e-9)
    assert against.direction.value == pytest.approx(touched.mean() * (which - of(q)[1]), rel=1e-9)
    assert against.total.value == pytest.approx(
        against.touch.value + against.direction.value, rel=1e-9
    )
    for part in (against.touch, against.direction):
        assert part.low is not None
        assert part.high is not None
        assert part.low < part.value < part.high


def test_a_row_without_a_touch_has_no_loss_of_direction() -> None:
    log_p = np.log([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3], [0.01, 0.98, 0.01]])
    touch, direction = loss_parts(log_p, np.array([0, -1, 1], dtype=np.int8))
    np.testing.assert_allclose(np.exp(-touch), [0.5, 0.5, 0.02])
    np.testing.assert_allclose(np.exp(-direction), [1.0, 0.4, 0.5])
    assert direction[0] == 0.0


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
    for part in ("touch", "direction"):
        name = f"log_loss_{part}_against_first_passage"
        assert flat[f"{name}_low"] < flat[name] < flat[f"{name}_high"]


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


def test_a_model_that_is_the_baseline_is_called_identical(
    past_and_future: PastAndFuture,
) -> None:
    past, future = past_and_future(900, 300, seed=4)
    baseline = train(model_of("first_passage"), past)
    claim = replace(baseline, kind="impostor")  # the baseline under another name
    found = evaluate(claim, future, references={"first_passage": baseline})
    loss = found.metrics["log_loss"].value
    assert found.verdict == (
        f"identical to the first-passage baseline: log loss {loss:.4f} ({len(future)} rows)"
    )
    assert found.look is None
    assert found.edge is Edge.NONE
    assert is_identical(claim, baseline, future)


def test_trees_that_were_not_grown_are_the_baseline_to_its_rounding(
    past_and_future: PastAndFuture,
) -> None:
    """XGBoost keeps margins in float32: its log probabilities are off by 1e-7, not by nothing."""
    past, future = past_and_future(900, 300, seed=4)
    baseline = train(model_of("first_passage"), past)
    trees = train(XGBoostModel(rounds=1, patience=1, learning_rate=1e-30), past)
    found = evaluate(trees, future, references={"first_passage": baseline})
    assert found.against["first_passage"].is_identical
    assert found.against["first_passage"].total.value != 0.0
    assert found.verdict.startswith("identical to the first-passage baseline")


def test_one_row_that_differs_is_not_identical(judged: Judged) -> None:
    baseline, trees, rows = judged
    assert not is_identical(trees, baseline, rows)
    one = rows.take(np.arange(len(rows)) == 5)
    assert not is_identical(trees, baseline, one)


def test_few_rows_have_figures_without_intervals(judged: Judged) -> None:
    baseline, trees, rows = judged
    few = rows.take(np.arange(len(rows)) < 20)
    found = evaluate(trees, few, references={"first_passage": baseline})
    assert found.metrics["log_loss"].low is None
    assert "too few rows for an interval" in found.verdict
    assert found.verdict.startswith("no edge")
    assert found.edge is Edge.NONE


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
    assert Interval(-3e-8, -4e-8, 2e-8).text() == "+0.0000 [+0.0000, +0.0000]"


def test_the_end_of_an_interval_is_students() -> None:
    """Of a mean of independent normal blocks: where SciPy's t interval ends, on average."""
    rng = np.random.default_rng(0)
    n, confidence, ours, theirs = 400, 0.99, [], []
    for _ in range(40):
        x = rng.normal(size=n)
        found = intervals(
            np.column_stack([np.ones(n), x]),
            lambda sums: {"mean": sums[:, 1] / sums[:, 0]},
            horizon_bars=1,
            settings=Bootstrap(blocks_per_horizon=1),
        )["mean"]
        ours.append(found.at_most(confidence) or np.nan)
        blocks = x[: n - n % 7].reshape(-1, 7).mean(axis=1)
        ends = stats.t.interval(
            confidence, blocks.size - 1, loc=x.mean(), scale=blocks.std(ddof=1) / blocks.size**0.5
        )
        theirs.append(ends[1])
    assert found.freedom == pytest.approx(n / 7 - 1)
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.05)
    assert Interval(-0.1, None, None).at_most(0.95) is None
