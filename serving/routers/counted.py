"""What routes of computations share: counting, the log of computations.

Belongs here: what happens around a computation. Keep out: paths and answers.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from fastapi.routing import APIRoute
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from market.errors import WavehouseError
from market.logs import fields
from serving.compute import content
from serving.compute.service import Asked
from serving.dependencies import Services, services_of
from serving.errors import HTTP_CODES

REQUEST_LOG: Final = "wavehouse.compute.requests"

log = logging.getLogger(REQUEST_LOG)

Handler = Callable[[Request], Awaitable[Response]]


class CountedRoute(APIRoute):
    """Counts what is being answered, and what is refused by its code."""

    def get_route_handler(self) -> Any:  # noqa: ANN401 - as FastAPI types it
        """Return the handler."""
        answer: Handler = self.handler()
        path = self.path

        async def handle(request: Request) -> Response:
            measures = services_of(request).metrics.compute
            measures.active.inc()
            try:
                return await answer(request)
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

    def handler(self) -> Any:  # noqa: ANN401 - as FastAPI types it
        """Return what answers."""
        return super().get_route_handler()


class RawRoute(CountedRoute):
    """Hands the request over as it is: nothing of a body is parsed on the way."""

    def handler(self) -> Any:  # noqa: ANN401 - as FastAPI types it
        """Return the endpoint itself."""
        return self.endpoint


async def asked_of(request: Request) -> Asked:
    """Return a request's body, and what its headers and query say about it."""
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


def telling(request: Request, parts: Services, told: Mapping[str, Any]) -> BackgroundTask | None:
    """Return the task that writes the log's line, once the answer has left."""
    if not parts.settings.log_requests:
        return None
    return BackgroundTask(_tell, request.url.path, told)


async def _tell(path: str, told: Mapping[str, Any]) -> None:
    log.info("computation", extra=fields(endpoint=path, **told))
