"""``POST /backtest/run``, ``POST /backtest/sweep`` and ``GET /backtest/results/{run_id}``."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from market.errors import InputError
from serving.backtests import description
from serving.backtests.service import Answered, Submitted
from serving.compute.content import JSON
from serving.compute.contracts import unknown
from serving.compute.service import Asked
from serving.dependencies import services_of
from serving.responses import COMPUTE_ERRORS, ERRORS
from serving.routers.counted import CountedRoute, asked_of, telling

router = APIRouter(tags=["backtests"], route_class=CountedRoute)

_ASYNC: Final = "async"
_TRUTHS: Final[Mapping[str, bool]] = {"true": True, "1": True, "false": False, "0": False}

Answers = Callable[[Asked], Awaitable[Answered]]
Submits = Callable[[Asked], Awaitable[Submitted]]


@router.post(
    "/backtest/run",
    response_model=None,
    responses={**COMPUTE_ERRORS, 200: description.run_answer(), 202: description.accepted()},
    openapi_extra=description.run_request(),
)
async def run_backtest(request: Request) -> Response:
    """Backtest a strategy over the bars of the request."""
    backtests = services_of(request).backtests
    return await _answer(request, backtests.run, backtests.submit_run)


@router.post(
    "/backtest/sweep",
    response_model=None,
    responses={**COMPUTE_ERRORS, 200: description.sweep_answer(), 202: description.accepted()},
    openapi_extra=description.sweep_request(),
)
async def sweep_backtests(request: Request) -> Response:
    """Backtest every combination of a grid of parameters; each counts as a trial."""
    backtests = services_of(request).backtests
    return await _answer(request, backtests.sweep, backtests.submit_sweep)


@router.get(
    "/backtest/results/{run_id}",
    response_model=None,
    responses={
        **{status: ERRORS[status] for status in (401, 403, 404, 422, 429, 500, 503)},
        504: COMPUTE_ERRORS[504],
        200: description.results_answer(),
    },
)
async def read_backtest(run_id: Annotated[str, Path(max_length=100)], request: Request) -> Response:
    """Read what became of a backtest or a sweep; its answer, where it is completed."""
    body = await services_of(request).backtests.read(run_id)
    return Response(body, media_type=JSON)


async def _answer(request: Request, answer: Answers, submit: Submits) -> Response:
    parts = services_of(request)
    is_async = _is_async(request.query_params)
    asked = await asked_of(request)
    if is_async:
        submitted = await submit(asked)
        headers = {"Location": f"/backtest/results/{submitted.run_id}"}
        return Response(submitted.body, status_code=202, headers=headers, media_type=JSON)
    answered = await answer(asked)
    task = telling(request, parts, answered.told)
    return Response(answered.body, media_type=JSON, background=task)


def _is_async(query: Mapping[str, str]) -> bool:
    """Return what ``?async`` says; raise ``InputError`` for another word or parameter."""
    for name in query:
        if name != _ASYNC:
            raise InputError(f"{name}: {unknown(name, [_ASYNC])}")
    word = query.get(_ASYNC, "false").lower()
    if word not in _TRUTHS:
        raise InputError(f"{_ASYNC}: expected true or false, was {word[:40]!r}")
    return _TRUTHS[word]
