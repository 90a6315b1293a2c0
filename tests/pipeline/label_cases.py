"""Candles, contexts and paths that the tests of labels share."""

from typing import Any

import numpy as np
import polars as pl

from market.calendars import calendar_for
from market.instruments import Instrument
from market.tables import CANDLES, INSTANT, LABELS
from market.timeframes import MICROSECONDS_PER_DAY, MICROSECONDS_PER_HOUR, Timeframe
from pipeline import candles, labels, levels
from pipeline.labels import LabelConfig

HOUR = MICROSECONDS_PER_HOUR
PRICES = ("open", "high", "low", "close")
# Monday, 8 May 2017, 21:00 UTC: 17:00 New York, where an fx day and an H4 bar open
START_US = 1_494_277_200_000_000
OUTCOMES = (
    "enhanced_triple_barrier", "barrier_hit", "is_ambiguous", "label_if_long", "label_if_short",
    "label_unadjusted", "t1", "time_to_barrier_bars", "time_to_barrier_path_bars",
    "forward_return", "return_sign", "vol_scaled_return", "mfe", "mae", "profit_factor",
    "matured_at",
)  # fmt: skip


def instrument(calendar: str = "fx", base: Timeframe = Timeframe.H1) -> Instrument:
    return Instrument(
        id="TEST", asset_class=calendar, calendar=calendar, provider="csv", symbol="TEST",
        base_timeframe=base, tick_size=0.01, lot_size=1.0,
    )  # fmt: skip


def candle(
    *, close: float = 1.0965, timeframe: Timeframe = Timeframe.H4, ts: int = START_US,
    calendar: str = "fx",
) -> pl.DataFrame:  # fmt: skip
    """One complete candle that closes where its bar of the calendar ends."""
    end = int(calendar_for(instrument(calendar)).bar_ends(timeframe, [ts])[0])
    return pl.DataFrame(
        {
            "instrument": ["TEST"], "timeframe": [timeframe.value], "ts": [ts],
            "open": [close], "high": [close + 1.0], "low": [close - 1.0], "close": [close],
            "volume": [None], "n_missing": [0], "complete": [True], "source": ["test"],
            "known_at": [end],
        },
        schema_overrides={**CANDLES.schema, "ts": pl.Int64(), "known_at": pl.Int64()},
    ).with_columns(pl.col("ts", "known_at").cast(INSTANT))  # fmt: skip


def context(
    frame: pl.DataFrame, atr: float | None = 0.0025, support: float | None = 1.0920,
    resistance: float | None = 1.0990,
) -> pl.DataFrame:  # fmt: skip
    values: dict[str, Any] = {
        "atr": atr, "support": support, "resistance": resistance,
        "support_id": support and "S", "resistance_id": resistance and "R",
    }  # fmt: skip
    return levels.CONTEXT.conform(
        frame.select("ts", "known_at").with_columns(
            pl.lit(values.get(name), dtype=dtype).alias(name)
            for name, dtype in levels.CONTEXT.schema.items()
            if name not in ("ts", "known_at")
        )
    )


def flat_path(start: int, hours: int, *, at: float = 1.0965, calendar: str = "fx") -> pl.DataFrame:
    """Hourly bars of the calendar that stand still."""
    opens = calendar_for(instrument(calendar)).grid(Timeframe.H1, start, start + hours * HOUR)
    n = opens.open_us.size
    return pl.DataFrame({"ts": opens.open_us}).select(
        pl.col("ts").cast(INSTANT), *(pl.lit(at).alias(c) for c in PRICES),
    ).head(n)  # fmt: skip


def with_bar(path: pl.DataFrame, hour: int, **prices: float) -> pl.DataFrame:
    at = pl.int_range(pl.len()) == hour
    return path.with_columns(
        pl.when(at).then(pl.lit(value)).otherwise(pl.col(name)).alias(name)
        for name, value in prices.items()
    )


def one(path: pl.DataFrame, **options: Any) -> dict[str, Any]:
    """Label the golden candle along a path."""
    frame = options.pop("candles", candle())
    known = options.pop("context", context(frame))
    settings_ = {
        "instrument": instrument(), "timeframe": Timeframe.H4, "config": LabelConfig(),
        "watermark_us": START_US + 10 * MICROSECONDS_PER_DAY, **options,
    }  # fmt: skip
    rows = labels.compute(frame, known, path, **settings_)
    LABELS.conform(rows)
    return rows.row(0, named=True)


T_C = START_US + 4 * HOUR
PATH = flat_path(T_C, 24)
END = T_C + 24 * HOUR


def us(instant: Any) -> int:
    return int(pl.Series([instant]).cast(INSTANT).to_physical()[0])


RAW_START = START_US - 21 * HOUR  # midnight UTC


def random_raw(n: int, seed: int, *, holes: float = 0.0, calendar: str = "crypto") -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    grid = calendar_for(instrument(calendar)).grid(Timeframe.H1, RAW_START, RAW_START + n * HOUR)
    n = grid.open_us.size
    opens = 100.0 + np.cumsum(rng.normal(0, 0.3, n))
    closes = opens + rng.normal(0, 0.3, n)
    wicks = np.abs(rng.normal(0, 0.3, (2, n)))
    missing = rng.random(n) < holes
    missing |= np.repeat(rng.random(n // 5 + 1) < holes / 4, 5)[:n]
    return pl.DataFrame(
        {
            "ts": pl.Series(grid.open_us).cast(INSTANT),
            "open": opens.round(3), "high": (np.maximum(opens, closes) + wicks[0]).round(3),
            "low": (np.minimum(opens, closes) - wicks[1]).round(3), "close": closes.round(3),
            "volume": pl.Series([None] * n, dtype=pl.Float64()), "source": ["test"] * n,
        }
    ).filter(pl.Series(~missing))  # fmt: skip


def line(raw: pl.DataFrame, calendar: str, until: int) -> tuple[pl.DataFrame, ...]:
    """Candles, context, path."""
    of = instrument(calendar)
    frame, path = (
        candles.build(raw, instrument=of, timeframe=t, watermark_us=until).rows
        for t in (Timeframe.H4, Timeframe.H1)
    )
    config = levels.LevelConfig(atr_period=3)
    known = levels.extend(
        levels.initial(config), frame, config=config, instrument=of, timeframe=Timeframe.H4
    ).context
    return frame, known, path
