"""The made-up market: the same bars whatever window asks, and what they are like."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.calendars import calendar_for
from market.errors import InputError
from market.instruments import Instrument
from market.months import month_start
from market.timeframes import Timeframe
from providers.synthetic.provider import SyntheticProvider

PROVIDER = SyntheticProvider()


def _instrument(
    calendar: str = "fx", timeframe: Timeframe = Timeframe.M15, **options: Any
) -> Instrument:
    extent = {"start": "2020-10-05", "end": "2021-04-20"}
    return Instrument(
        "X", "any", calendar, "synthetic", "X", timeframe, 0.00001, 1.0, options=extent | options
    )


def _all(instrument: Instrument) -> pl.DataFrame:
    return PROVIDER.fetch(instrument, *PROVIDER.span(instrument)).frame


START, END = PROVIDER.span(_instrument())
WHOLE = _all(_instrument(missing_rate=0.02))


@settings(max_examples=40, deadline=None)
@given(st.integers(START - 10**12, END + 10**12), st.integers(0, END - START))
def test_any_window_shows_the_same_bars(start: int, length: int) -> None:
    found = PROVIDER.fetch(_instrument(missing_rate=0.02), start, start + length).frame
    opens = pl.col("ts").to_physical()
    assert found.equals(WHOLE.filter((opens >= start) & (opens < start + length)))


def test_a_later_end_and_an_earlier_start_move_no_bar() -> None:
    wide = _all(_instrument(missing_rate=0.02, start="1999-01-01", end="2035-06-01"))
    inside = wide.filter(pl.col("ts").to_physical().is_between(START, END, closed="left"))
    assert inside.head(len(WHOLE)).equals(WHOLE)
    assert len(inside) - len(WHOLE) <= 1  # the bar that had not ended by the end


@pytest.mark.parametrize("calendar", ["fx", "crypto", "us_equity"])
@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_every_scheduled_bar_comes_and_no_other(calendar: str, timeframe: Timeframe) -> None:
    instrument = _instrument(calendar, timeframe)
    start, end = PROVIDER.span(instrument)
    grid = calendar_for(instrument).grid(timeframe, start, end)
    bars = _all(instrument)
    assert bars["ts"].to_physical().to_list() == grid.open_us[grid.end_us <= end].tolist()
    assert (bars["high"] >= bars[["open", "close"]].max_horizontal()).all()
    assert (bars["low"] <= bars[["open", "close"]].min_horizontal()).all()
    assert (bars["low"] > 0).all()


def test_months_meet_within_a_tick() -> None:
    # over a decade's end, where the backbone is drawn anew and longer
    bars = _all(_instrument("crypto", Timeframe.H1, start="2019-09-01", end="2020-04-01"))
    gap = (bars["open"] - bars["close"].shift(1)).abs()
    assert bars["ts"].dt.month().n_unique() == 7
    assert (gap.max() or 0) <= 1.01e-5  # type: ignore[operator]


def test_prices_lie_on_ticks_as_decimals() -> None:
    bars = _all(_instrument())
    assert bars["close"].equals(bars["close"].round(5))
    coarse = dataclasses.replace(_instrument(price=5000.0), tick_size=0.25)
    assert ((_all(coarse)["close"] * 4) % 1 == 0).all()


def test_seed_and_name_make_another_market() -> None:
    plain = _all(_instrument())
    named = _all(dataclasses.replace(_instrument(), id="Y"))
    for other in (_all(_instrument(seed=1)), named):
        assert not other.equals(plain)
        assert other["ts"].equals(plain["ts"])


def test_missing_bars_are_as_many_as_asked_and_move_no_other() -> None:
    full, thin = (
        _all(_instrument("crypto", Timeframe.M1, missing_rate=rate)) for rate in (0.0, 0.1)
    )
    assert 0.07 < 1 - len(thin) / len(full) < 0.11
    assert thin.equals(full.join(thin.select("ts"), on="ts", how="semi", maintain_order="left"))
    holes = thin["ts"].diff().drop_nulls().dt.total_minutes()
    assert (holes == 2).sum() > 1_000
    assert (holes > 20).sum() > 50


def test_volume_is_none_where_told() -> None:
    assert _all(_instrument(volume="none"))["volume"].is_null().all()
    assert (_all(_instrument())["volume"] >= 1).all()


def test_it_looks_like_a_market() -> None:
    bars = _all(_instrument("crypto", Timeframe.M5, start="2015-01-01", end="2020-01-01"))
    returns = np.diff(np.log(bars["close"].to_numpy()))
    size = np.abs(returns)
    assert 0.4 < returns.std() * np.sqrt(365.25 * 288) < 0.85  # asked: 0.6 a year
    assert abs(np.corrcoef(returns[1:], returns[:-1])[0, 1]) < 0.02
    assert np.corrcoef(size[1:], size[:-1])[0, 1] > 0.15  # clustering
    assert np.corrcoef(size[288:], size[:-288])[0, 1] > 0.1  # ... that lasts a day
    assert np.mean(returns**4) / np.mean(returns**2) ** 2 > 4  # fat tails


def test_london_moves_more_than_the_night() -> None:
    bars = _all(_instrument("fx", Timeframe.M15, start="2019-01-01"))
    spread = bars.group_by(hour=pl.col("ts").dt.hour()).agg((pl.col("high") - pl.col("low")).mean())
    by_hour = dict(spread.iter_rows())
    assert by_hour[14] > 2 * by_hour[22]


def test_chunks_are_the_fetch_a_month_at_a_time() -> None:
    instrument = _instrument(missing_rate=0.02)
    chunks = list(PROVIDER.chunks(instrument, START, END))
    assert pl.concat(chunks).equals(WHOLE)
    assert all(chunk["ts"].dt.truncate("1mo").n_unique() == 1 for chunk in chunks)


def test_a_month_far_ahead_needs_none_before_it() -> None:
    instrument = _instrument(start="1970-01-01", end="2190-01-01")
    stream = PROVIDER.chunks(instrument, month_start("2189-11"), month_start("2190-01"))
    assert len(list(itertools.islice(stream, 2))) == 2


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"start": "2022-01-01"}, "start before end"),
        ({"end": "2300-01-01"}, "1970 to 2200"),
        ({"missing_rate": 0.9}, r"options\.missing_rate: .*was 0\.9"),
        ({"speed": 1}, r"options\.speed: .*did you mean 'seed'"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(options: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError, match=what):
        PROVIDER.span(_instrument(**options))
