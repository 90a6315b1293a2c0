"""Months as the lake's partitions: ``"2017-05"`` is a key, its bounds are UTC microseconds."""

import datetime as dt
import functools
import re
from collections.abc import Iterator

from market.errors import InputError
from market.timeframes import MICROSECONDS_PER_DAY

_MONTH = re.compile(r"^\d{4}-(0[1-9]|1[0-2])$")


def parse_month(text: str) -> str:
    """Return ``text`` as a month key; accepts ``2017-05`` and ``2017-05-01``."""
    key = text[:7]
    if not _MONTH.match(key) or text[7:] not in ("", "-01"):
        raise InputError(f"month: expected YYYY-MM, was {text!r}")
    return key


def month_of(ts_us: int) -> str:
    """Return the key of the UTC month that holds the instant ``ts_us``."""
    return _month_of_day(int(ts_us) // MICROSECONDS_PER_DAY)


@functools.lru_cache(maxsize=4096)  # of days: who labels a candle asks ten times for two of them
def _month_of_day(days: int) -> str:
    day = dt.date(1970, 1, 1) + dt.timedelta(days=days)
    return f"{day.year:04d}-{day.month:02d}"


def shift_month(key: str, months: int) -> str:
    """Return the month ``months`` after ``key``."""
    index = int(key[:4]) * 12 + int(key[5:7]) - 1 + months
    return f"{index // 12:04d}-{index % 12 + 1:02d}"


def month_bounds(key: str) -> tuple[int, int]:
    """Return the half-open bounds [start, end) of month ``key`` in UTC microseconds."""
    return month_start(key), month_start(shift_month(key, 1))


def month_start(key: str) -> int:
    """Return the first instant of month ``key`` in UTC microseconds."""
    day = dt.datetime(int(key[:4]), int(key[5:7]), 1, tzinfo=dt.UTC)
    return round(day.timestamp()) * 1_000_000


def month_range(first: str, last: str) -> Iterator[str]:
    """Yield the month keys from ``first`` to ``last``, both included."""
    key = first
    while key <= last:
        yield key
        key = shift_month(key, 1)
