"""``binance``: spot klines over REST, page by page, all of them or an error."""

import datetime as dt
from collections.abc import Callable
from typing import TypeVar

from market.errors import ProviderDataError, ProviderError
from market.instruments import Instrument
from market.ports import Bars, Provider
from market.settings import ProviderSettings
from providers.binance.client import BinanceClient
from providers.binance.parsing import INTERVALS, Kline, check_page, interval_open, to_bars
from providers.conventions import check_window
from providers.options import Options, parse

_US_PER_MS = 1_000

T = TypeVar("T")


class BinanceProvider:
    """Deliver closed bars of the exchange; ``connect`` opens a client for one fetch."""

    name = "binance"

    def __init__(self, connect: Callable[[], BinanceClient]) -> None:
        self._connect = connect

    def fetch(self, instrument: Instrument, start_us: int, end_us: int) -> Bars:
        """Return the closed bars that open in [start, end).

        The exchange's clock is read first, and what closes after that is left for the next time.
        The watermark is the open of the bar that was running then.
        """
        parse(Options, instrument)
        check_window(start_us, end_us)
        with self._connect() as client:
            server_ms = _named(client.server_time_ms, instrument, "server time")
            start_ms = -(-start_us // _US_PER_MS)
            end_ms = min(-(-end_us // _US_PER_MS), server_ms)
            klines = _all_pages(client, instrument, max(start_ms, 0), end_ms)
        running = interval_open(server_ms, instrument.base_timeframe)
        return Bars(to_bars(klines, server_ms=server_ms), running * _US_PER_MS)

    def span(self, instrument: Instrument) -> tuple[int, int]:
        """Return from the symbol's first bar to the open of the running one."""
        parse(Options, instrument)
        with self._connect() as client:
            server_ms = _named(client.server_time_ms, instrument, "server time")
            running = interval_open(server_ms, instrument.base_timeframe)
            first = _page(client, instrument, 1, 0, running)
        if not first:
            raise ProviderDataError(f"binance {instrument.symbol}: expected bars, was none")
        return first[0][0] * _US_PER_MS, running * _US_PER_MS

    def fingerprint(self, instrument: Instrument, start_us: int, end_us: int) -> None:
        """Return ``None``: the exchange says nothing about its bars but the bars."""
        del instrument, start_us, end_us


def build(settings: ProviderSettings) -> Provider:
    """Return the provider for the exchange that the settings name."""
    return BinanceProvider(lambda: BinanceClient(settings))


def _all_pages(
    client: BinanceClient, instrument: Instrument, start_ms: int, end_ms: int
) -> list[Kline]:
    """Return all bars that open in [start, end); an empty page is believed when it comes twice.

    An exchange skips its outages, so an empty page means that nothing follows. A fault looks the
    same: asking once more tells them apart.
    """
    step_ms = instrument.base_timeframe.microseconds // _US_PER_MS
    found: list[Kline] = []
    cursor, page, was_empty = start_ms, 0, False
    while cursor < end_ms:
        page += 1
        answer = _page(client, instrument, page, cursor, end_ms)
        if answer:
            found += answer
            cursor = answer[-1][0] + step_ms
        elif was_empty:
            break
        was_empty = not answer
    return found


def _page(
    client: BinanceClient, instrument: Instrument, page: int, start_ms: int, end_ms: int
) -> list[Kline]:
    def ask() -> list[Kline]:
        interval = INTERVALS[instrument.base_timeframe]
        answer = client.klines(instrument.symbol, interval, start_ms=start_ms, end_ms=end_ms)
        check_page(answer, after_ms=start_ms, before_ms=end_ms)
        return answer

    since = dt.datetime.fromtimestamp(start_ms / 1_000, dt.UTC).isoformat()
    return _named(ask, instrument, f"page {page} (from {since})")


def _named(ask: Callable[[], T], instrument: Instrument, what: str) -> T:
    """Call ``ask``; an error of it says which symbol and which request it was."""
    try:
        return ask()
    except ProviderError as e:
        raise type(e)(f"binance {instrument.symbol}, {what}: {e}") from e
