"""Rows to put into a lake: small, made by rule, of one month."""

import numpy as np
import polars as pl

from market.months import month_start
from market.tables import CANDLES
from market.timeframes import MICROSECONDS_PER_HOUR


def candles(month: str, n: int, *, instrument: str = "EURUSD", shift: float = 0.0) -> pl.DataFrame:
    """Return ``n`` hourly candles from the month's first instant on, a third without volume."""
    ts = month_start(month) + np.arange(n, dtype=np.int64) * MICROSECONDS_PER_HOUR
    close = 1.1 + shift + np.arange(n) * 1e-4
    frame = pl.DataFrame(
        {
            "instrument": [instrument] * n,
            "timeframe": ["H1"] * n,
            "ts": ts,
            "open": close - 1e-5,
            "high": close + 1e-4,
            "low": close - 1e-4,
            "close": close,
            "volume": [None if i % 3 == 0 else float(i) for i in range(n)],
            "n_missing": [0] * n,
            "complete": [True] * n,
            "source": ["made up"] * n,
            "known_at": ts + MICROSECONDS_PER_HOUR,
        },
        schema_overrides={"n_missing": pl.Int32, "volume": pl.Float64, "complete": pl.Boolean},
    )
    texts = pl.col("instrument", "timeframe", "source").cast(pl.String)
    return CANDLES.conform(
        frame.with_columns(texts, pl.col("ts", "known_at").cast(pl.Datetime("us", "UTC")))
    )
