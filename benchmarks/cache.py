"""The cache: what a hit costs, what a stampede costs, and how often a day's questions hit.

Run ``python -m benchmarks.cache --json OUT``.

*L1*: ``Cache.fetch`` of a label's answer (1.5 kB) that is in memory, in process; beside it a lookup
in a ``dict``. *L2*: the same with no memory, from a real Redis on loopback; beside it the bare
client's ``GET`` without deadline, breaker, frame and checksum. Contenders alternate.

*Stampede*: 100 ask at once for what nobody has; how many computations that makes.

*A day*: questions as ``GET /v1/labels/{instrument}/{granularity}/{timestamp}`` puts them about the
candles of the last 24 hours of 80 series, are replayed through the cache with the keys, bounds and
times to live of that route, at the time of a clock of their own. Series and candles are drawn by
Zipf's law (which series; how many candles back). Bars arrive every hour, as the line fetches them.
Each arrival makes a new version of every series' running month: its index is made anew, and the
rows whose horizon is not complete have changed, the six newest, also where no bar of the series'
own timeframe has closed (their path is longer): ``tests/test_cache_replay.py`` holds the line to
that. A question is a hit only if neither of both had to be read. The cache is cold at midnight, and
every miss is counted, the first ones too. Three rates are told, as the rate decides: an arrival
makes as many misses however many ask. *Often*: the middle rate where bars arrive every quarter of
an hour. *All*: the same as the middle rate about the last 500 candles of each series.
"""

import argparse
import asyncio
import functools
import json
import os
import platform
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from redis.asyncio import Redis

from market.settings import ServingSettings
from serving.cached_labels import INDEX_BYTES, INDEX_TTL_S
from serving.caching import LABELS
from storage.cache import Cache, cache_key
from storage.cache_memory import MemoryTier
from storage.cache_redis import RedisTier
from tests.fakes.redis_server import RedisServer

VALUE = b"x" * 1500
MEMORY_BYTES = 128_000_000
ROUNDS = {"L1": 20_000, "L2": 3000}
IN_A_ROW = 50
WAITING = 100
COMPUTATION_S = 0.005

DAY_S = 86_400
BAR_S = {"M15": 900, "H1": 3600, "H4": 14_400, "D": 86_400}
INSTRUMENTS = 20
RECENT = {"M15": 96, "H1": 24, "H4": 6, "D": 1}  # candles: of 24 hours
ALL = dict.fromkeys(BAR_S, 500)
HORIZON = 6  # bars until a label is final
ROWS_A_MONTH = {"M15": 2016, "H1": 504, "H4": 126, "D": 21}
RATES = (1, 10, 100)  # questions a second
MOST = 1_000_000  # questions that are replayed: of a higher rate a part of the day
SERIES_EXPONENT, CANDLE_EXPONENT = 1.0, 1.2


def constant(value: bytes) -> Callable[[], Awaitable[bytes]]:
    """Return what makes a value without a computation."""

    async def make() -> bytes:
        return value

    return make


made = constant(VALUE)


@dataclass(slots=True)
class Day:
    """One replay: a clock, caches at its time, and what was asked."""

    rate: int
    candles: dict[str, int]
    arrives_s: int = 3600  # how often the line fetches
    now: float = 0.0
    hits: int = 0
    asked: int = 0
    first_hour: list[int] = field(default_factory=lambda: [0, 0])  # hits, questions

    def cache(self, most_bytes: int, ttl_s: float) -> Cache:
        """Return one at the clock's time, as the app has it."""
        memory = MemoryTier[bytes](most_bytes, weigh=len, clock=lambda: self.now)
        return Cache(memory_bytes=0, memory=memory, ttls_s={LABELS: ttl_s})

    async def replay(self) -> dict[str, Any]:
        """Ask the day's questions in their order."""
        settings = ServingSettings(_env_file=None)
        cache = self.cache(settings.cache_bytes, settings.cache_labels_ttl_s)
        indices = self.cache(INDEX_BYTES, INDEX_TTL_S)
        seconds = min(DAY_S, MOST // self.rate)
        named = [(f"PAIR{i:02d}", g) for g in BAR_S for i in range(INSTRUMENTS)]
        order = np.random.default_rng(2).permutation(len(named))
        for i, (rank, share) in enumerate(drawn(seconds * self.rate, len(named))):
            self.now = i / self.rate
            instrument, granularity = named[order[rank]]
            arrival = int(self.now // self.arrives_s)
            newest = arrival * self.arrives_s // BAR_S[granularity]  # that has closed
            bars_back = back(share, self.candles[granularity])
            index = bytes(24 * ROWS_A_MONTH[granularity])
            is_known = (await indices.fetch(
                f"{instrument}/{granularity}/{arrival}", constant(index), kind=LABELS
            )).is_hit  # fmt: skip
            key = cache_key(
                LABELS,
                data_versions=["final" if bars_back >= HORIZON else str(arrival)],  # of the row
                code_version="1",
                parameters={
                    "instrument": instrument,
                    "granularity": granularity,
                    "ts": newest - bars_back,
                },
            )
            found = await cache.fetch(key, constant(VALUE), kind=LABELS)
            self._count(is_known and found.is_hit)
        stats = cache.stats()
        return {
            "questions_a_second": self.rate,
            "arrives_s": self.arrives_s,
            "questions": self.asked,
            "hours": seconds / 3600,
            "hit_rate": self.hits / self.asked,
            "hit_rate_of_the_first_hour": self.first_hour[0] / self.first_hour[1],
            "evictions": stats.evictions + indices.stats().evictions,
            "memory_mb": (stats.memory_bytes + indices.stats().memory_bytes) / 1e6,
        }

    def _count(self, is_hit: bool) -> None:  # noqa: FBT001 - one value, counted
        self.asked += 1
        self.hits += is_hit
        if self.now < 3600:
            self.first_hour[0] += is_hit
            self.first_hour[1] += 1


def drawn(count: int, series: int) -> Iterator[tuple[int, float]]:
    """Yield which series each question is about, and a number that says how far back."""
    random = np.random.default_rng(1)
    ranks = np.searchsorted(edges(series, SERIES_EXPONENT), random.random(count))
    return zip(ranks.tolist(), random.random(count).tolist(), strict=True)


def back(share: float, candles: int) -> int:
    """Return how many candles back a question is about; 0 is the newest."""
    return int(np.searchsorted(edges(candles, CANDLE_EXPONENT), share))


@functools.cache
def edges(n: int, exponent: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the cumulative shares of Zipf's law over ranks."""
    weights = np.arange(1, n + 1) ** -exponent
    found: np.ndarray[Any, np.dtype[np.float64]] = np.cumsum(weights) / weights.sum()
    found[-1] = 1.0
    return found


async def timed(contenders: dict[str, Callable[[], Awaitable[Any]]], rounds: int) -> dict[str, Any]:
    """Let contenders alternate, some questions in a row each; return percentiles in µs."""
    took: dict[str, list[int]] = {name: [] for name in contenders}
    for _ in range(rounds // IN_A_ROW):
        for name, ask in contenders.items():
            for _ in range(IN_A_ROW):
                started = time.perf_counter_ns()
                await ask()
                took[name].append(time.perf_counter_ns() - started)
    return {
        name: {f"p{part:g}_us": float(np.percentile(times, part)) / 1e3 for part in (50, 99, 99.9)}
        for name, times in took.items()
    }


async def first_tier() -> dict[str, Any]:
    """Measure hits in memory among 10,000 answers."""
    cache, plain = Cache(memory_bytes=MEMORY_BYTES), {}
    keys = [f"wavehouse:labels:EURUSD:H4:{i:032x}" for i in range(10_000)]
    for key in keys:
        await cache.fetch(key, made, kind="labels")
        plain[key] = VALUE
    turns = iter(np.random.default_rng(3).integers(0, len(keys), 10 * ROUNDS["L1"]).tolist())

    async def ours() -> None:
        found = await cache.fetch(keys[next(turns)], made, kind="labels")
        assert found.source == "memory"

    async def bare() -> None:
        assert plain.get(keys[next(turns)]) is VALUE

    return await timed({"cache, in memory": ours, "dict": bare}, ROUNDS["L1"])


async def second_tier(server: RedisServer) -> dict[str, Any]:
    """Measure hits in Redis."""
    cache = Cache(memory_bytes=0, redis=RedisTier(server.url, timeout_s=1.0))
    client = Redis.from_url(server.url, protocol=2)
    keys = [f"wavehouse:labels:EURUSD:H4:{i:032x}" for i in range(1000)]
    for key in keys:
        await cache.fetch(key, made, kind="labels")
    turns = iter(np.random.default_rng(4).integers(0, len(keys), 10 * ROUNDS["L2"]).tolist())

    async def ours() -> None:
        found = await cache.fetch(keys[next(turns)], made, kind="labels")
        assert (found.source, found.value) == ("redis", VALUE)

    async def bare() -> None:
        assert await client.get(keys[next(turns)])

    figures = await timed({"cache, in Redis": ours, "redis-py GET": bare}, ROUNDS["L2"])
    await client.aclose()
    await cache.aclose()
    return figures


async def stampede() -> dict[str, Any]:
    """Let many ask at once for what nobody has."""
    computations, took = [], []
    for i in range(20):
        cache, begun = Cache(memory_bytes=MEMORY_BYTES), [0]

        async def compute(begun: list[int] = begun) -> bytes:
            begun[0] += 1
            await asyncio.sleep(COMPUTATION_S)
            return VALUE

        started = time.perf_counter()
        asked = [cache.fetch(f"k{i}", compute, kind="labels") for _ in range(WAITING)]
        assert {found.value for found in await asyncio.gather(*asked)} == {VALUE}
        took.append(time.perf_counter() - started)
        computations.append(begun[0])
    return {
        "waiting": WAITING,
        "computations": max(computations),
        "computation_ms": COMPUTATION_S * 1e3,
        "all_answered_ms": float(np.median(took)) * 1e3,
    }


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:
        result = {
            "benchmark": "cache",
            "L1": asyncio.run(first_tier()),
            "L2": asyncio.run(second_tier(server)),
            "stampede": asyncio.run(stampede()),
            "recent": [asyncio.run(Day(rate, RECENT).replay()) for rate in RATES],
            "often": asyncio.run(Day(RATES[1], RECENT, arrives_s=900).replay()),
            "all": asyncio.run(Day(RATES[1], ALL).replay()),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
            "load": os.getloadavg()[0],
        }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
