"""How a compiled kernel walks a series: in blocks that stay in the first-level cache.

Belongs here: reading a block, closing up what is missing in it, writing it out. Keep out: what is
computed from it.

The inner loops count with unsigned integers: for a signed index numba adds the case of a negative
one, and then the loop is not vectorised. Unsigned and signed do not mix (their sum is a float).
"""

from typing import Final

import numpy as np

from kernels.gate import Instants, Matrix, Series
from kernels.jit import compiled_borrowing

BLOCK: Final = 512
"""Bars in a block: a dozen columns of it fit 48 KiB (RSI over 1,024: 1.15 of its time)."""

WINDOW_BLOCK: Final = 1024
"""The same for windows, which compute a period's bars anew in every block."""

U: Final = np.uint64


@compiled_borrowing
def gather(x: Series, start: int, count: int, row: Series, at: int) -> int:
    """Copy ``x[start : start + count]`` to ``row[at:]``; return how many values are not finite."""
    first, to = U(start), U(at)
    missing = 0
    for i in range(U(count)):
        value = x[i + first]
        row[i + to] = value
        missing += not abs(value) < np.inf
    return missing


@compiled_borrowing
def close_up(rows: Matrix, at: int, count: int, kept: Instants) -> int:
    """Move the bars that are finite in every row together, from column ``at`` on.

    Return how many they are; ``kept`` then says which of the ``count`` each of them is.
    """
    usable = 0
    for i in range(count):
        is_usable = True
        for row in range(rows.shape[0]):
            is_usable &= abs(rows[row, at + i]) < np.inf
        if is_usable:
            for row in range(rows.shape[0]):
                rows[row, at + usable] = rows[row, at + i]
            kept[usable] = i
            usable += 1
    return usable


@compiled_borrowing
def put(dense: Series, kept: Instants, usable: int, out: Series, start: int, count: int) -> None:
    """Write ``dense`` to those of ``count`` bars that ``kept`` names, NaN to the others."""
    for i in range(count):
        out[start + i] = np.nan
    for i in range(usable):
        out[start + kept[i]] = dense[i]
