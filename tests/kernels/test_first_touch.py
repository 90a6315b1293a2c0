"""First touch by every method: against a plain loop, and what must not matter."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import passage, passage_nested
from kernels.first_touch import (
    BOTH,
    LOWER,
    NONE,
    UPPER,
    Method,
    _first_touch,
    _is_stack_faster,
    extremes,
    first_passage,
    first_touch,
)
from kernels.passage_nested import nested_first_touch

Floats = npt.NDArray[np.float64]

METHODS: tuple[Method, ...] = ("auto", "scan", "stack")
BY_METHOD = pytest.mark.parametrize("method", METHODS)


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


@pytest.mark.slow
@BY_METHOD
@settings(deadline=None)
@given(n=st.integers(1, 60), seed=st.integers(0, 10**6), data=st.data())
def test_agrees_with_a_plain_loop(method: Method, n: int, seed: int, data: st.DataObject) -> None:
    high, low = path(n, seed)
    bounds = st.tuples(st.integers(0, n), st.integers(0, n))
    windows = data.draw(st.lists(bounds, min_size=1, max_size=8))
    levels = st.floats(-6, 6)
    upper = [data.draw(levels) for _ in windows]
    lower = [u - data.draw(st.floats(0, 6)) for u in upper]
    first, last = zip(*windows, strict=True)
    found = first_touch((high, low), (first, last), upper, lower, method=method)
    expected = [slow(high, low, w, u, d) for w, u, d in zip(windows, upper, lower, strict=True)]
    assert list(zip(found.side.tolist(), found.bar.tolist(), strict=True)) == expected
    tops = extremes((high, low), (first, last))
    for (a, b), top, bottom in zip(windows, tops.high, tops.low, strict=True):
        if a < b:
            assert (top, bottom) == (high[a:b].max(), low[a:b].min())
        else:
            assert np.isnan(top)
            assert np.isnan(bottom)


@BY_METHOD
@settings(deadline=None)
@given(seed=st.integers(0, 10**6))
def test_mirrored_prices_flip_the_side(method: Method, seed: int) -> None:
    high, low = path(40, seed)
    here = first_touch((high, low), ([0, 5], [40, 20]), [3.0, 4.0], [-3.0, -1.0], method=method)
    there = first_touch((-low, -high), ([0, 5], [40, 20]), [3.0, 1.0], [-3.0, -4.0], method=method)
    np.testing.assert_array_equal(here.bar, there.bar)
    flipped = np.where(here.side == BOTH, BOTH, -here.side)
    np.testing.assert_array_equal(flipped, there.side)


@BY_METHOD
@settings(deadline=None)
@given(seed=st.integers(0, 10**6), junk=st.floats(-50, 50))
def test_bars_after_the_touch_or_outside_the_window_change_nothing(
    method: Method, seed: int, junk: float
) -> None:
    high, low = path(40, seed)
    found = first_touch((high, low), ([5], [30]), [2.0], [-2.0], method=method)
    last = int(found.bar[0]) + 1 if found.side[0] else 30
    for x in (high, low):
        x[:5] = junk
        x[last:] = junk
    again = first_touch((high, low), ([5], [30]), [2.0], [-2.0], method=method)
    assert (again.side[0], again.bar[0]) == (found.side[0], found.bar[0])


@BY_METHOD
def test_a_touch_is_at_the_barrier_itself(method: Method) -> None:
    found = first_touch(
        ([2.0], [1.0]), ([0, 0, 0], [1, 1, 1]), [2.0, 3.0, 2.1], [0.0, 1.0, 0.9], method=method
    )
    assert found.side.tolist() == [UPPER, LOWER, NONE]


@BY_METHOD
def test_a_nan_barrier_is_never_touched(method: Method) -> None:
    found = first_touch(
        ([9.0], [-9.0]), ([0, 0], [1, 1]), [np.nan, 1.0], [-1.0, np.nan], method=method
    )
    assert found.side.tolist() == [NONE, NONE]


@BY_METHOD
def test_empty(method: Method) -> None:
    assert first_touch(([], []), ([0], [0]), [1.0], [0.0], method=method).side.tolist() == [NONE]
    assert first_touch(([], []), ([], []), [], [], method=method).side.size == 0
    assert np.isnan(extremes(([], []), ([0], [0])).high).all()


@settings(deadline=None)
@given(
    n=st.integers(1, 120), horizon=st.integers(1, 150), seed=st.integers(0, 10**6),
    trend=st.sampled_from([-1.0, 0.0, 1.0]), far=st.sampled_from([0.5, 3.0, 20.0]),
)  # fmt: skip
def test_first_passage_is_the_scan_of_every_bars_future(
    n: int, horizon: int, seed: int, trend: float, far: float
) -> None:
    # a trend makes every bar a record of one side; barriers that jump leave the look at eight
    rng = np.random.default_rng(seed)
    high, low = (x + trend * np.arange(n) for x in path(n, seed))
    upper = high + np.round(rng.exponential(far, n))
    lower = low - np.round(rng.exponential(far, n))
    upper[rng.random(n) < 0.1], lower[rng.random(n) < 0.1] = np.nan, -np.inf
    found = first_passage((high, low), upper, lower, horizon=horizon)
    expected = [
        slow(high, low, (i + 1, min(i + 1 + horizon, n)), upper[i], lower[i])
        if upper[i] == upper[i]
        else (NONE, -1)
        for i in range(n)
    ]
    assert list(zip(found.side.tolist(), found.bar.tolist(), strict=True)) == expected


def test_every_method_finds_the_same_on_a_long_path() -> None:
    n = 30_000
    rng = np.random.default_rng(7)
    middle = np.cumsum(rng.normal(0, 1, n))
    high, low = middle + rng.exponential(0.5, n), middle - rng.exponential(0.5, n)
    first = np.arange(1, n + 1)
    for horizon, far in ((40, 6.0), (700, 26.0), (20_000, 150.0)):
        windows = first, np.minimum(first + horizon, n)
        scan = first_touch((high, low), windows, middle + far, middle - far, method="scan")
        stack = first_touch((high, low), windows, middle + far, middle - far, method="stack")
        np.testing.assert_array_equal(scan.side, stack.side)
        np.testing.assert_array_equal(scan.bar, stack.bar)
        assert 0 < np.count_nonzero(scan.side == NONE) < n


def test_auto_takes_the_stack_where_windows_overlap_and_the_scan_where_they_do_not() -> None:
    n = 4000
    high, low = path(n, 1)
    first, far = np.arange(1, n + 1), np.full(n, 1e9)
    for horizon, is_stack in ((10, False), (1000, True)):
        windows = first, np.minimum(first + horizon, n)
        assert _is_stack_faster((high, low), windows, (far, -far)) is is_stack
        # touched by the next bar, however far the horizon
        assert not _is_stack_faster((high, low), windows, (-far, -2.0 * far))
    # few rows over a long path: reading all of it would be a waste
    some = first[::200], np.minimum(first[::200] + 1000, n)
    assert not _is_stack_faster((high, low), some, (far[::200], -far[::200]))


def test_infinite_prices_are_records_like_others() -> None:
    high, low = np.array([1.0, np.inf, 2.0, np.inf]), np.array([0.0, 1.0, -np.inf, 1.0])
    for method in METHODS:
        found = first_touch((high, low), ([0, 2, 0], [4, 4, 4]), [5.0, 5.0, np.inf],
                            [-np.inf, -5.0, -5.0], method=method)  # fmt: skip
        assert found.side.tolist() == [UPPER, LOWER, UPPER]
        assert found.bar.tolist() == [1, 2, 1]


def test_compiled_equals_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    high, low = path(50, 3)
    first, last = np.array([0, 10, 20]), np.array([50, 30, 20])
    upper, lower = np.array([3.0, 2.0, 1.0]), np.array([-3.0, -2.0, -1.0])
    found = first_touch((high, low), (first, last), upper, lower)
    side, bar = np.zeros(3, dtype=np.int8), np.full(3, -1)
    _first_touch.py_func((high, low), (first, last), (upper, lower), side, bar)
    np.testing.assert_array_equal(found.side, side)
    np.testing.assert_array_equal(found.bar, bar)
    every = first_passage((high, low), high + 2.0, low - 2.0, horizon=30)
    nested = nest(high, low, 7, ([0, 1, 3], [7, 8, 3]), (upper, lower), exact_time=True)
    for module in (passage, passage_nested):
        for name, member in list(vars(module).items()):
            if hasattr(member, "py_func"):
                monkeypatch.setattr(module, name, member.py_func)
    for found_, slow_ in (
        (every, first_passage((high, low), high + 2.0, low - 2.0, horizon=30)),
        (nested, nest(high, low, 7, ([0, 1, 3], [7, 8, 3]), (upper, lower), exact_time=True)),
    ):
        for x, y in zip(found_, slow_, strict=True):
            np.testing.assert_array_equal(x, y)


# --- two timeframes ---------------------------------------------------------------------------


def nest(
    high: Floats, low: Floats, per: int, windows: Any, barriers: Any, *, exact_time: bool
) -> passage_nested.NestedTouch:
    """Search with coarse bars of up to ``per`` fine ones."""
    starts = np.append(np.arange(0, high.size, per), high.size)
    coarse = extremes((high, low), (starts[:-1], starts[1:]))
    return nested_first_touch(
        coarse, (high, low), starts, windows, *barriers, exact_time=exact_time
    )


@settings(deadline=None)
@given(
    per=st.integers(1, 40), m=st.integers(1, 8), seed=st.integers(0, 10**6),
    far=st.floats(0.5, 8.0), exact_time=st.booleans(), data=st.data(),
)  # fmt: skip
def test_nested_is_the_scan_of_the_fine_path(
    per: int, m: int, seed: int, far: float, data: st.DataObject, *, exact_time: bool
) -> None:
    high, low = path(per * m, seed)
    edges = st.integers(0, m)
    windows = data.draw(st.lists(st.tuples(edges, edges), min_size=1, max_size=6))
    first, last = (np.array(x) for x in zip(*windows, strict=True))
    middle = data.draw(st.floats(-5, 5))
    upper, lower = np.full(first.size, middle + far), np.full(first.size, middle - far)
    found = nest(high, low, per, (first, last), (upper, lower), exact_time=exact_time)
    plain = first_touch((high, low), (first * per, np.minimum(last * per, high.size)), upper, lower)
    np.testing.assert_array_equal(found.side, plain.side)
    expected = np.where(plain.bar < 0, -1, plain.bar // per)
    np.testing.assert_array_equal(found.bar, expected)
    if exact_time:
        np.testing.assert_array_equal(found.fine_bar, plain.bar)
    else:
        looked = found.fine_bar >= 0
        np.testing.assert_array_equal(found.fine_bar[looked], plain.bar[looked])


def test_a_coarse_bar_that_touches_both_is_looked_into_even_for_the_label_alone() -> None:
    high, low = np.array([1.0, 1.0, 5.0, 1.0]), np.array([0.0, -5.0, 0.0, 0.0])
    for exact_time in (True, False):
        found = nest(high, low, 4, ([0], [1]), ([4.0], [-4.0]), exact_time=exact_time)
        assert (found.side[0], found.bar[0], found.fine_bar[0]) == (LOWER, 0, 1)
    high[1] = 5.0
    found = nest(high, low, 4, ([0], [1]), ([4.0], [-4.0]), exact_time=False)
    assert (found.side[0], found.fine_bar[0]) == (BOTH, 1)


def test_fine_bars_are_read_only_where_the_coarse_one_cannot_tell() -> None:
    high, low = np.array([1.0, 5.0, np.nan, np.nan]), np.array([0.0, 0.0, np.nan, np.nan])
    starts, coarse = [0, 2, 4], ([1.0, 5.0], [0.0, 0.0])  # the second's fine bars are unreadable
    found = nested_first_touch(coarse, (high, low), starts, ([0], [2]), [4.0], [-4.0],
                               exact_time=False)  # fmt: skip
    assert (found.side[0], found.bar[0], found.fine_bar[0]) == (UPPER, 1, -1)


def test_a_coarse_bar_without_fine_bars_is_passed_over() -> None:
    high, low = np.array([1.0, 5.0]), np.array([0.0, 0.0])
    starts = np.array([0, 1, 1, 2])
    coarse = extremes((high, low), (starts[:-1], starts[1:]))
    found = nested_first_touch(coarse, (high, low), starts, ([0], [3]), [4.0], [-4.0])
    assert (found.side[0], found.bar[0], found.fine_bar[0]) == (UPPER, 2, 1)


def test_how_paths_nest_is_checked() -> None:
    fine = [1.0, 1.0], [0.0, 0.0]
    for starts, match in (
        ([0, 2], r"starts: expected shape \(3,\)"),
        ([0, 2, 1], r"starts: expected ascending in 0\.\.2"),
        ([0, 1, 3], r"starts: expected ascending in 0\.\.2"),
    ):
        with pytest.raises(ValueError, match=match):
            nested_first_touch(([1.0, 1.0], [0.0, 0.0]), fine, starts, ([0], [1]), [2.0], [0.0])
    with pytest.raises(ValueError, match=r"windows: expected bars 0\.\.1"):
        nested_first_touch(([1.0], [0.0]), fine, [0, 2], ([0], [2]), [2.0], [0.0])
    with pytest.raises(ValueError, match="coarse low: expected shape"):
        nested_first_touch(([1.0], []), fine, [0, 2], ([0], [1]), [2.0], [0.0])
    with pytest.raises(ValueError, match="lower: expected shape"):
        nested_first_touch(([1.0], [0.0]), fine, [0, 2], ([0], [1]), [2.0], [])


def test_shapes_and_windows_are_checked() -> None:
    with pytest.raises(ValueError, match=r"windows: expected bars 0\.\.1"):
        first_touch(([1.0], [1.0]), ([0], [2]), [1.0], [1.0])
    with pytest.raises(ValueError, match="low: expected shape"):
        first_touch(([1.0], []), ([0], [1]), [1.0], [1.0])
    with pytest.raises(ValueError, match="upper: expected shape"):
        first_touch(([1.0], [1.0]), ([0], [1]), [], [1.0])
    with pytest.raises(ValueError, match="method: expected auto, scan or stack"):
        first_touch(([1.0], [1.0]), ([0], [1]), [1.0], [1.0], method="fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="horizon: expected >= 1"):
        first_passage(([1.0], [1.0]), [2.0], [0.0], horizon=0)
