"""Trend: whether the price goes somewhere, and which way."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.gate import Series
from kernels.recurrences import recurrence_state, wilder
from kernels.states import at_least, carried, columns, over_finite, ratio
from kernels.volatility import true_range
from kernels.windows import continued, highest, lagged, lowest


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
    own = carried(state, adx_state(period))

    def of_finite(highs: Series, lows: Series, closes: Series) -> tuple[Series, Series, Series]:
        up = highs - lagged(highs, own[:1])
        down = lagged(lows, own[1:2]) - lows
        before = lagged(closes, own[2:3])
        for_span, for_plus, for_minus, for_adx = np.split(own[3:], 4)
        is_seed = for_span[0] + 1.0 + np.arange(closes.size) <= period
        movement = np.where(np.isnan(before), 0.0, true_range(highs, lows, before))
        span = wilder(movement, period, for_span)
        plus = wilder(np.where((up > 0.0) & (up > down), up, 0.0), period, for_plus)
        minus = wilder(np.where((down > 0.0) & (down > up), down, 0.0), period, for_minus)
        span = np.where(is_seed, np.nan, span)
        plus = 100.0 * ratio(plus, span, otherwise=0.0)
        minus = 100.0 * ratio(minus, span, otherwise=0.0)
        direction = 100.0 * ratio(np.abs(plus - minus), plus + minus, otherwise=0.0)
        return wilder(direction, period, for_adx), plus, minus

    return Adx(*over_finite(of_finite, *columns(high=high, low=low, close=close)))


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
