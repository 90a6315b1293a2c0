"""Labels about levels: whether those active at entry were touched, broken, flipped, or far off.

Belongs here: one sweep over rows and levels. Keep out: levels over time (``forward_labels_spans``)
and labels of prices alone (``forward_labels``).

Levels come as the event log, read by ``active_spans``. Bars are those of the label's own timeframe,
counted as the level machine counted them; a row's entry is the bar before its window. A level
counts in the role that it has at entry, for as long as it keeps that role; levels born later count
for nothing.
"""

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.first_touch import path_windows, reduced
from kernels.forward_labels import Windows
from kernels.forward_labels_spans import Flags, Spans
from kernels.gate import Instants, Matrix, Series, series
from kernels.jit import compiled_borrowing, compiled_inline
from kernels.level_layout import RESISTANCE, SUPPORT
from kernels.levels import Rules

_Bars = tuple[Series, Series, Series, Series]  # high, low, close, ATR
_Columns = tuple[Series, Instants, Instants, Instants, Instants, Flags, Flags]  # of spans

_DEFAULT: Final = Rules()


class LevelOutcomes(NamedTuple):
    """What happened to the levels active at each entry; float64, shape (n,)."""

    retouch_count: Series
    touch_run: Series
    next_touch_time: Series
    breakout_occurred: Series
    nearest_breakout_occurred: Series
    flip_occurred: Series
    lowest_resistance: Series
    highest_support: Series


def level_outcomes(
    bars: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike],
    atr: npt.ArrayLike,
    spans: Spans,
    windows: Windows,
    *,
    rules: Rules = _DEFAULT,
) -> LevelOutcomes:
    """Return what the horizon did to the levels that were active at entry.

    A bar is in contact with a level when it enters its touch band (``rules.touch``, in the bar's
    own ATR or in shares of the level's price) while the level keeps its role; the bar that breaks
    it is not. The bar at which a role begins counts as a contact. Contacts are one episode until
    ``rules.episode_gap`` bars in a row go by without; one that is open at entry goes on.

    - ``retouch_count``: episodes that begin in the horizon, over all levels. Bars in the band one
      after another are one.
    - ``touch_run``: the most contacts in one episode of one level, those in the horizon alone.
    - ``next_touch_time``: the first bar at which an episode begins, from 1; H + 1 where none does.
    - ``breakout_occurred``: whether any of the levels broke, 1 or 0. ``nearest_breakout_occurred``:
      whether the nearest resistance above or the nearest support below the close did.
    - ``flip_occurred``: whether a level that stood at entry, active or broken, flipped.
    - ``lowest_resistance`` and ``highest_support`` at entry, on whichever side of the close: NaN
      where there is none. For ``max_penetration``.

    Parameters
    ----------
    bars
        High, low and close of the bars that the level machine saw: float64, shape (m,), finite.
    atr : array_like, float64, shape (m,)
        As the machine gave it, price units.
    spans : Spans
        From ``active_spans``.
    windows
        First bar of the horizon and the one past its last: int64, shape (n,), in 0..m; the first
        ones at least 1 and ascending. H is the window's length.
    rules : Rules
        Those of the machine.

    Returns
    -------
    LevelOutcomes
        Counts and times as whole numbers. NaN where there is no ATR at entry, so that there can be
        no level; the first six also where the window is empty.

    Raises
    ------
    ValueError
        If shapes differ, or windows reach outside the bars or do not ascend.

    Examples
    --------
    >>> spans = Spans(np.array([10.0]), *np.array([[1], [0], [0], [4]]),
    ...               np.array([False]), np.array([True]))
    >>> bars = [9.0, 9.0, 9.0, 9.95, 12.0], [8.0] * 5, [8.5, 8.5, 8.5, 9.0, 12.0]
    >>> found = level_outcomes(bars, [1.0] * 5, spans, ([1], [5]))
    >>> [float(x[0]) for x in found[:4]]
    [1.0, 1.0, 3.0, 1.0]
    """
    high, low, close, ranges = (
        series(x, name)
        for x, name in zip((*bars, atr), ("high", "low", "close", "atr"), strict=True)
    )
    for name, column in (("low", low), ("close", close), ("atr", ranges)):
        if column.shape != high.shape:
            raise ValueError(f"{name}: expected shape {high.shape} as high, was {column.shape}")
    first, last = path_windows(windows, high.size)
    if first.size and (first[0] < 1 or (first[1:] < first[:-1]).any()):
        raise ValueError(f"windows: expected first bars ascending from 1, was {first[0]} ...")
    out = np.full((len(LevelOutcomes._fields), first.size), np.nan)
    active = np.empty(spans.price.size, dtype=np.int64)
    numbers = float(rules.touch), rules.is_price_unit, rules.episode_gap
    columns: _Columns = (*spans,)
    _sweep((high, low, close, ranges), columns, (first, last), numbers, active, out)
    return LevelOutcomes(*out)


def max_penetration(
    close: npt.ArrayLike,
    windows: Windows,
    levels: tuple[npt.ArrayLike, npt.ArrayLike],
    atr: npt.ArrayLike,
) -> Series:
    """Return how far the path's closes went beyond a level active at entry, at most.

    The resistance that closes go farthest beyond is the lowest, the support the highest.

    Parameters
    ----------
    close : array_like, float64, shape (m,)
        Closes of the path's bars.
    windows
        First bar and the one past the last: int64, shape (n,), in 0..m.
    levels
        Lowest resistance and highest support at entry: float64, shape (n,), NaN for none.
    atr : array_like, float64, shape (n,)
        As known at entry, price units.

    Returns
    -------
    ndarray of float64, shape (n,)
        In ATR, at least 0. NaN where there is no level, no path, or no ATR above 0.

    Raises
    ------
    ValueError
        If shapes differ, or a window reaches outside the path.

    Examples
    --------
    >>> max_penetration([11.0, 9.0], ([0], [2]), ([10.5], [8.0]), [0.5])
    array([1.])
    """
    path = series(close, "close")
    bounds = path_windows(windows, path.size)
    resistance, support, a = (
        series(x, name)
        for x, name in zip((*levels, atr), ("resistance", "support", "atr"), strict=True)
    )
    for name, column in (("resistance", resistance), ("support", support), ("atr", a)):
        if column.shape != bounds[0].shape:
            shape = bounds[0].shape
            raise ValueError(f"{name}: expected shape {shape} as windows, was {column.shape}")
    above = reduced(np.maximum, path, bounds) - resistance
    below = support - reduced(np.minimum, path, bounds)
    deepest = np.fmax(above, below)  # NaN where there is neither
    out: Series = np.maximum(deepest, 0.0) / np.where(a > 0.0, a, np.nan)
    return out


def nearest_level_distance(
    price: npt.ArrayLike,
    nearest: tuple[npt.ArrayLike, npt.ArrayLike],
    atr: npt.ArrayLike,
) -> Series:
    """Return how far the nearest active level is from the entry price, on either side.

    Parameters
    ----------
    price : array_like, float64, shape (n,)
        Close at entry.
    nearest
        Nearest resistance above it and nearest support below: float64, shape (n,), NaN for none.
    atr : array_like, float64, shape (n,)
        As known at entry, price units.

    Returns
    -------
    ndarray of float64, shape (n,)
        In ATR, above 0. NaN where there is no level, or no ATR above 0.

    Raises
    ------
    ValueError
        If shapes differ.

    Examples
    --------
    >>> nearest_level_distance([10.0], ([11.0], [9.5]), [0.5])
    array([1.])
    """
    names = ("price", "resistance", "support", "atr")
    p, resistance, support, a = (
        series(x, name) for x, name in zip((price, *nearest, atr), names, strict=True)
    )
    for name, column in zip(names, (p, resistance, support, a), strict=True):
        if column.shape != p.shape:
            raise ValueError(f"{name}: expected shape {p.shape} as price, was {column.shape}")
    out: Series = np.fmin(resistance - p, p - support) / np.where(a > 0.0, a, np.nan)
    return out


@compiled_borrowing
def _sweep(
    bars: _Bars,
    spans: _Columns,
    windows: tuple[Instants, Instants],
    rules: tuple[float, bool, int],
    active: Instants,
    out: Matrix,
) -> None:
    """Go over rows in order, with the spans that are active at each entry."""
    _, _, born, start, stop, is_flipped, _ = spans
    came = size = 0
    for row in range(windows[0].size):
        first, last = windows[0][row], windows[1][row]
        kept = 0
        for k in range(size):
            active[kept] = active[k]
            kept += stop[active[k]] >= first
        size = kept
        while came < start.size and start[came] < first:
            active[size] = came
            size += stop[came] >= first
            came += 1
        if math.isnan(bars[3][first - 1]):
            continue
        if last > first:
            for column in range(6):
                out[column, row] = 0.0
            _touches(bars, spans, (first, last, row), rules, (active, size), out)
            k = came
            while k < start.size and start[k] < last:
                if is_flipped[k] and born[k] < first:
                    out[5, row] = 1.0
                k += 1
        for kind in (RESISTANCE, SUPPORT):
            _edges(bars[2], spans, (first, last, row), kind, (active, size), out)


@compiled_inline
def _edges(
    close: Series,
    spans: _Columns,
    place: tuple[int, int, int],
    side: float,
    active: tuple[Instants, int],
    out: Matrix,
) -> None:
    """Write the first edge of one kind's levels, and which of them broke. Supports are negated."""
    price, kind, _, _, stop, _, is_broken = spans
    first, last, row = place
    edge = least = math.inf
    is_nearest = False
    for k in range(active[1]):
        j = active[0][k]
        if kind[j] != side:
            continue
        edge = min(edge, price[j] * side)
        breaks = is_broken[j] and stop[j] < last
        if breaks:
            out[3, row] = 1.0
        apart = (price[j] - close[first - 1]) * side
        if 0.0 < apart <= least:
            is_nearest = breaks or (is_nearest and apart == least)
            least = apart
    if is_nearest:
        out[4, row] = 1.0
    if edge < math.inf:
        out[6 if side == RESISTANCE else 7, row] = edge * side


@compiled_inline
def _touches(
    bars: _Bars,
    spans: _Columns,
    place: tuple[int, int, int],
    rules: tuple[float, bool, int],
    active: tuple[Instants, int],
    out: Matrix,
) -> None:
    """Write how often, how long and when first the levels are touched."""
    high, low, _, atr = bars
    price, (first, last, row) = spans[0], place
    top, bottom, widest = -math.inf, math.inf, 0.0
    for bar in range(first, last):
        top, bottom, widest = max(top, high[bar]), min(bottom, low[bar]), max(widest, atr[bar])
    soonest = last
    for k in range(active[1]):
        j = active[0][k]
        band = rules[0] * (abs(price[j]) if rules[1] else widest)
        if bottom <= price[j] + band and top >= price[j] - band:  # else out of reach
            episodes, longest, at = _contacts(bars, spans, place, rules, j)
            out[0, row] += episodes
            out[1, row] = max(out[1, row], longest)
            soonest = min(soonest, at)
    out[2, row] = soonest - first + 1


@compiled_inline
def _contacts(
    bars: _Bars,
    spans: _Columns,
    place: tuple[int, int, int],
    rules: tuple[float, bool, int],
    j: int,
) -> tuple[int, int, int]:
    """Return the episodes that begin in the window, the most contacts in one, and the first bar."""
    high, low, _, atr = bars
    price, _, _, start, stop, _, is_broken = spans
    first, last, _ = place
    touch, is_share, gap = rules
    episodes, longest, run, soonest, contact = 0, 0, 0, last, -gap - 1
    for bar in range(max(start[j], first - gap, 0), min(stop[j] + (not is_broken[j]), last)):
        band = touch * (abs(price[j]) if is_share else atr[bar])
        is_near = low[bar] <= price[j] + band and high[bar] >= price[j] - band
        if not is_near and bar != start[j]:
            continue
        if bar >= first:
            if bar - contact > gap:
                episodes += 1
                run = 0
                soonest = min(soonest, bar)
            run += 1
            longest = max(longest, run)
        contact = bar
    return episodes, longest, soonest
