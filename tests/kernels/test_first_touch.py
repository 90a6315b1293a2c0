"""First touch: against a plain loop, and what must not matter."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.first_touch import BOTH, LOWER, NONE, UPPER, _first_touch, extremes, first_touch

Floats = npt.NDArray[np.float64]


def path(n: int, seed: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    middle = np.cumsum(rng.normal(0, 1, n)).round().astype(np.float64)
    above, below = rng.integers(0, 3, (2, n)).astype(np.float64)
    return middle + above, middle - below


def slow(
    high: Floats, low: Floats, window: tuple[int, int], upper: float, lower: float
) -> tuple[int, int]:
    for bar in range(*window):
        if high[bar] >= upper and low[bar] <= lower:
            return BOTH, bar
        if high[bar] >= upper:
            return UPPER, bar
        if low[bar] <= lower:
            return LOWER, bar
    return NONE, -1


@settings(deadline=None)
@given(n=st.integers(1, 60), seed=st.integers(0, 10**6), data=st.data())
def test_agrees_with_a_plain_loop(n: int, seed: int, data: st.DataObject) -> None:
    high, low = path(n, seed)
    bounds = st.tuples(st.integers(0, n), st.integers(0, n))
    windows = data.draw(st.lists(bounds, min_size=1, max_size=8))
    levels = st.floats(-6, 6)
    upper = [data.draw(levels) for _ in windows]
    lower = [u - data.draw(st.floats(0, 6)) for u in upper]
    first, last = zip(*windows, strict=True)
    found = first_touch((high, low), (first, last), upper, lower)
    expected = [slow(high, low, w, u, d) for w, u, d in zip(windows, upper, lower, strict=True)]
    assert list(zip(found.side.tolist(), found.bar.tolist(), strict=True)) == expected
    tops = extremes((high, low), (first, last))
    for (a, b), top, bottom in zip(windows, tops.high, tops.low, strict=True):
        if a < b:
            assert (top, bottom) == (high[a:b].max(), low[a:b].min())
        else:
            assert np.isnan(top)
            assert np.isnan(bottom)


@given(seed=st.integers(0, 10**6))
def test_mirrored_prices_flip_the_side(seed: int) -> None:
    high, low = path(40, seed)
    here = first_touch((high, low), ([0, 5], [40, 20]), [3.0, 4.0], [-3.0, -1.0])
    there = first_touch((-low, -high), ([0, 5], [40, 20]), [3.0, 1.0], [-3.0, -4.0])
    np.testing.assert_array_equal(here.bar, there.bar)
    flipped = np.where(here.side == BOTH, BOTH, -here.side)
    np.testing.assert_array_equal(flipped, there.side)


@given(seed=st.integers(0, 10**6), junk=st.floats(-50, 50))
def test_bars_after_the_touch_or_outside_the_window_change_nothing(seed: int, junk: float) -> None:
    high, low = path(40, seed)
    found = first_touch((high, low), ([5], [30]), [2.0], [-2.0])
    last = int(found.bar[0]) + 1 if found.side[0] else 30
    for x in (high, low):
        x[:5] = junk
        x[last:] = junk
    again = first_touch((high, low), ([5], [30]), [2.0], [-2.0])
    assert (again.side[0], again.bar[0]) == (found.side[0], found.bar[0])


def test_a_touch_is_at_the_barrier_itself() -> None:
    found = first_touch(([2.0], [1.0]), ([0, 0, 0], [1, 1, 1]), [2.0, 3.0, 2.1], [0.0, 1.0, 0.9])
    assert found.side.tolist() == [UPPER, LOWER, NONE]


def test_a_nan_barrier_is_never_touched() -> None:
    found = first_touch(([9.0], [-9.0]), ([0, 0], [1, 1]), [np.nan, 1.0], [-1.0, np.nan])
    assert found.side.tolist() == [NONE, NONE]


def test_empty() -> None:
    assert first_touch(([], []), ([0], [0]), [1.0], [0.0]).side.tolist() == [NONE]
    assert first_touch(([], []), ([], []), [], []).side.size == 0
    assert np.isnan(extremes(([], []), ([0], [0])).high).all()


def test_compiled_equals_interpreted() -> None:
    high, low = path(50, 3)
    first, last = np.array([0, 10, 20]), np.array([50, 30, 20])
    upper, lower = np.array([3.0, 2.0, 1.0]), np.array([-3.0, -2.0, -1.0])
    found = first_touch((high, low), (first, last), upper, lower)
    side, bar = np.zeros(3, dtype=np.int8), np.full(3, -1)
    _first_touch.py_func((high, low), (first, last), (upper, lower), side, bar)
    np.testing.assert_array_equal(found.side, side)
    np.testing.assert_array_equal(found.bar, bar)


def test_shapes_and_windows_are_checked() -> None:
    with pytest.raises(ValueError, match=r"windows: expected bars 0\.\.1"):
        first_touch(([1.0], [1.0]), ([0], [2]), [1.0], [1.0])
    with pytest.raises(ValueError, match="low: expected shape"):
        first_touch(([1.0], []), ([0], [1]), [1.0], [1.0])
    with pytest.raises(ValueError, match="upper: expected shape"):
        first_touch(([1.0], [1.0]), ([0], [1]), [], [1.0])
