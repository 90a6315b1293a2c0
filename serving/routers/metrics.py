"""``GET /metrics``: Prometheus text, or the same as JSON; ``GET /v1/metrics``: windows of time."""

import datetime as dt
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Query, Request
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.exposition import choose_encoder
from starlette.responses import Response

from serving import accepts
from serving.dependencies import Services, ServicesDep
from serving.operations import MetricsReport, WindowReport
from serving.responses import ERRORS
from serving.schemas import Body

router = APIRouter(tags=["metrics"])

_TEXT: Final[dict[str, Any]] = {"schema": {"type": "string"}}
_TEXTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/plain": _TEXT, "application/openmetrics-text": _TEXT}},
    500: ERRORS[500],
}
_WINDOWS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/plain": _TEXT}},
    422: ERRORS[422],
    500: ERRORS[500],
    503: ERRORS[503],
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
    services.windows.refresh()
    return Response(encode(services.metrics.collected()), media_type=content_type)


class WindowParameters(Body):
    """In which form, and of how long ago until now."""

    format: Literal["json", "prometheus"] = "json"
    window: Literal["1m", "5m", "15m", "1h", "6h", "24h"] = "5m"


@router.get("/v1/metrics", response_model=WindowReport, responses=_WINDOWS)
def read_windows(asked: Annotated[WindowParameters, Query()], services: ServicesDep) -> Response:
    """Return rates and percentiles of a window as JSON, or what Prometheus scrapes."""
    if asked.format == "prometheus":
        return _text(services)
    report = services.windows.report(asked.window)
    return Response(report.model_dump_json(), media_type="application/json")


@router.get("/prometheus", response_class=_Text, responses=_TEXT_ONLY)
def read_prometheus(services: ServicesDep) -> Response:
    """Return the metrics as Prometheus text, whatever ``Accept`` says."""
    return _text(services)


def _text(services: Services) -> Response:
    services.windows.refresh()
    text = generate_latest(services.metrics.collected())
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _wants_json(accept: str) -> bool:
    """Tell whether JSON is named with at least the weight of any text."""
    weights = accepts.weights(accept)
    texts = [weight for kind, weight in weights.items() if kind != "application/json"]
    return weights.get("application/json", 0.0) > 0.0 and weights["application/json"] >= max(
        texts, default=0.0
    )
