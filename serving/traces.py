"""OpenTelemetry: a span a request, sent where a setting says.

Belongs here: spans, and when they are sent. Keep out: what is told in the log and counted
(``middleware``, ``metrics``). Without an endpoint the SDK is not imported.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

SERVICE: Final = "wavehouse"
_PATH: Final = "/v1/traces"
_TIMEOUT_S: Final = 5.0


class Tracing:
    """Sends spans from ``start`` to ``close``; a collector that is away costs spans, no request."""

    def __init__(self, endpoint: str, version: str) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._version = version
        self._provider: TracerProvider | None = None
        self.tracer: Tracer | None = None

    def start(self) -> None:
        """Begin, where there is an endpoint."""
        if not self._endpoint:
            return
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        resource = Resource.create({"service.name": SERVICE, "service.version": self._version})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=self._endpoint + _PATH, timeout=_TIMEOUT_S)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        self._provider = provider
        self.tracer = provider.get_tracer(SERVICE, self._version)

    def close(self) -> None:
        """Send what waits, and end."""
        provider, self._provider, self.tracer = self._provider, None, None
        if provider is not None:
            provider.shutdown()


class TraceMiddleware:
    """Wraps the app: a span a request, below the caller's where ``traceparent`` names one."""

    def __init__(self, app: ASGIApp, *, tracing: Tracing, route_of: Callable[[Scope], str]) -> None:
        self._app = app
        self._tracing = tracing
        self._route_of = route_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        tracer = self._tracing.tracer
        if scope["type"] != "http" or tracer is None:
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind, use_span  # noqa: PLC0415 - where it is in use
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        above = TraceContextTextMapPropagator().extract(Headers(scope=scope))
        span = tracer.start_span(scope["method"], context=above, kind=SpanKind.SERVER)

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                span.set_attribute("http.response.status_code", message["status"])
            await send(message)

        with use_span(span, end_on_exit=True):
            try:
                await self._app(scope, receive, told)
            finally:
                self._describe(span, scope)

    def _describe(self, span: "Span", scope: Scope) -> None:
        state, route = scope.get("state", {}), self._route_of(scope)
        principal = state.get("principal")
        span.update_name(f"{scope['method']} {route}")
        span.set_attributes(
            {
                "http.request.method": scope["method"],
                "http.route": route,
                "url.path": scope["path"],
                "wavehouse.request_id": str(state.get("trace_id", "")),
                "wavehouse.principal": "" if principal is None else principal.name,
            }
        )
