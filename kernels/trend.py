"""Trend: whether the price goes somewhere, and which way."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.gate import Instants, Matrix, Series, series, targets
from kernels.jit import compiled, compiled_borrowing
from kernels.recurrences import RECURRENCE_SIZE, recurrence_state, smooth
from kernels.states import at_least, carried, columns, kept, same_length
from kernels.volatility import true_range_of
from kernels.windows import continued, highest, lowest

_ADX_SIZE = 3 + 4 * RECURRENCE_SIZE  # of its state: the bar before, and four averages


class Adx(NamedTuple):
    """Average directional index and the two directional indicators, shape (n,), 0..100."""

    adx: Series
    plus_di: Series
    minus_di: Series


class Aroon(NamedTuple):
    """Aroon's two lines (0..100) and their difference (-100..100), shape (n,)."""

    up: Series
    down: Series
    oscillator: Series


def adx_state(period: int = 14) -> Series:
    """Return the state of ``adx`` before the first bar."""
    at_least(period, 1, "period")
    return np.concatenate((np.full(3, np.nan), *(recurrence_state() for _ in range(4))))


def adx(
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    close: npt.ArrayLike,
    *,
    period: int = 14,
    state: Series | None = None,
) -> Adx:
    """Return Wilder's average directional index and the directional indicators behind it.

    A bar's directional movement is the larger of how far its high went above, or its low below,
    the previous bar's; both are averaged as the true range is, and divided by it. The directional
    index is |+DI - -DI| / (+DI + -DI), ADX its average. Causal and recursive. Where nothing moved
    all three are 0 (TA-Lib: ADX stays where it was).

    Parameters
    ----------
    high, low, close : array_like, float64, shape (n,)
        Prices. A bar with a value that is not finite gives NaN and is passed over whole.
    period : int
        Bars of Wilder's averages, at least 1.
    state : ndarray of float64, optional
        From ``adx_state(period)`` or an earlier call, which this one continues: changed in place.

    Returns
    -------
    Adx
        Three arrays of float64, shape (n,), 0..100; the indicators are NaN for the first
        ``period`` bars of the series, ADX for the first ``2 * period - 1``.

    Raises
    ------
    ValueError
        If ``period`` is below 1, or a column or ``state`` has another shape.

    References
    ----------
    J. W. Wilder, New Concepts in Technical Trading Systems (1978), section IV. TA-Lib ``ADX``,
    ``PLUS_DI``, ``MINUS_DI``: their seed is ``period - 1`` movements, that is, ``period`` with
    a first one of 0.

    Examples
    --------
    >>> adx([2.0, 3.0, 4.0], [1.0, 2.0, 3.0], [1.5, 2.5, 3.5], period=1).plus_di.round(2)
    array([  nan, 66.67, 66.67])
    """
    period = at_least(period, 1, "period")
    highs, lows, closes = series(high, "high"), series(low, "low"), series(close, "close")
    same_length(("high", "low", "close"), highs, lows, closes)
    lines = Adx(*targets(None, 3, highs))
    _adx(highs, lows, closes, period, kept(state, _ADX_SIZE), *lines)
    return lines


def aroon_state(period: int = 25) -> Series:
    """Return the state of ``aroon`` before the first bar."""
    return np.full(2 * at_least(period, 1, "period"), np.nan)


def aroon(
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    period: int = 25,
    *,
    state: Series | None = None,
) -> Aroon:
    """Return Aroon: how recent the highest high and the lowest low of the last bars are.

    100 * (period - bars since it) / period, over this bar and the ``period`` before; the latest of
    equal ones counts, so a constant series has 100 in both lines and 0 between them. Causal.

    Parameters
    ----------
    high, low : array_like, float64, shape (n,)
        Prices. NaN gives NaN for the ``period + 1`` bars that see it.
    period : int
        Bars, at least 1.
    state : ndarray of float64, optional
        From ``aroon_state(period)`` or an earlier call, which this one continues: changed in
        place.

    Returns
    -------
    Aroon
        ``up`` and ``down`` (0..100) and ``oscillator``, up less down, float64, shape (n,); NaN for
        the first ``period`` bars of the series.

    Raises
    ------
    ValueError
        If ``period`` is below 1, or a column or ``state`` has another shape.

    References
    ----------
    TA-Lib ``AROON`` (which returns down first), ``AROONOSC``.

    Examples
    --------
    >>> aroon([3.0, 2.0, 1.0], [2.0, 1.0, 0.5], 2).oscillator
    array([  nan,   nan, -100.])
    """
    state = carried(state, aroon_state(period))
    highs, lows = columns(high=high, low=low)
    since_high = highest(continued(highs, state[:period]), period + 1)[1]
    since_low = lowest(continued(lows, state[period:]), period + 1)[1]
    up = 100.0 * (period - since_high) / period
    down = 100.0 * (period - since_low) / period
    return Aroon(up, down, up - down)


@compiled
def _adx(  # noqa: PLR0913, PLR0917 - three series, a period, how it goes on, three lines out
    high: Series,
    low: Series,
    close: Series,
    period: int,
    state: Series,
    index: Series,
    plus: Series,
    minus: Series,
) -> None:
    own, size = state, RECURRENCE_SIZE
    if not state.size:
        own = np.zeros(_ADX_SIZE)
        own[:3] = np.nan
    for_span, for_plus = own[3 : 3 + size], own[3 + size : 3 + 2 * size]
    for_minus, for_index = own[3 + 2 * size : 3 + 3 * size], own[3 + 3 * size :]
    room, places = np.empty((6, close.size)), np.empty(close.size, np.int64)
    usable = movements(high, low, close, own, room, places)
    span, up, down = room[3, :usable], room[4, :usable], room[5, :usable]
    seen, weight = for_span[0] + 1.0, 1.0 / period
    smooth(room[0, :usable], period, weight, for_span, span)
    smooth(room[1, :usable], period, weight, for_plus, up)
    smooth(room[2, :usable], period, weight, for_minus, down)
    direction, average = room[0, :usable], room[1, :usable]
    for i in range(usable):
        is_seed = seen + i <= period
        whole = np.nan if is_seed else span[i]
        up[i], down[i] = 100.0 * share_of(up[i], whole), 100.0 * share_of(down[i], whole)
        direction[i] = 100.0 * share_of(abs(up[i] - down[i]), up[i] + down[i])
    smooth(direction, period, weight, for_index, average)
    index[:], plus[:], minus[:] = np.nan, np.nan, np.nan
    for i in range(usable):
        bar = places[i]
        index[bar], plus[bar], minus[bar] = average[i], up[i], down[i]


@compiled_borrowing
def movements(
    high: Series, low: Series, close: Series, last: Series, room: Matrix, places: Instants
) -> int:
    """Write true range, upward and downward movement of each whole bar; return how many there are.

    ``last`` is high, low and close of the bar before, ``places`` which bars they are.
    """
    usable = 0
    for i in range(close.size):
        top, bottom, now = high[i], low[i], close[i]
        if not (abs(top) < np.inf and abs(bottom) < np.inf and abs(now) < np.inf):
            continue
        up, down, before = top - last[0], last[1] - bottom, last[2]
        room[0, usable] = true_range_of(top, bottom, before) if before == before else 0.0  # noqa: PLR0124 - NaN
        room[1, usable] = up if up > 0.0 and up > down else 0.0
        room[2, usable] = down if down > 0.0 and down > up else 0.0
        last[0], last[1], last[2] = top, bottom, now
        places[usable] = i
        usable += 1
    return usable


@compiled_borrowing
def share_of(part: float, whole: float) -> float:
    """Return the quotient: 0 where the whole is 0, NaN where either is."""
    if whole != 0.0:
        return part / whole
    return part if part != part else 0.0  # noqa: PLR0124 - NaN
