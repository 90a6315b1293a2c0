"""Decoded values that stay in memory, least recently used out first, bounded in bytes."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Something that knows how much memory it takes."""

    @property
    def nbytes(self) -> int:
        """Return bytes."""
        ...


K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Sized)


class Resident(Generic[K, V]):
    """Values by key; shared by threads. Keys name immutable data, so nothing becomes stale."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()
        self.nbytes = 0

    def __contains__(self, key: K) -> bool:
        """Say whether a value is held."""
        return key in self._held

    def get(self, key: K, make: Callable[[], V]) -> V:
        """Return what is held, or make it and hold it if it fits at all."""
        with self._lock:
            found = self._held.get(key)
            if found is not None:
                self._held.move_to_end(key)
                return found
        made = make()  # two threads may make the same at once: that costs time, never truth
        with self._lock:
            if made.nbytes <= self._max_bytes and key not in self._held:
                self._held[key] = made
                self.nbytes += made.nbytes
                while self.nbytes > self._max_bytes:
                    self.nbytes -= self._held.popitem(last=False)[1].nbytes
        return made
