"""Trailing stops: a line that follows the price at a distance, and turns when it is crossed.

Belongs here: recursive lines that change sides. Each is stepped a bar at a time from a flat state,
so it is equal bit by bit however the input is cut.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.gate import Series, series, targets
from kernels.jit import compiled
from kernels.states import at_least, kept, same_length
from kernels.volatility import _atr, atr_state

# the state of supertrend: is it seeded, and what the last bar left
_SEEDED, _UPPER, _LOWER, _CLOSE, _IS_UP, _SUPERTREND = range(6)
# the state of psar: bars seen (up to 2), and what the last bar left
_SEEN, _SAR, _EXTREME, _FACTOR, _IS_LONG, _LAST_HIGH, _LAST_LOW, _PSAR = range(8)


class Supertrend(NamedTuple):
    """The stop's line (price units) and its direction, 1 below the price, -1 above it; (n,)."""

    line: Series
    direction: Series


def supertrend_state(period: int = 10) -> Series:
    """Return the state of ``supertrend`` before the first bar."""
    return np.concatenate((atr_state(period), np.zeros(_SUPERTREND)))


def supertrend(
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    close: npt.ArrayLike,
    *,
    period: int = 10,
    width: float = 3.0,
    state: Series | None = None,
) -> Supertrend:
    """Return Supertrend: ``width`` average ranges from the bar's middle, which only tightens.

    The lower line never falls while the closes stay above it, the upper one never rises while they
    stay below; a close at or beyond the line in force turns to the other. At the first bar the
    direction is that of the close against the bar's middle. Causal and recursive.

    Parameters
    ----------
    high, low, close : array_like, float64, shape (n,)
        Prices. A bar with a value that is not finite gives NaN and is passed over whole.
    period : int
        Bars of Wilder's average of the true range, at least 1.
    width : float
        Average ranges from the middle to the line, above 0.
    state : ndarray of float64, optional
        From ``supertrend_state(period)`` or an earlier call, which this one continues: changed in
        place.

    Returns
    -------
    Supertrend
        ``line`` in price units and ``direction`` 1 or -1, float64, shape (n,); NaN for the first
        ``period`` bars of the series.

    Raises
    ------
    ValueError
        If ``period`` is below 1, ``width`` not above 0, or a column or ``state`` has another shape.

    References
    ----------
    O. Seban, Tout le monde mérite d'être riche. Skender's Stock.Indicators ``GetSuperTrend``.

    Examples
    --------
    >>> out = supertrend([2.0, 3.0, 9.0], [1.0, 2.0, 8.0], [1.5, 2.9, 8.5], period=1, width=1.0)
    >>> out.line, out.direction
    (array([nan, 1. , 2.4]), array([nan,  1.,  1.]))
    """
    if not width > 0.0:
        raise ValueError(f"width: expected > 0, was {width}")
    size = supertrend_state(at_least(period, 1, "period")).size
    highs, lows, closes = series(high, "high"), series(low, "low"), series(close, "close")
    same_length(("high", "low", "close"), highs, lows, closes)
    lines = Supertrend(*targets(None, 2, highs))
    _supertrend(highs, lows, closes, period, float(width), kept(state, size), *lines)
    return lines


def psar_state() -> Series:
    """Return the state of ``psar`` before the first bar."""
    return np.zeros(_PSAR)


def psar(
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    *,
    step: float = 0.02,
    most: float = 0.2,
    state: Series | None = None,
) -> Series:
    """Return Wilder's parabolic stop and reverse: the stop in force at each bar.

    It closes in on the extreme of the move by an acceleration that starts at ``step``, grows by it
    with every new extreme, and stays at ``most``; a bar that reaches the stop turns the side, and
    the stop becomes the extreme. The first side is the larger directional movement of the first two
    bars. Causal and recursive.

    Parameters
    ----------
    high, low : array_like, float64, shape (n,)
        Prices. A bar with a value that is not finite gives NaN and is passed over whole.
    step, most : float
        Acceleration, above 0, and its largest value, at least ``step``.
    state : ndarray of float64, optional
        From ``psar_state()`` or an earlier call, which this one continues: changed in place.

    Returns
    -------
    ndarray of float64, shape (n,)
        Price units; NaN for the first bar of the series.

    Raises
    ------
    ValueError
        If ``step`` or ``most`` is out of range, or a column or ``state`` has another shape.

    References
    ----------
    J. W. Wilder, New Concepts in Technical Trading Systems (1978), section II. TA-Lib ``SAR``.

    Examples
    --------
    >>> psar([2.0, 3.0, 4.0], [1.0, 2.0, 3.0])
    array([ nan, 1.  , 1.04])
    """
    if not 0.0 < step <= most:
        raise ValueError(f"step: expected in 0 < step <= most ({most}), was {step}")
    highs, lows = series(high, "high"), series(low, "low")
    same_length(("high", "low"), highs, lows)
    stop = np.empty(highs.size)
    _psar(highs, lows, float(step), float(most), kept(state, _PSAR), stop)
    return stop


@compiled
def _supertrend(  # noqa: PLR0913, PLR0917 - three series, two parameters, how it goes on, lines out
    high: Series,
    low: Series,
    close: Series,
    period: int,
    width: float,
    state: Series,
    line: Series,
    direction: Series,
) -> None:
    m, of_range = np.zeros(_SUPERTREND), state
    if state.size:
        m, of_range = state[-_SUPERTREND:], state[:-_SUPERTREND]
    _atr(high, low, close, period, of_range, line)  # NaN where a bar is missing
    for i in range(close.size):
        reach, middle = width * line[i], (high[i] + low[i]) / 2.0
        direction[i] = np.nan
        if np.isnan(reach):
            continue
        upper, lower = middle + reach, middle - reach
        if m[_SEEDED] == 0.0:
            m[_SEEDED], m[_UPPER], m[_LOWER] = 1.0, upper, lower
            m[_IS_UP] = 1.0 if close[i] >= middle else 0.0
        else:
            if upper < m[_UPPER] or m[_CLOSE] > m[_UPPER]:
                m[_UPPER] = upper
            if lower > m[_LOWER] or m[_CLOSE] < m[_LOWER]:
                m[_LOWER] = lower
        m[_CLOSE] = close[i]
        is_up = close[i] > (m[_LOWER] if m[_IS_UP] > 0.0 else m[_UPPER])
        m[_IS_UP] = 1.0 if is_up else 0.0
        line[i] = m[_LOWER] if is_up else m[_UPPER]
        direction[i] = 1.0 if is_up else -1.0


@compiled
def _psar(high: Series, low: Series, step: float, most: float, state: Series, out: Series) -> None:
    m = state if state.size else np.zeros(_PSAR)
    for i in range(high.size):
        out[i] = np.nan
        if not (abs(high[i]) < np.inf and abs(low[i]) < np.inf):
            continue
        before_high, before_low = m[_LAST_HIGH], m[_LAST_LOW]
        if m[_SEEN] < 2.0:  # noqa: PLR2004 - the side is that of the second bar
            m[_SEEN] += 1.0
            if m[_SEEN] < 2.0:  # noqa: PLR2004
                m[_LAST_HIGH], m[_LAST_LOW] = high[i], low[i]
                continue
            fell, rose = before_low - low[i], high[i] - before_high
            is_short = fell > 0.0 and fell > rose
            m[_IS_LONG], m[_FACTOR] = (0.0 if is_short else 1.0), step
            m[_EXTREME] = low[i] if is_short else high[i]
            m[_SAR] = before_high if is_short else before_low
            before_high, before_low = high[i], low[i]  # the stop may not lie inside this bar yet
        # a short is a long in mirrored prices: the highest of what is negated is the lowest
        side = 1.0 if m[_IS_LONG] > 0.0 else -1.0
        near, far = (low[i], high[i]) if side > 0.0 else (-high[i], -low[i])
        before_near = before_low if side > 0.0 else -before_high
        before_far = before_high if side > 0.0 else -before_low
        stop, extreme = side * m[_SAR], side * m[_EXTREME]
        if near <= stop:
            stop = max(extreme, before_far, far)
            out[i] = side * stop
            m[_IS_LONG], m[_FACTOR], extreme = 1.0 - m[_IS_LONG], step, near
            stop = max(stop + step * (extreme - stop), before_far, far)
        else:
            out[i] = side * stop
            if far > extreme:
                extreme = far
                m[_FACTOR] = min(m[_FACTOR] + step, most)
            stop = min(stop + m[_FACTOR] * (extreme - stop), before_near, near)
        m[_SAR], m[_EXTREME] = side * stop, side * extreme
        m[_LAST_HIGH], m[_LAST_LOW] = high[i], low[i]
