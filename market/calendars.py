"""Session calendars: when a market is open, and which bars are scheduled inside.

Belongs here: sessions, the bars cut from them, horizons counted in scheduled bars. A calendar says
what is scheduled, never what came. Keep out: prices.

Every intraday bar is cut from its session's open by the clock, and the last one ends at the
session's close; a D bar is a session; a W bar goes from its week's first open to its last close.
So finer scheduled bars tile coarser ones exactly, whatever daylight saving and holidays do.
"""

import datetime as dt
import functools
import re
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from market import sessions_us_equity
from market.errors import InputError, MalformedBarsError
from market.instruments import CALENDAR_NAMES, Instrument
from market.timeframes import MICROSECONDS_PER_DAY, MICROSECONDS_PER_MINUTE, Timeframe

Instants = npt.NDArray[np.int64]
"""Microseconds UTC, int64, shape (n,)."""

Step = Timeframe | int
"""A timeframe, or the microseconds of an intraday step that has no name (1 s, 2 min)."""

DayRule = Callable[[int, int], tuple[Instants, Instants, Instants]]
"""From the first and last day (days since 1970) to day, open and close of their sessions."""

_ANCHOR = re.compile(r"^([01]\d|2[0-3]):([0-5]\d) (\S+)$")
_DEFAULT_ANCHORS = {"crypto": "00:00 UTC", "fx": "17:00 America/New_York"}
_NOON = MICROSECONDS_PER_DAY // 2
_FIRST_DAY, _LAST_DAY = -25_567, 84_005  # 1900-01-01, 2200-01-01
_SLACK_DAYS = 3  # a session of day d lies within d - 1 … d + 2 in UTC, in every zone
_DAYS_FROM_MONDAY = 3  # 1970-01-01 was a Thursday
_KEPT_SPANS = 64  # of days; a stage asks for the same few over and over, at 40 us each
_WEEKDAYS_OPEN = {"crypto": 7, "fx": 5}


@dataclass(frozen=True, slots=True)
class Sessions:
    """Sessions in order: open, close (microseconds UTC) and the number of their Monday week."""

    open_us: Instants
    close_us: Instants
    week: Instants


@dataclass(frozen=True, slots=True)
class Grid:
    """Scheduled bars in order: open and end (microseconds UTC)."""

    open_us: Instants
    end_us: Instants


@dataclass(frozen=True, slots=True)
class SessionCalendar:
    """When a market is open; ``anchor`` says where its day begins ("17:00 America/New_York")."""

    name: str
    anchor: str
    rule: DayRule

    def sessions(self, start_us: int, end_us: int) -> Sessions:
        """Return the sessions that overlap [start, end)."""
        found = self._of_days(start_us // MICROSECONDS_PER_DAY, end_us // MICROSECONDS_PER_DAY)
        low = int(np.searchsorted(found.close_us, start_us, side="right"))
        high = max(low, int(np.searchsorted(found.open_us, end_us, side="left")))
        return Sessions(found.open_us[low:high], found.close_us[low:high], found.week[low:high])

    def grid(self, timeframe: Step, start_us: int, end_us: int) -> Grid:
        """Return the scheduled bars that open in [start, end), in order."""
        step = named_step(timeframe)
        if step is Timeframe.W:
            grid = self._weeks(start_us, end_us)
        else:
            found = self.sessions(start_us, end_us)
            if step is Timeframe.D:
                grid = Grid(found.open_us, found.close_us)
            else:
                grid = _cut(found, step_length(step))
        low, high = np.searchsorted(grid.open_us, [start_us, end_us])
        return Grid(grid.open_us[low:high], grid.end_us[low:high])

    def bar_ends(self, timeframe: Step, open_us: npt.ArrayLike) -> Instants:
        """Return the scheduled end of the bar that opens at each instant.

        Raises ``MalformedBarsError`` that names the first instant at which no bar opens.
        """
        opens = np.asarray(open_us, dtype=np.int64)
        if not opens.size:
            return opens.copy()
        step = named_step(timeframe)
        if isinstance(step, Timeframe) and not step.is_intraday:
            grid = self.grid(step, int(opens.min()), int(opens.max()) + 1)
            bar = _last_open(grid.open_us, opens)
            bad = (bar < 0) | (_at(grid.open_us, bar) != opens)
            ends = _at(grid.end_us, bar)
        else:
            found = self.sessions(int(opens.min()), int(opens.max()) + 1)
            session = _last_open(found.open_us, opens)
            close = _at(found.close_us, session)
            length = step_length(step)
            bad = (session < 0) | (opens >= close)
            bad |= (opens - _at(found.open_us, session)) % length != 0
            ends = np.minimum(opens + length, close)
        if bad.any():
            at = np.datetime64(int(opens[bad.argmax()]), "us")
            raise MalformedBarsError(
                f"ts {at}Z: expected the open of a {step_name(step)} bar of calendar {self.name} "
                f"(day opens at {self.anchor}), was off the grid"
            )
        return ends

    def horizon_ends(self, timeframe: Step, t_c: npt.ArrayLike, bars: int) -> Instants:
        """Return the end of the ``bars``-th scheduled bar that opens at or after each instant."""
        if bars < 1:
            raise InputError(f"bars: expected >= 1, was {bars}")
        instants = np.asarray(t_c, dtype=np.int64)
        if not instants.size:
            return instants.copy()
        step = named_step(timeframe)
        start, end = int(instants.min()), int(instants.max())
        ahead = bars * step_length(step) + 7 * MICROSECONDS_PER_DAY
        while True:
            grid = self.grid(step, start, end + ahead)
            first = np.searchsorted(grid.open_us, instants, side="left")
            if int(first.max()) + bars <= grid.open_us.size:
                return grid.end_us[first + (bars - 1)]
            ahead *= 2

    def in_session(self, ts: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return whether each instant lies in a session (open included, close not)."""
        instants = np.asarray(ts, dtype=np.int64)
        if not instants.size:
            return np.zeros(instants.shape, dtype=np.bool_)
        found = self.sessions(int(instants.min()), int(instants.max()) + 1)
        session = _last_open(found.open_us, instants)
        inside: npt.NDArray[np.bool_] = (session >= 0) & (instants < _at(found.close_us, session))
        return inside

    def scheduled(
        self, timeframe: Step, start_us: npt.ArrayLike, end_us: npt.ArrayLike
    ) -> npt.NDArray[np.int64]:
        """Return how many bars are scheduled to open in each [start, end), without a grid."""
        starts = np.asarray(start_us, dtype=np.int64)
        ends = np.asarray(end_us, dtype=np.int64)
        if not starts.size:
            return np.zeros(starts.shape, dtype=np.int64)
        step = named_step(timeframe)
        span = int(starts.min()), max(int(ends.max()), int(starts.min()) + 1)
        if step is Timeframe.W:
            opens = self._weeks(*span).open_us
            return np.searchsorted(opens, ends) - np.searchsorted(opens, starts)
        found = self.sessions(*span)
        length = MICROSECONDS_PER_DAY * 2 if step is Timeframe.D else step_length(step)
        per_session = -((found.open_us - found.close_us) // length)
        before = np.concatenate([[0], np.cumsum(per_session)])

        def opened(instants: Instants) -> Instants:
            session = np.searchsorted(found.open_us, instants, side="left") - 1
            inside = -((_at(found.open_us, session) - instants) // length)
            count = before[session] + np.minimum(_at(per_session, session), inside)
            return np.where(session < 0, 0, count)

        return opened(ends) - opened(starts)

    def _of_days(self, first_day: int, last_day: int) -> Sessions:
        if first_day < _FIRST_DAY or last_day > _LAST_DAY:
            raise InputError(
                "instants: expected microseconds UTC of the years 1900 to 2200, was "
                f"{first_day * MICROSECONDS_PER_DAY} to {last_day * MICROSECONDS_PER_DAY}"
            )
        day, opens, closes = self.rule(first_day - _SLACK_DAYS, last_day + _SLACK_DAYS)
        return Sessions(opens, closes, _week_of(day))

    def _weeks(self, start_us: int, end_us: int) -> Grid:
        # whole weeks on both sides, so that no week is cut where the asked interval is
        days = (start_us // MICROSECONDS_PER_DAY, end_us // MICROSECONDS_PER_DAY)
        low, high = (days[0] + _DAYS_FROM_MONDAY) // 7, (days[1] + _DAYS_FROM_MONDAY) // 7
        found = self._of_days(
            7 * (low - 1) - _DAYS_FROM_MONDAY + _SLACK_DAYS,
            7 * (high + 2) - _DAYS_FROM_MONDAY - 1 - _SLACK_DAYS,
        )
        first = np.flatnonzero(np.diff(found.week, prepend=found.week[:1] - 1))
        last = np.append(first[1:], found.week.size) - 1
        return Grid(found.open_us[first], found.close_us[last[: first.size]])


def calendar_for(instrument: Instrument) -> SessionCalendar:
    """Return the calendar that ``instrument`` keeps, with its own anchor if it has one."""
    return calendar_named(instrument.calendar, instrument.anchor)


@functools.cache
def calendar_named(name: str, anchor: str | None = None) -> SessionCalendar:
    """Return the calendar called ``name``; ``anchor`` ("21:00 UTC") overrides where its day opens.

    An anchor at noon or later opens the day on the evening before, so that 21:00 UTC on Sunday
    begins Monday. Raises ``InputError`` for an unknown name, zone or form.
    """
    if name == "us_equity":
        if anchor is not None:
            raise InputError(
                f"anchor: expected none for us_equity (the exchange opens its day), was {anchor!r}"
            )
        return SessionCalendar(name, "09:30 America/New_York", sessions_us_equity.sessions)
    if name not in _DEFAULT_ANCHORS:
        known = ", ".join(CALENDAR_NAMES)
        raise InputError(f"calendar: expected one of {known}, was {name!r}")
    opening = anchor or _DEFAULT_ANCHORS[name]
    rule = functools.partial(_daily, *_parse_anchor(opening), _WEEKDAYS_OPEN[name])
    return SessionCalendar(name, opening, functools.lru_cache(maxsize=_KEPT_SPANS)(rule))


def named_step(step: Step) -> Step:
    """Return the timeframe of that length, or ``step`` itself where it has no name."""
    if isinstance(step, Timeframe):
        return step
    if step < 1:
        raise InputError(f"step: expected at least 1 microsecond, was {step}")
    for known in Timeframe:
        if known.microseconds == step:
            return known
    if step > MICROSECONDS_PER_DAY:
        raise InputError(f"step: expected less than a day, a day or a week, was {step} us")
    return step


def step_length(step: Step) -> int:
    """Return the nominal length of a step in microseconds."""
    return step.microseconds if isinstance(step, Timeframe) else step


def step_name(step: Step) -> str:
    """Return how messages call a step: ``H1``, ``120 s``."""
    return step.value if isinstance(step, Timeframe) else f"{step / 1e6:g} s"


def _parse_anchor(anchor: str) -> tuple[int, zoneinfo.ZoneInfo]:
    match = _ANCHOR.match(anchor)
    if match is None:
        raise InputError(f"anchor: expected 'HH:MM Zone' such as '21:00 UTC', was {anchor!r}")
    try:
        zone = zoneinfo.ZoneInfo(match[3])
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as e:
        raise InputError(f"anchor: expected a zone of the IANA database, was {match[3]!r}") from e
    return (int(match[1]) * 60 + int(match[2])) * MICROSECONDS_PER_MINUTE, zone


def _daily(
    clock_us: int, zone: zoneinfo.ZoneInfo, weekdays: int, first_day: int, last_day: int
) -> tuple[Instants, Instants, Instants]:
    """Return sessions that last from one day's opening to the next one's, on the open weekdays."""
    days = np.arange(first_day, last_day + 2, dtype=np.int64)
    local = days * MICROSECONDS_PER_DAY + clock_us
    if clock_us >= _NOON:
        local -= MICROSECONDS_PER_DAY
    opens = local - _utc_offsets(local, zone)
    is_open = (days[:-1] + _DAYS_FROM_MONDAY) % 7 < weekdays
    found = days[:-1][is_open], opens[:-1][is_open], opens[1:][is_open]
    for array in found:
        array.flags.writeable = False  # kept for whoever asks next
    return found


def _utc_offsets(local_us: Instants, zone: zoneinfo.ZoneInfo) -> Instants:
    if zone.key == "UTC":
        return np.zeros_like(local_us)
    epoch = dt.datetime(1970, 1, 1, tzinfo=zone)
    microsecond = dt.timedelta(microseconds=1)
    offsets = (
        # adding to an aware datetime moves its wall clock: what is wanted here
        ((epoch + dt.timedelta(microseconds=t)).utcoffset() or dt.timedelta()) // microsecond
        for t in local_us.tolist()
    )
    return np.fromiter(offsets, dtype=np.int64, count=local_us.size)


def _cut(found: Sessions, length: int) -> Grid:
    per_session = -((found.open_us - found.close_us) // length)
    first = np.cumsum(per_session) - per_session
    opens = np.arange(int(per_session.sum()), dtype=np.int64)
    opens *= length
    opens += np.repeat(found.open_us - first * length, per_session)
    ends = opens + length
    last = (first + per_session - 1)[per_session > 0]
    ends[last] = found.close_us[per_session > 0]
    return Grid(opens, ends)


def _week_of(day: Instants) -> Instants:
    return (day + _DAYS_FROM_MONDAY) // 7


def _last_open(opens: Instants, instants: Instants) -> npt.NDArray[np.int64]:
    return np.searchsorted(opens, instants, side="right") - 1


def _at(values: Instants, index: npt.NDArray[np.int64]) -> Instants:
    # index -1 says "none": its value is never used, but there must be one
    return values[index] if values.size else np.zeros_like(index)
