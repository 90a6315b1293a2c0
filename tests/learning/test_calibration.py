"""Scaling mends what is miscalibrated; conformal sets cover what they promise."""

import numpy as np
import numpy.typing as npt
import pytest

from learning.calibration import (
    Conformal,
    VectorScaling,
    fit_conformal,
    fit_vector_scaling,
    one_hot,
    softmax,
)

Floats = npt.NDArray[np.float64]


def drawn(n: int, seed: int) -> tuple[Floats, npt.NDArray[np.int8]]:
    rng = np.random.default_rng(seed)
    p = softmax(rng.normal(0.0, 1.5, (n, 3)))
    y = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1) - 1
    return p, y.astype(np.int8)


def test_overconfidence_and_bias_are_undone() -> None:
    p, y = drawn(20_000, 1)
    wrong = np.log(softmax(2.0 * np.log(p) + np.array([0.5, 0.0, -0.5])))
    fitted = fit_vector_scaling(wrong, y, np.ones(y.size))
    np.testing.assert_allclose(fitted.slope, 0.5, atol=0.03)
    np.testing.assert_allclose(fitted.apply(wrong), p, atol=0.03)


def test_a_calibrated_model_is_left_alone_even_on_few_rows() -> None:
    p, y = drawn(30, 2)
    fitted = fit_vector_scaling(np.log(p), y, np.ones(y.size))
    assert np.abs(np.array(fitted.slope) - 1).max() < 0.8
    nothing = fit_vector_scaling(np.log(p), y, np.zeros(y.size))
    np.testing.assert_allclose([*nothing.slope, *nothing.bias], [1, 1, 1, 0, 0, 0], atol=1e-6)


def test_a_row_of_weight_two_is_two_rows() -> None:
    p, y = drawn(200, 3)
    weight = np.where(np.arange(200) < 50, 2.0, 1.0)
    twice = np.concatenate([np.arange(200), np.arange(50)])
    weighted = fit_vector_scaling(np.log(p), y, weight)
    repeated = fit_vector_scaling(np.log(p)[twice], y[twice], np.ones(250))
    np.testing.assert_allclose(weighted.slope, repeated.slope, rtol=1e-3)


def test_sets_cover_nine_in_ten_on_average_over_draws() -> None:
    hits = []
    for seed in range(60):
        p, y = drawn(300, seed)
        sets = fit_conformal(p[:150], y[:150]).sets(p[150:])
        hits.append((sets * one_hot(y[150:])).sum() / 150)
    assert 0.89 <= np.mean(hits) <= 0.92


def test_the_quantile_has_its_finite_sample_correction() -> None:
    p = np.tile([0.0, 0.0, 1.0], (19, 1))
    p[:, 2] = 1.0 - np.arange(1, 20) / 100
    p[:, 0] = 1.0 - p[:, 2]
    fitted = fit_conformal(p, np.ones(19, dtype=np.int8), alpha=0.1)
    assert fitted.quantile == pytest.approx(0.18)  # the 18th of 19: ceil(20 * 0.9)
    few = fit_conformal(p[:5], np.ones(5, dtype=np.int8), alpha=0.1)
    assert few.quantile == 1.0
    assert few.sets(p).all()


def test_no_set_is_empty() -> None:
    sets = Conformal(alpha=0.1, quantile=0.2, rows=100).sets(np.array([[0.3, 0.4, 0.3]]))
    assert sets.tolist() == [[False, True, False]]


def test_scaling_one_and_zero_changes_nothing() -> None:
    p, _ = drawn(10, 5)
    same = VectorScaling((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)).apply(np.log(p))
    np.testing.assert_allclose(same, p, atol=1e-12)
