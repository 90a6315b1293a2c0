"""The compute service: a request's body in, an answer's body out.

Belongs here: the order of things, and what runs where. Keep out: HTTP, which is the router's.

What is small runs in the event loop, where it takes less than handing it to a thread and back would
cost everyone; the rest in threads under a time limit.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

from kernels import engine
from market.errors import InputError
from market.settings import ServingSettings
from serving.compute import (
    arrow_answers,
    arrow_batches,
    arrow_bodies,
    content,
    json_answers,
    json_batches,
    json_bodies,
)
from serving.compute.batches import Outcome, outcome_of
from serving.compute.cache import AnswerCache, Kept, MemoryCache, key_of
from serving.compute.computing import computed
from serving.compute.content import Form
from serving.compute.contracts import Contract
from serving.compute.questions import Question
from serving.compute.warmth import Warmth
from serving.compute.workers import Workers
from serving.metrics import ComputeMetrics
from storage.cache_memory import MemoryTier

log = logging.getLogger("wavehouse.compute")

STREAMED_POINTS: Final = 100_000  # answers of so many points and more leave in pieces, and unkept
INLINE_BYTES: Final = 1 << 19
INLINE_WORK: Final = 2_000_000  # points times the longest parameter
INLINE_VALUES: Final = 100_000  # numbers that are answered: 2 ms of writing


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came: its body, in which form and packing, and the query."""

    body: bytes
    form: Form
    wanted: Form
    encoding: str
    query: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: whole or in pieces, its form, and what the log says about it.

    ``size`` is that of the pieces, where it is known before they are made.
    """

    body: bytes | Iterator[bytes | memoryview]
    form: Form
    told: Mapping[str, Any]
    size: int | None = None


class ComputeService:
    """Everything behind ``/compute``; threads start with ``start`` and end with ``close``."""

    def __init__(
        self, settings: ServingSettings, metrics: ComputeMetrics, cache: AnswerCache | None = None
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        if cache is None and settings.compute_cache_bytes:
            cache = MemoryCache(settings.compute_cache_bytes, settings.compute_cache_ttl_s)
        self._cache = cache
        self._version = version("wavehouse")
        self._workers = Workers(settings.compute_threads, settings.compute_timeout_s)
        self.warmth = Warmth()

    @property
    def kept(self) -> MemoryTier[Kept] | None:
        """The answers in memory, where they are kept there."""
        return self._cache.tier if isinstance(self._cache, MemoryCache) else None

    @property
    def mojo_available(self) -> bool:
        """Whether the Mojo library is there."""
        return engine.mojo_available()

    def start(self) -> None:
        """Begin to compile what is not compiled yet, if a setting says so."""
        self._workers.start()
        self._metrics.mojo_available.set(self.mojo_available)
        if not self.mojo_available:
            log.warning("Mojo unavailable, numba serves: %s", engine.why_not())
        if self._settings.compute_warm:
            self.warmth.start()

    def close(self) -> None:
        """End the threads."""
        self.warmth.close()
        self._workers.close()

    async def ask(self, contract: Contract, asked: Asked) -> Answer:
        """Return one indicator of one symbol.

        Raise ``InputError`` for what cannot be computed, ``MalformedRequestError`` and its kin for
        what cannot be read, ``TimeLimitError`` and ``OverloadedError``.
        """
        is_small = len(asked.body) <= INLINE_BYTES and not asked.encoding
        if not (is_small and self.warmth.is_ready(contract.name)):
            return await self._workers.run(self._read_and_answer, contract, asked)
        question = self._question(contract, asked)
        if _is_small(contract, question):
            return self._answer(contract, question, asked.wanted)
        return await self._workers.run(self._answer, contract, question, asked.wanted)

    async def ask_batch(self, asked: Asked) -> Answer:
        """Return many indicators of many symbols; raises as ``ask``."""
        return await self._workers.run(self._answer_batch, asked)

    def _read_and_answer(self, contract: Contract, asked: Asked) -> Answer:
        return self._answer(contract, self._question(contract, asked), asked.wanted)

    def _unpacked(self, asked: Asked) -> bytes | bytearray:
        most = self._settings.compute_max_body_bytes
        return content.unpacked(asked.body, asked.encoding, most)

    def _question(self, contract: Contract, asked: Asked) -> Question:
        body, most = self._unpacked(asked), self._settings.compute_max_points
        if asked.form == "json":
            refuse_query(asked.query)
            return json_bodies.question(contract, body, most)
        return arrow_bodies.question(contract, body, asked.query, most)

    def _answer(self, contract: Contract, question: Question, wanted: Form) -> Answer:
        self._check_size(question.points * contract.width(question.parameters))
        self._metrics.data_points.observe(question.points)
        if self._cache is None or question.points >= STREAMED_POINTS:
            return self._fresh(contract, question, wanted)
        key = key_of(contract.name, question, wanted, self._version)
        kept = self._cache.get(key)
        self._metrics.count_cache(contract.name, is_hit=kept is not None)
        if kept is not None:
            return Answer(kept.body, wanted, {**kept.told, "cache_hit": True})
        answer = self._fresh(contract, question, wanted)
        if isinstance(answer.body, bytes):
            self._cache.put(key, Kept(answer.body, answer.told))
        return answer

    def _fresh(self, contract: Contract, question: Question, wanted: Form) -> Answer:
        found = computed(contract, question.parameters, question.columns)
        self.warmth.mark(contract.name)
        self._metrics.count_computed(
            contract.name, found.milliseconds, 1, is_fallback=not self.mojo_available
        )
        told = {
            "symbol": question.symbol,
            **question.parameters,
            "data_points": question.points,
            "computation_time_ms": found.milliseconds,
            "mojo_used": found.mojo_used,
            "cache_hit": False,
        }
        head = {"symbol": question.symbol, "indicator": contract.label, **question.parameters}
        tail = {"computation_time_ms": found.milliseconds, "mojo_used": found.mojo_used}
        is_large = question.points >= STREAMED_POINTS
        if wanted == "arrow":
            lines = arrow_answers.single(contract, found, question.parameters)
            return _in_arrow(arrow_answers.written(lines, head | tail), told, is_large=is_large)
        return _in_json({**head, **found.lines, **tail}, told, is_large=is_large)

    def _answer_batch(self, asked: Asked) -> Answer:
        deadline = time.monotonic() + self._settings.compute_timeout_s
        body, plan = self._unpacked(asked), None
        limits = {
            "max_symbols": self._settings.compute_max_symbols,
            "max_points": self._settings.compute_max_points,
        }
        if asked.form == "json":
            refuse_query(asked.query)
            batch = json_batches.read(body, **limits)
            if asked.wanted == "arrow":
                plan = batch.common_plan()
        else:
            plan = arrow_batches.plan_of_query(asked.query)
            batch = arrow_batches.read(body, plan, **limits)
        self._check_size(batch.values)
        self._metrics.data_points.observe(batch.points)
        outcome = outcome_of(batch, deadline=deadline)
        self._count(outcome)
        told = {
            "symbols": len(batch.symbols),
            "symbols_failed": len(outcome.failed),
            "indicators_computed": outcome.computed,
            "data_points": batch.points,
            "computation_time_ms": outcome.milliseconds,
            "mojo_used": outcome.mojo_used,
            "cache_hit": False,
        }
        is_large = batch.values >= STREAMED_POINTS
        if asked.wanted == "arrow" and plan is not None:
            return _in_arrow(arrow_batches.answer(batch, plan, outcome), told, is_large=is_large)
        return _in_json(json_batches.answer(batch, outcome), told, is_large=is_large)

    def _count(self, outcome: Outcome) -> None:
        is_fallback = not self.mojo_available
        for block in outcome.blocks:
            for wish, result in zip(block.plan.wishes, block.results, strict=True):
                self.warmth.mark(wish.contract.name)
                symbols = len(block.rows)
                self._metrics.count_computed(
                    wish.contract.name,
                    result.milliseconds * symbols,
                    symbols,
                    is_fallback=is_fallback,
                )

    def _check_size(self, values: int) -> None:
        most = self._settings.compute_max_values
        if values > most:
            raise InputError(f"answer: expected at most {most} numbers, was {values}")


def _is_small(contract: Contract, question: Question) -> bool:
    work = question.points * max(question.parameters.values(), default=1)
    values = question.points * contract.width(question.parameters)
    return work <= INLINE_WORK and values <= INLINE_VALUES


def _in_json(answer: Any, told: Mapping[str, Any], *, is_large: bool) -> Answer:  # noqa: ANN401 - whatever JSON holds
    pieces = json_answers.pieces(answer)
    return Answer(pieces if is_large else b"".join(pieces), "json", told)


def _in_arrow(answer: arrow_answers.Stream, told: Mapping[str, Any], *, is_large: bool) -> Answer:
    if is_large:
        return Answer(answer.pieces(), "arrow", told, answer.size)
    return Answer(answer.whole(), "arrow", told)


def refuse_query(query: Mapping[str, str]) -> None:
    """Raise ``InputError`` for parameters beside a JSON body, which has them all."""
    for name in query:
        raise InputError(f"{name}: expected in the body, was in the query")
