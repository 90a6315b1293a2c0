"""Every request has a principal, or is refused before anything of it is read.

Belongs here: headers to a principal, a principal against the rules, security headers. Keep out:
whose address it is (``serving.app`` believes a proxy only where a setting names it).
"""

from typing import Final

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from market.errors import WavehouseError
from serving.access.keys import KeyRing
from serving.access.principals import ANONYMOUS, STRANGER, Principal, is_loopback
from serving.access.rules import Rule, scope_of
from serving.access.tokens import TokenVerifier
from serving.errors import ForbiddenError, UnauthenticatedError, refused

KEY_HEADER: Final = "X-API-Key"
_CHALLENGE: Final = 'Bearer realm="wavehouse", ApiKey realm="wavehouse", header="X-API-Key"'
_SECURITY: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
_FORWARDED: Final = ("x-forwarded-for", "forwarded", "x-real-ip")


class AccessMiddleware:
    """Wraps the app: sets ``scope["state"]["principal"]``; answers 401 or 403 by itself."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: KeyRing,
        tokens: TokenVerifier,
        rules: tuple[Rule, ...],
        anonymous: str,
    ) -> None:
        """``anonymous``: who needs no key: ``none``, ``loopback`` or ``all``."""
        self._app = app
        self._keys = keys
        self._tokens = tokens
        self._rules = rules
        self._anonymous = anonymous

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        headers = Headers(scope=scope)
        outgoing = _Secured(send, has_credentials=_has_credentials(headers))
        state["principal"] = STRANGER
        needed = scope_of(scope["method"], _path(scope), self._rules)
        try:
            if needed is not None:
                state["principal"] = principal = await self._principal(scope, headers)
                _check(principal, needed)
        except WavehouseError as e:
            challenge = {}
            if isinstance(e, UnauthenticatedError):
                challenge = {"WWW-Authenticate": _CHALLENGE}
            response = refused(e, trace_id=str(state.get("trace_id", "")), headers=challenge)
            await response(scope, receive, outgoing.send)
            return
        await self._app(scope, receive, outgoing.send)

    async def _principal(self, scope: Scope, headers: Headers) -> Principal:
        sent = [*headers.getlist(KEY_HEADER), *headers.getlist("Authorization")]
        if not sent:
            return self._unnamed(scope, headers)
        if len(sent) > 1:
            raise UnauthenticatedError(
                f"{KEY_HEADER}, Authorization: expected one, was {len(sent)}"
            )
        if KEY_HEADER in headers:
            known = self._keys.known(sent[0])
            if known is not None:
                return known
            return await anyio.to_thread.run_sync(self._keys.find, sent[0])
        scheme, _, token = sent[0].partition(" ")
        if scheme.lower() != "bearer":
            raise UnauthenticatedError("Authorization: expected Bearer and a token, was another")
        return self._tokens.find(token.strip())

    def _unnamed(self, scope: Scope, headers: Headers) -> Principal:
        client = scope.get("client")
        is_local = (
            client is not None
            and is_loopback(client[0])
            and not any(name in headers for name in _FORWARDED)  # a proxy's caller is no local one
        )
        if self._anonymous == "all" or (self._anonymous == "loopback" and is_local):
            return ANONYMOUS
        raise UnauthenticatedError(f"{KEY_HEADER}: expected a key or a bearer token, was none")


class _Secured:
    """An answer on its way out, with the security headers."""

    def __init__(self, send: Send, *, has_credentials: bool) -> None:
        self._send = send
        self._has_credentials = has_credentials

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _SECURITY.items():
                headers.setdefault(name, value)
            if self._has_credentials:
                headers["Cache-Control"] = "no-store"
        await self._send(message)


def _check(principal: Principal, needed: str) -> None:
    if needed not in principal.scopes:
        had = ", ".join(sorted(principal.scopes)) or "none"
        raise ForbiddenError(f"scope: expected {needed}, was {had}")


def _has_credentials(headers: Headers) -> bool:
    return KEY_HEADER in headers or "Authorization" in headers


def _path(scope: Scope) -> str:
    """Return the path that the router matches: without what a proxy has put before it."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :]
    return path
