"""``GET /v1/levels``: support and resistance as they stood at any instant."""

import datetime as dt
from typing import Annotated, Any, Final, Literal

import orjson
from anyio import to_thread
from fastapi import APIRouter, Header, Query
from pydantic import Field
from starlette.responses import Response

from market.errors import InputError
from serving import levels
from serving.caching import LEVELS
from serving.dependencies import ServicesDep
from serving.instants import to_us
from serving.matching import matches
from serving.responses import ERRORS
from serving.schemas import Answer, Body, CacheHeaders, Instant, InstrumentId, TimeframeName
from storage.cache_keys import cache_key

_NOT_MODIFIED: Final[dict[int | str, dict[str, Any]]] = {
    304: {"description": "The caller's copy (If-None-Match) is current."}
}
_FIRST: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

router = APIRouter(prefix="/v1", tags=["levels"], responses=ERRORS)


class LevelParameters(Body):
    """Which levels: a series, and the instant at which they stood."""

    instrument_id: InstrumentId
    granularity: TimeframeName
    as_of: Instant = Field(description="ISO 8601; UTC if it says none. Nothing later is looked at.")


class StandingLevel(Answer):
    """A level that stands; a broken one is no barrier unless it flips."""

    level_id: str
    price: float
    type: Literal["support", "resistance"]
    status: Literal["active", "broken"]
    created_at: dt.datetime = Field(description="Open of the bar that made it.")
    touches: int
    strength: float
    last_event_type: str
    last_event_at: dt.datetime


class LevelsAnswer(Answer):
    """The levels that stood, oldest first, and the versions of the log they were folded from."""

    instrument_id: str
    granularity: str
    as_of: dt.datetime
    levels: list[StandingLevel]
    data_versions: dict[str, str]


@router.get("/levels", response_model=LevelsAnswer, responses=_NOT_MODIFIED)
async def read_levels(
    services: ServicesDep,
    asked: Annotated[LevelParameters, Query()],
    wishes: Annotated[CacheHeaders, Header()],
) -> Response:
    """Read the levels as they stood at an instant, by what was known by then."""
    services.check_instrument(asked.instrument_id)
    if asked.as_of < _FIRST:
        raise InputError(f"as_of: expected 1970 or later, was {asked.as_of.isoformat()}")
    as_of_us, series = to_us(asked.as_of), (asked.instrument_id, asked.granularity.value)
    refs = await to_thread.run_sync(levels.resolve, services.lake, *series, as_of_us)
    tag = levels.etag(refs, as_of_us, services.version)
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if matches(wishes.if_none_match, tag):
        return Response(status_code=304, headers=headers)

    def answer() -> bytes:
        content = {
            "instrument_id": asked.instrument_id,
            "granularity": asked.granularity.value,
            "as_of": asked.as_of,
            "levels": levels.rows(services.lake, refs, as_of_us),
            "data_versions": {ref.key.path: ref.version for ref in refs},
        }
        return orjson.dumps(content, option=orjson.OPT_UTC_Z)

    async def make() -> bytes:
        return await to_thread.run_sync(answer)

    key = cache_key(
        LEVELS,
        data_versions=[ref.version for ref in refs],
        code_version=services.version,
        parameters={"instrument": series[0], "granularity": series[1], "etag": tag},
    )
    found = await services.cache.fetch(key, make, kind=LEVELS, mode=wishes.x_cache_strategy)
    headers["X-Cache-Hit"] = str(found.is_hit).lower()
    return Response(found.value, headers=headers, media_type="application/json")
