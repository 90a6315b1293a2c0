"""Bars after a close, and the schedule that they should fill: arrays, cut by search.

Belongs here: what a window is. Keep out: where bars rest (``materialized``).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from market.calendars import SessionCalendar
from market.months import month_bounds
from market.timeframes import Timeframe
from pipeline.label_row import Window
from pipeline.labels import MAX_HORIZON

Instants = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PathBars:
    """Bars in order; the columns have one length, ``end_us`` is each bar's scheduled end."""

    ts: Instants
    end_us: Instants
    high: Floats
    low: Floats
    close: Floats

    @property
    def nbytes(self) -> int:
        """Return what it takes to keep them."""
        return 5 * self.ts.nbytes

    def between(self, start_us: int, end_us: int) -> "PathBars":
        """Return the bars that open in [start, end)."""
        first, last = self.ts.searchsorted((start_us, end_us)).tolist()
        cut = slice(first, last)
        return PathBars(
            self.ts[cut], self.end_us[cut], self.high[cut], self.low[cut], self.close[cut]
        )


_NO_INSTANTS, _NO_PRICES = np.empty(0, dtype=np.int64), np.empty(0)
NO_BARS = PathBars(_NO_INSTANTS, _NO_INSTANTS, _NO_PRICES, _NO_PRICES, _NO_PRICES)


def joined(parts: list[PathBars]) -> PathBars:
    """Return bars that follow one another as one."""
    if not parts:
        return NO_BARS
    if len(parts) == 1:
        return parts[0]
    columns = ("ts", "end_us", "high", "low", "close")
    return PathBars(*(np.concatenate([getattr(p, c) for p in parts]) for c in columns))


@dataclass(frozen=True, slots=True)
class Schedule:
    """The bars of a timeframe that are scheduled from a month's start until past any horizon.

    ``opened`` counts the path's bars that are scheduled before each: one more than there are bars.
    """

    calendar: SessionCalendar
    finer: Timeframe
    open_us: Instants
    close_us: Instants
    opened: Instants

    @property
    def nbytes(self) -> int:
        """Return what it takes to keep it."""
        return 3 * self.open_us.nbytes

    def window(self, t_c: int, horizon: int) -> Window:
        """Return the horizon of an entry that closes at an instant of the month."""
        first = int(self.open_us.searchsorted(t_c))
        bars = slice(first, first + horizon)
        closes = self.close_us[bars]
        return Window(t_c, int(closes[-1]), self.open_us[bars], closes)

    def scheduled(self, window: Window, until_us: int) -> int:
        """Return how many bars of the path are scheduled to open in the window by an instant."""
        first = int(self.open_us.searchsorted(window.start_us))
        is_whole = until_us >= window.end_us
        if is_whole and first and int(self.close_us[first - 1]) == window.start_us:
            # a close of the grid: no bar of the path opens before the horizon's first
            return int(self.opened[first + window.horizon] - self.opened[first])
        until_us = max(min(window.end_us, until_us), window.start_us)
        return int(self.calendar.scheduled(self.finer, [window.start_us], [until_us])[0])


def schedule(
    calendar: SessionCalendar, timeframe: Timeframe, finer: Timeframe, month: str
) -> Schedule:
    """Return the schedule of entries that close in a month."""
    start_us, end_us = month_bounds(month)
    reach_us = int(calendar.horizon_ends(timeframe, [end_us], MAX_HORIZON + 1)[0])
    grid = calendar.grid(timeframe, start_us, reach_us)
    inside = calendar.scheduled(finer, grid.open_us, grid.end_us)
    return Schedule(
        calendar, finer, grid.open_us, grid.end_us, np.concatenate([[0], np.cumsum(inside)])
    )
