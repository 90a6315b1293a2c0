"""What a path did inside each label's window, and whether that can be known.

Belongs here: windows over path bars, gaps, touches, maturity. Keep out: barriers and levels
(``labels`` brings them), and what a window is in calendar terms.

Two facts decide a row's status. Its horizon must have passed at the source's watermark, else it is
``pending``, touched or not: taking early touches and leaving slow ones out would be a bias. And no
scheduled bar of the label's timeframe may lack all of its path before the outcome was settled, else
it is ``censored``: the path may have touched a barrier where nobody looked.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from kernels import first_touch as touches
from kernels.barriers import Barriers
from kernels.forward_labels import meta_label, range_expansion
from kernels.forward_labels_levels import max_penetration
from kernels.forward_labels_path import PathStatistics, path_statistics
from kernels.forward_labels_trend import trend_scan
from market.calendars import Grid, SessionCalendar
from market.tables import LABELS
from market.timeframes import Timeframe
from pipeline.label_series import LabelSeries

LARGEST_SCALED_RETURN: Final = 10.0
PLAIN_WIDTH: Final = 0.01  # of the price: the barriers of ``triple_barrier``

_STATUSES: Final = ("pending", "final", "censored")
_HITS: Final = ("none", "upper", "ambiguous", "lower", None)  # by side, of which -1 is the fourth
_LOWER_HIT, _UNKNOWN_HIT = 3, 4

LEVEL_COLUMNS: Final = (
    "retouch_count", "touch_run", "next_touch_time", "breakout_occurred",
    "nearest_breakout_occurred", "flip_occurred",
)  # fmt: skip
SERIES_COLUMNS: Final = (*LEVEL_COLUMNS, "max_penetration", "event_burst", "return_quantile")
"""What only a series can tell; with ``meta_label``, whose side is one of the closes behind."""

Instants = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Entries:
    """What is known at each entry: price, ATR, barriers with and without levels."""

    ts_us: Instants
    price: Floats
    range: Floats  # high - low of the entry candle
    atr: Floats
    barriers: Barriers
    plain: Barriers


@dataclass(frozen=True, slots=True)
class Windows:
    """[start, end) of each row, and where its horizon begins in the grid of the label's bars."""

    start_us: Instants
    end_us: Instants
    first_bar: Instants
    horizon: int
    grid: Grid


@dataclass(frozen=True, slots=True)
class Path:
    """The bars that any window can hold, in order, and their calendar."""

    ts: Instants
    high: Floats
    low: Floats
    close: Floats
    calendar: SessionCalendar
    timeframe: Timeframe


@dataclass(frozen=True, slots=True)
class _Touch:
    """First touch of each row: side, path bar, horizon bar (0-based; the horizon where none)."""

    side: npt.NDArray[np.int8]
    index: Instants
    bar: Instants

    @property
    def is_touched(self) -> Mask:
        """Say which rows' paths touch a barrier."""
        mask: Mask = self.side != touches.NONE
        return mask


@dataclass(frozen=True, slots=True)
class _Rows:
    """Each row's path bars [first, last), its first empty horizon bar, and its status."""

    first: Instants
    last: Instants
    gap: Instants  # the horizon where there is none
    is_gapless: Mask
    is_last_empty: Mask
    is_ended: Mask
    is_final: Mask
    status: npt.NDArray[np.int64]  # index of ``_STATUSES``


def outcomes(
    entries: Entries,
    windows: Windows,
    path: Path,
    *,
    watermark_us: int,
    ended_us: int | None = None,
    series: LabelSeries | None = None,
) -> dict[str, pl.Series]:
    """Return status, outcomes and path statistics by column name, one value an entry.

    Without the ``series`` what is measured against levels and history is NaN throughout.

    Raises ``MalformedBarsError`` for a path bar off the calendar.
    """
    ends = path.calendar.bar_ends(path.timeframe, path.ts)
    bounds = (np.searchsorted(path.ts, windows.start_us), np.searchsorted(path.ts, windows.end_us))
    around, bare, price = entries.barriers, entries.plain, entries.price
    touch = _touch((around.upper, around.lower), windows, path, bounds)
    plain = _touch((bare.upper, bare.lower), windows, path, bounds)
    fixed = price * (1.0 + PLAIN_WIDTH), price * (1.0 - PLAIN_WIDTH)
    shares = _touch(fixed, windows, path, bounds)
    rows = _rows(windows, (path.ts, *bounds), touch, watermark_us=watermark_us, ended_us=ended_us)
    is_plain_known = rows.is_final & _is_settled(rows, plain) & ~np.isnan(bare.upper)
    is_share_known = rows.is_final & _is_settled(rows, shares) & (price > 0.0)
    columns = {
        "known_at": windows.end_us,
        "matured_at": np.where(rows.is_final, windows.end_us, np.nan),
        **_barrier_columns(entries, windows, rows, touch, ends),
        "label_unadjusted": _sides(is_plain_known, plain),
        "triple_barrier": _sides(is_share_known, shares),
        **_return_columns(entries, rows, path),
        **_statistic_columns(entries, rows, path),
        **_horizon_columns(entries, windows, rows, path),
        **_series_columns(entries, windows, rows, path, series),
        "meta_label": _meta_labels(entries, rows, path, touch, series),
        **_path_columns(windows, rows, path, watermark_us),
    }
    hit = np.where(touch.side == touches.LOWER, _LOWER_HIT, touch.side)
    is_known = _is_known(entries, rows)
    return {
        **{name: typed(name, values) for name, values in columns.items()},
        "status": _words("status", _STATUSES, rows.status),
        "barrier_hit": _words("barrier_hit", _HITS, np.where(is_known, hit, _UNKNOWN_HIT)),
    }


def typed(column: str, values: Floats | Instants) -> pl.Series:
    """Return values as ``tables.LABELS`` types the column, null for NaN.

    Counts, flags and instants (to the year 2255) are whole numbers below 2^53, which float64 holds
    exactly.
    """
    return pl.Series(column, values, nan_to_null=True).cast(LABELS.schema[column])


def _touch(
    around: tuple[Floats, Floats], windows: Windows, path: Path, bounds: tuple[Instants, Instants]
) -> _Touch:
    found = touches.first_touch((path.high, path.low), bounds, *around)
    bar = np.full(found.side.size, windows.horizon, dtype=np.int64)
    is_touched = found.side != touches.NONE
    at = path.ts[found.bar[is_touched]]
    grid_bar = np.searchsorted(windows.grid.open_us, at, side="right") - 1
    # a candle off the grid closes inside a bar of it: what is left of that belongs to the first
    bar[is_touched] = np.maximum(grid_bar - windows.first_bar[is_touched], 0)
    return _Touch(found.side, found.bar, bar)


def _rows(
    windows: Windows,
    bars: tuple[Instants, Instants, Instants],
    touch: _Touch,
    *,
    watermark_us: int,
    ended_us: int | None,
) -> _Rows:
    grid, horizon = windows.grid, windows.horizon
    ts, first, last = bars
    is_empty = np.searchsorted(ts, grid.open_us) == np.searchsorted(ts, grid.end_us)
    n_bars = is_empty.size
    empty_bar = np.where(is_empty, np.arange(n_bars), n_bars + horizon)
    next_empty = np.minimum.accumulate(empty_bar[::-1])[::-1]
    gap = np.minimum(next_empty[windows.first_bar] - windows.first_bar, horizon)
    is_ended = np.zeros(gap.size, dtype=np.bool_)
    if ended_us is not None and watermark_us >= ended_us:
        is_ended = windows.end_us > ended_us
    is_lost = is_ended & ~touch.is_touched
    is_pending = (windows.end_us > watermark_us) & ~is_lost
    is_final = ~is_pending & ~is_lost & (gap >= touch.bar)
    return _Rows(
        first=first,
        last=last,
        gap=gap,
        is_gapless=gap == horizon,
        is_last_empty=is_empty[windows.first_bar + horizon - 1],
        is_ended=is_ended,
        is_final=is_final,
        status=np.where(is_pending, 0, np.where(is_final, 1, 2)),
    )


def _is_settled(rows: _Rows, touch: _Touch) -> Mask:
    """Say whether the path was seen until the touch, or until the horizon's end."""
    return (rows.gap >= touch.bar) & (touch.is_touched | ~rows.is_ended)


def _is_known(entries: Entries, rows: _Rows) -> Mask:
    """Say which rows have an outcome: final, and with barriers."""
    return rows.is_final & ~np.isnan(entries.barriers.upper)


def _barrier_columns(
    entries: Entries, windows: Windows, rows: _Rows, touch: _Touch, ends: Instants
) -> dict[str, Floats]:
    is_known = _is_known(entries, rows)
    is_ambiguous = touch.side == touches.BOTH
    t1 = windows.end_us.copy()
    t1[touch.is_touched] = ends[touch.index[touch.is_touched]]
    n_path = np.where(touch.is_touched, touch.index + 1, rows.last) - rows.first
    values = {
        "is_ambiguous": is_ambiguous,
        "label_if_long": np.where(is_ambiguous, -1, touch.side),
        "label_if_short": np.where(is_ambiguous, 1, touch.side),
        "t1": t1,
        "time_to_barrier_bars": np.minimum(touch.bar + 1, windows.horizon),
        "time_to_barrier_path_bars": n_path,
    }
    return {
        "enhanced_triple_barrier": _sides(is_known, touch),
        **{name: np.where(is_known, column, np.nan) for name, column in values.items()},
    }


def _at_end(rows: _Rows, path: Path) -> Floats:
    """Return P_H, NaN where the row is not final or the horizon's last bar has no path."""
    close = np.append(path.close, np.nan)  # an empty window reads the last
    at_end = close[np.where(rows.last > rows.first, rows.last - 1, -1)]
    return np.where(rows.is_final & ~rows.is_last_empty & ~rows.is_ended, at_end, np.nan)


def _is_whole(rows: _Rows) -> Mask:
    """Say which paths were seen in full: a statistic of one with a gap is nobody's to know."""
    return rows.is_final & rows.is_gapless & ~rows.is_ended


def _return_columns(entries: Entries, rows: _Rows, path: Path) -> dict[str, Floats]:
    price, atr, at_end = entries.price, entries.atr, _at_end(rows, path)
    scaled = np.full(price.size, np.nan)
    np.divide(at_end - price, atr, out=scaled, where=atr > 0.0)
    return {
        "forward_return": at_end / price - 1.0,
        "return_sign": np.sign(at_end - price),
        "vol_scaled_return": np.clip(scaled, -LARGEST_SCALED_RETURN, LARGEST_SCALED_RETURN),
    }


def _statistic_columns(entries: Entries, rows: _Rows, path: Path) -> dict[str, Floats]:
    found = path_statistics(
        (path.high, path.low, path.close), (rows.first, rows.last), entries.price
    )
    is_whole = _is_whole(rows)
    return {
        name: np.where(is_whole, values, np.nan)
        for name, values in zip(PathStatistics._fields, found, strict=True)
    }


def _horizon_columns(
    entries: Entries, windows: Windows, rows: _Rows, path: Path
) -> dict[str, Floats]:
    """Return what the horizon's bars say, each of them made of its own path bars."""
    grid = windows.grid
    bounds = np.searchsorted(path.ts, grid.open_us), np.searchsorted(path.ts, grid.end_us)
    close = np.append(path.close, np.nan)
    closes = close[np.where(bounds[1] > bounds[0], bounds[1] - 1, -1)]
    of_rows = windows.first_bar, windows.first_bar + windows.horizon
    bars = touches.extremes((path.high, path.low), bounds)
    scan = trend_scan(closes, of_rows, entries.price)
    columns = {
        "range_expansion": range_expansion(bars, of_rows, entries.range),
        "trend_scan_sign": scan.sign,
        "trend_scan_t": scan.t,
    }
    is_whole = _is_whole(rows)
    return {name: np.where(is_whole, values, np.nan) for name, values in columns.items()}


def _series_columns(
    entries: Entries, windows: Windows, rows: _Rows, path: Path, series: LabelSeries | None
) -> dict[str, Floats]:
    """Return what is measured against the levels at entry, and against earlier rows."""
    if series is None:
        return {name: np.full(entries.price.size, np.nan) for name in SERIES_COLUMNS}
    at = series.rows(entries.ts_us)
    levels = series.levels(at, windows.end_us)
    edges = levels.lowest_resistance, levels.highest_support
    whole = {
        **{name: getattr(levels, name) for name in LEVEL_COLUMNS},
        "event_burst": series.burst[at],
        "max_penetration": max_penetration(path.close, (rows.first, rows.last), edges, entries.atr),
    }
    is_whole = _is_whole(rows)
    return {
        "return_quantile": np.where(np.isnan(_at_end(rows, path)), np.nan, series.quantile[at]),
        **{name: np.where(is_whole, values, np.nan) for name, values in whole.items()},
    }


def _meta_labels(
    entries: Entries, rows: _Rows, path: Path, touch: _Touch, series: LabelSeries | None
) -> Floats:
    """Return whether the primary side won at t1."""
    if series is None:
        return np.full(entries.price.size, np.nan)
    side = series.side[series.rows(entries.ts_us)]
    found = touches.FirstTouch(touch.side, touch.index)
    won = meta_label(side, found, entries.price, _at_end(rows, path))
    return np.where(_is_known(entries, rows), won, np.nan)


def _path_columns(
    windows: Windows, rows: _Rows, path: Path, watermark_us: int
) -> dict[str, Instants]:
    until = np.maximum(np.minimum(windows.end_us, watermark_us), windows.start_us)
    present = np.searchsorted(path.ts, until) - rows.first
    scheduled = path.calendar.scheduled(path.timeframe, windows.start_us, until)
    return {"path_bars": rows.last - rows.first, "path_bars_missing": scheduled - present}


def _sides(is_known: Mask, touch: _Touch) -> Floats:
    return np.where(is_known & (touch.side != touches.BOTH), touch.side, np.nan)


def _words(column: str, words: tuple[str | None, ...], index: npt.NDArray[np.int64]) -> pl.Series:
    return pl.Series(column, words, dtype=pl.String())[index.astype(np.uint32)]
