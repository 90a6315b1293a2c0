"""The artefact: what is loaded predicts as what was saved, and what is broken does not load."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from learning.bundle import Bundle
from learning.models import MODELS, model_of, train
from learning.training_set import TrainingSet
from market.errors import FeatureMismatchError, ModelArtefactError

Simulate = Callable[..., TrainingSet]


@pytest.fixture(scope="module")
def rows(simulate: Simulate) -> TrainingSet:
    return simulate(600, seed=2, signal=0.3)


@pytest.fixture(scope="module", params=MODELS)
def bundle(rows: TrainingSet, request: pytest.FixtureRequest) -> Bundle:
    return train(model_of(request.param), rows)


def test_load_gives_what_was_saved(bundle: Bundle, rows: TrainingSet, tmp_path: Path) -> None:
    bundle.save(tmp_path / "b")
    loaded = Bundle.load(tmp_path / "b")
    assert loaded == bundle
    x = rows.columns(bundle.features)
    before, after = bundle.predict(x), loaded.predict(x)
    np.testing.assert_array_equal(before.probabilities, after.probabilities)
    np.testing.assert_array_equal(before.sets, after.sets)


def test_trees_were_grown(rows: TrainingSet) -> None:
    assert train(model_of("xgboost"), rows).parameters["chosen_rounds"] != 0


def test_answers_are_probabilities_with_a_set_that_holds_the_best(
    bundle: Bundle, rows: TrainingSet
) -> None:
    made = bundle.predict(rows.columns(bundle.features))
    np.testing.assert_allclose(made.probabilities.sum(axis=1), 1.0, atol=1e-12)
    assert made.sets[np.arange(len(rows)), made.probabilities.argmax(axis=1)].all()
    lean = made.probabilities[:, 2] - made.probabilities[:, 0]
    up, down = rows.columns(("upper_barrier_distance_atr", "lower_barrier_distance_atr")).T
    assert np.corrcoef(lean, down - up)[0, 1] > 0.5  # the nearer barrier is the likelier


def test_one_row_answers_as_in_a_batch(bundle: Bundle, rows: TrainingSet) -> None:
    x = rows.columns(bundle.features)
    batch = bundle.predict(x[:20]).probabilities
    alone = np.vstack([bundle.predict(x[i : i + 1]).probabilities for i in range(20)])
    np.testing.assert_allclose(alone, batch, atol=1e-9)


def test_another_shape_is_refused_with_the_features_names(
    bundle: Bundle, rows: TrainingSet
) -> None:
    x = rows.columns(bundle.features)
    for wrong in (x[:, :-1], x[0], np.column_stack([x, x[:, 0]])):
        with pytest.raises(FeatureMismatchError, match="upper_barrier_distance_atr"):
            bundle.predict(wrong)


@pytest.mark.parametrize("value", [np.nan, 0.0, -1.0, np.inf])
def test_a_missing_barrier_is_refused_by_name(
    bundle: Bundle, rows: TrainingSet, value: float
) -> None:
    x = rows.columns(bundle.features)[:3].copy()
    x[1, bundle.features.index("lower_barrier_distance_atr")] = value
    with pytest.raises(FeatureMismatchError, match="lower_barrier_distance_atr: expected"):
        bundle.predict(x)


def test_what_is_not_a_bundle_does_not_load(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ModelArtefactError, match=r"bundle\.json"):
        Bundle.load(tmp_path / "nothing")
    bundle.save(tmp_path)
    file = tmp_path / "bundle.json"
    whole = file.read_text()
    for broken in (whole[:100], json.dumps({"format": 1, "classes": [-1, 0, 1]}), "[]"):
        file.write_text(broken)
        with pytest.raises(ModelArtefactError, match="bundle"):
            Bundle.load(tmp_path)
    file.write_text(whole.replace('"format": 1', '"format": 2'))
    with pytest.raises(ModelArtefactError, match="was 2"):
        Bundle.load(tmp_path)


def test_trees_that_were_altered_do_not_load(rows: TrainingSet, tmp_path: Path) -> None:
    train(model_of("xgboost"), rows).save(tmp_path)
    trees = tmp_path / "booster.ubj"
    data = bytearray(trees.read_bytes())
    data[len(data) // 2] ^= 1
    trees.write_bytes(data)
    with pytest.raises(ModelArtefactError, match="expected trees"):
        Bundle.load(tmp_path)
    trees.unlink()
    with pytest.raises(ModelArtefactError, match=r"booster\.ubj"):
        Bundle.load(tmp_path)


def test_saving_leaves_nothing_behind_but_the_bundle(bundle: Bundle, tmp_path: Path) -> None:
    bundle.save(tmp_path)
    bundle.save(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} <= {"bundle.json", "booster.ubj"}
