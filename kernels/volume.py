"""Volume: money and quantity behind the moves.

A source without volume delivers NaN, and NaN comes out: a volume is never taken for 0. Where
nothing was traded, or nothing moved, an oscillator answers with the middle of its scale.
"""

import numpy as np
import numpy.typing as npt

from kernels.gate import Series
from kernels.recurrences import session_average
from kernels.states import at_least, carried, columns, over_finite, ratio
from kernels.windows import lagged, total

# of the value: twice what adding three prices and dividing can round off. Decimal prices tie:
# 1.11809 + 1.1173 + 1.11783 and 1.11832 + 1.11715 + 1.11775 differ by an ulp, for one price.
_ROUNDING = 8.0 * float(np.finfo(np.float64).eps)


def mfi_state(period: int = 14) -> Series:
    """Return the state of ``mfi`` before the first bar."""
    return np.full(2 * at_least(period, 1, "period") - 1, np.nan)


def mfi(
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    close: npt.ArrayLike,
    volume: npt.ArrayLike,
    *,
    period: int = 14,
    state: Series | None = None,
) -> Series:
    """Return the money flow index: the share of money that flowed on rising typical prices.

    Money flow is the typical price (high + low + close) / 3 times volume. Typical prices that
    differ by rounding alone are equal, and money flows neither way. Causal; summed afresh at every
    bar. 50 where none flowed (TA-Lib: 0).

    Parameters
    ----------
    high, low, close, volume : array_like, float64, shape (n,)
        Prices and quantity. NaN gives NaN for the ``period + 1`` bars that see it.
    period : int
        Bars, at least 1.
    state : ndarray of float64, optional
        From ``mfi_state(period)`` or an earlier call, which this one continues: changed in place.

    Returns
    -------
    ndarray of float64, shape (n,)
        0..100; NaN for the first ``period`` bars of the series.

    Raises
    ------
    ValueError
        If ``period`` is below 1, or a column or ``state`` has another shape.

    References
    ----------
    TA-Lib ``MFI`` (whose tolerance is 1e-14 in price units).

    Examples
    --------
    >>> x = [1.0, 2.0, 1.0]
    >>> mfi(x, x, x, [1.0, 1.0, 6.0], period=2)
    array([nan, nan, 25.])
    """
    state = carried(state, mfi_state(period))
    highs, lows, closes, volumes = columns(high=high, low=low, close=close, volume=volume)
    typical = (highs + lows + closes) / 3.0
    before = lagged(typical, state[:1])
    flow = _signed(typical * volumes, typical, before, tolerance=_ROUNDING)
    rising = total(np.maximum(flow, 0.0), period, state[1:period])
    falling = total(np.maximum(-flow, 0.0), period, state[period:])
    return 100.0 * ratio(rising, rising + falling, otherwise=0.5)


def obv_state() -> Series:
    """Return the state of ``obv`` before the first bar."""
    return np.array([np.nan, 0.0])


def obv(close: npt.ArrayLike, volume: npt.ArrayLike, *, state: Series | None = None) -> Series:
    """Return the on-balance volume: volume added on a higher close, taken off on a lower one.

    The first bar adds its volume, as in TA-Lib. Causal and recursive: its level depends on where
    the series begins, so a feature takes ``obv_change``.

    Parameters
    ----------
    close, volume : array_like, float64, shape (n,)
        Price and quantity. A bar with a value that is not finite gives NaN and is passed over.
    state : ndarray of float64, optional
        From ``obv_state()`` or an earlier call, which this one continues: changed in place.

    Returns
    -------
    ndarray of float64, shape (n,)
        Unit of ``volume``; no warm-up.

    Raises
    ------
    ValueError
        If a column or ``state`` has another shape.

    References
    ----------
    TA-Lib ``OBV``.

    Examples
    --------
    >>> obv([1.0, 2.0, 2.0, 1.0], [5.0, 3.0, 9.0, 4.0])
    array([5., 8., 8., 4.])
    """
    own = carried(state, obv_state())

    def of_finite(closes: Series, volumes: Series) -> tuple[Series]:
        before = lagged(closes, own[:1])
        flow = np.where(np.isnan(before), volumes, _signed(volumes, closes, before))
        out = np.cumsum(np.concatenate((own[1:], flow)))  # in order: equal however it is cut
        own[1] = out[-1]
        return (out[1:],)

    return over_finite(of_finite, *columns(close=close, volume=volume))[0]


def obv_change_state(period: int = 20) -> Series:
    """Return the state of ``obv_change`` before the first bar."""
    return np.full(2 * at_least(period, 1, "period") - 1, np.nan)


def obv_change(
    close: npt.ArrayLike,
    volume: npt.ArrayLike,
    period: int = 20,
    *,
    state: Series | None = None,
) -> Series:
    """Return the change of the on-balance volume over ``period`` bars, as a share of their volume.

    Causal; summed afresh at every bar, so it does not depend on where the series begins. 0 where
    nothing was traded.

    Parameters
    ----------
    close, volume : array_like, float64, shape (n,)
        Price and quantity. NaN gives NaN for the bars that see it: ``period``, and one more where
        it is in ``close``.
    period : int
        Bars, at least 1.
    state : ndarray of float64, optional
        From ``obv_change_state(period)`` or an earlier call, which this one continues: changed in
        place.

    Returns
    -------
    ndarray of float64, shape (n,)
        -1..1; NaN for the first ``period`` bars of the series.

    Raises
    ------
    ValueError
        If ``period`` is below 1, or a column or ``state`` has another shape.

    References
    ----------
    The difference of TA-Lib's ``OBV``, scaled.

    Examples
    --------
    >>> obv_change([1.0, 2.0, 1.0], [5.0, 3.0, 1.0], 2)
    array([nan, nan, 0.5])
    """
    state = carried(state, obv_change_state(period))
    closes, volumes = columns(close=close, volume=volume)
    change = total(_signed(volumes, closes, lagged(closes, state[:1])), period, state[1:period])
    return ratio(change, total(volumes, period, state[period:]), otherwise=0.0)


def cmf_state(period: int = 20) -> Series:
    """Return the state of ``cmf`` before the first bar."""
    return np.full(2 * (at_least(period, 1, "period") - 1), np.nan)


def cmf(
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    close: npt.ArrayLike,
    volume: npt.ArrayLike,
    *,
    period: int = 20,
    state: Series | None = None,
) -> Series:
    """Return Chaikin's money flow: volume weighted by where in its range each bar closed.

    The weight is ((close - low) - (high - close)) / (high - low), and 0 in a bar without range;
    the sum over ``period`` bars is divided by their volume, and is 0 where there is none. Causal.

    Parameters
    ----------
    high, low, close, volume : array_like, float64, shape (n,)
        Prices and quantity. NaN gives NaN for the ``period`` bars that see it.
    period : int
        Bars, at least 1.
    state : ndarray of float64, optional
        From ``cmf_state(period)`` or an earlier call, which this one continues: changed in place.

    Returns
    -------
    ndarray of float64, shape (n,)
        -1..1; NaN for the first ``period - 1`` bars of the series.

    Raises
    ------
    ValueError
        If ``period`` is below 1, or a column or ``state`` has another shape.

    References
    ----------
    The moving sum of what TA-Lib's ``AD`` adds at each bar, over that of volume.

    Examples
    --------
    >>> cmf([2.0, 2.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0], period=2)
    array([nan, 0.5])
    """
    state = carried(state, cmf_state(period))
    highs, lows, closes, volumes = columns(high=high, low=low, close=close, volume=volume)
    flow = volumes * ratio((closes - lows) - (highs - closes), highs - lows, otherwise=0.0)
    money = total(flow, period, state[: period - 1])
    return ratio(money, total(volumes, period, state[period - 1 :]), otherwise=0.0)


def vwap_state() -> Series:
    """Return the state of ``vwap`` before the first bar."""
    return np.array([np.nan, 0.0, 0.0])


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
    own = carried(state, vwap_state())

    def of_finite(
        highs: Series, lows: Series, closes: Series, volumes: Series, ids: Series
    ) -> tuple[Series]:
        return (session_average((highs + lows + closes) / 3.0, volumes, ids, own),)

    given = columns(high=high, low=low, close=close, volume=volume, session=session)
    return over_finite(of_finite, *given)[0]


def _signed(amount: Series, value: Series, before: Series, *, tolerance: float = 0.0) -> Series:
    """Return ``amount`` with the sign of the change; NaN where either value is.

    A change within ``tolerance`` of the value before counts as none.
    """
    change = value - before
    least = tolerance * np.abs(before)
    sign = (change > least).astype(np.float64) - (change < -least).astype(np.float64)
    return np.where(np.isnan(change), np.nan, sign * amount)
