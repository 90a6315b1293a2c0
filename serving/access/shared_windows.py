"""How much of a rate is used, counted in Redis: one count for every process.

Belongs here: asking Redis within a deadline. Whatever Redis does (down, slow, full, talking
nonsense), the process counts in its own memory instead: limits are looser then, by the number of
processes, and no request fails for it.
"""

import asyncio
from typing import Any, Final

from limits import RateLimitItem
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from serving.access.windows import MemoryWindows, Standing, Window
from storage.cache_redis import Breaker

PREFIX: Final = "rate_limit"
TIMEOUT_S: Final = 0.05
CONNECTIONS: Final = 64
_FAILURES: Final = (RedisError, OSError, TimeoutError, ValueError, TypeError, LookupError)


class SharedWindows:
    """Windows in Redis, by its clock; in this process's memory while Redis does not answer."""

    def __init__(
        self, url: str, *, timeout_s: float = TIMEOUT_S, breaker: Breaker | None = None
    ) -> None:
        """``timeout_s`` bounds all that one request asks of Redis."""
        self._url = url
        self._timeout_s = timeout_s
        self._breaker = breaker or Breaker()
        self._own = MemoryWindows()
        self._storage: RedisStorage | None = None
        self._slots = asyncio.Semaphore(CONNECTIONS)

    async def hit(self, item: RateLimitItem, caller: str) -> Standing:
        """Count a request, unless it is one too many."""
        if self._breaker.allows():
            try:
                async with asyncio.timeout(self._timeout_s), self._slots:
                    found = await self._ask(item, caller)
            except _FAILURES:  # the last three: an answer of another kind
                self._breaker.fail()
            except BaseException:
                self._breaker.forget()
                raise
            else:
                self._breaker.succeed()
                return found
        return self._own.hit(item, caller)

    async def aclose(self) -> None:
        """Close the connections; a later request opens new ones."""
        storage, self._storage = self._storage, None
        self._slots = asyncio.Semaphore(CONNECTIONS)  # the next may belong to another event loop
        if storage is not None:
            bridge: Any = storage.bridge
            await bridge.get_connection().aclose()

    async def _ask(self, item: RateLimitItem, caller: str) -> Standing:
        storage = self._opened()
        key, length_s = item.key_for(caller), item.get_expiry()
        is_taken = await SlidingWindowCounterRateLimiter(storage).hit(item, caller)
        previous, _, current, left_s = await storage.get_sliding_window(key, length_s)
        # a counter lives for its own window and, as the one before, for the next
        elapsed_s = min(max(0.0, 2.0 * length_s - left_s), float(length_s))
        return Window(previous, current, elapsed_s).standing(item, is_taken=is_taken)

    def _opened(self) -> RedisStorage:
        if self._storage is None:
            self._storage = RedisStorage(
                f"async+{self._url}",
                implementation="redispy",
                key_prefix=PREFIX,
                socket_timeout=self._timeout_s,
                socket_connect_timeout=self._timeout_s,
                retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]  # handed on to the client
                protocol=2,
                driver_info=None,  # type: ignore[arg-type]
            )
        return self._storage
