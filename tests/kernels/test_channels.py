"""Channels and trailing stops: against slow twins, against TA-Lib, and by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernels import channels, stops
from tests.naive import channels as naive

talib = pytest.importorskip("talib", reason="TA-Lib is a test extra")

PERIODS = (1, 2, 3, 7, 14, 33)
SIZES = (1, 2, 3, 15, 16, 60, 400)
Bars = tuple[Any, Any, Any]


def made_bars(n: int, seed: int, *, gaps: float = 0.0, tick: float = 0.0) -> Bars:
    rng = np.random.default_rng(seed)
    path = 100.0 + np.cumsum(rng.normal(0.0, 0.2, (n, 4)).ravel()).reshape(n, 4)
    if tick:
        path = np.round(path / tick) * tick
    out = path.max(axis=1), path.min(axis=1), path[:, -1].copy()
    for column in out:
        column[rng.random(n) < gaps] = np.nan
    return out


def assert_close(got: Any, expected: Any) -> None:
    assert len(got) == len(expected)
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(g, np.asarray(e, dtype=np.float64), rtol=1e-12, atol=1e-10)


TWINS: dict[str, tuple[Callable[[Bars, int], Any], Callable[[Bars, int], Any]]] = {
    "donchian": (
        lambda b, p: channels.donchian(b[0], b[1], p),
        lambda b, p: naive.donchian(list(b[0]), list(b[1]), p),
    ),
    "ichimoku": (
        lambda b, p: channels.ichimoku(b[0], b[1], p, 2 * p, 4 * p),
        lambda b, p: naive.ichimoku(list(b[0]), list(b[1]), p, 2 * p, 4 * p),
    ),
    "keltner": (
        lambda b, p: channels.keltner(*b, period=p, atr_period=3, width=1.5),
        lambda b, p: naive.keltner(b, p, 3, 1.5),
    ),
    "supertrend": (
        lambda b, p: stops.supertrend(*b, period=p, width=1.5),
        lambda b, p: naive.supertrend(b, p, 1.5),
    ),
}


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("period", PERIODS)
def test_equals_its_slow_twin(name: str, period: int) -> None:
    ours, twin = TWINS[name]
    for size in SIZES:
        for gaps in (0.0, 0.05):
            bars = made_bars(size, size + period, gaps=gaps)
            assert_close(ours(bars, period), twin(bars, period))


@pytest.mark.parametrize("seed", range(20))
def test_psar_equals_talib(seed: int) -> None:
    high, low, _ = made_bars(500, seed)
    got = stops.psar(high, low, step=0.02, most=0.2)
    np.testing.assert_allclose(got, talib.SAR(high, low, 0.02, 0.2), rtol=1e-13)


def test_psar_equals_talib_where_bars_tie() -> None:
    for seed in range(50):
        high, low, _ = made_bars(80, seed, tick=0.5)
        got = stops.psar(high, low)
        np.testing.assert_allclose(got, talib.SAR(high, low, 0.02, 0.2), rtol=1e-13)


def test_donchian_equals_the_highest_and_the_lowest() -> None:
    high, low, _ = made_bars(300, 1)
    got = channels.donchian(high, low, 20)
    np.testing.assert_array_equal(got.upper, talib.MAX(high, 20))
    np.testing.assert_array_equal(got.lower, talib.MIN(low, 20))


def test_a_close_at_the_line_in_force_turns_it() -> None:
    # ranges of 1 around 10: the line is at 10 - 1 * 1 = 9, then a close at exactly 9
    high, low = [10.5, 10.5, 10.5, 9.5], [9.5, 9.5, 9.5, 8.5]
    out = stops.supertrend(high, low, [10.0, 10.0, 10.0, 9.0], period=1, width=1.0)
    assert out.direction[2:].tolist() == [1.0, -1.0]
    assert out.line[2] == 9.0


def test_flat_prices_give_flat_lines() -> None:
    flat = np.full(120, 7.0)
    assert set(channels.keltner(flat, flat, flat).upper[20:]) == {7.0}
    assert set(channels.ichimoku(flat, flat).span_b[51:]) == {7.0}
    assert set(stops.psar(flat, flat)[1:]) == {7.0}
    assert set(stops.supertrend(flat, flat, flat).line[10:]) == {7.0}


@pytest.mark.parametrize("width", [0.0, -1.0, np.nan])
def test_a_width_that_is_none_is_refused(width: float) -> None:
    bars = made_bars(5, 1)
    with pytest.raises(ValueError, match="width: expected > 0"):
        channels.keltner(*bars, width=width)
    with pytest.raises(ValueError, match="width: expected > 0"):
        stops.supertrend(*bars, width=width)


@pytest.mark.parametrize(("step", "most"), [(0.0, 0.2), (0.3, 0.2), (np.nan, 0.2), (-0.1, 0.2)])
def test_an_acceleration_out_of_range_is_refused(step: float, most: float) -> None:
    with pytest.raises(ValueError, match="step: expected"):
        stops.psar([1.0], [1.0], step=step, most=most)


def test_a_period_below_one_is_refused() -> None:
    high, low, close = made_bars(5, 1)
    for call in (
        lambda: channels.donchian(high, low, 0),
        lambda: channels.ichimoku(high, low, 0),
        lambda: channels.keltner(high, low, close, period=0),
        lambda: stops.supertrend(high, low, close, period=0),
    ):
        with pytest.raises(ValueError, match="period: expected >= 1, was 0"):
            call()
