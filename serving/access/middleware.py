"""Every request has a principal, or is refused before anything of it is read.

Belongs here: headers to a principal, a principal against the rules and the rates, who did what,
security headers. Keep out: whose address it is (``serving.app`` believes a proxy only where a
setting names it).
"""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from market.errors import WavehouseError
from serving.access.audit import AuditTrail
from serving.access.keys import KeyRing
from serving.access.principals import ANONYMOUS, STRANGER, Principal, is_loopback
from serving.access.rates import RateLimits
from serving.access.rules import Rule, scope_of
from serving.access.tokens import TokenVerifier
from serving.errors import (
    ForbiddenError,
    TooManyRequestsError,
    UnauthenticatedError,
    refused,
    status_of,
)
from storage.api_keys import ADMIN, WRITE
from storage.audit_log import AuditEvent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

KEY_HEADER: Final = "X-API-Key"
_CHALLENGE: Final = 'Bearer realm="wavehouse", ApiKey realm="wavehouse", header="X-API-Key"'
_SECURITY: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",  # pages have their own
}
_FORWARDED: Final = ("x-forwarded-for", "forwarded", "x-real-ip")
_AUDITED: Final = (UnauthenticatedError, ForbiddenError, TooManyRequestsError)
_CHANGES: Final = frozenset({WRITE, ADMIN})
_POLICY_VIOLATION: Final = 1008
_BROKE: Final = 500
_GIVEN_UP: Final = 504


@dataclass(frozen=True, slots=True)
class Guard:
    """What is asked of a caller, and who needs no key: ``none``, ``loopback`` or ``all``."""

    keys: KeyRing
    tokens: TokenVerifier
    rules: tuple[Rule, ...]
    rates: RateLimits
    trail: AuditTrail
    anonymous: str


class AccessMiddleware:
    """Wraps the app: sets ``scope["state"]["principal"]``; answers 401, 403 and 429 by itself."""

    def __init__(self, app: ASGIApp, *, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or refuse it."""
        if scope["type"] == "websocket":  # there is none, and one that was forgotten is not open
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        headers = Headers(scope=scope)
        outgoing = _Outgoing(send, has_credentials=_has_credentials(headers))
        state["principal"] = STRANGER
        needed = scope_of(scope["method"], path_of(scope), self._guard.rules)
        try:
            await self._admit(scope, headers, needed, outgoing)
        except WavehouseError as e:
            await self._refuse(e, scope, receive, outgoing)
            return
        if needed not in _CHANGES:
            await self._app(scope, receive, outgoing.send)
            return
        outgoing.on_start = lambda status: self._guard.trail.changed(_event(scope, status))
        try:
            await self._app(scope, receive, outgoing.send)
        except (Exception, asyncio.CancelledError) as e:
            if not outgoing.has_started:
                status = _GIVEN_UP if isinstance(e, asyncio.CancelledError) else _BROKE
                await self._guard.trail.changed(_event(scope, status))
            raise

    async def _admit(
        self, scope: Scope, headers: Headers, needed: str | None, outgoing: "_Outgoing"
    ) -> None:
        """Find out who asks, count it, and check that they may; raises what refuses."""
        refusal: UnauthenticatedError | None = None
        if needed is not None:
            try:
                scope["state"]["principal"] = await self._principal(scope, headers)
            except UnauthenticatedError as e:
                refusal = e  # counted as its address: who guesses keys is slowed down
        principal: Principal = scope["state"]["principal"]
        taken = await self._guard.rates.take(
            principal, _address(scope), method=scope["method"], path=path_of(scope)
        )
        outgoing.headers.update(taken)
        if refusal is not None:
            raise refusal
        if needed is not None:
            _check(principal, needed)

    async def _refuse(
        self, error: WavehouseError, scope: Scope, receive: Receive, outgoing: "_Outgoing"
    ) -> None:
        state = scope["state"]
        state["refusal"] = error.code
        if isinstance(error, _AUDITED):
            self._guard.trail.refused(_event(scope, status_of(error)))
        headers: Mapping[str, str] = getattr(error, "headers", {})
        if isinstance(error, UnauthenticatedError):
            headers = {"WWW-Authenticate": _CHALLENGE}
        response = refused(error, trace_id=str(state.get("trace_id", "")), headers=headers)
        await response(scope, receive, outgoing.send)

    async def _principal(self, scope: Scope, headers: Headers) -> Principal:
        sent = [*headers.getlist(KEY_HEADER), *headers.getlist("Authorization")]
        if not sent:
            return self._unnamed(scope, headers)
        if len(sent) > 1:
            raise UnauthenticatedError(
                f"{KEY_HEADER}, Authorization: expected one, was {len(sent)}"
            )
        if KEY_HEADER in headers:
            known = self._guard.keys.known(sent[0])
            if known is not None:
                return known
            return await anyio.to_thread.run_sync(self._guard.keys.find, sent[0])
        scheme, _, token = sent[0].partition(" ")
        if scheme.lower() != "bearer":
            raise UnauthenticatedError("Authorization: expected Bearer and a token, was another")
        return self._guard.tokens.find(token.strip())

    def _unnamed(self, scope: Scope, headers: Headers) -> Principal:
        is_local = is_loopback(_address(scope)) and not any(
            name in headers
            for name in _FORWARDED  # a proxy's caller is no local one
        )
        anonymous = self._guard.anonymous
        if anonymous == "all" or (anonymous == "loopback" and is_local):
            return ANONYMOUS
        raise UnauthenticatedError(f"{KEY_HEADER}: expected a key or a bearer token, was none")


class _Outgoing:
    """An answer on its way out, with the headers of all answers and of its rate."""

    def __init__(self, send: Send, *, has_credentials: bool) -> None:
        self._send = send
        self._has_credentials = has_credentials
        self.headers: dict[str, str] = {}
        self.on_start: Callable[[int], Awaitable[None]] | None = None
        self.has_started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_started = True
            headers = MutableHeaders(scope=message)
            for name, value in _SECURITY.items():
                headers.setdefault(name, value)
            headers.update(self.headers)
            if self._has_credentials:
                headers["Cache-Control"] = "no-store"
            if self.on_start is not None:
                await self.on_start(message["status"])
        await self._send(message)


def _event(scope: Scope, status: int) -> AuditEvent:
    state = scope["state"]
    return AuditEvent(
        principal=state["principal"].name,
        address=_address(scope),
        method=scope["method"],
        path=path_of(scope),
        status=status,
        request_id=str(state.get("trace_id", "")),
    )


def _check(principal: Principal, needed: str) -> None:
    if needed not in principal.scopes:
        had = ", ".join(sorted(principal.scopes)) or "none"
        raise ForbiddenError(f"scope: expected {needed}, was {had}")


def _has_credentials(headers: Headers) -> bool:
    return KEY_HEADER in headers or "Authorization" in headers


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return "" if client is None else str(client[0])


def path_of(scope: Scope) -> str:
    """Return the path that the router matches: without what a proxy has put before it."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :]
    return path
