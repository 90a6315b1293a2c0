"""``POST /v1/labels/compute``: the labels of one candle, now."""

import datetime as dt
import time
from collections.abc import Mapping
from typing import Annotated, Any, Final

import orjson
from anyio import to_thread
from fastapi import APIRouter, Body, Header, Query
from starlette.responses import Response

from serving.dependencies import Services, ServicesDep
from serving.label_compute.contracts import ComputedLabels, ComputeLabelsRequest
from serving.label_compute.questions import question
from serving.label_compute.service import KIND, LabelService, Resolved, answer_key
from serving.responses import ERRORS
from storage.cache import CacheMode

router = APIRouter(prefix="/v1", tags=["labels"], responses=ERRORS)

_EXAMPLES: Final[dict[str, Any]] = {
    "source": {
        "summary": "With its own levels: barriers at 1.09875 and 1.09225.",
        "value": {
            "instrument_id": "EURUSD",
            "granularity": "H4",
            "candle": {
                "ts": "2024-01-10T13:00:00Z",
                "open": 1.0950,
                "high": 1.0970,
                "low": 1.0940,
                "close": 1.0965,
                "volume": 1250000,
                "atr_14": 0.0025,
            },
            "label_types": ["enhanced_triple_barrier"],
            "levels": [
                {"price": 1.0920, "type": "support"},
                {"price": 1.0990, "type": "resistance"},
            ],
            "options": {"horizon_periods": 6, "use_cache": True},
        },
    }
}
_HEADERS: Final = {
    "X-Compute-Time-Ms": {"schema": {"type": "string"}, "description": "Milliseconds here."},
    "X-Cache-Hit": {"schema": {"type": "string"}, "description": "true or false."},
}


@router.post(
    "/labels/compute", response_model=ComputedLabels, responses={200: {"headers": _HEADERS}}
)
async def compute_labels(
    request: Annotated[ComputeLabelsRequest, Body(openapi_examples=_EXAMPLES)],
    services: ServicesDep,
    explain: Annotated[
        bool | None, Query(description="Say which level moved which barrier.")
    ] = None,
    x_cache_strategy: Annotated[CacheMode | None, Header()] = None,
) -> Response:
    """Compute the labels of a candle, from what was known at its close and the path after it."""
    start = time.perf_counter()
    labels = services.labels

    def resolve() -> Resolved:
        return _resolve(services, request, is_explained=bool(explain))

    path_bars = 0 if request.path is None else len(request.path.ts)
    is_at_once = labels.resolves_at_once(path_bars)
    resolved = resolve() if is_at_once else await to_thread.run_sync(resolve)

    def compute() -> bytes:
        return _encoded(labels.compute(resolved))

    async def make() -> bytes:
        q = resolved.question
        with services.metrics.labels.timed(q.instrument.id, q.timeframe.value, q.types):
            if labels.computes_at_once(resolved):
                return compute()
            return await to_thread.run_sync(compute)

    is_hit, content = False, b""
    if labels.cache is None:
        content = await make()
    else:
        key = answer_key(resolved, services.version)
        mode = _strategy(request, x_cache_strategy)
        found = await labels.cache.fetch(key, make, kind=KIND, mode=mode)
        is_hit, content = found.source != "computed", found.value
    took = round(1e3 * (time.perf_counter() - start), 3)
    own = {"version": services.version, "computation_time_ms": took, "cache_hit": is_hit}
    return Response(
        content[:-1] + b"," + _encoded(own)[1:],
        headers={"X-Compute-Time-Ms": str(took), "X-Cache-Hit": str(is_hit).lower()},
        media_type="application/json",
    )


def _resolve(services: Services, request: ComputeLabelsRequest, *, is_explained: bool) -> Resolved:
    instrument = services.instrument(request.instrument_id)
    now = dt.datetime.now(dt.UTC)
    asked = question(request, instrument, services.settings, now=now, is_explained=is_explained)
    service: LabelService = services.labels
    return service.resolve(asked)


def _strategy(request: ComputeLabelsRequest, header: CacheMode | None) -> CacheMode:
    """Return the header's word; without one, the options': not to use it outweighs the rest."""
    if header is not None:
        return header
    if not request.options.use_cache:
        return CacheMode.BYPASS
    return CacheMode.REFRESH if request.options.force_recompute else CacheMode.PREFER


def _encoded(content: Mapping[str, Any]) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_UTC_Z)
