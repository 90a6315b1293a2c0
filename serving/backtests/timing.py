"""How often bars come: their timeframe, the calendar that they keep, how many there are in a year.

Belongs here: what instants tell, and what a request says instead. Keep out: prices.

The calendar is the one whose schedule has the most nearly as many bars as there are; where several
have, the one with the fewest bars a year, whose Sharpe ratio is the smallest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from market.calendars import SessionCalendar, Step, calendar_named, named_step, step_length
from market.errors import InputError
from market.instruments import CALENDAR_NAMES
from market.timeframes import MICROSECONDS_PER_DAY, MICROSECONDS_PER_HOUR, Timeframe
from serving.backtests.dates import Instants

_FIRST: Final = 946_684_800_000_000  # 2000-01-01, UTC
_DAYS: Final = 9132  # 25 years
_DAYS_A_YEAR: Final = 365.25
_SLACK: Final = MICROSECONDS_PER_HOUR  # a day is an hour shorter in spring


@dataclass(frozen=True, slots=True)
class Timing:
    """How often bars come; no timeframe where they are of none, no calendar where none was needed.

    ``is_told`` says that the request named the calendar.
    """

    timeframe: Timeframe | None
    calendar: str | None
    is_told: bool
    bars_per_year: float


def timing_of(
    ts: Instants, timeframe: Timeframe | None, calendar: str | None, bars_per_year: float | None
) -> Timing:
    """Return how often these bars come; what is given is taken, the rest is found.

    Raise ``InputError``, which names what is needed, where it cannot be found.
    """
    step = _step(ts, timeframe, is_needed=bars_per_year is None)
    if step is None:
        return Timing(None, calendar, calendar is not None, float(bars_per_year or 0.0))
    name = calendar or _kept(ts, step)
    yearly = bars_per_year or bars_a_year(name, step)
    named = step if isinstance(step, Timeframe) else None
    return Timing(named, name, calendar is not None, yearly)


@cache
def bars_a_year(calendar: str, step: Step) -> float:
    """Return how many bars a calendar has in a year, as a mean over 25 years."""
    end = _FIRST + _DAYS * MICROSECONDS_PER_DAY
    return int(calendar_named(calendar).scheduled(step, _FIRST, end)) * _DAYS_A_YEAR / _DAYS


def sessions_of(ts: Instants, timing: Timing) -> tuple[Instants, npt.NDArray[np.bool_]]:
    """Return a number a bar that changes where a session begins, and which bars end theirs.

    Sessions are the calendar's, and so is when they end; where a bar lies outside them and nobody
    named the calendar, they are days in UTC, and only midnight is known to end one. Raise
    ``InputError`` for such a bar where the request named it.
    """
    days: Instants = ts // MICROSECONDS_PER_DAY
    length = 0 if timing.timeframe is None else timing.timeframe.microseconds
    if timing.calendar is None:
        return days, (ts + length) // MICROSECONDS_PER_DAY != days
    calendar = calendar_named(timing.calendar)
    outside = ~calendar.in_session(ts)
    if outside.any():
        if not timing.is_told:
            return days, (ts + length) // MICROSECONDS_PER_DAY != days
        i = int(outside.argmax())
        at = np.datetime64(int(ts[i]), "us")
        raise InputError(
            f"prices.dates.{i}: expected a bar inside a session of {timing.calendar}, was {at}Z"
        )
    known = calendar.sessions(int(ts[0]), int(ts[-1]) + 1)
    number: Instants = np.searchsorted(known.open_us, ts, side="right")
    return number, ts + length >= known.close_us[number - 1]


def _step(ts: Instants, timeframe: Timeframe | None, *, is_needed: bool) -> Step | None:
    if ts.size == 1:
        if timeframe is None and is_needed:
            raise InputError("timeframe: expected one beside a single bar, was none")
        return timeframe
    apart, counts = np.unique(np.diff(ts), return_counts=True)
    usual = int(apart[counts.argmax()])
    if timeframe is not None:
        length = timeframe.microseconds
        # bars may be left out, but not all of them next to each other
        is_finer = int(apart[0]) >= 2 * length
        if usual < length - _SLACK or 2 * usual <= length or is_finer:
            raise InputError(
                f"timeframe: expected that of the bars, which are {usual / 1e6:g} s apart, "
                f"was {timeframe.value}"
            )
        return timeframe
    try:
        return named_step(usual)
    except InputError as e:
        if not is_needed:
            return None
        raise InputError(
            "timeframe: expected one, or bars_per_year, for bars that are "
            f"{usual / MICROSECONDS_PER_DAY:g} days apart, was neither"
        ) from e


def _kept(ts: Instants, step: Step) -> str:
    def rank(name: str) -> tuple[int, float]:
        return _misfit(ts, step, calendar_named(name)), bars_a_year(name, step)

    return min(_able(ts), key=rank)


def _able(ts: Instants) -> Iterator[str]:
    """Yield the calendars that know these years."""
    for name in CALENDAR_NAMES:
        try:
            calendar_named(name).sessions(int(ts[0]), int(ts[-1]) + 1)
        except InputError:
            continue
        yield name


def _misfit(ts: Instants, step: Step, calendar: SessionCalendar) -> int:
    """Return how many bars there are too many or too few for a calendar."""
    end = int(ts[-1]) + step_length(step)
    scheduled = int(calendar.scheduled(step, int(ts[0]), end))
    if isinstance(step, Timeframe) and not step.is_intraday:
        return abs(scheduled - ts.size)  # a day may be labelled by any of its instants
    inside: np.ndarray[Any, np.dtype[np.bool_]] = calendar.in_session(ts)
    count = int(inside.sum())
    return abs(scheduled - count) + ts.size - count
