"""How stages read the partitions to their left.

Belongs here: which months a stage resolves, and frames in the shape that ``pipeline`` takes.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from assets.line import Line
from assets.stage import Inputs
from market.calendars import SessionCalendar, calendar_for
from market.months import month_bounds, month_range, shift_month
from market.ports import PartitionKey, PartitionRef
from market.timeframes import Timeframe
from pipeline import candles, levels
from pipeline.states import watermark_of

StateArrays = dict[str, npt.NDArray[np.generic]]


def raw_key(line: Line, key: PartitionKey) -> PartitionKey:
    """Return the raw partition of the same instrument and month."""
    base = line.book[key.instrument].base_timeframe
    return PartitionKey("raw_candles", base.value, key.instrument, key.month)


def raw_window(line: Line, key: PartitionKey, months_ahead: int) -> list[PartitionRef]:
    """Resolve the month's raw bars, and those of the months ahead that are there."""
    raw = raw_key(line, key)
    found = [line.lake.resolve(raw)]
    for month in month_range(shift_month(key.month, 1), shift_month(key.month, months_ahead)):
        ref = line.lake.find(raw.at(month))
        if ref is None:
            break  # a hole in what was ingested: nothing behind it is known to be next
        found.append(ref)
    return found


def raw_months(line: Line, instrument: str) -> Sequence[str]:
    """Return the months of raw bars that are there.

    A backfill by the daemon also asks for the month before and after those requested (a week may
    straddle, a state goes on): outside the series there is nothing to make of them.
    """
    base = line.book[instrument].base_timeframe.value
    return line.lake.months("raw_candles", base, instrument)


def candles_key(key: PartitionKey) -> PartitionKey:
    """Return the candle partition of the same series and month."""
    return PartitionKey("candles", key.timeframe, key.instrument, key.month)


def previous_state(line: Line, key: PartitionKey, table: str) -> dict[str, PartitionRef]:
    """Resolve the state at the end of the month before, where the series has such a month."""
    month = shift_month(key.month, -1)
    if line.lake.find(candles_key(key).at(month)) is None:
        return {}
    return {
        table: line.lake.resolve(PartitionKey(table, key.timeframe, key.instrument, month)),
    }


def watermark(line: Line, refs: Sequence[PartitionRef]) -> int:
    """Return until when the source has spoken, over these raw partitions."""
    return max(watermark_of(line.lake.state(ref)) for ref in refs)


def level_state(line: Line, inputs: Inputs) -> StateArrays:
    """Return the level machine as it stood before the month."""
    ref = inputs.states.get("level_events")
    return line.lake.state(ref) if ref else dict(levels.initial())


def calendar_of(line: Line, key: PartitionKey) -> SessionCalendar:
    """Return the session calendar of the partition's instrument."""
    return calendar_for(line.book[key.instrument])


def build_candles(
    line: Line, key: PartitionKey, raw: pl.DataFrame, watermark_us: int
) -> candles.Built:
    """Build the candles of the partition's timeframe from raw bars."""
    return candles.build(
        raw,
        instrument=line.book[key.instrument],
        timeframe=Timeframe(key.timeframe),
        watermark_us=watermark_us,
    )


def in_month(rows: pl.DataFrame, bounds: tuple[int, int]) -> pl.DataFrame:
    """Keep the rows, which rise in time, that open in the month."""
    first, last = np.searchsorted(rows["ts"].cast(pl.Int64).to_numpy(), bounds)
    return rows[int(first) : int(last)]


def before(rows: pl.DataFrame, until_us: int) -> pl.DataFrame:
    """Keep the rows, which rise in time, that open before an instant, in one chunk a column."""
    kept = rows.head(int(np.searchsorted(rows["ts"].cast(pl.Int64).to_numpy(), until_us)))
    return kept.rechunk()  # a version of many row groups is else joined at every look at a column


def settled(line: Line, key: PartitionKey) -> int:
    """Return the scheduled end of the last bar that opens in the partition's month."""
    start_us, end_us = month_bounds(key.month)
    grid = calendar_of(line, key).grid(Timeframe(key.timeframe), start_us, end_us)
    return int(grid.end_us.max(initial=end_us))


def at_instants(rows: pl.DataFrame, entries: pl.DataFrame) -> pl.DataFrame:
    """Keep the rows that open when one of the entries does."""
    wanted = np.isin(rows["ts"].cast(pl.Int64).to_numpy(), entries["ts"].cast(pl.Int64).to_numpy())
    return rows[np.flatnonzero(wanted)]


def versions_of(inputs: Inputs) -> Mapping[str, str]:
    """Return path → version of all that was read."""
    return inputs.versions
