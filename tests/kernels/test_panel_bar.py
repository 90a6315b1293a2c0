"""One new bar of many symbols: against the one-series kernels, bar by bar, and TA-Lib's stream."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from talib import stream

from kernels.averages import ema, sma
from kernels.momentum import macd, rsi
from kernels.panel_bar import Bar, BarSettings, panel_bar, panel_bar_state
from kernels.panel_bar_lanes import CHUNK
from kernels.volatility import atr, bollinger_bands
from kernels.volume import mfi, obv

Floats = npt.NDArray[np.float64]
Columns = tuple[Floats, ...]

SHORT = BarSettings(
    sma=3, rsi=2, fast=2, slow=4, signal=3, bollinger=5, width=1.5, mfi=2, ema=4, atr=3
)
ONES = BarSettings(1, 1, 1, 2, 1, 1, 3.0, 1, 1, 1)
APART = BarSettings(sma=7, rsi=21, fast=5, slow=35, signal=5, bollinger=30, mfi=9, ema=50, atr=10)
SOME = st.sampled_from((BarSettings(), SHORT, ONES, APART))


def market(n_symbols: int, n: int, seed: int, holes: float = 0.0) -> Columns:
    """Return high, low, close, volume, a row a bar; some missing, infinite, constant."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0, 0.02, (n, n_symbols)), axis=0))
    high = close * (1.0 + np.abs(rng.normal(0, 0.01, close.shape)))
    low = close * (1.0 - np.abs(rng.normal(0, 0.01, close.shape)))
    volume = rng.integers(0, 1000, close.shape).astype(np.float64)
    columns = (high, low, close, volume)
    if holes:
        for x in columns:
            x[rng.random(x.shape) < holes] = np.nan
            x[rng.random(x.shape) < holes / 5] = rng.choice([np.inf, -np.inf])
        for x in columns:
            x[: n // 3, 0] = np.nan  # a symbol that is listed later
            x[:, -1] = 7.0
    return columns


def by_bars(columns: Columns, chosen: BarSettings, state: Any = None) -> Floats:
    """Return the twelve lines, ``[line, bar, symbol]``, each bar by a call of its own."""
    own = panel_bar_state(columns[0].shape[1], chosen) if state is None else state
    return np.array(
        [panel_bar(*bar, state=own, settings=chosen) for bar in zip(*columns, strict=True)]
    ).transpose(1, 0, 2)


def one_by_one(columns: Columns, chosen: BarSettings, symbol: int) -> list[Floats]:
    """Return a symbol's twelve lines from the kernels for one series."""
    high, low, close, volume = (np.ascontiguousarray(x[:, symbol]) for x in columns)
    return [
        sma(close, chosen.sma),
        ema(close, chosen.ema),
        rsi(close, chosen.rsi),
        *macd(close, chosen.fast, chosen.slow, chosen.signal),
        *bollinger_bands(close, chosen.bollinger, width=chosen.width),
        atr(high, low, close, period=chosen.atr),
        obv(close, volume),
        mfi(high, low, close, volume, period=chosen.mfi),
    ]


def as_alone(found: Floats, columns: Columns, chosen: BarSettings, symbols: list[int]) -> None:
    """Fail unless they agree to 1e-12 of the larger of the value and the largest input."""
    for s in symbols:
        known = [x[:, s][np.isfinite(x[:, s])] for x in columns]
        scale = max(100.0, *(np.abs(x).max(initial=0.0) for x in known))
        for name, ours, alone in zip(
            Bar._fields, found[:, :, s], one_by_one(columns, chosen, s), strict=True
        ):
            np.testing.assert_array_equal(np.isnan(ours), np.isnan(alone), err_msg=f"{name} {s}")
            off = np.abs(ours - alone) > 1e-12 * np.maximum(np.abs(alone), scale)
            assert not off.any(), (name, s)


@pytest.mark.parametrize("holes", [0.0, 0.03])
@pytest.mark.parametrize("chosen", [BarSettings(), SHORT, ONES, APART])
def test_every_bar_is_as_the_kernels_for_one(holes: float, chosen: BarSettings) -> None:
    n_symbols = 4 * CHUNK + 13  # the chunks begin their windows' turns at different bars
    columns = market(n_symbols, 110, 5, holes)
    symbols = [*range(0, n_symbols, 97), CHUNK - 1, CHUNK, n_symbols - 1]
    as_alone(by_bars(columns, chosen), columns, chosen, symbols)


@settings(max_examples=40, deadline=None)
@given(
    n_symbols=st.integers(1, 20),
    n=st.integers(1, 90),
    seed=st.integers(0, 10**6),
    chosen=SOME,
    holes=st.sampled_from([0.0, 0.05, 0.4]),
)
def test_any_market_is_as_the_kernels_for_one(
    n_symbols: int, n: int, seed: int, chosen: BarSettings, holes: float
) -> None:
    columns = market(n_symbols, n, seed, holes)
    as_alone(by_bars(columns, chosen), columns, chosen, list(range(n_symbols)))


def test_the_last_bar_is_as_talib_streams_it() -> None:
    columns = market(6, 300, 2)
    last = by_bars(columns, BarSettings())[:, -1]
    for s in range(6):
        high, low, close, volume = (np.ascontiguousarray(x[:, s]) for x in columns)
        expected = [
            stream.SMA(close, 20).value, stream.EMA(close, 20).value, stream.RSI(close, 14).value,
            *stream.MACD(close).value, *stream.BBANDS(close, 20).value[::-1],
            stream.ATR(high, low, close, 14).value, stream.OBV(close, volume).value,
            stream.MFI(high, low, close, volume, 14).value,
        ]  # fmt: skip
        np.testing.assert_allclose(last[:, s], expected, rtol=0, atol=1e-9)


def test_a_copy_of_the_state_goes_on_to_the_same_bits() -> None:
    columns = market(CHUNK + 9, 70, 3, holes=0.02)
    state = panel_bar_state(CHUNK + 9)
    whole = by_bars(columns, BarSettings(), state.copy())
    before = by_bars(tuple(x[:33] for x in columns), BarSettings(), state)
    after = by_bars(tuple(x[33:] for x in columns), BarSettings(), state.copy())
    np.testing.assert_array_equal(np.concatenate((before, after), axis=1), whole)


def test_an_outlier_leaves_no_trace_in_a_window() -> None:
    columns = market(3 * CHUNK, 120, 4)
    clean = by_bars(columns, BarSettings())
    for x in columns:
        x[30] = 1e12
    found = by_bars(columns, BarSettings())
    for line in (0, 6, 7, 8, 11):
        np.testing.assert_array_equal(found[line, 60:], clean[line, 60:])


def test_bands_keep_their_digits_where_the_price_is_large() -> None:
    close = 1e6 + np.random.default_rng(4).normal(0, 0.01, (200, 2 * CHUNK))
    found = by_bars((close, close, close, np.ones_like(close)), BarSettings())
    windows = np.lib.stride_tricks.sliding_window_view(close - 1e6, 20, axis=0)
    exact = windows.astype(np.longdouble).std(axis=-1).astype(float)
    # the bands themselves are rounded to an ulp of the price: 1.2e-10
    np.testing.assert_allclose((found[8] - found[7])[19:] / 2.0, exact, rtol=0, atol=1.3e-10)


def test_a_symbol_does_not_depend_on_the_others() -> None:
    columns = market(40, 60, 6, holes=0.05)
    alone = tuple(x[:, 11:12] for x in columns)
    np.testing.assert_array_equal(
        by_bars(columns, BarSettings())[:, :, 11:12], by_bars(alone, BarSettings())
    )


def test_results_go_where_they_are_wanted_whatever_the_numbers_are() -> None:
    bar = [np.rint(x[0]) for x in market(5, 1, 7)]
    expected = panel_bar(*bar, state=panel_bar_state(5))
    out = np.full((12, 5), -1.0)
    frozen = [x.astype(np.int32) for x in bar]
    found = panel_bar(*frozen, state=panel_bar_state(5), out=out)
    assert np.shares_memory(found.mfi, out)
    np.testing.assert_array_equal(found, expected)


def test_no_symbols() -> None:
    none = np.empty(0)
    assert panel_bar(none, none, none, none, state=panel_bar_state(0)).rsi.shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BarSettings(ema=0), "ema: expected >= 1, was 0"),
        (lambda: BarSettings(atr=0), "atr: expected >= 1, was 0"),
        (lambda: BarSettings(slow=12), "slow: expected >= 13, was 12"),
        (lambda: panel_bar_state(-1), "n_symbols: expected >= 0, was -1"),
        (lambda: _bar(2, state=panel_bar_state(2, SHORT)), r"state: expected .* \(1, 114, 512\)"),
        (lambda: _bar(600, state=panel_bar_state(2)), r"state: expected .* \(2, 114, 512\)"),
        (lambda: _bar(2, out=np.empty((12, 3))), r"out: expected .* \(12, 2\)"),
        (lambda: panel_bar([1.0], [1.0], [1.0], [1.0, 2.0], state=panel_bar_state(1)), "volume"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def _bar(n: int, **given_: Any) -> Bar:
    x = np.ones(n)
    return panel_bar(x, x, x, x, **{"state": panel_bar_state(n), **given_})
