"""Oscillators of a range: where the close lies among the last bars' prices.

Where nothing moved inside the window an oscillator has no direction, and answers with the middle
of its scale (%K 50, %R -50, CCI 0). TA-Lib answers %K 0 and %R 0 there, which read as the deepest
oversold and the highest overbought that there is.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.gate import Series
from kernels.states import at_least, carried, columns, ratio
from kernels.windows import continued, highest, lowest, mean_deviation, total, window_state

_LAMBERT = 0.015  # scales CCI so that most values lie within -100 … 100


class Stochastic(NamedTuple):
    """The slow stochastic's %K and %D, shape (n,), 0..100."""

    k: Series
    d: Series


def stochastic_state(k_period: int = 14, k_slowing: int = 3, d_period: int = 3) -> Series:
    """Return the state of ``stochastic`` before the first bar."""
    window = window_state(at_least(k_period, 1, "k_period"))
    slowing = window_state(at_least(k_slowing, 1, "k_slowing"))
    return np.concatenate(
        (window, window, slowing, window_state(at_least(d_period, 1, "d_period")))
    )


def stochastic(  # noqa: PLR0913 - three series and the three periods of one formula
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    close: npt.ArrayLike,
    *,
    k_period: int = 14,
    k_slowing: int = 3,
    d_period: int = 3,
    state: Series | None = None,
) -> Stochastic:
    """Return the slow stochastic: where the close lies in the range of the last bars, smoothed.

    The raw %K is 100 * (close - lowest low) / (highest high - lowest low), and 50 where that range
    is 0 (TA-Lib: 0). %K is its simple average over ``k_slowing`` bars, %D that of %K. Causal.

    Parameters
    ----------
    high, low, close : array_like, float64, shape (n,)
        Prices. NaN gives NaN for the bars that see it.
    k_period, k_slowing, d_period : int
        Bars, each at least 1.
    state : ndarray of float64, optional
        From ``stochastic_state(...)`` or an earlier call, which this one continues: changed in
        place.

    Returns
    -------
    Stochastic
        ``k`` and ``d``, float64, shape (n,), 0..100; both NaN for the first
        ``k_period + k_slowing + d_period - 3`` bars of the series, as in TA-Lib: with
        ``d_period=1`` %K is known earlier.

    Raises
    ------
    ValueError
        If a period is below 1, or a column or ``state`` has another shape.

    References
    ----------
    TA-Lib ``STOCH`` with simple averages.

    Examples
    --------
    >>> stochastic([2.0, 4.0], [1.0, 2.0], [1.5, 3.25], k_period=2, k_slowing=1, d_period=1).k
    array([nan, 75.])
    """
    state = carried(state, stochastic_state(k_period, k_slowing, d_period))
    highs, lows, closes = columns(high=high, low=low, close=close)
    w, s = k_period - 1, k_slowing - 1
    top = highest(continued(highs, state[:w]), k_period)[0]
    bottom = lowest(continued(lows, state[w : 2 * w]), k_period)[0]
    raw = 100.0 * ratio(closes - bottom, top - bottom, otherwise=0.5)
    k = total(raw, k_slowing, state[2 * w : 2 * w + s]) / k_slowing
    d = total(k, d_period, state[2 * w + s :]) / d_period
    return Stochastic(np.where(np.isnan(d), np.nan, k), d)


def williams_r_state(period: int = 14) -> Series:
    """Return the state of ``williams_r`` before the first bar."""
    return np.full(2 * (at_least(period, 1, "period") - 1), np.nan)


def williams_r(
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    close: npt.ArrayLike,
    *,
    period: int = 14,
    state: Series | None = None,
) -> Series:
    """Return Williams' %R: how far the close lies below the highest high, of the range.

    -100 * (highest high - close) / (highest high - lowest low), and -50 where that range is 0
    (TA-Lib: 0). Causal.

    Parameters
    ----------
    high, low, close : array_like, float64, shape (n,)
        Prices. NaN gives NaN for the bars that see it.
    period : int
        Bars, at least 1.
    state : ndarray of float64, optional
        From ``williams_r_state(period)`` or an earlier call, which this one continues: changed in
        place.

    Returns
    -------
    ndarray of float64, shape (n,)
        -100..0; NaN for the first ``period - 1`` bars of the series.

    Raises
    ------
    ValueError
        If ``period`` is below 1, or a column or ``state`` has another shape.

    References
    ----------
    TA-Lib ``WILLR``.

    Examples
    --------
    >>> williams_r([2.0, 4.0], [1.0, 2.0], [1.5, 3.25], period=2)
    array([ nan, -25.])
    """
    state = carried(state, williams_r_state(period))
    highs, lows, closes = columns(high=high, low=low, close=close)
    top = highest(continued(highs, state[: period - 1]), period)[0]
    bottom = lowest(continued(lows, state[period - 1 :]), period)[0]
    return -100.0 * ratio(top - closes, top - bottom, otherwise=0.5)


def cci_state(period: int = 20) -> Series:
    """Return the state of ``cci`` before the first bar."""
    return window_state(at_least(period, 1, "period"))


def cci(
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    close: npt.ArrayLike,
    *,
    period: int = 20,
    state: Series | None = None,
) -> Series:
    """Return the commodity channel index: typical price less its mean, in mean deviations.

    The typical price is (high + low + close) / 3, the deviation is scaled by Lambert's 0.015.
    0 where the window is constant. Causal.

    Parameters
    ----------
    high, low, close : array_like, float64, shape (n,)
        Prices. NaN gives NaN for the ``period`` bars that see it.
    period : int
        Bars, at least 1.
    state : ndarray of float64, optional
        From ``cci_state(period)`` or an earlier call, which this one continues: changed in place.

    Returns
    -------
    ndarray of float64, shape (n,)
        NaN for the first ``period - 1`` bars of the series.

    Raises
    ------
    ValueError
        If ``period`` is below 1, or a column or ``state`` has another shape.

    References
    ----------
    D. Lambert, "Commodity Channel Index", Commodities (1980). TA-Lib ``CCI``.

    Examples
    --------
    >>> cci([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], period=3).round(6)
    array([ nan,  nan, 100.])
    """
    state = carried(state, cci_state(period))
    highs, lows, closes = columns(high=high, low=low, close=close)
    gap, absolute = mean_deviation(continued((highs + lows + closes) / 3.0, state), period)
    return ratio(gap, _LAMBERT * absolute, otherwise=0.0)
