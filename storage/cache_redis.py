"""The tier that processes share: Redis, behind a deadline and a breaker.

Whatever Redis does (down, slow, full, talking nonsense), ``get`` and ``put`` raise nothing: a cache
that fails is a miss, counted.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from storage.cache_keys import PREFIX, FrameError, KeyFilter, frame, unframe

_FAILURES: Final = (RedisError, OSError, TimeoutError)
_SCAN_COUNT: Final = 1000


class Breaker:
    """Counts failures in a row; while it is open, nobody asks; then one asks for all."""

    def __init__(
        self,
        *,
        failures: int = 5,
        open_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = failures
        self._open_s = open_s
        self._clock = clock
        self._failures = 0
        self._opened: float | None = None
        self._is_probing = False

    @property
    def state(self) -> Literal["closed", "open", "half_open"]:
        """How it is now."""
        if self._opened is None:
            return "closed"
        return "open" if self._clock() < self._opened + self._open_s else "half_open"

    def allows(self) -> bool:
        """Tell whether to ask; who is told so must report ``succeed``, ``fail`` or ``forget``."""
        state = self.state
        if state == "half_open" and not self._is_probing:
            self._is_probing = True
            return True
        return state == "closed"

    def succeed(self) -> None:
        """Report an answer."""
        self._failures, self._opened, self._is_probing = 0, None, False

    def fail(self) -> None:
        """Report that none came."""
        self._failures += 1
        self._is_probing = False
        if self._opened is not None or self._failures >= self._most:
            self._opened = self._clock()

    def forget(self) -> None:
        """Report that the question was given up by who asked it."""
        self._is_probing = False


@dataclass(slots=True)
class RedisCounts:
    """What went wrong so far."""

    failures: int = 0  # no answer, too late, or not Redis' language
    refused: int = 0  # an answer that declines: out of memory, read only
    dropped: int = 0  # values that were damaged
    skipped: int = 0  # not asked, because the breaker was open


class RedisTier:
    """Framed values in Redis."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 0.05,
        max_value_bytes: int = 4_000_000,
        max_connections: int = 64,
        breaker: Breaker | None = None,
    ) -> None:
        """``timeout_s`` bounds one question as a whole: waiting, connecting, asking, reading."""
        self.breaker = breaker or Breaker()
        self.counts = RedisCounts()
        self._timeout_s = timeout_s
        self._max_value_bytes = max_value_bytes
        self._slots = asyncio.Semaphore(max_connections)
        self._client: Redis = Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),  # the client's own retries cost seconds where it is down
            protocol=2,  # no handshake, and a GET answers with bytes or nothing
            driver_info=None,
        )

    async def get(self, key: str) -> bytes | None:
        """Return the value; nothing if it is not there, damaged, or cannot be had."""
        framed = await self._ask("GET", key)
        if framed is None:
            return None
        try:
            return unframe(key, framed if isinstance(framed, bytes) else b"")
        except FrameError:
            self.counts.dropped += 1
            await self._ask("UNLINK", key)
            return None

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keep a value for a time, unless it is too large or Redis declines."""
        if len(value) <= self._max_value_bytes:
            await self._ask("SET", key, frame(key, value), "PX", max(1, round(ttl_s * 1e3)))

    async def ping(self) -> bool:
        """Tell whether Redis answers, whatever the breaker says; an answer closes it."""
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._execute("PING")
        except _FAILURES:
            return False
        if answer not in (True, b"PONG"):
            return False
        self.breaker.succeed()
        return True

    async def remove(self, is_meant: KeyFilter) -> int | None:
        """Drop every value whose key is meant; return how many went, nothing if Redis failed."""
        removed = 0
        try:
            async for keys in self._scan(is_meant):
                removed += int(await self._execute("UNLINK", *keys))
        except (*_FAILURES, ValueError, TypeError):  # the latter two: an answer of another kind
            self.counts.failures += 1
            return None
        return removed

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _scan(self, is_meant: KeyFilter) -> AsyncIterator[Sequence[bytes]]:
        cursor = 0
        while True:
            cursor, keys = await self._execute(
                "SCAN", cursor, "MATCH", f"{PREFIX}:*", "COUNT", _SCAN_COUNT
            )
            if meant := [key for key in keys if is_meant(key.decode(errors="replace"))]:
                yield meant
            if cursor == 0:
                return

    async def _execute(self, *command: Any) -> Any:  # noqa: ANN401 - whatever the wire says
        return await self._client.execute_command(*command)  # type: ignore[no-untyped-call]

    async def _ask(self, *command: Any) -> Any:  # noqa: ANN401 - whatever the wire says
        if not self.breaker.allows():
            self.counts.skipped += 1
            return None
        try:
            async with asyncio.timeout(self._timeout_s), self._slots:
                answer = await self._execute(*command)
        except ResponseError:  # it is there and declines: reading may still go well
            self.counts.refused += 1
            self.breaker.succeed()
            return None
        except _FAILURES:
            self.counts.failures += 1
            self.breaker.fail()
            return None
        except BaseException:
            self.breaker.forget()
            raise
        self.breaker.succeed()
        return answer
