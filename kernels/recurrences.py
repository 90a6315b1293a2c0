"""Averages that remember all the past with vanishing weight, seeded as TA-Lib seeds them.

The average moves towards each new value by its weight k: with q = 1 - k, y[t] = q y[t-1] + k x[t].
Each y would wait for the one before, and a processor that adds eight at once would do one. So from
the eighth bar after the seed on the recurrence is taken eight bars at a time::

    y[t] = q**8 y[t-8] + k (x[t] + q x[t-1] + ... + q**7 x[t-7])

which is the same number but for its last bits, and the same bits however the input is cut: what a
bar becomes depends on how many came before it, not on where a call began.

State is ``[seen, value, 8 averages, 7 values]``: how many values came (below 0 where the seed has
to wait), their sum until there are ``period`` of them and the average for eight more, and the last
outputs and inputs. A value that is not finite gives NaN and leaves the state alone.
"""

from typing import Final

import numpy as np

from kernels.blocks import BLOCK, U, close_up, gather, put
from kernels.gate import Series
from kernels.jit import compiled, compiled_borrowing, compiled_inline

AHEAD: Final = 8
"""Bars that the recurrence is taken ahead, and columns that a row of averages starts with."""

BEHIND: Final = 7
"""Values that an average looks back to, and columns that a row of values starts with."""

RECURRENCE_SIZE: Final = 2 + AHEAD + BEHIND

_SPARE: Final = 40  # values: five cache lines, at least AHEAD

Lane = tuple[Series, Series, Series, int, float, Series]
"""What one average works in: values, averages, scratch, period, weight, state."""


def recurrence_state(wait: int = 0) -> Series:
    """Return the state before the first value; the first ``wait`` values are passed over."""
    state = np.zeros(RECURRENCE_SIZE)
    state[0] = -wait
    return state


@compiled
def smooth(x: Series, period: int, weight: float, state: Series, out: Series) -> None:
    """Write the average of ``x`` to ``out``, continuing from ``state`` (empty: from the start)."""
    room, kept = np.empty((3, row_size(x.size))), np.empty(min(x.size, BLOCK), np.int64)
    given, values, averages, work = room[:1], room[0], room[1], room[2]
    own = state if state.size else recurrence(0)
    lane: Lane = (values, averages, work, period, weight, own)
    if state.size:
        resume(lane)
    for start in range(0, x.size, BLOCK):
        count = min(BLOCK, x.size - start)
        if gather(x, start, count, values, BEHIND):
            usable, dense = close_up(given, BEHIND, count, kept), np.empty(count)
            advance(lane, usable, dense, 0)
            put(dense, kept, usable, out, start, count)
        else:
            advance(lane, count, out, start)
    if state.size:
        suspend(lane)


@compiled_borrowing
def row_size(bars: int) -> int:
    """Return how long a row is made for a block of at most so many bars.

    Rows of one matrix cost one allocation. A page's length apart, a row's load would seem to wait
    for the store to another.
    """
    return min(bars, BLOCK) + _SPARE


@compiled
def recurrence(wait: int) -> Series:
    """Return ``recurrence_state(wait)``, for compiled callers."""
    state = np.zeros(RECURRENCE_SIZE)
    state[0] = -wait
    return state


@compiled_borrowing
def resume(lane: Lane) -> None:
    """Put the last averages and values of the state before those of the first block."""
    values, averages, _, _, _, state = lane
    for i in range(AHEAD):
        averages[i] = state[2 + i]
    for i in range(BEHIND):
        values[i] = state[2 + AHEAD + i]


@compiled_borrowing
def suspend(lane: Lane) -> None:
    """Keep them in the state after the last block."""
    values, averages, _, _, _, state = lane
    for i in range(AHEAD):
        state[2 + i] = averages[i]
    for i in range(BEHIND):
        state[2 + AHEAD + i] = values[i]


@compiled_borrowing
def advance(lane: Lane, count: int, out: Series, at: int) -> None:
    """Write ``count`` averages of the values from ``values[BEHIND]`` to ``out[at:]``.

    They are in ``averages[AHEAD:]`` too. Before them and the values lie the last of the block
    before, and in the end those of this one.
    """
    values, averages, work, period, weight, state = lane
    first = begin(lane, count) if state[0] < period + AHEAD else 0
    for i in range(first):
        out[at + i] = averages[AHEAD + i]
    q, q2, q4, q8 = powers(weight)
    to = U(at)
    if first < count:
        for i in range(U(first), U(count + 6)):
            work[i] = weight * (values[i + U(1)] + q * values[i])
        for i in range(U(first), U(count)):
            average = ahead(work, i, q2, q4) + q8 * averages[i]
            averages[i + U(8)] = average
            out[i + to] = average
        state[0] += count - first
    turn_page(lane, count)


@compiled_inline
def powers(weight: float) -> tuple[float, float, float, float]:
    """Return what is left of an average after one, two, four and eight bars."""
    q = 1.0 - weight
    q2 = q * q
    q4 = q2 * q2
    return q, q2, q4, q4 * q4


@compiled_inline
def ahead(work: Series, i: int | np.uint64, q2: float, q4: float) -> float:
    """Return what the last eight values add to the average of eight bars before."""
    recent: float = work[i + U(6)] + q2 * work[i + U(4)]
    earlier: float = work[i + U(2)] + q2 * work[i]
    return recent + q4 * earlier


@compiled_borrowing
def turn_page(lane: Lane, count: int) -> None:
    """Put the end of a block where the next one looks for what was before it."""
    values, averages, _, _, _, _ = lane
    for i in range(AHEAD):
        averages[i] = averages[count + i]
    for i in range(BEHIND):
        values[i] = values[count + i]


@compiled_borrowing
def begin(lane: Lane, count: int) -> int:
    """Write the averages up to the eighth after the seed; return how many bars that took."""
    values, averages, _, period, weight, state = lane
    seen, value = state[0], state[1]
    done = 0
    while done < count and seen < period + AHEAD:
        x = values[BEHIND + done]
        seen += 1.0
        if seen > period:
            value += weight * (x - value)
        elif seen > 0.0:
            value += x
            if seen == period:
                value /= period
        averages[AHEAD + done] = value if seen >= period else np.nan
        done += 1
    state[0], state[1] = seen, value
    return done
