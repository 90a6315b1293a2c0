"""Looking at outsides that can hang.

A probe comes every few seconds, and a part that hangs must not take its callers with it: each check
runs once at a time, in a thread of its own, and who asks waits for it for so long.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from anyio import CapacityLimiter, to_thread

from serving.operations import Check, Newest

T = TypeVar("T")
LakeFound = tuple[Check, list[Newest]]


@dataclass(slots=True)
class Look(Generic[T]):
    """One check of an outside: never twice at once; belongs to one event loop."""

    flight: asyncio.Task[T] | None = None

    async def at(self, check: Callable[[], T], *, within_s: float, late: T) -> T:
        """Return what the check says, or ``late``; it goes on, for whoever asks next."""
        if self.flight is None:
            self.flight = asyncio.get_running_loop().create_task(self._fly(check))
        done, _ = await asyncio.wait({self.flight}, timeout=within_s)
        return next(iter(done)).result() if done else late

    async def _fly(self, check: Callable[[], T]) -> T:
        try:  # a limiter of its own: the threads of requests may all be busy
            return await to_thread.run_sync(
                check, abandon_on_cancel=True, limiter=CapacityLimiter(1)
            )
        finally:
            self.flight = None


@dataclass(slots=True)
class Looks:
    """The checks of outsides that can hang."""

    lake: Look[LakeFound] = field(default_factory=Look)
    database: Look[Check] = field(default_factory=Look)
