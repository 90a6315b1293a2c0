"""Which of two barriers a path touches first.

Belongs here: scans of a path's highs and lows over windows. Keep out: where barriers lie
(``barriers``), and which window is whose (the caller's calendar).
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.gate import Instants, Series, instants, series
from kernels.jit import compiled

NONE: Final = 0
UPPER: Final = 1
LOWER: Final = -1
BOTH: Final = 2


class FirstTouch(NamedTuple):
    """``side`` (int8) touched first, and the path ``bar`` (int64) that did; shape (n,)."""

    side: npt.NDArray[np.int8]
    bar: npt.NDArray[np.int64]


class Extremes(NamedTuple):
    """Highest high and lowest low of each window, NaN where it is empty; shape (n,)."""

    high: Series
    low: Series


def first_touch(
    path: tuple[npt.ArrayLike, npt.ArrayLike],
    windows: tuple[npt.ArrayLike, npt.ArrayLike],
    upper: npt.ArrayLike,
    lower: npt.ArrayLike,
) -> FirstTouch:
    """Return which barrier the path touches first inside each window.

    The first path bar whose high is at or above ``upper`` gives ``UPPER``, whose low is at or below
    ``lower`` gives ``LOWER``, and one that does both gives ``BOTH``: a bar does not say which came
    first. Bars outside [first, last), and those after the touch, change nothing.

    Parameters
    ----------
    path
        High and low of the path's bars: float64, shape (m,), price units, finite.
    windows
        First bar and the one past the last: int64, shape (n,), in 0..m. Empty where last <= first.
    upper, lower
        float64, shape (n,), price units. A row with a NaN barrier has no touch.

    Returns
    -------
    FirstTouch
        ``side`` NONE (0), UPPER (1), LOWER (-1) or BOTH (2); ``bar`` its place in the path, or -1.

    Raises
    ------
    ValueError
        If shapes differ, or a window reaches outside the path.

    References
    ----------
    M. Lopez de Prado, Advances in Financial Machine Learning (2018), 3.3, with highs and lows in
    place of closes.

    Examples
    --------
    >>> first_touch(([1.0, 3.0], [0.5, 0.9]), ([0, 0], [2, 1]), [2.0, 2.0], [0.0, 0.0])
    FirstTouch(side=array([1, 0], dtype=int8), bar=array([ 1, -1]))
    """
    high, low = series(path[0], "high"), series(path[1], "low")
    first, last = _windows(windows, high, low)
    above, below = series(upper, "upper"), series(lower, "lower")
    for name, column in (("upper", above), ("lower", below)):
        if column.shape != first.shape:
            raise ValueError(f"{name}: expected shape {first.shape} as windows, was {column.shape}")
    side = np.zeros(first.size, dtype=np.int8)
    touched = np.full(first.size, -1, dtype=np.int64)
    _first_touch((high, low), (first, last), (above, below), side, touched)
    return FirstTouch(side, touched)


def extremes(
    path: tuple[npt.ArrayLike, npt.ArrayLike], windows: tuple[npt.ArrayLike, npt.ArrayLike]
) -> Extremes:
    """Return the highest high and the lowest low of each window.

    Parameters
    ----------
    path, windows
        As in ``first_touch``.

    Returns
    -------
    Extremes
        float64, shape (n,), NaN where the window is empty.

    Raises
    ------
    ValueError
        If shapes differ, or a window reaches outside the path.

    Examples
    --------
    >>> extremes(([1.0, 3.0], [0.5, 0.9]), ([0, 1], [2, 1]))
    Extremes(high=array([ 3., nan]), low=array([0.5, nan]))
    """
    high, low = series(path[0], "high"), series(path[1], "low")
    first, last = _windows(windows, high, low)
    is_empty = last <= first
    if not high.size or not first.size:
        return Extremes(np.full(first.size, np.nan), np.full(first.size, np.nan))
    # reduceat takes [first, last) at even places; one bar more lets a window end with the path
    bounds = np.empty(2 * first.size, dtype=np.int64)
    bounds[::2], bounds[1::2] = np.where(is_empty, 0, first), np.where(is_empty, 1, last)
    highest = np.maximum.reduceat(np.append(high, high[-1]), bounds)[::2]
    lowest = np.minimum.reduceat(np.append(low, low[-1]), bounds)[::2]
    return Extremes(np.where(is_empty, np.nan, highest), np.where(is_empty, np.nan, lowest))


def _windows(
    windows: tuple[npt.ArrayLike, npt.ArrayLike], high: Series, low: Series
) -> tuple[Instants, Instants]:
    first, last = instants(windows[0], "first"), instants(windows[1], "last")
    if low.shape != high.shape:
        raise ValueError(f"low: expected shape {high.shape} as high, was {low.shape}")
    if last.shape != first.shape:
        raise ValueError(f"last: expected shape {first.shape} as first, was {last.shape}")
    if first.size and (first.min() < 0 or last.max() > high.size):
        raise ValueError(f"windows: expected bars 0..{high.size}, was {first.min()}..{last.max()}")
    return first, last


@compiled
def _first_touch(
    path: tuple[Series, Series],
    windows: tuple[Instants, Instants],
    barriers: tuple[Series, Series],
    side: npt.NDArray[np.int8],
    touched: npt.NDArray[np.int64],
) -> None:
    high, low = path
    first, last = windows
    for row in range(first.size):
        upper, lower = barriers[0][row], barriers[1][row]
        if np.isnan(upper) or np.isnan(lower):
            continue
        for bar in range(first[row], last[row]):
            is_up, is_down = high[bar] >= upper, low[bar] <= lower
            if is_up or is_down:
                side[row] = BOTH if is_up and is_down else UPPER if is_up else LOWER
                touched[row] = bar
                break
