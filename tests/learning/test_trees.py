"""Trees through XGBoost's C library: bit for bit what its package says, and its refusals."""

import gc
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest
import xgboost as xgb

from learning import trees
from learning.trees import Trees
from market.errors import LearningError, ModelArtefactError

Singles = npt.NDArray[np.float32]
FEATURES, CLASSES = 12, 3


def rows(n: int, seed: int, *, missing: float = 0.2) -> tuple[Singles, Singles]:
    """Return features with holes, and margins to start from."""
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((n, FEATURES)) * 10.0 ** rng.integers(-3, 4, FEATURES)).astype("f4")
    x[rng.random(x.shape) < missing] = np.nan
    return x, rng.standard_normal((n, CLASSES)).astype("f4")


@pytest.fixture(scope="module", params=[(1, 1), (3, 40), (6, 200)])
def booster(request: pytest.FixtureRequest) -> xgb.Booster:
    """Return trees of some depth and number, grown on missing values too."""
    depth, rounds = request.param
    x, start = rows(2_000, seed=depth)
    y = (np.nan_to_num(x[:, 0]) > 0).astype(int) + (np.nan_to_num(x[:, 1]) > 0)
    settings = {"objective": "multi:softprob", "num_class": CLASSES, "base_score": 0.0}
    settings |= {"max_depth": depth, "nthread": 1, "subsample": 0.8, "seed": 7}
    return xgb.train(settings, xgb.DMatrix(x, y, base_margin=start), num_boost_round=rounds)


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 1_000])
@pytest.mark.parametrize("missing", [0.0, 0.2, 1.0])
def test_margins_are_the_package_s_bit_for_bit(
    booster: xgb.Booster, n: int, missing: float
) -> None:
    x, start = rows(n, seed=n, missing=missing)
    x[0, :3] = [np.float32(3e38), -0.0, np.float32(1e-45)]
    made = Trees(bytes(booster.save_raw("ubj"))).margins(x, start)
    assert (made.dtype, made.shape) == (np.float32, (n, CLASSES))
    in_place = booster.inplace_predict(x, base_margin=start, predict_type="margin")
    matrix = booster.predict(xgb.DMatrix(x, base_margin=start), output_margin=True)
    assert made.tobytes() == np.asarray(in_place).tobytes() == np.asarray(matrix).tobytes()


def test_float64_in_any_layout_is_rounded_as_the_package_does(booster: xgb.Booster) -> None:
    x, start = rows(50, seed=1)
    wide = np.asfortranarray(x.astype(np.float64) * (1 + 1e-12))
    made = Trees(bytes(booster.save_raw("ubj"))).margins(wide, start.astype(np.float64)[:, ::1])
    matrix = xgb.DMatrix(wide.astype(np.float32), base_margin=start)
    np.testing.assert_array_equal(made, booster.predict(matrix, output_margin=True))


def test_no_rows_have_no_margins(booster: xgb.Booster) -> None:
    x, start = rows(0, seed=1)
    assert Trees(bytes(booster.save_raw("ubj"))).margins(x, start).shape == (0, CLASSES)


def test_threads_do_not_see_each_other_s_answers(booster: xgb.Booster) -> None:
    model = Trees(bytes(booster.save_raw("ubj")))
    asked = [rows(40, seed=seed) for seed in range(8)]
    expected = [model.margins(*pair) for pair in asked]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            made = list(pool.map(lambda pair: model.margins(*pair), asked))
            assert [m.tobytes() for m in made] == [m.tobytes() for m in expected]


@pytest.mark.slow
def test_an_answer_is_the_callers_own(booster: xgb.Booster) -> None:
    model = Trees(bytes(booster.save_raw("ubj")))
    x, start = rows(5, seed=1)
    first = model.margins(x, start)
    kept = first.copy()
    model.margins(*rows(5, seed=2))
    del model
    gc.collect()
    np.testing.assert_array_equal(first, kept)


def test_another_shape_is_refused(booster: xgb.Booster) -> None:
    model = Trees(bytes(booster.save_raw("ubj")))
    x, start = rows(5, seed=1)
    for wrong in ((x[:, 1:], start), (x, start[:, 1:]), (x, start[1:])):
        with pytest.raises(LearningError, match="trees: expected an answer"):
            model.margins(*wrong)
    assert model.margins(x, start).shape == start.shape  # it can still be asked


def test_bytes_that_are_no_model_are_refused(booster: xgb.Booster) -> None:
    whole = bytes(booster.save_raw("ubj"))
    for broken in (b"", b"{", b"\0" * 50, whole[: len(whole) // 2], json.dumps({}).encode()):
        with pytest.raises(ModelArtefactError, match="trees: expected"):
            Trees(broken)


def test_without_xgboost_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees.importlib.util, "find_spec", lambda _: None)
    trees._library.cache_clear()
    with pytest.raises(LearningError, match="xgboost: expected an installed package"):
        Trees(b"{}")
