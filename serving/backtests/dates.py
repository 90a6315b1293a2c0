"""Dates of bars: texts in, instants out.

Belongs here: ISO 8601 in its usual forms, many at once. Keep out: what the instants say about the
bars (``timing``).
"""

import datetime as dt
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from market.errors import InputError
from serving.compute.contracts import malformed
from serving.errors import MAX_DETAILS, Detail
from serving.instants import from_us, to_us

Instants = npt.NDArray[np.int64]
"""Microseconds since 1970, UTC; shape (n,)."""

FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 2199

_SHOWN: Final = 40
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_INSTANT: Final = re.compile(
    r"\d{4}-\d\d-\d\d(?P<between>[T ])\d\d:\d\d(?P<second>:\d\d(\.\d+)?)?(?P<zone>Z|[+-]\d\d:\d\d)?"
)


def instants(texts: Sequence[Any], field: str) -> Instants:
    """Return the instants that ``texts`` name; one without an offset is UTC, a date its midnight.

    Raise ``MalformedRequestError``, value by value, for what is no date.
    """
    read = _alike(_strings(texts, field))
    known = read.is_not_null().to_numpy()
    out: Instants = read.dt.timestamp("us").fill_null(0).to_numpy().astype(np.int64)
    faults = []
    for i in np.flatnonzero(~known).tolist():
        instant = _one(texts[i])
        if instant is None:
            message = f"expected an ISO 8601 date, was {texts[i][:_SHOWN]!r}"
            faults.append(Detail(f"{field}.{i}", message, "DATE_FORMAT"))
            if len(faults) == MAX_DETAILS:
                break
        else:
            out[i] = to_us(instant)
    if faults:
        raise malformed(faults)
    return out


def _strings(texts: Sequence[Any], field: str) -> pl.Series:
    try:
        read = pl.Series(texts, dtype=pl.String)
    except TypeError:
        read = None
    if read is None or read.null_count():
        wrong = [i for i, text in enumerate(texts) if type(text) is not str]
        raise malformed(
            Detail(f"{field}.{i}", "expected a text, an ISO 8601 date", "STRING_TYPE")
            for i in wrong[:MAX_DETAILS]
        )
    return read


def check_order(found: Instants, field: str) -> None:
    """Raise ``InputError`` for the first date that does not come after the one before it."""
    early, late = (
        to_us(dt.datetime(year, 1, 1, tzinfo=dt.UTC)) for year in (FIRST_YEAR, LAST_YEAR + 1)
    )
    is_far = (found < early) | (found >= late)
    if is_far.any():
        i = int(is_far.argmax())
        year = np.datetime64(int(found[i]), "us").astype("datetime64[Y]")
        raise InputError(
            f"{field}.{i}: expected a year from {FIRST_YEAR} to {LAST_YEAR}, was {year}"
        )
    is_late = np.diff(found) > 0
    if not is_late.all():
        i = int((~is_late).argmax()) + 1
        before, now = (from_us(int(found[at])).isoformat() for at in (i - 1, i))
        raise InputError(f"{field}.{i}: expected later than {before}, the one before, was {now}")


def _alike(texts: pl.Series) -> pl.Series:
    """Return the instants of those that are written as the first is; null for the others."""
    first = texts[0]
    if _DAY.fullmatch(first):
        days = texts.str.to_date("%Y-%m-%d", strict=False)
        return days.cast(pl.Datetime("us", "UTC"))
    form = _INSTANT.fullmatch(first)
    if form is None:
        return pl.Series([None] * len(texts), dtype=pl.Datetime("us", "UTC"))
    pattern = f"%Y-%m-%d{form['between']}%H:%M{':%S%.f' if form['second'] else ''}"
    if form["zone"] is None:
        naive = texts.str.to_datetime(pattern, time_unit="us", strict=False)
        return naive.dt.replace_time_zone("UTC")
    zoned = texts.str.replace("Z$", "+00:00")
    read = zoned.str.to_datetime(f"{pattern}%:z", time_unit="us", time_zone="UTC", strict=False)
    return read.dt.convert_time_zone("UTC")


def _one(text: str) -> dt.datetime | None:
    """Return the instant that a text of another form names, if it is one."""
    try:
        read = dt.datetime.fromisoformat(text)
        return read.replace(tzinfo=dt.UTC) if read.tzinfo is None else read.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None
