"""The resampling kernel: its twin, its laws, and what it refuses."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import gate, resample
from kernels.resample import Bars, Bounds
from tests.naive import resample as naive

SECOND = 1_000_000


def bars_of(ts: Any, prices: Any, volume: Any) -> Bars:
    open_, close = prices[:, 0], prices[:, 1]
    high, low = prices.max(axis=1), prices.min(axis=1)
    return Bars(ts, open_, high, low, close, volume)


@st.composite
def bars(draw: st.DrawFn, most: int = 60) -> Bars:
    seconds = draw(st.lists(st.integers(0, 239), unique=True, min_size=0, max_size=most))
    n = len(seconds)
    price = st.floats(0.01, 1e6)
    prices = draw(st.lists(st.tuples(price, price), min_size=n, max_size=n))
    volume = draw(st.lists(st.floats(0, 1e9), min_size=n, max_size=n))
    ts = np.sort(np.array(seconds, dtype=np.int64)) * SECOND
    return bars_of(ts, np.array(prices, dtype=np.float64).reshape(n, 2), np.array(volume))


def every(seconds: int, *, until: int = 240) -> Bounds:
    opens = np.arange(0, until, seconds, dtype=np.int64) * SECOND
    return Bounds(opens, np.minimum(opens + seconds * SECOND, until * SECOND))


def rows(made: resample.Resampled) -> list[tuple[tuple[float, ...], int]]:
    columns = zip(*(column.tolist() for column in made.bars), strict=True)
    return [(bar, int(count)) for bar, count in zip(columns, made.count, strict=True)]


@settings(deadline=None)  # the first example compiles
@given(bars=bars(), step=st.integers(1, 240))
def test_a_grid_equals_its_naive_twin_bit_for_bit(bars: Bars, step: int) -> None:
    bounds = every(step)
    made = resample.resample(bars, [bounds])[0]
    expected = naive.resample(
        list(zip(*(c.tolist() for c in bars), strict=True)),
        list(zip(bounds.open_us.tolist(), bounds.end_us.tolist(), strict=True)),
    )
    assert rows(made) == expected


@settings(deadline=None)  # the first example compiles
@given(bars=bars(), steps=st.sampled_from([(2, 10, 60), (5, 15, 120), (1, 7, 14), (3, 240)]))
def test_a_cascade_equals_each_grid_alone_bit_for_bit(bars: Bars, steps: tuple[int, ...]) -> None:
    until = 240 if 7 not in steps else 252
    grids = [every(step, until=until) for step in steps]
    for together, grid in zip(resample.resample(bars, grids), grids, strict=True):
        alone = resample.resample(bars, [grid])[0]
        assert rows(together) == rows(alone)
        np.testing.assert_array_equal(together.slot, alone.slot)
        np.testing.assert_array_equal(together.first, alone.first)
        np.testing.assert_array_equal(together.end_us, alone.end_us)


@settings(deadline=None)  # the first example compiles
@given(bars=bars(), step=st.integers(1, 60), data=st.data())
def test_a_finished_bar_never_sees_the_future(bars: Bars, step: int, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(bars.ts)))
    bounds = every(step)
    whole = rows(resample.resample(bars, [bounds])[0])
    seen: Any = [column[:cut] for column in bars]
    part = rows(resample.resample(Bars(*seen), [bounds])[0])
    now = bars.ts[cut] if cut < len(bars.ts) else 240 * SECOND
    finished = [row for row in part if row[0][0] + step * SECOND <= now]
    assert finished == whole[: len(finished)]


@settings(deadline=None)  # the first example compiles
@given(bars=bars(), step=st.integers(1, 240))
def test_jit_equals_plain_python(bars: Bars, step: int) -> None:
    ready = resample._gated(bars)
    edges = gate.instants(np.arange(ready.ts.size + 1), "edges")
    bounds = [gate.instants(column, "bounds") for column in every(step)]
    arguments: Any = (ready.ts, ready.high, ready.low, edges, ready.volume, *bounds)
    compiled = resample._group(*arguments)
    plain = resample._group.py_func(*arguments)
    for one, other in zip(compiled, plain, strict=True):
        np.testing.assert_array_equal(one, other)


@settings(deadline=None)  # the first example compiles
@given(bars=bars(), step=st.sampled_from([2, 5, 60]))
def test_equals_polars_group_by_dynamic(bars: Bars, step: int) -> None:
    frame = pl.DataFrame(dict(zip(Bars._fields, bars, strict=True))).with_columns(
        pl.col("ts").cast(pl.Datetime("us"))
    )
    theirs = frame.group_by_dynamic("ts", every=f"{step}s").agg(
        pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last()
    )
    made = resample.resample(bars, [every(step)])[0].bars
    for column in ("open", "high", "low", "close"):
        np.testing.assert_array_equal(getattr(made, column), theirs[column].to_numpy())


def test_volume_is_nan_where_one_of_its_bars_is() -> None:
    ts = np.arange(4, dtype=np.int64) * SECOND
    volume = np.array([1.0, np.nan, 2.0, 3.0])
    made = resample.resample(bars_of(ts, np.ones((4, 2)), volume), [every(2)])[0]
    np.testing.assert_array_equal(made.bars.volume, [np.nan, 5.0])


def test_trades_of_one_instant_keep_their_order() -> None:
    ts = np.array([0, 0, 0], dtype=np.int64)
    price = np.array([[2.0, 2.0], [9.0, 9.0], [1.0, 1.0]])
    made = resample.resample(bars_of(ts, price, np.ones(3)), [every(1)])[0].bars
    assert (made.open[0], made.high[0], made.low[0], made.close[0]) == (2.0, 9.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("ts", "at"),
    [
        pytest.param([0, 3, 2], 2, id="backwards inside an interval"),
        pytest.param([11, 12, 2], 2, id="backwards into an earlier interval"),
        pytest.param([0, 1, 300], 2, id="after the last interval"),
        pytest.param([-1, 0, 1], 0, id="before the first interval"),
    ],
)
def test_refuses_what_lies_in_no_interval(ts: list[int], at: int) -> None:
    stamps = np.array(ts, dtype=np.int64) * SECOND
    given_bars = bars_of(stamps, np.ones((3, 2)), np.ones(3))
    with pytest.raises(ValueError, match=rf"^ts: expected ascending .* at {at}$"):
        resample.resample(given_bars, [every(10)])


def test_refuses_a_bar_between_two_intervals() -> None:
    bounds = Bounds(np.array([0, 20]) * SECOND, np.array([10, 30]) * SECOND)
    lone = bars_of(np.array([15 * SECOND]), np.ones((1, 2)), np.ones(1))
    with pytest.raises(ValueError, match="grids\\[0\\]"):
        resample.resample(lone, [bounds])


def test_refuses_columns_of_different_lengths() -> None:
    ts = np.arange(3, dtype=np.int64)
    with pytest.raises(ValueError, match=r"^volume: expected 3 values, was 2$"):
        resample.resample(bars_of(ts, np.ones((3, 2)), np.ones(2)), [every(1)])


def test_no_bars_make_no_bars() -> None:
    nothing = np.array([], dtype=np.float64)
    none = Bars(np.array([], dtype=np.int64), nothing, nothing, nothing, nothing, nothing)
    assert [r.bars.ts.size for r in resample.resample(none, [every(1), every(60)])] == [0, 0]


def test_compiles_once_whatever_is_handed_in() -> None:
    ts = np.arange(4, dtype=np.int64) * SECOND
    frozen = ts.copy()
    frozen.flags.writeable = False
    resample.resample(bars_of(ts, np.ones((4, 2)), np.ones(4)), [every(2), every(4)])
    resample.resample(bars_of(frozen, np.ones((8, 2))[::2], np.ones(8)[::2]), [every(2)])
    assert len(resample._group.signatures) == 1


def test_the_gate_makes_one_kind_of_array() -> None:
    original = np.arange(6, dtype=np.float64)
    gated = gate.series(original, "close")
    assert not gated.flags.writeable
    assert original.flags.writeable
    assert np.shares_memory(gated, original)
    strided = gate.series(original[::2], "close")
    assert strided.flags.c_contiguous
    assert gate.instants([1, 2], "ts").dtype == np.int64


def test_the_gate_names_what_it_refuses() -> None:
    with pytest.raises(ValueError, match=r"^close: expected shape \(n,\), was \(\)$"):
        gate.series(1.0, "close")
    with pytest.raises(ValueError, match=r"^close: expected shape \(n,\), was \(2, 2\)$"):
        gate.series(np.ones((2, 2)), "close")
    with pytest.raises(
        TypeError, match=r"^ts: expected integers \(microseconds UTC\), was float64$"
    ):
        gate.instants([1.5], "ts")
    with pytest.raises(TypeError, match="datetime64"):
        gate.instants(np.array(["2020-01-01"], dtype="datetime64[us]"), "ts")
