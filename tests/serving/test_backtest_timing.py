"""When bars are, and how many of them a year has."""

import datetime as dt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.calendars import calendar_named
from market.errors import InputError
from market.instruments import CALENDAR_NAMES
from market.timeframes import Timeframe
from serving.backtests.dates import check_order, instants
from serving.backtests.timing import bars_a_year, sessions_of, timing_of
from serving.errors import MalformedRequestError
from serving.instants import to_us

DAY = 86_400_000_000


def us(text: str) -> int:
    return to_us(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC))


def grid(calendar: str, timeframe: Timeframe, start: str, end: str) -> Any:
    return calendar_named(calendar).grid(timeframe, us(start), us(end)).open_us


# dates


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-01-05", "2023-01-05T00:00:00"),
        ("2023-01-05T10:30", "2023-01-05T10:30:00"),
        ("2023-01-05 10:30:15", "2023-01-05T10:30:15"),
        ("2023-01-05T10:30:15Z", "2023-01-05T10:30:15"),
        ("2023-01-05T10:30:15.250Z", "2023-01-05T10:30:15.250000"),
        ("2023-01-05T10:30:15.000001+00:00", "2023-01-05T10:30:15.000001"),
        ("2023-01-05T10:30:15+05:30", "2023-01-05T05:00:15"),
        ("2023-01-05T10:30-05:00", "2023-01-05T15:30:00"),
        ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999"),
        ("20230105T103015Z", "2023-01-05T10:30:15"),
    ],
)
def test_a_date_is_read_in_every_usual_form(text: str, expected: str) -> None:
    assert instants([text], "dates").tolist() == [us(expected)]
    assert instants([text, "2023-01-06", text], "dates").tolist() == [
        us(expected), us("2023-01-06"), us(expected),
    ]  # fmt: skip
    assert instants(["2023-01-06", text], "dates")[1] == us(expected)


@pytest.mark.slow
@given(
    moments=st.lists(
        st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2199, 12, 31)),  # noqa: DTZ001 - the offset follows
        min_size=1,
    ),
    zone=st.sampled_from(["", "Z", "+00:00", "+05:30", "-11:00"]),
    between=st.sampled_from(["T", " "]),
)
def test_whatever_python_writes_is_read_as_python_reads_it(
    moments: list[dt.datetime], zone: str, between: str
) -> None:
    texts = [moment.isoformat(between) + zone for moment in moments]
    read = [dt.datetime.fromisoformat(text) for text in texts]
    aware = [x.replace(tzinfo=dt.UTC) if x.tzinfo is None else x for x in read]
    assert instants(texts, "dates").tolist() == [to_us(x) for x in aware]


@pytest.mark.parametrize(
    "text", ["", "now", "2023-13-01", "2023-02-29", "2023-01-05T25:00", "5 Jan 2023", "1672876800"]
)
def test_what_is_no_date_is_named(text: str) -> None:
    with pytest.raises(MalformedRequestError) as told:
        instants(["2023-01-05", text], "dates")
    assert [detail.field for detail in told.value.details] == ["dates.1"]
    with pytest.raises(MalformedRequestError):
        instants([text], "dates")


@pytest.mark.parametrize(
    ("dates", "field"),
    [
        (["2023-01-05", "2023-01-05"], "dates.1"),
        (["2023-01-05", "2023-01-06", "2023-01-04"], "dates.2"),
        (["1899-12-31"], "dates.0"),
        (["2200-01-01"], "dates.0"),
    ],
)
def test_dates_rise_within_the_years_that_calendars_know(dates: list[str], field: str) -> None:
    with pytest.raises(InputError, match=rf"^{field}: expected"):
        check_order(instants(dates, "dates"), "dates")


# timing


@pytest.mark.parametrize("calendar", CALENDAR_NAMES)
@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_a_year_of_scheduled_bars_tells_its_timeframe_and_calendar(
    calendar: str, timeframe: Timeframe
) -> None:
    found = grid(calendar, timeframe, "2023-01-01", "2024-01-01")
    timing = timing_of(found, None, None, None)
    assert timing.timeframe is timeframe
    yearly = bars_a_year(calendar, timeframe)
    if timeframe is Timeframe.W:  # every market has 52 of them
        assert timing.bars_per_year == pytest.approx(yearly, rel=2e-3)
    else:
        assert (timing.calendar, timing.bars_per_year) == (calendar, yearly)
    assert yearly == pytest.approx(found.size, rel=0.02)


@pytest.mark.parametrize(
    ("calendar", "timeframe", "yearly"),
    [
        ("crypto", Timeframe.D, 365.25),
        ("crypto", Timeframe.H1, 8766.0),
        ("crypto", Timeframe.W, 52.18),
        ("fx", Timeframe.D, 260.9),
        ("us_equity", Timeframe.D, 251.5),
        ("us_equity", Timeframe.M1, 97_700.0),  # some days are half ones
    ],
)
def test_bars_of_a_year_are_those_of_the_calendar(
    calendar: str, timeframe: Timeframe, yearly: float
) -> None:
    assert bars_a_year(calendar, timeframe) == pytest.approx(yearly, rel=3e-3)


def test_a_holiday_is_a_gap_and_no_other_calendar() -> None:
    found = grid("us_equity", Timeframe.D, "2021-01-01", "2023-01-01")
    dates = found // DAY * DAY  # a day by its date alone
    kept = np.delete(dates, [40, 200, 201])
    assert timing_of(kept, None, None, None).calendar == "us_equity"


def test_where_several_calendars_fit_the_smallest_ratio_is_answered() -> None:
    weekdays = np.array([us(f"2023-01-{day:02}") for day in (3, 4, 5, 6)])
    assert timing_of(weekdays, None, None, None).calendar == "us_equity"


@pytest.mark.parametrize("calendar", CALENDAR_NAMES)
def test_what_is_told_is_taken(calendar: str) -> None:
    found = grid("crypto", Timeframe.D, "2023-01-01", "2023-03-01")
    timing = timing_of(found, Timeframe.D, calendar, None)
    assert (timing.calendar, timing.is_told) == (calendar, True)
    assert timing.bars_per_year == bars_a_year(calendar, Timeframe.D)
    assert timing_of(found, None, calendar, 100.0).bars_per_year == 100.0


def test_a_timeframe_that_is_not_the_bars_is_refused() -> None:
    found = grid("crypto", Timeframe.H1, "2023-01-01", "2023-01-03")
    for wrong in (Timeframe.M1, Timeframe.M30, Timeframe.H4, Timeframe.D, Timeframe.W):
        with pytest.raises(InputError, match=r"^timeframe: expected that of the bars"):
            timing_of(found, wrong, None, None)


def test_bars_without_a_timeframe_need_to_be_told_how_many_a_year_has() -> None:
    months = np.array([us(f"2023-{month:02}-01") for month in range(1, 13)])
    with pytest.raises(InputError, match=r"^timeframe: expected one, or bars_per_year"):
        timing_of(months, None, None, None)
    timing = timing_of(months, None, None, 12.0)
    assert (timing.timeframe, timing.calendar, timing.bars_per_year) == (None, None, 12.0)


def test_two_minutes_are_a_step_without_a_name() -> None:
    found = us("2023-01-03") + np.arange(6000) * 120_000_000
    timing = timing_of(found, None, None, None)
    assert timing.timeframe is None
    assert timing.bars_per_year == pytest.approx(365.25 * 720, rel=1e-3)


def test_a_single_bar_says_nothing() -> None:
    bar = np.array([us("2023-01-03")])
    with pytest.raises(InputError, match=r"^timeframe: "):
        timing_of(bar, None, None, None)
    assert timing_of(bar, Timeframe.D, None, None).bars_per_year > 200


# sessions


def test_sessions_are_the_calendar_s() -> None:
    found = grid("us_equity", Timeframe.H1, "2023-07-03", "2023-07-06")  # a half-day, a holiday
    sessions, last = sessions_of(found, timing_of(found, Timeframe.H1, "us_equity", None))
    _, counts = np.unique(sessions, return_counts=True)
    assert counts.tolist() == [4, 7]
    assert np.flatnonzero(last).tolist() == [3, 10]
    short, known = found[:2], timing_of(found, Timeframe.H1, "us_equity", None)
    assert not sessions_of(short, known)[1].any()  # the half-day goes on, whatever comes next
    assert sessions_of(np.delete(found, 3), known)[1].tolist() == [False] * 9 + [True]
    night = grid("fx", Timeframe.H4, "2023-07-03", "2023-07-05")
    sessions, _ = sessions_of(night, timing_of(night, Timeframe.H4, "fx", None))
    starts = night[np.flatnonzero(np.diff(sessions)) + 1]
    assert {int(x // 3_600_000_000 % 24) for x in starts} == {21}  # 17:00 in New York


def test_bars_outside_the_sessions_are_refused_where_the_calendar_was_told() -> None:
    found = us("2023-07-05T04:00:00") + np.arange(20) * 3_600_000_000
    with pytest.raises(InputError, match=r"^prices\.dates\.0: expected a bar inside a session"):
        sessions_of(found, timing_of(found, None, "us_equity", None))


def test_and_are_days_in_utc_where_it_was_not() -> None:
    """An exchange that no calendar knows: Mumbai, 03:45 to 10:00 in UTC."""
    days = [us(f"2023-07-{day:02}T03:45:00") for day in (3, 4, 5, 6, 7)]
    found = np.concatenate([day + np.arange(25) * 900_000_000 for day in days])
    timing = timing_of(found, None, None, None)
    assert timing.calendar == "us_equity"  # of those that are known, the nearest
    sessions, last = sessions_of(found, timing)
    _, counts = np.unique(sessions, return_counts=True)
    assert counts.tolist() == [25] * 5
    assert not last.any()  # when that exchange closes is not known
