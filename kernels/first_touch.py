"""Which of two barriers a path touches first.

Belongs here: scans of a path's highs and lows over windows. Keep out: where barriers lie
(``barriers``), which window is whose (the caller's calendar), and the search that takes the place
of a scan where windows overlap a lot (``passage``).
"""

from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels import engine
from kernels.gate import Instants, Series, instants, series
from kernels.jit import compiled
from kernels.passage import stack_touch

NONE: Final = 0
UPPER: Final = 1
LOWER: Final = -1
BOTH: Final = 2

Method = Literal["auto", "scan", "stack"]

_SAMPLED = 64  # rows that are scanned to see which method is the faster; fewer rows are scanned
_STACKED = 20  # bars that a scan reads in the time that the stack takes for a bar or a row


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
    *,
    method: Method = "auto",
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
    method
        How to search; it changes no bit of what is found. ``"scan"`` reads each window up to its
        touch: best for few windows, or near touches. ``"stack"`` takes time linear in rows and in
        the bars that all windows together span, however long a window is: best where every bar is
        an entry. ``"auto"`` scans a sample and chooses.

    Returns
    -------
    FirstTouch
        ``side`` NONE (0), UPPER (1), LOWER (-1) or BOTH (2); ``bar`` its place in the path, or -1.

    Raises
    ------
    ValueError
        If shapes differ, a window reaches outside the path, or ``method`` is none of those.

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
    _require_pair(high, low)
    first, last = path_windows(windows, high.size)
    above, below = series(upper, "upper"), series(lower, "lower")
    for name, column in (("upper", above), ("lower", below)):
        if column.shape != first.shape:
            raise ValueError(f"{name}: expected shape {first.shape} as windows, was {column.shape}")
    if method not in {"auto", "scan", "stack"}:
        raise ValueError(f"method: expected auto, scan or stack, was {method!r}")
    side = np.zeros(first.size, dtype=np.int8)
    touched = np.full(first.size, -1, dtype=np.int64)
    arguments = (high, low), (first, last), (above, below), side, touched
    if method == "stack" or (method == "auto" and _is_stack_faster(*arguments[:3])):
        stack_touch(*arguments)
    else:
        engine.run("first_touch", _first_touch, *arguments)
    return FirstTouch(side, touched)


def first_passage(
    path: tuple[npt.ArrayLike, npt.ArrayLike],
    upper: npt.ArrayLike,
    lower: npt.ArrayLike,
    *,
    horizon: int,
) -> FirstTouch:
    """Return which barrier is touched first after each bar, at a cost flat in the horizon.

    Every bar is an entry at its close, and its path the ``horizon`` bars after it, or those that
    there are: ``first_touch`` with windows [i + 1, i + 1 + horizon). A row near the end that has no
    touch may have one later.

    Parameters
    ----------
    path
        High and low of the bars: float64, shape (n,), price units, finite.
    upper, lower
        float64, shape (n,), price units. A row with a NaN barrier has no touch.
    horizon
        Bars, at least 1.

    Returns
    -------
    FirstTouch
        As ``first_touch``; ``bar`` counts from the first bar, not from the entry.

    Raises
    ------
    ValueError
        If shapes differ, or ``horizon`` is below 1.

    Examples
    --------
    >>> high, low = [1.0, 2.0, 2.5], [1.0, 1.5, 0.5]
    >>> first_passage((high, low), [2.0, 3.0, 4.0], [0.0, 0.5, 0.0], horizon=2)
    FirstTouch(side=array([ 1, -1,  0], dtype=int8), bar=array([ 1,  2, -1]))
    """
    if horizon < 1:
        raise ValueError(f"horizon: expected >= 1, was {horizon}")
    n = series(path[0], "high").size
    first = np.arange(1, n + 1)
    last = np.minimum(first + min(horizon, n), n)
    return first_touch(path, (first, last), upper, lower, method="stack")


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
    _require_pair(high, low)
    bounds = path_windows(windows, high.size)
    return Extremes(
        reduced(np.maximum, high, bounds),
        reduced(np.minimum, low, bounds),
    )


def reduced(ufunc: np.ufunc, values: Series, windows: tuple[Instants, Instants]) -> Series:
    """Return what ``ufunc`` makes of the values in each window; NaN where it is empty."""
    first, last = windows
    if not values.size or not first.size:
        return np.full(first.size, np.nan)
    is_empty = last <= first
    # reduceat takes [first, last) at even places; one bar more lets a window end with the path
    bounds = np.empty(2 * first.size, dtype=np.int64)
    bounds[::2], bounds[1::2] = np.where(is_empty, 0, first), np.where(is_empty, 1, last)
    out: Series = ufunc.reduceat(np.append(values, values[-1]), bounds)[::2]
    return np.where(is_empty, np.nan, out)


def path_windows(
    windows: tuple[npt.ArrayLike, npt.ArrayLike], size: int
) -> tuple[Instants, Instants]:
    """Return first bars and ends as int64 arrays, checked against a path of ``size`` bars.

    Raises
    ------
    ValueError
        If shapes differ, or a window reaches outside the path.

    Examples
    --------
    >>> path_windows(([0, 1], [2, 2]), 2)
    (array([0, 1]), array([2, 2]))
    """
    first, last = instants(windows[0], "first"), instants(windows[1], "last")
    if last.shape != first.shape:
        raise ValueError(f"last: expected shape {first.shape} as first, was {last.shape}")
    if first.size and (first.min() < 0 or last.max() > size):
        raise ValueError(f"windows: expected bars 0..{size}, was {first.min()}..{last.max()}")
    return first, last


def _require_pair(high: Series, low: Series) -> None:
    if low.shape != high.shape:
        raise ValueError(f"low: expected shape {high.shape} as high, was {low.shape}")


def _is_stack_faster(
    path: tuple[Series, Series],
    windows: tuple[Instants, Instants],
    barriers: tuple[Series, Series],
) -> bool:
    """Say whether a scan of all rows would take longer, by the bars that it reads in a few."""
    first, last = windows
    n = first.size
    if n <= _SAMPLED:
        return False
    rows = np.arange(0, n, -(-n // _SAMPLED))
    side, touched = np.zeros(rows.size, dtype=np.int8), np.full(rows.size, -1, dtype=np.int64)
    some = first[rows], last[rows]
    bounds = barriers[0][rows], barriers[1][rows]
    engine.run("first_touch", _first_touch, path, some, bounds, side, touched)
    read = np.maximum(np.where(side == NONE, some[1], touched + 1) - some[0], 0).sum()
    span = max(int(last.max()) - int(first.min()), 0)
    return bool(read * (n / rows.size) > _STACKED * (n + span))


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
