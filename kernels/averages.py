"""Averages: simple, exponential, weighted, Hull, and by volume.

Belongs here: one smoothed line of the price. Add one with its state, its entry in ``registry``,
its slow twin in the tests.
"""

import math

import numpy as np
import numpy.typing as npt

from kernels import engine
from kernels.gate import Series, series, target
from kernels.jit import compiled
from kernels.recurrences import RECURRENCE_SIZE, recurrence_state, smooth
from kernels.states import at_least, carried, kept, same_length
from kernels.window_sums import window_total, window_weighted_total
from kernels.windows import window_state

_VWAP_SIZE = 3  # of its state


def sma_state(period: int = 20) -> Series:
    """Return the state of ``sma`` before the first bar."""
    return window_state(at_least(period, 1, "period"))


def sma(
    x: npt.ArrayLike,
    period: int = 20,
    *,
    state: Series | None = None,
    out: Series | None = None,
) -> Series:
    """Return the simple moving average: the mean of the last ``period`` values.

    Causal. Each mean is made of its own bars, so an outlier leaves no trace once it is out.

    Parameters
    ----------
    x : array_like, float64, shape (n,)
        Any unit. NaN gives NaN for the ``period`` bars that see it.
    period : int
        Bars, at least 1.
    state : ndarray of float64, optional
        From ``sma_state(period)`` or an earlier call, which this one continues: changed in place.
    out : ndarray of float64, shape (n,), optional
        Where to write; a new array by default. It may share no memory with ``x``.

    Returns
    -------
    ndarray of float64, shape (n,)
        Unit of ``x``; NaN for the first ``period - 1`` bars of the series.

    Raises
    ------
    ValueError
        If ``period`` is below 1, or ``x`` or ``state`` has another shape.

    References
    ----------
    TA-Lib ``SMA``.

    Examples
    --------
    >>> sma([1.0, 2.0, 3.0, 4.0], 2)
    array([nan, 1.5, 2.5, 3.5])
    """
    period = at_least(period, 1, "period")
    given = series(x, "x")
    mean = target(out, given)
    engine.run("sma", _sma, given, period, kept(state, period - 1), mean)
    return mean


def ema_state(period: int = 20) -> Series:
    """Return the state of ``ema`` before the first bar."""
    at_least(period, 1, "period")
    return recurrence_state()


def ema(
    x: npt.ArrayLike,
    period: int = 20,
    *,
    state: Series | None = None,
    out: Series | None = None,
) -> Series:
    """Return the exponential moving average, of weight 2 / (period + 1).

    The first value is the mean of the first ``period`` values; from then on the average moves
    towards each new value by the weight. Causal and recursive: all the past counts.

    Parameters
    ----------
    x : array_like, float64, shape (n,)
        Any unit. A value that is not finite gives NaN and is passed over.
    period : int
        Bars, at least 1.
    state : ndarray of float64, optional
        From ``ema_state(period)`` or an earlier call, which this one continues: changed in place.
    out : ndarray of float64, shape (n,), optional
        Where to write; a new array by default. It may share no memory with ``x``.

    Returns
    -------
    ndarray of float64, shape (n,)
        Unit of ``x``; NaN for the first ``period - 1`` bars of the series.

    Raises
    ------
    ValueError
        If ``period`` is below 1, or ``x`` or ``state`` has another shape.

    References
    ----------
    TA-Lib ``EMA``.

    Examples
    --------
    >>> ema([1.0, 2.0, 3.0, 5.0], 3)
    array([nan, nan, 2. , 3.5])
    """
    period = at_least(period, 1, "period")
    given = series(x, "x")
    average = target(out, given)
    engine.run("ema", _ema, given, period, kept(state, RECURRENCE_SIZE), average)
    return average


def wma_state(period: int = 20) -> Series:
    """Return the state of ``wma`` before the first bar."""
    return window_state(at_least(period, 1, "period"))


def wma(
    x: npt.ArrayLike,
    period: int = 20,
    *,
    state: Series | None = None,
    out: Series | None = None,
) -> Series:
    """Return the linearly weighted average: 1 for the oldest value, ``period`` for the newest.

    Causal. Each sum is made of its own bars.

    Parameters
    ----------
    x : array_like, float64, shape (n,)
        Any unit. NaN gives NaN for the ``period`` bars that see it.
    period : int
        Bars, at least 1.
    state : ndarray of float64, optional
        From ``wma_state(period)`` or an earlier call, which this one continues: changed in place.
    out : ndarray of float64, shape (n,), optional
        Where to write; a new array by default. It may share no memory with ``x``.

    Returns
    -------
    ndarray of float64, shape (n,)
        Unit of ``x``; NaN for the first ``period - 1`` bars of the series.

    Raises
    ------
    ValueError
        If ``period`` is below 1, or ``x`` or ``state`` has another shape.

    References
    ----------
    TA-Lib ``WMA``.

    Examples
    --------
    >>> wma([1.0, 2.0, 4.0], 2) * 3
    array([nan,  5., 10.])
    """
    period = at_least(period, 1, "period")
    given = series(x, "x")
    average = target(out, given)
    _wma(given, period, kept(state, period - 1), average)
    return average


def hma_state(period: int = 20) -> Series:
    """Return the state of ``hma`` before the first bar."""
    return np.concatenate([wma_state(p) for p in _hull_periods(period)])


def hma(
    x: npt.ArrayLike,
    period: int = 20,
    *,
    state: Series | None = None,
    out: Series | None = None,
) -> Series:
    """Return Hull's moving average: WMA over sqrt(n) bars of 2 * WMA(n / 2) - WMA(n).

    Both the half and the root are rounded down. Causal.

    Parameters
    ----------
    x : array_like, float64, shape (n,)
        Any unit. NaN gives NaN for the ``period + floor(sqrt(period)) - 1`` bars that see it.
    period : int
        Bars, at least 2.
    state : ndarray of float64, optional
        From ``hma_state(period)`` or an earlier call, which this one continues: changed in place.
    out : ndarray of float64, shape (n,), optional
        Where to write; a new array by default. It may share no memory with ``x``.

    Returns
    -------
    ndarray of float64, shape (n,)
        Unit of ``x``; NaN for the first ``period + floor(sqrt(period)) - 2`` bars of the series.

    Raises
    ------
    ValueError
        If ``period`` is below 2, or ``x`` or ``state`` has another shape.

    References
    ----------
    A. Hull, "Hull Moving Average" (2005). TA-Lib has none; rounding as in tulipy and pandas-ta.

    Examples
    --------
    >>> hma([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 4).round(6)
    array([nan, nan, nan, nan,  5.,  6.])
    """
    state = carried(state, hma_state(period))
    half, whole, root = _hull_periods(period)
    states = np.split(state, np.cumsum([half - 1, whole - 1]))
    given = series(x, "x")
    gap = 2.0 * wma(given, half, state=states[0]) - wma(given, whole, state=states[1])
    return wma(gap, root, state=states[2], out=target(out, given))


def vwap_state() -> Series:
    """Return the state of ``vwap`` before the first bar."""
    return np.array([np.nan, 0.0, 0.0])  # session, sum of price times volume, sum of volume


def vwap(
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    close: npt.ArrayLike,
    volume: npt.ArrayLike,
    *,
    session: npt.ArrayLike,
    state: Series | None = None,
) -> Series:
    """Return the average typical price since the session's first bar, weighted by volume.

    The typical price is (high + low + close) / 3. Causal and recursive within a session.

    Parameters
    ----------
    high, low, close, volume : array_like, float64, shape (n,)
        Prices and quantity. A bar with a value that is not finite gives NaN and is passed over.
    session : array_like of integers, shape (n,)
        Which session each bar belongs to (its open in microseconds, or any number below 2**53);
        the sums begin anew where it changes.
    state : ndarray of float64, optional
        From ``vwap_state()`` or an earlier call, which this one continues: changed in place.

    Returns
    -------
    ndarray of float64, shape (n,)
        Price units; no warm-up, NaN while the session has no volume yet.

    Raises
    ------
    ValueError
        If a column or ``state`` has another shape.

    Examples
    --------
    >>> x = [1.0, 3.0, 5.0]
    >>> vwap(x, x, x, [1.0, 1.0, 1.0], session=[0, 0, 1])
    array([1., 2., 5.])
    """
    highs, lows, closes = series(high, "high"), series(low, "low"), series(close, "close")
    volumes, sessions = series(volume, "volume"), series(session, "session")
    names = ("high", "low", "close", "volume", "session")
    same_length(names, highs, lows, closes, volumes, sessions)
    average = np.empty(highs.size)
    _vwap(highs, lows, closes, volumes, sessions, kept(state, _VWAP_SIZE), average)
    return average


def _hull_periods(period: int) -> tuple[int, int, int]:
    at_least(period, 2, "period")
    return period // 2, period, math.isqrt(period)


@compiled
def _sma(x: Series, period: int, state: Series, out: Series) -> None:
    window_total(x, period, 1.0 / period, state, out)


@compiled
def _ema(x: Series, period: int, state: Series, out: Series) -> None:
    smooth(x, period, 2.0 / (period + 1.0), state, out)


@compiled
def _wma(x: Series, period: int, state: Series, out: Series) -> None:
    window_weighted_total(x, period, 2.0 / (period * (period + 1.0)), state, out)


@compiled
def _vwap(  # noqa: PLR0913, PLR0917 - five series, how it goes on
    high: Series,
    low: Series,
    close: Series,
    volume: Series,
    session: Series,
    state: Series,
    out: Series,
) -> None:
    current, money, amount = np.nan, 0.0, 0.0
    if state.size:
        current, money, amount = state[0], state[1], state[2]
    for i in range(close.size):
        top, bottom, last, traded = high[i], low[i], close[i], volume[i]
        out[i] = np.nan
        is_price = abs(top) < np.inf and abs(bottom) < np.inf and abs(last) < np.inf
        if not (is_price and abs(traded) < np.inf and abs(session[i]) < np.inf):
            continue
        if session[i] != current:
            current, money, amount = session[i], 0.0, 0.0
        money += (top + bottom + last) / 3.0 * traded
        amount += traded
        if amount > 0.0:
            out[i] = money / amount
    if state.size:
        state[0], state[1], state[2] = current, money, amount
