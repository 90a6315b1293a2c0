"""Sessions of the New York Stock Exchange, from ``exchange_calendars``.

Belongs here: what only the exchange knows (holidays, half-days, unscheduled closings). Its import
takes a second, so it is paid by the first caller who asks for a session, and by nobody else.
"""

import functools
import warnings

import numpy as np
import numpy.typing as npt

from market.errors import InputError

FIRST_YEAR = 1960  # five-day weeks and whole-day records from here on
LAST_YEAR = 2049  # a fixed end: the library's default one moves with the clock

_US_PER_DAY = 86_400_000_000

Columns = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]


def sessions(first_day: int, last_day: int) -> Columns:
    """Return day, open and close of the sessions of these days (days since 1970, both included)."""
    day, opens, closes = _exchange()
    if first_day < _days(FIRST_YEAR) or last_day >= _days(LAST_YEAR + 1):
        raise InputError(
            f"us_equity: expected instants from {FIRST_YEAR} to {LAST_YEAR}, "
            f"was {np.datetime64(first_day, 'D')} to {np.datetime64(last_day, 'D')}"
        )
    low, high = np.searchsorted(day, [first_day, last_day + 1])
    return day[low:high], opens[low:high], closes[low:high]


@functools.cache
def _exchange() -> Columns:
    from exchange_calendars import get_calendar  # noqa: PLC0415 - a second, and pandas

    with warnings.catch_warnings():
        # 4.13 reads its times in a way that pandas 3.1 deprecates; its results are right
        warnings.simplefilter("ignore", DeprecationWarning)
        calendar = get_calendar("XNYS", start=f"{FIRST_YEAR}-01-01", end=f"{LAST_YEAR}-12-31")
    opens, closes = (
        times.dt.tz_convert(None).to_numpy().astype("datetime64[us]").astype(np.int64)
        for times in (calendar.opens, calendar.closes)
    )
    return opens // _US_PER_DAY, opens, closes  # a New York session never crosses midnight UTC


def _days(year: int) -> int:
    return int(np.datetime64(f"{year}-01-01", "D").astype(np.int64))
