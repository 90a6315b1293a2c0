"""What happens to every request: an id, a limit, a clock, a count, and the outermost handler."""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi.routing import iter_route_contexts
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from market.logs import bound, fields
from serving.access.middleware import path_of
from serving.errors import HTTP_CODES, error_response
from serving.metrics import Metrics

log = logging.getLogger("wavehouse.serving")
access_log = logging.getLogger("wavehouse.requests")

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_UNMATCHED: Final = "unmatched"  # unknown paths share a series: a scanner must not fill the memory
_ABORTED: Final = 499


def request_id(sent: str | None) -> str:
    """Return the caller's id where it is safe to print, else a new one."""
    if sent is not None and _REQUEST_ID.fullmatch(sent):
        return sent
    return f"req_{secrets.token_hex(6)}"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of a body, seconds until it has come, and until its answer has begun.

    ``larger`` is the limit on bodies below the paths that begin so.
    """

    max_body_bytes: int
    body_timeout_s: float
    timeout_s: float
    larger: Mapping[str, int] = field(default_factory=dict)


class RequestMiddleware:
    """Wraps the app: ids, limits, timing and counts in; nothing but the one error shape out."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        limits: Limits,
        is_told: bool = False,
    ) -> None:
        """``is_told``: each answered request is a line of the log."""
        self._app = app
        self._metrics = metrics
        self._limits = limits
        self._is_told = is_told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        exchange = _Exchange(send, request_id(headers.get("x-request-id")))
        scope.setdefault("state", {})["trace_id"] = exchange.trace_id
        with bound(request_id=exchange.trace_id):
            await self._answer(scope, receive, headers, exchange)

    async def _answer(
        self, scope: Scope, receive: Receive, headers: Headers, exchange: "_Exchange"
    ) -> None:
        try:
            most = self._most(scope["path"])
            if _declared_length(headers) > most:
                await exchange.refuse(scope, receive, 413, _too_large(most))
            else:
                limited = _limited(receive, most, self._limits.body_timeout_s)
                answering = self._app(scope, limited, exchange.send)
                timeout_s = self._limits.timeout_s
                if not await _within(timeout_s, answering, exchange):
                    await exchange.refuse(scope, receive, 504, _too_late(timeout_s))
        except Exception:  # the outermost handler: whatever it was, the caller gets the one shape
            log.exception("unhandled error [trace_id=%s]", exchange.trace_id)
            if exchange.status is not None:
                raise
            await exchange.refuse(scope, receive, 500, "Internal error")
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "OTHER"
            route = route_of(scope)
            self._metrics.observe(method, route, exchange.status or _ABORTED, exchange.seconds)
            if "refusal" in scope["state"]:
                self._metrics.count_refused(route, scope["state"]["refusal"])
            if self._is_told:
                _tell(scope, method, route, exchange)

    def _most(self, path: str) -> int:
        for prefix, most in self._limits.larger.items():
            if path.startswith(prefix):
                return most
        return self._limits.max_body_bytes


def _limited(receive: Receive, most: int, timeout_s: float) -> Callable[[], Awaitable[Message]]:
    """Count what is received, for bodies that declare no length or a wrong one, and the time."""
    total, is_whole = 0, False
    deadline = asyncio.get_running_loop().time() + timeout_s

    async def limited() -> Message:
        nonlocal total, is_whole
        if is_whole:  # who asks now waits for the caller to hang up, for as long as it takes
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError as e:
            raise HTTPException(408, f"body: expected within {timeout_s:g} s, was not") from e
        if message["type"] == "http.request":
            total += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if total > most:
                raise HTTPException(413, _too_large(most))
        return message

    return limited


async def _within(seconds: float, answering: Awaitable[None], exchange: "_Exchange") -> bool:
    """Wait until it is answered; return False if no answer has begun by then, and never will."""
    task = asyncio.ensure_future(answering)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done() and exchange.status is None:
            exchange.is_given_up = True
            task.add_done_callback(_tell_late)
            task.cancel()  # a thread that works for it is not waited for
            return False
        await task
    except asyncio.CancelledError:
        task.cancel()
        raise
    return True


def _tell_late(task: asyncio.Future[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("unhandled error of a request that was given up", exc_info=error)


def _too_late(seconds: float) -> str:
    return f"request: expected an answer within {seconds:g} s, was none"


def _too_large(most: int) -> str:
    return f"body: expected at most {most} bytes, was more"


class _Exchange:
    """One request's answer on its way out."""

    def __init__(self, send: Send, trace_id: str) -> None:
        self._send = send
        self._started = time.perf_counter()
        self.trace_id = trace_id
        self.status: int | None = None
        self.is_given_up = False  # what the app sends from then on goes nowhere

    @property
    def seconds(self) -> float:
        """Time since the request came."""
        return time.perf_counter() - self._started

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Pass a part of the answer of the app on, unless it comes too late."""
        if not self.is_given_up:
            await self._pass_on(message)

    async def _pass_on(self, message: MutableMapping[str, Any]) -> None:
        """Pass a part of an answer on, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.trace_id
            headers["X-Process-Time"] = f"{self.seconds:.6f}"
        await self._send(message)

    async def refuse(self, scope: Scope, receive: Receive, status: int, message: str) -> None:
        """Answer without asking the app."""
        response = error_response(
            status,
            code=HTTP_CODES.get(status, "INTERNAL"),
            message=message,
            trace_id=self.trace_id,
        )
        await response(scope, receive, self._pass_on)


def _tell(scope: Scope, method: str, route: str, exchange: _Exchange) -> None:
    principal = scope["state"].get("principal")
    told = fields(
        method=method,
        route=route,
        path=scope["path"],  # without its query, which may hold anything
        status=exchange.status or _ABORTED,
        duration_ms=round(exchange.seconds * 1e3, 3),
        principal="" if principal is None else principal.name,
    )
    access_log.info("request", extra=told)


def _declared_length(headers: Headers) -> int:
    length = headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


def route_of(scope: Scope) -> str:
    """Return the path of the route that answers, or would have; unknown paths share a name."""
    if "route" not in scope and "refusal" in scope["state"]:  # before the router has looked
        return _refused_route(scope)
    return str(getattr(scope.get("route"), "path", _UNMATCHED))


def _refused_route(scope: Scope) -> str:
    path = path_of(scope)
    for route in iter_route_contexts(scope["app"].routes):
        if scope["method"] in (route.methods or ()) and route.path_regex.match(path):
            return str(route.path)
    return _UNMATCHED
