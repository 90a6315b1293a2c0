"""What was used last, within a bound in bytes and for a time.

Belongs here: the memory tier that every cache of the process is made of. Keep out: what the values
mean, networks.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

V = TypeVar("V")

_SHARE: Final = 8  # a value larger than this part of the whole is not kept
_BOOKKEEPING_BYTES: Final = 300  # of one entry, about


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    expires: float
    weight: int
    value: V


class MemoryTier(Generic[V]):
    """Values by key: least recently used first out; safe to call from any thread."""

    def __init__(
        self,
        max_bytes: int,
        *,
        weigh: Callable[[V], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``weigh`` tells the bytes of a value; a bound of 0 keeps nothing."""
        self.max_bytes = max_bytes
        self._weigh = weigh
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Entry[V]] = OrderedDict()
        self._bytes = 0
        self._evictions = 0

    def __len__(self) -> int:
        """Return how many values are kept, those that are too old included."""
        return len(self._kept)

    @property
    def size(self) -> int:
        """How many bytes are kept, bookkeeping included."""
        return self._bytes

    @property
    def evictions(self) -> int:
        """How many values went because there was no room."""
        return self._evictions

    def get(self, key: str) -> V | None:
        """Return the value, or nothing if it is not there or too old."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            if found.expires <= self._clock():
                self._drop(key)
                return None
            self._kept.move_to_end(key)
            return found.value

    def put(self, key: str, value: V, ttl_s: float) -> None:
        """Keep a value for a time, and let go of those that were used longest ago."""
        weight = len(key) + self._weigh(value) + _BOOKKEEPING_BYTES
        with self._lock:
            if key in self._kept:
                self._drop(key)
            if weight * _SHARE > self.max_bytes:
                return
            self._kept[key] = _Entry(self._clock() + ttl_s, weight, value)
            self._bytes += weight
            while self._bytes > self.max_bytes:
                self._drop(next(iter(self._kept)))
                self._evictions += 1

    def remove(self, is_meant: Callable[[str], bool]) -> int:
        """Drop every value whose key is meant; return how many went."""
        with self._lock:
            meant = [key for key in self._kept if is_meant(key)]
            for key in meant:
                self._drop(key)
        return len(meant)

    def _drop(self, key: str) -> None:
        self._bytes -= self._kept.pop(key).weight
