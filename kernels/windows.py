"""Arithmetic over the last ``period`` bars, recomputed at every bar, so that nothing drifts.

A window's state is the inputs that the next bar still sees: ``period - 1`` of them, NaN before the
first bar. A chunk is put behind them (``continued``), and every output reads its own slice: the
same operations in the same order however the input is cut, so the results are equal bit by bit.
NaN needs no case of its own: it is NaN while it is inside, which is the warm-up too.

The compiled loops run over the window outside and over the bars inside: each pass is elementwise,
hence vectorised, and still adds up each window from its oldest bar to its newest.
"""

import numpy as np

from kernels.gate import Series, series
from kernels.jit import compiled


def window_state(period: int) -> Series:
    """Return what a window of ``period`` bars carries before the first bar."""
    return np.full(period - 1, np.nan)


def continued(x: Series, state: Series) -> Series:
    """Return ``x`` behind the bars kept in ``state``, which then keeps the last ones instead."""
    both = np.concatenate((state, x))
    state[:] = both[both.size - state.size :]
    return both


def lagged(x: Series, state: Series) -> Series:
    """Return ``x`` of as many bars ago as ``state`` keeps."""
    return continued(x, state)[: x.size]


def weighted_sum(padded: Series, weights: Series) -> Series:
    """Return the sum of ``weights`` (oldest first) times each window of ``padded``."""
    out: Series = _weighted_sum(series(padded, "padded"), weights)
    return out


def total(x: Series, period: int, state: Series) -> Series:
    """Return the sum of the last ``period`` values."""
    return weighted_sum(continued(x, state), np.ones(period))


def deviations(padded: Series, period: int) -> tuple[Series, Series, Series]:
    """Return newest less mean, population standard deviation and mean absolute deviation.

    Everything is measured from the window's newest value: a constant window gives exactly 0, and
    no digits are lost where the mean is large beside the deviation.
    """
    gap, deviation, absolute = _deviations(series(padded, "padded"), period)
    return gap, deviation, absolute


def highest(padded: Series, period: int) -> tuple[Series, Series]:
    """Return each window's highest value and how many bars ago it last stood; NaN beside a NaN."""
    value, since = _highest(series(padded, "padded"), period)
    return value, since


def lowest(padded: Series, period: int) -> tuple[Series, Series]:
    """Return each window's lowest value and how many bars ago it last stood; NaN beside a NaN."""
    value, since = highest(-padded, period)
    return -value, since


def logarithm(x: Series) -> Series:
    """Return the natural logarithm, NaN where there is none (at 0 and below).

    Compiled, one value at a time: NumPy's own takes another path by processor and length, and the
    last bit with it.
    """
    out: Series = _logarithm(series(x, "x"))
    return out


@compiled
def _weighted_sum(padded: Series, weights: Series) -> Series:
    n = padded.size - weights.size + 1
    out = np.zeros(n)
    for j in range(weights.size):
        weight = weights[j]
        past = padded[j : j + n]
        for i in range(n):
            out[i] += weight * past[i]
    return out


@compiled
def _deviations(padded: Series, period: int) -> tuple[Series, Series, Series]:
    n = padded.size - period + 1
    gap = np.zeros(n)
    squares = np.zeros(n)
    absolute = np.zeros(n)
    newest = padded[period - 1 :]
    for j in range(period):
        past = padded[j : j + n]
        for i in range(n):
            gap[i] += newest[i] - past[i]
    for i in range(n):
        gap[i] /= period
    for j in range(period):
        past = padded[j : j + n]
        for i in range(n):
            d = (past[i] - newest[i]) + gap[i]
            squares[i] += d * d
            absolute[i] += abs(d)
    for i in range(n):
        squares[i] = np.sqrt(squares[i] / period)
        absolute[i] /= period
    return gap, squares, absolute


@compiled
def _highest(padded: Series, period: int) -> tuple[Series, Series]:
    n = padded.size - period + 1
    value = np.empty(n)
    since = np.empty(n)
    for i in range(n):
        best = padded[i]
        at = 0
        is_missing = np.isnan(best)
        for j in range(1, period):
            x = padded[i + j]
            is_missing |= np.isnan(x)
            if x >= best:
                best = x
                at = j
        value[i] = np.nan if is_missing else best
        since[i] = np.nan if is_missing else period - 1.0 - at
    return value, since


@compiled
def _logarithm(x: Series) -> Series:
    out = np.empty(x.size)
    for i in range(x.size):
        out[i] = np.log(x[i]) if x[i] > 0.0 else np.nan
    return out
