"""``GET /v1/labels``: what was materialised, in pages."""

from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Header, Path, Query
from starlette.responses import Response

from market.errors import InputError
from serving import labels
from serving.dependencies import ServicesDep
from serving.instants import to_us
from serving.matching import matches
from serving.responses import ERRORS
from serving.schemas import (
    Instant,
    InstrumentId,
    LabelPage,
    LabelParameters,
    OneLabel,
    OneLabelParameters,
    TimeframeName,
)

_NOT_MODIFIED: Final[dict[int | str, dict[str, Any]]] = {
    304: {"description": "The caller's copy (If-None-Match) is current."}
}
router = APIRouter(prefix="/v1", tags=["labels"], responses=ERRORS)


@router.get("/labels", response_model=LabelPage, responses=_NOT_MODIFIED)
def read_labels(
    services: ServicesDep,
    asked: Annotated[LabelParameters, Query()],
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Read the labels of a series between two instants; the ETag is that of the data."""
    services.check_instrument(asked.instrument_id)
    query = _query(asked, services.settings.max_rows)
    refs = labels.resolve(services.lake, query)
    tag = labels.etag(refs, query, services.version)
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if matches(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    frame, total = labels.page(services.lake, refs, query)
    content = {
        "data": labels.rows(frame, query.types),
        "pagination": _pagination(query.page, query.per_page, total),
        "data_versions": {ref.key.path: ref.version for ref in refs},
    }
    body = orjson.dumps(content, option=orjson.OPT_UTC_Z)
    return Response(body, headers=headers, media_type="application/json")


@router.get(
    "/labels/{instrument}/{granularity}/{timestamp}",
    response_model=OneLabel,
    responses=_NOT_MODIFIED,
)
def read_label(
    services: ServicesDep,
    instrument: Annotated[InstrumentId, Path()],
    granularity: Annotated[TimeframeName, Path()],
    timestamp: Annotated[Instant, Path(description="Open of the candle (ISO 8601, UTC).")],
    asked: Annotated[OneLabelParameters, Query()],
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Read the labels of one candle; the ETag is that of its month."""
    services.check_instrument(instrument)
    ts_us = to_us(timestamp)
    types = labels.parse_types(asked.label_types)
    query = labels.LabelQuery(
        instrument, granularity.value, ts_us, ts_us, types, None, 1, 1, "ts_asc"
    )
    refs = labels.resolve(services.lake, query)
    tag = labels.etag(refs, query, services.version)
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if matches(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    row = labels.one(services.lake, refs[0], query)
    content = {**row, "data_versions": {ref.key.path: ref.version for ref in refs}}
    body = orjson.dumps(content, option=orjson.OPT_UTC_Z)
    return Response(body, headers=headers, media_type="application/json")


def _query(asked: LabelParameters, max_rows: int) -> labels.LabelQuery:
    start, end = asked.start_date, asked.end_date
    if end < start:
        raise InputError(f"end_date: expected {start.isoformat()} or later, was {end.isoformat()}")
    if asked.per_page > max_rows:
        raise InputError(f"per_page: expected <= {max_rows}, was {asked.per_page}")
    return labels.LabelQuery(
        instrument=asked.instrument_id,
        timeframe=asked.granularity.value,
        start_us=to_us(start),
        end_us=to_us(end),
        types=labels.parse_types(asked.label_types),
        barrier_label=asked.enhanced_triple_barrier_label,
        page=asked.page,
        per_page=asked.per_page,
        sort=asked.sort,
        ranges=(
            ("return_quantile", asked.return_quantile_min, asked.return_quantile_max),
            ("forward_return", asked.forward_return_min, asked.forward_return_max),
        ),
        status=asked.status,
    )


def _pagination(page: int, per_page: int, total: int) -> dict[str, int | bool]:
    pages = -(-total // per_page)
    return {
        "page": page,
        "per_page": per_page,
        "total": total,
        "total_pages": pages,
        "has_next": page < pages,
        "has_prev": page > 1,
    }
