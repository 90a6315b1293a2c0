"""Answers that were given before: the port, and the one in memory.

Belongs here: keeping bytes by key. Keep out: what the bytes say.

Keys are hashes of everything that an answer depends on, so nothing needs invalidating; the time to
live bounds what is kept for nobody.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from serving.compute.questions import Question
from storage.cache_memory import MemoryTier


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
    """The answers that were asked for last: the memory tier of ``storage``, with one time."""

    def __init__(
        self, max_bytes: int, ttl_s: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ttl_s = ttl_s
        self.tier = MemoryTier[Kept](max_bytes, weigh=lambda kept: len(kept.body), clock=clock)

    @property
    def size(self) -> int:
        """How many bytes are kept."""
        return self.tier.size

    def get(self, key: str) -> Kept | None:
        """Return the answer, or nothing if it is not there or too old."""
        return self.tier.get(key)

    def put(self, key: str, answer: Kept) -> None:
        """Keep an answer, and let go of those that were asked for longest ago."""
        self.tier.put(key, answer, self._ttl_s)


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
