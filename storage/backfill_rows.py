"""Backfill jobs as values: a row of the database, and what is reckoned from it.

Belongs here: throughput, and the time that is left. Keep out: statements that change a job.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from storage.database_schema import BACKFILL_JOBS, BACKFILL_PARTITIONS

_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Pace:
    """What was made in how long."""

    partitions: int
    candles: int
    took_us: int

    @property
    def partitions_a_second(self) -> float | None:
        """Return the rate, if anything was made."""
        return self.partitions * _US / self.took_us if self.partitions and self.took_us else None

    @property
    def candles_a_minute(self) -> float | None:
        """Return how many candles were labelled a minute, if anything was made."""
        return self.candles * 60 * _US / self.took_us if self.partitions and self.took_us else None


@dataclass(frozen=True, slots=True)
class Progress:
    """How many partitions there are (not known at first), are made, could not be; the newest."""

    total: int | None
    completed: int
    failed: int
    newest: str | None


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is now; code and message where it failed.

    ``pace`` is that of the worker which has or had it last: the time when nobody had it is no
    measure of how fast it is.
    """

    job_id: str
    instrument: str
    timeframe: str
    first: str
    last: str
    is_forced: bool
    priority: int
    request_id: str
    status: str
    progress: Progress
    pace: Pace
    starts: int
    is_cancel_asked: bool
    submitted_us: int
    started_us: int | None
    finished_us: int | None
    error_code: str | None
    error_message: str | None

    @property
    def error_rate(self) -> float | None:
        """Return the share of attempts that failed, if there was one."""
        tried = self.progress.completed + self.progress.failed
        return self.progress.failed / tried if tried else None

    @property
    def remaining_s(self) -> float | None:
        """Return how long it will take at this pace; ``None`` while nobody can tell."""
        rate, total = self.pace.partitions_a_second, self.progress.total
        if self.status != "running" or rate is None or total is None:
            return None
        return max(0, total - self.progress.completed) / rate


@dataclass(frozen=True, slots=True)
class Counted:
    """What a job has made: in all, and since its worker took it."""

    partitions: int = 0
    candles: int = 0
    new_partitions: int = 0
    new_candles: int = 0


def counted(connection: sa.Connection, job_ids: Sequence[str]) -> Mapping[str, Counted]:
    """Count what these jobs have made; one that has made nothing is left out."""
    made, jobs = BACKFILL_PARTITIONS.c, BACKFILL_JOBS.c
    is_new = made.made_us >= jobs.taken_us
    found = connection.execute(
        sa.select(
            made.job_id,
            sa.func.count(made.path),
            sa.func.sum(made.candles),
            sa.func.sum(sa.case((is_new, 1), else_=0)),
            sa.func.sum(sa.case((is_new, made.candles), else_=0)),
        )
        .join_from(BACKFILL_PARTITIONS, BACKFILL_JOBS, made.job_id == jobs.job_id)
        .where(made.job_id.in_(job_ids))
        .group_by(made.job_id)
    )
    return {row[0]: Counted(*(int(value) for value in row[1:])) for row in found}


def job_of(row: Any, count: Counted, now: int) -> Job:  # noqa: ANN401 - a row of the table
    """Return a row as a job."""
    until = now if row.finished_us is None else row.finished_us
    took_us = 0 if row.taken_us is None else max(0, until - row.taken_us)
    return Job(
        job_id=row.job_id,
        instrument=row.instrument,
        timeframe=row.timeframe,
        first=row.first_month,
        last=row.last_month,
        is_forced=row.is_forced,
        priority=row.priority,
        request_id=row.request_id,
        status=row.status,
        progress=Progress(row.total, count.partitions, row.failed, row.current_partition),
        pace=Pace(count.new_partitions, count.new_candles, took_us),
        starts=row.starts,
        is_cancel_asked=row.is_cancel_asked,
        submitted_us=row.submitted_us,
        started_us=row.started_us,
        finished_us=row.finished_us,
        error_code=row.error_code,
        error_message=row.error_message,
    )
