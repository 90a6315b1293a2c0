"""Labels that compare a row's outcome with those of earlier rows, as far as they were known.

Belongs here: what needs a history, and the rule of what is in it. Keep out: the outcomes themselves
(``forward_labels``).

A row is known only once its horizon is over: the history of a row decided at t_c holds the rows
that had **matured by t_c**, the last ``lookback`` of them. Rows between, whose outcome overlaps its
own, are not in it. A row without an outcome (NaN) is in nobody's. Rows come in order, those of the
history before included: give at least ``lookback`` matured rows ahead of the first that counts.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from kernels.first_touch import path_windows
from kernels.forward_labels import Windows
from kernels.gate import Instants, Series, instants, series
from kernels.jit import compiled_borrowing
from kernels.states import at_least

LOOKBACK: Final = 1000
FEWEST: Final = 100


def return_quantile(
    returns: npt.ArrayLike,
    decided_us: npt.ArrayLike,
    matured_us: npt.ArrayLike,
    *,
    lookback: int = LOOKBACK,
    fewest: int = FEWEST,
) -> Series:
    """Return the decile of each forward return among those known at its entry: 1 to 10.

    1 + floor(10 s), at most 10, with s the share of the history that lies below the return.

    Parameters
    ----------
    returns : array_like, float64, shape (n,)
        Forward returns; NaN where there is none.
    decided_us : array_like, int64, shape (n,)
        t_c of each row, microseconds UTC, ascending.
    matured_us : array_like, int64, shape (n,)
        End of each row's horizon, ascending, none before its own t_c.
    lookback : int
        Matured returns that are looked at, at least ``fewest``.
    fewest : int
        Matured returns below which there is no answer, at least 1.

    Returns
    -------
    ndarray of float64, shape (n,)
        NaN where the row has no return, or its history is too short.

    Raises
    ------
    ValueError
        If shapes differ, instants do not ascend, or a number is out of range.

    Examples
    --------
    >>> returns = [0.1, 0.2, 0.3, 0.25]
    >>> return_quantile(returns, [0, 1, 2, 3], [1, 2, 3, 4], fewest=2)
    array([nan, nan, 10.,  7.])
    """
    rows, decided, matured = _history(returns, decided_us, matured_us, lookback, fewest)
    out = np.full(rows.size, np.nan)
    ranked = np.empty(lookback), np.empty(lookback)
    _return_quantile(rows, (decided, matured), ranked, fewest, out)
    return out


def event_counts(event_bar: npt.ArrayLike, windows: Windows) -> Series:
    """Return how many level events happen in each horizon.

    Parameters
    ----------
    event_bar : array_like, int64, shape (k,)
        The bar of each event, ascending: ``levels.Events.bar``.
    windows
        First bar of the horizon and the one past its last, in bars of the label's own timeframe:
        int64, shape (n,).

    Returns
    -------
    ndarray of float64, shape (n,)
        Whole numbers; NaN where the window is empty.

    Raises
    ------
    ValueError
        If shapes differ, or events do not ascend.

    Examples
    --------
    >>> event_counts([1, 1, 4], ([0, 2, 4], [2, 4, 4]))
    array([ 2.,  0., nan])
    """
    bar = instants(event_bar, "event_bar")
    if (bar[1:] < bar[:-1]).any():
        raise ValueError("event_bar: expected ascending, was not")
    first, last = path_windows(windows, np.iinfo(np.int64).max)
    counts = np.searchsorted(bar, last) - np.searchsorted(bar, first)
    return np.where(last > first, counts.astype(np.float64), np.nan)


def event_burst(
    counts: npt.ArrayLike,
    decided_us: npt.ArrayLike,
    matured_us: npt.ArrayLike,
    *,
    lookback: int = LOOKBACK,
    fewest: int = FEWEST,
    sigmas: float = 2.0,
) -> Series:
    """Return whether a count lies above the mean by more than ``sigmas`` deviations: 1 or 0.

    Mean and (population) standard deviation are those of the counts known at entry. Sums of whole
    numbers are exact, so a level history of one count is burst by any higher one.

    Parameters
    ----------
    counts : array_like, float64, shape (n,)
        Whole numbers (``event_counts``); NaN where there is none.
    decided_us, matured_us, lookback, fewest
        As in ``return_quantile``.
    sigmas : float
        At least 0.

    Returns
    -------
    ndarray of float64, shape (n,)
        NaN where the row has no count, or its history is too short.

    Raises
    ------
    ValueError
        If shapes differ, instants do not ascend, counts are not whole, or a number is out of range.

    Examples
    --------
    >>> event_burst([1, 2, 1, 4, 2], [0, 1, 2, 3, 4], [1, 2, 3, 4, 5], fewest=2)
    array([nan, nan,  0.,  1.,  0.])
    """
    rows, decided, matured = _history(counts, decided_us, matured_us, lookback, fewest)
    if not sigmas >= 0.0:
        raise ValueError(f"sigmas: expected >= 0, was {sigmas}")
    if (np.nan_to_num(rows) != np.floor(np.nan_to_num(rows))).any():
        raise ValueError("counts: expected whole numbers, was not")
    out = np.full(rows.size, np.nan)
    ring = np.empty(lookback)
    _event_burst(rows, (decided, matured), ring, (float(fewest), sigmas * sigmas), out)
    return out


def _history(
    values: npt.ArrayLike,
    decided_us: npt.ArrayLike,
    matured_us: npt.ArrayLike,
    lookback: int,
    fewest: int,
) -> tuple[Series, Instants, Instants]:
    rows = series(values, "values")
    decided, matured = instants(decided_us, "decided_us"), instants(matured_us, "matured_us")
    for name, column in (("decided_us", decided), ("matured_us", matured)):
        if column.shape != rows.shape:
            raise ValueError(f"{name}: expected shape {rows.shape}, was {column.shape}")
        if (column[1:] < column[:-1]).any():
            raise ValueError(f"{name}: expected ascending, was not")
    if (matured < decided).any():
        raise ValueError("matured_us: expected not before decided_us, was earlier")
    at_least(lookback, at_least(fewest, 1, "fewest"), "lookback")
    return rows, decided, matured


@compiled_borrowing
def _return_quantile(
    rows: Series,
    instants_us: tuple[Instants, Instants],
    ranked: tuple[Series, Series],
    fewest: int,
    out: Series,
) -> None:
    decided, matured = instants_us
    ring, order = ranked  # the history as it came, and sorted
    lookback, size, came, known = ring.size, 0, 0, 0
    for row in range(rows.size):
        while known < row and matured[known] <= decided[row]:
            value = rows[known]
            known += 1
            if np.isnan(value):
                continue
            at = _below(order, size, value)
            if size == lookback:
                oldest = _below(order, size, ring[came % lookback])
                for k in range(oldest, at - 1):
                    order[k] = order[k + 1]
                for k in range(oldest, at, -1):
                    order[k] = order[k - 1]
                at -= oldest < at
            else:
                for k in range(size, at, -1):
                    order[k] = order[k - 1]
                size += 1
            order[at] = value
            ring[came % lookback] = value
            came += 1
        if size >= fewest and not np.isnan(rows[row]):
            out[row] = min(1 + 10 * _below(order, size, rows[row]) // size, 10)


@compiled_borrowing
def _below(order: Series, size: int, value: float) -> int:
    """Return how many of the sorted values lie below one."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if order[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@compiled_borrowing
def _event_burst(
    rows: Series,
    instants_us: tuple[Instants, Instants],
    ring: Series,
    limits: tuple[float, float],
    out: Series,
) -> None:
    decided, matured = instants_us
    fewest, variances = limits
    size, came, known, total, squares = 0, 0, 0, 0.0, 0.0
    for row in range(rows.size):
        while known < row and matured[known] <= decided[row]:
            value = rows[known]
            known += 1
            if np.isnan(value):
                continue
            at = came % ring.size
            if size == ring.size:
                total -= ring[at]
                squares -= ring[at] * ring[at]
            else:
                size += 1
            total += value
            squares += value * value
            ring[at] = value
            came += 1
        if size >= fewest and not np.isnan(rows[row]):
            above = size * rows[row] - total  # of the mean, times the size: all whole numbers
            out[row] = above > 0.0 and above * above > variances * (size * squares - total * total)
