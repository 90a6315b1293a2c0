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
from market.calendars import Grid, SessionCalendar
from market.tables import INSTANT, LABELS
from market.timeframes import Timeframe

LARGEST_SCALED_RETURN: Final = 10.0

Instants = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Entries:
    """What is known at each entry: price, ATR, barriers with and without levels."""

    price: Floats
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
    """The bars that any window can hold, and their calendar."""

    frame: pl.DataFrame
    calendar: SessionCalendar
    timeframe: Timeframe

    def ts(self) -> Instants:
        """Return the bars' opens."""
        return self.frame["ts"].cast(INSTANT).to_physical().to_numpy()

    def prices(self, name: str) -> Floats:
        """Return a column of prices."""
        return self.frame[name].to_numpy()


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
    status: pl.Series


def outcomes(
    entries: Entries,
    windows: Windows,
    path: Path,
    *,
    watermark_us: int,
    ended_us: int | None = None,
) -> pl.DataFrame:
    """Return status, outcomes and path statistics, one row an entry."""
    ts = path.ts()
    ends = path.calendar.bar_ends(path.timeframe, ts)  # raises for a bar off the calendar
    first = np.searchsorted(ts, windows.start_us)
    last = np.searchsorted(ts, windows.end_us)
    touch = _touch(entries.barriers, windows, path, (first, last))
    plain = _touch(entries.plain, windows, path, (first, last))
    rows = _rows(windows, ts, touch, watermark_us=watermark_us, ended_us=ended_us)
    return pl.DataFrame(
        {
            "known_at": pl.Series(windows.end_us).cast(INSTANT),
            "matured_at": _where(rows.is_final, windows.end_us, "matured_at"),
            "status": rows.status,
            **_barrier_columns(entries, windows, rows, touch, ends),
            "label_unadjusted": _side_where(
                rows.is_final & _is_settled(rows, plain) & ~np.isnan(entries.plain.upper),
                plain.side,
            ),
            **_return_columns(entries, rows, path),
            **_path_columns(windows, rows, path, watermark_us),
        }
    )


def _touch(
    around: Barriers, windows: Windows, path: Path, bounds: tuple[Instants, Instants]
) -> _Touch:
    found = touches.first_touch(
        (path.prices("high"), path.prices("low")), bounds, around.upper, around.lower
    )
    bar = np.full(found.side.size, windows.horizon, dtype=np.int64)
    is_touched = found.side != touches.NONE
    at = path.ts()[found.bar[is_touched]]
    grid_bar = np.searchsorted(windows.grid.open_us, at, side="right") - 1
    bar[is_touched] = grid_bar - windows.first_bar[is_touched]
    return _Touch(found.side, found.bar, bar)


def _rows(
    windows: Windows, ts: Instants, touch: _Touch, *, watermark_us: int, ended_us: int | None
) -> _Rows:
    grid, horizon = windows.grid, windows.horizon
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
    status = np.where(is_pending, "pending", np.where(is_final, "final", "censored"))
    return _Rows(
        first=np.searchsorted(ts, windows.start_us),
        last=np.searchsorted(ts, windows.end_us),
        gap=gap,
        is_gapless=gap == horizon,
        is_last_empty=is_empty[windows.first_bar + horizon - 1],
        is_ended=is_ended,
        is_final=is_final,
        status=pl.Series("status", status.tolist(), dtype=pl.String()),
    )


def _is_settled(rows: _Rows, touch: _Touch) -> Mask:
    """Say whether the path was seen until the touch, or until the horizon's end."""
    return (rows.gap >= touch.bar) & (touch.is_touched | ~rows.is_ended)


def _barrier_columns(
    entries: Entries, windows: Windows, rows: _Rows, touch: _Touch, ends: Instants
) -> dict[str, pl.Series]:
    is_known = rows.is_final & ~np.isnan(entries.barriers.upper)
    is_ambiguous = touch.side == touches.BOTH
    t1 = windows.end_us.copy()
    t1[touch.is_touched] = ends[touch.index[touch.is_touched]]
    n_path = np.where(touch.is_touched, touch.index + 1, rows.last) - rows.first
    hit = np.array(["none", "upper", "ambiguous", "lower"])[touch.side]  # -1 is the last
    return {
        "enhanced_triple_barrier": _side_where(is_known, touch.side),
        "barrier_hit": _where(is_known, hit.tolist(), "barrier_hit"),
        "is_ambiguous": _where(is_known, is_ambiguous, "is_ambiguous"),
        "label_if_long": _where(is_known, np.where(is_ambiguous, -1, touch.side), "label_if_long"),
        "label_if_short": _where(is_known, np.where(is_ambiguous, 1, touch.side), "label_if_short"),
        "t1": _where(is_known, t1, "t1"),
        "time_to_barrier_bars": _where(
            is_known, np.minimum(touch.bar + 1, windows.horizon), "time_to_barrier_bars"
        ),
        "time_to_barrier_path_bars": _where(is_known, n_path, "time_to_barrier_path_bars"),
    }


def _return_columns(entries: Entries, rows: _Rows, path: Path) -> dict[str, pl.Series]:
    price, atr = entries.price, entries.atr
    close = np.append(path.prices("close"), np.nan)  # an empty window reads the last
    at_end = close[np.where(rows.last > rows.first, rows.last - 1, -1)]
    has_end = rows.is_final & ~rows.is_last_empty & ~rows.is_ended
    scaled = np.full(price.size, np.nan)
    np.divide(at_end - price, atr, out=scaled, where=atr > 0.0)
    scaled = np.clip(scaled, -LARGEST_SCALED_RETURN, LARGEST_SCALED_RETURN)
    highest, lowest = touches.extremes(
        (path.prices("high"), path.prices("low")), (rows.first, rows.last)
    )
    # an extreme is one of the whole path: where a bar of it is missing, nobody knows it
    is_whole = rows.is_final & rows.is_gapless & ~rows.is_ended
    mfe = np.maximum((highest - price) / price, 0.0)
    mae = np.minimum((lowest - price) / price, 0.0)
    factor = np.full(price.size, np.nan)
    np.divide(mfe, -mae, out=factor, where=mae < 0.0)
    return {
        "forward_return": _where(has_end, at_end / price - 1.0, "forward_return"),
        "return_sign": _where(has_end, np.sign(np.nan_to_num(at_end - price)), "return_sign"),
        "vol_scaled_return": _where(has_end, scaled, "vol_scaled_return"),
        "mfe": _where(is_whole, mfe, "mfe"),
        "mae": _where(is_whole, mae, "mae"),
        "profit_factor": _where(is_whole, factor, "profit_factor"),
    }


def _path_columns(
    windows: Windows, rows: _Rows, path: Path, watermark_us: int
) -> dict[str, pl.Series]:
    until = np.maximum(np.minimum(windows.end_us, watermark_us), windows.start_us)
    present = np.searchsorted(path.ts(), until) - rows.first
    scheduled = path.calendar.scheduled(path.timeframe, windows.start_us, until)
    return {
        "path_bars": pl.Series(rows.last - rows.first, dtype=pl.UInt32()),
        "path_bars_missing": pl.Series(scheduled - present, dtype=pl.UInt32()),
    }


def _side_where(is_known: Mask, side: npt.NDArray[np.int8]) -> pl.Series:
    return _where(is_known & (side != touches.BOTH), side, "enhanced_triple_barrier")


def _where(is_known: Mask, values: npt.NDArray[np.generic] | list[str], column: str) -> pl.Series:
    """Return values as the table types ``column``, null where they are not known, or NaN."""
    dtype = LABELS.schema[column]
    series = pl.Series(column, values, nan_to_null=isinstance(values, np.ndarray))
    if dtype == INSTANT:
        series = series.cast(INSTANT)
    nothing = pl.repeat(None, len(series), dtype=dtype, eager=True)
    return series.cast(dtype).zip_with(pl.Series(is_known), nothing)
