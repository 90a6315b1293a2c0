"""Files by path and column map: every option, and the conventions of real sources."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from market.errors import InputError, ProviderDataError
from market.instruments import Instrument
from market.timeframes import Timeframe
from providers.csv.provider import CsvProvider

HEADER = "ts,open,high,low,close,volume\n"


def _instrument(calendar: str = "crypto", timeframe: str = "M1", **options: Any) -> Instrument:
    base = Timeframe.parse(timeframe)
    return Instrument("X", "any", calendar, "csv", "X", base, 0.01, 1.0, options=options)


def _all(instrument: Instrument) -> pl.DataFrame:
    provider = CsvProvider()
    return provider.fetch(instrument, *provider.span(instrument)).frame


def _stamps(instrument: Instrument) -> list[str]:
    return _all(instrument)["ts"].dt.strftime("%Y-%m-%dT%H:%M:%S").to_list()


@pytest.mark.parametrize(
    ("stamp", "options"),
    [
        ("2021-07-01 12:00:00", {}),
        ("2021-07-01T12:00:00", {}),
        ("2021-07-01T12:00:00Z", {"timezone": "America/New_York"}),
        ("2021-07-01 14:00:00+02:00", {}),
        ("2021-07-01 12:00:00.000", {}),
        ("2021-07-01 08:00", {"timezone": "America/New_York"}),
        ("20210701 080000", {"timezone": "America/New_York", "timestamp_format": "%Y%m%d %H%M%S"}),
        ("1625140800", {"timestamp_unit": "s"}),
        ("1625140800000", {"timestamp_unit": "ms"}),
        ("1625140800000000", {"timestamp_unit": "us"}),
        ("1625140800000000000", {"timestamp_unit": "ns"}),
        ("2021-07-01 12:01:00", {"stamp": "close"}),
    ],
)
def test_stamps_of_every_kind_become_utc_opens(
    tmp_path: Path, stamp: str, options: dict[str, Any]
) -> None:
    file = tmp_path / "bars.csv"
    file.write_text(f"{HEADER}{stamp},1,2,0.5,1.5,3\n")
    assert _stamps(_instrument(path=str(file), **options)) == ["2021-07-01T12:00:00"]


def test_numbers_for_stamps_without_a_unit_are_refused(tmp_path: Path) -> None:
    pl.DataFrame(
        {"ts": [1625140800], "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0}
    ).write_parquet(tmp_path / "bars.parquet")
    columns = {c: c for c in ("ts", "open", "high", "low", "close")}
    instrument = _instrument(path=str(tmp_path / "bars.parquet"), columns=columns, volume="none")
    with pytest.raises(ProviderDataError, match=r"bars.parquet row 1: .*set timestamp_unit"):
        _all(instrument)


def test_columns_by_position_two_stamp_columns_and_a_separator(tmp_path: Path) -> None:
    file = tmp_path / "mt.csv"
    file.write_text("2021.07.01;12:00;1;2;0.5;1.5;3\n2021.07.01;12:01;1;2;0.5;1.5;\n")
    columns = {"ts": [0, 1], "open": 2, "high": 3, "low": 4, "close": 5, "volume": 6}
    instrument = _instrument(
        path=str(file),
        columns=columns,
        has_header=False,
        separator=";",
        timestamp_format="%Y.%m.%d %H:%M",
    )
    assert _stamps(instrument) == ["2021-07-01T12:00:00", "2021-07-01T12:01:00"]
    assert _all(instrument)["volume"].to_list() == [3.0, None]


def test_a_glob_is_read_in_the_order_of_time(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"{HEADER}2021-07-02 00:00:00,1,2,0.5,1.5,3\n")
    (tmp_path / "b.csv").write_text(f"{HEADER}2021-07-01 00:00:00,1,2,0.5,1.5,3\n")
    assert _stamps(_instrument(path=str(tmp_path / "*.csv"))) == [
        "2021-07-01T00:00:00",
        "2021-07-02T00:00:00",
    ]


def test_disorder_and_duplicates_are_left_for_the_check_of_bars(tmp_path: Path) -> None:
    file = tmp_path / "bars.csv"
    rows = [f"2021-07-01 00:0{m}:00,1,2,0.5,1.5,3\n" for m in (1, 0, 0)]
    file.write_text(HEADER + "".join(rows))
    assert [s[-5:] for s in _stamps(_instrument(path=str(file)))] == ["01:00", "00:00", "00:00"]


def test_a_file_that_grows_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "bars.csv"
    file.write_text(f"{HEADER}2021-07-01 00:00:00,1,2,0.5,1.5,3\n")
    provider, instrument = CsvProvider(), _instrument(path=str(file))
    before = provider.span(instrument)
    with file.open("a") as more:
        more.write("2021-07-01 00:01:00,1,2,0.5,1.5,3\n")
    os.utime(file, ns=(0, 0))
    assert provider.span(instrument)[1] == before[1] + 60_000_000


def test_another_instrument_does_not_get_the_kept_bars(tmp_path: Path) -> None:
    file = tmp_path / "bars.csv"
    file.write_text(f"{HEADER}2021-07-01 00:00:00,1,2,0.5,1.5,3\n")
    provider, instrument = CsvProvider(), _instrument(path=str(file))
    shifted = dataclasses.replace(instrument, options={**instrument.options, "stamp": "close"})
    assert provider.span(shifted)[0] == provider.span(instrument)[0] - 60_000_000


def test_the_watermark_is_the_last_bars_scheduled_end_or_what_is_told(tmp_path: Path) -> None:
    file = tmp_path / "bars.csv"
    # Friday's session ends at 17:00 New York; a day of this calendar opens at 17:00 the day before
    file.write_text(f"{HEADER}2021-03-11 22:00:00,1,2,0.5,1.5,3\n")
    daily = _instrument("fx", "D", path=str(file))
    assert CsvProvider().fetch(daily, 0, 1).watermark_us == 1_615_586_400_000_000
    told = _instrument("fx", "D", path=str(file), complete_until="2021-04-01T00:00:00Z")
    assert CsvProvider().fetch(told, 0, 1).watermark_us == 1_617_235_200_000_000


ZERO = "2021-07-01 00:00:00,1,2,0.5,1.5,0\n"


def test_zero_volume_throughout_wants_a_word(tmp_path: Path) -> None:
    file = tmp_path / "bars.csv"
    file.write_text(HEADER + ZERO)
    with pytest.raises(ProviderDataError, match=r"volume to 'none'.* or 'zero'"):
        _all(_instrument(path=str(file)))
    assert _all(_instrument(path=str(file), volume="none"))["volume"].to_list() == [None]
    assert _all(_instrument(path=str(file), volume="zero"))["volume"].to_list() == [0.0]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({}, "price 'trade' needs path"),
        ({"path": "a", "price": "mid"}, "mid needs bid_path and ask_path"),
        ({"path": "a", "price": "bid", "bid_path": "b"}, "but not both"),
        ({"path": "a", "timezone": "Mars/Base"}, r"options\.timezone: .* IANA"),
        ({"path": "a", "stamp": "middle"}, r"options\.stamp: .*'open' or 'close'"),
        ({"path": "a", "columns": {"ts": "t", "opened": "o"}}, "unknown: opened; missing: open, "),
        ({"path": "a", "timestamp_unit": "s", "timestamp_format": "%Y"}, "but not both"),
        ({"path": "a", "timezon": "UTC"}, r"was 'timezon' \(did you mean 'timezone'\?\)"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(options: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError, match=what):
        CsvProvider().span(_instrument(**options))


# real sources -----------------------------------------------------------------------------------


def test_cme_futures_are_close_stamped(shared_data: Path) -> None:
    path = shared_data / "ohlcv" / "6EH4_1m_cme_202401.parquet"
    recorded = pl.read_parquet(path)
    bars = _all(_instrument("fx", "M1", path=str(path), stamp="close"))
    assert bars["ts"].equals(recorded["ts"].dt.offset_by("-1m"))
    assert bars["ts"].dt.minute()[0] == 0  # 23:01 by the file: the session's first minute
    assert bars.drop("ts").equals(recorded.select("open", "high", "low", "close", "volume"))


def test_histdata_is_new_york_wall_clock_without_volume(shared_data: Path, tmp_path: Path) -> None:
    recorded = pl.read_parquet(shared_data / "ohlcv" / "EURUSD_1m_histdata_201701-201704.parquet")
    wall = recorded.select(
        pl.col("ts").dt.convert_time_zone("America/New_York").dt.strftime("%Y%m%d %H%M%S"),
        "open", "high", "low", "close", "volume",
    )  # fmt: skip
    wall.write_csv(tmp_path / "DAT_ASCII.csv", separator=";", include_header=False)
    names = ("ts", "open", "high", "low", "close", "volume")
    instrument = _instrument(
        "fx",
        "M1",
        path=str(tmp_path / "DAT_ASCII.csv"),
        has_header=False,
        separator=";",
        columns={name: i for i, name in enumerate(names)},
        timestamp_format="%Y%m%d %H%M%S",
        timezone="America/New_York",
        price="bid",
        volume="none",
    )
    bars = _all(instrument)
    assert bars.drop("volume").equals(recorded.select("ts", "open", "high", "low", "close"))
    assert bars["volume"].null_count() == len(recorded)


def test_fxcm_bid_and_ask_make_a_mid(shared_data: Path) -> None:
    paths = {
        f"{side}_path": str(shared_data / "ohlcv" / f"USDJPY_1m_fxcm_{side}.parquet")
        for side in ("bid", "ask")
    }
    bars = _all(_instrument("fx", "M1", price="mid", **paths))
    bid, ask = (pl.read_parquet(paths[f"{side}_path"]) for side in ("bid", "ask"))
    assert bars["ts"].equals(bid["ts"])
    for price in ("open", "high", "low", "close"):
        assert bars[price].equals((bid[price] + ask[price]) / 2)
    assert bars["volume"].null_count() == len(bid)
    assert _all(_instrument("fx", "M1", price="ask", ask_path=paths["ask_path"]))["open"].equals(
        ask["open"]
    )


def test_an_index_has_no_volume(shared_data: Path) -> None:
    path = str(shared_data / "ohlcv" / "SP500_1m_mplfinance_201911.parquet")
    with pytest.raises(ProviderDataError, match="was 0 throughout"):
        _all(_instrument("us_equity", "M1", path=path))
    assert _all(_instrument("us_equity", "M1", path=path, volume="none"))["volume"].is_null().all()


def test_holes_stay_holes(shared_data: Path) -> None:
    path = shared_data / "ohlcv" / "BTCUSD_1m_coinbase_days.parquet"
    recorded = pl.read_parquet(path)
    assert _all(_instrument("crypto", "M1", path=str(path))).equals(recorded.drop("instrument"))


def test_a_binance_dump_has_no_header_and_milliseconds(shared_data: Path) -> None:
    path = shared_data / "rest" / "binancevision_ADABTC-1m-2021-11-27.csv"
    names = ("ts", "open", "high", "low", "close", "volume")
    bars = _all(
        _instrument(
            path=str(path),
            has_header=False,
            columns={name: i for i, name in enumerate(names)},
            timestamp_unit="ms",
        )
    )
    assert len(bars) == 10
    assert bars.row(0)[1:] == (2.853e-05, 2.854e-05, 2.851e-05, 2.854e-05, 36304.2)
