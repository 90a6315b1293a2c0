"""The exchange's answers against recordings, and its bars page by page."""

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from market.instruments import Instrument
from market.settings import ProviderSettings
from market.timeframes import Timeframe
from providers.binance.parsing import INTERVALS, interval_open, parse_klines, to_bars
from providers.binance.provider import build
from tests.fakes.exchange import INTERVAL_MS, Exchange

MINUTE_US = 60_000_000


def _instrument(timeframe: Timeframe, symbol: str = "BTCUSDT") -> Instrument:
    return Instrument(symbol, "crypto", "crypto", "binance", symbol, timeframe, 0.01, 1.0)


def _fetch(exchange: Exchange, instrument: Instrument, start: int, end: int) -> pl.DataFrame:
    return build(ProviderSettings(binance_url=exchange.url)).fetch(instrument, start, end).frame


@pytest.fixture
def recorded(shared_data: Path) -> pl.DataFrame:
    path = shared_data / "ohlcv" / "BTCUSDT_5m_binance_202104-202105.parquet"
    return pl.read_parquet(path).drop("instrument")


@pytest.fixture
def exchange(recorded: pl.DataFrame) -> Iterator[Exchange]:
    now_ms = recorded["ts"].dt.epoch("ms")[-1] + 2 * 60_000  # the last bar is running
    with Exchange(now_ms=now_ms) as running:
        running.list_bars("BTCUSDT", "5m", recorded)
        yield running


def test_the_recorded_answer_reads(shared_data: Path) -> None:
    body = (shared_data / "rest" / "nautilus_binance" / "http_spot_market_klines.json").read_bytes()
    klines = parse_klines(body)
    bars = to_bars(klines, server_ms=klines[-1][6] + 1)
    assert len(bars) == len(json.loads(body))
    assert bars.row(0)[1:] == (60685.22, 60729.84, 60670.9, 60719.27, 21.63272)
    assert bars["ts"].dt.epoch("ms")[0] == 1634943780000


def test_the_loopback_exchange_answers_in_the_recorded_shape(
    shared_data: Path, exchange: Exchange
) -> None:
    body = (shared_data / "rest" / "nautilus_binance" / "http_spot_market_klines.json").read_bytes()
    real = json.loads(body)[0]
    _, ours = exchange.answer({"symbol": "BTCUSDT", "interval": "5m", "limit": "1"})
    assert [type(field) for field in ours[0]] == [type(field) for field in real]
    assert [str(f).partition(".")[2] != "" for f in ours[0]] == [
        str(f).partition(".")[2] != "" for f in real
    ]
    assert ours[0][6] - ours[0][0] == 299_999


@pytest.mark.slow
def test_pages_join_to_the_recorded_bars_but_the_running_one(
    exchange: Exchange, recorded: pl.DataFrame
) -> None:
    first, last = recorded["ts"].to_physical()[0], recorded["ts"].to_physical()[-1]
    instrument = _instrument(Timeframe.M5)
    provider = build(ProviderSettings(binance_url=exchange.url))
    bars = provider.fetch(instrument, first, last + 5 * MINUTE_US)
    assert bars.frame.equals(recorded[:-1])  # an outage of 57 bars inside stays one
    assert bars.watermark_us == last
    assert len(exchange.pages) == 9
    assert {page.query["limit"] for page in exchange.pages} == {"1000"}
    assert provider.span(instrument) == (first, last)


def test_a_window_is_asked_for_and_no_more(exchange: Exchange, recorded: pl.DataFrame) -> None:
    stamps = recorded["ts"].to_physical()
    assert _fetch(exchange, _instrument(Timeframe.M5), stamps[10], stamps[20]).equals(
        recorded[10:20]
    )
    assert exchange.pages[0].query["startTime"] == str(stamps[10] // 1_000)
    assert exchange.pages[0].query["endTime"] == str(stamps[20] // 1_000 - 1)
    assert len(exchange.pages) == 1


def test_a_bar_is_running_until_its_close_time_has_passed(
    exchange: Exchange, recorded: pl.DataFrame
) -> None:
    last = recorded["ts"].to_physical()[-1]
    close_ms = last // 1_000 + 299_999
    for now_ms, delivered in [(close_ms - 1, 0), (close_ms, 0), (close_ms + 1, 1)]:
        exchange.now_ms = now_ms
        bars = _fetch(exchange, _instrument(Timeframe.M5), last, last + 5 * MINUTE_US)
        assert len(bars) == delivered


def test_the_published_dump_comes_back_as_it_is(shared_data: Path) -> None:
    dump = shared_data / "rest" / "binancevision_ADABTC-1m-2021-11-27.csv"
    with Exchange(now_ms=1_637_980_000_000) as exchange:
        exchange.list_dump("ADABTC", "1m", dump)
        start = 1_637_971_200_000_000
        bars = _fetch(exchange, _instrument(Timeframe.M1, "ADABTC"), start, start + 10**12)
    lines = [line.split(",") for line in dump.read_text().splitlines()]
    assert bars["close"].to_list() == [float(line[4]) for line in lines]


@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_every_base_timeframe_has_its_interval(timeframe: Timeframe) -> None:
    interval = INTERVALS[timeframe]
    assert INTERVAL_MS[interval] * 1_000 == timeframe.microseconds
    now_ms = 1_634_943_801_234  # Friday 2021-10-22 23:03:21
    opened = interval_open(now_ms, timeframe)
    assert opened <= now_ms < opened + INTERVAL_MS[interval]
    assert interval_open(1_634_943_801_234, Timeframe.W) == 1_634_515_200_000  # Monday 18th
