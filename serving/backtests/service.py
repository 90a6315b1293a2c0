"""The backtest service: a request's body in, an answer's body out, and all of it on record.

Belongs here: the order of things, and what runs where. Keep out: HTTP, which is the router's.

A trial is counted when it has been computed, before its answer leaves: the deflated Sharpe ratio of
an answer counts that answer.
"""

import logging
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import anyio
import numpy as np

from kernels import engine
from kernels.backtest_orders import Bars
from kernels.performance_metrics import SHARPE_PER_BAR
from market.errors import InputError, UnknownRunError
from market.settings import ServingSettings
from serving.backtests import answers
from serving.backtests.computing import computed_run, computed_sweep
from serving.backtests.contracts import CONTRACTS
from serving.backtests.jobs import Jobs
from serving.backtests.questions import (
    Market,
    RunQuestion,
    SweepLimits,
    SweepQuestion,
    data_version,
    run_question,
    sweep_question,
)
from serving.backtests.timing import timing_of
from serving.compute import content, json_answers
from serving.compute.service import Asked
from serving.compute.workers import Workers
from serving.errors import UnsupportedContentError
from serving.metrics import ComputeMetrics
from storage.backtest_runs import PENDING, BacktestRuns, RunInfo, Trial
from storage.database import Database

log = logging.getLogger("wavehouse.backtests")

MAX_LINES: Final = 50_000_000  # numbers of a sweep's averages, 400 MB
_RUN_ID: Final = re.compile("[0-9a-f-]{36}")
_DAY_S: Final = 86_400.0
_WARM_BARS: Final = 600


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer's JSON, and what the log says about it."""

    body: bytes
    told: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Submitted:
    """A run that will be computed, and the JSON that says so."""

    run_id: str
    body: bytes


class BacktestService:
    """Everything behind ``/backtest``; threads start with ``start`` and end with ``close``."""

    def __init__(
        self, settings: ServingSettings, metrics: ComputeMetrics, database: Database
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._database = database
        self._runs = BacktestRuns(
            database, owner=str(uuid.uuid4()), lease_s=settings.backtest_lease_s
        )
        self._workers = Workers(settings.backtest_threads, settings.compute_timeout_s)
        self._jobs = Jobs(
            self._runs,
            threads=settings.backtest_threads,
            waiting=settings.backtest_queue,
            lease_s=settings.backtest_lease_s,
            keep_s=settings.backtest_keep_days * _DAY_S,
        )
        self._limits = SweepLimits(
            settings.backtest_max_combinations, settings.backtest_max_work, MAX_LINES
        )
        self._stopping = threading.Event()
        self._warming: threading.Thread | None = None

    @property
    def is_warming(self) -> bool:
        """Whether kernels of backtests are being compiled."""
        return self._warming is not None and self._warming.is_alive()

    def start(self) -> None:
        """Take questions; look after what an earlier process left, if there may be such."""
        self._workers.start()
        self._jobs.start(is_shared=self._database.is_shared)
        if self._settings.compute_warm:
            self._stopping.clear()
            self._warming = threading.Thread(
                target=warm, args=(self._stopping,), name="warm-backtests", daemon=True
            )
            self._warming.start()

    def close(self) -> None:
        """End the threads: what is computed ends first, what waits has failed."""
        self._stopping.set()
        self._workers.close()
        self._jobs.close()
        if self._warming is not None:
            self._warming.join()
        self._database.close()

    async def run(self, asked: Asked) -> Answered:
        """Return one backtest.

        Raise ``InputError`` for what cannot be computed, ``MalformedRequestError`` and its kin for
        what cannot be read, ``TimeLimitError`` and ``OverloadedError``.
        """
        return await self._workers.run(self._answered, self._run, asked)

    async def sweep(self, asked: Asked) -> Answered:
        """Return every combination of a grid; raises as ``run``."""
        return await self._workers.run(self._answered, self._sweep, asked)

    async def submit_run(self, asked: Asked) -> Submitted:
        """Return a backtest's run_id, and compute it later; raises as ``run``."""
        return await self._workers.run(self._submitted, self._run, asked)

    async def submit_sweep(self, asked: Asked) -> Submitted:
        """Return a sweep's run_id, and compute it later; raises as ``run``."""
        return await self._workers.run(self._submitted, self._sweep, asked)

    async def read(self, run_id: str) -> bytes:
        """Return what became of a run; raise ``UnknownRunError`` if there is none."""
        # not among the workers: whoever asks how far it is must not wait for what is computed
        return await anyio.to_thread.run_sync(self._read, run_id)

    def check(self) -> None:
        """Raise ``StorageError`` if the database does not answer."""
        self._database.check()

    def _read(self, run_id: str) -> bytes:
        if _RUN_ID.fullmatch(run_id) is None:
            raise UnknownRunError("run_id: expected one that was given out, was of another form")
        run = self._runs.read(run_id)
        return run.answer or json_answers.whole(answers.progress(run))

    def _answered(self, begin: "Begin", asked: Asked) -> Answered:
        info, make = begin(asked)
        answered = make()
        self._runs.keep(info, answered.body)
        return answered

    def _submitted(self, begin: "Begin", asked: Asked) -> Submitted:
        info, make = begin(asked)
        self._jobs.submit(info, lambda: make().body)
        body = json_answers.whole({"run_id": info.run_id, "status": PENDING})
        return Submitted(info.run_id, body)

    def _run(self, asked: Asked) -> tuple[RunInfo, Callable[[], Answered]]:
        question = run_question(self._body(asked), self._settings.compute_max_points)
        info = _info("run", question)

        def make() -> Answered:
            made, spent = computed_run(question)
            self._check_fills(2 * made.trades.side.size)
            key, text = question.trial_key()
            sharpe = made.metrics.sharpe_per_bar
            trial = Trial(key, question.contract.name, text, _known(sharpe))
            trials = self._runs.count(info.data_version, [trial])
            answer = answers.run_answer(info.run_id, question, made, trials, spent)
            return self._told(answer, answers.told(question, spent))

        return info, make

    def _sweep(self, asked: Asked) -> tuple[RunInfo, Callable[[], Answered]]:
        body, most = self._body(asked), self._settings.compute_max_points
        question = sweep_question(body, most, self._limits)
        info = _info("sweep", question.run)

        def make() -> Answered:
            made, spent = computed_sweep(question)
            sharpes = made.metrics[:, SHARPE_PER_BAR].tolist()
            combinations = answers.combined(question, made)
            trials = self._runs.count(info.data_version, _trials(question, combinations, sharpes))
            answer = answers.sweep_answer(info.run_id, question, made, trials, spent)
            told = answers.told(question.run, spent)
            return self._told(answer, {**told, "combinations": len(combinations)})

        return info, make

    def _check_fills(self, count: int) -> None:
        most = self._settings.backtest_max_fills
        if count > most:
            raise InputError(f"trades: expected at most {most} fills in an answer, was {count}")

    def _body(self, asked: Asked) -> bytes | bytearray:
        if asked.form != "json":
            raise UnsupportedContentError(f"Content-Type: expected {content.JSON}, was Arrow")
        most = self._settings.backtest_max_body_bytes
        return content.unpacked(asked.body, asked.encoding, most)

    def _told(self, answer: Mapping[str, Any], told: Mapping[str, Any]) -> Answered:
        self._metrics.data_points.observe(told["data_points"])
        self._metrics.count_computed(
            told["strategy_id"],
            told["computation_time_ms"],
            1,
            is_fallback=not engine.mojo_available(),
        )
        return Answered(json_answers.whole(answer), told)


Begin = Callable[[Asked], tuple[RunInfo, Callable[[], Answered]]]


def warm(stopping: threading.Event) -> None:
    """Compile every kernel that a backtest can need, and load the calendars; until told to stop."""
    close = 100.0 + np.sin(np.arange(_WARM_BARS, dtype=np.float64) / 7.0) * 5.0
    bars = Bars(open=close, close=close, high=close + 0.5, low=close - 0.5)
    ts = np.arange(_WARM_BARS, dtype=np.int64) * 60_000_000
    market = Market("WARM", ts, bars, timing_of(ts, None, None, None), data_version(ts, bars))
    for contract in CONTRACTS.values():
        if stopping.is_set():
            return
        question = RunQuestion(contract, market, contract.resolved({}))
        computed_run(question)
        computed_sweep(SweepQuestion(question, {}))
    log.info("%d strategies are ready", len(CONTRACTS))


def _info(kind: str, asked: RunQuestion) -> RunInfo:
    return RunInfo(
        run_id=str(uuid.uuid4()),
        kind=kind,
        strategy_id=asked.contract.name,
        symbol=asked.market.symbol.replace("\0", "\ufffd"),  # Postgres has no word for it
        data_version=asked.market.data_version,
    )


def _trials(
    asked: SweepQuestion, combinations: list[dict[str, Any]], sharpes: list[float]
) -> list[Trial]:
    strategy = asked.run.contract.name
    return [
        Trial(*_key_first(asked, combination, strategy), _known(sharpe))
        for combination, sharpe in zip(combinations, sharpes, strict=True)
    ]


def _key_first(
    asked: SweepQuestion, combination: Mapping[str, Any], strategy: str
) -> tuple[str, str, str]:
    key, text = asked.run.trial_key(combination)
    return key, strategy, text


def _known(sharpe: float) -> float | None:
    return sharpe if np.isfinite(sharpe) else None
