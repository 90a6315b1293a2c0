"""First-passage probabilities against closed forms, images, Monte Carlo and their own laws."""

from math import ceil, erfc, sqrt

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from learning.first_passage import FirstPassage, probabilities

DISTANCE = st.floats(0.05, 5.0)
SCALE = st.floats(0.05, 3.0)
HORIZON = st.integers(1, 100)


def by_images(up: float, down: float, scale: float, horizon: float) -> tuple[float, float]:
    """Return P(lower first), P(upper first) by reflections: an independent series."""
    width, c = up + down, scale * sqrt(2 * horizon)
    n = 2 + ceil(4 * c / width)  # the last image lies eight spreads off: erfc(8) is 1e-29

    def exit_at(distance: float) -> float:
        far = sum(erfc((2 * k * width + distance) / c) for k in range(n))
        return far - sum(erfc((2 * k * width - distance) / c) for k in range(1, n))

    return exit_at(down), exit_at(up)


@given(up=DISTANCE, down=DISTANCE, scale=SCALE, horizon=HORIZON)
@example(up=0.0625, down=0.05078125, scale=2.0, horizon=72)  # wide apart from near barriers
def test_equals_the_method_of_images(up: float, down: float, scale: float, horizon: int) -> None:
    p = probabilities([up], [down], [scale], horizon)[0]
    lower, upper = by_images(up, down, scale, horizon)
    np.testing.assert_allclose([p[0], p[2]], [lower, upper], atol=2e-12)


@given(up=DISTANCE, down=DISTANCE, scale=SCALE)
def test_an_endless_horizon_is_gamblers_ruin(up: float, down: float, scale: float) -> None:
    p = probabilities([up], [down], [scale], np.inf)[0]
    np.testing.assert_allclose(p, [up / (up + down), 0.0, down / (up + down)], atol=1e-12)


@given(up=DISTANCE, down=DISTANCE, scale=SCALE, horizon=HORIZON, unit=st.floats(0.01, 100))
def test_mirror_unit_and_time_laws(
    up: float, down: float, scale: float, horizon: int, unit: float
) -> None:
    p = probabilities([up], [down], [scale], horizon)[0]
    assert p.sum() == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(probabilities([down], [up], [scale], horizon)[0][::-1], p, atol=1e-9)
    scaled = probabilities([up * unit], [down * unit], [scale * unit], horizon)[0]
    np.testing.assert_allclose(scaled, p, atol=1e-9)
    slower = probabilities([up], [down], [scale / 2], horizon * 4)[0]
    np.testing.assert_allclose(slower, p, atol=1e-9)


@given(up=DISTANCE, down=DISTANCE, scale=SCALE, horizon=HORIZON)
def test_more_time_leaves_less_undecided(
    up: float, down: float, scale: float, horizon: int
) -> None:
    sooner = probabilities([up], [down], [scale], horizon)[0]
    later = probabilities([up], [down], [scale], horizon + 1)[0]
    assert later[1] <= sooner[1] + 1e-12
    assert later[2] >= sooner[2] - 1e-12


@pytest.mark.slow
@pytest.mark.parametrize(("up", "down"), [(1.0, 1.0), (0.4, 1.8), (2.0, 0.7)])
def test_equals_simulated_walks(up: float, down: float) -> None:
    rng = np.random.default_rng(3)
    walks, steps, horizon, scale = 20_000, 1500, 6, 0.6
    path, answer = np.zeros(walks), np.zeros(walks)
    step = scale * sqrt(horizon / steps)
    shift = 0.5826 * step  # a walk that is looked at now and then meets a barrier this much later
    for _ in range(steps):
        path += rng.normal(0.0, step, walks)
        answer = np.where(answer != 0, answer, (path >= up).astype(int) - (path <= -down))
    share = np.array([(answer == c).mean() for c in (-1, 0, 1)])
    p = probabilities([up + shift], [down + shift], [scale], horizon)[0]
    np.testing.assert_allclose(share, p, atol=4 * sqrt(0.25 / walks))


def test_a_matrix_of_rows_equals_row_by_row() -> None:
    rng = np.random.default_rng(0)
    up, down, scale = rng.uniform(0.05, 3, (3, 200))
    together = probabilities(up, down, scale, 6)
    alone = np.vstack([probabilities([u], [d], [s], 6) for u, d, s in zip(up, down, scale)])  # noqa: B905
    np.testing.assert_allclose(together, alone, atol=1e-13)


def test_nan_stays_nan_and_nonsense_is_refused() -> None:
    assert np.isnan(probabilities([np.nan], [1.0], [1.0], 6)).all()
    for up, down, scale, horizon in ((0, 1, 1, 6), (1, -1, 1, 6), (1, 1, 0, 6), (1, 1, 1, 0)):
        with pytest.raises(ValueError, match="expected > 0"):
            probabilities([up], [down], [scale], horizon)


def test_volatility_moves_the_scale_by_its_exponent() -> None:
    passage = FirstPassage(
        log_scale=np.log(0.6), exponent=-0.5, centre=np.log(0.002), horizon_bars=6
    )
    one = np.array([1.0])
    calm, wild = (passage.log_probabilities(one, one, np.array([v])) for v in (0.002, 0.008))
    np.testing.assert_allclose(np.exp(calm[0]), probabilities([1.0], [1.0], [0.6], 6)[0], atol=3e-4)
    np.testing.assert_allclose(np.exp(wild[0]), probabilities([1.0], [1.0], [0.3], 6)[0], atol=3e-4)
