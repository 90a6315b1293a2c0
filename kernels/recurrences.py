"""Recurrences that remember all the past with vanishing weight, as TA-Lib seeds them.

State is ``[seen, value]``: how many finite values came (it starts below 0 where the seed has to
wait), and their sum until there are ``period`` of them, the average from then on. A value that is
not finite gives NaN and leaves the state alone. Sequential, so equal bit by bit however it is cut.
"""

import numpy as np

from kernels.gate import Series, series
from kernels.jit import compiled


def recurrence_state(wait: int = 0) -> Series:
    """Return the state before the first value; the first ``wait`` values are passed over."""
    return np.array([-wait, 0.0])


def exponential(x: Series, period: int, state: Series) -> Series:
    """Return the exponential average with weight 2 / (period + 1), seeded by the simple one."""
    out: Series = _exponential(series(x, "x"), period, state)
    return out


def wilder(x: Series, period: int, state: Series) -> Series:
    """Return Wilder's average, with weight 1 / period, seeded by the simple one."""
    out: Series = _wilder(series(x, "x"), period, state)
    return out


def session_average(price: Series, volume: Series, session: Series, state: Series) -> Series:
    """Return the average price since the session's first bar, by volume; NaN while it is 0.

    ``state`` is ``[session, sum of price times volume, sum of volume]``.
    """
    out: Series = _session_average(
        series(price, "price"), series(volume, "volume"), series(session, "session"), state
    )
    return out


@compiled
def _exponential(x: Series, period: int, state: Series) -> Series:
    out = np.full(x.size, np.nan)
    seen, value = state[0], state[1]
    weight = 2.0 / (period + 1.0)
    for i in range(x.size):
        if np.isfinite(x[i]):
            seen += 1.0
            if seen > period:
                value += weight * (x[i] - value)
                out[i] = value
            elif seen > 0.0:
                value += x[i]
                if seen == period:
                    value /= period
                    out[i] = value
    state[0], state[1] = seen, value
    return out


@compiled
def _wilder(x: Series, period: int, state: Series) -> Series:
    out = np.full(x.size, np.nan)
    seen, value = state[0], state[1]
    for i in range(x.size):
        if np.isfinite(x[i]):
            seen += 1.0
            if seen > period:
                value = (value * (period - 1.0) + x[i]) / period
                out[i] = value
            elif seen > 0.0:
                value += x[i]
                if seen == period:
                    value /= period
                    out[i] = value
    state[0], state[1] = seen, value
    return out


@compiled
def _session_average(price: Series, volume: Series, session: Series, state: Series) -> Series:
    out = np.full(price.size, np.nan)
    current, money, amount = state[0], state[1], state[2]
    for i in range(price.size):
        if session[i] != current:
            current, money, amount = session[i], 0.0, 0.0
        money += price[i] * volume[i]
        amount += volume[i]
        if amount > 0.0:
            out[i] = money / amount
    state[0], state[1], state[2] = current, money, amount
    return out
