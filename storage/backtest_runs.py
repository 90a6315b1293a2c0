"""Backtests in SQL: which were asked for and what became of them, and what was tried on which bars.

Belongs here: the life of a run, and the count of trials. Keep out: what a run computes.

A run that waits or is computed belongs to one process, which renews its lease. A lease that has
lapsed means that the process is gone, or was away for so long that nobody could tell: the run has
then failed, says whoever looks next, and a result that comes later is not taken.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from market.errors import UnknownRunError
from storage.database import Database, now_us
from storage.database_schema import BACKTEST_RUNS, TRIALS

PENDING: Final = "pending"
RUNNING: Final = "running"
COMPLETED: Final = "completed"
FAILED: Final = "failed"

_UNFINISHED: Final = (PENDING, RUNNING)
_US: Final = 1_000_000
_LEVEL: Final = 1  # of deflating: a curve of a million values in a third of a second


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What is known of a run when it is asked for."""

    run_id: str
    kind: str
    strategy_id: str
    symbol: str
    data_version: str


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it is now; ``answer`` where it is completed, code and message where it failed."""

    info: RunInfo
    status: str
    submitted_us: int
    started_us: int | None
    finished_us: int | None
    answer: bytes | None
    error_code: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of parameters, by its hash, and the Sharpe ratio a bar that it had, if any."""

    key: str
    strategy_id: str
    parameters: str
    sharpe_per_bar: float | None


@dataclass(frozen=True, slots=True)
class TrialCount:
    """How many were tried on some bars, and the sample variance of their Sharpe ratios a bar."""

    count: int
    variance: float


class BacktestRuns:
    """Runs and trials of one database; ``owner`` names this process among all that share it."""

    def __init__(self, database: Database, *, owner: str, lease_s: float) -> None:
        self._database = database
        self._owner = owner
        self._lease_s = lease_s

    def submit(self, info: RunInfo) -> None:
        """Note a run that waits, in this process."""
        with self._database.writing() as connection:
            connection.execute(self._inserted(info, PENDING, now_us(connection)))

    def keep(self, info: RunInfo, answer: bytes) -> None:
        """Note a run that was asked for and answered at once."""
        deflated = zlib.compress(answer, _LEVEL)
        with self._database.writing() as connection:
            now = now_us(connection)
            row = self._inserted(info, COMPLETED, now)
            connection.execute(row.values(started_us=now, finished_us=now, answer=deflated))

    def start(self, run_id: str) -> bool:
        """Note that a waiting run is computed; return whether it still waits in this process."""
        with self._database.writing() as connection:
            now = now_us(connection)
            return self._change(
                connection, run_id, (PENDING,), status=RUNNING, started_us=now,
                lease_until_us=self._lease(now),
            )  # fmt: skip

    def complete(self, run_id: str, answer: bytes) -> bool:
        """Note the answer; return whether the run was still this process's to answer."""
        deflated = zlib.compress(answer, _LEVEL)
        with self._database.writing() as connection:
            return self._change(
                connection, run_id, (RUNNING,), status=COMPLETED, answer=deflated,
                finished_us=now_us(connection),
            )  # fmt: skip

    def fail(self, run_id: str, code: str, message: str) -> bool:
        """Note why there will be no answer; return as ``complete``."""
        with self._database.writing() as connection:
            return self._change(
                connection, run_id, _UNFINISHED, status=FAILED, error_code=code,
                error_message=message, finished_us=now_us(connection),
            )  # fmt: skip

    def renew(self, run_ids: Sequence[str]) -> None:
        """Say that this process is there, and still has these runs."""
        with self._database.writing() as connection:
            connection.execute(
                sa.update(BACKTEST_RUNS)
                .where(BACKTEST_RUNS.c.run_id.in_(run_ids))
                .where(BACKTEST_RUNS.c.owner == self._owner)
                .where(BACKTEST_RUNS.c.status.in_(_UNFINISHED))
                .values(lease_until_us=self._lease(now_us(connection)))
            )

    def judge(self) -> int:
        """Fail every run whose process is not heard of any more; return how many."""
        with self._database.writing() as connection:
            return _judge(connection)

    def forget(self, older_than_s: float) -> int:
        """Remove runs that ended so long ago; return how many. Trials stay."""
        with self._database.writing() as connection:
            before = now_us(connection) - int(older_than_s * _US)
            return connection.execute(
                sa.delete(BACKTEST_RUNS).where(BACKTEST_RUNS.c.finished_us < before)
            ).rowcount

    def read(self, run_id: str) -> Run:
        """Return a run as it is now; raise ``UnknownRunError`` if there is none.

        One whose process is gone has failed, and is noted so.
        """
        found, is_lapsed = self._found(run_id)
        if is_lapsed:
            self.judge()
            found, _ = self._found(run_id)
        return found

    def count(self, data_version: str, trials: Sequence[Trial]) -> TrialCount:
        """Count trials on some bars, each once for ever; return how many there are now.

        Those without a Sharpe ratio count, and say nothing about the variance.
        """
        with self._database.writing() as connection:
            _take_turns(connection, data_version)
            now = now_us(connection)
            rows = [
                {
                    "data_version": data_version,
                    "trial_key": trial.key,
                    "strategy_id": trial.strategy_id,
                    "parameters": trial.parameters,
                    "sharpe_per_bar": trial.sharpe_per_bar,
                    "counted_us": now,
                }
                # in one order: two sweeps that overlap would wait for each other
                for trial in sorted(trials, key=lambda trial: trial.key)
            ]
            if rows:
                connection.execute(_insert_new(connection), rows)
            return _counted(connection, data_version)

    def _found(self, run_id: str) -> tuple[Run, bool]:
        with self._database.reading() as connection:
            row = connection.execute(
                sa.select(BACKTEST_RUNS).where(BACKTEST_RUNS.c.run_id == run_id)
            ).one_or_none()
            now = now_us(connection)
        if row is None:
            raise UnknownRunError(f"run_id: expected one that was given out, was {run_id!r}")
        info = RunInfo(row.run_id, row.kind, row.strategy_id, row.symbol, row.data_version)
        run = Run(
            info=info,
            status=row.status,
            submitted_us=row.submitted_us,
            started_us=row.started_us,
            finished_us=row.finished_us,
            answer=None if row.answer is None else zlib.decompress(row.answer),
            error_code=row.error_code,
            error_message=row.error_message,
        )
        return run, row.status in _UNFINISHED and row.lease_until_us < now

    def _inserted(self, info: RunInfo, status: str, now: int) -> sa.Insert:
        return sa.insert(BACKTEST_RUNS).values(
            run_id=info.run_id,
            kind=info.kind,
            status=status,
            strategy_id=info.strategy_id,
            symbol=info.symbol,
            data_version=info.data_version,
            owner=self._owner,
            submitted_us=now,
            lease_until_us=self._lease(now),
        )

    def _change(
        self, connection: sa.Connection, run_id: str, before: Sequence[str], **values: object
    ) -> bool:
        changed = connection.execute(
            sa.update(BACKTEST_RUNS)
            .where(BACKTEST_RUNS.c.run_id == run_id)
            .where(BACKTEST_RUNS.c.owner == self._owner)
            .where(BACKTEST_RUNS.c.status.in_(before))
            .values(**values)
        )
        return changed.rowcount == 1

    def _lease(self, now: int) -> int:
        return now + int(self._lease_s * _US)


def _judge(connection: sa.Connection) -> int:
    now = now_us(connection)
    return connection.execute(
        sa.update(BACKTEST_RUNS)
        .where(BACKTEST_RUNS.c.status.in_(_UNFINISHED))
        .where(BACKTEST_RUNS.c.lease_until_us < now)
        .values(
            status=FAILED,
            error_code="PROCESS_ENDED",
            error_message="run: expected an answer, was left by a process that ended; ask again",
            finished_us=now,
        )
    ).rowcount


def _take_turns(connection: sa.Connection, data_version: str) -> None:
    """Let who counts trials of the same bars see every trial counted before; SQLite always does."""
    if connection.dialect.name == "postgresql":
        lock = sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(data_version, 0))
        connection.execute(sa.select(lock))


def _insert_new(connection: sa.Connection) -> sa.Insert:
    if connection.dialect.name == "postgresql":
        return postgresql.insert(TRIALS).on_conflict_do_nothing()
    return sqlite.insert(TRIALS).on_conflict_do_nothing()


def _counted(connection: sa.Connection, data_version: str) -> TrialCount:
    sharpe, here = TRIALS.c.sharpe_per_bar, TRIALS.c.data_version == data_version
    first = sa.select(sa.func.count(), sa.func.count(sharpe), sa.func.avg(sharpe)).where(here)
    count, known, mean = connection.execute(first).one()
    if known < 2:  # noqa: PLR2004 - one value does not vary
        return TrialCount(count, 0.0)
    off = sharpe - mean  # from the mean: squares of ratios that hardly differ would cancel
    squares = connection.scalar(sa.select(sa.func.sum(off * off)).where(here))
    return TrialCount(count, float(squares or 0.0) / (known - 1))
