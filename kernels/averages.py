"""Moving averages: simple, exponential, weighted, Hull.

Belongs here: one smoothed line from one series. Add one with its state, its entry in ``registry``,
its slow twin in the tests.
"""

import math

import numpy as np
import numpy.typing as npt

from kernels.gate import Series
from kernels.recurrences import exponential, recurrence_state
from kernels.states import at_least, carried, column
from kernels.windows import continued, total, weighted_sum, window_state


def sma_state(period: int = 20) -> Series:
    """Return the state of ``sma`` before the first bar."""
    return window_state(at_least(period, 1, "period"))


def sma(x: npt.ArrayLike, period: int = 20, *, state: Series | None = None) -> Series:
    """Return the simple moving average: the mean of the last ``period`` values.

    Causal. Summed afresh at every bar, so an outlier leaves no trace once it is out.

    Parameters
    ----------
    x : array_like, float64, shape (n,)
        Any unit. NaN gives NaN for the ``period`` bars that see it.
    period : int
        Bars, at least 1.
    state : ndarray of float64, optional
        From ``sma_state(period)`` or an earlier call, which this one continues: changed in place.

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
    state = carried(state, sma_state(period))
    return total(column(x, "x"), period, state) / period


def ema_state(period: int = 20) -> Series:
    """Return the state of ``ema`` before the first bar."""
    at_least(period, 1, "period")
    return recurrence_state()


def ema(x: npt.ArrayLike, period: int = 20, *, state: Series | None = None) -> Series:
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
    state = carried(state, ema_state(period))
    return exponential(column(x, "x"), period, state)


def wma_state(period: int = 20) -> Series:
    """Return the state of ``wma`` before the first bar."""
    return window_state(at_least(period, 1, "period"))


def wma(x: npt.ArrayLike, period: int = 20, *, state: Series | None = None) -> Series:
    """Return the linearly weighted average: 1 for the oldest value, ``period`` for the newest.

    Causal. Summed afresh at every bar.

    Parameters
    ----------
    x : array_like, float64, shape (n,)
        Any unit. NaN gives NaN for the ``period`` bars that see it.
    period : int
        Bars, at least 1.
    state : ndarray of float64, optional
        From ``wma_state(period)`` or an earlier call, which this one continues: changed in place.

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
    state = carried(state, wma_state(period))
    weights = np.arange(1.0, period + 1.0)
    return weighted_sum(continued(column(x, "x"), state), weights) / (period * (period + 1) / 2)


def hma_state(period: int = 20) -> Series:
    """Return the state of ``hma`` before the first bar."""
    return np.concatenate([wma_state(p) for p in _hull_periods(period)])


def hma(x: npt.ArrayLike, period: int = 20, *, state: Series | None = None) -> Series:
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
    x = column(x, "x")
    gap = 2.0 * wma(x, half, state=states[0]) - wma(x, whole, state=states[1])
    return wma(gap, root, state=states[2])


def _hull_periods(period: int) -> tuple[int, int, int]:
    at_least(period, 2, "period")
    return period // 2, period, math.isqrt(period)
