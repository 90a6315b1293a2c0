"""A source that fails: a clear error that names it, nothing partial, and the next try works."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from pydantic import SecretStr

from market.errors import ProviderDataError, ProviderError, ProviderUnavailableError
from market.instruments import Instrument
from market.settings import ProviderSettings
from market.timeframes import Timeframe
from providers.binance.client import BinanceClient
from providers.binance.provider import BinanceProvider
from providers.csv.provider import CsvProvider
from tests.fakes.exchange import Exchange, Fault

pytestmark = pytest.mark.slow

START_US = 1_609_459_200_000_000
MINUTE_US = 60_000_000
N = 2_300  # three pages
END_US = START_US + N * MINUTE_US
BTC = Instrument("BTC", "crypto", "crypto", "binance", "BTCUSDT", Timeframe.M1, 0.01, 1.0)


def _bars() -> pl.DataFrame:
    price = 100.0 + pl.int_range(N, eager=True) % 7
    ts = (START_US + MINUTE_US * pl.int_range(N, eager=True)).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame(
        {"ts": ts, "open": price, "high": price + 1, "low": price - 1, "close": price}
    ).with_columns(volume=pl.lit(2.5))


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with Exchange(now_ms=END_US // 1_000) as running:
        running.list_bars("BTCUSDT", "1m", _bars())
        yield running


def _provider(
    exchange: Exchange, *, retries: int = 3, timeout_s: float = 5.0
) -> tuple[BinanceProvider, list[float]]:
    """Return a provider of this exchange, and the list of seconds that it slept."""
    slept: list[float] = []
    settings = ProviderSettings(
        binance_url=exchange.url,
        binance_api_key=SecretStr("secret-key"),
        retries=retries,
        timeout_s=timeout_s,
    )
    return BinanceProvider(lambda: BinanceClient(settings, sleep=slept.append)), slept


TRANSIENT = {
    "429": (Fault("status", status=429, retry_after="7"), [7.0]),
    "418": (Fault("status", status=418, retry_after="30"), [30.0]),
    "429 without Retry-After": (Fault("status", status=429), [0.5]),
    "429 with a date": (Fault("status", 429, "Wed, 21 Oct 2026 07:28:00 GMT"), [0.5]),
    "500": (Fault("status", status=500), [0.5]),
    "truncated": (Fault("truncated"), [0.5]),
    "closed": (Fault("closed"), [0.5]),
    "empty": (Fault("empty"), []),
    "short": (Fault("short"), []),
}


@pytest.mark.parametrize("name", TRANSIENT)
def test_a_fault_that_passes_costs_a_retry_and_no_bar(exchange: Exchange, name: str) -> None:
    fault, waits = TRANSIENT[name]
    exchange.faults[2] = fault
    provider, slept = _provider(exchange)
    bars = provider.fetch(BTC, START_US, END_US)
    assert bars.frame.equals(_bars())
    assert slept == waits
    assert len(exchange.pages) == 4


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Fault("status", status=503), "was 503"),
        (Fault("status", status=429, retry_after="1"), "was 429, to be asked again after 1 s"),
        (Fault("truncated"), "expected JSON, was broken off"),
        (Fault("closed"), "broken connection"),
    ],
)
def test_a_fault_that_stays_names_symbol_page_and_cause(
    exchange: Exchange, fault: Fault, cause: str
) -> None:
    exchange.faults = dict.fromkeys(range(3, 7), fault)
    provider, slept = _provider(exchange)
    with pytest.raises(ProviderUnavailableError) as caught:
        provider.fetch(BTC, START_US, END_US)
    message = str(caught.value)
    assert re.search(r"binance BTCUSDT, page 3 \(from 2021-01-02T09:20:00\+00:00\)", message)
    assert cause in message
    assert "attempt 4, the last" in message
    assert len(slept) == 3
    exchange.faults.clear()
    assert provider.fetch(BTC, START_US, END_US).frame.equals(_bars())


def test_waits_double_and_are_bounded_by_the_number_of_retries(exchange: Exchange) -> None:
    exchange.every = Fault("status", status=500)
    provider, slept = _provider(exchange, retries=4)
    with pytest.raises(ProviderUnavailableError):
        provider.fetch(BTC, START_US, END_US)
    assert slept == [0.5, 1.0, 2.0, 4.0]


def test_a_ban_of_hours_is_not_sat_out(exchange: Exchange) -> None:
    exchange.every = Fault("status", status=418, retry_after="7200")
    provider, slept = _provider(exchange)
    with pytest.raises(ProviderUnavailableError, match="asked again after 7200 s"):
        provider.fetch(BTC, START_US, END_US)
    assert slept == []
    assert len(exchange.pages) == 1


def test_a_slow_answer_ends_at_the_timeout(exchange: Exchange) -> None:
    exchange.every = Fault("slow")
    provider, slept = _provider(exchange, retries=1, timeout_s=0.05)
    with pytest.raises(ProviderUnavailableError, match=r"within 0\.05 s, was none \(ReadTimeout"):
        provider.fetch(BTC, START_US, END_US)
    assert slept == [0.5]


def test_nobody_listening_is_unavailable() -> None:
    with Exchange(now_ms=0) as gone:
        provider, slept = _provider(gone, retries=2)
    with pytest.raises(ProviderUnavailableError, match=r"BTCUSDT, server time: .*ConnectError"):
        provider.fetch(BTC, START_US, END_US)
    assert len(slept) == 2


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (Fault("duplicate"), r"page 2 .*row 6, openTime: expected > \d+ and < \d+, was \d+"),
        (Fault("field"), r"page 2 .*row 3, low: expected .* string, was None"),
        (Fault("eleven"), r"page 2 .*row 3, ignore: expected Field required"),
    ],
)
def test_a_wrong_answer_is_not_asked_for_again(exchange: Exchange, fault: Fault, what: str) -> None:
    exchange.faults[2] = fault
    provider, slept = _provider(exchange)
    with pytest.raises(ProviderDataError, match=what):
        provider.fetch(BTC, START_US, END_US)
    assert slept == []
    assert len(exchange.pages) == 2


def test_an_unknown_symbol_says_what_the_exchange_said(exchange: Exchange) -> None:
    nothing = Instrument("X", "crypto", "crypto", "binance", "NOSUCH", Timeframe.M1, 0.01, 1.0)
    provider, slept = _provider(exchange)
    with pytest.raises(
        ProviderDataError, match=r"binance NOSUCH, page 1 .*was 400: Invalid symbol"
    ):
        provider.fetch(nothing, START_US, END_US)
    assert slept == []


def test_the_key_is_sent_and_never_shown(exchange: Exchange) -> None:
    provider, _ = _provider(exchange, retries=0)
    provider.fetch(BTC, START_US, START_US + MINUTE_US)
    assert exchange.asked[-1].headers["x-mbx-apikey"] == "secret-key"
    client = BinanceClient(
        ProviderSettings(binance_url=exchange.url, binance_api_key=SecretStr("secret-key"))
    )
    with client:
        shown = repr(client) + repr(vars(client))
    assert "secret-key" not in shown
    exchange.every = Fault("status", status=500)
    with pytest.raises(ProviderError) as caught:
        provider.fetch(BTC, START_US, END_US)
    assert "secret-key" not in repr(caught.value)


GOOD = "2021-01-01 00:00:00,1,2,0.5,1.5,10\n"
HEADER = "ts,open,high,low,close,volume\n"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (HEADER + GOOD + "2021-01-01 00:01:00,1,2,x,1.5,10\n", "line 3, low: .*was 'x'"),
        (HEADER + GOOD + "\n2021-01-01 00:01:00,1,2,,1.5,10\n", "line 4, low: .*was ''"),
        (HEADER + GOOD + "2021-01-01 00:01:00,nan,2,1,1.5,10\n", "line 3, open: .*was 'nan'"),
        (HEADER + GOOD + "2021-01-01 00:01:00,1,2,1,1.5,inf\n", "line 3, volume: .*was 'inf'"),
        (HEADER + GOOD + "2021-13-01 00:01:00,1,2,1,1.5,1\n", "line 3, ts: .*was '2021-13-01"),
        (HEADER + GOOD + "2021-01-01 00:01:00,1,2,1\n", "line 3: expected 6 fields, was 4"),
        (HEADER + GOOD + "2021-01-01 00:01:00,1,2,1,1,1,9\n", "line 3: expected 6 fields, was 7"),
        (HEADER + GOOD * 2 + "2021-01-01 00", "line 4: expected 6 fields, was 1"),
        ("ts,open,high,low,Close,volume\n" + GOOD, r"'close' for close.*did you mean 'Close'"),
        ("", "expected CSV, was: empty CSV"),
        (HEADER, "expected bars, was none"),
    ],
)
def test_a_malformed_file_is_named_with_its_line(tmp_path: Path, text: str, what: str) -> None:
    file = tmp_path / "bars.csv"
    file.write_text(text)
    with pytest.raises(ProviderDataError, match=what) as caught:
        CsvProvider().fetch(_csv(file), START_US, END_US)
    assert "bars.csv" in str(caught.value) or "BTC" in str(caught.value)
    file.write_text(HEADER + GOOD)
    assert len(CsvProvider().fetch(_csv(file), START_US, END_US).frame) == 1


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda _: None, "expected a file, was nothing at"),
        (lambda file: file.mkdir(), "bars.parquet: expected"),
        (lambda file: file.write_bytes(b"PAR1 but no more"), "bars.parquet: expected Parquet"),
    ],
)
def test_a_file_that_is_not_one_is_named(
    tmp_path: Path, make: Callable[[Path], object], what: str
) -> None:
    file = tmp_path / "bars.parquet"
    make(file)
    with pytest.raises(ProviderDataError, match=what):
        CsvProvider().fetch(_csv(file), START_US, END_US)


def _csv(file: Path) -> Instrument:
    return Instrument(
        "BTC",
        "crypto",
        "crypto",
        "csv",
        "BTC",
        Timeframe.M1,
        0.01,
        1.0,
        options={"path": str(file)},
    )
