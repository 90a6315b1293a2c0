"""Session calendars: known weeks written out by hand, and what is refused."""

import datetime as dt
import subprocess
import sys
import time
import zoneinfo

import numpy as np
import numpy.typing as npt
import pytest

from market.calendars import (
    SessionCalendar,
    calendar_for,
    calendar_named,
    named_step,
    step_name,
)
from market.errors import InputError, MalformedBarsError
from market.instruments import Instrument
from market.timeframes import Timeframe

NEW_YORK = zoneinfo.ZoneInfo("America/New_York")
FX, CRYPTO, US = (calendar_named(name) for name in ("fx", "crypto", "us_equity"))


def us(text: str) -> int:
    return int(np.datetime64(text, "us").astype(np.int64))


def texts(instants: npt.NDArray[np.int64]) -> list[str]:
    return [str(np.datetime64(int(t), "us").astype("datetime64[m]")) for t in instants]


def hours(calendar: SessionCalendar, timeframe: Timeframe, start: str, end: str) -> list[float]:
    grid = calendar.grid(timeframe, us(start), us(end))
    return [float(length) / 3.6e9 for length in grid.end_us - grid.open_us]


def test_fx_week_runs_from_sunday_to_friday_seventeen_new_york() -> None:
    sessions = FX.sessions(us("2017-01-08T00:00"), us("2017-01-15T00:00"))
    assert texts(sessions.open_us) == [f"2017-01-{d:02d}T22:00" for d in range(8, 13)]
    assert texts(sessions.close_us) == [f"2017-01-{d:02d}T22:00" for d in range(9, 14)]
    assert len(set(sessions.week.tolist())) == 1


@pytest.mark.parametrize(
    ("sunday", "opens", "closes"),
    [
        pytest.param("2017-03-05", "2017-03-05T22:00", "2017-03-10T22:00", id="both winter"),
        pytest.param("2017-03-12", "2017-03-12T21:00", "2017-03-17T21:00", id="US summer alone"),
        pytest.param("2017-03-19", "2017-03-19T21:00", "2017-03-24T21:00", id="still alone"),
        pytest.param("2017-03-26", "2017-03-26T21:00", "2017-03-31T21:00", id="EU summer too"),
        pytest.param("2017-10-22", "2017-10-22T21:00", "2017-10-27T21:00", id="both summer"),
        pytest.param("2017-10-29", "2017-10-29T21:00", "2017-11-03T21:00", id="EU winter alone"),
        pytest.param("2017-11-05", "2017-11-05T22:00", "2017-11-10T22:00", id="US winter too"),
    ],
)
def test_fx_weeks_follow_new_york_not_london(sunday: str, opens: str, closes: str) -> None:
    start = us(sunday)
    grid = FX.grid(Timeframe.W, start, start + 86_400_000_000)
    assert texts(grid.open_us) == [opens]
    assert texts(grid.end_us) == [closes]


@pytest.mark.parametrize("day", ["2017-03-14", "2017-11-02", "2017-11-07", "2020-07-01"])
def test_fx_h4_opens_at_the_new_york_hours_of_the_design(day: str) -> None:
    opens = FX.grid(Timeframe.H4, us(day), us(day) + 86_400_000_000).open_us
    local = [dt.datetime.fromtimestamp(t / 1e6, tz=NEW_YORK).hour for t in opens.tolist()]
    assert sorted(local) == [1, 5, 9, 13, 17, 21]


def test_fx_bars_never_change_length() -> None:
    for timeframe in (Timeframe.H1, Timeframe.H4, Timeframe.D):
        assert set(hours(FX, timeframe, "2016-01-01", "2019-01-01")) == {
            timeframe.microseconds / 3.6e9
        }
    assert set(hours(FX, Timeframe.W, "2016-01-01", "2019-01-01")) == {120.0}


def test_crypto_is_open_always_and_weeks_open_on_monday() -> None:
    grid = CRYPTO.grid(Timeframe.W, us("2021-03-01"), us("2021-04-01"))
    assert texts(grid.open_us) == [f"2021-03-{d:02d}T00:00" for d in (1, 8, 15, 22, 29)]
    np.testing.assert_array_equal(grid.open_us[1:], grid.end_us[:-1])
    everything = CRYPTO.grid(Timeframe.M1, us("2020-01-01"), us("2021-01-01"))
    np.testing.assert_array_equal(
        everything.open_us, np.arange(us("2020-01-01"), us("2021-01-01"), 60_000_000)
    )
    assert CRYPTO.in_session(everything.open_us).all()


def test_an_anchor_moves_the_day() -> None:
    anchored = calendar_named("fx", "21:00 UTC")
    opens = anchored.grid(Timeframe.H4, us("2017-01-10"), us("2017-01-11")).open_us
    assert texts(opens) == [f"2017-01-10T{h:02d}:00" for h in (1, 5, 9, 13, 17, 21)]
    week = anchored.grid(Timeframe.W, us("2017-01-07"), us("2017-01-12"))
    assert texts(week.open_us) == ["2017-01-08T21:00"]
    assert texts(week.end_us) == ["2017-01-13T21:00"]
    morning = calendar_named("crypto", "08:00 UTC").grid(
        Timeframe.D, us("2021-05-04"), us("2021-05-05")
    )
    assert texts(morning.open_us) == ["2021-05-04T08:00"]


def test_an_anchor_in_a_zone_with_daylight_saving_has_short_and_long_days() -> None:
    berlin = calendar_named("crypto", "00:00 Europe/Berlin")
    assert hours(berlin, Timeframe.D, "2021-03-27T23:00", "2021-03-29") == [23.0, 24.0]
    assert hours(berlin, Timeframe.D, "2021-10-30T22:00", "2021-11-01") == [25.0, 24.0]
    assert hours(berlin, Timeframe.H4, "2021-10-30T22:00", "2021-10-31T23:00") == [4.0] * 6 + [1.0]


def test_us_equity_days_end_short() -> None:
    grid = US.grid(Timeframe.H4, us("2019-11-05"), us("2019-11-06"))
    assert texts(grid.open_us) == ["2019-11-05T14:30", "2019-11-05T18:30"]
    assert texts(grid.end_us) == ["2019-11-05T18:30", "2019-11-05T21:00"]
    assert hours(US, Timeframe.H1, "2019-11-05", "2019-11-06") == [1.0] * 6 + [0.5]
    assert hours(US, Timeframe.D, "2019-11-05", "2019-11-06") == [6.5]


def test_us_equity_keeps_holidays_half_days_and_unscheduled_closings() -> None:
    thanksgiving = US.sessions(us("2019-11-25"), us("2019-12-01"))
    assert texts(thanksgiving.close_us) == [
        "2019-11-25T21:00", "2019-11-26T21:00", "2019-11-27T21:00", "2019-11-29T18:00",
    ]  # fmt: skip
    assert US.sessions(us("2012-10-29"), us("2012-10-31")).open_us.size == 0  # hurricane Sandy
    assert US.sessions(us("2021-07-05"), us("2021-07-06")).open_us.size == 0  # the 4th, observed
    week = US.grid(Timeframe.W, us("2019-11-24"), us("2019-12-01"))
    assert texts(week.end_us) == ["2019-11-29T18:00"]


def test_us_equity_week_of_a_monday_holiday_opens_on_tuesday() -> None:
    week = US.grid(Timeframe.W, us("2020-01-19"), us("2020-01-26"))
    assert texts(week.open_us) == ["2020-01-21T14:30"]


def test_a_week_is_whole_wherever_the_interval_cuts_it() -> None:
    for calendar in (FX, CRYPTO, US):
        whole = calendar.grid(Timeframe.W, us("2019-01-01"), us("2021-01-01"))
        for opened, ended in zip(whole.open_us, whole.end_us, strict=True):
            lone = calendar.grid(Timeframe.W, int(opened), int(opened) + 1)
            assert (lone.open_us.tolist(), lone.end_us.tolist()) == ([opened], [ended])


@pytest.mark.parametrize("calendar", [FX, CRYPTO, US], ids=lambda c: c.name)
@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_bar_ends_are_the_grids(calendar: SessionCalendar, timeframe: Timeframe) -> None:
    grid = calendar.grid(timeframe, us("2019-10-20"), us("2019-12-05"))
    shuffled = np.random.default_rng(1).permutation(grid.open_us.size)
    ends = calendar.bar_ends(timeframe, grid.open_us[shuffled])
    np.testing.assert_array_equal(ends, grid.end_us[shuffled])


@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_bar_ends_refuse_what_is_off_the_grid(timeframe: Timeframe) -> None:
    opens = FX.grid(timeframe, us("2017-01-08"), us("2017-01-15")).open_us
    for wrong in (opens[-1] + 1, us("2017-01-14T12:00"), us("2017-01-08T21:59")):
        with pytest.raises(MalformedBarsError, match=f"expected the open of a {timeframe} bar"):
            FX.bar_ends(timeframe, np.append(opens, wrong))


def test_horizons_count_scheduled_bars_and_skip_what_is_closed() -> None:
    friday = us("2017-01-13T18:00")  # the last H4 bar of the week opens at this instant
    assert texts(FX.horizon_ends(Timeframe.H4, [friday], 1)) == ["2017-01-13T22:00"]
    assert texts(FX.horizon_ends(Timeframe.H4, [friday], 2)) == ["2017-01-16T02:00"]
    assert texts(FX.horizon_ends(Timeframe.H4, [friday + 1], 1)) == ["2017-01-16T02:00"]
    assert texts(FX.horizon_ends(Timeframe.D, [us("2017-01-13T22:00")], 6)) == ["2017-01-23T22:00"]
    assert texts(US.horizon_ends(Timeframe.H4, [us("2019-11-27T21:00")], 2)) == ["2019-12-02T18:30"]
    assert texts(CRYPTO.horizon_ends(Timeframe.M1, [us("2021-01-01")], 6)) == ["2021-01-01T00:06"]


@pytest.mark.slow
@pytest.mark.parametrize("calendar", [FX, CRYPTO, US], ids=lambda c: c.name)
@pytest.mark.parametrize("timeframe", [Timeframe.H1, Timeframe.H4, Timeframe.D, Timeframe.W])
@pytest.mark.parametrize("bars", [1, 6, 100])
def test_horizons_equal_a_walk_over_the_grid(
    calendar: SessionCalendar, timeframe: Timeframe, bars: int
) -> None:
    grid = calendar.grid(timeframe, us("2019-03-01"), us("2022-06-01"))
    instants = np.random.default_rng(2).integers(us("2019-03-05"), us("2019-04-05"), 50)
    expected = []
    for instant in instants.tolist():
        ahead = [e for o, e in zip(grid.open_us, grid.end_us, strict=True) if o >= instant]
        expected.append(ahead[bars - 1])
    np.testing.assert_array_equal(calendar.horizon_ends(timeframe, instants, bars), expected)


@pytest.mark.parametrize("calendar", [FX, CRYPTO, US], ids=lambda c: c.name)
@pytest.mark.parametrize("step", [*Timeframe, 120_000_000, 7 * 60_000_000])
def test_scheduled_counts_the_grid(calendar: SessionCalendar, step: Timeframe | int) -> None:
    grid = calendar.grid(step, us("2019-10-01"), us("2020-01-15"))
    random = np.random.default_rng(3)
    starts = random.integers(us("2019-10-10"), us("2019-12-31"), 40)
    starts[:5] = grid.open_us[20:25] if grid.open_us.size > 25 else starts[:5]
    ends = starts + random.integers(0, 9 * 86_400_000_000, 40)
    expected = [
        int(((grid.open_us >= a) & (grid.open_us < b)).sum())
        for a, b in zip(starts, ends, strict=True)
    ]
    assert calendar.scheduled(step, starts, ends).tolist() == expected


def test_nothing_asked_is_nothing_answered() -> None:
    nothing = np.array([], dtype=np.int64)
    for answer in (
        FX.bar_ends(Timeframe.H1, nothing),
        FX.horizon_ends(Timeframe.H1, nothing, 3),
        FX.in_session(nothing),
        FX.scheduled(Timeframe.H1, nothing, nothing),
    ):
        assert answer.size == 0
    saturday = us("2017-01-14T06:00")
    assert FX.sessions(saturday, saturday + 3_600_000_000).open_us.size == 0
    assert FX.grid(Timeframe.M1, saturday, saturday + 3_600_000_000).open_us.size == 0
    assert FX.grid(Timeframe.M1, saturday, saturday).open_us.size == 0
    assert not FX.in_session([saturday])[0]
    assert FX.scheduled(Timeframe.M1, [saturday], [saturday + 3_600_000_000])[0] == 0


def test_an_instrument_brings_its_anchor() -> None:
    eurusd = Instrument("EURUSD", "fx", "fx", "csv", "E", Timeframe.H1, 1e-5, 1.0, "21:00 UTC")
    assert calendar_for(eurusd).anchor == "21:00 UTC"
    assert calendar_for(eurusd) is calendar_named("fx", "21:00 UTC")


@pytest.mark.parametrize(
    ("name", "anchor", "message"),
    [
        ("forex", None, "calendar: expected one of crypto, fx, us_equity, was 'forex'"),
        ("fx", "21:00", "anchor: expected 'HH:MM Zone' such as '21:00 UTC', was '21:00'"),
        ("fx", "24:00 UTC", "anchor: expected 'HH:MM Zone'"),
        ("fx", "21:00 Mars/Base", "anchor: expected a zone of the IANA database, was 'Mars/Base'"),
        ("fx", "21:00 ../UTC", "anchor: expected a zone of the IANA database"),
        ("us_equity", "21:00 UTC", "anchor: expected none for us_equity"),
    ],
)
def test_calendars_say_what_they_expect(name: str, anchor: str | None, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        calendar_named(name, anchor)


def test_instants_in_another_unit_are_refused_not_computed() -> None:
    nanoseconds = us("2020-01-01") * 1000
    with pytest.raises(InputError, match="expected microseconds UTC"):
        FX.in_session([nanoseconds])
    with pytest.raises(InputError, match="us_equity: expected instants from 1960 to 2049"):
        US.grid(Timeframe.D, us("1950-01-01"), us("1951-01-01"))
    with pytest.raises(InputError, match="bars: expected >= 1, was 0"):
        FX.horizon_ends(Timeframe.H1, [us("2020-01-01")], 0)


def test_steps_without_a_name() -> None:
    assert named_step(3_600_000_000) is Timeframe.H1
    assert named_step(86_400_000_000) is Timeframe.D
    assert named_step(120_000_000) == 120_000_000
    assert step_name(120_000_000) == "120 s"
    for wrong in (0, -1, 2 * 86_400_000_000):
        with pytest.raises(InputError, match=r"^step: expected"):
            named_step(wrong)


def test_only_us_equity_pays_for_the_exchange_calendars() -> None:
    program = (
        "import sys; from market.calendars import calendar_named; from market.timeframes import *;"
        "[calendar_named(n).grid(Timeframe.W, 0, 10**13) for n in ('fx', 'crypto')];"
        "calendar_named('us_equity');"
        "assert not {'exchange_calendars', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603 - our own program


def test_sessions_that_are_kept_for_the_next_caller_cannot_be_altered() -> None:
    for calendar in (FX, CRYPTO):
        sessions = calendar.sessions(us("2017-01-08"), us("2017-01-15"))
        for array in (sessions.open_us, sessions.close_us):
            with pytest.raises(ValueError, match="read-only"):
                array[0] += 1


def test_a_year_of_minutes_is_fast() -> None:
    def best(call: object) -> float:
        assert callable(call)
        times = []
        for _ in range(5):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        return min(times)

    start, end = us("2020-01-01"), us("2021-01-01")
    for calendar in (FX, CRYPTO):
        assert best(lambda c=calendar: c.grid(Timeframe.M1, start, end)) < 0.1
        month = calendar.grid(Timeframe.M1, start, us("2020-02-01"))
        assert best(lambda c=calendar, m=month: c.bar_ends(Timeframe.M1, m.open_us)) < 0.05
        assert best(lambda c=calendar, m=month: c.horizon_ends(Timeframe.M1, m.end_us, 6)) < 0.05
