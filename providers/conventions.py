"""The conventions of exchanges and brokers, undone: what leaves a provider follows ours.

Ours: ``ts`` is the bar's open in UTC, prices are positive numbers, a volume that a source does
not have is null. Belongs here: a rule that more than one source needs, as a pure function over
frames. Keep out: one vendor's payload (its ``parsing``), sessions and sanity of bars (pipeline).
"""

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping
from typing import Final, Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from market.calendars import calendar_for
from market.errors import InputError, ProviderDataError
from market.instruments import Instrument
from market.ports import Bars
from market.tables import INSTANT
from market.timeframes import Timeframe
from providers.options import did_you_mean

PRICES: Final = ("open", "high", "low", "close")
BAR_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "ts": INSTANT,
    **dict.fromkeys((*PRICES, "volume"), pl.Float64()),
}

Locate = Callable[[int], str]
"""Name a row of a frame for a person: ``0`` → ``eurusd.csv line 2``."""

WallTimes = Literal["raise", "earliest", "latest"]
"""What to do with a wall time that a zone has twice (autumn) or never (spring)."""


def empty_bars() -> pl.DataFrame:
    """Return bars with no rows."""
    return pl.DataFrame(schema=dict(BAR_SCHEMA))


def between(bars: pl.DataFrame, start_us: int, end_us: int) -> pl.DataFrame:
    """Return the bars that open in [start, end), in the order in which they came."""
    opens = pl.col("ts").to_physical()
    return bars.filter((opens >= start_us) & (opens < end_us))


def fingerprint(bars: Bars, end_us: int) -> str:
    """Return the sha256 of a window's bars and of how far the source has spoken inside it.

    Rows in their order, bit by bit, nulls apart from numbers. What is appended behind the window
    (it ends at ``end_us``) does not move it.
    """
    digest = hashlib.sha256(f"{min(bars.watermark_us, end_us)} {len(bars.frame)}".encode())
    for column in bars.frame.select(list(BAR_SCHEMA)).iter_columns():
        digest.update(column.is_null().to_numpy().tobytes())
        digest.update(column.to_physical().fill_null(0).to_numpy().tobytes())
    return digest.hexdigest()


def check_window(start_us: int, end_us: int) -> None:
    """Raise ``InputError`` where [start, end) runs backward."""
    if end_us < start_us:
        raise InputError(f"window: expected start <= end, was [{start_us}, {end_us}) microseconds")


def take_columns(frame: pl.DataFrame, columns: Mapping[str, str], *, where: str) -> pl.DataFrame:
    """Return ``frame`` with our names for its columns (``{ours: theirs}``), in the map's order.

    Raises ``ProviderDataError`` that lists the columns there are when one of theirs is missing.
    """
    for ours, theirs in columns.items():
        if theirs not in frame.columns:
            raise ProviderDataError(
                f"{where}: expected a column {theirs!r} for {ours}, "
                f"was {', '.join(map(repr, frame.columns)) or 'no columns'}"
                f"{did_you_mean(theirs, frame.columns)}"
            )
    return frame.select(pl.col(theirs).alias(ours) for ours, theirs in columns.items())


def to_utc(wall: pl.Series, zone: str, *, wall_times: WallTimes, locate: Locate) -> pl.Series:
    """Return naive wall-clock stamps of ``zone`` as UTC instants.

    A wall time that the zone's daylight saving has twice or never raises ``ProviderDataError``
    naming the row, unless ``wall_times`` says which of its two readings to take.
    """
    earliest = wall.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    latest = wall.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null")
    never = (earliest.is_null() & wall.is_not_null()).arg_true()
    if wall_times == "raise":
        twice = (earliest != latest).arg_true()
        odd = sorted((*never.to_list(), *twice.to_list()))
        if odd:
            times = "never" if odd[0] in set(never.to_list()) else "twice"
            raise ProviderDataError(
                f"{locate(odd[0])}: expected a wall time that {zone} has once, "
                f"was {wall[odd[0]]} ({times}): set wall_times to 'earliest' or 'latest'"
            )
    utc = (latest if wall_times == "latest" else earliest).dt.convert_time_zone("UTC")
    if len(never):
        # PEP 495: in a spring gap fold 0 reads with the offset before it (the later instant).
        fold = 0 if wall_times == "latest" else 1
        tz = ZoneInfo(zone)
        readings = [wall[i].replace(tzinfo=tz, fold=fold).astimezone(dt.UTC) for i in never]
        utc = utc.scatter(never, readings)
    return utc.cast(INSTANT)


def open_stamps(closes: pl.Series, instrument: Instrument) -> pl.Series:
    """Return the opens of bars of the instrument's base timeframe that are stamped at their close.

    M1 … M30 bars last their nominal length in every calendar. Coarser ones need not (a day of 23
    hours, a last hour of 30 minutes): the calendar's bar with that end is taken, and a stamp that
    ends no scheduled bar is moved by the nominal length.
    """
    timeframe = instrument.base_timeframe
    ends = closes.to_physical().to_numpy()
    opens = ends - timeframe.microseconds
    if timeframe.rank >= Timeframe.H1.rank and ends.size:
        margin = 2 * timeframe.microseconds
        grid = calendar_for(instrument).grid(
            timeframe, int(ends.min()) - margin, int(ends.max()) + margin
        )
        opens = _opens_by_end(ends, opens, grid.open_us, grid.end_us)
    return pl.Series(closes.name, opens).cast(INSTANT)


def _opens_by_end(
    ends: npt.NDArray[np.int64],
    nominal: npt.NDArray[np.int64],
    grid_open: npt.NDArray[np.int64],
    grid_end: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    if not grid_end.size:
        return nominal
    at = np.minimum(np.searchsorted(grid_end, ends), grid_end.size - 1)
    return np.where(grid_end[at] == ends, grid_open[at], nominal)


def scheduled_end(instrument: Instrument, open_us: int) -> int:
    """Return when the base bar that opens at ``open_us`` ends (nominally, where off the grid)."""
    timeframe = instrument.base_timeframe
    if timeframe.rank >= Timeframe.H1.rank:
        grid = calendar_for(instrument).grid(timeframe, open_us, open_us + 1)
        if len(grid.open_us):
            return int(grid.end_us[0])
    return open_us + timeframe.microseconds


def mid(bid: pl.DataFrame, ask: pl.DataFrame) -> pl.DataFrame:
    """Return mid bars: the mean of both sides' open, high, low and close; volumes added.

    Open and close are exact; high and low bound the true mid's from outside (the extremes of bid
    and ask need not coincide). A bar that only one side has is left out: it is a missing bar, and
    is counted as one downstream. Null volume on either side stays null.
    """
    both = bid.join(ask, on="ts", how="inner", suffix="_ask", maintain_order="left")
    means = [((pl.col(c) + pl.col(f"{c}_ask")) / 2).alias(c) for c in PRICES]
    volume = (pl.col("volume") + pl.col("volume_ask")).alias("volume")
    return both.select("ts", *means, volume)


def without_volume(bars: pl.DataFrame) -> pl.DataFrame:
    """Return the bars with volume null: the source has none, whatever number stands there."""
    return bars.with_columns(pl.lit(None, pl.Float64).alias("volume"))


def has_only_zero_volume(bars: pl.DataFrame) -> bool:
    """Return whether the volume column holds numbers and all of them are zero."""
    volume = bars["volume"].drop_nulls()
    return len(volume) > 0 and not bool((volume != 0).any())
