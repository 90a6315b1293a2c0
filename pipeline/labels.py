"""Labels: what the path after each candle's close did, with what was known at that close.

Belongs here: one row a complete candle, its window, its barriers, its status. Keep out: levels (the
context brings the nearest), and weights (they belong to a training set and its cutoff).
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import polars as pl

from kernels.barriers import barriers
from market.calendars import SessionCalendar, calendar_for
from market.errors import InputError, MalformedBarsError
from market.instruments import Instrument
from market.tables import INSTANT, LABELS
from market.timeframes import Timeframe
from pipeline import label_series, levels
from pipeline.candles import complete
from pipeline.label_outcomes import Entries, Floats, Instants, Path, Windows, outcomes, typed
from pipeline.label_series import LabelSeries, follow

FORMULA: Final = 2  # raise it when a formula changes: it is part of every label's version
MAX_HORIZON: Final = 100

_MONTH_DAYS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_CLOSED_DAYS: Final = 6  # the longest time that a market is shut between two sessions
_FEWEST_BARS: Final = {  # a half-day of three and a half hours
    Timeframe.M1: 210,
    Timeframe.M5: 42,
    Timeframe.M15: 14,
    Timeframe.M30: 7,
    Timeframe.H1: 4,
    Timeframe.H4: 1,
    Timeframe.D: 1,
}


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """The numbers of the label; distances in ATR, ``horizon`` in bars of the label's timeframe."""

    k: float = 2.0
    buffer: float = 0.1
    reach: float = 3.0
    min_distance: float = 0.25
    horizon: int = 6

    @property
    def label_version(self) -> str:
        """Short hash of every number and of the formula's own version."""
        text = json.dumps({"formula": FORMULA, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


DEFAULT: Final = LabelConfig()


@functools.cache
def months_ahead(timeframe: Timeframe, horizon: int) -> int:
    """Return how many months after its own a label can look into, in any calendar."""
    _require_horizon(horizon)
    if timeframe is Timeframe.W:
        days = 7 * (horizon + 1) + _CLOSED_DAYS  # the entry candle itself lasts a week
    else:
        sessions = -(-horizon // _FEWEST_BARS[timeframe])
        days = -(-7 * sessions // 5) + _CLOSED_DAYS + 1
    months = 1
    while _shortest(months) < days:
        months += 1
    return months


def compute(  # noqa: PLR0913 - what a label is made of, each part from another place
    candles: pl.DataFrame,
    context: pl.DataFrame,
    path: pl.DataFrame,
    *,
    instrument: Instrument,
    timeframe: Timeframe,
    config: LabelConfig = DEFAULT,
    watermark_us: int,
    ended_us: int | None = None,
    series: LabelSeries | None = None,
) -> pl.DataFrame:
    """Return one row (``tables.LABELS``) for each complete candle.

    ``context`` is ``levels.extend``'s for the same candles; ``path`` the instrument's base bars
    (ts, high, low, close), those before the first close and after the last horizon are not looked
    at. ``watermark_us`` says until when the source has spoken, ``ended_us`` when the instrument
    ceased to trade. ``series`` (``label_series.follow``) holds every candle's bar: what is measured
    against levels over time or earlier rows comes of it, and is null without. Raises ``InputError``
    where the context or the series does not fit the candles, and ``MalformedBarsError`` for path
    bars out of order or off the calendar.
    """
    _require_horizon(config.horizon)
    bars = complete(candles)
    if bars.is_empty():
        return LABELS.empty()
    known = _matched(bars, context)
    calendar = calendar_for(instrument)
    t_c = _instants(bars["known_at"])
    windows = _windows(t_c, calendar, timeframe, config.horizon)
    entries = _entries(bars, known, config)
    looked_at = _path(path, int(t_c.min()), int(windows.end_us.max()))
    found = outcomes(
        entries,
        windows,
        Path(*looked_at, calendar, instrument.base_timeframe),
        watermark_us=watermark_us,
        ended_us=ended_us,
        series=series,
    )
    return _frame(bars, known, entries, found, (timeframe, instrument.base_timeframe, config))


def of_series(  # noqa: PLR0913 - as ``compute``
    candles: pl.DataFrame,
    played: levels.Extended,
    path: pl.DataFrame,
    *,
    instrument: Instrument,
    timeframe: Timeframe,
    config: LabelConfig = DEFAULT,
    watermark_us: int,
    ended_us: int | None = None,
) -> pl.DataFrame:
    """Return the labels of a whole series: candles from its first, played from no level at all.

    ``played`` is ``levels.extend``'s of the same candles from ``levels.initial()``. What is
    measured against history begins with the first candle.
    """
    series = follow(
        label_series.initial(),
        played,
        levels.initial(),
        calendar=calendar_for(instrument),
        timeframe=timeframe,
        horizon=config.horizon,
    )
    return compute(
        candles,
        played.context,
        path,
        instrument=instrument,
        timeframe=timeframe,
        config=config,
        watermark_us=watermark_us,
        ended_us=ended_us,
        series=series,
    )


def _require_horizon(horizon: int) -> None:
    if not 1 <= horizon <= MAX_HORIZON:
        raise InputError(f"horizon: expected 1 to {MAX_HORIZON} bars, was {horizon}")


def _shortest(months: int) -> int:
    """Return the days of the shortest run of so many months."""
    return min(sum(_MONTH_DAYS[(first + i) % 12] for i in range(months)) for first in range(12))


def _matched(bars: pl.DataFrame, context: pl.DataFrame) -> pl.DataFrame:
    if not bars["ts"].equals(context["ts"]):
        raise InputError(
            f"context: expected one row for each of {bars.height} complete candles, "
            f"was {context.height} rows that do not match"
        )
    return context


def _windows(
    t_c: Instants, calendar: SessionCalendar, timeframe: Timeframe, horizon: int
) -> Windows:
    end_us = calendar.horizon_ends(timeframe, t_c, horizon)
    grid = calendar.grid(timeframe, int(t_c.min()), int(end_us.max()))
    return Windows(
        start_us=t_c,
        end_us=end_us,
        first_bar=np.searchsorted(grid.open_us, t_c),
        horizon=horizon,
        grid=grid,
    )


def _path(
    path: pl.DataFrame, start_us: int, end_us: int
) -> tuple[Instants, Floats, Floats, Floats]:
    """Return ts, high, low and close of the bars that open in [start, end)."""
    ts = _instants(path["ts"])
    disordered = np.flatnonzero(np.diff(ts) <= 0)
    if disordered.size:
        at = np.datetime64(int(ts[disordered[0] + 1]), "us")
        raise MalformedBarsError(f"path ts {at}Z: expected ascending, was not after the one before")
    first, last = np.searchsorted(ts, [start_us, end_us])
    within = slice(int(first), int(last))
    high, low, close = (path[name][within].to_numpy() for name in ("high", "low", "close"))
    return ts[within], high, low, close


def _entries(bars: pl.DataFrame, known: pl.DataFrame, config: LabelConfig) -> Entries:
    high, low, close = (bars[name].to_numpy() for name in ("high", "low", "close"))
    atr, support, resistance = (known[c].to_numpy() for c in ("atr", "support", "resistance"))
    around = barriers(
        close,
        atr,
        support,
        resistance,
        k=config.k,
        buffer=config.buffer,
        reach=config.reach,
        min_distance=config.min_distance,
    )
    none = np.full(close.size, np.nan)
    plain = barriers(close, atr, none, none, k=config.k)
    return Entries(_instants(bars["ts"]), close, high - low, atr, around, plain)


def _frame(
    bars: pl.DataFrame,
    known: pl.DataFrame,
    entries: Entries,
    found: Mapping[str, pl.Series],
    names: tuple[Timeframe, Timeframe, LabelConfig],
) -> pl.DataFrame:
    timeframe, path_timeframe, config = names
    around = entries.barriers
    has_barrier = ~np.isnan(around.upper)
    same_in_every_row = _constants(timeframe, path_timeframe, config)
    computed = {
        "upper_barrier": around.upper,
        "lower_barrier": around.lower,
        "is_upper_adjusted": np.where(has_barrier, around.is_upper_adjusted, np.nan),
        "is_lower_adjusted": np.where(has_barrier, around.is_lower_adjusted, np.nan),
        "nearest_level_distance": _nearest_level(entries, known),
    }
    columns = {
        **found,
        **{name: typed(name, values) for name, values in computed.items()},
        **{name: x.new_from_index(0, bars.height) for name, x in same_in_every_row.items()},
        "instrument": bars["instrument"],
        "ts": bars["ts"],
        "entry_price": bars["close"].alias("entry_price"),
        "atr": known["atr"],
        "nearest_support": known["support"].alias("nearest_support"),
        "nearest_resistance": known["resistance"].alias("nearest_resistance"),
        "support_level_id": known["support_id"].alias("support_level_id"),
        "resistance_level_id": known["resistance_id"].alias("resistance_level_id"),
    }
    # one frame out of finished columns: a plan of expressions costs about 0.1 ms, a column 0.01
    return LABELS.conform(pl.DataFrame([columns[name] for name in LABELS.schema]))


@functools.lru_cache(maxsize=64)
def _constants(
    timeframe: Timeframe, path_timeframe: Timeframe, config: LabelConfig
) -> dict[str, pl.Series]:
    """Return the value of each column that is the same in every row, as a series of one."""
    values = {
        "timeframe": timeframe.value,
        "label_version": config.label_version,
        "horizon_bars": config.horizon,
        "path_timeframe": path_timeframe.value,
    }
    return {name: pl.Series(name, [x], dtype=LABELS.schema[name]) for name, x in values.items()}


def _nearest_level(entries: Entries, known: pl.DataFrame) -> Floats:
    """Return the distance to the nearer of the two levels in ATR; NaN without level or ATR."""
    support, resistance = known["support"].to_numpy(), known["resistance"].to_numpy()
    nearer = np.fmin(resistance - entries.price, entries.price - support)
    distance = np.full(nearer.size, np.nan)
    np.divide(nearer, entries.atr, out=distance, where=entries.atr > 0.0)
    return distance


def _instants(ts: pl.Series) -> Instants:
    return ts.cast(INSTANT).cast(pl.Int64).to_numpy()
