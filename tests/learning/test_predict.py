"""Named features in, named answers out."""

import math
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from learning.models import model_of, train
from learning.predict import ServedModel, feature_row, predict_rows
from learning.training_set import TrainingSet
from market.errors import FeatureMismatchError
from market.ports import ModelVersion

Simulate = Callable[..., TrainingSet]


@pytest.fixture(scope="module")
def rows(simulate: Simulate) -> TrainingSet:
    return simulate(600)


@pytest.fixture(scope="module")
def served(rows: TrainingSet) -> ServedModel:
    version = ModelVersion(name="barrier_h4", version=7, run_id="r", artifact_path="")
    return ServedModel(train(model_of("first_passage"), rows), version)


def test_a_frame_of_features_is_answered_row_by_row(
    served: ServedModel,
    make_market: Callable[..., tuple[pl.DataFrame, pl.DataFrame]],
) -> None:
    features, _ = make_market(12, seed=9)
    made = predict_rows(served, features)
    assert made.columns == [
        "instrument", "timeframe", "ts", "known_at", "answer", "p_bearish", "p_neutral",
        "p_bullish", "set", "model", "model_version",
    ]  # fmt: skip
    x = features.select(served.bundle.features).to_numpy()
    expected = served.bundle.predict(x)
    p = made.select("p_bearish", "p_neutral", "p_bullish").to_numpy()
    np.testing.assert_array_equal(p, expected.probabilities)
    names = np.array(["bearish", "neutral", "bullish"])
    assert made["answer"].to_list() == names[p.argmax(axis=1)].tolist()
    assert made["set"].to_list() == [names[row].tolist() for row in expected.sets]
    assert made["model_version"].unique().to_list() == [7]
    assert predict_rows(served, features.head(0)).schema == made.schema


def test_a_frame_without_a_feature_is_refused_by_name(served: ServedModel) -> None:
    with pytest.raises(FeatureMismatchError, match="lower_barrier_distance_atr, atr_ratio_14"):
        predict_rows(served, pl.DataFrame({"upper_barrier_distance_atr": [1.0]}))


def test_named_values_become_the_models_row(served: ServedModel) -> None:
    values = {
        "atr_ratio_14": 0.002,
        "upper_barrier_distance_atr": 1.0,
        "lower_barrier_distance_atr": 2.0,
        "rsi_14": None,  # of the list, and not this model's: let through
    }
    assert feature_row(served.bundle, values).tolist() == [[1.0, 2.0, 0.002]]
    with_null = feature_row(served.bundle, values | {"atr_ratio_14": None})
    assert math.isnan(with_null[0, 2])


def test_missing_and_unknown_names_are_both_told(served: ServedModel) -> None:
    with pytest.raises(FeatureMismatchError, match="atr_ratio_14 missing; colour unknown"):
        feature_row(
            served.bundle,
            {"upper_barrier_distance_atr": 1, "lower_barrier_distance_atr": 1, "colour": 3},
        )
