"""Volatility: how wide the price moves."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernels import engine
from kernels.blocks import BLOCK, WINDOW_BLOCK, U, close_up, gather, put
from kernels.gate import Series, series, target, targets
from kernels.jit import compiled, compiled_borrowing
from kernels.recurrences import (
    BEHIND,
    RECURRENCE_SIZE,
    Lane,
    advance,
    recurrence,
    recurrence_state,
    resume,
    scratch,
    suspend,
)
from kernels.states import NO_STATE, at_least, kept, same_length
from kernels.window_moments import moments_room, window_moments
from kernels.window_sums import FIVE, joined, keep_last, steps_to
from kernels.windows import window_state


class BollingerBands(NamedTuple):
    """Bollinger's three bands, shape (n,), in the unit of the price."""

    lower: Series
    middle: Series
    upper: Series


class Bollinger(NamedTuple):
    """Bollinger's bands and what is read off them, shape (n,)."""

    lower: Series
    middle: Series
    upper: Series
    percent_b: Series
    width: Series
    sigma: Series


def atr_state(period: int = 14) -> Series:
    """Return the state of ``atr`` before the first bar."""
    at_least(period, 1, "period")
    return np.concatenate(([np.nan], recurrence_state(1)))


def atr(
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    close: npt.ArrayLike,
    *,
    period: int = 14,
    state: Series | None = None,
    out: Series | None = None,
) -> Series:
    """Return the average true range: Wilder's average of the true range.

    Causal and recursive; the first true range is the second bar's. 0 where nothing ever moved.

    Parameters
    ----------
    high, low, close : array_like, float64, shape (n,)
        Prices. A bar with a value that is not finite gives NaN and is passed over whole.
    period : int
        Bars of Wilder's average, at least 1.
    state : ndarray of float64, optional
        From ``atr_state(period)`` or an earlier call, which this one continues: changed in place.
    out : ndarray of float64, shape (n,), optional
        Where to write; a new array by default. It may share no memory with a column.

    Returns
    -------
    ndarray of float64, shape (n,)
        Price units; NaN for the first ``period`` bars of the series.

    Raises
    ------
    ValueError
        If ``period`` is below 1, or a column or ``state`` has another shape.

    References
    ----------
    J. W. Wilder, New Concepts in Technical Trading Systems (1978), section III. TA-Lib ``ATR``.

    Examples
    --------
    >>> atr([2.0, 3.0, 5.0], [1.0, 2.0, 4.0], [1.5, 2.5, 4.5], period=2)
    array([nan, nan,  2.])
    """
    period = at_least(period, 1, "period")
    highs, lows, closes = series(high, "high"), series(low, "low"), series(close, "close")
    same_length(("high", "low", "close"), highs, lows, closes)
    average = target(out, highs, lows, closes)
    own = kept(state, 1 + RECURRENCE_SIZE)
    engine.run("atr", _atr, highs, lows, closes, period, own, average)
    return average


def bollinger_bands_state(period: int = 20) -> Series:
    """Return the state of ``bollinger_bands`` before the first bar."""
    return bollinger_state(period)


def bollinger_bands(
    close: npt.ArrayLike,
    period: int = 20,
    *,
    width: float = 2.0,
    state: Series | None = None,
    out: Sequence[Series] | None = None,
) -> BollingerBands:
    """Return Bollinger's bands: the mean and ``width`` population standard deviations around it.

    The first three of ``bollinger``, to the bit, in half its time. Causal.

    Parameters
    ----------
    close : array_like, float64, shape (n,)
        Prices. NaN gives NaN for the ``period`` bars that see it.
    period : int
        Bars, at least 1.
    width : float
        Standard deviations from the middle to a band, above 0.
    state : ndarray of float64, optional
        From ``bollinger_bands_state(period)`` or an earlier call, which this one continues:
        changed in place.
    out : three ndarrays of float64, shape (n,), optional
        Where to write; new arrays by default. They may share no memory with ``close``.

    Returns
    -------
    BollingerBands
        Three arrays of float64, shape (n,), unit of ``close``; NaN for the first ``period - 1``
        bars of the series.

    Raises
    ------
    ValueError
        If ``period`` is below 1, ``width`` not above 0, or ``close`` or ``state`` has another
        shape.

    References
    ----------
    J. Bollinger, Bollinger on Bollinger Bands (2001). TA-Lib ``BBANDS``.

    Examples
    --------
    >>> bands = bollinger_bands([1.0, 3.0], 2)
    >>> float(bands.lower[1]), float(bands.middle[1]), float(bands.upper[1])
    (0.0, 2.0, 4.0)
    """
    period, width = at_least(period, 1, "period"), _above_zero(width)
    given = series(close, "close")
    bands = BollingerBands(*targets(out, 3, given))
    own = kept(state, period - 1)
    engine.run(
        "bollinger", _bollinger, given, period, width, own, *bands, NO_STATE, NO_STATE, NO_STATE
    )
    return bands


def bollinger_state(period: int = 20) -> Series:
    """Return the state of ``bollinger`` before the first bar."""
    return window_state(at_least(period, 1, "period"))


def bollinger(
    close: npt.ArrayLike,
    period: int = 20,
    *,
    width: float = 2.0,
    state: Series | None = None,
    out: Sequence[Series] | None = None,
) -> Bollinger:
    """Return Bollinger's bands, and where in them the price lies, how wide they are, their sigma.

    %b is 0 at the lower band and 1 at the upper; the band width is (upper - lower) / middle. Both,
    and the standard deviation sigma, are computed from the deviations, not from the bands, which
    lose their digits where the price is large beside its deviation. A constant window has %b 0.5,
    width and sigma 0. Causal.

    Parameters
    ----------
    close : array_like, float64, shape (n,)
        Prices. NaN gives NaN for the ``period`` bars that see it.
    period : int
        Bars, at least 1.
    width : float
        Standard deviations from the middle to a band, above 0.
    state : ndarray of float64, optional
        From ``bollinger_state(period)`` or an earlier call, which this one continues: changed in
        place.
    out : six ndarrays of float64, shape (n,), optional
        Where to write; new arrays by default. They may share no memory with ``close``.

    Returns
    -------
    Bollinger
        Six arrays of float64, shape (n,): the bands and sigma in the unit of ``close``,
        ``percent_b`` and ``width`` without one; NaN for the first ``period - 1`` bars of the
        series.

    Raises
    ------
    ValueError
        If ``period`` is below 1, ``width`` not above 0, or ``close`` or ``state`` has another
        shape.

    References
    ----------
    J. Bollinger, Bollinger on Bollinger Bands (2001). TA-Lib ``BBANDS``.

    Examples
    --------
    >>> bands = bollinger([1.0, 3.0], 2)
    >>> float(bands.upper[1]), float(bands.percent_b[1]), float(bands.sigma[1])
    (4.0, 0.75, 1.0)
    """
    period, width = at_least(period, 1, "period"), _above_zero(width)
    given = series(close, "close")
    lines = Bollinger(*targets(out, 6, given))
    engine.run("bollinger", _bollinger, given, period, width, kept(state, period - 1), *lines)
    return lines


def _above_zero(width: float) -> float:
    if not 0.0 < width < np.inf:
        raise ValueError(f"width: expected > 0, was {width}")
    return float(width)


@compiled
def _atr(high: Series, low: Series, close: Series, period: int, state: Series, out: Series) -> None:
    room, kept_bars = scratch(6, close.size), np.empty(min(close.size, BLOCK), np.int64)
    given, highs, lows, closes = room[:3], room[0], room[1], room[2]
    ranges, averages, work = room[3], room[4], room[5]
    before, own = np.nan, recurrence(1)
    if state.size:
        before, own = state[0], state[1:]
    lane: Lane = (ranges, averages, work, period, 1.0 / period, own)
    if state.size:
        resume(lane)
    for start in range(0, close.size, BLOCK):
        count = min(BLOCK, close.size - start)
        if true_ranges(high, low, close, start, count, before, ranges):
            gather(high, start, count, highs, 0)
            gather(low, start, count, lows, 0)
            gather(close, start, count, closes, 0)
            usable, dense = close_up(given, 0, count, kept_bars), np.empty(count)
            true_ranges(highs, lows, closes, 0, usable, before, ranges)
            advance(lane, usable, dense, 0)
            put(dense, kept_bars, usable, out, start, count)
            before = closes[usable - 1] if usable else before
        else:
            advance(lane, count, out, start)
            before = close[start + count - 1]
    if state.size:
        state[0] = before
        suspend(lane)


@compiled_borrowing
def true_ranges(  # noqa: PLR0913, PLR0917 - three series, from where, to where
    high: Series, low: Series, close: Series, at: int, count: int, before: float, ranges: Series
) -> int:
    """Write the true range of each bar from ``at``; return how many bars are not finite."""
    first, to = U(at), U(BEHIND + 1)
    missing = 0
    if count:
        top, bottom, last = high[at], low[at], close[at]
        ranges[BEHIND] = true_range_of(top, bottom, before)
        missing += not abs(top) + abs(bottom) + abs(last) < np.inf
    for i in range(U(max(count - 1, 0))):
        j = i + first
        before, top, bottom, last = close[j], high[j + U(1)], low[j + U(1)], close[j + U(1)]
        missing += not abs(top) + abs(bottom) + abs(last) < np.inf
        ranges[i + to] = true_range_of(top, bottom, before)
    return missing


@compiled_borrowing
def true_range_of(high: float, low: float, before: float) -> float:
    """Return one bar's true range; the range alone where there is no close before."""
    top = max(high, before)
    bottom = min(low, before)
    return top - bottom


@compiled_borrowing
def draw_bands(  # noqa: PLR0913, PLR0917 - a block of moments in, three lines out
    source: Series,
    at: int,
    mean: Series,
    spread: Series,
    period: int,
    width: float,
    lower: Series,
    middle: Series,
    upper: Series,
    to: int,
    count: int,
) -> None:
    """Write the bands of a block; NaN where a price was infinite."""
    base, first, share = U(at), U(to), 1.0 / np.sqrt(period)
    for i in range(U(count)):
        centre = source[i + base] + mean[i]
        reach = width * (share * np.sqrt(spread[i]))
        centre += (centre - centre) + (reach - reach)
        lower[i + first] = centre - reach
        middle[i + first] = centre
        upper[i + first] = centre + reach


@compiled
def _bollinger(  # noqa: PLR0913, PLR0917 - a series, two parameters, how it goes on, lines out
    close: Series,
    period: int,
    width: float,
    state: Series,
    lower: Series,
    middle: Series,
    upper: Series,
    percent_b: Series,
    bandwidth: Series,
    sigma: Series,
) -> None:
    past = period - 1
    size = min(max(close.size, past), WINDOW_BLOCK)
    steps, room = steps_to(period, FIVE), moments_room(size + past)
    head, start = joined(state, close), 0
    if not state.size:
        start = min(past, close.size)
        for line in (lower, middle, upper, percent_b, bandwidth, sigma):
            line[:start] = np.nan
    while start < close.size:
        source, at, end = close, start - past, close.size
        if start < past:
            source, at, end = head, start, min(past, close.size)
        count = min(size, end - start)
        _, mean, spread, mean_2, spread_2 = room
        if window_moments(source, at, count, period, steps, room):
            mean, spread = mean_2, spread_2
        draw_bands(source, at, mean, spread, period, width, lower, middle, upper, start, count)
        if sigma.size:
            deviations = (mean, spread, period, width)
            read_off(source, at, deviations, middle, percent_b, bandwidth, sigma, start, count)
        start += count
    keep_last(head, close, state)


@compiled_borrowing
def read_off(  # noqa: PLR0913, PLR0917 - a block of moments in, three lines out
    source: Series,
    at: int,
    deviations: tuple[Series, Series, int, float],
    middle: Series,
    percent_b: Series,
    bandwidth: Series,
    sigma: Series,
    to: int,
    count: int,
) -> None:
    """Write what is read off the bands of a block, from the deviations that made them."""
    mean, spread, period, width = deviations
    base, newest, first, share = U(at), U(at + period - 1), U(to), 1.0 / np.sqrt(period)
    for i in range(U(count)):
        centre = middle[i + first]
        deviation = share * np.sqrt(spread[i]) + (centre - centre)
        across = 2.0 * (width * deviation)
        gap = (source[i + newest] - source[i + base]) - mean[i]
        sigma[i + first] = deviation
        percent_b[i + first] = 0.5 + (gap / across if across != 0.0 else 0.0)
        bandwidth[i + first] = across / centre if centre != 0.0 else np.nan
