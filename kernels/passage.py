"""First passage at a cost that does not grow with the horizon: a stack in place of a scan.

Belongs here: the search among a path's records. Keep out: what a touch means, and when to search in
this way (``first_touch``).

Entries are taken from the last to the first. Of the bars after an entry only records matter: those
whose high no bar between has reached. They form a stack with the nearest and lowest on top: a new
bar takes off those that it hides, so each bar goes on and off once. The first bar at or above a
barrier is the nearest record that is; that of the entry before lies a few places off, where a look
at eight records mostly finds it. Lows are the highs of negated prices.

Nothing here branches on prices: most of the time of the plain form (take off while lower, double
the step from the top) went into wrong guesses.
"""

import math

import numpy as np
import numpy.typing as npt

from kernels.gate import Instants, Series
from kernels.jit import compiled_borrowing, compiled_inline

_LOOK = 8  # records looked at in one go; as many lie under the stack, above any barrier
_PEEK = 4  # records that a new bar is compared with in one go

Stack = tuple[Series, Instants]
"""Heights, highest first, and the bars that have them."""


def stack_touch(
    path: tuple[Series, Series],
    windows: tuple[Instants, Instants],
    barriers: tuple[Series, Series],
    side: npt.NDArray[np.int8],
    touched: npt.NDArray[np.int64],
) -> None:
    """Write what ``first_touch`` has to: the side and the bar of each window's first touch.

    The arguments are those of the scan, float64 but for int64 windows and ``touched`` and an int8
    ``side``, which holds 0 and ``touched`` -1 before; any order of windows, in time linear in rows
    and in the bars that they span.
    """
    first, last = windows
    if not first.size:
        return
    if (first[1:] < first[:-1]).any():
        order = np.argsort(first, kind="stable")
        sides, bars = side[order], touched[order]
        bounds = barriers[0][order], barriers[1][order]
        stack_touch(path, (first[order], last[order]), bounds, sides, bars)
        side[order], touched[order] = sides, bars
        return
    room = max(int(last.max()) - int(first[0]), 0) + _LOOK
    above = np.empty(room), np.empty(room, dtype=np.int64)
    below = np.empty(room), np.empty(room, dtype=np.int64)
    _stack_touch(path, windows, barriers, (side, touched), (above, below))


@compiled_borrowing
def _stack_touch(
    path: tuple[Series, Series],
    windows: tuple[Instants, Instants],
    barriers: tuple[Series, Series],
    found: tuple[npt.NDArray[np.int8], npt.NDArray[np.int64]],
    stacks: tuple[Stack, Stack],
) -> None:
    high, low = path
    first, last = windows
    above, below = stacks
    end = 0
    for row in range(last.size):
        end = max(end, last[row])
    for at in range(_LOOK):
        above[0][at] = below[0][at] = math.inf
        above[1][at] = below[1][at] = end
    n_above = n_below = _LOOK
    at_above = at_below = 0
    nearest = end
    for row in range(first.size - 1, -1, -1):
        for bar in range(nearest - 1, first[row] - 1, -1):
            n_above = _push(above, n_above, high[bar], bar)
            n_below = _push(below, n_below, -low[bar], bar)
        nearest = min(nearest, first[row])
        upper, lower = barriers[0][row], barriers[1][row]
        if math.isnan(upper) or math.isnan(lower):
            continue
        at_above = _look(above[0], n_above, at_above, upper)
        at_below = _look(below[0], n_below, at_below, -lower)
        up, down = above[1][at_above], below[1][at_below]
        is_touched = min(up, down) < last[row]
        # 1 for the upper, -1 for the lower, 2 for both
        found[0][row] = is_touched * (int(up <= down) - int(down <= up) + 2 * int(up == down))
        found[1][row] = min(up, down) if is_touched else -1


@compiled_inline
def _push(stack: Stack, size: int, height: float, bar: int) -> int:
    """Put a bar on top in place of those that it hides; return how many there are then."""
    heights, bars = stack
    hidden = _PEEK
    while hidden == _PEEK and size > _LOOK:
        top = max(size - _PEEK, 0)
        hidden = int(heights[top] <= height)
        for k in range(1, _PEEK):
            hidden += heights[top + k] <= height
        size -= hidden
    size = max(size, _LOOK)
    heights[size], bars[size] = height, bar
    return size + 1


@compiled_inline
def _look(heights: Series, size: int, at: int, barrier: float) -> int:
    """Return the topmost place whose height is at or above a barrier, looking around ``at``."""
    start = max(min(at + 1 - _LOOK // 2, size - _LOOK), 0)
    count = int(heights[start] >= barrier)
    for k in range(1, _LOOK):
        count += heights[start + k] >= barrier
    at = start + count - 1
    if count == 0 or (count == _LOOK and start + _LOOK < size):
        at = _gallop(heights, size, max(at, 0), barrier)
    return at


@compiled_borrowing
def _gallop(heights: Series, size: int, at: int, barrier: float) -> int:
    """Return the same by steps that double, then halve."""
    step = 1
    if heights[at] >= barrier:
        while at + step < size and heights[at + step] >= barrier:
            at += step
            step += step
        while step > 0:
            if at + step < size and heights[at + step] >= barrier:
                at += step
            step //= 2
        return at
    below = at
    while below - step >= 0 and heights[below - step] < barrier:
        below -= step
        step += step
    at = max(below - step, 0)
    while below - at > 1:
        middle = (at + below) // 2
        if heights[middle] >= barrier:
            at = middle
        else:
            below = middle
    return at
