"""What is written of who did what: every change that was asked for, and refusals in bounded number.

Belongs here: what is worth a row, and how many. Keep out: the rows (``storage.audit_log``).

A change is written before its answer leaves. A refusal is written a moment later by a thread, and
only so many a minute, by caller and in all: who is refused a million times fills no disk.
"""

import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import anyio

from market.errors import StorageError
from storage.audit_log import AuditEvent, AuditLog

log = logging.getLogger("wavehouse.audit")

MINUTE_S: Final = 60.0
OF_A_CALLER: Final = 10  # refusals a minute, a status
OF_ALL: Final = 600
PRUNE_S: Final = 3600.0
_CALLERS: Final = 10_000
_WAITING: Final = 1000
_CLOSE_S: Final = 10.0


class Sampler:
    """Says which refusals have a row, and how many before it had none."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._taken = 0
        self._callers: OrderedDict[tuple[str, str, int], list[int]] = OrderedDict()

    def sampled(self, event: AuditEvent) -> AuditEvent | None:
        """Return the event, with what was left out before it; nothing if it is left out."""
        if self._clock() - self._began >= MINUTE_S:
            self._began, self._taken = self._clock(), 0
            for counts in self._callers.values():
                counts[0] = 0
        key = (event.principal, event.address, event.status)
        counts = self._callers.setdefault(key, [0, 0])  # written this minute, left out since
        self._callers.move_to_end(key)
        if len(self._callers) > _CALLERS:
            self._callers.popitem(last=False)
        if counts[0] >= OF_A_CALLER or self._taken >= OF_ALL:
            counts[1] += 1
            return None
        counts[0] += 1
        self._taken += 1
        left_out, counts[1] = counts[1], 0
        return replace(event, left_out=left_out)


class AuditTrail:
    """Writes to the log. What the database refuses to take is in the program's log instead."""

    def __init__(self, audit_log: AuditLog, sampler: Sampler | None = None) -> None:
        self._log = audit_log
        self._sampler = sampler or Sampler()
        self._waiting: queue.Queue[AuditEvent | None] = queue.Queue(_WAITING)
        self._writer: threading.Thread | None = None
        self._pruned: float | None = None

    async def changed(self, event: AuditEvent) -> None:
        """Write a change that was asked for; return when it is written."""
        await anyio.to_thread.run_sync(self._write, [event])

    def refused(self, event: AuditEvent) -> None:
        """Have a refusal written, if it is one of those that are."""
        sampled = self._sampler.sampled(event)
        if sampled is None:
            return
        if self._writer is None:
            self._writer = threading.Thread(target=self._drain, name="audit", daemon=True)
            self._writer.start()
        try:
            self._waiting.put_nowait(sampled)
        except queue.Full:
            _tell([sampled], "a writer that keeps up")

    def close(self) -> None:
        """Write what waits, and end the thread; a later refusal starts another."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self._waiting.put(None)
            writer.join(_CLOSE_S)

    def _drain(self) -> None:
        is_open = True
        while is_open:
            events = [self._waiting.get()]
            while not self._waiting.empty():
                events.append(self._waiting.get())
            is_open = None not in events
            self._write([event for event in events if event is not None])

    def _write(self, events: list[AuditEvent]) -> None:
        try:
            self._log.append(events)
            now = time.monotonic()
            if self._pruned is None or now - self._pruned >= PRUNE_S:
                self._pruned = now
                self._log.prune()
        except StorageError as e:
            _tell(events, str(e))


def _tell(events: list[AuditEvent], why: str) -> None:
    for event in events:
        log.error("audit: expected a row of %s, was none: %s", event, why)
