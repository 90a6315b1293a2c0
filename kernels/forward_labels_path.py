"""Labels of a whole path: its extremes, its worst fall, its shape; all in one pass over its bars.

Belongs here: statistics of all bars of a window. Keep out: what its end alone says, and how rows
are windowed (``forward_labels``).
"""

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.first_touch import path_windows
from kernels.forward_labels import Windows
from kernels.gate import Instants, Matrix, Series, series
from kernels.jit import compiled_borrowing, compiled_inline

_ROUNDING: Final = 1e-13  # of a log price: returns that differ by less are the same
_FEWEST: Final = 3  # returns that have a skewness

Prices = tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]


class PathStatistics(NamedTuple):
    """Statistics of each path, float64, shape (n,); fractions of the entry price P but for two."""

    mfe: Series
    mae: Series
    profit_factor: Series
    drawdown_depth: Series
    end_vs_extremum_gap: Series
    time_underwater: Series
    path_skewness: Series


def path_statistics(path: Prices, windows: Windows, price: npt.ArrayLike) -> PathStatistics:
    """Return what each path did between entry and horizon.

    Row i reads the bars of its window alone. With P the entry's close and P_H the path's last:

    - ``mfe`` max(high - P) / P, at least 0, and ``mae`` min(low - P) / P, at most 0. Neither bounds
      the other: a path may fall 2 % and rise 0.1 %.
    - ``profit_factor`` |mfe / mae|, NaN where mae is 0.
    - ``drawdown_depth`` the deepest fall of a close from the highest close of the path before it,
      in shares of that one: at most 0.
    - ``end_vs_extremum_gap`` |P_H - E| / |E - P|, the share of the move to E that was given back;
      E is the high or low of the path that is farther from P (of two as far, the one farther from
      P_H). 0 to 2: the price may end as far on the other side. NaN where nothing moved.
    - ``time_underwater`` the share of bars that close below P.
    - ``path_skewness`` of the log returns from close to close, the first from P: the third central
      moment over the second to the power of 1.5. NaN for fewer than 3 bars, or equal returns.

    Parameters
    ----------
    path
        High, low and close of the path's bars: float64, shape (m,), price units, finite, above 0.
    windows
        First bar and the one past the last: int64, shape (n,), in 0..m. NaN where last <= first.
    price
        float64, shape (n,): close at entry. NaN where it is not above 0.

    Returns
    -------
    PathStatistics

    Raises
    ------
    ValueError
        If shapes differ, or a window reaches outside the path.

    References
    ----------
    scipy.stats.skew for the skewness (biased, as there by default).

    Examples
    --------
    >>> bars = [102.0, 101.0], [99.0, 98.0], [101.0, 99.0]
    >>> s = path_statistics(bars, ([0], [2]), [100.0])
    >>> [round(float(x[0]), 6) for x in s[:6]]
    [0.02, -0.02, 1.0, -0.019802, 1.5, 0.5]
    """
    high, low, close = (
        series(x, name) for x, name in zip(path, ("high", "low", "close"), strict=True)
    )
    for name, column in (("low", low), ("close", close)):
        if column.shape != high.shape:
            raise ValueError(f"{name}: expected shape {high.shape} as high, was {column.shape}")
    first, last = path_windows(windows, high.size)
    p = series(price, "price")
    if p.shape != first.shape:
        raise ValueError(f"price: expected shape {first.shape} as windows, was {p.shape}")
    start, end = (int(first.min()), int(last.max())) if first.size else (0, 0)
    logs = np.full(high.size, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        np.log(close[start:end], out=logs[start:end])  # once a bar, however many windows read it
    out = np.full((len(PathStatistics._fields), p.size), np.nan)
    _path_statistics((high, low, close, logs), (first, last), p, out)
    return PathStatistics(*out)


@compiled_borrowing
def _path_statistics(
    path: tuple[Series, Series, Series, Series],
    windows: tuple[Instants, Instants],
    price: Series,
    out: Matrix,
) -> None:
    high, low, close, logs = path
    for row in range(price.size):
        first, last, p = max(windows[0][row], 0), windows[1][row], price[row]
        if last <= first or not p > 0.0:
            continue
        top, bottom, peak, depth, under = high[first], low[first], close[first], 0.0, 0
        before, n = math.log(p), last - first
        mean = (logs[last - 1] - before) / n
        second = third = 0.0
        for bar in range(first, last):
            now = close[bar]
            top, bottom, peak = max(top, high[bar]), min(bottom, low[bar]), max(peak, now)
            if now - peak < depth * peak:
                depth = (now - peak) / peak
            under += now < p
            apart = logs[bar] - before - mean
            before = logs[bar]
            second += apart * apart
            third += apart * apart * apart
        best, worst = max((top - p) / p, 0.0), min((bottom - p) / p, 0.0)
        out[0, row], out[1, row], out[3, row] = best, worst, depth
        if worst < 0.0:
            out[2, row] = best / -worst
        out[4, row] = _gap(top, bottom, p, close[last - 1])
        out[5, row] = under / n
        spread = math.sqrt(second / n)
        if n >= _FEWEST and spread > _ROUNDING * (1.0 + abs(before)):
            out[6, row] = third / n / (spread * spread * spread)


@compiled_inline
def _gap(top: float, bottom: float, price: float, end: float) -> float:
    """Return how far the end lies from the extreme farther from the price, over how far that is."""
    up, down = abs(top - price), abs(bottom - price)
    if max(up, down) == 0.0:
        return math.nan
    from_top = abs(end - top) if up >= down else 0.0
    from_bottom = abs(end - bottom) if down >= up else 0.0
    return max(from_top, from_bottom) / max(up, down)
