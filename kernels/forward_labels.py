"""Labels of one number a row: returns, a plain barrier, ranges, and whether a given side won.

Belongs here: what the end of a path, or one feature of it, says. Keep out: statistics of all its
bars (``forward_labels_path``), other rows' outcomes (``forward_labels_history``), levels
(``forward_labels_levels``), and what may be known when (the caller's status).

Every label is float64 with NaN for null, one row an entry. Entry is a candle's close at t_c; its
path is the bars of [first, last), none of them the candle's own. A price that is not above 0 has no
returns: NaN. NaN in what a row reads gives NaN. None reads the bars of another row, or after its
window.
"""

import numpy as np
import numpy.typing as npt

from kernels.averages import sma
from kernels.first_touch import BOTH, NONE, FirstTouch, first_touch, path_windows, reduced
from kernels.gate import Series, series
from kernels.states import at_least

Path = tuple[npt.ArrayLike, npt.ArrayLike]
Windows = tuple[npt.ArrayLike, npt.ArrayLike]

_ROUNDING = 1e-12  # of the price: averages that differ by less are the same


def horizon_close(close: npt.ArrayLike, windows: Windows) -> Series:
    """Return P_H, the close at the horizon: the last of each window.

    Parameters
    ----------
    close : array_like, float64, shape (m,)
        Closes of the path's bars.
    windows : pair of array_like, int64, shape (n,)
        First bar and the one past the last, in 0..m.

    Returns
    -------
    ndarray of float64, shape (n,)
        NaN where the window is empty: a path that is not there is no return of 0.

    Raises
    ------
    ValueError
        If shapes differ, or a window reaches outside the path.

    Examples
    --------
    >>> horizon_close([1.0, 2.0, 3.0], ([0, 2], [2, 2]))
    array([ 2., nan])
    """
    path = series(close, "close")
    first, last = path_windows(windows, path.size)
    ends = np.append(path, np.nan)
    return ends[np.where(last > first, last - 1, -1)]


def forward_return(price: npt.ArrayLike, end: npt.ArrayLike) -> Series:
    """Return P_H / P - 1.

    Parameters
    ----------
    price, end : array_like, float64, shape (n,)
        Close at entry, and at the horizon (``horizon_close``).

    Returns
    -------
    ndarray of float64, shape (n,)
        A fraction: 0.01 is one percent.

    Raises
    ------
    ValueError
        If shapes differ.

    Examples
    --------
    >>> forward_return([100.0], [101.0]).round(9)
    array([0.01])
    """
    p, e = _rows(price=price, end=end)
    out: Series = e / np.where(p > 0.0, p, np.nan) - 1.0
    return out


def return_sign(price: npt.ArrayLike, end: npt.ArrayLike) -> Series:
    """Return the sign of P_H - P: -1, 0 or 1.

    Parameters, shapes and errors as ``forward_return``.

    Examples
    --------
    >>> return_sign([1.0, 1.0, 1.0], [2.0, 1.0, 0.5])
    array([ 1.,  0., -1.])
    """
    p, e = _rows(price=price, end=end)
    out: Series = np.sign(e - p)
    return out


def vol_scaled_return(
    price: npt.ArrayLike, end: npt.ArrayLike, atr: npt.ArrayLike, *, limit: float = 10.0
) -> Series:
    """Return (P_H - P) / ATR, clipped to ``limit`` on either side.

    Parameters
    ----------
    price, end, atr : array_like, float64, shape (n,)
        All in price units; the ATR as known at entry.
    limit : float
        In ATR, above 0.

    Returns
    -------
    ndarray of float64, shape (n,)
        In ATR; NaN where the ATR is not above 0.

    Raises
    ------
    ValueError
        If shapes differ, or ``limit`` is not above 0.

    Examples
    --------
    >>> vol_scaled_return([100.0, 100.0], [101.0, 500.0], [2.0, 2.0])
    array([ 0.5, 10. ])
    """
    if not limit > 0.0:
        raise ValueError(f"limit: expected > 0, was {limit}")
    p, e, a = _rows(price=price, end=end, atr=atr)
    return np.clip((e - p) / np.where(a > 0.0, a, np.nan), -limit, limit)


def triple_barrier(
    path: Path, windows: Windows, price: npt.ArrayLike, *, width: float = 0.01
) -> Series:
    """Return the triple barrier at P (1 + ``width``) and P (1 - ``width``): 1, -1, or 0 for none.

    Parameters
    ----------
    path
        High and low of the path's bars: float64, shape (m,), price units, finite.
    windows
        As in ``horizon_close``.
    price
        float64, shape (n,): close at entry.
    width
        Share of the price, above 0.

    Returns
    -------
    ndarray of float64, shape (n,)
        NaN where one bar touches both barriers, where there is no path, and where the price is not
        above 0. The 0 of a window that is cut short is the caller's to hold back.

    Raises
    ------
    ValueError
        If shapes differ, a window reaches outside the path, or ``width`` is not above 0.

    References
    ----------
    M. Lopez de Prado, Advances in Financial Machine Learning (2018), 3.3.

    Examples
    --------
    >>> triple_barrier(([101.5, 101.5], [99.5, 98.5]), ([0, 1], [1, 2]), [100.0, 100.0])
    array([ 1., nan])
    """
    if not width > 0.0:
        raise ValueError(f"width: expected > 0, was {width}")
    p = series(price, "price")
    p = np.where(p > 0.0, p, np.nan)
    side = first_touch(path, windows, p * (1.0 + width), p * (1.0 - width)).side
    first, last = (np.asarray(x) for x in windows)
    is_known = (side != BOTH) & (last > first) & ~np.isnan(p)
    return np.where(is_known, side.astype(np.float64), np.nan)


def time_to_barrier(touched: npt.ArrayLike, windows: Windows) -> Series:
    """Return the place of the touch in the window, from 1; the window's length where none is.

    Parameters
    ----------
    touched : array_like, int64, shape (n,)
        The bar that touched, -1 for none: ``FirstTouch.bar``, or ``NestedTouch.bar`` to count in
        bars of the label's own timeframe.
    windows
        First bar and the one past the last of the same path: int64, shape (n,).

    Returns
    -------
    ndarray of float64, shape (n,)
        Bars; NaN where the window is empty.

    Raises
    ------
    ValueError
        If shapes differ, or a touch lies outside its window.

    Examples
    --------
    >>> time_to_barrier([3, -1], ([2, 2], [8, 8]))
    array([2., 6.])
    """
    first, last = path_windows(windows, np.iinfo(np.int64).max)
    bar = np.asarray(touched, dtype=np.int64)
    if bar.shape != first.shape:
        raise ValueError(f"touched: expected shape {first.shape} as windows, was {bar.shape}")
    if ((bar >= 0) & ((bar < first) | (bar >= last))).any():
        raise ValueError("touched: expected bars inside their windows, was one outside")
    bars = np.where(bar < 0, last, bar + 1) - first
    return np.where(last > first, bars, np.nan)


def range_expansion(bars: Path, windows: Windows, entry_range: npt.ArrayLike) -> Series:
    """Return the widest range of the horizon's bars over the entry bar's, less 1.

    Both ranges are in shares of the entry's close, which therefore cancels.

    Parameters
    ----------
    bars
        High and low of the bars of the label's own timeframe: float64, shape (m,), price units.
    windows
        First bar of the horizon and the one past its last: int64, shape (n,).
    entry_range
        float64, shape (n,): high - low of the entry bar.

    Returns
    -------
    ndarray of float64, shape (n,)
        -1 or more; NaN where the entry bar has no range, or the window is empty.

    Raises
    ------
    ValueError
        If shapes differ, or a window reaches outside the bars.

    Examples
    --------
    >>> range_expansion(([5.0, 9.0], [4.0, 6.0]), ([0], [2]), [2.0])
    array([0.5])
    """
    high, low = _rows(high=bars[0], low=bars[1])
    own = series(entry_range, "entry_range")
    first, last = path_windows(windows, high.size)
    if own.shape != first.shape:
        raise ValueError(f"entry_range: expected shape {first.shape} as windows, was {own.shape}")
    widest = reduced(np.maximum, high - low, (first, last))
    out: Series = widest / np.where(own > 0.0, own, np.nan) - 1.0
    return out


def meta_label(
    side: npt.ArrayLike, touch: FirstTouch, price: npt.ArrayLike, end: npt.ArrayLike
) -> Series:
    """Return whether a primary side won at t1: 1 or 0.

    It wins if the barrier on its side is touched first; where none is, if the price at the horizon
    lies on its side of the entry.

    Parameters
    ----------
    side : array_like, float64, shape (n,)
        The primary's: above 0 long, below 0 short, 0 or NaN none (``crossover_side``).
    touch : FirstTouch
        Of the enhanced triple barrier.
    price, end : array_like, float64, shape (n,)
        As in ``forward_return``.

    Returns
    -------
    ndarray of float64, shape (n,)
        NaN where there is no side, where one bar touched both barriers, and where the outcome is
        not known.

    Raises
    ------
    ValueError
        If shapes differ.

    References
    ----------
    M. Lopez de Prado, Advances in Financial Machine Learning (2018), 3.6.

    Examples
    --------
    >>> touched = FirstTouch(np.array([1, -1, 0], dtype=np.int8), np.array([4, 5, -1]))
    >>> meta_label([1, 1, -1], touched, [10.0, 10.0, 10.0], [11.0, 9.0, 9.5])
    array([1., 0., 1.])
    """
    own, touched, p, e = _rows(side=side, touch=touch.side, price=price, end=end)
    outcome = np.where(touched == NONE, np.sign(e - p), np.where(touched == BOTH, np.nan, touched))
    is_known = ~np.isnan(outcome) & (own != 0.0) & ~np.isnan(own)
    return np.where(is_known, (own * outcome > 0.0).astype(np.float64), np.nan)


def crossover_side(close: npt.ArrayLike, *, fast: int = 20, slow: int = 50) -> Series:
    """Return the side of a crossover of simple averages: 1 where the fast one is above the slow.

    Causal: the side as of each close.

    Parameters
    ----------
    close : array_like, float64, shape (n,)
        Prices.
    fast, slow : int
        Bars, ``fast`` at least 1 and below ``slow``.

    Returns
    -------
    ndarray of float64, shape (n,)
        1, -1, or 0 where they are the same but for rounding; NaN for the first ``slow - 1`` bars.

    Raises
    ------
    ValueError
        If the periods are out of range.

    Examples
    --------
    >>> crossover_side([1.0, 2.0, 3.0, 3.0, 2.0], fast=1, slow=2)
    array([nan,  1.,  1.,  0., -1.])
    """
    at_least(slow, at_least(fast, 1, "fast") + 1, "slow")
    short, long = sma(close, fast), sma(close, slow)
    apart = short - long
    is_same = np.abs(apart) <= _ROUNDING * np.abs(long)
    return np.where(is_same, 0.0, np.sign(apart))


def _rows(**given: npt.ArrayLike) -> tuple[Series, ...]:
    gated = tuple(series(x, name) for name, x in given.items())
    for name, x in zip(given, gated, strict=True):
        if x.shape != gated[0].shape:
            raise ValueError(f"{name}: expected shape {gated[0].shape}, was {x.shape}")
    return gated
