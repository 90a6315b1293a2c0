"""Backfills in SQL: which were asked for, how far each is, and which process makes it now.

Belongs here: the life of a job and its progress. Keep out: how partitions are made.

Whoever has a job renews its lease. A lease that has lapsed means that its process is gone: the job
is then free, and the next that takes it goes on. Partitions are named by their content, so what was
made before is found fresh and nothing is made twice. A job that waits has a lease as well: the time
in which its process has to come up.

    pending ──take──> running ──finish──> completed, failed, cancelled
       └──cancel──> cancelled     └──lease lapses──take──> running
"""

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from market.errors import BackfillInProgressError, UnknownJobError
from storage.database import Database, now_us
from storage.database_schema import BACKFILL_JOBS

PENDING: Final = "pending"
RUNNING: Final = "running"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
STATUSES: Final = (PENDING, RUNNING, COMPLETED, FAILED, CANCELLED)

_UNFINISHED: Final = (PENDING, RUNNING)
_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Backfill:
    """What was asked: months [first, last] of one instrument and timeframe."""

    job_id: str
    instrument: str
    timeframe: str
    first: str
    last: str
    is_forced: bool
    priority: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How many partitions there are, were made or left fresh, and failed; which is made now."""

    total: int
    completed: int
    failed: int
    current: str | None


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is now; code and message where it failed."""

    asked: Backfill
    status: str
    progress: Progress
    takes: int
    is_cancel_asked: bool
    submitted_us: int
    started_us: int | None
    finished_us: int | None
    error_code: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs a list has; ``None`` means any."""

    status: str | None = None
    instrument: str | None = None
    timeframe: str | None = None


class BackfillJobs:
    """Jobs of one database; ``owner`` names this process among all that share it."""

    def __init__(self, database: Database, *, owner: str, lease_s: float) -> None:
        self._database = database
        self._owner = owner
        self._lease_us = int(lease_s * _US)

    def submit(self, asked: Backfill, total: int) -> None:
        """Note a job that waits; raise ``BackfillInProgressError`` if another has its months."""
        with self._database.writing() as connection:
            _take_turns(connection, asked)
            other = connection.scalar(_overlapping(asked))
            if other is not None:
                raise BackfillInProgressError(
                    f"{asked.instrument}/{asked.timeframe}: expected no backfill over months "
                    f"{asked.first} to {asked.last}, was {other}",
                    other,
                )
            now = now_us(connection)
            connection.execute(
                sa.insert(BACKFILL_JOBS).values(
                    job_id=asked.job_id,
                    instrument=asked.instrument,
                    timeframe=asked.timeframe,
                    first_month=asked.first,
                    last_month=asked.last,
                    is_forced=asked.is_forced,
                    priority=asked.priority,
                    status=PENDING,
                    total=total,
                    completed=0,
                    failed=0,
                    takes=0,
                    is_cancel_asked=False,
                    lease_until_us=now + self._lease_us,
                    submitted_us=now,
                )
            )

    def take(self, job_id: str) -> bool:
        """Make the job this process's, if it waits or its process is gone; return whether it is."""
        jobs = BACKFILL_JOBS.c
        with self._database.writing() as connection:
            now = now_us(connection)
            is_free = sa.or_(
                jobs.status == PENDING,
                sa.and_(jobs.status == RUNNING, jobs.lease_until_us < now),
            )
            changed = connection.execute(
                sa.update(BACKFILL_JOBS)
                .where(jobs.job_id == job_id, is_free)
                .values(
                    status=RUNNING,
                    owner=self._owner,
                    takes=jobs.takes + 1,
                    started_us=sa.func.coalesce(jobs.started_us, now),
                    lease_until_us=now + self._lease_us,
                )
            )
            return changed.rowcount == 1

    def advance(self, job_id: str, progress: Progress | None = None) -> bool:
        """Renew the lease, and note how far the job is; return whether to go on.

        Not where it was cancelled, or where another process has taken it.
        """
        jobs = BACKFILL_JOBS.c
        with self._database.writing() as connection:
            values: dict[str, object] = {"lease_until_us": now_us(connection) + self._lease_us}
            if progress is not None:
                values |= {
                    "total": progress.total,
                    "completed": progress.completed,
                    "failed": progress.failed,
                    "current_partition": progress.current,
                }
            changed = connection.execute(
                sa.update(BACKFILL_JOBS).where(*self._mine(job_id)).values(**values)
            )
            is_cancelled = connection.scalar(
                sa.select(jobs.is_cancel_asked).where(jobs.job_id == job_id)
            )
            return changed.rowcount == 1 and not is_cancelled

    def finish(
        self, job_id: str, status: str, code: str | None = None, message: str | None = None
    ) -> bool:
        """Note how the job ended; return whether it was still this process's to end."""
        with self._database.writing() as connection:
            changed = connection.execute(
                sa.update(BACKFILL_JOBS)
                .where(*self._mine(job_id))
                .values(
                    status=status,
                    error_code=code,
                    error_message=message,
                    current_partition=None,
                    finished_us=now_us(connection),
                )
            )
            return changed.rowcount == 1

    def cancel(self, job_id: str) -> Job:
        """End a job that waits or whose process is gone, and ask one that runs to end.

        One that has ended stays as it is. Raise ``UnknownJobError`` if there is none.
        """
        jobs = BACKFILL_JOBS.c
        with self._database.writing() as connection:
            now = now_us(connection)
            is_left = sa.and_(jobs.status == RUNNING, jobs.lease_until_us < now)
            connection.execute(
                sa.update(BACKFILL_JOBS)
                .where(jobs.job_id == job_id, sa.or_(jobs.status == PENDING, is_left))
                .values(status=CANCELLED, current_partition=None, finished_us=now)
            )
            connection.execute(
                sa.update(BACKFILL_JOBS)
                .where(jobs.job_id == job_id, jobs.status == RUNNING)
                .values(is_cancel_asked=True)
            )
        return self.read(job_id)

    def left(self) -> tuple[str, ...]:
        """Return the jobs that no process has and that are not done, oldest first."""
        jobs = BACKFILL_JOBS.c
        with self._database.reading() as connection:
            found = connection.scalars(
                sa.select(jobs.job_id)
                .where(jobs.status.in_(_UNFINISHED), jobs.lease_until_us < now_us(connection))
                .order_by(jobs.submitted_us, jobs.job_id)
            )
            return tuple(found)

    def read(self, job_id: str) -> Job:
        """Return a job as it is now; raise ``UnknownJobError`` if there is none."""
        with self._database.reading() as connection:
            row = connection.execute(
                sa.select(BACKFILL_JOBS).where(BACKFILL_JOBS.c.job_id == job_id)
            ).one_or_none()
        if row is None:
            raise UnknownJobError(f"job_id: expected one that was given out, was {job_id!r}")
        return _job(row)

    def page(
        self, wanted: Filter, *, limit: int, offset: int = 0, is_oldest_first: bool = False
    ) -> tuple[tuple[Job, ...], int]:
        """Return some of the jobs wanted, newest first unless said, and how many there are."""
        jobs = BACKFILL_JOBS.c
        pairs = (
            (jobs.status, wanted.status),
            (jobs.instrument, wanted.instrument),
            (jobs.timeframe, wanted.timeframe),
        )
        where = [column == value for column, value in pairs if value is not None]
        keys = (jobs.submitted_us, jobs.job_id)
        order = keys if is_oldest_first else tuple(key.desc() for key in keys)
        with self._database.reading() as connection:
            count = connection.scalar(sa.select(sa.func.count(jobs.job_id)).where(*where))
            rows = connection.execute(
                sa.select(BACKFILL_JOBS).where(*where).order_by(*order).limit(limit).offset(offset)
            ).all()
        return tuple(_job(row) for row in rows), count or 0

    def _mine(self, job_id: str) -> tuple[sa.ColumnElement[bool], ...]:
        jobs = BACKFILL_JOBS.c
        return jobs.job_id == job_id, jobs.owner == self._owner, jobs.status == RUNNING


def _overlapping(asked: Backfill) -> sa.Select[str]:
    jobs = BACKFILL_JOBS.c
    return (
        sa.select(jobs.job_id)
        .where(jobs.status.in_(_UNFINISHED))
        .where(jobs.instrument == asked.instrument, jobs.timeframe == asked.timeframe)
        .where(jobs.first_month <= asked.last, jobs.last_month >= asked.first)
        .order_by(jobs.submitted_us)
        .limit(1)
    )


def _take_turns(connection: sa.Connection, asked: Backfill) -> None:
    """Let who asks for the same series see every job asked before; SQLite always does."""
    if connection.dialect.name == "postgresql":
        series = f"backfill/{asked.instrument}/{asked.timeframe}"
        lock = sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(series, 0))
        connection.execute(sa.select(lock))


def _job(row: sa.Row[tuple[object, ...]]) -> Job:
    return Job(
        asked=Backfill(
            job_id=row.job_id,
            instrument=row.instrument,
            timeframe=row.timeframe,
            first=row.first_month,
            last=row.last_month,
            is_forced=row.is_forced,
            priority=row.priority,
        ),
        status=row.status,
        progress=Progress(row.total, row.completed, row.failed, row.current_partition),
        takes=row.takes,
        is_cancel_asked=row.is_cancel_asked,
        submitted_us=row.submitted_us,
        started_us=row.started_us,
        finished_us=row.finished_us,
        error_code=row.error_code,
        error_message=row.error_message,
    )
