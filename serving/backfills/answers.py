"""Jobs as answers. Belongs here: what a job's numbers are called over the wire. No HTTP."""

import datetime as dt
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final, cast

from serving.backfills.launching import Question, kind_of
from serving.backfills.schemas import (
    BackfillJob,
    DryRun,
    JobError,
    JobLinks,
    JobPerformance,
    JobProgress,
    Link,
    Status,
)
from serving.errors import STATUSES
from serving.instants import from_us
from storage.backfill_jobs import PRIORITIES, WORKER_LOST
from storage.backfill_rows import Job

JOBS: Final = "/v1/batch/jobs"
REASONS: Final = ("missing", "code", "data", "upstream")


def links(job_id: str) -> JobLinks:
    """Return where a job is read and cancelled."""
    own = f"{JOBS}/{job_id}"
    return JobLinks(
        self=Link(href=own, method="GET"),
        cancel=Link(href=own, method="DELETE"),
        jobs=Link(href=JOBS, method="GET"),
    )


def dry_run(question: Question, rows: Sequence[Mapping[str, str]]) -> DryRun:
    """Return what a backfill would look at."""
    counts = {reason: sum(row["reason"] == reason for row in rows) for reason in REASONS}
    return DryRun.model_validate(
        {
            "dry_run": True,
            "instrument_id": question.instrument,
            "granularity": question.timeframe,
            "first_month": question.first,
            "last_month": question.last,
            "out_of_date": len(rows),
            "by_reason": counts,
            "partitions": list(rows),
        }
    )


def job(found: Job, now: dt.datetime) -> BackfillJob:
    """Return a job as it is answered."""
    left_s = found.remaining_s
    return BackfillJob(
        job_id=found.job_id,
        status=cast("Status", found.status),
        instrument_id=found.instrument,
        granularity=found.timeframe,
        first_month=found.first,
        last_month=found.last,
        force_recompute=found.is_forced,
        priority=PRIORITIES[found.priority],
        request_id=found.request_id,
        submitted_at=from_us(found.submitted_us),
        started_at=_instant(found.started_us),
        finished_at=_instant(found.finished_us),
        is_cancel_asked=found.is_cancel_asked,
        workers_started=found.starts,
        progress=_progress(found),
        performance=_performance(found),
        eta_seconds=left_s,
        estimated_completion=None if left_s is None else now + dt.timedelta(seconds=left_s),
        error=_error(found),
        links=links(found.job_id),
    )


def _progress(found: Job) -> JobProgress:
    done = found.progress
    share = (
        None if done.total is None else 100.0 * done.completed / done.total if done.total else 100.0
    )
    return JobProgress(
        completed=done.completed,
        total=done.total,
        percentage=share,
        current_date=_month(done.newest),
        current_partition=done.newest,
        chunks_completed=done.completed,
        chunks_total=done.total,
        chunks_failed=done.failed,
    )


def _performance(found: Job) -> JobPerformance:
    rate = found.pace.partitions_a_second
    return JobPerformance(
        candles_per_minute=found.pace.candles_a_minute,
        partitions_per_minute=None if rate is None else 60 * rate,
        avg_compute_time_ms=None if rate is None else 1000 / rate,
        error_rate=found.error_rate,
    )


def _error(found: Job) -> JobError | None:
    """Return why a job failed; what may name files stays in the worker's log."""
    if found.error_code is None:
        return None
    kind = kind_of(found.error_code)
    status = next((STATUSES[cls] for cls in kind.__mro__ if cls in STATUSES), 500) if kind else 500
    is_plain = found.error_code == WORKER_LOST or status < HTTPStatus.INTERNAL_SERVER_ERROR
    hidden = "job: expected to be made; the cause is in the worker's log under this job_id"
    return JobError(
        code=found.error_code, message=(found.error_message or "") if is_plain else hidden
    )


def _month(path: str | None) -> dt.date | None:
    return None if path is None else dt.date.fromisoformat(f"{path.rsplit('/', 1)[1]}-01")


def _instant(us: int | None) -> dt.datetime | None:
    return None if us is None else from_us(us)
