"""The eight timeframes, and what of them does not depend on a calendar.

Add a timeframe here and nowhere else. Keep out: where a bar opens (``calendars``).
"""

import functools
from enum import StrEnum

from market.errors import UnknownTimeframeError

MICROSECONDS_PER_SECOND = 1_000_000
MICROSECONDS_PER_MINUTE = 60 * MICROSECONDS_PER_SECOND
MICROSECONDS_PER_HOUR = 60 * MICROSECONDS_PER_MINUTE
MICROSECONDS_PER_DAY = 24 * MICROSECONDS_PER_HOUR


class Timeframe(StrEnum):
    """A bar's length by name, from finest to coarsest."""

    M1 = "M1"
    M5 = "M5"
    M15 = "M15"
    M30 = "M30"
    H1 = "H1"
    H4 = "H4"
    D = "D"
    W = "W"

    @classmethod
    def parse(cls, name: str) -> "Timeframe":
        """Return the timeframe called ``name`` in any case; raise ``UnknownTimeframeError``."""
        try:
            return cls(name.upper())
        except ValueError as e:
            known = " ".join(t.value for t in cls)
            raise UnknownTimeframeError(f"timeframe: expected one of {known}, was {name!r}") from e

    @property
    def microseconds(self) -> int:
        """Nominal length in microseconds (a D or W bar's real one is its calendar's)."""
        return _MICROSECONDS[self]

    @property
    def is_intraday(self) -> bool:
        """Whether the bar is cut inside a session by the clock (M1 … H4)."""
        return self not in (Timeframe.D, Timeframe.W)

    @property
    def rank(self) -> int:
        """Position from finest (0) to coarsest (7)."""
        return _RANK[self]

    @functools.cache
    def and_coarser(self) -> tuple["Timeframe", ...]:
        """Return this timeframe and all coarser ones, finest first."""
        return tuple(t for t in Timeframe if t.rank >= self.rank)


_MICROSECONDS = {
    Timeframe.M1: MICROSECONDS_PER_MINUTE,
    Timeframe.M5: 5 * MICROSECONDS_PER_MINUTE,
    Timeframe.M15: 15 * MICROSECONDS_PER_MINUTE,
    Timeframe.M30: 30 * MICROSECONDS_PER_MINUTE,
    Timeframe.H1: MICROSECONDS_PER_HOUR,
    Timeframe.H4: 4 * MICROSECONDS_PER_HOUR,
    Timeframe.D: MICROSECONDS_PER_DAY,
    Timeframe.W: 7 * MICROSECONDS_PER_DAY,
}
_RANK = {timeframe: rank for rank, timeframe in enumerate(Timeframe)}
