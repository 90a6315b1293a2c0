"""A request as what is computed: checked, in arrays, with the candle's close as an instant."""

import datetime as dt
import functools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from market.calendars import SessionCalendar, calendar_for
from market.errors import InputError, MalformedBarsError
from market.instruments import Instrument
from market.months import month_bounds, month_of
from market.settings import ServingSettings
from market.timeframes import Timeframe
from pipeline.labels import MAX_HORIZON
from pipeline.level_spans import NearestLevel
from serving.errors import Detail, MalformedRequestError
from serving.instants import from_us, to_us
from serving.label_compute.contracts import ComputeLabelsRequest, GivenPath, LabelCandle
from serving.label_compute.paths import Floats, Instants, PathBars
from serving.label_types import LABEL_TYPES, known_types, suggestion

_KEPT_MONTHS: Final = 32  # a month of minutes takes 0.7 MB
_FIRST: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class GivenBars:
    """A path that the caller brought, and when its last bar ends."""

    timeframe: Timeframe
    bars: PathBars
    watermark_us: int


@dataclass(frozen=True, slots=True)
class GivenLevels:
    """Of the levels that a caller brought, what labels are made of."""

    support: NearestLevel | None  # highest below the close
    resistance: NearestLevel | None  # lowest above it
    edges: tuple[float, float]  # lowest resistance and highest support anywhere, NaN for none


@dataclass(frozen=True, slots=True)
class Question:
    """One candle to label; ``given`` and ``path`` are what the caller brought, if it did."""

    instrument: Instrument
    timeframe: Timeframe
    calendar: SessionCalendar
    candle: LabelCandle
    ts_us: int
    t_c: int
    end_us: int
    horizon: int
    types: tuple[str, ...]
    given: GivenLevels | None
    path: GivenBars | None
    is_explained: bool


def question(
    asked: ComputeLabelsRequest,
    instrument: Instrument,
    settings: ServingSettings,
    *,
    now: dt.datetime,
    is_explained: bool,
) -> Question:
    """Check what a schema cannot, and return what is meant.

    Raises ``MalformedRequestError`` for an unknown label type, ``MalformedBarsError`` for bars that
    cannot be, ``InputError`` for a candle that has not closed.
    """
    _check_candle(asked.candle)
    calendar = calendar_for(instrument)
    timeframe = asked.granularity
    ts_us, t_c = _closed(asked.candle.ts, timeframe, calendar, now)
    horizon = asked.options.horizon_periods
    return Question(
        instrument=instrument,
        timeframe=timeframe,
        calendar=calendar,
        candle=asked.candle,
        ts_us=ts_us,
        t_c=t_c,
        end_us=end_of(ts_us, t_c, horizon, timeframe, calendar),
        horizon=horizon,
        types=_types(asked.label_types),
        given=_given_levels(asked, settings.labels_max_levels),
        path=_path(asked.path, timeframe, calendar, settings.labels_max_path_bars),
        is_explained=is_explained,
    )


def close_of(ts_us: int, timeframe: Timeframe, calendar: SessionCalendar) -> int:
    """Return when a candle closes: its scheduled end, or its length later off our grid."""
    opens, ends = _bars_from(calendar, timeframe, month_of(ts_us))
    bar = int(opens.searchsorted(ts_us))
    return int(ends[bar]) if opens[bar] == ts_us else ts_us + timeframe.microseconds


def end_of(
    ts_us: int, t_c: int, horizon: int, timeframe: Timeframe, calendar: SessionCalendar
) -> int:
    """Return when the horizon of a candle ends that opens and closes at these instants."""
    opens, ends = _bars_from(calendar, timeframe, month_of(ts_us))
    return int(ends[int(opens.searchsorted(t_c)) + horizon - 1])


@functools.lru_cache(maxsize=_KEPT_MONTHS)
def _bars_from(
    calendar: SessionCalendar, timeframe: Timeframe, month: str
) -> tuple[Instants, Instants]:
    """Return opens and ends of a month's bars, and of those after it that a horizon reaches."""
    start_us, end_us = month_bounds(month)
    after = end_us + timeframe.microseconds  # a candle that opens in the month has closed by then
    reach_us = int(calendar.horizon_ends(timeframe, [after], MAX_HORIZON + 1)[0])
    grid = calendar.grid(timeframe, start_us, reach_us)
    return grid.open_us, grid.end_us


def _closed(
    ts: dt.datetime, timeframe: Timeframe, calendar: SessionCalendar, now: dt.datetime
) -> tuple[int, int]:
    if not _FIRST <= ts <= now:
        raise InputError(
            f"candle.ts: expected from 1970 to now ({now.isoformat(timespec='seconds')}), "
            f"was {ts.isoformat()}"
        )
    t_c = close_of(to_us(ts), timeframe, calendar)
    if t_c > to_us(now):
        raise InputError(
            f"candle.ts: expected a candle that has closed, was {ts.isoformat()}, "
            f"which closes at {from_us(t_c).isoformat()}"
        )
    return to_us(ts), t_c


def _types(names: list[str] | None) -> tuple[str, ...]:
    if names is None:
        return LABEL_TYPES
    meant, unknown = known_types(names)
    if unknown:
        raise MalformedRequestError(
            "request: expected known label types",
            [
                Detail(
                    f"label_types.{names.index(name)}",
                    f"expected the name or number of a label, was {name!r}{suggestion(name)}",
                    "UNKNOWN_LABEL_TYPE",
                )
                for name in unknown
            ],
        )
    if not meant:
        raise MalformedRequestError(
            "request: expected a label type",
            [Detail("label_types", "expected at least one, was none", "TOO_SHORT")],
        )
    return meant


def _check_candle(candle: LabelCandle) -> None:
    if candle.high < max(candle.open, candle.close, candle.low):
        raise MalformedBarsError(
            f"candle.high: expected the highest of the candle's prices, was {candle.high}"
        )
    if candle.low > min(candle.open, candle.close):
        raise MalformedBarsError(
            f"candle.low: expected the lowest of the candle's prices, was {candle.low}"
        )


def _given_levels(asked: ComputeLabelsRequest, most: int) -> GivenLevels | None:
    if asked.levels is None:
        return None
    if len(asked.levels) > most:
        raise InputError(f"levels: expected at most {most}, was {len(asked.levels)}")
    price = asked.candle.close
    supports = [x.price for x in asked.levels if x.type == "support"]
    resistances = [x.price for x in asked.levels if x.type == "resistance"]
    below, above = [x for x in supports if x < price], [x for x in resistances if x > price]
    return GivenLevels(
        support=NearestLevel(max(below), None) if below else None,
        resistance=NearestLevel(min(above), None) if above else None,
        edges=(min(resistances, default=math.nan), max(supports, default=math.nan)),
    )


def _path(
    given: GivenPath | None, timeframe: Timeframe, calendar: SessionCalendar, most: int
) -> GivenBars | None:
    if given is None:
        return None
    n = len(given.ts)
    if n > most:
        raise InputError(f"path.ts: expected at most {most} bars, was {n}")
    if given.timeframe.microseconds > timeframe.microseconds:
        raise InputError(
            f"path.timeframe: expected {timeframe} or finer, was {given.timeframe.value}"
        )
    columns = {name: getattr(given, name) for name in ("open", "high", "low", "close")}
    for name, values in columns.items():
        if len(values) != n:
            raise InputError(f"path.{name}: expected {n} values as path.ts, was {len(values)}")
    prices = {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
    ts = np.array([to_us(t) for t in given.ts], dtype=np.int64)
    _check_bars(ts, prices)
    ends = calendar.bar_ends(given.timeframe, ts)
    watermark = int(ends[-1]) if n else 0
    bars = PathBars(ts, ends, prices["high"], prices["low"], prices["close"])
    return GivenBars(given.timeframe, bars, watermark)


def _check_bars(ts: Instants, prices: dict[str, Floats]) -> None:
    disordered = np.flatnonzero(np.diff(ts) <= 0)
    if disordered.size:
        at = int(disordered[0]) + 1
        raise MalformedBarsError(
            f"path.ts.{at}: expected ascending, was {from_us(int(ts[at])).isoformat()} "
            f"after {from_us(int(ts[at - 1])).isoformat()}"
        )
    top, bottom = (
        np.maximum(prices["open"], prices["close"]),
        np.minimum(prices["open"], prices["close"]),
    )
    for name, is_bad in (
        ("high", prices["high"] < np.maximum(top, prices["low"])),
        ("low", prices["low"] > bottom),
    ):
        if is_bad.any():
            at = int(is_bad.argmax())
            raise MalformedBarsError(
                f"path.{name}.{at}: expected the {name}est of the bar's prices, "
                f"was {prices[name][at]}"
            )
