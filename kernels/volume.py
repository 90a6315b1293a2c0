"""Volume: money and quantity behind the moves.

A source without volume delivers NaN, and NaN comes out: a volume is never taken for 0. Where
nothing was traded, or nothing moved, an oscillator answers with the middle of its scale.
"""

import numpy as np
import numpy.typing as npt

from kernels import engine
from kernels.blocks import (
    BLOCK,
    WINDOW_BLOCK,
    U,
    aligned,
    close_up,
    gather,
    put,
    whole_lines,
)
from kernels.gate import Series, series, target
from kernels.jit import compiled, compiled_borrowing, compiled_ieee
from kernels.states import at_least, carried, columns, kept, ratio, same_length
from kernels.window_sums import FIVE, steps_to, window_sums
from kernels.windows import lagged, total

_GROUP = 4  # bars that the balance adds up at a time

# of the value: twice what adding three prices and dividing can round off. Decimal prices tie:
# 1.11809 + 1.1173 + 1.11783 and 1.11832 + 1.11715 + 1.11775 differ by an ulp, for one price.
_ROUNDING = 8.0 * float(np.finfo(np.float64).eps)


def mfi_state(period: int = 14) -> Series:
    """Return the state of ``mfi`` before the first bar."""
    return np.full(2 * at_least(period, 1, "period") - 1, np.nan)


def mfi(  # noqa: PLR0913 - four series, a period, how it goes on
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    close: npt.ArrayLike,
    volume: npt.ArrayLike,
    *,
    period: int = 14,
    state: Series | None = None,
    out: Series | None = None,
) -> Series:
    """Return the money flow index: the share of money that flowed on rising typical prices.

    Money flow is the typical price (high + low + close) / 3 times volume. Typical prices that
    differ by rounding alone are equal, and money flows neither way. Causal; each sum is made of its
    own bars. 50 where none flowed (TA-Lib: 0).

    Parameters
    ----------
    high, low, close, volume : array_like, float64, shape (n,)
        Prices and quantity. NaN gives NaN for the ``period + 1`` bars that see it.
    period : int
        Bars, at least 1.
    state : ndarray of float64, optional
        From ``mfi_state(period)`` or an earlier call, which this one continues: changed in place.
    out : ndarray of float64, shape (n,), optional
        Where to write; a new array by default. It may share no memory with a column.

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
    period = at_least(period, 1, "period")
    highs, lows, closes = series(high, "high"), series(low, "low"), series(close, "close")
    volumes = series(volume, "volume")
    same_length(("high", "low", "close", "volume"), highs, lows, closes, volumes)
    index = target(out, highs, lows, closes, volumes)
    own = kept(state, 2 * period - 1)
    engine.run("mfi", _mfi, highs, lows, closes, volumes, period, own, index)
    return index


def obv_state() -> Series:
    """Return the state of ``obv`` before the first bar."""
    return np.array([np.nan, 0.0, 0.0, 0.0])


def obv(
    close: npt.ArrayLike,
    volume: npt.ArrayLike,
    *,
    state: Series | None = None,
    out: Series | None = None,
) -> Series:
    """Return the on-balance volume: volume added on a higher close, taken off on a lower one.

    The first bar adds its volume, as in TA-Lib. Causal and recursive: its level depends on where
    the series begins, so a feature takes ``obv_change``. Bars are added up four at a time, counted
    from the first: exact for whole volumes, else the last bits are not those of one at a time.

    Parameters
    ----------
    close, volume : array_like, float64, shape (n,)
        Price and quantity. A bar with a value that is not finite gives NaN and is passed over.
    state : ndarray of float64, optional
        From ``obv_state()`` or an earlier call, which this one continues: changed in place.
    out : ndarray of float64, shape (n,), optional
        Where to write; a new array by default. It may share no memory with a column.

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
    closes, volumes = series(close, "close"), series(volume, "volume")
    same_length(("close", "volume"), closes, volumes)
    balance = target(out, closes, volumes)
    _obv(closes, volumes, kept(state, 4), balance)
    return balance


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

    Causal; it does not depend on where the series begins. 0 where nothing was traded.

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


def _signed(amount: Series, value: Series, before: Series, *, tolerance: float = 0.0) -> Series:
    """Return ``amount`` with the sign of the change; NaN where either value is.

    A change within ``tolerance`` of the value before counts as none.
    """
    change = value - before
    least = tolerance * np.abs(before)
    sign = (change > least).astype(np.float64) - (change < -least).astype(np.float64)
    return np.where(np.isnan(change), np.nan, sign * amount)


@compiled
def _obv(close: Series, volume: Series, state: Series, out: Series) -> None:
    size = min(close.size, BLOCK)
    given, kept_bars = np.empty((2, size)), np.empty(size, np.int64)
    closes, volumes, flow = given[0], given[1], np.empty(size)
    own = state if state.size else np.array([np.nan, 0.0, 0.0, 0.0])
    for start in range(0, close.size, BLOCK):
        count = min(BLOCK, close.size - start)
        if flows(close, volume, start, count, own[0], flow):
            gather(close, start, count, closes, 0)
            gather(volume, start, count, volumes, 0)
            usable = close_up(given, 0, count, kept_bars)
            flows(closes, volumes, 0, usable, own[0], flow)
            run_on(flow, usable, own, volumes, 0)
            put(volumes, kept_bars, usable, out, start, count)
            own[0] = closes[usable - 1] if usable else own[0]
        else:
            run_on(flow, count, own, out, start)
            own[0] = close[start + count - 1]


@compiled_borrowing
def flows(close: Series, volume: Series, at: int, count: int, before: float, flow: Series) -> int:
    """Write each bar's volume with the sign of its move, the series' first with plus.

    Return how many values are not finite.
    """
    first, missing = U(at), 0
    if count:
        is_fall = close[at] < before
        is_rise = close[at] > before or np.isnan(before)
        flow[0] = volume[at] if is_rise else -volume[at] if is_fall else 0.0
        missing += not abs(close[at]) + abs(volume[at]) < np.inf
    for i in range(U(max(count - 1, 0))):
        j = i + first
        now, then, amount = close[j + U(1)], close[j], volume[j + U(1)]
        missing += not abs(now) + abs(amount) < np.inf
        flow[i + U(1)] = (amount if now > then else 0.0) - (amount if now < then else 0.0)
    return missing


@compiled_borrowing
def run_on(flow: Series, count: int, state: Series, out: Series, at: int) -> None:
    """Write the running sum of ``flow`` from ``out[at]``, four bars at a time.

    ``state`` is ``[_, sum before the group of four, sum inside it, bars inside it]``. A bar without
    flow leaves the sum as it is, to the bit.
    """
    carry, inside, done = state[1], state[2], int(state[3])
    i = 0
    while i < count and done:
        inside += flow[i]
        out[at + i] = carry + inside
        i, done = i + 1, done + 1
        if done == _GROUP:
            carry, inside, done = carry + inside, 0.0, 0
    k, end, to = U(i), U(i + (count - i) // _GROUP * _GROUP), U(at)
    while k < end:
        first = flow[k]
        second = first + flow[k + U(1)]
        third = second + flow[k + U(2)]
        fourth = third + flow[k + U(3)]
        out[k + to] = carry + first
        out[k + (to + U(1))] = carry + second
        out[k + (to + U(2))] = carry + third
        carry += fourth
        out[k + (to + U(3))] = carry
        k += U(_GROUP)
    for j in range(i + (count - i) // _GROUP * _GROUP, count):
        inside = inside + flow[j] if done else flow[j]
        out[at + j] = carry + inside
        done += 1
    state[1], state[2], state[3] = carry, inside, done


@compiled_ieee
def _mfi(  # noqa: PLR0913, PLR0917 - four series, a period, how it goes on
    high: Series,
    low: Series,
    close: Series,
    volume: Series,
    period: int,
    state: Series,
    out: Series,
) -> None:
    past = period - 1
    size = min(close.size, WINDOW_BLOCK)
    prices, rises, falls = np.empty(size + 1), np.empty(size + past), np.empty(size + past)
    risen, fallen, work = aligned(size), aligned(size), aligned(2 * whole_lines(size + period))
    own = state if state.size else np.full(2 * period - 1, np.nan)
    steps = steps_to(period, FIVE)
    prices[0] = own[0]
    for i in range(past):
        rises[i], falls[i] = own[1 + i], own[period + i]
    for start in range(0, close.size, WINDOW_BLOCK):
        count = min(WINDOW_BLOCK, close.size - start)
        first = U(start)
        for i in range(U(count)):
            prices[i + U(1)] = (high[i + first] + low[i + first]) + close[i + first]
        for i in range(U(count)):
            before, price = prices[i], prices[i + U(1)]
            change, least = price - before, _ROUNDING * abs(before)
            flow = price * volume[i + first]
            known = (change - change) + (flow - flow)  # 0, or NaN
            rises[i + U(past)] = known + (flow if change > least else 0.0)
            falls[i + U(past)] = known + (flow if change < -least else 0.0)
        window_sums(rises, 0, count, period, steps, 1.0, work, risen, 0)
        window_sums(falls, 0, count, period, steps, 1.0, work, fallen, 0)
        for i in range(U(count)):
            moved = risen[i] + fallen[i]
            out[i + first] = 50.0 if moved == 0.0 else 100.0 * (risen[i] / moved)
        prices[0] = prices[count]
        for i in range(past):
            rises[i], falls[i] = rises[count + i], falls[count + i]
    own[0] = prices[0]
    for i in range(past):
        own[1 + i], own[period + i] = rises[i], falls[i]
