"""``POST /compute/{indicator}``, one route an indicator, and ``POST /compute/batch``."""

from collections.abc import AsyncIterator, Iterator
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from serving.compute import description
from serving.compute.content import ARROW, JSON
from serving.compute.contracts import CONTRACTS, Contract, unknown
from serving.compute.service import Answer
from serving.dependencies import Services, services_of
from serving.errors import Detail, UnknownIndicatorError
from serving.responses import COMPUTE_ERRORS
from serving.routers.counted import RawRoute, asked_of, telling

_MEDIA_TYPES: Final = {"json": JSON, "arrow": ARROW}


router = APIRouter(tags=["compute"], responses=COMPUTE_ERRORS, route_class=RawRoute)


def _add(contract: Contract) -> None:
    async def compute(request: Request) -> Response:
        parts = services_of(request)
        answer = await parts.compute.ask(contract, await asked_of(request))
        return _response(request, parts, answer)

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
    parts = services_of(request)
    answer = await parts.compute.ask_batch(await asked_of(request))
    return _response(request, parts, answer)


def _response(request: Request, parts: Services, answer: Answer) -> Response:
    headers = {"X-Cache-Hit": "true" if answer.told["cache_hit"] else "false"}
    media_type = _MEDIA_TYPES[answer.form]
    task = telling(request, parts, answer.told)
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
