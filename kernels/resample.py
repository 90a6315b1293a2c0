"""Bars into coarser bars by scheduled interval, never by counting.

Belongs here: the pass over arrays. Keep out: which intervals are scheduled (the caller hands them
in), and what a missing bar means.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kernels.gate import Instants, Series, instants, series
from kernels.jit import compiled


class Bars(NamedTuple):
    """Bars by column, in order of time; ``volume`` is NaN where the source has none."""

    ts: Instants
    open: Series
    high: Series
    low: Series
    close: Series
    volume: Series


class Bounds(NamedTuple):
    """Scheduled intervals [open, end) in order, not overlapping: int64 microseconds UTC, (m,)."""

    open_us: Instants
    end_us: Instants


@dataclass(frozen=True, slots=True)
class Resampled:
    """The intervals that hold at least one bar, and which bars each holds.

    All arrays have shape (k,): ``slot`` indexes the bounds, ``first`` the bars; ``bars.ts`` is the
    interval's scheduled open, not the first bar's.
    """

    bars: Bars
    end_us: Instants
    slot: Instants
    first: Instants
    count: Instants


def resample(bars: Bars, grids: Sequence[Bounds]) -> list[Resampled]:
    """Return the bars of each grid, finest first, in one cascade over ``bars``.

    The first grid is built from ``bars``, each further one from the grid before it, so grids must
    nest: an interval of one lies whole inside an interval of the next. Open is the first bar's,
    close the last one's, high and low the extremes, volume the sum of the base bars **in order of
    time** whatever the cascade: a grid alone and the same grid after finer ones are bit-equal.

    Parameters
    ----------
    bars : Bars of n
        ``ts`` int64 microseconds UTC, non-decreasing (several trades may share an instant); prices
        float64 in any unit; volume float64, NaN where unknown.
    grids : sequence of Bounds
        int64 microseconds UTC, half-open, ascending, not overlapping; every bar must lie in one.

    Returns
    -------
    list of Resampled, one a grid
        An interval without a bar is left out. float64; volume NaN if any of its bars' is. Prices
        must be finite: a NaN makes the high and low of its interval meaningless. No warm-up;
        causal in the sense that a row is known once its ``end_us`` has passed.

    Raises
    ------
    ValueError
        If lengths differ, or a bar lies in no interval, or ``ts`` goes backwards.
    TypeError
        If ``ts`` or bounds are not integers.

    References
    ----------
    Equals ``polars.DataFrame.group_by_dynamic`` where intervals have one length.

    Examples
    --------
    >>> minutes = Bars([0, 60, 180], [1, 2, 3], [2, 4, 3], [1, 1, 2], [2, 3, 2], [5, 5, 5])
    >>> two = resample(minutes, [Bounds([0, 120], [120, 240])])[0]
    >>> two.bars.high, two.bars.volume, two.count
    (array([4., 3.]), array([10.,  5.]), array([2, 1]))
    """
    base = _gated(bars)
    level = base
    edges = instants(np.arange(base.ts.size + 1, dtype=np.int64), "edges")
    results = []
    for number, grid in enumerate(grids):
        opens = instants(grid.open_us, f"grids[{number}].open_us")
        ends = instants(grid.end_us, f"grids[{number}].end_us")
        _same_length(opens.size, ends=ends)
        grouped = _group(level.ts, level.high, level.low, edges, base.volume, opens, ends)
        fault, slot, edges, high, low, volume = grouped
        if fault >= 0:
            raise ValueError(
                f"ts: expected ascending instants inside the intervals of grids[{number}], "
                f"was {level.ts[fault]} at {fault}"
            )
        edges = instants(edges, "edges")  # read-only as the first level's: one specialisation
        first = edges[:-1]
        close = base.close[edges[1:] - 1]
        level = _gated(Bars(opens[slot], base.open[first], high, low, close, volume))
        results.append(Resampled(level, ends[slot], slot, first, np.diff(edges)))
    return results


def _gated(bars: Bars) -> Bars:
    gated = Bars(
        instants(bars.ts, "ts"),
        series(bars.open, "open"),
        series(bars.high, "high"),
        series(bars.low, "low"),
        series(bars.close, "close"),
        series(bars.volume, "volume"),
    )
    _same_length(gated.ts.size, **dict(zip(Bars._fields[1:], gated[1:], strict=True)))
    return gated


def _same_length(size: int, **columns: Series | Instants) -> None:
    for name, column in columns.items():
        if column.size != size:
            raise ValueError(f"{name}: expected {size} values, was {column.size}")


@compiled
def _group(  # noqa: PLR0913, PLR0917 - compiled: columns in, columns out
    ts: Instants,
    high: Series,
    low: Series,
    edges: Instants,
    volume: Series,
    opens: Instants,
    ends: Instants,
) -> tuple[int, Instants, Instants, Series, Series, Series]:
    n = ts.size
    most = min(n, opens.size)
    slot, edge = np.empty(most, np.int64), np.empty(most + 1, np.int64)
    highs, lows, sums = np.empty(most), np.empty(most), np.empty(most)
    fault = -1
    m = i = j = 0
    while i < n:
        while j < opens.size and ends[j] <= ts[i]:
            j += 1
        if j == opens.size or ts[i] < opens[j]:
            fault = i
            break
        first = i
        end = ends[j]
        previous = ts[i]
        top, bottom = high[i], low[i]
        i += 1
        while i < n and previous <= ts[i] < end:
            previous = ts[i]
            top = max(top, high[i])
            bottom = min(bottom, low[i])
            i += 1
        if i < n and ts[i] < previous:
            fault = i
            break
        # base bars in order, not finer sums: the rounding must not depend on the cascade
        total = 0.0
        for k in range(edges[first], edges[i]):
            total += volume[k]
        slot[m] = j
        edge[m] = edges[first]
        highs[m] = top
        lows[m] = bottom
        sums[m] = total
        m += 1
        j += 1
    edge[m] = edges[i]
    return fault, slot[:m], edge[: m + 1], highs[:m], lows[:m], sums[:m]
