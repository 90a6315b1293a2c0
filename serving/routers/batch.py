"""``/v1/batch``: backfills as jobs: asked for, listed, followed, cancelled."""

import datetime as dt
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from market.errors import InputError
from market.months import month_of
from serving import labels
from serving.backfills import answers
from serving.backfills.launching import Question
from serving.backfills.schemas import (
    BackfillAccepted,
    BackfillJob,
    BackfillJobPage,
    BackfillRequest,
    DryRun,
    JobParameters,
)
from serving.dependencies import ServicesDep
from serving.errors import trace_id_of
from serving.instants import to_us
from serving.responses import COMPUTE_ERRORS, ERRORS
from serving.schemas import Pagination
from storage.backfill_jobs import RUNNING, Filter

router = APIRouter(prefix="/v1/batch", tags=["backfills"], responses=ERRORS)

JobId = Annotated[str, Path(max_length=100, examples=["bf_20240110_eurusd_h4_k3x9pq"])]

_DRY: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": DryRun, "description": "With `dry_run=true`: nothing was made."},
    202: {"model": BackfillAccepted, "description": "The job waits or is being made."},
    504: COMPUTE_ERRORS[504],
}
_ASKED: Final[dict[int | str, dict[str, Any]]] = {
    202: {"model": BackfillJob, "description": "It ends at its next partition."}
}


@router.post("/backfill", status_code=202, response_model=None, responses=_DRY)
def ask_backfill(
    request: Request,
    services: ServicesDep,
    asked: BackfillRequest,
    *,
    dry_run: Annotated[
        bool, Query(description="Say what is out of date and why; make none.")
    ] = False,
) -> Response:
    """Bring months of labels, and all that they are made from, up to date."""
    labels.parse_types(None if asked.label_types is None else ",".join(asked.label_types))
    question = _question(asked)
    instrument = services.instrument(asked.instrument_id)
    options = asked.options
    if dry_run:
        if options.force_recompute:
            raise InputError("options.force_recompute: expected false in a dry run, was true")
        rows = services.backfills.plan(question, instrument)
        return _json(answers.dry_run(question, rows))
    done = services.backfills.submit(
        question,
        instrument,
        is_forced=options.force_recompute,
        priority=options.priority,
        request_id=trace_id_of(request),
    )
    answer = BackfillAccepted(
        job_id=done.job_id,
        status="started" if done.is_started else "queued",
        priority=options.priority,
        estimated_candles=done.candles,
        estimated_duration_minutes=done.minutes,
        links=answers.links(done.job_id),
    )
    return _json(answer, 202, {"Location": f"{answers.JOBS}/{done.job_id}"})


@router.get("/jobs")
def list_jobs(services: ServicesDep, asked: Annotated[JobParameters, Query()]) -> BackfillJobPage:
    """List jobs, newest first unless said."""
    wanted = Filter(
        asked.status, asked.instrument, asked.granularity.value if asked.granularity else None
    )
    found, total = services.backfills.page(
        wanted,
        page=asked.page,
        per_page=asked.per_page,
        is_oldest_first=asked.sort == "submitted_asc",
    )
    now, pages = dt.datetime.now(dt.UTC), -(-total // asked.per_page)
    return BackfillJobPage(
        data=[answers.job(one, now) for one in found],
        pagination=Pagination(
            page=asked.page,
            per_page=asked.per_page,
            total=total,
            total_pages=pages,
            has_next=asked.page < pages,
            has_prev=asked.page > 1,
        ),
    )


@router.get("/jobs/{job_id}")
def read_job(services: ServicesDep, job_id: JobId) -> BackfillJob:
    """Say how far a job is, how fast it goes and when it will be done."""
    return answers.job(services.backfills.read(job_id), dt.datetime.now(dt.UTC))


@router.delete("/jobs/{job_id}", response_model=BackfillJob, responses=_ASKED)
def cancel_job(services: ServicesDep, job_id: JobId) -> Response:
    """End a job: at once where it waits, else at its next partition, which is whole."""
    found = services.backfills.cancel(job_id)
    answer = answers.job(found, dt.datetime.now(dt.UTC))
    return _json(answer, 202 if found.status == RUNNING else 200)


def _question(asked: BackfillRequest) -> Question:
    first, last = (month_of(to_us(day)) for day in (asked.start_date, asked.end_date))
    return Question(asked.instrument_id, asked.granularity.value, first, last)


def _json(
    answer: DryRun | BackfillAccepted | BackfillJob,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    body = answer.model_dump_json(by_alias=True)
    return Response(body, status, headers, media_type="application/json")
