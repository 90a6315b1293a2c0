"""What is materialised around a candle's close: volatility, levels, the path behind it.

Decoded months stay resident, bounded in bytes and keyed by their data versions: a month that is
written anew has another key, so nothing here can be stale. Belongs here: which months, and what
of them was known when. Keep out: labels (``pipeline.labels``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from market.calendars import calendar_for
from market.errors import NotMaterializedError
from market.instruments import Instrument
from market.months import month_of, month_range, shift_month
from market.ports import Lake, PartitionKey, PartitionRef
from market.timeframes import Timeframe
from pipeline import levels
from pipeline.labels import months_ahead
from pipeline.level_spans import ActiveLevels, active_levels
from serving.instants import from_us
from serving.label_compute.resident import Resident

Instants = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class KnownMonth:
    """A month of a series: the ATR at each close, and which level stood when."""

    known_at: Instants
    atr: Floats
    active: ActiveLevels

    @property
    def nbytes(self) -> int:
        """Return what it takes to keep it."""
        return self.known_at.nbytes + self.atr.nbytes + self.active.nbytes


@dataclass(frozen=True, slots=True)
class PathBars:
    """Bars in order; the columns have one length."""

    ts: Instants
    high: Floats
    low: Floats
    close: Floats

    @property
    def nbytes(self) -> int:
        """Return what it takes to keep them."""
        return self.ts.nbytes + self.high.nbytes + self.low.nbytes + self.close.nbytes

    def between(self, start_us: int, end_us: int) -> "PathBars":
        """Return the bars that open in [start, end)."""
        first, last = np.searchsorted(self.ts, (start_us, end_us))
        cut = slice(int(first), int(last))
        return PathBars(self.ts[cut], self.high[cut], self.low[cut], self.close[cut])


NO_BARS = PathBars(np.empty(0, dtype=np.int64), *(np.empty(0) for _ in range(3)))


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


class Materialized:
    """The lake as a label asks it; an object may be shared by threads."""

    def __init__(self, lake: Lake, *, max_bytes: int) -> None:
        self._lake = lake
        self._months: Resident[tuple[str, ...], KnownMonth] = Resident(max_bytes // 2)
        self._paths: Resident[tuple[str, str], PathBars] = Resident(max_bytes // 2)

    def resolve_known(self, instrument: Instrument, timeframe: Timeframe, t_c: int) -> AsOf:
        """Resolve the month of the last bar closed by an instant.

        Raises ``NotMaterializedError`` where the source has not spoken until then: levels of long
        ago are not those of now.
        """
        series = PartitionKey("candles", timeframe.value, instrument.id, month_of(t_c - 1))
        first = self._lake.find(series)
        for candidate in (first, self._lake.find(series.at(shift_month(series.month, -1)))):
            if candidate is None or candidate.first_us is None:
                continue
            calendar = calendar_for(instrument)
            if int(calendar.bar_ends(timeframe, [candidate.first_us])[0]) > t_c:
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
        state_version = asked.state.state_version if asked.state else ""
        key = (asked.candles.key.path, asked.candles.version, state_version)

        def decode() -> KnownMonth:
            state = self._lake.state(asked.state) if asked.state else levels.initial()
            rows = self._lake.read([asked.candles])
            done = levels.extend(state, rows, instrument=instrument, timeframe=timeframe)
            return KnownMonth(
                known_at=done.bars["known_at"].to_physical().to_numpy(),
                atr=done.run.atr,
                active=active_levels(done, state),
            )

        return self._months.get(key, decode)

    def resolve_path(
        self, instrument: Instrument, timeframe: Timeframe, window: tuple[int, int], horizon: int
    ) -> PathAsked | None:
        """Resolve the finest bars of a window, month after month without a hole; none if none."""
        start_us, end_us = window
        first = month_of(start_us - 1)
        for finer in instrument.timeframes:
            if finer.microseconds > timeframe.microseconds:
                break
            series = PartitionKey("candles", finer.value, instrument.id, first)
            found = []
            for month in month_range(first, shift_month(first, months_ahead(timeframe, horizon))):
                ref = self._lake.find(series.at(month))
                if ref is None:
                    break
                found.append(ref)
            if found:
                watermark = max(int(ref.attributes["watermark_us"]) for ref in found)
                last = month_of(end_us - 1)
                read = [ref for ref in found if month_of(start_us) <= ref.key.month <= last]
                return PathAsked(finer, read, watermark)
        return None

    def path(self, asked: PathAsked, window: tuple[int, int]) -> PathBars:
        """Return the bars of a window."""
        parts = [self._bars(ref).between(*window) for ref in asked.refs]
        if len(parts) == 1:
            return parts[0]
        columns = ("ts", "high", "low", "close")
        if not parts:
            return NO_BARS
        return PathBars(*(np.concatenate([getattr(p, c) for p in parts]) for c in columns))

    def _bars(self, ref: PartitionRef) -> PathBars:
        def decode() -> PathBars:
            rows = self._lake.read([ref])
            prices = (rows[c].to_numpy() for c in ("high", "low", "close"))
            return PathBars(rows["ts"].to_physical().to_numpy(), *prices)

        return self._paths.get((ref.key.path, ref.version), decode)

    def _state_before(self, key: PartitionKey) -> PartitionRef | None:
        month = shift_month(key.month, -1)
        if self._lake.find(key.at(month)) is None:
            return None
        return self._lake.resolve(replace(key, table="level_events", month=month))

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
