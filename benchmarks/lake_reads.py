"""Newest 500 bars of one series out of 1,000 partitions: the lake against globs, in one run.

Run ``python -m benchmarks.lake_reads --json OUT``. Twenty instruments by fifty months of hourly
candles (520 rows a month, 200 in the last, so that 500 bars take two files) are written by the
lake. The peers read the same files, hard-linked into the ``i=…/m=…`` folders that hive filters
want. What they return is compared before anything is timed; contenders alternate; another
instrument a round.

Cold: before each read the page cache is asked to forget every file of the lake (``posix_fadvise``
``DONTNEED``, after a sync). Folders and inodes stay cached: that favours globs, which list more.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl

from market.months import month_range, month_start
from market.ports import PartitionKey
from market.tables import CANDLES, INSTANT
from market.timeframes import MICROSECONDS_PER_HOUR
from storage.lake import ParquetLake
from storage.queries import query

INSTRUMENTS = tuple(f"PAIR{i:02d}" for i in range(20))
MONTHS = tuple(month_range("2021-01", "2025-02"))
RECENT = MONTHS[-2]
ROWS_A_MONTH, ROWS_IN_THE_LAST = 520, 200
WANTED = 500
WARM_ROUNDS, COLD_ROUNDS = 100, 40

Read = Callable[[str], pl.DataFrame]


@dataclass(frozen=True, slots=True)
class Store:
    """One lake, and the same files by another name."""

    lake: ParquetLake
    hive: Path
    files: tuple[Path, ...]


def bars(instrument: str, month: str, seed: int) -> pl.DataFrame:
    """Return a month of hourly candles, a seeded random walk."""
    n = ROWS_IN_THE_LAST if month == MONTHS[-1] else ROWS_A_MONTH
    random = np.random.default_rng(seed)
    ts = month_start(month) + np.arange(n) * MICROSECONDS_PER_HOUR
    close = 1.1 * np.exp(np.cumsum(random.standard_normal(n) * 1e-3))
    frame = pl.DataFrame(
        {
            "ts": pl.Series(ts).cast(INSTANT),
            "open": close,
            "high": close * 1.001,
            "low": close * 0.999,
            "close": close,
            "volume": random.poisson(1000, n).astype(np.float64),
            "known_at": pl.Series(ts + MICROSECONDS_PER_HOUR).cast(INSTANT),
        }
    ).with_columns(
        instrument=pl.lit(instrument),
        timeframe=pl.lit("H1"),
        n_missing=pl.lit(0, pl.Int32),
        complete=pl.lit(value=True),
        source=pl.lit("synthetic"),
    )
    return CANDLES.conform(frame)


def build(folder: Path) -> Store:
    """Write the partitions through the lake and link its files into hive folders."""
    lake, hive = ParquetLake(folder / "lake", fsync=False), folder / "hive"
    for i, instrument in enumerate(INSTRUMENTS):
        for j, month in enumerate(MONTHS):
            key = PartitionKey("candles", "H1", instrument, month)
            rows = bars(instrument, month, seed=1000 * i + j)
            ref = lake.write(key, rows, code_version="1", inputs={"raw": "0" * 32})
            link = hive / f"i={instrument}" / f"m={month}" / "rows.parquet"
            link.parent.mkdir(parents=True)
            link.hardlink_to(lake.files([ref])[0])
    os.sync()
    return Store(lake, hive, tuple(p for p in lake.root.rglob("*") if p.is_file()))


def contenders(store: Store) -> dict[str, Read]:
    """Return who reads, and how: instrument in, its newest bars out, oldest first."""
    lake, glob = store.lake, f"{store.hive}/*/*/*.parquet"
    database = duckdb.connect(":memory:")
    database.execute("SET GLOBAL TimeZone = 'UTC'")
    columns = list(CANDLES.schema)
    newest_sql = (
        f"SELECT {', '.join(columns)} FROM read_parquet('{glob}', hive_partitioning = true) "  # noqa: S608 - our own words
        f"WHERE i = $i AND m >= $m ORDER BY ts DESC LIMIT {WANTED}"
    )

    def by_duckdb(instrument: str, since: str) -> pl.DataFrame:
        with database.cursor() as cursor:
            frame: pl.DataFrame = cursor.sql(newest_sql, params={"i": instrument, "m": since}).pl()
        return frame.reverse()

    def by_polars(instrument: str, since: str) -> pl.DataFrame:
        scan = pl.scan_parquet(
            glob, hive_partitioning=True, hive_schema={"i": pl.String(), "m": pl.String()}
        )
        mine = scan.filter(pl.col("i") == instrument, pl.col("m") >= since)
        return mine.select(columns).sort("ts").tail(WANTED).collect()

    def by_query(instrument: str) -> pl.DataFrame:
        keys = [PartitionKey("candles", "H1", instrument, month) for month in MONTHS[-2:]]
        refs = [lake.resolve(key) for key in keys]
        return query(lake, refs, f"FROM lake ORDER BY ts DESC LIMIT {WANTED}").reverse()

    def one_file(instrument: str) -> pl.DataFrame:
        return pl.read_parquet(store.hive / f"i={instrument}" / f"m={RECENT}" / "rows.parquet")

    return {
        "wavehouse newest()": lambda i: lake.newest("candles", "H1", i, rows=WANTED),
        "wavehouse query(), months given": by_query,
        "duckdb glob, hive filter": lambda i: by_duckdb(i, ""),
        "duckdb glob, hive and month filter": lambda i: by_duckdb(i, RECENT),
        "polars glob, hive filter": lambda i: by_polars(i, ""),
        "polars glob, hive and month filter": lambda i: by_polars(i, RECENT),
        "bound: one exact pl.read_parquet": one_file,
    }


def require_equal(readers: dict[str, Read]) -> None:
    """Fail unless every contender gives the same bars (the bound reads one file of the two)."""
    for instrument in (INSTRUMENTS[0], INSTRUMENTS[-1]):
        expected, *others = [
            read(instrument) for name, read in readers.items() if "bound" not in name
        ]
        assert expected.height == WANTED
        assert all(frame.equals(expected) for frame in others)


def forget(files: Sequence[Path]) -> None:
    """Ask the page cache to drop these files."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def measure(store: Store, readers: dict[str, Read], rounds: int, *, is_cold: bool) -> list[Any]:
    """Return one row a contender: p50 and p99 in milliseconds, and p50 in multiples of ours."""
    spent: dict[str, list[float]] = {name: [] for name in readers}
    for i in range(rounds):
        for name, read in readers.items():
            if is_cold:
                forget(store.files)
            began = time.perf_counter()
            read(INSTRUMENTS[i % len(INSTRUMENTS)])
            spent[name].append((time.perf_counter() - began) * 1e3)
    ours = np.array(next(iter(spent.values())))
    return [
        {
            "name": name,
            "cache": "cold" if is_cold else "warm",
            "p50_ms": float(np.percentile(ms, 50)),
            "p99_ms": float(np.percentile(ms, 99)),
            "ratio_to_wavehouse": float(np.median(np.array(ms) / ours)),
        }
        for name, ms in spent.items()
    ]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Build, compare, measure, print a table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=WARM_ROUNDS)
    parser.add_argument("--cold-rounds", type=int, default=COLD_ROUNDS)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        store = build(Path(folder))
        built_s = time.perf_counter() - began
        readers = contenders(store)
        require_equal(readers)
        rows = measure(store, readers, options.rounds, is_cold=False)
        rows += measure(store, readers, options.cold_rounds, is_cold=True)
    result = {
        "benchmark": "lake_reads",
        "partitions": len(INSTRUMENTS) * len(MONTHS),
        "rows_wanted": WANTED,
        "rounds": {"warm": options.rounds, "cold": options.cold_rounds},
        "build_s": built_s,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "load": os.getloadavg()[0],
        "versions": {
            "python": platform.python_version(),
            "polars": pl.__version__,
            "duckdb": duckdb.__version__,
        },
        "rows": rows,
    }
    for row in rows:
        print(
            f"{row['cache']} {row['name']:36} p50 {row['p50_ms']:8.2f} ms "
            f"p99 {row['p99_ms']:8.2f} ms {row['ratio_to_wavehouse']:7.2f} x our time"
        )
    print(f"{result['machine']}, load {result['load']:.1f}, {result['versions']}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
