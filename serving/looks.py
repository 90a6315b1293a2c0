"""Looking at outsides that can hang.

A probe comes every few seconds, and a part that hangs must not take its callers with it: each check
runs once at a time, in a thread of its own, and who asks waits for it for so long. Where every
thread waits for the processor a check is late although its outside is well; so what was heard a
moment ago still holds, and silence is an outage only once it lasts.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from anyio import CapacityLimiter, to_thread

from serving.operations import Check, Newest

HOLDS_S: Final = 10.0

T = TypeVar("T")
LakeFound = tuple[Check, list[Newest]]


@dataclass(slots=True)
class Look(Generic[T]):
    """One check of an outside: never twice at once; belongs to one event loop."""

    flight: asyncio.Task[T] | None = None
    heard: tuple[float, T] | None = None
    clock: Callable[[], float] = time.monotonic

    async def at(self, check: Callable[[], T], *, within_s: float, late: T) -> T:
        """Return what the check says, or ``late``; it goes on, for whoever asks next.

        Where it said something within the last ``HOLDS_S``, return that in place of ``late``.
        """
        if self.flight is None:
            self.flight = asyncio.get_running_loop().create_task(self._fly(check))
        done, _ = await asyncio.wait({self.flight}, timeout=within_s)
        if done:
            return next(iter(done)).result()
        if self.heard is not None and self.clock() - self.heard[0] <= HOLDS_S:
            return self.heard[1]
        return late

    async def _fly(self, check: Callable[[], T]) -> T:
        try:  # a limiter of its own: the threads of requests may all be busy
            said = await to_thread.run_sync(
                check, abandon_on_cancel=True, limiter=CapacityLimiter(1)
            )
            self.heard = (self.clock(), said)
            return said
        finally:
            self.flight = None


@dataclass(slots=True)
class Looks:
    """The checks of outsides that can hang."""

    lake: Look[LakeFound] = field(default_factory=Look)
    database: Look[Check] = field(default_factory=Look)
