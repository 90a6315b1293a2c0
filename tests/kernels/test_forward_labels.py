"""The labels beside the enhanced triple barrier: slow twins, cases by hand, laws, old mistakes."""

import importlib
import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import talib
from hypothesis import example, given, settings
from hypothesis import strategies as st

import kernels
from kernels import forward_labels as labels
from kernels import forward_labels_history as history
from kernels import forward_labels_levels as by_level
from kernels import forward_labels_path as paths
from kernels import forward_labels_spans as spans_of
from kernels import forward_labels_trend as trends
from kernels import levels
from kernels.first_touch import BOTH, FirstTouch, first_touch
from kernels.forward_labels_levels import LevelOutcomes, level_outcomes
from kernels.forward_labels_path import PathStatistics, path_statistics
from kernels.forward_labels_spans import NEVER, Spans, active_spans
from kernels.levels import Rules
from market.tables import LABELS
from tests.naive import labels as naive
from tests.naive.levels import Book, Candle, replay

Floats = npt.NDArray[np.float64]
Bars = tuple[Floats, Floats, Floats]

NAN = float("nan")
SEEDS = st.integers(0, 10**6)
RULES = Rules(atr_period=3, flip_bars=5, expiry_bars=12, max_active=6, half_life_bars=7.0)


def walk(n: int, seed: int, tick: float = 0.125) -> Bars:
    """High, low, close on a grid that floats hold exactly."""
    rng = np.random.default_rng(seed)
    close = 64.0 + np.round(np.cumsum(rng.normal(0, 1, n)) / 2 / tick) * tick
    above, below = np.round(rng.exponential(0.5, (2, n)) / tick) * tick
    return close + above, close - below, close


def windows_of(n: int, horizon: int, every: int = 1) -> tuple[npt.NDArray[np.int64], ...]:
    first = np.arange(1, n + 1, every)
    return first, np.minimum(first + horizon, n)


def columns(x: tuple[Floats, ...]) -> list[Floats]:
    return [np.asarray(c) for c in x]


def assert_same(here: tuple[Floats, ...], there: tuple[Floats, ...]) -> None:
    for a, b in zip(here, there, strict=True):
        np.testing.assert_array_equal(a, b)


# --- what every label obeys, so that a new one cannot escape --------------------------------------


def all_of(price: Floats, bars: Bars, first: Any, last: Any) -> dict[str, Any]:
    """Every label of a path, by the public function that makes it."""
    high, low, close = bars
    end = labels.horizon_close(close, (first, last))
    touch = first_touch((high, low), (first, last), price + 1.0, price - 1.0)
    return {
        "horizon_close": end,
        "forward_return": labels.forward_return(price, end),
        "return_sign": labels.return_sign(price, end),
        "vol_scaled_return": labels.vol_scaled_return(price, end, np.full(price.size, 0.5)),
        "triple_barrier": labels.triple_barrier((high, low), (first, last), price, width=2.0**-6),
        "time_to_barrier": labels.time_to_barrier(touch.bar, (first, last)),
        "range_expansion": labels.range_expansion(
            (high, low), (first, last), np.full(price.size, 0.25)
        ),
        "meta_label": labels.meta_label(np.ones(price.size), touch, price, end),
        "path_statistics": path_statistics(bars, (first, last), price),
        "trend_scan": trends.trend_scan(close, (first, last), price),
        "max_penetration": by_level.max_penetration(
            close, (first, last), (price + 0.5, price - 0.5), np.full(price.size, 0.5)
        ),
    }


OF_OTHER_THINGS = {
    "crossover_side": "prices up to the entry",
    "return_quantile": "other rows",
    "event_counts": "events",
    "event_burst": "other rows",
    "active_spans": "events",
    "level_outcomes": "levels",
    "nearest_level_distance": "prices at the entry",
}
"""Labels that ``all_of`` does not make, and what they read; each has its own laws below."""


def rows_of(found: Any) -> Floats:
    return np.atleast_2d(np.array(found, dtype=np.float64))


def test_every_label_is_under_the_laws() -> None:
    n = 8
    known = all_of(np.full(n, 64.0), walk(n, 1), *windows_of(n, 3))
    public = {
        name
        for path in Path(kernels.__path__[0]).glob("forward_labels*.py")
        for module in [importlib.import_module(f"kernels.{path.stem}")]
        for name, member in inspect.getmembers(module, inspect.isfunction)
        if member.__module__ == module.__name__ and not name.startswith("_")
    }
    assert public == set(known) | set(OF_OTHER_THINGS)


def test_every_label_column_of_the_table_has_its_kernel() -> None:
    made = {
        "forward_return", "return_sign", "vol_scaled_return", "return_quantile", "triple_barrier",
        "range_expansion", "event_burst", "max_penetration", "nearest_level_distance",
        "trend_scan_sign", "trend_scan_t", "meta_label",
        *PathStatistics._fields, *LevelOutcomes._fields[:3], "breakout_occurred",
        "nearest_breakout_occurred", "flip_occurred",
    }  # fmt: skip
    names = list(LABELS.schema)
    assert set(names[names.index("forward_return") :]) == made


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, n=st.integers(2, 40), horizon=st.integers(1, 45), junk=st.floats(1.0, 200.0))
def test_bars_before_entry_and_after_the_horizon_change_nothing(
    seed: int, n: int, horizon: int, junk: float
) -> None:
    bars = walk(n + 20, seed)
    first, last = np.array([10]), np.array([min(10 + horizon, n + 10)])
    price = np.array([64.0])
    here = all_of(price, bars, first, last)
    for x in bars:
        x[:10] = junk
        x[last[0] :] = junk
    there = all_of(price, bars, first, last)
    for name, found in here.items():
        np.testing.assert_array_equal(rows_of(found), rows_of(there[name]), err_msg=name)


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, n=st.integers(1, 40), horizon=st.integers(1, 30), power=st.integers(-20, 20))
def test_scaled_prices_give_the_same_labels(seed: int, n: int, horizon: int, power: int) -> None:
    bars, price = walk(n, seed), np.full(n, 64.0)
    first, last = windows_of(n, horizon)
    scale = 2.0**power
    here = path_statistics(bars, (first, last), price)
    there = path_statistics(tuple(x * scale for x in bars), (first, last), price * scale)  # type: ignore[arg-type]
    assert_same(here[:6], there[:6])
    np.testing.assert_allclose(here.path_skewness, there.path_skewness, rtol=1e-6, atol=1e-9)
    scan = trends.trend_scan(bars[2], (first, last), price)
    scaled = trends.trend_scan(bars[2] * scale, (first, last), price * scale)
    assert_same(scan, scaled)
    end = labels.horizon_close(bars[2], (first, last))
    for label in (
        lambda k: labels.forward_return(price * k, end * k),
        lambda k: labels.return_sign(price * k, end * k),
        lambda k: labels.vol_scaled_return(price * k, end * k, np.full(n, k)),
        lambda k: labels.triple_barrier((bars[0] * k, bars[1] * k), (first, last), price * k),
        lambda k: labels.range_expansion(
            (bars[0] * k, bars[1] * k), (first, last), np.full(n, 0.5 * k)
        ),
        lambda k: by_level.max_penetration(
            bars[2] * k, (first, last), ((price + 0.5) * k, (price - 0.5) * k), np.full(n, k)
        ),
    ):
        np.testing.assert_array_equal(label(1.0), label(scale))


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, n=st.integers(1, 40), horizon=st.integers(1, 30))
def test_mirrored_prices_give_the_mirrored_labels(seed: int, n: int, horizon: int) -> None:
    (high, low, close), price = walk(n, seed), np.full(n, 64.0)
    windows = windows_of(n, horizon)
    other = (128.0 - low, 128.0 - high, 128.0 - close)
    here = path_statistics((high, low, close), windows, price)
    there = path_statistics(other, windows, price)
    np.testing.assert_array_equal(here.mfe, -there.mae)
    np.testing.assert_array_equal(here.mae, -there.mfe)
    np.testing.assert_array_equal(here.end_vs_extremum_gap, there.end_vs_extremum_gap)
    np.testing.assert_array_equal(
        there.time_underwater, path_statistics((close, close, -close + 128.0), windows, price)[5]
    )
    end, mirrored = (labels.horizon_close(c, windows) for c in (close, other[2]))
    for label in (
        labels.return_sign,
        lambda p, e: labels.vol_scaled_return(p, e, np.full(n, 0.5)),
        labels.forward_return,
    ):
        np.testing.assert_array_equal(label(price, end), -label(price, mirrored))
    barrier = labels.triple_barrier((high, low), windows, price, width=2.0**-6)
    flipped = labels.triple_barrier(other[:2], windows, price, width=2.0**-6)
    np.testing.assert_array_equal(barrier, -flipped)
    scan, mirror = (trends.trend_scan(c, windows, price) for c in (close, other[2]))
    np.testing.assert_array_equal(scan.sign, -mirror.sign)
    np.testing.assert_array_equal(scan.t, -mirror.t)
    np.testing.assert_array_equal(scan.bars, mirror.bars)
    edges = price + 0.75, price - 0.25
    deep = by_level.max_penetration(close, windows, edges, np.ones(n))
    mirrored_edges = 128.0 - edges[1], 128.0 - edges[0]
    deep_mirrored = by_level.max_penetration(other[2], windows, mirrored_edges, np.ones(n))
    np.testing.assert_array_equal(deep, deep_mirrored)
    touch = first_touch((high, low), windows, price + 1.0, price - 1.0)
    touch_mirrored = first_touch(other[:2], windows, price + 1.0, price - 1.0)
    np.testing.assert_array_equal(
        labels.meta_label(np.ones(n), touch, price, end),
        labels.meta_label(-np.ones(n), touch_mirrored, price, mirrored),
    )


def test_a_path_that_is_not_there_is_null_in_every_label_and_never_zero() -> None:
    # the origin gave such a row the label 0, and the last close as its end
    found = all_of(np.array([64.0]), walk(5, 1), np.array([5]), np.array([5]))
    for name, value in found.items():
        assert np.isnan(rows_of(value)).all(), name


@pytest.mark.parametrize("price", [0.0, -1.0, NAN])
def test_a_price_without_returns_is_null_in_every_label_of_returns(price: float) -> None:
    found = all_of(np.array([price]), walk(5, 1), np.array([1]), np.array([5]))
    for name in ("forward_return", "triple_barrier", "path_statistics"):
        assert np.isnan(rows_of(found[name])).all(), name


def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (paths, history, by_level, trends):
        for name, member in list(vars(module).items()):
            if hasattr(member, "py_func"):
                monkeypatch.setattr(module, name, member.py_func)


def test_compiled_equals_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 60
    bars, price, rng = walk(n, 3), np.full(n, 64.0), np.random.default_rng(3)
    first, last = windows_of(n, 7)
    run, _, log = played(n, 3)
    values, decided = rng.integers(0, 9, n).astype(np.float64), np.arange(n)

    def everything() -> list[Floats]:
        spans = active_spans(run.events)
        found = level_outcomes(log, run.atr, spans, (first, last), rules=RULES)
        known = all_of(price, bars, first, last)
        rows = [*known["path_statistics"], *known["trend_scan"], *found]
        many = {"lookback": 20, "fewest": 5}
        rows += [label(values, decided, decided + 7, **many) for label in HISTORY]
        return columns(tuple(rows))

    compiled = everything()
    interpreted(monkeypatch)
    assert_same(tuple(compiled), tuple(everything()))


# --- returns ------------------------------------------------------------------------------------


def test_the_end_is_the_close_at_the_horizon_and_returns_are_fractions() -> None:
    # the origin's documents said percent, its code fractions
    end = labels.horizon_close([100.0, 101.0, 150.0], ([0, 1], [2, 3]))
    assert end.tolist() == [101.0, 150.0]
    np.testing.assert_allclose(labels.forward_return([100.0, 200.0], end), [0.01, -0.25])
    assert labels.return_sign([101.0, 200.0], end).tolist() == [0.0, -1.0]


def test_volatility_scales_a_price_by_a_price_and_has_no_fallback() -> None:
    # the origin divided by fractions, and took one for the ATR where there was none
    found = labels.vol_scaled_return([1.10, 110.0], [1.11, 111.0], [0.005, 0.5])
    np.testing.assert_allclose(found, [2.0, 2.0])
    assert labels.vol_scaled_return([100.0] * 2, [200.0, 50.0], [0.5] * 2).tolist() == [10, -10]
    assert np.isnan(labels.vol_scaled_return([1.0] * 3, [2.0] * 3, [NAN, 0.0, -1.0])).all()


def test_the_plain_barrier_by_hand() -> None:
    high = [100.5, 101.0, 100.9, 101.5]
    low = [99.5, 99.5, 98.9, 98.5]
    found = labels.triple_barrier((high, low), ([0, 2, 0, 3, 4], [4, 4, 1, 4, 4]), [100.0] * 5)
    # touched at the barrier itself; both in one bar are nobody's win, which the origin gave to
    # the upper; nothing touched is 0; no path is null
    np.testing.assert_array_equal(found, [1.0, -1.0, 0.0, NAN, NAN])


def test_time_to_barrier_counts_from_one_and_ends_at_the_horizon() -> None:
    found = labels.time_to_barrier([5, 9, -1, -1], ([5, 5, 5, 7], [10, 10, 10, 7]))
    np.testing.assert_array_equal(found, [1.0, 5.0, 5.0, NAN])
    with pytest.raises(ValueError, match="touched: expected bars inside"):
        labels.time_to_barrier([10], ([5], [10]))


def test_range_expansion_is_the_widest_bar_over_the_entrys() -> None:
    bars = [10.0, 12.0, 11.0], [9.0, 9.0, 10.5]
    found = labels.range_expansion(bars, ([0, 1, 2, 3], [2, 3, 3, 3]), [1.0, 2.0, 1.0, 1.0])
    np.testing.assert_array_equal(found, [2.0, 0.5, -0.5, NAN])
    assert np.isnan(labels.range_expansion(bars, ([0], [2]), [0.0])[0])


def test_meta_label_asks_whether_the_side_won_at_t1() -> None:
    touch = FirstTouch(np.array([1, 1, -1, 0, 0, 0, BOTH, 1], dtype=np.int8), np.arange(8))
    side = [1, -1, -1, 1, -1, 1, 1, 0]
    end = [9.0, 9.0, 11.0, 11.0, 11.0, 10.0, 11.0, 11.0]
    found = labels.meta_label(side, touch, [10.0] * 8, end)
    # what the price does after the touch does not matter; an unmoved price wins nothing
    np.testing.assert_array_equal(found, [1, 0, 1, 1, 0, 0, NAN, NAN])
    unknown = labels.meta_label([NAN, 1.0], FirstTouch(*np.zeros((2, 2), dtype=np.int8)),
                                [10.0] * 2, [11.0, NAN])  # fmt: skip
    assert np.isnan(unknown).all()


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, cut=st.integers(51, 119))
def test_crossover_side_is_that_of_ta_libs_averages_and_never_sees_the_future(
    seed: int, cut: int
) -> None:
    close = walk(120, seed)[2]
    side = labels.crossover_side(close)
    apart = talib.SMA(close, 20) - talib.SMA(close, 50)
    expected = np.where(np.abs(apart) < 1e-9, 0.0, np.sign(apart))
    np.testing.assert_array_equal(side, expected)
    np.testing.assert_array_equal(labels.crossover_side(close[:cut]), side[:cut])


def test_averages_that_differ_by_rounding_have_no_side() -> None:
    flat = np.full(80, 0.1)
    assert np.unique(labels.crossover_side(flat)[49:]).tolist() == [0.0]
    with pytest.raises(ValueError, match="slow: expected >= 21"):
        labels.crossover_side(flat, fast=20, slow=20)


# --- paths --------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=80)
@given(seed=SEEDS, n=st.integers(1, 30), horizon=st.integers(1, 30), price=st.floats(60.0, 68.0))
def test_path_statistics_are_those_of_the_slow_twin(
    seed: int, n: int, horizon: int, price: float
) -> None:
    bars = walk(n, seed)
    first, last = windows_of(n, horizon)
    found = path_statistics(bars, (first, last), np.full(n, price))
    rows = np.column_stack(bars)
    for i, (a, b) in enumerate(zip(first, last, strict=True)):
        if a == b:
            continue
        expected = naive.path_statistics(price, rows[a:b].tolist())
        for name, value in expected.items():
            got = getattr(found, name)[i]
            np.testing.assert_allclose(got, value, rtol=1e-9, atol=1e-9, err_msg=name)


def one_path(price: float, closes: list[float], **given: list[float]) -> PathStatistics:
    bars = given.get("high", closes), given.get("low", closes), closes
    return path_statistics(bars, ([0], [len(closes)]), [price])


def test_a_path_may_fall_far_and_rise_little() -> None:
    # the origin's validator demanded mfe >= -mae, and so refused losses
    s = one_path(100.0, [99.0, 98.5], high=[100.1, 99.0], low=[98.0, 98.0])
    np.testing.assert_allclose([s.mfe[0], s.mae[0]], [0.001, -0.02])
    np.testing.assert_allclose(s.profit_factor[0], 0.05)
    up = one_path(100.0, [101.0, 102.0])
    assert (up.mfe[0], up.mae[0]) == (0.02, 0.0)
    assert np.isnan(up.profit_factor[0])
    down = one_path(100.0, [99.0])
    assert (down.mfe[0], down.mae[0], down.profit_factor[0]) == (0.0, -0.01, 0.0)


def test_drawdown_is_at_most_zero_and_reads_closes() -> None:
    # the origin's formula was positive, its schema negative
    s = one_path(100.0, [110.0, 99.0, 104.5, 88.0], high=[500.0] * 4, low=[1.0] * 4)
    np.testing.assert_allclose(s.drawdown_depth[0], 88.0 / 110.0 - 1.0)
    assert one_path(100.0, [90.0, 95.0, 95.0]).drawdown_depth[0] == 0.0  # not from the entry


def test_what_was_given_back_is_over_the_move_from_the_entry() -> None:
    # the origin divided by another distance, without a bound
    assert one_path(100.0, [104.0, 101.0]).end_vs_extremum_gap[0] == 0.75
    assert one_path(100.0, [104.0]).end_vs_extremum_gap[0] == 0.0
    assert one_path(100.0, [104.0, 96.5]).end_vs_extremum_gap[0] == 1.875
    # as far up as down: what ended at one end gave back from the other
    assert one_path(100.0, [104.0, 96.0]).end_vs_extremum_gap[0] == 2.0
    assert np.isnan(one_path(100.0, [100.0, 100.0]).end_vs_extremum_gap[0])


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, n=st.integers(1, 60), price=st.floats(50.0, 80.0))
def test_path_statistics_keep_their_bounds(seed: int, n: int, price: float) -> None:
    s = path_statistics(walk(n, seed), ([0], [n]), [price])
    assert s.mfe[0] >= 0.0 >= s.mae[0]
    assert s.drawdown_depth[0] <= 0.0
    assert 0.0 <= s.end_vs_extremum_gap[0] <= 2.0
    assert 0.0 <= s.time_underwater[0] <= 1.0


def test_time_underwater_counts_closes_below_the_entry() -> None:
    assert one_path(100.0, [99.0, 100.0, 101.0, 99.9]).time_underwater[0] == 0.5


def test_skewness_counts_the_step_from_the_entry_and_needs_three_different_returns() -> None:
    jump = one_path(100.0, [110.0, 110.0, 110.0, 110.0])  # returns: one, then nothing
    np.testing.assert_allclose(jump.path_skewness[0], 2.0 / math.sqrt(3.0))
    assert np.isnan(one_path(100.0, [101.0, 99.0]).path_skewness[0])
    growing = [100.0 * 1.01**k for k in range(1, 30)]
    assert np.isnan(one_path(100.0, growing).path_skewness[0])


# --- other rows -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, n=st.integers(1, 60), horizon=st.integers(1, 9), data=st.data())
def test_history_labels_are_those_of_the_slow_twin(
    seed: int, n: int, horizon: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 6, n).astype(np.float64)  # ties happen
    values[rng.random(n) < 0.1] = NAN
    decided = np.cumsum(rng.integers(0, 3, n))
    ends = np.maximum.accumulate(decided + rng.integers(0, horizon + 1, n))
    fewest = data.draw(st.integers(1, 8))
    lookback = data.draw(st.integers(fewest, 20))
    many = {"lookback": lookback, "fewest": fewest}
    deciles = history.return_quantile(values, decided, ends, **many)
    bursts = history.event_burst(values, decided, ends, **many)
    listed = values.tolist(), decided.tolist(), ends.tolist()
    for row in range(n):
        known = naive.matured(*([*x[: row + 1]] for x in listed), row=row, lookback=lookback)
        np.testing.assert_equal(deciles[row], naive.decile(values[row], known, fewest))
        np.testing.assert_equal(bursts[row], naive.burst(values[row], known, fewest))


HISTORY: tuple[Callable[..., Floats], ...] = (history.return_quantile, history.event_burst)


@pytest.mark.parametrize("label", HISTORY)
def test_only_what_had_matured_at_entry_is_compared_with(label: Callable[..., Floats]) -> None:
    # the origin ranked a return among returns whose horizons overlapped its own
    n, horizon = 40, 6
    values, decided = np.arange(n, dtype=np.float64) % 7, np.arange(n)
    found = label(values, decided, decided + horizon, fewest=5)
    for row in range(n):
        changed = values.copy()
        changed[row - horizon + 1 : row] = 1000.0  # decided before, matured after
        changed[row + 1 :] = -1000.0
        again = label(changed, decided, decided + horizon, fewest=5)
        np.testing.assert_equal(again[row], found[row])
    # the one that matures at the very entry does count: rows 0 ... 14 at the entry of row 20
    enough = label(values, decided, decided + horizon, fewest=15)
    assert np.isnan(enough[19])
    assert np.isfinite(enough[20])


@pytest.mark.parametrize("label", HISTORY)
def test_null_below_a_hundred_and_only_the_last_thousand_count(
    label: Callable[..., Floats],
) -> None:
    n = 2600
    values = np.random.default_rng(1).integers(0, 50, n).astype(np.float64)
    decided = np.arange(n)
    found = label(values, decided, decided + 3)
    assert np.isnan(found[:102]).all()
    assert np.isfinite(found[102:]).all()
    # rows that are older than the last thousand matured ones do not matter
    tail = label(values[1500:], decided[1500:], decided[1500:] + 3)
    np.testing.assert_array_equal(found[1500 + 1002 :], tail[1002:])
    changed = values.copy()
    changed[1500] += 100.0
    other = label(changed, decided, decided + 3)
    np.testing.assert_array_equal(found[2503:], other[2503:])


def test_deciles_of_a_uniform_history() -> None:
    values = np.append(np.arange(1000.0), [-1.0, 0.0, 99.5, 100.5, 899.5, 900.5, 5000.0])
    decided = np.append(np.arange(1000), np.full(7, 5000))
    found = history.return_quantile(values, decided, np.append(decided[:1000] + 1, [6000] * 7))
    assert found[1000:].tolist() == [1, 1, 2, 2, 10, 10, 10]
    mirrored = history.return_quantile(-values, decided, np.append(decided[:1000] + 1, [6000] * 7))
    assert mirrored[1000:].tolist() == [10, 10, 10, 9, 2, 1, 1]


def test_a_burst_is_more_than_two_deviations_above_the_mean() -> None:
    past = [0.0, 4.0] * 50  # mean 2, deviation 2
    counts = np.array([*past, 6.0, 7.0])
    decided = np.append(np.arange(100), [500, 500])
    found = history.event_burst(counts, decided, np.append(np.arange(100), [600, 600]))
    assert found[-2:].tolist() == [0.0, 1.0]
    even = history.event_burst(np.append(np.full(100, 3.0), [3.0, 4.0]), decided,
                               np.append(np.arange(100), [600, 600]))  # fmt: skip
    assert even[-2:].tolist() == [0.0, 1.0]


def test_events_are_counted_in_the_horizons_bars() -> None:
    found = history.event_counts([2, 2, 3, 7], ([0, 2, 3, 4, 8], [2, 4, 8, 4, 9]))
    np.testing.assert_array_equal(found, [0.0, 3.0, 2.0, NAN, 0.0])


def test_histories_are_checked() -> None:
    for changed, match in (
        ({"decided_us": [1, 0]}, "decided_us: expected ascending"),
        ({"matured_us": [5, 4]}, "matured_us: expected ascending"),
        ({"matured_us": [0, 1], "decided_us": [0, 2]}, "matured_us: expected not before"),
        ({"decided_us": [0]}, "decided_us: expected shape"),
        ({"fewest": 0}, "fewest: expected >= 1"),
        ({"lookback": 50}, "lookback: expected >= 100"),
    ):
        arguments: dict[str, Any] = {"decided_us": [0, 1], "matured_us": [2, 3]} | changed
        for label in HISTORY:
            with pytest.raises(ValueError, match=match):
                label([1.0, 2.0], **arguments)
    with pytest.raises(ValueError, match="counts: expected whole"):
        history.event_burst([0.5], [0], [1])
    with pytest.raises(ValueError, match="event_bar: expected ascending"):
        history.event_counts([2, 1], ([0], [1]))


# --- trends -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, n=st.integers(3, 25), shortest=st.integers(2, 5))
def test_trend_scan_is_that_of_the_slow_twin(seed: int, n: int, shortest: int) -> None:
    close, price = walk(n, seed)[2], 64.0
    found = trends.trend_scan(close, ([0], [n]), [price], shortest=shortest)
    if n < shortest:
        assert np.isnan(found.t[0])
        return
    sign, t, bars = naive.trend([price, *close.tolist()], shortest)
    assert found.sign[0] == sign
    # a line that explains nearly all leaves residuals of a few digits, in the twin too
    np.testing.assert_allclose(found.t[0], t, rtol=1e-4, atol=1e-6)
    if abs(t) < 1e3:
        assert found.bars[0] == bars


def test_a_straight_line_has_a_finite_t_and_flat_prices_none() -> None:
    line = trends.trend_scan([65.0, 66.0, 67.0, 68.0], ([0], [4]), [64.0])
    assert (line.sign[0], line.bars[0]) == (1.0, 4.0)
    np.testing.assert_allclose(line.t[0], 1e6 * math.sqrt(3.0), rtol=1e-4)
    flat = trends.trend_scan([64.0] * 5, ([0], [5]), [64.0])
    assert (flat.sign[0], flat.t[0], flat.bars[0]) == (0.0, 0.0, 3.0)
    short = trends.trend_scan([65.0, 66.0], ([0], [2]), [64.0])
    assert np.isnan([x[0] for x in short]).all()


def test_the_size_of_prices_takes_no_digits_of_t() -> None:
    small = trends.trend_scan([0.25, 0.75, 0.5, 1.0], ([0], [4]), [0.0])
    large = trends.trend_scan(2.0**40 + np.array([0.25, 0.75, 0.5, 1.0]), ([0], [4]), [2.0**40])
    assert small.t[0] == large.t[0]


# --- levels -----------------------------------------------------------------------------------


def played(n: int, seed: int, rules: Rules = RULES) -> tuple[levels.Run, Book, Bars]:
    rng = np.random.default_rng(seed)
    high, low, close = walk(n, seed, tick=0.25)
    opens = np.clip(np.round((close + rng.normal(0, 0.7, n)) * 4) / 4, low, high)
    run = levels.extend(levels.initial(rules), (opens, high, low, close), np.arange(n), rules=rules)
    candles = [Candle(*row) for row in np.column_stack([opens, high, low, close]).tolist()]
    return run, replay(candles, rules), (high, low, close)


@pytest.mark.slow
@example(seed=590, horizon=1, gap=0, is_price_unit=False)  # its flip is evicted by its own bar
@settings(deadline=None, max_examples=30)
@given(
    seed=SEEDS, horizon=st.integers(1, 12), gap=st.integers(0, 4), is_price_unit=st.booleans(),
)  # fmt: skip
def test_level_labels_are_those_of_the_slow_twin(
    seed: int, horizon: int, gap: int, *, is_price_unit: bool
) -> None:
    n = 60
    rules = RULES._replace(episode_gap=gap, is_price_unit=is_price_unit)
    if is_price_unit:
        rules = rules._replace(touch=0.002, break_=0.004)
    run, book, bars = played(n, seed, rules)
    first, last = windows_of(n, horizon, every=3)
    found = level_outcomes(bars, run.atr, active_spans(run.events), (first, last), rules=rules)
    for i, entry in enumerate((first - 1).tolist()):
        if np.isnan(run.atr[entry]):
            assert np.isnan([x[i] for x in found]).all()
            continue
        expected = naive.level_labels(book, entry, horizon)
        if first[i] == last[i]:
            assert np.isnan([x[i] for x in found[:6]]).all()
            expected = {k: v for k, v in expected.items() if k.startswith(("lowest", "highest"))}
        for name, value in expected.items():
            np.testing.assert_equal(getattr(found, name)[i], value, err_msg=f"{name} at {entry}")


@pytest.mark.slow
def test_many_levels_over_a_long_time_are_those_of_the_slow_twin() -> None:
    n, rules = 400, Rules()
    run, book, bars = played(n, 17, rules)
    first, last = windows_of(n, 6, every=23)
    found = level_outcomes(bars, run.atr, active_spans(run.events), (first, last))
    for i, entry in enumerate((first - 1).tolist()):
        if entry >= 14:
            for name, value in naive.level_labels(book, entry, 6).items():
                np.testing.assert_equal(getattr(found, name)[i], value, err_msg=name)
    assert np.nanmax(found.retouch_count) > 1


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, cut=st.integers(1, 79), horizon=st.integers(1, 10))
def test_a_later_start_from_a_state_gives_the_same_labels(
    seed: int, cut: int, horizon: int
) -> None:
    n = 80
    whole, _, bars = played(n, seed)
    high, low, close = bars
    rng = np.random.default_rng(seed)
    opens = np.clip(np.round((close + rng.normal(0, 0.7, n)) * 4) / 4, low, high)
    columns_ = (opens, high, low, close)
    ts = np.arange(n)
    early = levels.extend(
        levels.initial(RULES),
        tuple(x[:cut] for x in columns_),
        ts[:cut],
        rules=RULES,  # type: ignore[arg-type]
    )
    late = levels.extend(early.state, tuple(x[cut:] for x in columns_), ts[cut:], rules=RULES)  # type: ignore[arg-type]
    first, last = windows_of(n, horizon)
    here = level_outcomes(bars, whole.atr, active_spans(whole.events), (first, last), rules=RULES)
    there = level_outcomes(
        tuple(x[cut:] for x in bars),  # type: ignore[arg-type]
        late.atr,
        active_spans(late.events, levels.table(early.state)),
        windows_of(n - cut, horizon),
        rules=RULES,
    )
    # the first bars cannot know whether an episode was open before them
    settled = RULES.episode_gap
    for name, a, b in zip(LevelOutcomes._fields, here, there, strict=True):
        np.testing.assert_array_equal(a[cut + settled :], b[settled:], err_msg=name)


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, cut=st.integers(10, 79), horizon=st.integers(1, 10))
def test_level_labels_do_not_read_past_the_horizon(seed: int, cut: int, horizon: int) -> None:
    # nor levels that were born after the entry
    run, _, bars = played(80, seed)
    other, _, changed = played(80, seed + 1)
    rng = np.random.default_rng(seed)
    opens = np.clip(np.round((bars[2] + rng.normal(0, 0.7, 80)) * 4) / 4, bars[1], bars[0])
    joined = tuple(
        np.append(a[:cut], b[cut:])
        for a, b in zip((opens, *bars), (changed[2], *changed), strict=True)
    )
    again = levels.extend(levels.initial(RULES), joined, np.arange(80), rules=RULES)  # type: ignore[arg-type]
    first, last = windows_of(80, horizon)
    here = level_outcomes(bars, run.atr, active_spans(run.events), (first, last), rules=RULES)
    there = level_outcomes(
        joined[1:],
        again.atr,
        active_spans(again.events),
        (first, last),
        rules=RULES,  # type: ignore[arg-type]
    )
    assert other.atr.size == 80
    known = np.arange(80)[last <= cut]
    known = known[known < cut - horizon]
    for name, a, b in zip(LevelOutcomes._fields, here, there, strict=True):
        np.testing.assert_array_equal(a[known], b[known], err_msg=name)


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, horizon=st.integers(1, 10))
def test_level_labels_of_negated_prices_are_the_same(seed: int, horizon: int) -> None:
    n = 80
    high, low, close = walk(n, seed, tick=0.25)
    opens = np.append(close[:1], close[:-1])
    windows = windows_of(n, horizon)
    found = []
    for sign in (1.0, -1.0):
        bars = (high, low, close) if sign > 0 else (-low, -high, -close)
        run = levels.extend(levels.initial(RULES), (sign * opens, *bars), np.arange(n), rules=RULES)
        spans = active_spans(run.events)
        found.append(level_outcomes(bars, run.atr, spans, windows, rules=RULES))
    assert_same(found[0][:6], found[1][:6])
    np.testing.assert_array_equal(found[0].lowest_resistance, -found[1].highest_support)


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, horizon=st.integers(1, 10))
def test_level_labels_agree_with_one_another_and_with_the_context(seed: int, horizon: int) -> None:
    run, _, bars = played(90, seed)
    first, last = windows_of(90, horizon)
    found = level_outcomes(bars, run.atr, active_spans(run.events), (first, last), rules=RULES)
    count, run_, soonest, any_, nearest = found[:5]
    seen = ~np.isnan(count)
    assert ((count[seen] > 0) == (soonest[seen] <= (last - first)[seen])).all()
    assert (run_[seen & (count > 0)] >= 1).all()
    assert (any_[seen] >= nearest[seen]).all()
    # the nearest levels of the machine's own context are among those that are active
    has = ~np.isnan(run.resistance.price)
    assert (found.lowest_resistance[has] <= run.resistance.price[has]).all()
    has = ~np.isnan(run.support.price)
    assert (found.highest_support[has] >= run.support.price[has]).all()


# one resistance at 100, active from bar 0 on; ATR 1, touch band 99.9 ... 100.1
FAR, IN_BAND, ABOVE = (98.0, 97.0, 97.5), (99.95, 98.0, 99.0), (101.0, 99.0, 101.0)


def of_level(
    rows: list[tuple[float, float, float]], *, stop: int = NEVER, is_broken: bool = False
) -> LevelOutcomes:
    """Label an entry at bar 2 of far bars, whose horizon is ``rows``."""
    bars = np.array([FAR] * 3 + rows).T
    spans = Spans(
        np.array([100.0]), *np.array([[1], [0], [0], [stop]]), np.array([False]),
        np.array([is_broken]),
    )  # fmt: skip
    n = bars.shape[1]
    return level_outcomes(tuple(bars), np.ones(n), spans, ([3], [n]))  # type: ignore[arg-type]


def test_bars_in_the_band_are_one_retouch_until_two_without() -> None:
    # the origin counted every bar
    found = of_level([FAR, IN_BAND, IN_BAND, FAR, IN_BAND, FAR, FAR, IN_BAND])
    assert found.retouch_count[0] == 2
    assert found.touch_run[0] == 3
    assert found.next_touch_time[0] == 2


def test_no_touch_is_one_bar_after_the_horizon() -> None:
    found = of_level([FAR] * 6)
    assert [x[0] for x in found[:3]] == [0.0, 0.0, 7.0]


def test_an_episode_that_is_open_at_entry_is_no_retouch_but_runs_on() -> None:
    bars = np.array([FAR, FAR, IN_BAND, IN_BAND, FAR, IN_BAND]).T
    spans = Spans(np.array([100.0]), *np.array([[1], [0], [0], [NEVER]]), np.array([False]),
                  np.array([False]))  # fmt: skip
    found = level_outcomes(tuple(bars), np.ones(6), spans, ([3], [6]))  # type: ignore[arg-type]
    assert [x[0] for x in found[:3]] == [0.0, 2.0, 4.0]


def test_a_bar_that_breaks_is_no_touch_and_nothing_touches_a_broken_level() -> None:
    found = of_level([FAR, ABOVE, IN_BAND, IN_BAND], stop=4, is_broken=True)
    assert [x[0] for x in found[:6]] == [0.0, 0.0, 5.0, 1.0, 1.0, 0.0]
    # one that ends otherwise may be touched by its last bar
    found = of_level([FAR, IN_BAND, IN_BAND], stop=4)
    assert [x[0] for x in found[:6]] == [1.0, 1.0, 2.0, 0.0, 0.0, 0.0]


def test_a_break_counts_within_the_horizon_alone() -> None:
    assert of_level([FAR, FAR], stop=4, is_broken=True).breakout_occurred[0] == 1.0
    assert of_level([FAR, FAR], stop=5, is_broken=True).breakout_occurred[0] == 0.0


def test_any_level_and_the_nearest_one_are_told_apart() -> None:
    # the origin did not say which of the two it meant
    bars = np.array([FAR] * 6).T
    spans = Spans(
        np.array([100.0, 105.0, 90.0]), np.array([1, 1, -1]), *np.zeros((2, 3), dtype=np.int64),
        np.array([NEVER, 4, NEVER]), np.zeros(3, dtype=np.bool_), np.array([False, True, False]),
    )  # fmt: skip
    found = level_outcomes(tuple(bars), np.ones(6), spans, ([3], [6]))  # type: ignore[arg-type]
    assert (found.breakout_occurred[0], found.nearest_breakout_occurred[0]) == (1.0, 0.0)
    assert (found.lowest_resistance[0], found.highest_support[0]) == (100.0, 90.0)


def test_a_flip_counts_where_the_level_stood_at_entry() -> None:
    bars = np.array([FAR] * 8).T

    def flips(born: int, start: int) -> float:
        spans = Spans(np.array([100.0]), *np.array([[-1], [born], [start], [NEVER]]),
                      np.array([True]), np.array([False]))  # fmt: skip
        found = level_outcomes(tuple(bars), np.ones(8), spans, ([3], [6]))  # type: ignore[arg-type]
        return float(found.flip_occurred[0])

    assert flips(born=0, start=4) == 1.0
    assert flips(born=-1, start=3) == 1.0
    assert flips(born=0, start=6) == 0.0
    assert flips(born=0, start=2) == 0.0
    assert flips(born=3, start=5) == 0.0


def test_spans_follow_a_level_through_break_and_flip() -> None:
    names = ["NEW_RESISTANCE", "TOUCH_UP", "BREAK_RESISTANCE", "FLIP_TO_SUPPORT", "DEACTIVATE_DOWN"]
    n = len(names)
    log = levels.Events(
        np.array([3, 5, 8, 10, 20]), np.array([levels.EVENTS.index(x) for x in names]),
        np.full(n, 30), np.array([1, 1, 1, -1, -1]), np.full(n, 9.0), *np.zeros((3, n)),
    )  # fmt: skip
    spans = active_spans(log)
    assert spans.start.tolist() == [3, 10]
    assert spans.stop.tolist() == [8, 20]
    assert spans.kind.tolist() == [1, -1]
    assert spans.born.tolist() == [3, 3]
    assert spans.is_broken.tolist() == [True, False]
    assert spans.is_flipped.tolist() == [False, True]
    standing = levels.Levels(
        np.array([30, 40]), np.array([1, -1]), np.array([False, True]), np.array([9.0, 5.0]),
        np.zeros(2, dtype=np.int64),
    )  # fmt: skip
    later = active_spans(levels.Events(*(x[1:] for x in log)), standing)
    assert later.start.tolist() == [-1, 10]
    assert later.born.tolist() == [-1, -1]
    with pytest.raises(ValueError, match="events: expected an end before"):
        active_spans(log, standing)
    nothing = active_spans(levels.Events(*(x[:0] for x in log)))
    assert nothing.start.size == 0


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, cut=st.integers(20, 100))
def test_spans_at_the_last_bar_are_the_active_levels_of_the_state(seed: int, cut: int) -> None:
    run = played(cut, seed)[0]
    spans, table = active_spans(run.events), levels.table(run.state)
    stands = spans.stop == NEVER
    order = np.lexsort((spans.price[stands], spans.born[stands]))
    active = ~table.is_broken
    np.testing.assert_array_equal(spans.price[stands][order], table.price[active])
    np.testing.assert_array_equal(spans.kind[stands][order], table.kind[active])
    np.testing.assert_array_equal(spans.born[stands][order], table.born_us[active])


def test_penetration_is_the_deepest_close_beyond_a_level_in_atr() -> None:
    windows = ([0, 0, 0, 0, 2], [2, 2, 2, 2, 2])
    resistance, support = [10.0, NAN, 12.0, NAN, 10.0], [8.0, 9.5, 8.0, NAN, 8.0]
    found = by_level.max_penetration([11.0, 9.0], windows, (resistance, support), [0.5] * 5)
    np.testing.assert_array_equal(found, [2.0, 1.0, 0.0, NAN, NAN])
    nothing = by_level.max_penetration([11.0], ([0], [1]), ([10.0], [8.0]), [0.0])
    assert np.isnan(nothing[0])


def test_the_nearest_level_is_the_nearer_of_two_sides() -> None:
    found = by_level.nearest_level_distance(
        [10.0] * 5, ([11.0, 13.0, NAN, NAN, 11.0], [8.0, 8.0, 8.0, NAN, 9.0]), [2.0] * 4 + [0.0]
    )
    np.testing.assert_array_equal(found, [0.5, 1.0, 1.0, NAN, NAN])


def test_shapes_are_checked() -> None:
    for call, match in (
        (lambda: labels.forward_return([1.0], []), "end: expected shape"),
        (lambda: labels.vol_scaled_return([1.0], [1.0], [1.0], limit=0.0), "limit: expected > 0"),
        (lambda: labels.triple_barrier(([], []), ([], []), [], width=0.0), "width: expected > 0"),
        (lambda: labels.time_to_barrier([1], ([], [])), "touched: expected shape"),
        (lambda: labels.range_expansion(([1.0], [0.0]), ([0], [1]), []), "entry_range: expected"),
        (lambda: labels.horizon_close([1.0], ([0], [2])), "windows: expected bars"),
        (lambda: path_statistics(([1.0], [1.0], []), ([0], [1]), [1.0]), "close: expected shape"),
        (lambda: path_statistics(([1.0],) * 3, ([0], [1]), []), "price: expected shape"),
        (lambda: trends.trend_scan([1.0], ([0], [1]), []), "price: expected shape"),
        (lambda: trends.trend_scan([1.0], ([0], [1]), [1.0], shortest=1), "shortest: expected"),
        (
            lambda: by_level.nearest_level_distance([1.0], ([], [1.0]), [1.0]),
            "resistance: expected",
        ),
        (lambda: by_level.max_penetration([1.0], ([0], [1]), ([1.0], []), [1.0]), "support: exp"),
    ):
        with pytest.raises(ValueError, match=match):
            call()
    spans = active_spans(levels.Events(*(np.empty(0, np.int64) for _ in levels.Events._fields)))
    for windows, match in (
        (([0], [1]), "windows: expected first bars ascending from 1"),
        (([2, 1], [2, 2]), "windows: expected first bars ascending"),
        (([1], [3]), r"windows: expected bars 0\.\.2"),
    ):
        with pytest.raises(ValueError, match=match):
            level_outcomes(([1.0] * 2,) * 3, [1.0] * 2, spans, windows)
    with pytest.raises(ValueError, match="atr: expected shape"):
        level_outcomes(([1.0],) * 3, [], spans, ([1], [1]))


def test_the_modules_under_test_are_all_there() -> None:
    assert {m.__name__ for m in (labels, history, by_level, paths, spans_of, trends)} == {
        f"kernels.{p.stem}" for p in Path(kernels.__path__[0]).glob("forward_labels*.py")
    }
