"""``POST /compute/{indicator}``, one route an indicator, and ``POST /compute/batch``."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from market.errors import WavehouseError
from serving.compute import content, description
from serving.compute.content import ARROW, JSON
from serving.compute.contracts import CONTRACTS, Contract, unknown
from serving.compute.service import Answer, Asked
from serving.dependencies import Services, services
from serving.errors import HTTP_CODES, Detail, UnknownIndicatorError
from serving.responses import COMPUTE_ERRORS

REQUEST_LOG: Final = "wavehouse.compute.requests"

log = logging.getLogger(REQUEST_LOG)

Handler = Callable[[Request], Awaitable[Response]]

_MEDIA_TYPES: Final = {"json": JSON, "arrow": ARROW}


class _ComputeRoute(APIRoute):
    """Hands the request over as it is, counted: nothing of a body is parsed on the way."""

    def get_route_handler(self) -> Any:  # noqa: ANN401 - as FastAPI types it
        """Return the handler."""
        endpoint: Handler = self.endpoint
        path = self.path

        async def handle(request: Request) -> Response:
            measures = services(request).metrics.compute
            measures.active.inc()
            try:
                return await endpoint(request)
            except WavehouseError as e:
                measures.errors.labels(path, e.code).inc()
                raise
            except HTTPException as e:
                code = HTTP_CODES.get(e.status_code, "HTTP")
                measures.errors.labels(path, code).inc()
                raise
            finally:
                measures.active.dec()

        return handle


router = APIRouter(tags=["compute"], responses=COMPUTE_ERRORS, route_class=_ComputeRoute)


def _add(contract: Contract) -> None:
    async def compute(request: Request) -> Response:
        parts = services(request)
        limits = _take(request, parts)
        answer = await parts.compute.ask(contract, await _asked(request))
        return _response(request, parts, answer, limits)

    title = contract.kernel.title
    router.add_api_route(
        f"/compute/{contract.name}",
        compute,
        methods=["POST"],
        operation_id=f"compute_{contract.name}",
        summary=f"{title[:1].upper()}{title[1:]}",
        description=_text(contract),
        response_model=None,
        responses={200: description.indicator_answer(contract)},
        openapi_extra=description.indicator_request(contract),
    )


@router.post(
    "/compute/batch",
    response_model=None,
    responses={200: description.batch_answer()},
    openapi_extra=description.batch_request(),
)
async def compute_batch(request: Request) -> Response:
    """Compute many indicators of many symbols; a symbol that cannot be served says so itself."""
    parts = services(request)
    limits = _take(request, parts)
    answer = await parts.compute.ask_batch(await _asked(request))
    return _response(request, parts, answer, limits)


def _take(request: Request, parts: Services) -> Mapping[str, str]:
    limits = parts.compute.rates.take(request.client.host if request.client else "")
    request.state.headers = limits  # of a refusal too
    return limits


async def _asked(request: Request) -> Asked:
    headers = request.headers
    form = content.form_of(headers)
    encoding = content.encoding_of(headers)
    return Asked(
        body=await request.body(),
        form=form,
        wanted=content.answer_form(headers, form),
        encoding=encoding,
        query=dict(request.query_params),
    )


def _response(
    request: Request, parts: Services, answer: Answer, limits: Mapping[str, str]
) -> Response:
    headers = {**limits, "X-Cache-Hit": "true" if answer.told["cache_hit"] else "false"}
    media_type = _MEDIA_TYPES[answer.form]
    task = None
    if parts.settings.log_requests:
        task = BackgroundTask(_tell, request.url.path, answer.told)
    if isinstance(answer.body, bytes):
        return Response(answer.body, headers=headers, media_type=media_type, background=task)
    if answer.size is not None:
        headers["Content-Length"] = str(answer.size)
    return StreamingResponse(
        _sent(answer.body), headers=headers, media_type=media_type, background=task
    )


async def _sent(pieces: Iterator[bytes | memoryview]) -> AsyncIterator[bytes | memoryview]:
    for piece in pieces:
        yield piece


async def _tell(path: str, told: Mapping[str, Any]) -> None:
    line = {"timestamp": datetime.now(UTC), "level": "INFO", "endpoint": path, **told}
    log.info("%s", orjson.dumps(line, option=orjson.OPT_UTC_Z).decode())


def _text(contract: Contract) -> str:
    references = contract.kernel.references
    return f"Reference: {references}" if references else contract.kernel.title


async def _compute_unknown(request: Request) -> Response:
    """Say which indicator was meant: those that there are have routes of their own, before this."""
    message = unknown(request.path_params["indicator"], CONTRACTS)
    raise UnknownIndicatorError(
        f"indicator: {message}", [Detail("indicator", message, "UNKNOWN_INDICATOR")]
    )


for _contract in CONTRACTS.values():
    _add(_contract)
router.add_api_route(
    "/compute/{indicator}",
    _compute_unknown,
    methods=["POST"],
    response_model=None,
    include_in_schema=False,
)
