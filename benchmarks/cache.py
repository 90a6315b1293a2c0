"""The cache: what a hit costs, what a stampede costs, and how often a day's questions hit.

Run ``python -m benchmarks.cache --json OUT``.

*L1*: ``Cache.fetch`` of a label's answer (1.5 kB) that is in memory, in process; beside it a lookup
in a ``dict``. *L2*: the same with no memory, from a real Redis on loopback; beside it the bare
client's ``GET`` without deadline, breaker, frame and checksum. Contenders alternate.

*Stampede*: 100 ask at once for what nobody has; how many computations that makes.

*A day*: questions for labels as ``GET /v1/labels/{instrument}/{granularity}/{timestamp}`` puts them
are replayed through the cache with its real keys, bounds and times to live, at the time of a clock
of their own. Series and candles are drawn by Zipf's law (which series; how many candles back). Each
bar that closes moves the version of its series' running month and with it every key of that month.
The cache is cold at midnight; every miss is counted, the first ones too. Three rates are told, as
the rate decides: a bar that arrives makes as many misses however many ask.
"""

import argparse
import asyncio
import json
import os
import platform
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from redis.asyncio import Redis

from storage.cache import Cache, cache_key
from storage.cache_memory import MemoryTier
from storage.cache_redis import RedisTier
from tests.fakes.redis_server import RedisServer

VALUE = b"x" * 1500
MEMORY_BYTES = 128_000_000  # as the setting is by default
ROUNDS = {"L1": 20_000, "L2": 3000}
IN_A_ROW = 50
WAITING = 100
COMPUTATION_S = 0.005

DAY_S = 86_400
BAR_S = {"M15": 900, "H1": 3600, "H4": 14_400, "D": 86_400}
INSTRUMENTS = 20
CANDLES = 500  # back from the newest
MONTH_S = 30 * DAY_S
NOON_S = 20 * DAY_S  # the day is the twentieth of its month
RATES = (1, 10, 100)  # questions a second
MOST = 1_000_000  # questions that are replayed: of a higher rate a part of the day
SERIES_EXPONENT, CANDLE_EXPONENT = 1.0, 1.2


async def made() -> bytes:
    """Return what is asked for, without a computation."""
    return VALUE


@dataclass(slots=True)
class Day:
    """One replay: a clock, a cache at its time, and what was asked."""

    rate: int
    now: float = 0.0
    hits: int = 0
    asked: int = 0
    first_hour: list[int] = field(default_factory=lambda: [0, 0])  # hits, questions

    async def replay(self) -> dict[str, Any]:
        """Ask the day's questions in their order."""
        memory = MemoryTier[bytes](MEMORY_BYTES, weigh=len, clock=lambda: self.now)
        cache = Cache(memory_bytes=0, memory=memory)
        seconds = min(DAY_S, MOST // self.rate)
        series, candles = drawn(seconds * self.rate)
        named = [(f"PAIR{i:02d}", g) for g in BAR_S for i in range(INSTRUMENTS)]
        order = np.random.default_rng(2).permutation(len(named))
        keys: dict[tuple[int, int, int], str] = {}
        for i, (rank, back) in enumerate(zip(series.tolist(), candles.tolist(), strict=True)):
            self.now = i / self.rate
            which = int(order[rank])
            instrument, granularity = named[which]
            bar = int((NOON_S + self.now) // BAR_S[granularity]) - back  # bars since the epoch
            month = int(bar * BAR_S[granularity] // MONTH_S)
            running = int(self.now // BAR_S[granularity]) if month == 0 else -1
            key = keys.get((which, bar, running))
            if key is None:
                key = keys[which, bar, running] = cache_key(
                    "labels",
                    data_versions=[f"{which}/{month}/{running}"],
                    code_version="1",
                    parameters={"instrument": instrument, "granularity": granularity, "ts": bar},
                )
            self._count((await cache.fetch(key, made, kind="labels")).is_hit)
        stats = cache.stats()
        assert stats.hit_rate == self.hits / self.asked
        return {
            "questions_a_second": self.rate,
            "questions": self.asked,
            "hours": seconds / 3600,
            "hit_rate": self.hits / self.asked,
            "hit_rate_of_the_first_hour": self.first_hour[0] / self.first_hour[1],
            "different_keys": len(keys),
            "evictions": stats.evictions,
            "memory_mb": stats.memory_bytes / 1e6,
        }

    def _count(self, is_hit: bool) -> None:  # noqa: FBT001 - one value, counted
        self.asked += 1
        self.hits += is_hit
        if self.now < 3600:
            self.first_hour[0] += is_hit
            self.first_hour[1] += 1


def drawn(count: int) -> tuple[np.ndarray[Any, np.dtype[np.int64]], ...]:
    """Return which series each question is about, and how many candles back."""
    random = np.random.default_rng(1)

    def zipf(n: int, exponent: float) -> np.ndarray[Any, np.dtype[np.int64]]:
        weights = np.arange(1, n + 1) ** -exponent
        edges = np.cumsum(weights) / weights.sum()
        ranks = np.searchsorted(edges, random.random(count))
        return np.minimum(ranks, n - 1).astype(np.int64)

    return zipf(INSTRUMENTS * len(BAR_S), SERIES_EXPONENT), zipf(CANDLES, CANDLE_EXPONENT)


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
            "days": [asyncio.run(Day(rate).replay()) for rate in RATES],
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
            "load": os.getloadavg()[0],
        }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
