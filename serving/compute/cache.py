"""Answers that were given before: the port, and the one in memory.

Belongs here: keeping bytes by key. Keep out: what the bytes say.

Keys are hashes of everything that an answer depends on, so nothing needs invalidating; the time to
live bounds what is kept for nobody.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from serving.compute.questions import Question

_SHARE: Final = 8  # an answer larger than this part of the whole is not kept


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer: its bytes as they were sent, and what the log says about them."""

    body: bytes
    told: Mapping[str, Any]


class AnswerCache(Protocol):
    """Where answers are kept: in memory here, in a store that processes share elsewhere."""

    def get(self, key: str) -> Kept | None:
        """Return the answer, or nothing if it is not there or too old."""

    def put(self, key: str, answer: Kept) -> None:
        """Keep an answer; an implementation may decline."""


class MemoryCache:
    """The answers that were asked for last, within a bound in bytes and for a time."""

    def __init__(
        self, max_bytes: int, ttl_s: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[float, Kept]] = OrderedDict()
        self._bytes = 0

    @property
    def size(self) -> int:
        """How many bytes are kept."""
        return self._bytes

    def get(self, key: str) -> Kept | None:
        """Return the answer, or nothing if it is not there or too old."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            if found[0] <= self._clock():
                self._drop(key)
                return None
            self._kept.move_to_end(key)
            return found[1]

    def put(self, key: str, answer: Kept) -> None:
        """Keep an answer, and let go of those that were asked for longest ago."""
        weight = _weight(key, answer)
        if weight * _SHARE > self._max_bytes:
            return
        with self._lock:
            if key in self._kept:
                self._drop(key)
            self._kept[key] = (self._clock() + self._ttl_s, answer)
            self._bytes += weight
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: str) -> None:
        _, answer = self._kept.pop(key)
        self._bytes -= _weight(key, answer)


def key_of(indicator: str, question: Question, form: str, version: str) -> str:
    """Return ``mojo:{indicator}:{symbol}:{hash}``: of parameters, columns, form and version.

    ``version`` is the package's: where a store outlives the process, a release with another kernel
    does not find what the last one answered.
    """
    columns = question.columns
    head = [version, form, question.parameters, list(columns), question.points]
    digest = hashlib.sha256(orjson.dumps(head))
    for x in columns.values():
        digest.update(x.data)
    return f"mojo:{indicator}:{question.symbol}:{digest.hexdigest()[:32]}"


def _weight(key: str, answer: Kept) -> int:
    return len(key) + len(answer.body) + 300  # the bookkeeping of one entry, about
