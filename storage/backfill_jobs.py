"""Backfills in SQL: which were asked for, how far each is, and which process makes it now.

Belongs here: the life of a job and what it has made. Keep out: how partitions are made.

Whoever has a job renews its lease. A lease that has lapsed means that its process is gone: the job
is then free, and the next worker goes on with it. Partitions are named by their content, so what
was made before is found fresh and nothing is made twice. A clock that is set back makes no lease
longer than it was; processes that share a database have one length of lease.

    pending ──take──> running ──finish──> completed, failed, cancelled
       └──cancel──> cancelled     └──lease lapses──start_next, take──> running

A job has its instrument to itself. Whatever its months and timeframe, it may write the instrument's
raw bars, and candles, levels and features from the series' first month on, since these are chained
by state: two jobs of one instrument would write the same partitions.
"""

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from market.errors import BackfillInProgressError, UnknownJobError
from storage.backfill_rows import Counted, Job, Pace, counted, job_of
from storage.database import Database, now_us
from storage.database_schema import BACKFILL_JOBS, BACKFILL_PARTITIONS

PENDING: Final = "pending"
RUNNING: Final = "running"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
STATUSES: Final = (PENDING, RUNNING, COMPLETED, FAILED, CANCELLED)
PRIORITIES: Final = ("high", "normal", "low")

WORKER_LOST: Final = "WORKER_LOST"
"""Code of a job whose workers were started again and again and never finished it."""

_UNFINISHED: Final = (PENDING, RUNNING)
_US: Final = 1_000_000
_LOOK_BACK: Final = 10  # jobs that tell how fast such a job is


@dataclass(frozen=True, slots=True)
class Backfill:
    """What was asked: months [first, last] of one instrument and timeframe."""

    job_id: str
    instrument: str
    timeframe: str
    first: str
    last: str
    is_forced: bool = False
    priority: str = "normal"
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """A partition that a job has made; ``candles`` that were labelled in it."""

    path: str
    data_version: str
    candles: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs a list has; ``None`` means any."""

    status: str | None = None
    instrument: str | None = None
    timeframe: str | None = None


class BackfillJobs:
    """Jobs of one database; ``owner`` names this process among all that share it.

    ``start_s``: how long a worker that was started may take to come; a lease unless said.
    """

    def __init__(
        self, database: Database, *, owner: str, lease_s: float, start_s: float | None = None
    ) -> None:
        self._database = database
        self._owner = owner
        self._lease_us = int(lease_s * _US)
        self._start_us = self._lease_us if start_s is None else int(start_s * _US)
        self._longest_us = max(self._lease_us, self._start_us)

    def submit(self, asked: Backfill) -> None:
        """Note a job that waits; raise ``BackfillInProgressError`` if one has its instrument."""
        jobs = BACKFILL_JOBS.c
        with self._database.writing() as connection:
            _take_turns(connection, f"backfill/{asked.instrument}")
            other = connection.scalar(
                sa.select(jobs.job_id)
                .where(jobs.status.in_(_UNFINISHED), jobs.instrument == asked.instrument)
                .limit(1)
            )
            if other is not None:
                raise BackfillInProgressError(
                    f"{asked.instrument}: expected no other backfill of the instrument, "
                    f"was {other}",
                    other,
                )
            connection.execute(sa.insert(BACKFILL_JOBS).values(_row(asked, now_us(connection))))

    def start_next(self, *, most: int, most_starts: int) -> str | None:
        """Return the most urgent job that no process has, for the caller to start a worker for it.

        ``None`` where there is none, or ``most`` are being made. A job for which ``most_starts``
        workers were started has failed.
        """
        jobs = BACKFILL_JOBS.c
        with self._database.writing() as connection:
            _take_turns(connection, "backfill/start")
            now = now_us(connection)
            latest = now + self._longest_us
            connection.execute(  # given out before the clock was set back: else it never lapses
                sa.update(BACKFILL_JOBS)
                .where(jobs.status.in_(_UNFINISHED), jobs.lease_until_us > latest)
                .values(lease_until_us=latest)
            )
            is_left = sa.and_(jobs.status.in_(_UNFINISHED), jobs.lease_until_us < now)
            message = f"worker: expected to finish the job, was lost {most_starts} times"
            connection.execute(
                sa.update(BACKFILL_JOBS)
                .where(is_left, jobs.starts >= most_starts)
                .values(
                    status=FAILED, finished_us=now, error_code=WORKER_LOST, error_message=message
                )
            )
            being_made = connection.scalar(
                sa.select(sa.func.count(jobs.job_id)).where(
                    jobs.status.in_(_UNFINISHED), jobs.lease_until_us >= now
                )
            )
            if (being_made or 0) >= most:
                return None
            order = (jobs.priority, jobs.submitted_us, jobs.job_id)
            job_id = connection.scalar(
                sa.select(jobs.job_id).where(is_left).order_by(*order).limit(1)
            )
            if job_id is not None:
                connection.execute(
                    sa.update(BACKFILL_JOBS)
                    .where(jobs.job_id == job_id)
                    .values(lease_until_us=now + self._start_us, starts=jobs.starts + 1, owner=None)
                )
            return job_id

    def take(self, job_id: str) -> bool:
        """Make the job this process's, unless another has it or it has ended; return whether."""
        jobs = BACKFILL_JOBS.c
        with self._database.writing() as connection:
            now = now_us(connection)
            is_free = sa.or_(jobs.owner.is_(None), jobs.lease_until_us < now)
            changed = connection.execute(
                sa.update(BACKFILL_JOBS)
                .where(jobs.job_id == job_id, jobs.status.in_(_UNFINISHED), is_free)
                .values(
                    status=RUNNING,
                    owner=self._owner,
                    started_us=sa.func.coalesce(jobs.started_us, now),
                    taken_us=now,
                    lease_until_us=now + self._lease_us,
                )
            )
            return changed.rowcount == 1

    def beat(self, job_id: str) -> bool:
        """Renew the lease; return whether to go on: not if cancelled, or if another has the job."""
        with self._database.writing() as connection:
            return self._advance(connection, job_id, {})

    def expect(self, job_id: str, total: int) -> bool:
        """Note how many partitions the job has, those made before included; return as ``beat``."""
        with self._database.writing() as connection:
            return self._advance(connection, job_id, {"total": total})

    def made(self, job_id: str, made: Made) -> bool:
        """Note a partition that is there now, and renew the lease; return as ``beat``.

        Nothing is noted of a job that another worker has: it finds the partition fresh.
        """
        rows = BACKFILL_PARTITIONS.c
        with self._database.writing() as connection:
            goes_on = self._advance(connection, job_id, {"current_partition": made.path})
            if goes_on or connection.scalar(sa.select(sa.exists().where(*self._mine(job_id)))):
                values = {
                    "data_version": made.data_version,
                    "candles": made.candles,
                    "made_us": now_us(connection),
                }
                changed = connection.execute(
                    sa.update(BACKFILL_PARTITIONS)
                    .where(rows.job_id == job_id, rows.path == made.path)
                    .values(values)
                )
                if not changed.rowcount:
                    row = {"job_id": job_id, "path": made.path, **values}
                    connection.execute(sa.insert(BACKFILL_PARTITIONS).values(row))
            return goes_on

    def stumble(self, job_id: str) -> bool:
        """Count a partition that could not be made, and renew the lease; return as ``beat``."""
        with self._database.writing() as connection:
            return self._advance(connection, job_id, {"failed": BACKFILL_JOBS.c.failed + 1})

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
                    finished_us=now_us(connection),
                )
            )
            return changed.rowcount == 1

    def release(self, job_id: str) -> None:
        """Give the job back as it is: another worker may go on with it at once."""
        with self._database.writing() as connection:
            connection.execute(
                sa.update(BACKFILL_JOBS)
                .where(*self._mine(job_id))
                .values(lease_until_us=0, owner=None)
            )

    def cancel(self, job_id: str) -> Job:
        """End a job that no worker has, and ask one that is being made to end.

        One that has ended stays as it is. Raise ``UnknownJobError`` if there is none.
        """
        jobs = BACKFILL_JOBS.c
        with self._database.writing() as connection:
            now = now_us(connection)
            is_left = sa.or_(jobs.owner.is_(None), jobs.lease_until_us < now)
            connection.execute(
                sa.update(BACKFILL_JOBS)
                .where(jobs.job_id == job_id, jobs.status.in_(_UNFINISHED), is_left)
                .values(status=CANCELLED, finished_us=now, is_cancel_asked=True)
            )
            connection.execute(
                sa.update(BACKFILL_JOBS)
                .where(jobs.job_id == job_id, jobs.status == RUNNING)
                .values(is_cancel_asked=True)
            )
        return self.read(job_id)

    def read(self, job_id: str) -> Job:
        """Return a job as it is now; raise ``UnknownJobError`` if there is none."""
        with self._database.reading() as connection:
            row = connection.execute(
                sa.select(BACKFILL_JOBS).where(BACKFILL_JOBS.c.job_id == job_id)
            ).one_or_none()
            if row is None:
                raise UnknownJobError(f"job_id: expected one that was given out, was {job_id!r}")
            found = counted(connection, [job_id]).get(job_id, Counted())
            return job_of(row, found, now_us(connection))

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
            found, now = counted(connection, [row.job_id for row in rows]), now_us(connection)
        return tuple(job_of(r, found.get(r.job_id, Counted()), now) for r in rows), count or 0

    def made_before(self, job_id: str) -> frozenset[str]:
        """Return the paths of the partitions that the job has made."""
        rows = BACKFILL_PARTITIONS.c
        with self._database.reading() as connection:
            return frozenset(
                connection.scalars(sa.select(rows.path).where(rows.job_id == job_id)).all()
            )

    def counts(self) -> dict[str, int]:
        """Return how many jobs there are in each status."""
        jobs = BACKFILL_JOBS.c
        with self._database.reading() as connection:
            found = connection.execute(
                sa.select(jobs.status, sa.func.count(jobs.job_id)).group_by(jobs.status)
            ).all()
        return dict.fromkeys(STATUSES, 0) | {row[0]: row[1] for row in found}

    def usual_pace(self, timeframe: str) -> Pace | None:
        """Return what the newest completed jobs of a timeframe made, and how long they took.

        ``None`` where none has made anything.
        """
        jobs = BACKFILL_JOBS.c
        with self._database.reading() as connection:
            rows = connection.execute(
                sa.select(BACKFILL_JOBS)
                .where(jobs.status == COMPLETED, jobs.timeframe == timeframe)
                .order_by(jobs.finished_us.desc())
                .limit(_LOOK_BACK)
            ).all()
            found = counted(connection, [row.job_id for row in rows]).values()
        # 0 where the clock was set back meanwhile
        took_us = sum(max(0, row.finished_us - row.started_us) for row in rows)
        total = Pace(sum(p.partitions for p in found), sum(p.candles for p in found), took_us)
        return total if total.candles and took_us else None

    def _advance(self, connection: sa.Connection, job_id: str, values: dict[str, object]) -> bool:
        values["lease_until_us"] = now_us(connection) + self._lease_us
        changed = connection.execute(
            sa.update(BACKFILL_JOBS).where(*self._mine(job_id)).values(values)
        )
        is_cancelled = connection.scalar(
            sa.select(BACKFILL_JOBS.c.is_cancel_asked).where(BACKFILL_JOBS.c.job_id == job_id)
        )
        return changed.rowcount == 1 and not is_cancelled

    def _mine(self, job_id: str) -> tuple[sa.ColumnElement[bool], ...]:
        jobs = BACKFILL_JOBS.c
        return jobs.job_id == job_id, jobs.owner == self._owner, jobs.status == RUNNING


def _row(asked: Backfill, now: int) -> dict[str, object]:
    return {
        "job_id": asked.job_id,
        "instrument": asked.instrument,
        "timeframe": asked.timeframe,
        "first_month": asked.first,
        "last_month": asked.last,
        "is_forced": asked.is_forced,
        "priority": PRIORITIES.index(asked.priority),
        "request_id": asked.request_id,
        "status": PENDING,
        "failed": 0,
        "starts": 0,
        "is_cancel_asked": False,
        "lease_until_us": 0,
        "submitted_us": now,
    }


def _take_turns(connection: sa.Connection, name: str) -> None:
    """Let one at a time decide by what all others have written; SQLite always does."""
    if connection.dialect.name == "postgresql":
        lock = sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(name, 0))
        connection.execute(sa.select(lock))
