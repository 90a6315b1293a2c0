"""Compiles the kernels that the line runs, in a process of its own, into numba's cache on disk.

The demo starts this beside itself: while Dagster is being imported and bars are ingested, the
second core compiles. Two processes that compile the same function write the same cache file whole.
"""

import datetime as dt

import polars as pl

from market.instruments import Instrument
from market.timeframes import MICROSECONDS_PER_HOUR, Timeframe
from pipeline import candles, features, labels, levels


def warm() -> None:
    """Run every stage on a hundred made-up bars."""
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    n = 100
    wave = [1.0 + 0.01 * ((i * 7) % 13) for i in range(n)]
    raw = pl.DataFrame(
        {
            "ts": pl.Series(
                [start + dt.timedelta(hours=i) for i in range(n)], dtype=pl.Datetime("us", "UTC")
            ),
            "open": wave,
            "high": [w + 0.02 for w in wave],
            "low": [w - 0.02 for w in wave],
            "close": [w + 0.01 * (-1) ** i for i, w in enumerate(wave)],
            "volume": [1.0 + i % 5 for i in range(n)],
            "source": ["warming"] * n,
        }
    )
    instrument = Instrument(
        id="WARM", asset_class="crypto", calendar="crypto", provider="warming", symbol="WARM",
        base_timeframe=Timeframe.H1, tick_size=0.01, lot_size=1.0,
    )  # fmt: skip
    watermark_us = round(start.timestamp() * 1e6) + n * MICROSECONDS_PER_HOUR
    built = {
        tf: candles.build(raw, instrument=instrument, timeframe=tf, watermark_us=watermark_us).rows
        for tf in (Timeframe.H1, Timeframe.H4)
    }
    bars = built[Timeframe.H1]
    done = levels.extend(levels.initial(), bars, instrument="WARM", timeframe=Timeframe.H1)
    labels.of_series(
        bars, done, bars, instrument=instrument, timeframe=Timeframe.H1,
        config=labels.LabelConfig(), watermark_us=watermark_us,
    )  # fmt: skip
    features.extend(
        features.initial(), bars, done.context, instrument=instrument, timeframe=Timeframe.H1
    )


if __name__ == "__main__":
    warm()
