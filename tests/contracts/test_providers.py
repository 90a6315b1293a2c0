"""What every provider keeps to, numbered: one suite over all that the registry knows.

A new provider adds a subject here; the suite fails for a registered one that has none.

P01 its name is the registry's              P07 prices are finite and positive, none null
P02 exactly the columns and types of a bar  P08 volume is null, or a number >= 0
P03 a window is half-open                   P09 nothing comes from outside the span
P04 neighbouring windows tile               P10 every bar has ended by the watermark
P05 asking again gives the same             P11 an empty window is empty, a backward one refused
P06 bars come in order, each once           P12 an option that is not known is named
P13 a fingerprint stays while the bars do, and windows with other bars have others; or it has none
"""

import dataclasses
import importlib.util
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import SecretStr

from market.errors import InputError
from market.instruments import Instrument
from market.ports import Bars, Provider
from market.settings import ProviderSettings
from market.timeframes import Timeframe
from providers import registry
from providers.conventions import BAR_SCHEMA, PRICES
from tests.fakes.exchange import Exchange

HOUR_US = 3_600_000_000
START_US = 1_609_459_200_000_000  # 2021-01-01


@dataclass(frozen=True)
class Subject:
    """A provider and an instrument that it can deliver."""

    provider: Provider
    instrument: Instrument

    def all(self) -> Bars:
        """Return all that the provider's span promises."""
        return self.provider.fetch(self.instrument, *self.provider.span(self.instrument))


def _instrument(provider: str, **changes: object) -> Instrument:
    plain = Instrument(
        id="EURUSD",
        asset_class="fx",
        calendar="fx",
        provider=provider,
        symbol="EURUSD",
        base_timeframe=Timeframe.H1,
        tick_size=0.00001,
        lot_size=1.0,
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def _settings(url: str = "http://127.0.0.1:1") -> ProviderSettings:
    return ProviderSettings(binance_url=url, binance_api_key=SecretStr(""), retries=0)


def _walk(n: int) -> pl.DataFrame:
    """Return ``n`` hourly bars with a hole in the middle and prices of eight decimals."""
    rng = np.random.default_rng(5)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.01, n))), 8)
    opened = np.concatenate([[100.0], close[:-1]])
    ts = START_US + HOUR_US * (np.arange(n) + np.where(np.arange(n) > n // 2, 5, 0))
    return pl.DataFrame(
        {
            "ts": pl.Series(ts).cast(pl.Datetime("us", "UTC")),
            "open": opened,
            "high": np.maximum(opened, close) + 1,
            "low": np.minimum(opened, close) - 1,
            "close": close,
            "volume": rng.integers(1, 100, n).astype(float),
        }
    )


@contextmanager
def _sample(_: Path) -> Iterator[Subject]:
    if importlib.util.find_spec("backtesting") is None:
        pytest.skip("the sample's package is not installed: pip install wavehouse[demo]")
    yield Subject(registry.build("sample", _settings()), _instrument("sample"))


@contextmanager
def _csv(folder: Path) -> Iterator[Subject]:
    _walk(50).write_csv(folder / "bars.csv", datetime_format="%Y-%m-%d %H:%M:%S")
    options = {"path": str(folder / "bars.csv")}
    yield Subject(registry.build("csv", _settings()), _instrument("csv", options=options))


@contextmanager
def _binance(_: Path) -> Iterator[Subject]:
    bars = _walk(2_500)
    now_ms = bars["ts"].dt.epoch("ms")[-1] + 10 * 60_000  # the last bar is running
    with Exchange(now_ms=now_ms) as exchange:
        exchange.list_bars("BTCUSDT", "1h", bars)
        instrument = _instrument("binance", id="BTC", symbol="BTCUSDT", calendar="crypto")
        yield Subject(registry.build("binance", _settings(exchange.url)), instrument)


@contextmanager
def _synthetic(_: Path) -> Iterator[Subject]:
    options = {"start": "2021-02-10", "end": "2021-04-20", "missing_rate": 0.05}
    instrument = _instrument("synthetic", options=options)
    yield Subject(registry.build("synthetic", _settings()), instrument)


SUBJECTS: dict[str, Callable[[Path], AbstractContextManager[Subject]]] = {
    "sample": _sample,
    "csv": _csv,
    "binance": _binance,
    "synthetic": _synthetic,
}


@pytest.fixture(params=registry.names())
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    with SUBJECTS[request.param](tmp_path) as made:
        assert made.provider.name == request.param  # P01
        yield made


def _stamps(bars: Bars) -> list[int]:
    return bars.frame["ts"].to_physical().to_list()


def test_p01_every_registered_provider_has_a_subject() -> None:
    assert set(SUBJECTS) == set(registry.names())


def test_p02_columns_and_types_are_those_of_a_bar(subject: Subject) -> None:
    assert dict(subject.all().frame.schema) == dict(BAR_SCHEMA)


def test_p03_a_window_holds_its_start_and_not_its_end(subject: Subject) -> None:
    whole = subject.all().frame
    stamps = whole["ts"].to_physical()
    first, last = len(whole) // 3, 2 * len(whole) // 3
    part = subject.provider.fetch(subject.instrument, stamps[first], stamps[last]).frame
    assert len(part) > 0
    assert part.equals(whole[first:last])


def test_p04_neighbouring_windows_tile(subject: Subject) -> None:
    start, end = subject.provider.span(subject.instrument)
    cuts = [start, start + (end - start) // 7, start + (end - start) // 2 + 1, end]
    parts = [
        subject.provider.fetch(subject.instrument, a, b).frame for a, b in itertools.pairwise(cuts)
    ]
    assert pl.concat(parts).equals(subject.all().frame)


def test_p05_asking_again_gives_the_same(subject: Subject) -> None:
    once, again = subject.all(), subject.all()
    assert once.frame.equals(again.frame)
    assert once.watermark_us == again.watermark_us


def test_p06_bars_come_in_order_each_once(subject: Subject) -> None:
    stamps = _stamps(subject.all())
    assert len(stamps) > 10
    assert all(a < b for a, b in itertools.pairwise(stamps))


def test_p07_prices_are_finite_and_positive(subject: Subject) -> None:
    frame = subject.all().frame
    for price in PRICES:
        assert frame[price].null_count() == 0
        assert frame[price].is_finite().all()
        assert (frame[price] > 0).all()
    assert (frame["high"] >= frame[["open", "close"]].max_horizontal()).all()
    assert (frame["low"] <= frame[["open", "close"]].min_horizontal()).all()


def test_p08_volume_is_null_or_a_number(subject: Subject) -> None:
    volume = subject.all().frame["volume"].drop_nulls()
    assert volume.is_finite().all()
    assert (volume >= 0).all()


def test_p09_nothing_comes_from_outside_the_span(subject: Subject) -> None:
    start, end = subject.provider.span(subject.instrument)
    far = 400 * 24 * HOUR_US
    wide = subject.provider.fetch(subject.instrument, start - far, end + far).frame
    assert wide.equals(subject.all().frame)
    before = subject.provider.fetch(subject.instrument, start - far, start).frame
    after = subject.provider.fetch(subject.instrument, end, end + far).frame
    for outside in (before, after):
        assert outside.is_empty()
        assert dict(outside.schema) == dict(BAR_SCHEMA)


def test_p10_every_bar_has_ended_by_the_watermark(subject: Subject) -> None:
    bars = subject.all()
    assert max(_stamps(bars)) + HOUR_US <= bars.watermark_us


def test_p11_an_empty_window_is_empty_and_a_backward_one_refused(subject: Subject) -> None:
    start, end = subject.provider.span(subject.instrument)
    assert subject.provider.fetch(subject.instrument, start, start).frame.is_empty()
    with pytest.raises(InputError, match="start <= end"):
        subject.provider.fetch(subject.instrument, end, start)


def test_p12_an_unknown_option_is_named(subject: Subject) -> None:
    options = {**subject.instrument.options, "volumes": "none"}
    wrong = dataclasses.replace(subject.instrument, options=options)
    with pytest.raises(InputError, match=r"options\.volumes: expected one of .*, was 'volumes'"):
        subject.provider.fetch(wrong, START_US, START_US + HOUR_US)


def test_p13_a_fingerprint_names_the_bars_of_its_window(subject: Subject) -> None:
    start, end = subject.provider.span(subject.instrument)
    cut = start + (end - start) // 2

    def fingerprint(first_us: int, last_us: int) -> str | None:
        return subject.provider.fingerprint(subject.instrument, first_us, last_us)

    halves = [fingerprint(start, cut), fingerprint(cut, end)]
    assert [fingerprint(start, cut), fingerprint(cut, end)] == halves
    is_remote = subject.provider.name == "binance"
    assert halves == [None, None] if is_remote else len({*halves, None}) == 3
