"""Sums over the last bars, made of sums over fewer: a period of 500 takes four passes, not 500.

The sum of 20 bars is that of five sums of 4 bars, each of which is made of four bars: a few passes
over a block, each of them vectorised. Nothing runs on, so there is nothing to drift: a sum reads
its own bars and no others, an outlier or a NaN leaves with its bar, and the result is the same bits
however the input is cut. The rounding error grows with the number of passes, not with the period.

Belongs here: how a period is composed, sums and weighted sums. An infinite sum is NaN.
"""

from typing import Final

import numpy as np

from kernels.blocks import U
from kernels.gate import Instants, Series
from kernels.jit import compiled, compiled_borrowing

WIDE_BLOCK: Final = 2048
"""Bars in a block of a kernel with a few columns: three of them fit 48 KiB."""

ONE_MORE: Final = 1
"""The step that appends one bar; any other joins as many windows of the same width."""

TWO: Final = 2
THREE: Final = 3
FOUR: Final = 4
FIVE: Final = 5


@compiled
def steps_to(period: int, most: int) -> Instants:
    """Return the steps of at most ``most`` from windows of one bar to ``period`` bars, in order."""
    found = np.empty(64, np.int64)
    first = found.size
    found[-1] = 0  # one step that does nothing, if there is none
    rest = period
    while rest > 1:
        step = ONE_MORE
        for radix in (TWO, FOUR, THREE, FIVE):
            if radix <= most and rest % radix == 0:
                step = radix
        first -= 1
        found[first] = step
        rest = rest - 1 if step == ONE_MORE else rest // step
    return found[min(first, found.size - 1) :]


@compiled_borrowing
def widened(width: int, step: int) -> int:
    """Return how many bars a window of ``width`` has after a step."""
    return width + 1 if step == ONE_MORE else width * max(step, 1)


@compiled_borrowing
def window_sums(  # noqa: PLR0913, PLR0917 - where from, over what, where to
    raw: Series,
    at: int,
    count: int,
    period: int,
    steps: Instants,
    scale: float,
    work: Series,
    out: Series,
    to: int,
) -> None:
    """Write ``scale`` times the sum of ``raw[at + i : at + i + period]`` to ``out[to + i]``.

    ``work`` has room for twice ``count + period`` values.
    """
    there, here = 0, work.size // 2
    last = steps.size - 1
    if last == 0:
        join_sums(raw, at, raw, at, 1, steps[0], scale, out, to, count)
        return
    width = widened(1, steps[0])
    length = count + period - width
    join_sums(raw, at, raw, at, 1, steps[0], 1.0, work, here, length)
    for k in range(1, last):
        wider = widened(width, steps[k])
        length -= wider - width
        join_sums(work, here, raw, at, width, steps[k], 1.0, work, there, length)
        here, there, width = there, here, wider
    join_sums(work, here, raw, at, width, steps[last], scale, out, to, count)


@compiled_borrowing
def join_sums(  # noqa: PLR0913, PLR0917 - as above
    source: Series,
    at: int,
    raw: Series,
    raw_at: int,
    width: int,
    step: int,
    scale: float,
    out: Series,
    to: int,
    count: int,
) -> None:
    """Write ``scale`` times the sums that one step makes of sums over ``width`` bars."""
    base, first, w = U(at), U(to), U(width)
    w2, w3, w4 = U(2) * w, U(3) * w, U(4) * w
    if step == FIVE:
        for i in range(U(count)):
            j = i + base
            later = (source[j + w] + source[j + w2]) + (source[j + w3] + source[j + w4])
            total = source[j] + later
            out[i + first] = scale * (total + (total - total))
    elif step == FOUR:
        for i in range(U(count)):
            j = i + base
            total = (source[j] + source[j + w]) + (source[j + w2] + source[j + w3])
            out[i + first] = scale * (total + (total - total))
    elif step == THREE:
        for i in range(U(count)):
            j = i + base
            total = source[j] + (source[j + w] + source[j + w2])
            out[i + first] = scale * (total + (total - total))
    elif step == TWO:
        for i in range(U(count)):
            j = i + base
            total = source[j] + source[j + w]
            out[i + first] = scale * (total + (total - total))
    else:
        newest, share = U(raw_at) + w * U(step), 1.0 if step else 0.0
        for i in range(U(count)):
            total = share * source[i + base] + raw[i + newest]
            out[i + first] = scale * (total + (total - total))


@compiled
def window_weighted(  # noqa: PLR0913, PLR0917 - as above
    raw: Series, at: int, count: int, period: int, scale: float, out: Series, to: int
) -> None:
    """Write ``scale`` times the sum of j times the window's j-th value, the oldest first.

    Of two windows of w bars side by side, the later one's sum of values counts w times more.
    """
    start, length, width = U(at), count + period - 1, 1
    plain, weighted = np.empty(length), np.empty(length)
    plain_2, weighted_2 = np.empty(length), np.empty(length)
    for i in range(U(length)):
        plain[i] = weighted[i] = raw[i + start]
    for step in steps_to(period, TWO):
        wider = widened(width, int(step))
        length -= wider - width
        w = U(width)
        if step == ONE_MORE:
            for i in range(U(length)):
                newest = raw[i + start + w]
                plain_2[i] = plain[i] + newest
                weighted_2[i] = weighted[i] + wider * newest
        elif step == TWO:
            for i in range(U(length)):
                later = plain[i + w]
                plain_2[i] = plain[i] + later
                weighted_2[i] = weighted[i] + (weighted[i + w] + width * later)
        if step:
            plain, plain_2 = plain_2, plain
            weighted, weighted_2 = weighted_2, weighted
        width = wider
    first = U(to)
    for i in range(U(count)):
        total = weighted[i]
        out[i + first] = scale * (total + (total - total))


@compiled
def window_total(x: Series, period: int, scale: float, state: Series, out: Series) -> None:
    """Write ``scale`` times the sum of the last ``period`` values to ``out``.

    ``state`` holds the ``period - 1`` values before ``x`` (none: NaN), and then its last.
    """
    past = period - 1
    steps = steps_to(period, FIVE)
    work = np.empty(2 * (min(x.size, WIDE_BLOCK) + period))
    if state.size:
        head, early = joined(state, x), min(past, x.size)
        for start in range(0, early, WIDE_BLOCK):
            count = min(WIDE_BLOCK, early - start)
            window_sums(head, start, count, period, steps, scale, work, out, start)
        keep_last(head, x, state)
    else:
        out[:past] = np.nan
    for start in range(past, x.size, WIDE_BLOCK):
        count = min(WIDE_BLOCK, x.size - start)
        window_sums(x, start - past, count, period, steps, scale, work, out, start)


@compiled
def window_weighted_total(x: Series, period: int, scale: float, state: Series, out: Series) -> None:
    """Write ``scale`` times the weighted sum of the last ``period`` values, as ``window_total``."""
    past = period - 1
    if state.size:
        head = joined(state, x)
        window_weighted(head, 0, min(past, x.size), period, scale, out, 0)
        keep_last(head, x, state)
    else:
        out[:past] = np.nan
    for start in range(past, x.size, WIDE_BLOCK):
        count = min(WIDE_BLOCK, x.size - start)
        window_weighted(x, start - past, count, period, scale, out, start)


@compiled
def joined(state: Series, x: Series) -> Series:
    """Return the values before ``x`` that ``state`` holds, and as many of its first."""
    past = state.size
    head = np.full(2 * past, np.nan)
    for i in range(past):
        head[i] = state[i]
    for i in range(min(past, x.size)):
        head[past + i] = x[i]
    return head


@compiled_borrowing
def keep_last(head: Series, x: Series, state: Series) -> None:
    """Keep the last values of ``x``, behind those that ``head`` holds from before, in ``state``."""
    past = state.size
    for i in range(past):
        state[i] = x[x.size - past + i] if x.size >= past else head[x.size + i]
