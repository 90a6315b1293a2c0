"""Models on markets whose truth is known: no edge where there is none, and one where there is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from learning.baseline import FirstPassageModel, fit_passage
from learning.bundle import Bundle
from learning.edge import Edge
from learning.evaluation import Evaluation, evaluate
from learning.models import MODELS, Model, model_of, train
from learning.training_set import TrainingSet
from learning.xgboost_model import XGBoostModel
from market.errors import ModelNotFoundError, NotEnoughDataError

pytestmark = pytest.mark.slow

Simulate = Callable[..., TrainingSet]
PastAndFuture = Callable[..., tuple[TrainingSet, TrainingSet]]


def judged(past: TrainingSet, future: TrainingSet) -> Evaluation:
    baseline = train(FirstPassageModel(), past)
    return evaluate(train(XGBoostModel(), past), future, references={"first_passage": baseline})


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_trees_do_not_beat_the_baseline_on_a_random_walk(
    past_and_future: PastAndFuture, seed: int
) -> None:
    found = judged(*past_and_future(2000, 1500, seed=seed))
    assert not found.against["first_passage"].total.is_below_zero
    assert not found.verdict.startswith("edge")


@pytest.mark.parametrize("seed", range(2))
def test_trees_find_a_planted_drift(past_and_future: PastAndFuture, seed: int) -> None:
    found = judged(*past_and_future(2000, 1500, seed=seed, signal=0.25))
    assert found.against["first_passage"].total.is_below_zero
    assert found.verdict.startswith("edge over the first-passage baseline: log loss")
    assert found.edge is Edge.DIRECTION  # which is where it was planted


def test_the_baseline_beats_the_class_prior_without_any_edge(
    past_and_future: PastAndFuture,
) -> None:
    past, future = past_and_future(2000, 1500)
    found = evaluate(train(FirstPassageModel(), past), future, references={})
    # gambler's ruin: why the prior is no yardstick
    assert found.against["prior"].total.value < -0.1
    assert found.metrics["ece"].value < 0.06
    assert 0.85 < found.metrics["coverage"].value < 0.95
    assert "no edge is claimed" in found.verdict


def test_the_volatility_fit_recovers_what_made_the_market(simulate: Simulate) -> None:
    passage = fit_passage(simulate(6000, seed=5), exponent_prior=0.5)
    assert np.exp(passage.log_scale) == pytest.approx(0.6, abs=0.04)  # 40 looks a bar see less
    assert passage.exponent == pytest.approx(-0.2, abs=0.06)


@pytest.mark.parametrize("kind", MODELS)
def test_training_again_gives_the_same_bytes(simulate: Simulate, tmp_path: Path, kind: str) -> None:
    for name in ("one", "two"):
        train(model_of(kind), simulate(600, signal=0.2)).save(tmp_path / name)
    files = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert files == (["booster.ubj"] if kind == "xgboost" else []) + ["bundle.json"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("kind", MODELS)
def test_a_fit_records_what_it_came_from(simulate: Simulate, kind: str) -> None:
    rows = simulate(600)
    made = train(model_of(kind), rows).provenance
    assert (made.cutoff_us, made.data_version) == (rows.cutoff_us, rows.data_version)
    assert made.inputs == {"labels/H4/EURUSD/2017-01": "abc"}
    assert made.code_version == model_of(kind).code_version
    assert sum(made.rows.values()) < len(rows)  # purged between blocks
    assert "mfi_14" in made.dropped_features


@pytest.mark.parametrize(
    ("one", "other"),
    [(XGBoostModel(), XGBoostModel(depth=4)), (FirstPassageModel(), FirstPassageModel(alpha=0.2))],
)
def test_the_code_version_moves_with_a_parameter(one: Model, other: Model) -> None:
    assert one.code_version != other.code_version
    assert one.code_version == type(one)().code_version


def test_no_rounds_are_chosen_where_no_tree_helps(simulate: Simulate) -> None:
    chosen = [
        int(
            train(XGBoostModel(learning_rate=1.0, depth=8), simulate(500, seed=s)).parameters[
                "chosen_rounds"
            ]
        )
        for s in range(2)
    ]
    assert chosen == [0, 0]


def test_a_model_without_trees_still_answers(simulate: Simulate) -> None:
    rows = simulate(500)
    bundle = train(XGBoostModel(rounds=1, learning_rate=1e-12), rows)
    start = Bundle(
        kind="first_passage",
        features=bundle.features,
        passage=bundle.passage,
        calibration=bundle.calibration,
        conformal=bundle.conformal,
        prior=bundle.prior,
        provenance=bundle.provenance,
    )
    np.testing.assert_allclose(
        bundle.predict(rows.x).probabilities, start.predict(rows.x).probabilities, atol=1e-6
    )


def test_too_few_rows_and_unknown_kinds_are_refused(simulate: Simulate) -> None:
    with pytest.raises(NotEnoughDataError, match="block"):
        train(FirstPassageModel(), simulate(100))
    with pytest.raises(ModelNotFoundError, match="first_passage, xgboost"):
        model_of("lstm")
