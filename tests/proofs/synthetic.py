"""Bars of a random walk: small, seeded, with holes and unknown volumes where a test wants them."""

import numpy as np
import polars as pl

from market.calendars import calendar_for
from market.instruments import Instrument
from market.tables import CANDLES, INSTANT

START = 1_488_326_400_000_000  # 2017-03-01 00:00 UTC


def bars(n: int, *, seed: int, step: float = 0.002) -> pl.DataFrame:
    """Return open, high, low, close and volume of a random walk whose volatility moves."""
    rng = np.random.default_rng(seed)
    pace = step * np.exp(0.5 * np.sin(np.arange(n) / 40.0))
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 1.0, n) * pace))
    open_ = np.concatenate([[100.0], close[:-1]])[:n]
    reach = rng.exponential(0.7, (2, n)) * pace * close
    return pl.DataFrame(
        {
            "open": open_,
            "high": np.maximum(open_, close) + reach[0],
            "low": np.minimum(open_, close) - reach[1],
            "close": close,
            "volume": np.round(rng.exponential(500.0, n)),
        }
    )


def raw(
    instrument: Instrument, end_us: int, *, seed: int, start_us: int = START, missing: float = 0.0
) -> pl.DataFrame:
    """Return raw base bars at the calendar's scheduled instants, a share of them missing."""
    opens = calendar_for(instrument).grid(instrument.base_timeframe, start_us, end_us).open_us
    rng = np.random.default_rng([seed, 1])
    frame = bars(opens.size, seed=seed).select(
        pl.lit(instrument.id).alias("instrument"),
        pl.lit(instrument.base_timeframe.value).alias("timeframe"),
        pl.Series("ts", opens).cast(INSTANT),
        pl.all(),
        pl.lit("synthetic").alias("source"),
    )
    return frame.filter(pl.Series(rng.random(opens.size) >= missing))


def candles(instrument: Instrument, n: int, *, seed: int, missing: float = 0.0) -> pl.DataFrame:
    """Return complete candles of the base timeframe."""
    step = instrument.base_timeframe.microseconds
    made = raw(instrument, START + n * step, seed=seed, missing=missing)
    return CANDLES.conform(
        made.with_columns(
            n_missing=pl.lit(0, pl.Int32),
            complete=pl.lit(value=True),
            known_at=pl.col("ts") + pl.duration(microseconds=step),
        ).with_columns(pl.col("known_at").cast(INSTANT))
    )
