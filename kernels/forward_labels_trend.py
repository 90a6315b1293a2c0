"""Trend scanning: which stretch after an entry is the clearest trend, and which way it goes.

Belongs here: regressions over the horizon's bars. Keep out: other labels (``forward_labels``).
"""

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.first_touch import path_windows
from kernels.forward_labels import Windows
from kernels.gate import Instants, Matrix, Series, series
from kernels.jit import compiled_borrowing, compiled_inline
from kernels.states import at_least

_STRAIGHT: Final = 1e-12  # a line leaves at least this share of the variance unexplained


class TrendScan(NamedTuple):
    """Sign and t-value of the clearest slope, and how many bars it takes; float64, shape (n,)."""

    sign: Series
    t: Series
    bars: Series


def trend_scan(
    close: npt.ArrayLike, windows: Windows, price: npt.ArrayLike, *, shortest: int = 3
) -> TrendScan:
    """Return the slope of prices on time with the largest |t| over the first 3 ... H bars.

    For each L from ``shortest`` to the window's length, the L + 1 prices P, close 1 ... close L are
    regressed on 0 ... L by ordinary least squares; the shortest of equals counts. Two conventions
    keep t finite: a line explains at most 1 - 1e-12 of the variance, so a straight one over L bars
    has |t| = 1e6 sqrt(L - 1); and prices that do not move have t = 0 and sign 0.

    Parameters
    ----------
    close : array_like, float64, shape (m,)
        Closes of the bars of the label's own timeframe, price units, finite.
    windows
        First bar of the horizon and the one past its last: int64, shape (n,), in 0..m.
    price : array_like, float64, shape (n,)
        Close at entry.
    shortest : int
        Bars, at least 2 (fewer leave no residual).

    Returns
    -------
    TrendScan
        NaN where the window has fewer than ``shortest`` bars, or the price is NaN.

    Raises
    ------
    ValueError
        If shapes differ, a window reaches outside the path, or ``shortest`` is below 2.

    References
    ----------
    M. Lopez de Prado, Machine Learning for Asset Managers (2020), 5.4.

    Examples
    --------
    >>> scan = trend_scan([11.0, 12.5, 13.0, 9.0], ([0], [4]), [10.0])
    >>> float(scan.sign[0]), round(float(scan.t[0]), 4), float(scan.bars[0])
    (1.0, 7.9373, 3.0)
    """
    path, p = series(close, "close"), series(price, "price")
    first, last = path_windows(windows, path.size)
    if p.shape != first.shape:
        raise ValueError(f"price: expected shape {first.shape} as windows, was {p.shape}")
    at_least(shortest, 2, "shortest")
    out = np.full((len(TrendScan._fields), p.size), np.nan)
    _trend_scan(path, (first, last), p, shortest, out)
    return TrendScan(*out)


@compiled_borrowing
def _trend_scan(
    close: Series, windows: tuple[Instants, Instants], price: Series, shortest: int, out: Matrix
) -> None:
    for row in range(price.size):
        first, bars = windows[0][row], windows[1][row] - windows[0][row]
        if bars < shortest or math.isnan(price[row]):
            continue
        # moves from the entry, so that the level of prices takes no digits; sums as Welford's
        mean = squares = products = 0.0
        steepest, sign, bars_then = -1.0, 0.0, shortest
        for length in range(1, bars + 1):
            move = close[first + length - 1] - price[row]
            apart = move - mean
            mean += apart / (length + 1.0)
            squares += apart * (move - mean)
            products += 0.5 * (length + 1.0) * (move - mean)
            if length >= shortest:
                t = _t(products, squares, float(length))
                if t > steepest:
                    steepest, sign, bars_then = t, np.sign(products) if t > 0.0 else 0.0, length
        out[0, row], out[1, row], out[2, row] = sign, sign * steepest, bars_then


@compiled_inline
def _t(products: float, squares: float, length: float) -> float:
    """Return the absolute t-value of a slope from sums of squares and products about the means."""
    if squares == 0.0:
        return 0.0
    times = length * (length + 1.0) * (length + 2.0) / 12.0
    explained = min(products / times * (products / squares), 1.0 - _STRAIGHT)
    return math.sqrt((length - 1.0) * explained / (1.0 - explained))
