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
from typing import TYPE_CHECKING, Final, Literal

from storage.cache_keys import KeyFilter, cache_key
from storage.cache_memory import MemoryTier

if TYPE_CHECKING:
    from storage.cache_redis import RedisTier

__all__ = ["Cache", "CacheMode", "CacheStats", "Fetched", "Invalidated", "cache_key"]

Source = Literal["memory", "redis", "computed"]
Result = Literal["memory", "redis", "computed", "shared", "failed", "bypassed"]
Make = Callable[[], Awaitable[bytes]]
Observe = Callable[[str, Result], None]

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

    @property
    def is_hit(self) -> bool:
        """Whether a tier had it."""
        return self.source != "computed"


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
    bypassed: int

    @property
    def hit_rate(self) -> float | None:
        """Part of the questions that a tier answered; nothing before the first.

        Who bypasses the cache asks it nothing.
        """
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

    @property
    def hit_rate(self) -> float | None:
        """Part of the questions of every kind that a tier answered; nothing before the first."""
        hits = sum(kind.memory + kind.redis for kind in self.kinds.values())
        asked = hits + sum(k.computed + k.shared + k.failed for k in self.kinds.values())
        return hits / asked if asked else None


class Cache:
    """Bytes by key; belongs to one event loop."""

    def __init__(
        self,
        *,
        memory_bytes: int,
        redis: "RedisTier | None" = None,
        ttls_s: Mapping[str, float] = TTLS_S,
        memory: MemoryTier[bytes] | None = None,
        observe: Observe | None = None,
    ) -> None:
        """``ttls_s`` is by kind, an hour for another; ``observe`` is told every result."""
        if memory is None:  # one that is empty is false
            memory = MemoryTier[bytes](memory_bytes, weigh=len)
        self._memory = memory
        self._redis = redis
        self._ttls_s = dict(ttls_s)
        self._flights: dict[tuple[str, CacheMode], asyncio.Task[Fetched]] = {}
        self._counts: dict[str, Counter[Result]] = {}
        self._observe = observe

    async def fetch(
        self, key: str, make: Make, *, kind: str, mode: CacheMode = CacheMode.PREFER
    ) -> Fetched:
        """Return the value of the key, made if it must be.

        A computation that fails fails for all who wait for it, and is not kept. One who stops
        waiting stops nobody else.
        """
        if mode is CacheMode.BYPASS:
            return await self._counted(kind, self._compute(make), "bypassed")
        if mode is CacheMode.PREFER:
            found = self._memory.get(key)
            if found is not None:
                self._count(kind, "memory")
                return Fetched(found, "memory")
        flight = self._flights.get((key, mode))
        computed: Result = "shared"
        if flight is None:
            flight, computed = self._start(key, make, kind, mode), "computed"
        return await self._counted(kind, asyncio.shield(flight), computed)

    async def keep(self, key: str, value: bytes, *, kind: str) -> None:
        """Keep a value that nobody asked for yet; not counted as a question."""
        ttl_s = self._ttls_s.get(kind, DEFAULT_TTL_S)
        self._memory.put(key, value, ttl_s)
        if self._redis is not None:
            await self._redis.put(key, value, ttl_s)

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
                    bypassed=by["bypassed"],
                )
                for kind, by in list(self._counts.items())
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

    async def _counted(self, kind: str, fetched: Awaitable[Fetched], computed: Result) -> Fetched:
        """Wait and count; ``computed`` is what a computed value counts as."""
        try:
            found = await fetched
        except Exception:
            self._count(kind, "failed")
            raise
        self._count(kind, computed if found.source == "computed" else found.source)
        return found

    def _count(self, kind: str, result: Result) -> None:
        self._counts.setdefault(kind, Counter())[result] += 1
        if self._observe is not None:
            self._observe(kind, result)
