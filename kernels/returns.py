"""Returns: the price beside an earlier price."""

import numpy as np
import numpy.typing as npt

from kernels.gate import Series
from kernels.states import at_least, carried, column, ratio
from kernels.windows import lagged, logarithm


def log_return_state() -> Series:
    """Return the state of ``log_return`` before the first bar."""
    return np.full(1, np.nan)


def log_return(close: npt.ArrayLike, *, state: Series | None = None) -> Series:
    """Return the natural logarithm of the price over the price one bar before.

    Causal.

    Parameters
    ----------
    close : array_like, float64, shape (n,)
        Prices. NaN, and a price not above 0, give NaN for that bar and the next.
    state : ndarray of float64, optional
        From ``log_return_state()`` or an earlier call, which this one continues: changed in place.

    Returns
    -------
    ndarray of float64, shape (n,)
        NaN for the first bar of the series.

    Raises
    ------
    ValueError
        If ``close`` or ``state`` has another shape.

    Examples
    --------
    >>> log_return([1.0, 1.0, 2.0]).round(4)
    array([   nan, 0.    , 0.6931])
    """
    state = carried(state, log_return_state())
    x = logarithm(column(close, "close"))
    return x - lagged(x, state)


def roc_state(period: int = 10) -> Series:
    """Return the state of ``roc`` before the first bar."""
    return np.full(at_least(period, 1, "period"), np.nan)


def roc(close: npt.ArrayLike, period: int = 10, *, state: Series | None = None) -> Series:
    """Return the rate of change: the price over that of ``period`` bars ago, less 1, in percent.

    Causal.

    Parameters
    ----------
    close : array_like, float64, shape (n,)
        Prices. NaN gives NaN for that bar and the one ``period`` bars later.
    period : int
        Bars, at least 1.
    state : ndarray of float64, optional
        From ``roc_state(period)`` or an earlier call, which this one continues: changed in place.

    Returns
    -------
    ndarray of float64, shape (n,)
        Percent; NaN for the first ``period`` bars of the series, and where the earlier price is 0.

    Raises
    ------
    ValueError
        If ``period`` is below 1, or ``close`` or ``state`` has another shape.

    References
    ----------
    TA-Lib ``ROC``.

    Examples
    --------
    >>> roc([100.0, 110.0, 99.0], 1).round(6)
    array([ nan,  10., -10.])
    """
    state = carried(state, roc_state(period))
    x = column(close, "close")
    return (ratio(x, lagged(x, state), otherwise=np.nan) - 1.0) * 100.0
