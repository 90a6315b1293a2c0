"""Channels: a line above the price, one below, and one between.

Belongs here: bands of highs, lows and ranges. ``bollinger``, which measures deviation, is in
``volatility``.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.averages import _ema, ema_state
from kernels.gate import Series, series, targets
from kernels.jit import compiled
from kernels.recurrences import RECURRENCE_SIZE
from kernels.states import at_least, carried, columns, kept, same_length
from kernels.volatility import _atr, atr_state
from kernels.windows import continued, highest, lowest, window_state


class Channel(NamedTuple):
    """A channel's three lines, shape (n,), in the unit of the price."""

    lower: Series
    middle: Series
    upper: Series


class Ichimoku(NamedTuple):
    """Ichimoku's four lines at the bar where they are known, shape (n,), price units."""

    conversion: Series
    base: Series
    span_a: Series
    span_b: Series


def donchian_state(period: int = 20) -> Series:
    """Return the state of ``donchian`` before the first bar."""
    return np.tile(window_state(at_least(period, 1, "period")), 2)


def donchian(
    high: npt.ArrayLike, low: npt.ArrayLike, period: int = 20, *, state: Series | None = None
) -> Channel:
    """Return Donchian's channel: the highest high and the lowest low of the last bars.

    This bar is among them, so a close is never outside. A breakout compares with the channel of
    the bar before. Causal.

    Parameters
    ----------
    high, low : array_like, float64, shape (n,)
        Prices. NaN gives NaN for the ``period`` bars that see it.
    period : int
        Bars, at least 1.
    state : ndarray of float64, optional
        From ``donchian_state(period)`` or an earlier call, which this one continues: changed in
        place.

    Returns
    -------
    Channel
        Three arrays of float64, shape (n,), price units, the middle half way between the others;
        NaN for the first ``period - 1`` bars of the series.

    Raises
    ------
    ValueError
        If ``period`` is below 1, or a column or ``state`` has another shape.

    References
    ----------
    TA-Lib ``MAX`` of the highs and ``MIN`` of the lows. Skender's Stock.Indicators leaves this bar
    out: its line is this one of the bar before.

    Examples
    --------
    >>> donchian([3.0, 2.0, 5.0], [1.0, 1.5, 2.0], 2).middle
    array([ nan, 2.  , 3.25])
    """
    state = carried(state, donchian_state(period))
    highs, lows = columns(high=high, low=low)
    upper, lower, middle = _range(highs, lows, period, state)
    return Channel(lower, middle, upper)


def keltner_state(period: int = 20, atr_period: int = 10) -> Series:
    """Return the state of ``keltner`` before the first bar."""
    return np.concatenate((ema_state(period), atr_state(atr_period)))


def keltner(  # noqa: PLR0913 - three series and the three parameters of one formula
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    close: npt.ArrayLike,
    *,
    period: int = 20,
    atr_period: int = 10,
    width: float = 2.0,
    state: Series | None = None,
) -> Channel:
    """Return Keltner's channel: an exponential average, and ``width`` average ranges around it.

    Causal and recursive.

    Parameters
    ----------
    high, low, close : array_like, float64, shape (n,)
        Prices. A bar with a value that is not finite gives NaN and is passed over whole.
    period, atr_period : int
        Bars of the average of the closes and of Wilder's average of the true range, at least 1.
    width : float
        Average ranges from the middle to a line, above 0.
    state : ndarray of float64, optional
        From ``keltner_state(...)`` or an earlier call, which this one continues: changed in place.

    Returns
    -------
    Channel
        Three arrays of float64, shape (n,), price units; NaN for the first
        ``max(period - 1, atr_period)`` bars of the series.

    Raises
    ------
    ValueError
        If a period is below 1, ``width`` not above 0, or a column or ``state`` has another shape.

    References
    ----------
    L. B. Raschke's form of C. Keltner's channel. Skender's Stock.Indicators ``GetKeltner``.

    Examples
    --------
    >>> keltner([2.0, 4.0], [1.0, 2.0], [1.5, 3.5], period=1, atr_period=1, width=1.0).upper
    array([nan,  6.])
    """
    if not width > 0.0:
        raise ValueError(f"width: expected > 0, was {width}")
    size = keltner_state(period, atr_period).size
    highs, lows, closes = series(high, "high"), series(low, "low"), series(close, "close")
    same_length(("high", "low", "close"), highs, lows, closes)
    lines = Channel(*targets(None, 3, highs))
    _keltner(highs, lows, closes, period, atr_period, float(width), kept(state, size), *lines)
    return lines


def ichimoku_state(conversion: int = 9, base: int = 26, span: int = 52) -> Series:
    """Return the state of ``ichimoku`` before the first bar."""
    return np.concatenate([donchian_state(p) for p in (conversion, base, span)])


def ichimoku(
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    conversion: int = 9,
    base: int = 26,
    span: int = 52,
    *,
    state: Series | None = None,
) -> Ichimoku:
    """Return Ichimoku's lines, each at the bar at whose close it is known.

    A chart draws both spans 26 bars to the right, and a lagging line, which is the close 26 bars
    to the left. Neither is done here: the one is the caller's shift, the other the future. Causal.

    Parameters
    ----------
    high, low : array_like, float64, shape (n,)
        Prices. NaN gives NaN for the bars that see it.
    conversion, base, span : int
        Bars of the three ranges, at least 1.
    state : ndarray of float64, optional
        From ``ichimoku_state(...)`` or an earlier call, which this one continues: changed in place.

    Returns
    -------
    Ichimoku
        Four arrays of float64, shape (n,), price units: the middles of the ranges of
        ``conversion`` and ``base`` bars, the mean of these two, the middle of the range of
        ``span`` bars. Each is NaN until its own range is full.

    Raises
    ------
    ValueError
        If a period is below 1, or a column or ``state`` has another shape.

    References
    ----------
    G. Hosoda's Ichimoku Kinko Hyo. Lean ``IchimokuKinkoHyo`` (its senkou lines are those of 26
    bars before).

    Examples
    --------
    >>> ichimoku([3.0, 2.0, 5.0], [1.0, 1.5, 2.0], 1, 2, 3).span_a
    array([  nan, 1.875, 3.375])
    """
    state = carried(state, ichimoku_state(conversion, base, span))
    highs, lows = columns(high=high, low=low)
    sizes = [donchian_state(p).size for p in (conversion, base)]
    parts = np.split(state, np.cumsum(sizes))
    quick, steady, slow = (
        _range(highs, lows, period, part)[2]
        for period, part in zip((conversion, base, span), parts, strict=True)
    )
    return Ichimoku(quick, steady, (quick + steady) / 2.0, slow)


def _range(
    highs: Series, lows: Series, period: int, state: Series
) -> tuple[Series, Series, Series]:
    """Return highest, lowest and what is half way; ``state`` holds the bars that are still seen."""
    half = state.size // 2
    upper = highest(continued(highs, state[:half]), period)[0]
    lower = lowest(continued(lows, state[half:]), period)[0]
    return upper, lower, (upper + lower) / 2.0


@compiled
def _keltner(  # noqa: PLR0913, PLR0917 - three series, three parameters, how it goes on, lines out
    high: Series,
    low: Series,
    close: Series,
    period: int,
    atr_period: int,
    width: float,
    state: Series,
    lower: Series,
    middle: Series,
    upper: Series,
) -> None:
    kept_size = min(RECURRENCE_SIZE, state.size)  # of the average; the rest is the range's
    for i in range(close.size):  # a bar is missing whole: both pass over the same bars
        is_whole = abs(high[i]) < np.inf and abs(low[i]) < np.inf
        lower[i] = close[i] if is_whole else np.nan
    _ema(lower, period, state[:kept_size], middle)
    _atr(high, low, close, atr_period, state[kept_size:], upper)
    for i in range(close.size):
        reach, centre = width * upper[i], middle[i]
        centre += reach - reach
        lower[i] = centre - reach
        middle[i] = centre
        upper[i] = centre + reach
