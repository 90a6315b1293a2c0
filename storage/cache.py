"""The cache: memory, then Redis, then one computation however many ask.

Belongs here: the order of the tiers, single flight, what is counted. Keep out: what the bytes say.
Across processes each computes once: a lock in Redis would make an answer wait for another machine.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final, Literal

from storage.cache_keys import KeyFilter, cache_key
from storage.cache_memory import MemoryTier
from storage.cache_redis import RedisTier

__all__ = ["Cache", "CacheMode", "CacheStats", "Fetched", "Invalidated", "cache_key"]

Source = Literal["memory", "redis", "computed"]
Make = Callable[[], Awaitable[bytes]]

DEFAULT_TTL_S: Final = 3600.0
TTLS_S: Final[Mapping[str, float]] = MappingProxyType(
    {"labels": 3600.0, "levels": 300.0, "path": 900.0, "lookback": 300.0}
)


class CacheMode(Enum):
    """What a caller wants of the cache (``X-Cache-Strategy``)."""

    PREFER = "prefer_cache"
    BYPASS = "bypass_cache"  # neither read nor written
    REFRESH = "refresh_cache"  # computed and written


@dataclass(frozen=True, slots=True)
class Fetched:
    """A value, and where it came from; who waited for another's computation gets ``computed``."""

    value: bytes
    source: Source


@dataclass(frozen=True, slots=True)
class Invalidated:
    """How many values went; ``redis`` is nothing where Redis could not be asked."""

    memory: int
    redis: int | None


@dataclass(frozen=True, slots=True)
class KindStats:
    """Questions of one kind, by what answered them."""

    memory: int
    redis: int
    computed: int
    shared: int
    failed: int

    @property
    def hit_rate(self) -> float | None:
        """Part of the questions that a tier answered; nothing before the first."""
        asked = self.memory + self.redis + self.computed + self.shared + self.failed
        return (self.memory + self.redis) / asked if asked else None


@dataclass(frozen=True, slots=True)
class CacheStats:
    """How the cache of this process does."""

    kinds: Mapping[str, KindStats]
    memory_keys: int
    memory_bytes: int
    memory_max_bytes: int
    evictions: int
    redis_state: Literal["off", "closed", "open", "half_open"]
    redis_failures: int
    redis_refused: int
    redis_dropped: int
    redis_skipped: int


class Cache:
    """Bytes by key; belongs to one event loop."""

    def __init__(
        self,
        *,
        memory_bytes: int,
        redis: RedisTier | None = None,
        ttls_s: Mapping[str, float] = TTLS_S,
        memory: MemoryTier[bytes] | None = None,
    ) -> None:
        """``ttls_s`` is by kind; another kind lives for an hour."""
        self._memory = memory or MemoryTier[bytes](memory_bytes, weigh=len)
        self._redis = redis
        self._ttls_s = dict(ttls_s)
        self._flights: dict[tuple[str, CacheMode], asyncio.Task[Fetched]] = {}
        self._counts: dict[str, Counter[str]] = {}

    async def fetch(
        self, key: str, make: Make, *, kind: str, mode: CacheMode = CacheMode.PREFER
    ) -> Fetched:
        """Return the value of the key, made if it must be.

        A computation that fails fails for all who wait for it, and is not kept. One who stops
        waiting stops nobody else.
        """
        counts = self._counts.setdefault(kind, Counter())
        if mode is CacheMode.BYPASS:
            return await _counted(counts, self._compute(make))
        if mode is CacheMode.PREFER:
            found = self._memory.get(key)
            if found is not None:
                counts["memory"] += 1
                return Fetched(found, "memory")
        flight = self._flights.get((key, mode))
        if flight is None:
            flight = self._start(key, make, kind, mode)
            return await _counted(counts, asyncio.shield(flight))
        return await _counted(counts, asyncio.shield(flight), shared=True)

    async def invalidate(self, is_meant: KeyFilter) -> Invalidated:
        """Drop what is meant here and in Redis.

        The memory of other processes keeps its own until it is too old: keys name the data that
        they are of, so what it keeps is true.
        """
        removed = self._memory.remove(is_meant)
        return Invalidated(removed, await self._redis.remove(is_meant) if self._redis else None)

    async def is_redis_up(self) -> bool | None:
        """Tell whether Redis answers; nothing where none is configured."""
        return await self._redis.ping() if self._redis else None

    def stats(self) -> CacheStats:
        """Return what was counted since the start of this process."""
        redis = self._redis
        return CacheStats(
            kinds={
                kind: KindStats(
                    memory=by["memory"],
                    redis=by["redis"],
                    computed=by["computed"],
                    shared=by["shared"],
                    failed=by["failed"],
                )
                for kind, by in self._counts.items()
            },
            memory_keys=len(self._memory),
            memory_bytes=self._memory.size,
            memory_max_bytes=self._memory.max_bytes,
            evictions=self._memory.evictions,
            redis_state=redis.breaker.state if redis else "off",
            redis_failures=redis.counts.failures if redis else 0,
            redis_refused=redis.counts.refused if redis else 0,
            redis_dropped=redis.counts.dropped if redis else 0,
            redis_skipped=redis.counts.skipped if redis else 0,
        )

    async def aclose(self) -> None:
        """Stop what is being made for nobody, and close Redis."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        if self._redis is not None:
            await self._redis.aclose()

    def _start(self, key: str, make: Make, kind: str, mode: CacheMode) -> asyncio.Task[Fetched]:
        flight = asyncio.get_running_loop().create_task(self._fly(key, make, kind, mode))
        self._flights[key, mode] = flight

        def land(done: asyncio.Task[Fetched]) -> None:
            del self._flights[key, mode]
            if not done.cancelled():
                done.exception()  # seen, should every waiter have left

        flight.add_done_callback(land)
        return flight

    async def _fly(self, key: str, make: Make, kind: str, mode: CacheMode) -> Fetched:
        ttl_s = self._ttls_s.get(kind, DEFAULT_TTL_S)
        if self._redis is not None and mode is CacheMode.PREFER:
            found = await self._redis.get(key)
            if found is not None:
                self._memory.put(key, found, ttl_s)
                return Fetched(found, "redis")
        made = await self._compute(make)
        self._memory.put(key, made.value, ttl_s)
        if self._redis is not None:
            await self._redis.put(key, made.value, ttl_s)
        return made

    @staticmethod
    async def _compute(make: Make) -> Fetched:
        return Fetched(await make(), "computed")


async def _counted(
    counts: Counter[str], fetched: Awaitable[Fetched], *, shared: bool = False
) -> Fetched:
    try:
        found = await fetched
    except Exception:
        counts["failed"] += 1
        raise
    counts["shared" if shared and found.source == "computed" else found.source] += 1
    return found
