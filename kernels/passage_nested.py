"""First touch on two timeframes at once: finer bars are read only where coarser ones cannot tell.

Belongs here: the search on both. Keep out: the search on one timeframe (``first_touch``), and which
fine bars make a coarse one (the caller's calendar).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.first_touch import BOTH, LOWER, UPPER, path_windows
from kernels.gate import Instants, Series, instants, series
from kernels.jit import compiled_borrowing, compiled_inline

_CHUNK = 4  # fine bars compared in one go; memory bounds it, and more of them read too far


class NestedTouch(NamedTuple):
    """``side`` (int8), ``bar`` of the coarse path and ``fine_bar`` (int64) of each first touch."""

    side: npt.NDArray[np.int8]
    bar: npt.NDArray[np.int64]
    fine_bar: npt.NDArray[np.int64]


def nested_first_touch(  # noqa: PLR0913 - two paths, how they nest, windows and two barriers
    coarse: tuple[npt.ArrayLike, npt.ArrayLike],
    fine: tuple[npt.ArrayLike, npt.ArrayLike],
    starts: npt.ArrayLike,
    windows: tuple[npt.ArrayLike, npt.ArrayLike],
    upper: npt.ArrayLike,
    lower: npt.ArrayLike,
    *,
    exact_time: bool = True,
) -> NestedTouch:
    """Return what ``first_touch`` finds on the fine path, reading little of it.

    Coarse bars are looked through first. The one that touches a barrier is looked into: for the
    very fine bar (``exact_time``), or only if it touches both barriers, so that its fine bars must
    tell which came first.

    Parameters
    ----------
    coarse
        High and low of the coarse bars: float64, shape (m,), price units. Each must be the extreme
        of its own fine bars, or NaN where it has none: ``extremes(fine, (starts[:-1],
        starts[1:]))``.
    fine
        High and low of the fine bars: float64, shape (k,), price units, finite.
    starts
        int64, shape (m + 1,): the first fine bar of each coarse bar, ascending in 0..k, and the end
        of the last.
    windows
        First coarse bar and the one past the last: int64, shape (n,), in 0..m. Empty where last <=
        first.
    upper, lower
        float64, shape (n,), price units. A row with a NaN barrier has no touch.
    exact_time
        Whether to look for the fine bar of every touch.

    Returns
    -------
    NestedTouch
        ``side`` NONE (0), UPPER (1), LOWER (-1), or BOTH (2) where one fine bar touches both;
        ``bar`` the coarse bar that touches, or -1; ``fine_bar`` the fine one, or -1 where there is
        none or it was not looked for.

    Raises
    ------
    ValueError
        If shapes differ, ``starts`` does not ascend within the fine path, or a window reaches
        outside the coarse one.

    Examples
    --------
    >>> fine = [1.0, 3.0, 2.0, 2.0], [0.5, 0.9, 0.2, 1.0]
    >>> nested_first_touch(([3.0, 2.0], [0.5, 0.2]), fine, [0, 2, 4], ([0], [2]), [9.0], [0.3])
    NestedTouch(side=array([-1], dtype=int8), bar=array([1]), fine_bar=array([2]))
    """
    paths = _path(coarse, "coarse"), _path(fine, "fine")
    begin = instants(starts, "starts")
    barriers = series(upper, "upper"), series(lower, "lower")
    m, k = paths[0][0].size, paths[1][0].size
    if begin.shape != (m + 1,):
        raise ValueError(f"starts: expected shape ({m + 1},), was {begin.shape}")
    if begin[0] < 0 or begin[-1] > k or (begin[1:] < begin[:-1]).any():
        raise ValueError(f"starts: expected ascending in 0..{k}, was {begin[0]}..{begin[-1]}")
    first, last = path_windows(windows, m)
    for name, column in (("upper", barriers[0]), ("lower", barriers[1])):
        if column.shape != first.shape:
            raise ValueError(f"{name}: expected shape {first.shape} as windows, was {column.shape}")
    side = np.zeros(first.size, dtype=np.int8)
    bar, fine_bar = np.full((2, first.size), -1, dtype=np.int64)
    found = side, bar, fine_bar
    _nested_first_touch(paths, begin, (first, last), barriers, found, exact_time)
    return NestedTouch(*found)


def _path(path: tuple[npt.ArrayLike, npt.ArrayLike], name: str) -> tuple[Series, Series]:
    high, low = series(path[0], f"{name} high"), series(path[1], f"{name} low")
    if low.shape != high.shape:
        raise ValueError(f"{name} low: expected shape {high.shape} as high, was {low.shape}")
    return high, low


@compiled_borrowing
def _nested_first_touch(
    paths: tuple[tuple[Series, Series], tuple[Series, Series]],
    starts: Instants,
    windows: tuple[Instants, Instants],
    barriers: tuple[Series, Series],
    found: tuple[npt.NDArray[np.int8], npt.NDArray[np.int64], npt.NDArray[np.int64]],
    is_exact: bool,  # noqa: FBT001 - compiled code takes no keywords
) -> None:
    (high, low), (fine_high, fine_low) = paths
    side, bar, fine_bar = found
    for row in range(windows[0].size):
        upper, lower = barriers[0][row], barriers[1][row]
        if np.isnan(upper) or np.isnan(lower):
            continue
        for at in range(windows[0][row], windows[1][row]):
            is_up, is_down = high[at] >= upper, low[at] <= lower
            if not (is_up or is_down):
                continue
            which = UPPER if is_up else LOWER
            if is_exact or (is_up and is_down):
                start, end = starts[at], starts[at + 1]
                up = _first_above(fine_high, start, end, upper) if is_up else end
                # nothing after the touch above is asked for, but the same bar may touch both
                down = _first_below(fine_low, start, min(up + 1, end), lower) if is_down else end
                if up == down == end:
                    continue  # extremes that the fine bars do not have
                which = BOTH if up == down else UPPER if up < down else LOWER
                fine_bar[row] = min(up, down)
            side[row], bar[row] = which, at
            break


@compiled_inline
def _first_above(values: Series, start: int, end: int, barrier: float) -> int:
    """Return the first place in [start, end) at or above a barrier, or ``end``."""
    at = max(start, 0)  # says to the compiler that no index counts from the end
    while at + _CHUNK <= end:
        is_touched = False
        for k in range(_CHUNK):
            is_touched |= values[at + k] >= barrier
        if is_touched:
            break
        at += _CHUNK
    while at < end and not values[at] >= barrier:
        at += 1
    return at


@compiled_inline
def _first_below(values: Series, start: int, end: int, barrier: float) -> int:
    """Return the first place in [start, end) at or below a barrier, or ``end``."""
    at = max(start, 0)
    while at + _CHUNK <= end:
        is_touched = False
        for k in range(_CHUNK):
            is_touched |= values[at + k] <= barrier
        if is_touched:
            break
        at += _CHUNK
    while at < end and not values[at] <= barrier:
        at += 1
    return at
