"""``synthetic``: a made-up market for load and scale, the same for everyone with the same seed."""

import datetime as dt
from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl

from market.calendars import calendar_for
from market.instruments import Instrument
from market.months import month_bounds, month_of, month_range
from market.ports import Bars, Provider
from market.settings import ProviderSettings
from market.tables import INSTANT
from market.timeframes import MICROSECONDS_PER_SECOND
from providers.conventions import check_window, empty_bars, fingerprint
from providers.options import parse
from providers.synthetic.generator import MonthBars, Recipe, month_bars
from providers.synthetic.options import SyntheticOptions

# by calendar: a price to start from, and a year's volatility
_MARKETS: Final = {"fx": (1.1, 0.08), "crypto": (40_000.0, 0.6), "us_equity": (100.0, 0.2)}


class SyntheticProvider:
    """Deliver generated bars; any window of a market shows the same ones."""

    name = "synthetic"

    def fetch(self, instrument: Instrument, start_us: int, end_us: int) -> Bars:
        """Return the bars that open in [start, end) and have ended by the market's end."""
        frames = list(self.chunks(instrument, start_us, end_us))
        frame = pl.concat(frames, rechunk=True) if frames else empty_bars()
        return Bars(frame, self.span(instrument)[1])

    def chunks(self, instrument: Instrument, start_us: int, end_us: int) -> Iterator[pl.DataFrame]:
        """Yield the same bars month by month, so that no more than one month is in memory."""
        check_window(start_us, end_us)
        recipe = _recipe(instrument)
        first, last = self.span(instrument)
        start, end = max(start_us, first), min(end_us, last)
        if start >= end:
            return
        calendar = calendar_for(instrument)
        for month in month_range(month_of(start), month_of(end - 1)):
            grid = calendar.grid(instrument.base_timeframe, *month_bounds(month))
            bars = month_bars(recipe, month, grid.open_us, grid.end_us)
            ended = int(np.searchsorted(grid.end_us, last, side="right"))
            stop = end if ended == grid.end_us.size else min(end, int(grid.open_us[ended]))
            frame = _frame(bars, start, stop)
            if len(frame):
                yield frame

    def span(self, instrument: Instrument) -> tuple[int, int]:
        """Return the market's extent as its options give it."""
        options = parse(SyntheticOptions, instrument)
        return _midnight(options.start), _midnight(options.end)

    def fingerprint(self, instrument: Instrument, start_us: int, end_us: int) -> str:
        """Return the hash of the window's bars: another seed is another market."""
        return fingerprint(self.fetch(instrument, start_us, end_us), end_us)


def build(_settings: ProviderSettings) -> Provider:
    """Return the provider; it needs no settings."""
    return SyntheticProvider()


def _recipe(instrument: Instrument) -> Recipe:
    options = parse(SyntheticOptions, instrument)
    price, volatility = _MARKETS[instrument.calendar]
    return Recipe(
        seed=options.seed,
        name=instrument.id,
        price=options.price or price,
        annual_volatility=options.annual_volatility or volatility,
        tick_size=instrument.tick_size,
        season=instrument.calendar,
        is_intraday=instrument.base_timeframe.is_intraday,
        missing_rate=options.missing_rate,
        has_volume=options.volume != "none",
    )


def _frame(bars: MonthBars, start_us: int, stop_us: int) -> pl.DataFrame:
    low, high = np.searchsorted(bars.ts_us, [start_us, stop_us])
    cut = slice(low, max(low, high))
    volume = None if bars.volume is None else bars.volume[cut]
    return pl.DataFrame(
        {
            "ts": pl.Series(bars.ts_us[cut], dtype=pl.Int64).cast(INSTANT),
            "open": bars.open[cut],
            "high": bars.high[cut],
            "low": bars.low[cut],
            "close": bars.close[cut],
            "volume": pl.Series(volume, dtype=pl.Float64)
            if volume is not None
            else pl.repeat(None, max(0, int(high - low)), dtype=pl.Float64, eager=True),
        }
    )


def _midnight(day: dt.date) -> int:
    instant = dt.datetime.combine(day, dt.time(), tzinfo=dt.UTC)
    return round(instant.timestamp()) * MICROSECONDS_PER_SECOND
