"""``GET /metrics``: Prometheus text, or the same as JSON for who asks for it."""

import datetime as dt
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.exposition import choose_encoder
from starlette.responses import Response

from serving import accepts
from serving.dependencies import ServicesDep
from serving.operations import MetricsReport
from serving.responses import ERRORS

router = APIRouter(tags=["metrics"])

_TEXT: Final[dict[str, Any]] = {"schema": {"type": "string"}}
_TEXTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/plain": _TEXT, "application/openmetrics-text": _TEXT}},
    500: ERRORS[500],
}
_ERROR: Final[dict[str, Any]] = {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}
_TEXT_ONLY: Final[dict[int | str, dict[str, Any]]] = {
    500: {"description": ERRORS[500]["description"], "content": {"application/json": _ERROR}}
}


class _Text(Response):
    media_type = "text/plain"


@router.get("/metrics", response_model=MetricsReport, responses=_TEXTS)
def read_metrics(request: Request, services: ServicesDep) -> Response:
    """Return the metrics in the form that ``Accept`` prefers; Prometheus text by default."""
    accept = request.headers.get("accept", "")
    if _wants_json(accept):
        report = {"timestamp": dt.datetime.now(dt.UTC), "metrics": services.metrics.snapshot()}
        body = orjson.dumps(report, option=orjson.OPT_UTC_Z)
        return Response(body, media_type="application/json")
    encode, content_type = choose_encoder(accept)
    return Response(encode(services.metrics.registry), media_type=content_type)


@router.get("/prometheus", response_class=_Text, responses=_TEXT_ONLY)
def read_prometheus(services: ServicesDep) -> Response:
    """Return the metrics as Prometheus text, whatever ``Accept`` says."""
    text = generate_latest(services.metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _wants_json(accept: str) -> bool:
    """Tell whether JSON is named with at least the weight of any text."""
    weights = accepts.weights(accept)
    texts = [weight for kind, weight in weights.items() if kind != "application/json"]
    return weights.get("application/json", 0.0) > 0.0 and weights["application/json"] >= max(
        texts, default=0.0
    )
