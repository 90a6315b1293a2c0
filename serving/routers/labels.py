"""``GET /v1/labels``: what was materialised, in pages and in the form that is asked for."""

from typing import Annotated, Any, Final

import orjson
from anyio import to_thread
from fastapi import APIRouter, Header, Path, Query
from starlette.responses import Response

from market.errors import InputError
from serving import label_formats, label_pages, labels
from serving.cached_labels import candle_query
from serving.dependencies import ServicesDep
from serving.instants import to_us
from serving.label_pages import Page
from serving.matching import matches
from serving.responses import ERRORS
from serving.schemas import (
    CacheHeaders,
    ErrorResponse,
    Instant,
    InstrumentId,
    LabelPage,
    LabelParameters,
    OneLabel,
    OneLabelParameters,
    TimeframeName,
)

NEXT_CURSOR: Final = "X-Next-Cursor"
_NOT_MODIFIED: Final[dict[int | str, dict[str, Any]]] = {
    304: {"description": "The caller's copy (If-None-Match) is current."}
}
_BYTES: Final[dict[str, Any]] = {"schema": {"type": "string", "format": "binary"}}
_FORMS: Final[dict[int | str, dict[str, Any]]] = {
    **_NOT_MODIFIED,
    200: {
        "content": {
            label_formats.CSV: {"schema": {"type": "string"}},
            label_formats.ARROW: _BYTES,
            label_formats.PARQUET: _BYTES,
        },
        "headers": {
            NEXT_CURSOR: {
                "schema": {"type": "string"},
                "description": "`next_cursor`, in every form; absent on the last page.",
            }
        },
    },
    406: {"model": ErrorResponse, "description": "None of the forms is taken (`Accept`)."},
}
router = APIRouter(prefix="/v1", tags=["labels"], responses=ERRORS)


@router.get("/labels", response_model=LabelPage, responses=_FORMS)
def read_labels(
    services: ServicesDep,
    asked: Annotated[LabelParameters, Query()],
    accept: Annotated[str, Header(include_in_schema=False)] = "",
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Read the labels of a series between two instants; the ETag is that of the data.

    As JSON, CSV, an Arrow stream or Parquet, whichever `Accept` prefers; all but JSON have the
    columns of the table.
    """
    form = label_formats.chosen(accept)
    services.check_instrument(asked.instrument_id)
    query = _query(asked, services.settings.max_rows)
    refs = labels.resolve(services.lake, query)
    tag = labels.etag(refs, query, services.version, form)
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Vary": "Accept"}
    if matches(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    found = label_pages.page(services.lake, refs, query)
    if found.next_cursor is not None:
        headers[NEXT_CURSOR] = found.next_cursor
    if form != label_formats.JSON:
        rows = found.rows.select(label_formats.columns(query.types))
        return Response(label_formats.WRITERS[form](rows), headers=headers, media_type=form)
    content = {
        "data": labels.rows(found.rows, query.types),
        "pagination": _pagination(query, found),
        "data_versions": {ref.key.path: ref.version for ref in refs},
    }
    body = orjson.dumps(content, option=orjson.OPT_UTC_Z)
    return Response(body, headers=headers, media_type=form)


@router.get(
    "/labels/{instrument}/{granularity}/{timestamp}",
    response_model=OneLabel,
    responses=_NOT_MODIFIED,
)
async def read_label(
    services: ServicesDep,
    instrument: Annotated[InstrumentId, Path()],
    granularity: Annotated[TimeframeName, Path()],
    timestamp: Annotated[Instant, Path(description="Open of the candle (ISO 8601, UTC).")],
    asked: Annotated[OneLabelParameters, Query()],
    wishes: Annotated[CacheHeaders, Header()],
) -> Response:
    """Read the labels of one candle; the ETag is that of its month."""
    services.check_instrument(instrument)
    types = labels.parse_types(asked.label_types)
    query = candle_query(instrument, granularity.value, to_us(timestamp), types=types)
    refs = await to_thread.run_sync(labels.resolve, services.lake, query)
    tag = labels.etag(refs, query, services.version)
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if matches(wishes.if_none_match, tag):
        return Response(status_code=304, headers=headers)
    body, is_hit = await services.candles.answer(query, refs[0], wishes.x_cache_strategy)
    headers["X-Cache-Hit"] = str(is_hit).lower()
    return Response(body, headers=headers, media_type="application/json")


def _query(asked: LabelParameters, max_rows: int) -> labels.LabelQuery:
    start, end = asked.start_date, asked.end_date
    if end < start:
        raise InputError(f"end_date: expected {start.isoformat()} or later, was {end.isoformat()}")
    if asked.cursor is not None and "page" in asked.model_fields_set:
        raise InputError(f"page: expected none beside a cursor, was {asked.page}")
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
        cursor=asked.cursor,
    )


def _pagination(query: labels.LabelQuery, found: Page) -> dict[str, int | bool | str | None]:
    is_counted, total = query.cursor is None, found.total
    return {
        "page": query.page if is_counted else None,
        "per_page": query.per_page,
        "total": total,
        "total_pages": None if total is None else -(-total // query.per_page),
        "has_next": found.next_cursor is not None,
        "has_prev": not is_counted or query.page > 1,
        "next_cursor": found.next_cursor,
    }
