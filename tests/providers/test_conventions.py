"""Time zones, stamps, sides and volume: what is undone at the border."""

import datetime as dt
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.calendars import calendar_for
from market.errors import ProviderDataError
from market.instruments import Instrument
from market.ports import Bars
from market.tables import INSTANT
from market.timeframes import Timeframe
from providers import conventions
from providers.conventions import WallTimes

NEW_YORK = "America/New_York"
AUTUMN = dt.datetime(2021, 11, 7, 1, 30)  # noqa: DTZ001 - wall clock, twice
SPRING = dt.datetime(2021, 3, 14, 2, 30)  # noqa: DTZ001 - wall clock, never
NOON = dt.datetime(2021, 7, 1, 12)  # noqa: DTZ001


def _utc(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)  # type: ignore[misc,arg-type]


def _to_utc(wall: dt.datetime, wall_times: WallTimes) -> dt.datetime:
    series = pl.Series([NOON, wall, None], dtype=pl.Datetime("us"))
    utc = conventions.to_utc(series, NEW_YORK, wall_times=wall_times, locate=lambda i: f"row {i}")
    assert utc.dtype == INSTANT
    assert utc[0] == _utc(2021, 7, 1, 16)
    assert utc[2] is None
    found = utc[1]
    assert isinstance(found, dt.datetime)
    return found


@pytest.mark.parametrize(("wall", "times"), [(AUTUMN, "twice"), (SPRING, "never")])
def test_a_wall_time_that_is_not_once_is_named(wall: dt.datetime, times: str) -> None:
    with pytest.raises(ProviderDataError, match=rf"^row 1: expected .* was {wall} \({times}\)"):
        _to_utc(wall, "raise")


def test_a_wall_time_that_is_not_once_is_read_as_told() -> None:
    assert _to_utc(AUTUMN, "earliest") == _utc(2021, 11, 7, 5, 30)
    assert _to_utc(AUTUMN, "latest") == _utc(2021, 11, 7, 6, 30)
    assert _to_utc(SPRING, "earliest") == _utc(2021, 3, 14, 6, 30)
    assert _to_utc(SPRING, "latest") == _utc(2021, 3, 14, 7, 30)


@given(st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2030, 1, 1)))  # noqa: DTZ001
def test_an_unambiguous_wall_time_equals_zoneinfo(wall: dt.datetime) -> None:
    zone = ZoneInfo(NEW_YORK)
    readings = {wall.replace(tzinfo=zone, fold=fold).astimezone(dt.UTC) for fold in (0, 1)}
    if len(readings) == 1:
        assert _to_utc(wall, "raise") == readings.pop()
    else:
        assert _to_utc(wall, "earliest") == min(readings)
        assert _to_utc(wall, "latest") == max(readings)


def _instrument(calendar: str, timeframe: Timeframe) -> Instrument:
    return Instrument("X", "any", calendar, "csv", "X", timeframe, 0.01, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("timeframe", list(Timeframe))
@pytest.mark.parametrize("calendar", ["fx", "crypto", "us_equity"])
def test_close_stamps_go_back_to_the_opens_of_the_calendar(
    calendar: str, timeframe: Timeframe
) -> None:
    # over both daylight saving changes: days of 23 and 25 hours, short last hours
    instrument = _instrument(calendar, timeframe)
    start, end = (round(_utc(2021, m, 1).timestamp()) * 1_000_000 for m in (3, 12))
    grid = calendar_for(instrument).grid(timeframe, start, end)
    closes = pl.Series("ts", grid.end_us).cast(INSTANT)
    opens = conventions.open_stamps(closes, instrument)
    assert opens.dtype == INSTANT
    assert opens.to_physical().to_list() == grid.open_us.tolist()


def test_a_close_stamp_off_the_grid_moves_by_the_nominal_length() -> None:
    closes = pl.Series("ts", [_utc(2021, 3, 6, 12, 7)]).cast(INSTANT)  # a Saturday
    opens = conventions.open_stamps(closes, _instrument("fx", Timeframe.H1))
    assert opens.to_list() == [_utc(2021, 3, 6, 11, 7)]


def _side(values: list[tuple[int, float, float | None]]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"ts": _utc(2021, 1, 1, 0, m), "open": p, "high": p + 2, "low": p - 1, "close": p + 1}
            | {"volume": v}
            for m, p, v in values
        ],
        schema=dict(conventions.BAR_SCHEMA),
    )


def test_mid_is_the_mean_of_both_sides_where_both_are() -> None:
    bid = _side([(0, 10, 1.0), (1, 11, None), (2, 12, 1.0)])
    ask = _side([(0, 11, 2.0), (1, 12, 2.0), (3, 13, 2.0)])
    assert conventions.mid(bid, ask).equals(_side([(0, 10.5, 3.0), (1, 11.5, None)]))


def test_missing_columns_are_listed_with_the_nearest_name() -> None:
    frame = pl.DataFrame({"Time": [1], "Close": [1.0]})
    with pytest.raises(ProviderDataError) as caught:
        conventions.take_columns(frame, {"ts": "Time", "close": "Clsoe"}, where="file x.csv")
    assert str(caught.value) == (
        "file x.csv: expected a column 'Clsoe' for close, was 'Time', 'Close' "
        "(did you mean 'Close'?)"
    )


def test_volume_of_zero_throughout_is_seen() -> None:
    assert conventions.has_only_zero_volume(_side([(0, 1, 0.0), (1, 1, None)]))
    assert not conventions.has_only_zero_volume(_side([(0, 1, 0.0), (1, 1, 3.0)]))
    assert not conventions.has_only_zero_volume(_side([(0, 1, None)]))


def _three_bars() -> Bars:
    ts = pl.Series("ts", [0, 60, 120]) * 1_000_000
    prices = {name: [1.0, 1.5, 2.0] for name in conventions.PRICES}
    frame = pl.DataFrame({"ts": ts.cast(INSTANT), **prices, "volume": [None, 0.0, 3.0]})
    return Bars(frame, watermark_us=180_000_000)


def _with(column: str, row: int, value: float | None) -> Bars:
    frame = _three_bars().frame
    values = frame[column].to_list()
    values[row] = value
    changed = frame.with_columns(pl.Series(column, values, dtype=frame.schema[column]))
    return Bars(changed, _three_bars().watermark_us)


@pytest.mark.parametrize(
    "changed",
    [
        *(_with(price, 1, 1.5 + 2**-52) for price in conventions.PRICES),
        _with("volume", 0, 0.0),
        _with("volume", 1, None),
        _with("ts", 1, dt.datetime(1970, 1, 1, 0, 1, 1, tzinfo=dt.UTC)),  # type: ignore[arg-type]
        Bars(_three_bars().frame[:2], 180_000_000),
        Bars(_three_bars().frame[[0, 2, 1]], 180_000_000),
        Bars(_three_bars().frame, 179_999_999),
    ],
)
def test_a_fingerprint_moves_with_every_bit(changed: Bars) -> None:
    whole = conventions.fingerprint(_three_bars(), 200_000_000)
    assert conventions.fingerprint(changed, 200_000_000) != whole


def test_what_comes_after_its_window_moves_no_fingerprint() -> None:
    later = Bars(_three_bars().frame, watermark_us=300_000_000)
    whole = conventions.fingerprint(_three_bars(), 180_000_000)
    assert conventions.fingerprint(later, 180_000_000) == whole
    assert conventions.fingerprint(Bars(later.frame.rechunk(), 300_000_000), 180_000_000) == whole
