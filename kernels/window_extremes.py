"""The highest of the last bars, made of the highest of fewer: a period of 500 takes four passes.

Unlike sums, windows may overlap: five of w bars make one of up to 5 w, whatever the period. What is
missing counts as infinitely high, so that the window which holds it is known by its answer.
"""

import numpy as np

from kernels.blocks import WINDOW_BLOCK, U
from kernels.gate import Series
from kernels.jit import compiled, compiled_borrowing


@compiled
def window_highest(padded: Series, period: int, value: Series, since: Series) -> None:
    """Write the highest of ``padded[i : i + period]`` and how many bars before the last it stood.

    The latest of equal ones counts. NaN beside a value that is not finite.
    """
    size = min(value.size, WINDOW_BLOCK) + period - 1
    best, best_2, place_2 = np.empty(size), np.empty(size), np.empty(size)
    ramp, spare = np.arange(0.0, size), np.empty(size)
    for start in range(0, value.size, WINDOW_BLOCK):
        count = min(WINDOW_BLOCK, value.size - start)
        length, width = count + period - 1, 1
        first = U(start)
        for i in range(U(length)):
            x = padded[i + first]
            best[i] = x if abs(x) < np.inf else np.inf
        place = ramp
        while width < period:
            wider = min(5 * width, period)
            length -= wider - width
            join_highest(best, place, width, wider, best_2, place_2, length)
            best, best_2 = best_2, best
            place, place_2, spare = place_2, spare, place_2
            width = wider
        last = period - 1.0
        for i in range(U(count)):
            is_known = best[i] < np.inf
            value[i + first] = best[i] if is_known else np.nan
            since[i + first] = (ramp[i] + last) - place[i] if is_known else np.nan


@compiled_borrowing
def join_highest(  # noqa: PLR0913, PLR0917 - two lines in, two lines out
    best: Series,
    place: Series,
    width: int,
    wider: int,
    best_2: Series,
    place_2: Series,
    count: int,
) -> None:
    """Write the highest of up to five windows of ``width`` bars that make one of ``wider``."""
    most = wider - width
    a, b = U(min(width, most)), U(min(2 * width, most))
    c, d = U(min(3 * width, most)), U(most)
    for i in range(U(count)):
        highest, at = best[i], place[i]
        x, p = best[i + a], place[i + a]
        is_higher = x >= highest
        highest = x if is_higher else highest
        at = p if is_higher else at
        x, p = best[i + b], place[i + b]
        is_higher = x >= highest
        highest = x if is_higher else highest
        at = p if is_higher else at
        x, p = best[i + c], place[i + c]
        is_higher = x >= highest
        highest = x if is_higher else highest
        at = p if is_higher else at
        x, p = best[i + d], place[i + d]
        is_higher = x >= highest
        highest = x if is_higher else highest
        at = p if is_higher else at
        best_2[i] = highest
        place_2[i] = at
