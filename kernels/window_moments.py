"""Mean and variance over the last bars, made of those over fewer, without losing digits.

Every window's mean is kept relative to its own first value, and windows are joined by differences
of values that lie inside the joined one. So a price of a million with a deviation of a cent costs
no digits (a sum of squares would have none left), a constant window has variance 0 exactly, and, as
in ``window_sums``, a bar that has left is not there any more.

For windows of w bars with means u and sums of squared deviations M, joined k at a time::

    u' = sum(u) / k        M' = sum(M) + w (sum(u**2) - sum(u)**2 / k)

with every u taken from the first value of the joined window. That value is in the window, so what
cancels is at most the period times the rounding.
"""

from typing import Final

import numpy as np

from kernels.blocks import U, aligned
from kernels.gate import Instants, Series
from kernels.jit import compiled, compiled_borrowing
from kernels.window_sums import FIVE, FOUR, THREE, TWO, widened

Room = tuple[Series, Series, Series, Series, Series]

_THIRD: Final = 1.0 / 3.0


@compiled
def moments_room(size: int) -> Room:
    """Return room for ``window_moments`` over ``size`` values; the first stays 0."""
    return np.zeros(size), aligned(size), aligned(size), aligned(size), aligned(size)


@compiled_borrowing
def window_moments(
    raw: Series, at: int, count: int, period: int, steps: Instants, room: Room
) -> bool:
    """Write the mean less the first value, and the sum of squared deviations, of each window.

    Windows are ``raw[at + i : at + i + period]``. They lie in ``room[1:3]``, or in ``room[3:5]``
    where the answer is true.
    """
    zero, mean, spread, mean_2, spread_2 = room
    width = widened(1, steps[0])
    length = count + period - width
    if steps[0] == FOUR:
        four_values(raw, at, mean, spread, length)
    else:
        join_moments(raw, at, zero, zero, 1, steps[0], mean, spread, length)
    for k in range(1, steps.size):
        wider = widened(width, steps[k])
        length -= wider - width
        if k % 2:
            join_moments(raw, at, mean, spread, width, steps[k], mean_2, spread_2, length)
        else:
            join_moments(raw, at, mean_2, spread_2, width, steps[k], mean, spread, length)
        width = wider
    return steps.size % 2 == 0


@compiled_borrowing
def four_values(raw: Series, at: int, mean: Series, spread: Series, count: int) -> None:
    """Write the moments of four values."""
    base = U(at)
    for i in range(U(count)):
        j = i + base
        first, third = raw[j], raw[j + U(2)]
        a = raw[j + U(1)] - first
        b = raw[j + U(3)] - third
        gap = (third - first) + 0.5 * (b - a)
        mean[i] = 0.5 * (a + gap)
        spread[i] = 0.5 * (a * a + b * b) + gap * gap


@compiled_borrowing
def join_moments(  # noqa: PLR0913, PLR0917 - two lines in, two lines out
    raw: Series,
    at: int,
    mean: Series,
    spread: Series,
    width: int,
    step: int,
    mean_2: Series,
    spread_2: Series,
    count: int,
) -> None:
    """Write the moments that one step makes of those over ``width`` bars."""
    base, w, v = U(at), U(width), float(width)
    w2, w3, w4 = U(2) * w, U(3) * w, U(4) * w
    if step == FIVE:
        for i in range(U(count)):
            j = i + base
            first = raw[j]
            a, b = mean[i], (raw[j + w] - first) + mean[i + w]
            c, d = (raw[j + w2] - first) + mean[i + w2], (raw[j + w3] - first) + mean[i + w3]
            e = (raw[j + w4] - first) + mean[i + w4]
            total = a + ((b + c) + (d + e))
            squares = a * a + ((b * b + c * c) + (d * d + e * e))
            later = (spread[i + w] + spread[i + w2]) + (spread[i + w3] + spread[i + w4])
            mean_2[i] = 0.2 * total
            spread_2[i] = (spread[i] + later) + v * (squares - 0.2 * (total * total))
    elif step == FOUR:
        for i in range(U(count)):
            j = i + base
            first = raw[j]
            a, b = mean[i], (raw[j + w] - first) + mean[i + w]
            c, d = (raw[j + w2] - first) + mean[i + w2], (raw[j + w3] - first) + mean[i + w3]
            total = (a + b) + (c + d)
            squares = (a * a + b * b) + (c * c + d * d)
            inner = (spread[i] + spread[i + w]) + (spread[i + w2] + spread[i + w3])
            mean_2[i] = 0.25 * total
            spread_2[i] = inner + v * (squares - 0.25 * (total * total))
    elif step == THREE:
        for i in range(U(count)):
            j = i + base
            first = raw[j]
            a, b = mean[i], (raw[j + w] - first) + mean[i + w]
            c = (raw[j + w2] - first) + mean[i + w2]
            total = a + (b + c)
            squares = a * a + (b * b + c * c)
            inner = spread[i] + (spread[i + w] + spread[i + w2])
            mean_2[i] = _THIRD * total
            spread_2[i] = inner + v * (squares - _THIRD * (total * total))
    else:
        join_two(raw, at, mean, spread, width, step, mean_2, spread_2, count)


@compiled_borrowing
def join_two(  # noqa: PLR0913, PLR0917 - as above
    raw: Series,
    at: int,
    mean: Series,
    spread: Series,
    width: int,
    step: int,
    mean_2: Series,
    spread_2: Series,
    count: int,
) -> None:
    """Write the moments of two windows, or of one and the bar after it, or of one bar alone."""
    base, w = U(at), U(width)
    if step == TWO:
        weight = 0.5 * width
        for i in range(U(count)):
            j = i + base
            gap = (raw[j + w] - raw[j]) + (mean[i + w] - mean[i])
            mean_2[i] = mean[i] + 0.5 * gap
            spread_2[i] = (spread[i] + spread[i + w]) + weight * (gap * gap)
        return
    after = U(width * step)
    share = 1.0 / (width * step + 1.0)
    for i in range(U(count)):
        j = i + base
        gap = (raw[j + after] - raw[j]) - mean[i]
        mean_2[i] = mean[i] + share * gap
        spread_2[i] = spread[i] + (1.0 - share) * (gap * gap)
