"""Compiles the kernels that the line runs, in a process of its own, into numba's cache on disk.

The demo starts two beside itself: one takes the stages in the line's order, the other what takes
longest, the features, from their end. A function is compiled by whoever comes first; who comes
second waits and reads it. So they meet in the middle, and the line waits for neither alone.
"""

import datetime as dt
import sys

import numpy as np
import polars as pl

from market.instruments import Instrument
from market.timeframes import MICROSECONDS_PER_HOUR, Timeframe
from pipeline import candles, feature_columns, features, labels, levels

BARS = 100


def warm_line() -> None:
    """Run every stage on made-up bars."""
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    n = BARS
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


def warm_features() -> None:
    """Run what the features are made of on made-up bars, the last first."""
    close = 1.0 + np.arange(BARS) * 7 % 13 / 100.0
    high, low, volume = close + 0.02, close - 0.02, np.ones(BARS)
    for column in (high, low, close, volume):
        column.flags.writeable = False  # as those of a frame
    instants = np.arange(BARS) * MICROSECONDS_PER_HOUR
    bars = feature_columns.BarColumns(high, low, close, volume, instants, instants, {"atr": volume})
    states = feature_columns.kernel_states()
    for part in reversed(feature_columns.KERNELS):
        part(bars, states)


if __name__ == "__main__":
    if sys.argv[1:] == ["features"]:
        warm_features()
    else:
        warm_line()
