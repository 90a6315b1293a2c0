"""``sample``: ten months of hourly EURUSD out of an installed package, for the demo."""

from collections.abc import Callable

from market.errors import InputError
from market.instruments import Instrument
from market.ports import Bars, Provider
from market.settings import ProviderSettings
from market.timeframes import Timeframe
from providers.conventions import between, check_window, fingerprint, scheduled_end
from providers.options import Options, parse
from providers.sample.client import read_sample
from providers.sample.parsing import parse_sample

_SYMBOL, _TIMEFRAME = "EURUSD", Timeframe.H1


class SampleProvider:
    """Deliver the sample's bars: UTC, open-stamped, with tick volume."""

    name = "sample"

    def __init__(self, read: Callable[[], bytes] = read_sample) -> None:
        self._read = read

    def fetch(self, instrument: Instrument, start_us: int, end_us: int) -> Bars:
        """Return the sample's bars that open in [start, end)."""
        _check(instrument)
        check_window(start_us, end_us)
        bars = parse_sample(self._read())
        last = int(bars["ts"].to_physical()[-1])
        return Bars(between(bars, start_us, end_us), scheduled_end(instrument, last))

    def span(self, instrument: Instrument) -> tuple[int, int]:
        """Return from the first open to just after the last one."""
        _check(instrument)
        opens = parse_sample(self._read())["ts"].to_physical()
        return int(opens[0]), int(opens[-1]) + 1

    def fingerprint(self, instrument: Instrument, start_us: int, end_us: int) -> str:
        """Return the hash of what the sample has of the window."""
        return fingerprint(self.fetch(instrument, start_us, end_us), end_us)


def build(_settings: ProviderSettings) -> Provider:
    """Return the provider; it needs no settings."""
    return SampleProvider()


def _check(instrument: Instrument) -> None:
    parse(Options, instrument)
    if instrument.symbol != _SYMBOL or instrument.base_timeframe != _TIMEFRAME:
        raise InputError(
            f"instrument {instrument.id}: expected symbol {_SYMBOL} and base_timeframe "
            f"{_TIMEFRAME} of provider sample, was {instrument.symbol} and "
            f"{instrument.base_timeframe}"
        )
