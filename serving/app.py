"""The REST app: routers, middleware and lifespan put together, everything handed in."""

import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Any

import anyio
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from learning.bundle import Bundle
from market.instruments import InstrumentBook
from market.ports import Lake, ModelRegistry
from market.settings import ServingSettings
from serving import docs_pages, errors
from serving.access.audit import AuditTrail
from serving.access.keys import KeyRing
from serving.access.middleware import AccessMiddleware, Guard
from serving.access.rates import RateLimits
from serving.access.rules import rules
from serving.access.tokens import TokenVerifier
from serving.backtests.service import BacktestService
from serving.compute.service import ComputeService
from serving.dependencies import Services
from serving.label_compute.service import LabelService
from serving.metrics import Metrics
from serving.middleware import Limits, RequestMiddleware, route_of
from serving.models import BundleLoader, ModelStore, polling
from serving.routers import (
    backtest,
    compute,
    health,
    label_compute,
    labels,
    levels,
    metrics,
    ml,
    models,
    predict,
)
from serving.traces import TraceMiddleware, Tracing
from storage.api_keys import ApiKeys
from storage.audit_log import AuditLog
from storage.database import Database

LifespanOf = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]

DESCRIPTION = (
    "Labels, predictions and their provenance, served from what was materialised. "
    "Every error has one shape; every answer names the versions it was made from."
)


def bare_app(lifespan: LifespanOf | None = None) -> FastAPI:
    """Return the routes and their description, without anything behind them."""
    app = FastAPI(
        title="Wavehouse",
        version=version("wavehouse"),
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect to another host's idea of us helps nobody
        docs_url=None,  # the framework's own pages need another host: ours follow
        redoc_url=None,
    )
    docs_pages.install(app)
    for part in (
        predict,
        labels,
        label_compute,
        levels,
        compute,
        backtest,
        ml,
        models,
        health,
        metrics,
    ):
        app.include_router(part.router)
    return app


def create_app(
    settings: ServingSettings,
    *,
    lake: Lake,
    registry: ModelRegistry,
    book: InstrumentBook | None = None,
    database: Database | None = None,
    load: BundleLoader = Bundle.load,
) -> FastAPI:
    """Build the app; nothing is opened, read or started before its lifespan.

    Without a database, backtests, trials and the audit log are forgotten at the end of the
    lifespan.
    """
    measures = Metrics()
    database = database or Database.in_memory()
    guard = _guard(settings, database)
    tracing = Tracing(settings.otlp_endpoint, version("wavehouse"))
    store = ModelStore(registry, alias=settings.alias, load=load, metrics=measures)
    services = Services(
        settings=settings,
        lake=lake,
        book=book,
        models=store,
        metrics=measures,
        compute=ComputeService(settings, measures.compute),
        backtests=BacktestService(settings, measures.compute, database),
        labels=LabelService(lake, resident_bytes=settings.labels_resident_bytes),
        version=version("wavehouse"),
        started_at=dt.datetime.now(dt.UTC),
    )
    app = bare_app(_lifespan(services, guard, tracing))
    errors.install(app)
    app.add_middleware(AccessMiddleware, guard=guard)
    _add_cors(app, settings)
    app.add_middleware(
        RequestMiddleware,
        metrics=measures,
        limits=Limits(
            settings.max_body_bytes,
            settings.body_timeout_s,
            settings.request_timeout_s,
            larger={
                "/compute/": settings.compute_max_body_bytes,
                "/backtest/": settings.backtest_max_body_bytes,
            },
        ),
        is_told=settings.log_requests,
    )
    if settings.otlp_endpoint:
        app.add_middleware(TraceMiddleware, tracing=tracing, route_of=route_of)
    if settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=settings.trusted_proxies)
    return app


def _guard(settings: ServingSettings, database: Database) -> Guard:
    """Return what lets in who may come in, and writes down who changed what."""
    audit = AuditLog(database, keep_days=settings.audit_keep_days, max_rows=settings.audit_max_rows)
    return Guard(
        keys=KeyRing(ApiKeys(database), remember_s=settings.key_remember_s),
        tokens=TokenVerifier(settings),
        rules=rules(
            probes=settings.open_health, metrics=settings.open_metrics, docs=settings.open_docs
        ),
        rates=RateLimits(settings),
        trail=AuditTrail(audit),
        anonymous=settings.anonymous,
    )


def _add_cors(app: FastAPI, settings: ServingSettings) -> None:
    """Let pages of other origins ask, before they have a key."""
    origins = [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["X-API-Key", "Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=[
                "X-Request-ID",
                "Retry-After",
                "ETag",
                "X-Rate-Limit-Limit",
                "X-Rate-Limit-Remaining",
                "X-Rate-Limit-Reset",
            ],
        )


def _lifespan(services: Services, guard: Guard, tracing: Tracing) -> LifespanOf:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        """Load the models by alias, follow the alias, warm the kernels, yield the typed state."""
        await anyio.to_thread.run_sync(services.models.refresh)
        await anyio.to_thread.run_sync(tracing.start)
        services.compute.start()
        services.backtests.start()
        try:
            with polling(services.models.refresh, every_s=services.settings.alias_poll_s):
                yield {"services": services}
        finally:
            services.compute.close()
            await guard.rates.aclose()
            await anyio.to_thread.run_sync(guard.trail.close)
            await anyio.to_thread.run_sync(tracing.close)
            await anyio.to_thread.run_sync(services.backtests.close)

    return lifespan
