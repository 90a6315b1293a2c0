"""The tiling law (DESIGN 11.3): finer scheduled bars tile coarser ones, in every calendar.

Across daylight saving, holidays and half-days; every instant in session lies in exactly one bar;
and what is missing from a bar is counted.
"""

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from market.calendars import SessionCalendar, calendar_named
from market.instruments import Instrument
from market.tables import INSTANT
from market.timeframes import Timeframe
from pipeline import candles

DAY = 86_400_000_000
CALENDARS = {
    "crypto": calendar_named("crypto"),
    "crypto Berlin": calendar_named("crypto", "00:00 Europe/Berlin"),
    "fx": calendar_named("fx"),
    "fx 21:00 UTC": calendar_named("fx", "21:00 UTC"),
    "us_equity": calendar_named("us_equity"),
}
PAIRS = list(itertools.combinations(Timeframe, 2))
EVERY_CALENDAR = pytest.mark.parametrize("calendar", CALENDARS.values(), ids=CALENDARS)
FIRST_DAY, LAST_DAY = 10_957, 18_993  # 2000 to 2021


def day(text: str) -> int:
    return int(np.datetime64(text, "D").astype(np.int64))


DAYS = st.integers(FIRST_DAY, LAST_DAY)
HARD_DAYS = [
    day(d)
    for d in (
        "2017-03-10", "2017-03-24", "2017-10-27", "2017-11-03",  # US and EU change clocks apart
        "2001-09-07", "2012-10-26", "2019-11-25", "2019-12-23",  # closings, half-days, holidays
        "2018-12-28", "2020-02-27", "2021-10-29",  # year's end, leap day
    )
]  # fmt: skip


@EVERY_CALENDAR
@settings(deadline=None, max_examples=25)
@given(first=DAYS, n_days=st.integers(1, 12), pair=st.sampled_from(PAIRS))
def test_finer_bars_tile_coarser_ones(
    calendar: SessionCalendar, first: int, n_days: int, pair: tuple[Timeframe, Timeframe]
) -> None:
    assert_tiles(calendar, first, n_days, *pair)


@EVERY_CALENDAR
@pytest.mark.parametrize("first", HARD_DAYS)
def test_finer_bars_tile_coarser_ones_where_clocks_and_holidays_bite(
    calendar: SessionCalendar, first: int
) -> None:
    for finer, coarser in PAIRS:
        assert_tiles(calendar, first, 10, finer, coarser)


def assert_tiles(
    calendar: SessionCalendar, first: int, n_days: int, finer: Timeframe, coarser: Timeframe
) -> None:
    """Each coarser bar is covered by whole finer ones, but for time out of session."""
    coarse = calendar.grid(coarser, first * DAY, (first + n_days) * DAY)
    if not coarse.open_us.size:
        return
    fine = calendar.grid(finer, int(coarse.open_us[0]), int(coarse.end_us[-1]))
    start = np.searchsorted(fine.open_us, coarse.open_us)
    stop = np.searchsorted(fine.open_us, coarse.end_us)
    np.testing.assert_array_equal(fine.open_us[start], coarse.open_us)
    np.testing.assert_array_equal(fine.end_us[stop - 1], coarse.end_us)
    # no finer bar lies between two coarser ones, before the first or after the last
    np.testing.assert_array_equal(start, np.append(0, stop[:-1]))
    assert stop[-1] == fine.open_us.size
    assert (fine.end_us > fine.open_us).all()
    assert (fine.open_us[1:] >= fine.end_us[:-1]).all()  # none overlaps
    hole = fine.open_us[1:] != fine.end_us[:-1]  # is a closed market
    assert not calendar.in_session(fine.end_us[:-1][hole]).any()
    assert not calendar.in_session(fine.open_us[1:][hole] - 1).any()
    counted = calendar.scheduled(finer, coarse.open_us, coarse.end_us)
    np.testing.assert_array_equal(counted, stop - start)


@EVERY_CALENDAR
@settings(deadline=None, max_examples=40)
@given(
    first=st.one_of(DAYS, st.sampled_from(HARD_DAYS)),
    offsets=st.lists(st.integers(0, 10 * DAY - 1), min_size=1, max_size=30),
    timeframe=st.sampled_from(list(Timeframe)),
)
@example(first=day("2017-03-10"), offsets=[0, DAY, 2 * DAY], timeframe=Timeframe.H4)
def test_every_instant_in_session_lies_in_exactly_one_bar(
    calendar: SessionCalendar, first: int, offsets: list[int], timeframe: Timeframe
) -> None:
    instants = first * DAY + np.array(offsets)
    grid = calendar.grid(timeframe, (first - 8) * DAY, (first + 11) * DAY)
    inside = (grid.open_us[:, None] <= instants) & (instants < grid.end_us[:, None])
    is_open = calendar.in_session(instants)
    assert (inside.sum(axis=0)[is_open] == 1).all()
    if timeframe is not Timeframe.W:  # a week spans its nights and holidays
        assert (inside.sum(axis=0)[~is_open] == 0).all()


@EVERY_CALENDAR
@settings(deadline=None, max_examples=15)
@given(
    first=st.one_of(DAYS, st.sampled_from(HARD_DAYS)),
    base=st.sampled_from([Timeframe.M15, Timeframe.M30, Timeframe.H1]),
    data=st.data(),
)
def test_what_is_missing_is_counted_and_nothing_else(
    calendar: SessionCalendar, first: int, base: Timeframe, data: st.DataObject
) -> None:
    grid = calendar.grid(base, first * DAY, (first + 9) * DAY)
    n = grid.open_us.size
    lost = data.draw(st.sets(st.integers(0, n - 1), max_size=n // 2))
    kept = np.array([i not in lost for i in range(n)])
    anchor = None if calendar.name == "us_equity" else calendar.anchor
    instrument = Instrument("X", "any", calendar.name, "test", "X", base, 0.01, 1.0, anchor)
    raw = pl.DataFrame(
        {"ts": pl.Series(grid.open_us[kept]).cast(INSTANT), "source": ["test"] * int(kept.sum())}
    ).with_columns(*(pl.lit(1.0).alias(c) for c in ("open", "high", "low", "close", "volume")))
    for timeframe in base.and_coarser():
        built = candles.build(raw, instrument=instrument, timeframe=timeframe, watermark_us=0)
        assert built.n_out_of_session == 0
        opens = built.rows["ts"].to_physical().to_numpy()
        ends = built.rows["known_at"].to_physical().to_numpy()
        present = grid.open_us[kept]
        held = np.searchsorted(present, ends) - np.searchsorted(present, opens)
        assert held.sum() == present.size  # every base bar is in exactly one
        around = calendar.grid(base, int(opens.min()), int(ends.max())).open_us
        scheduled = np.searchsorted(around, ends) - np.searchsorted(around, opens)
        assert built.rows["n_missing"].to_list() == (scheduled - held).tolist()
        assert built.rows["volume"].to_list() == held.tolist()
