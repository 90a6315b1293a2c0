"""How much of a rate is used: a sliding window of two counters a caller, in memory.

Belongs here: counting, and what a count says. Keep out: who is counted and how often they may ask
(``rates``), and counts that processes share (``shared_windows``).

A caller's window begins with their first request, on the monotonic clock: one that is set back or
forward changes nobody's count.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from limits import RateLimitItem

_ROUNDING_S: Final = 1e-6
MAX_CALLERS: Final = 100_000  # some 30 MB; those who were not heard of for longest go first


@dataclass(frozen=True, slots=True)
class Standing:
    """What a caller has left, and seconds until one more request is taken where nothing is."""

    is_taken: bool
    remaining: int
    wait_s: int


@dataclass(slots=True)
class Window:
    """Requests of the window before, of this one, and how far this one is, in seconds."""

    previous: int
    current: int
    elapsed_s: float

    def used(self, length_s: float) -> int:
        """Return the requests that count now: the window before fades as this one goes on."""
        return math.floor(self.previous * (1.0 - self.elapsed_s / length_s)) + self.current

    def standing(self, item: RateLimitItem, *, is_taken: bool) -> Standing:
        """Return what this says of a rate."""
        length_s = float(item.get_expiry())
        remaining = max(0, item.amount - self.used(length_s))
        wait_s = math.floor(self._wait_s(item) + _ROUNDING_S) + 1
        return Standing(is_taken, remaining, max(1, wait_s))

    def _wait_s(self, item: RateLimitItem) -> float:
        length_s = float(item.get_expiry())
        room = item.amount - 1 - self.current
        if room < 0 or self.previous <= room:  # nothing fades: this window must end
            return length_s - self.elapsed_s
        return (1.0 - (room + 1) / self.previous) * length_s - self.elapsed_s


class MemoryWindows:
    """The windows of one process. Only the event loop may use it: nothing here waits."""

    def __init__(
        self, *, max_callers: int = MAX_CALLERS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_callers = max_callers
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, int, int]] = OrderedDict()

    def hit(self, item: RateLimitItem, caller: str) -> Standing:
        """Count a request, unless it is one too many."""
        key, length_s = item.key_for(caller), float(item.get_expiry())
        window = self._window(key, length_s)
        is_taken = window.used(length_s) < item.amount
        window.current += is_taken
        start = self._clock() - window.elapsed_s
        self._known[key] = (start, window.previous, window.current)
        self._known.move_to_end(key)
        while len(self._known) > self._max_callers:
            self._known.popitem(last=False)
        return window.standing(item, is_taken=is_taken)

    def _window(self, key: str, length_s: float) -> Window:
        start, previous, current = self._known.get(key, (self._clock(), 0, 0))
        gone, elapsed_s = divmod(max(0.0, self._clock() - start), length_s)
        if gone == 1:
            previous, current = current, 0
        elif gone > 1:
            return Window(0, 0, 0.0)
        return Window(previous, current, elapsed_s)
