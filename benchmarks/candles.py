"""Base candles into every higher timeframe, against Polars' ``group_by_dynamic`` in one run.

Run ``python -m benchmarks.candles --json OUT``. A seeded year of minutes on the crypto calendar (so
that both give the same bars: compared before anything is timed), in alternations; the figure is
the median of the rounds' ratios. A core against a core: Polars has one thread, unless
``POLARS_MAX_THREADS`` is set.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # before Polars is imported: one core each

import numpy as np
import polars as pl

from market.calendars import calendar_named
from market.instruments import Instrument
from market.months import month_of, month_start
from market.tables import INSTANT
from market.timeframes import MICROSECONDS_PER_MINUTE, Timeframe
from pipeline import candles

INSTRUMENT = Instrument(
    "SYNTHETIC", "crypto", "crypto", "synthetic", "SYNTHETIC", Timeframe.M1, 0.01, 1.0
)
HIGHER = tuple(t for t in Timeframe if t is not Timeframe.M1)
EVERY = {"M5": "5m", "M15": "15m", "M30": "30m", "H1": "1h", "H4": "4h", "D": "1d", "W": "1w"}
START_US, END_US = month_start("2021-01"), month_start("2022-01")
COLUMNS = ("open", "high", "low", "close", "volume")
ROUNDS = 11


def minutes(seed: int = 7) -> pl.DataFrame:
    """Return a year of minute bars: a random walk, with 1 % of the minutes missing."""
    random = np.random.default_rng(seed)
    ts = calendar_named("crypto").grid(Timeframe.M1, START_US, END_US).open_us
    close = 30_000 * np.exp(np.cumsum(random.standard_normal(ts.size) * 5e-4))
    open_ = np.concatenate([[30_000.0], close[:-1]])
    spread = np.abs(random.standard_normal((2, ts.size))) * 2e-4
    bars = pl.DataFrame(
        {
            "ts": pl.Series(ts).cast(INSTANT),
            "open": open_,
            "high": np.maximum(open_, close) * (1 + spread[0]),
            "low": np.minimum(open_, close) * (1 - spread[1]),
            "close": close,
            "volume": random.gamma(2.0, 3.0, ts.size),
        }
    ).with_columns(source=pl.lit("synthetic"))
    return bars.filter(pl.Series(random.random(ts.size) >= 0.01))


def ours(raw: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return M5 … W through the call that the assets make."""
    built = candles.build_all(
        raw, instrument=INSTRUMENT, timeframes=HIGHER, watermark_us=END_US + 10**12
    )
    return {t.value: b.rows for t, b in built.items()}


def polars(raw: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the same prices and volumes by ``group_by_dynamic``, which is less: no n_missing."""
    columns = (
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume").sum(),
        pl.len().alias("count"),
    )
    return {
        name: raw.group_by_dynamic("ts", every=every).agg(*columns) for name, every in EVERY.items()
    }


def memcpy(raw: pl.DataFrame) -> Callable[[], object]:
    """Return a call that copies the columns once: what no pass over them can beat."""
    source = [raw[c].to_physical().to_numpy() for c in ("ts", *COLUMNS)]
    target = [np.empty_like(a) for a in source]

    def copy() -> None:
        for t, s in zip(target, source, strict=True):
            np.copyto(t, s)

    return copy


def require_equal(mine: dict[str, pl.DataFrame], theirs: dict[str, pl.DataFrame]) -> None:
    """Fail unless prices are bit-equal and volumes equal to the rounding of a sum's order."""
    for name, frame in mine.items():
        other = theirs[name]
        assert frame["ts"].equals(other["ts"]), name
        for column in COLUMNS[:-1]:
            assert frame[column].equals(other[column]), (name, column)
        np.testing.assert_allclose(frame["volume"], other["volume"], rtol=1e-12)


def peaks_by_partition(raw: pl.DataFrame) -> list[float]:
    """Return peak memory in MB after each month built alone: flat, if a partition bounds it."""
    peaks = []
    for number in range(1, 13):
        ours(raw.filter(pl.col("ts").dt.month() == number))
        peaks.append(_peak_rss_mb())
    return peaks


def measure(raw: pl.DataFrame, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Return one row a contender: seconds, base candles a second, ratio to ours."""
    require_equal(ours(raw), polars(raw))
    month = raw.filter(pl.col("ts") < pl.lit(month_start("2021-02")).cast(INSTANT))
    contenders: dict[str, tuple[int, Callable[[], object]]] = {
        "wavehouse build_all M5..W": (raw.height, lambda: ours(raw)),
        "polars group_by_dynamic M5..W": (raw.height, lambda: polars(raw)),
        "memcpy of the columns": (raw.height, memcpy(raw)),
        "wavehouse, one month": (month.height, lambda: ours(month)),
        "polars, one month": (month.height, lambda: polars(month)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (_, call) in contenders.items():
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    names = list(contenders)
    baseline = {n: names[3] if "one month" in n else names[0] for n in names}
    return [
        {
            "name": name,
            "seconds": statistics.median(seconds[name]),
            "base_candles_per_s": contenders[name][0] / statistics.median(seconds[name]),
            "ratio_to_wavehouse": statistics.median(
                theirs / mine
                for theirs, mine in zip(seconds[name], seconds[baseline[name]], strict=True)
            ),
        }
        for name in names
    ]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print a table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    raw = minutes()
    before = _peak_rss_mb()
    peaks = peaks_by_partition(raw)
    result = {
        "benchmark": "candles",
        "base_candles": raw.height,
        "months": f"{month_of(START_US)} to {month_of(END_US - MICROSECONDS_PER_MINUTE)}",
        "rounds": options.rounds,
        "polars_threads": pl.thread_pool_size(),
        "rows": measure(raw, options.rounds),
        "peak_rss_mb_before": before,
        "peak_rss_mb_by_partition": peaks,
        "peak_rss_mb_whole_year": _peak_rss_mb(),
    }
    for row in result["rows"]:
        print(
            f"{row['name']:32} {row['seconds'] * 1e3:9.2f} ms "
            f"{row['base_candles_per_s'] / 1e6:9.1f} M base candles/s "
            f"{row['ratio_to_wavehouse']:7.2f} x our time"
        )
    print(
        f"peak memory: {before:.0f} MB with the year's bars, {peaks[0]:.0f} MB after the first "
        f"month, {peaks[-1]:.0f} MB after the twelfth; {_peak_rss_mb():.0f} MB for a year at once"
    )
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


def _peak_rss_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
