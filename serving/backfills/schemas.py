"""Backfills over the wire: names, types, bounds, one description each. No logic."""

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictInt

from serving.schemas import (
    Answer,
    Body,
    FirstInstant,
    InstrumentId,
    LastInstant,
    Pagination,
    TimeframeName,
)

Priority = Literal["low", "normal", "high"]
Status = Literal["pending", "running", "completed", "failed", "cancelled"]
Reason = Literal["missing", "code", "data", "upstream"]


class BackfillOptions(Body):
    """How a backfill is made."""

    force_recompute: StrictBool = Field(
        default=False,
        description="Make again what is up to date; an unchanged result writes nothing.",
    )
    priority: Priority = Field("normal", description="Which of the waiting jobs is begun first.")
    chunk_size: Annotated[StrictInt, Field(ge=1000, le=50_000)] = Field(
        10_000, description="Taken and not used: a chunk is a partition, a month of a table."
    )
    parallel_workers: Annotated[StrictInt, Field(ge=1, le=16)] = Field(
        8, description="Taken and not used: months of a series are made in order."
    )


class BackfillRequest(Body):
    """Which months of labels, with all that they are made from, are to be brought up to date."""

    instrument_id: InstrumentId
    granularity: TimeframeName = Field(description="Timeframe of the candles.")
    start_date: FirstInstant = Field(description="Its month is the first (ISO 8601, UTC).")
    end_date: LastInstant = Field(description="Its month is the last.")
    label_types: list[str] | None = Field(
        None, max_length=100, description="Checked; a partition always has all of them."
    )
    options: BackfillOptions = BackfillOptions()


class Link(Answer):
    """Where something is."""

    href: str
    method: Literal["GET", "DELETE"]


class JobLinks(Answer):
    """What can be asked of a job."""

    self: Link
    cancel: Link
    jobs: Link


class BackfillAccepted(Answer):
    """The job that was made of a request."""

    job_id: str
    status: Literal["started", "queued"]
    priority: Priority
    estimated_candles: int = Field(description="Scheduled candles of the months, until now.")
    estimated_duration_minutes: float | None = Field(
        description="By the newest jobs of this granularity; null before one has completed."
    )
    links: JobLinks = Field(serialization_alias="_links")


class StalePartition(Answer):
    """A partition that is out of date, and why."""

    partition: str = Field(examples=["labels/H4/EURUSD/2017-05"])
    reason: Reason


class DryRun(Answer):
    """What a backfill would look at, left to right; nothing was made."""

    dry_run: Literal[True]
    instrument_id: str
    granularity: str
    first_month: str
    last_month: str
    out_of_date: int
    by_reason: dict[Reason, int]
    partitions: list[StalePartition]


class JobProgress(Answer):
    """How far a job is, in partitions; null until its worker has looked."""

    completed: int
    total: int | None
    percentage: float | None
    current_date: dt.date | None = Field(description="Month of the newest partition, its first.")
    current_partition: str | None = Field(description="The newest partition that was made.")
    chunks_completed: int = Field(description="As `completed`: a chunk is a partition.")
    chunks_total: int | None
    chunks_failed: int = Field(description="Attempts at a partition that failed.")


class JobPerformance(Answer):
    """How fast the job's worker is; null until it has made a partition."""

    candles_per_minute: float | None = Field(description="Candles that were labelled.")
    partitions_per_minute: float | None
    avg_compute_time_ms: float | None = Field(description="A partition, reading and writing too.")
    error_rate: float | None = Field(description="Share of attempts at a partition that failed.")


class JobError(Answer):
    """Why a job failed."""

    code: str
    message: str


class BackfillJob(Answer):
    """A job as it is now."""

    job_id: str
    status: Status
    instrument_id: str
    granularity: str
    first_month: str
    last_month: str
    force_recompute: bool
    priority: Priority
    request_id: str = Field(description="`X-Request-ID` of the request that asked for it.")
    submitted_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    is_cancel_asked: bool
    workers_started: int = Field(description="More than one where a worker was lost.")
    progress: JobProgress
    performance: JobPerformance
    eta_seconds: float | None = Field(description="At this pace; null while nobody can tell.")
    estimated_completion: dt.datetime | None
    error: JobError | None
    links: JobLinks = Field(serialization_alias="_links")


class BackfillJobPage(Answer):
    """A page of jobs."""

    data: list[BackfillJob]
    pagination: Pagination


class JobParameters(Body):
    """Which jobs, in which order, and a page of them."""

    status: Status | None = None
    instrument: InstrumentId | None = None
    granularity: TimeframeName | None = None
    page: int = Field(1, ge=1, le=1_000_000)
    per_page: int = Field(100, ge=1, le=1000)
    sort: Literal["submitted_desc", "submitted_asc"] = "submitted_desc"
