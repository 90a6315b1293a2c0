"""What is asked of the last ``period`` bars: over whole series, and going on from a state.

A window's state is the inputs that the next bar still sees: ``period - 1`` of them, NaN before the
first bar. Every output is made of its own window's bars, always in the same order, so the bits are
the same however the input is cut, and what has left a window is not there any more. NaN needs no
case of its own: it is NaN while it is inside, which is the warm-up too.

Add here what a kernel composes with NumPy; how a block of windows is computed is in
``window_sums``, ``window_moments`` and ``window_extremes``.
"""

import numpy as np

from kernels.blocks import WINDOW_BLOCK, U
from kernels.gate import Series, series
from kernels.jit import compiled
from kernels.window_extremes import window_highest
from kernels.window_moments import moments_room, window_moments
from kernels.window_sums import FIVE, steps_to, window_total


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
    out = np.empty(x.size)
    window_total(series(x, "x"), period, 1.0, state, out)
    return out


def mean_deviation(padded: Series, period: int) -> tuple[Series, Series]:
    """Return each window's newest value less its mean, and its mean absolute deviation.

    Both are measured inside the window: a constant one gives exactly 0, and no digits are lost
    where the mean is large beside the deviation.
    """
    gap, absolute = _mean_deviation(series(padded, "padded"), period)
    return gap, absolute


def highest(padded: Series, period: int) -> tuple[Series, Series]:
    """Return each window's highest value and how many bars ago it last stood; NaN beside a NaN."""
    n = padded.size - period + 1
    value, since = np.empty(n), np.empty(n)
    window_highest(series(padded, "padded"), period, value, since)
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
    for start in range(0, n, WINDOW_BLOCK):
        count, to = U(min(WINDOW_BLOCK, n - start)), U(start)
        for j in range(weights.size):
            weight, base = weights[j], U(start + j)
            for i in range(count):
                out[i + to] += weight * padded[i + base]
    return out


@compiled
def _mean_deviation(padded: Series, period: int) -> tuple[Series, Series]:
    n = padded.size - period + 1
    gap, absolute = np.empty(n), np.zeros(n)
    steps = steps_to(period, FIVE)
    room = moments_room(min(n, WINDOW_BLOCK) + period)
    for start in range(0, n, WINDOW_BLOCK):
        count = min(WINDOW_BLOCK, n - start)
        mean = room[3] if window_moments(padded, start, count, period, steps, room) else room[1]
        first, newest = U(start), U(start + period - 1)
        for i in range(U(count)):
            gap[i + first] = (padded[i + newest] - padded[i + first]) - mean[i]
        for j in range(period):
            base = U(start + j)
            for i in range(U(count)):
                absolute[i + first] += abs((padded[i + base] - padded[i + first]) - mean[i])
        for i in range(U(count)):
            absolute[i + first] /= period
    return gap, absolute


@compiled
def _logarithm(x: Series) -> Series:
    out = np.empty(x.size)
    for i in range(x.size):
        out[i] = np.log(x[i]) if x[i] > 0.0 else np.nan
    return out
