"""Momentum: how fast and how far the price has moved.

Where nothing moved the relative strength has no direction, and is 50 (TA-Lib: 0, which reads as the
deepest oversold that there is).
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels import engine
from kernels.blocks import BLOCK, close_up, gather, put
from kernels.gate import Series, series, target, targets
from kernels.jit import compiled
from kernels.momentum_blocks import advance_gaps, advance_lines, advance_strength, moves
from kernels.recurrences import (
    BEHIND,
    RECURRENCE_SIZE,
    Lane,
    recurrence,
    recurrence_state,
    resume,
    row_size,
    suspend,
)
from kernels.states import at_least, carried, column, kept, ratio
from kernels.windows import lagged, total, window_state

Smoothing = Literal["wilder", "cutler"]


class Macd(NamedTuple):
    """The three lines of MACD, shape (n,), in the unit of the price."""

    line: Series
    signal: Series
    histogram: Series


def rsi_state(period: int = 14, method: Smoothing = "wilder") -> Series:
    """Return the state of ``rsi`` before the first bar."""
    if method == "cutler":
        return cutler_rsi_state(period)
    at_least(period, 1, "period")
    return np.concatenate(([np.nan], recurrence_state(1), recurrence_state(1)))


def rsi(
    close: npt.ArrayLike,
    period: int = 14,
    *,
    method: Smoothing = "wilder",
    state: Series | None = None,
    out: Series | None = None,
) -> Series:
    """Return the relative strength index: average gain over average gain and loss.

    Causal and recursive. 50 where nothing has moved since the first bar (TA-Lib: 0).

    Parameters
    ----------
    close : array_like, float64, shape (n,)
        Prices. A value that is not finite gives NaN and is passed over.
    period : int
        Bars of the average, at least 1.
    method : {"wilder", "cutler"}
        How gains and losses are averaged; "cutler" is ``cutler_rsi``.
    state : ndarray of float64, optional
        From ``rsi_state(period)`` or an earlier call, which this one continues: changed in place.
    out : ndarray of float64, shape (n,), optional
        Where to write; a new array by default. It may share no memory with ``close``.

    Returns
    -------
    ndarray of float64, shape (n,)
        0..100; NaN for the first ``period`` bars of the series.

    Raises
    ------
    ValueError
        If ``period`` is below 1, ``method`` is neither, or ``close`` or ``state`` has another
        shape.

    References
    ----------
    J. W. Wilder, New Concepts in Technical Trading Systems (1978), section VI. TA-Lib ``RSI``.

    Examples
    --------
    >>> rsi([1.0, 2.0, 1.0, 3.0], 2).round(1)
    array([ nan,  nan, 50. , 83.3])
    """
    if method == "cutler":
        return cutler_rsi(close, period, state=state, out=out)
    if method != "wilder":
        raise ValueError(f'method: expected "wilder" or "cutler", was {method!r}')
    period = at_least(period, 1, "period")
    given = series(close, "close")
    strength = target(out, given)
    engine.run("rsi", _rsi, given, period, kept(state, 1 + 2 * RECURRENCE_SIZE), strength)
    return strength


def cutler_rsi_state(period: int = 14) -> Series:
    """Return the state of ``cutler_rsi`` before the first bar."""
    window = window_state(at_least(period, 1, "period"))
    return np.concatenate(([np.nan], window, window))


def cutler_rsi(
    close: npt.ArrayLike,
    period: int = 14,
    *,
    state: Series | None = None,
    out: Series | None = None,
) -> Series:
    """Return Cutler's relative strength index, of simple averages of gains and losses.

    Causal, and it does not depend on where the series begins. 50 where nothing moved inside the
    window.

    Parameters
    ----------
    close : array_like, float64, shape (n,)
        Prices. NaN gives NaN for the ``period + 1`` bars that see it.
    period : int
        Bars, at least 1.
    state : ndarray of float64, optional
        From ``cutler_rsi_state(period)`` or an earlier call, which this one continues: changed in
        place.
    out : ndarray of float64, shape (n,), optional
        Where to write; a new array by default. It may share no memory with ``close``.

    Returns
    -------
    ndarray of float64, shape (n,)
        0..100; NaN for the first ``period`` bars of the series.

    Raises
    ------
    ValueError
        If ``period`` is below 1, or ``close`` or ``state`` has another shape.

    References
    ----------
    D. Cutler's RSI; QuantConnect Lean ``RelativeStrengthIndex`` with ``MovingAverageType.Simple``.

    Examples
    --------
    >>> cutler_rsi([1.0, 2.0, 1.0, 3.0], 2).round(1)
    array([ nan,  nan, 50. , 66.7])
    """
    own = carried(state, cutler_rsi_state(period))
    given = column(close, "close")
    strength = target(out, given)
    change = given - lagged(given, own[:1])
    gain = total(np.maximum(change, 0.0), period, own[1:period])
    loss = total(np.maximum(-change, 0.0), period, own[period:])
    strength[:] = 100.0 * ratio(gain, gain + loss, otherwise=0.5)
    return strength


def macd_state(fast: int = 12, slow: int = 26, signal: int = 9) -> Series:
    """Return the state of ``macd`` before the first bar."""
    _check_macd(fast, slow, signal)
    return np.concatenate((recurrence_state(slow - fast), recurrence_state(), recurrence_state()))


def macd(
    close: npt.ArrayLike,
    fast: int = 12,
    slow: int = 26,
    signal: int = 9,
    *,
    state: Series | None = None,
    out: Sequence[Series] | None = None,
) -> Macd:
    """Return moving average convergence divergence: EMA(fast) - EMA(slow), its EMA, their gap.

    Both averages begin at the same bar, as in TA-Lib: the fast one is seeded by the last ``fast``
    of the first ``slow`` values, so it is not ``ema(close, fast)`` until that has worn off.
    Causal and recursive.

    Parameters
    ----------
    close : array_like, float64, shape (n,)
        Prices. A value that is not finite gives NaN and is passed over.
    fast, slow, signal : int
        Bars; 1 <= fast < slow, signal at least 1.
    state : ndarray of float64, optional
        From ``macd_state(...)`` or an earlier call, which this one continues: changed in place.
    out : three ndarrays of float64, shape (n,), optional
        Where to write; new arrays by default. They may share no memory with ``close``.

    Returns
    -------
    Macd
        Three arrays of float64, shape (n,), unit of ``close``; all NaN for the first
        ``slow + signal - 2`` bars of the series.

    Raises
    ------
    ValueError
        If a period is out of range, or ``close`` or ``state`` has another shape.

    References
    ----------
    TA-Lib ``MACD``.

    Examples
    --------
    >>> macd([1.0, 2.0, 4.0, 7.0], 1, 2, 2).histogram.round(4)
    array([   nan,    nan, 0.1667, 0.2037])
    """
    periods = _check_macd(fast, slow, signal)
    given = series(close, "close")
    lines = Macd(*targets(out, 3, given))
    engine.run("macd", _macd, given, *periods, kept(state, 3 * RECURRENCE_SIZE), *lines)
    return lines


def _check_macd(fast: int, slow: int, signal: int) -> tuple[int, int, int]:
    fast = at_least(fast, 1, "fast")
    return fast, at_least(slow, fast + 1, "slow"), at_least(signal, 1, "signal")


@compiled
def _rsi(close: Series, period: int, state: Series, out: Series) -> None:
    size = row_size(close.size)
    room, kept_bars = np.empty((7, size)), np.empty(size, np.int64)
    given, rising, gains, work = room[:1], room[1], room[2], room[3]
    falling, losses, work_2 = room[4], room[5], room[6]
    before, own, own_2 = np.nan, recurrence(1), recurrence(1)
    if state.size:
        before = state[0]
        own, own_2 = state[1 : 1 + RECURRENCE_SIZE], state[1 + RECURRENCE_SIZE :]
    up: Lane = (rising, gains, work, period, 1.0 / period, own)
    down: Lane = (falling, losses, work_2, period, 1.0 / period, own_2)
    if state.size:
        resume(up)
        resume(down)
    for start in range(0, close.size, BLOCK):
        count = min(BLOCK, close.size - start)
        if moves(close, start, count, before, rising, falling):
            prices, dense = given[0], np.empty(count)
            gather(close, start, count, prices, 0)
            usable = close_up(given, 0, count, kept_bars)
            moves(prices, 0, usable, before, rising, falling)
            advance_strength(up, down, usable, dense, 0)
            put(dense, kept_bars, usable, out, start, count)
            before = prices[usable - 1] if usable else before
        else:
            advance_strength(up, down, count, out, start)
            before = close[start + count - 1]
    if state.size:
        state[0] = before
        suspend(up)
        suspend(down)


@compiled
def _macd(  # noqa: PLR0913, PLR0917 - the parameters of one formula, three lines out
    close: Series,
    fast: int,
    slow: int,
    signal: int,
    state: Series,
    line: Series,
    average: Series,
    histogram: Series,
) -> None:
    size = row_size(close.size)
    room, kept_bars = np.empty((7, size)), np.empty(size, np.int64)
    given, prices, gaps, work, work_2 = room[:1], room[0], room[1], room[2], room[3]
    quick, steady, smoothed = room[4], room[5], room[6]
    own, own_2, own_3 = recurrence(slow - fast), recurrence(0), recurrence(0)
    if state.size:
        own, own_2 = state[:RECURRENCE_SIZE], state[RECURRENCE_SIZE : 2 * RECURRENCE_SIZE]
        own_3 = state[2 * RECURRENCE_SIZE :]
    of_fast: Lane = (prices, quick, work, fast, 2.0 / (fast + 1.0), own)
    of_slow: Lane = (prices, steady, work_2, slow, 2.0 / (slow + 1.0), own_2)
    of_signal: Lane = (gaps, smoothed, work, signal, 2.0 / (signal + 1.0), own_3)
    lanes = (of_fast, of_slow, of_signal)
    if state.size:
        for lane in lanes:
            resume(lane)
    for start in range(0, close.size, BLOCK):
        count = min(BLOCK, close.size - start)
        if gather(close, start, count, prices, BEHIND):
            usable, dense = close_up(given, BEHIND, count, kept_bars), np.empty((3, count))
            waiting = advance_gaps(of_fast, of_slow, usable, gaps)
            advance_lines(of_signal, waiting, usable, dense[0], dense[1], dense[2], 0)
            put(dense[0], kept_bars, usable, line, start, count)
            put(dense[1], kept_bars, usable, average, start, count)
            put(dense[2], kept_bars, usable, histogram, start, count)
        else:
            waiting = advance_gaps(of_fast, of_slow, count, gaps)
            advance_lines(of_signal, waiting, count, line, average, histogram, start)
    if state.size:
        for lane in lanes:
            suspend(lane)
