"""Volatility: how wide the price moves."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.gate import Series
from kernels.recurrences import recurrence_state, wilder
from kernels.states import at_least, carried, column, columns, over_finite, ratio
from kernels.windows import continued, deviations, lagged, window_state


class Bollinger(NamedTuple):
    """Bollinger's bands and what is read off them, shape (n,)."""

    lower: Series
    middle: Series
    upper: Series
    percent_b: Series
    width: Series


def true_range(high: Series, low: Series, previous_close: Series) -> Series:
    """Return the bar's range, stretched to the previous close; NaN where there is none."""
    return np.maximum(high, previous_close) - np.minimum(low, previous_close)


def atr_state(period: int = 14) -> Series:
    """Return the state of ``atr`` before the first bar."""
    at_least(period, 1, "period")
    return np.concatenate(([np.nan], recurrence_state()))


def atr(
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    close: npt.ArrayLike,
    *,
    period: int = 14,
    state: Series | None = None,
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
    own = carried(state, atr_state(period))

    def of_finite(highs: Series, lows: Series, closes: Series) -> tuple[Series]:
        return (wilder(true_range(highs, lows, lagged(closes, own[:1])), period, own[1:]),)

    return over_finite(of_finite, *columns(high=high, low=low, close=close))[0]


def bollinger_state(period: int = 20) -> Series:
    """Return the state of ``bollinger`` before the first bar."""
    return window_state(at_least(period, 1, "period"))


def bollinger(
    close: npt.ArrayLike,
    period: int = 20,
    *,
    width: float = 2.0,
    state: Series | None = None,
) -> Bollinger:
    """Return Bollinger's bands: the mean and ``width`` population standard deviations around it.

    %b is 0 at the lower band and 1 at the upper; the band width is (upper - lower) / middle. Both
    are computed from the deviations, not from the bands, which would lose their digits where the
    price is large beside its deviation. A constant window has %b 0.5 and width 0. Causal.

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

    Returns
    -------
    Bollinger
        Five arrays of float64, shape (n,): the bands in the unit of ``close``, ``percent_b`` and
        ``width`` without one; NaN for the first ``period - 1`` bars of the series.

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
    >>> float(bands.lower[1]), float(bands.upper[1]), float(bands.percent_b[1])
    (0.0, 4.0, 0.75)
    """
    if not width > 0.0:
        raise ValueError(f"width: expected > 0, was {width}")
    state = carried(state, bollinger_state(period))
    x = column(close, "close")
    gap, deviation, _ = deviations(continued(x, state), period)
    middle, reach = x - gap, width * deviation
    return Bollinger(
        lower=middle - reach,
        middle=middle,
        upper=middle + reach,
        percent_b=0.5 + ratio(gap, 2.0 * reach, otherwise=0.0),
        width=ratio(2.0 * reach, middle, otherwise=np.nan),
    )
