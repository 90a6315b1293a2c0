"""What is materialised around a candle's close: volatility, levels, the path behind it.

Decoded months stay resident, bounded in bytes and keyed by their data versions: a month that is
written anew has another key, so nothing here can be stale. Belongs here: which months, and what
of them was known when. Keep out: labels (``pipeline.labels``).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from kernels import levels as kernel
from kernels.barriers import Barriers, barriers
from market.calendars import SessionCalendar, calendar_for
from market.errors import NotMaterializedError
from market.instruments import Instrument
from market.months import month_bounds, month_of, month_range, month_start, shift_month
from market.ports import Lake, PartitionKey, PartitionRef, State
from market.tables import INSTANT
from market.timeframes import Timeframe
from pipeline import label_series, levels
from pipeline.label_row import Lines
from pipeline.label_series import LabelSeries
from pipeline.labels import DEFAULT, months_ahead
from pipeline.level_spans import ActiveLevels, NearestLevel, active_levels
from serving.instants import from_us
from serving.label_compute.paths import Floats, Instants, PathBars, Schedule, joined, schedule
from serving.label_compute.resident import Resident


@dataclass(frozen=True, slots=True)
class Known:
    """What stood at a candle's close; the ATR is NaN where there is none."""

    atr: float
    support: NearestLevel | None
    resistance: NearestLevel | None
    lines: Lines | None = None


@dataclass(frozen=True, slots=True)
class KnownMonth:
    """A month of a series: what was known at each close, and which level stood when."""

    known_at: Instants
    close: Floats
    atr: Floats
    around: Barriers
    plain: Barriers
    nearest: tuple[kernel.Nearest, kernel.Nearest]  # support and resistance
    active: ActiveLevels
    level_ids: Mapping[int, str]  # by the bar that made the level

    @property
    def nbytes(self) -> int:
        """Return what it takes to keep it."""
        columns = self.known_at, self.close, self.atr, self.around, self.plain, self.nearest
        return _nbytes(columns) + self.active.nbytes

    def at(self, t_c: int, price: float) -> Known:
        """Return what was known when a candle closed at a price."""
        bar = int(self.known_at.searchsorted(t_c, side="right")) - 1
        atr = float(self.atr[bar])
        if self.known_at[bar] != t_c or self.close[bar] != price:
            return Known(atr, *self.active.nearest(t_c, price))
        support, resistance = (self._level(side, bar) for side in self.nearest)
        lines = Lines(
            float(self.around.upper[bar]),
            float(self.around.lower[bar]),
            bool(self.around.is_upper_adjusted[bar]),
            bool(self.around.is_lower_adjusted[bar]),
            float(self.plain.upper[bar]),
            float(self.plain.lower[bar]),
        )
        return Known(atr, support, resistance, lines)

    def _level(self, side: kernel.Nearest, bar: int) -> NearestLevel | None:
        price = float(side.price[bar])
        return (
            None
            if math.isnan(price)
            else NearestLevel(price, self.level_ids[int(side.born_us[bar])])
        )


@dataclass(frozen=True, slots=True)
class SeriesMonth:
    """The series of a month's candles: what their labels are measured against beside the path."""

    series: LabelSeries

    @property
    def nbytes(self) -> int:
        """Return what it takes to keep it."""
        return sum(_nbytes(getattr(self.series, name)) for name in self.series.__slots__)


@dataclass(frozen=True, slots=True)
class AsOf:
    """Where to read what was known at an instant: the month of the last bar closed by then."""

    candles: PartitionRef
    state: PartitionRef | None

    @property
    def versions(self) -> dict[str, str]:
        """Return path → version of what is read."""
        found = {self.candles.key.path: self.candles.version}
        if self.state is not None:
            found[f"{self.state.key.path}#state"] = self.state.state_version
        return found

    @property
    def month(self) -> tuple[str, ...]:
        """Return what names the decoded month."""
        state_version = self.state.state_version if self.state else ""
        return self.candles.key.path, self.candles.version, state_version


@dataclass(frozen=True, slots=True)
class PathAsked:
    """Where to read the path, and until when the source has spoken."""

    timeframe: Timeframe
    refs: Sequence[PartitionRef]
    watermark_us: int

    @property
    def versions(self) -> Mapping[str, str]:
        """Return path → version of what is read."""
        return {ref.key.path: ref.version for ref in self.refs}


@dataclass(frozen=True, slots=True)
class SeriesAsked:
    """Where to read a month's series: its candles, the states before, the candles after.

    ``until_us`` is where the last horizon of the month ends, and a bar more.
    """

    candles: PartitionRef
    level_state: PartitionRef | None
    history: PartitionRef | None
    ahead: tuple[PartitionRef, ...]
    until_us: int

    @property
    def versions(self) -> dict[str, str]:
        """Return path → version of what is read."""
        found = {ref.key.path: ref.version for ref in (self.candles, *self.ahead)}
        states = [ref for ref in (self.level_state, self.history) if ref is not None]
        return {**found, **{f"{ref.key.path}#state": ref.state_version for ref in states}}

    @property
    def month(self) -> tuple[object, ...]:
        """Return what names the decoded series."""
        return (*sorted(self.versions.items()), self.until_us)


class Materialized:
    """The lake as a label asks it; an object may be shared by threads."""

    def __init__(self, lake: Lake, *, max_bytes: int) -> None:
        self._lake = lake
        self._months: Resident[tuple[str, ...], KnownMonth] = Resident(max_bytes // 4)
        self._series: Resident[tuple[object, ...], SeriesMonth] = Resident(max_bytes // 4)
        self._paths: Resident[tuple[str, str], PathBars] = Resident(3 * max_bytes // 8)
        self._schedules: Resident[tuple[str, ...], Schedule] = Resident(max_bytes // 8)

    def resolve_known(self, instrument: Instrument, timeframe: Timeframe, t_c: int) -> AsOf:
        """Resolve the month of the last bar closed by an instant.

        Raises ``NotMaterializedError`` where the source has not spoken until then: levels of long
        ago are not those of now.
        """
        series = PartitionKey("candles", timeframe.value, instrument.id, month_of(t_c - 1))
        for month in (series.month, shift_month(series.month, -1)):
            candidate = self._lake.find(series.at(month))
            if candidate is None or not _has_closed(candidate, instrument, timeframe, t_c):
                continue
            self._require_spoken(instrument, timeframe, candidate, t_c)
            return AsOf(candidate, self._state_before(candidate.key))
        raise NotMaterializedError(
            f"candle.ts: expected candles/{timeframe}/{instrument.id} materialised until the "
            f"candle's close {from_us(t_c).isoformat()}, was none; materialise them, or give "
            "candle.atr_14 and levels"
        )

    def known(self, asked: AsOf, instrument: Instrument, timeframe: Timeframe) -> KnownMonth:
        """Replay the level machine over the month, as the labels' batch does, or return it kept."""

        def decode() -> KnownMonth:
            state = self._lake.state(asked.state) if asked.state else levels.initial()
            rows = self._lake.read([asked.candles])
            done = levels.extend(state, rows, instrument=instrument, timeframe=timeframe)
            return _known_month(done, active_levels(done, state))

        return self._months.get(asked.month, decode)

    def has_known(self, asked: AsOf) -> bool:
        """Say whether that month is decoded."""
        return asked.month in self._months

    def resolve_path(
        self, instrument: Instrument, timeframe: Timeframe, window: tuple[int, int], horizon: int
    ) -> PathAsked | None:
        """Resolve the finest bars of a window, month after month without a hole; none if none."""
        start_us, end_us = window
        first, last = month_of(start_us - 1), month_of(end_us - 1)
        for finer in instrument.timeframes:
            if finer.microseconds > timeframe.microseconds:
                break
            series = PartitionKey("candles", finer.value, instrument.id, first)
            found: list[PartitionRef] = []
            watermark = 0
            for month in month_range(first, shift_month(first, months_ahead(timeframe, horizon))):
                ref = self._lake.find(series.at(month))
                if ref is None:  # not made: nothing is known of what would be in it
                    watermark = min(watermark, month_start(month))
                    break
                found.append(ref)
                watermark = max(watermark, int(ref.attributes["watermark_us"]))
                if month >= last and watermark >= end_us:
                    break  # later months say nothing of this window
            if found:
                read = [ref for ref in found if month_of(start_us) <= ref.key.month <= last]
                return PathAsked(finer, read, watermark)
        return None

    def path(self, asked: PathAsked, instrument: Instrument, window: tuple[int, int]) -> PathBars:
        """Return the bars of a window."""
        calendar = calendar_for(instrument)
        return joined([self._bars(ref, calendar).between(*window) for ref in asked.refs])

    def has_path(self, asked: PathAsked) -> bool:
        """Say whether its months are decoded."""
        return all((ref.key.path, ref.version) in self._paths for ref in asked.refs)

    def schedule(
        self, instrument: Instrument, timeframe: Timeframe, finer: Timeframe, t_c: int
    ) -> Schedule:
        """Return the schedule of the month in which a candle closes."""
        calendar = calendar_for(instrument)
        key = _schedule_key(calendar, timeframe, finer, t_c)
        return self._schedules.get(key, lambda: schedule(calendar, timeframe, finer, key[-1]))

    def has_schedule(
        self, instrument: Instrument, timeframe: Timeframe, finer: Timeframe, t_c: int
    ) -> bool:
        """Say whether that schedule is made."""
        return _schedule_key(calendar_for(instrument), timeframe, finer, t_c) in self._schedules

    def resolve_series(
        self, as_of: AsOf, instrument: Instrument, timeframe: Timeframe, horizon: int
    ) -> SeriesAsked | None:
        """Resolve what a month's series is made of; none where the month before has no labels."""
        key, history = as_of.candles.key, None
        if as_of.state is not None:
            history = self._lake.find(replace(key, table="labels", month=as_of.state.key.month))
            if history is None or not history.state_version:
                return None
        horizon = max(horizon, DEFAULT.horizon)
        end_us = month_bounds(key.month)[1]
        # a candle that opens in the month may end after it: one bar more than the horizon
        reach = calendar_for(instrument).horizon_ends(timeframe, [end_us], horizon + 1)
        ahead: list[PartitionRef] = []
        for month in month_range(
            shift_month(key.month, 1), shift_month(key.month, months_ahead(timeframe, horizon))
        ):
            ref = self._lake.find(key.at(month))
            if ref is None:
                break
            ahead.append(ref)
        return SeriesAsked(as_of.candles, as_of.state, history, tuple(ahead), int(reach[0]))

    def series(
        self, asked: SeriesAsked, instrument: Instrument, timeframe: Timeframe
    ) -> LabelSeries:
        """Replay the month and the candles ahead as the labels' batch does, or return it kept."""

        def decode() -> SeriesMonth:
            states = asked.level_state, asked.history
            level_state, history = (self._lake.state(ref) if ref else None for ref in states)
            began: State = levels.initial() if level_state is None else level_state
            rows = self._lake.read([asked.candles, *asked.ahead])
            until = pl.lit(asked.until_us).cast(INSTANT)
            played = levels.extend(
                began, rows.filter(pl.col("ts") < until), instrument=instrument, timeframe=timeframe
            )
            return SeriesMonth(
                label_series.follow(
                    label_series.initial() if history is None else history,
                    played,
                    began,
                    calendar=calendar_for(instrument),
                    timeframe=timeframe,
                    horizon=DEFAULT.horizon,
                )
            )

        return self._series.get(asked.month, decode).series

    def has_series(self, asked: SeriesAsked) -> bool:
        """Say whether those months are decoded."""
        return asked.month in self._series

    def _bars(self, ref: PartitionRef, calendar: SessionCalendar) -> PathBars:
        def decode() -> PathBars:
            rows = self._lake.read([ref])
            ts = np.array(rows["ts"].to_physical().to_numpy())
            # copies, which may be written to: the kernels' gate takes them by its short way
            prices = (np.array(rows[c].to_numpy()) for c in ("high", "low", "close"))
            return PathBars(ts, calendar.bar_ends(Timeframe(ref.key.timeframe), ts), *prices)

        return self._paths.get((ref.key.path, ref.version), decode)

    def _state_before(self, key: PartitionKey) -> PartitionRef | None:
        before = replace(key, table="level_events", month=shift_month(key.month, -1))
        found = self._lake.find(before)
        if found is None and self._lake.find(key.at(before.month)) is not None:
            return self._lake.resolve(before)  # which says what to run
        return found

    @staticmethod
    def _require_spoken(
        instrument: Instrument, timeframe: Timeframe, ref: PartitionRef, t_c: int
    ) -> None:
        watermark = int(ref.attributes["watermark_us"])
        if watermark >= t_c:
            return
        ahead = calendar_for(instrument).grid(timeframe, watermark - timeframe.microseconds, t_c)
        unheard = ahead.end_us[(ahead.end_us > watermark) & (ahead.end_us <= t_c)]
        if unheard.size:
            raise NotMaterializedError(
                f"candle.ts: expected {ref.key.table}/{timeframe}/{instrument.id} materialised "
                f"until the candle's close {from_us(t_c).isoformat()}, was until "
                f"{from_us(watermark).isoformat()}; materialise more, or give candle.atr_14 and "
                "levels"
            )


def _schedule_key(
    calendar: SessionCalendar, timeframe: Timeframe, finer: Timeframe, t_c: int
) -> tuple[str, ...]:
    return calendar.name, calendar.anchor, timeframe.value, finer.value, month_of(t_c - 1)


def _has_closed(ref: PartitionRef, instrument: Instrument, timeframe: Timeframe, t_c: int) -> bool:
    """Say whether the first bar of a month has closed by an instant."""
    if ref.first_us is None:
        return False
    if ref.first_us + 2 * timeframe.microseconds <= t_c:
        return True  # no bar is as long: most entries need no calendar
    return int(calendar_for(instrument).bar_ends(timeframe, [ref.first_us])[0]) <= t_c


def _nbytes(value: object) -> int:
    """Return the bytes of the arrays inside a value."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(_nbytes, value.values()))
    return sum(map(_nbytes, value)) if isinstance(value, tuple) else 0


def _known_month(done: levels.Extended, active: ActiveLevels) -> KnownMonth:
    """Return what the machine's run says of each close, barriers computed for all at once."""
    run, close = done.run, done.bars["close"].to_numpy()
    numbers = {"k": DEFAULT.k, "buffer": DEFAULT.buffer, "reach": DEFAULT.reach}
    none = np.full(close.size, np.nan)
    return KnownMonth(
        known_at=done.bars["known_at"].to_physical().to_numpy(),
        close=close,
        atr=run.atr,
        around=barriers(
            close, run.atr, run.support.price, run.resistance.price,
            **numbers, min_distance=DEFAULT.min_distance,
        ),
        plain=barriers(close, run.atr, none, none, k=DEFAULT.k),
        nearest=(run.support, run.resistance),
        active=active,
        level_ids=dict(zip(active.born_us.tolist(), active.level_id, strict=True)),
    )  # fmt: skip
