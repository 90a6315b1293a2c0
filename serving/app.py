"""The REST app: routers, middleware and lifespan put together, everything handed in."""

import datetime as dt
import functools
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio
from fastapi import APIRouter, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from learning.bundle import Bundle
from market.instruments import InstrumentBook
from market.ports import Lake, ModelRegistry
from market.settings import BackfillSettings, ServingSettings
from serving import docs_pages, errors
from serving.access.audit import AuditTrail
from serving.access.keys import KeyRing
from serving.access.middleware import AccessMiddleware, Guard
from serving.access.rates import RateLimits
from serving.access.rules import rules
from serving.access.tokens import TokenVerifier
from serving.backfills.launching import Launcher
from serving.backfills.service import BackfillService
from serving.backtests.service import BacktestService
from serving.cached_labels import CandleLabels
from serving.caching import open_cache
from serving.collection import settling
from serving.compute.service import ComputeService
from serving.dependencies import Services
from serving.label_compute.service import LabelService
from serving.metrics import Metrics
from serving.metrics_windows import EVERY_S, Windows
from serving.middleware import Limits, RequestMiddleware, route_of
from serving.models import BundleLoader, ModelStore, polling
from serving.routers import (
    backtest,
    batch,
    cache,
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
from storage.backfill_jobs import BackfillJobs
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
        version=_version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect to another host's idea of us helps nobody
        docs_url=None,  # the framework's own pages need another host: ours follow
        redoc_url=None,
    )
    docs_pages.install(app)
    app.router.routes.extend(_routes())
    return app


@functools.cache
def _routes() -> tuple[BaseRoute, ...]:
    """Return the routes of every app of the process: to work them out takes a tenth of a second.

    So ``dependency_overrides`` of an app say nothing: its parts are handed to ``create_app``.
    """
    included = APIRouter()
    for part in (
        predict,
        labels,
        label_compute,
        levels,
        batch,
        compute,
        backtest,
        ml,
        models,
        health,
        metrics,
        cache,
    ):
        included.include_router(part.router)
    return tuple(included.routes)


@functools.cache
def _version() -> str:
    return version("wavehouse")


def create_app(  # noqa: PLR0913 - every part is handed in
    settings: ServingSettings,
    *,
    lake: Lake,
    registry: ModelRegistry,
    book: InstrumentBook | None = None,
    database: Database | None = None,
    load: BundleLoader = Bundle.load,
    metrics_folder: Path | None = None,
    backfill: BackfillSettings | None = None,
    launcher: Launcher | None = None,
    owns_process: bool = False,
) -> FastAPI:
    """Build the app; nothing is opened, read or started before its lifespan.

    Without a database, backtests, trials and the audit log are forgotten at the end of the
    lifespan. Workers that share their metrics do so in ``metrics_folder``. Without a launcher no
    backfill is taken. ``owns_process``: nothing else lives in it (``serving.collection``).
    """
    measures = Metrics(metrics_folder)
    kept = open_cache(settings, measures.cache.observe)
    database = database or Database.in_memory()
    guard = _guard(settings, database)
    tracing = Tracing(settings.otlp_endpoint, _version())
    store = ModelStore(registry, alias=settings.alias, load=load, metrics=measures)
    services = Services(
        settings=settings,
        lake=lake,
        book=book,
        models=store,
        metrics=measures,
        compute=ComputeService(settings, measures.compute),
        backtests=BacktestService(settings, measures.compute, database),
        labels=LabelService(lake, resident_bytes=settings.labels_resident_bytes, cache=kept),
        cache=kept,
        candles=CandleLabels(lake, kept, code_version=_version()),
        windows=Windows(measures, kept),
        backfills=_backfills(backfill or BackfillSettings(), database, measures, launcher),
        version=_version(),
        started_at=dt.datetime.now(dt.UTC),
    )
    app = bare_app(_lifespan(services, guard, tracing, owns_process=owns_process))
    errors.install(app)
    _add_middleware(app, settings, measures, guard, tracing)
    return app


def _backfills(
    settings: BackfillSettings, database: Database, measures: Metrics, launcher: Launcher | None
) -> BackfillService:
    jobs = BackfillJobs(
        database, owner=str(uuid.uuid4()), lease_s=settings.lease_s, start_s=settings.start_s
    )
    return BackfillService(jobs, settings, measures.backfills, launcher)


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


def _add_middleware(
    app: FastAPI, settings: ServingSettings, measures: Metrics, guard: Guard, tracing: Tracing
) -> None:
    """Put what every request passes around the app, the innermost first."""
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


def _add_cors(app: FastAPI, settings: ServingSettings) -> None:
    """Let pages of other origins ask, before they have a key."""
    origins = [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=[
                "X-API-Key",
                "Authorization",
                "Content-Type",
                "X-Request-ID",
                "X-Cache-Strategy",
                "If-None-Match",
            ],
            expose_headers=[
                "X-Request-ID",
                "Retry-After",
                "ETag",
                "X-Rate-Limit-Limit",
                "X-Rate-Limit-Remaining",
                "X-Rate-Limit-Reset",
                "X-Next-Cursor",
                "X-Cache-Hit",
                "X-Compute-Time-Ms",
            ],
        )


def _lifespan(
    services: Services, guard: Guard, tracing: Tracing, *, owns_process: bool
) -> LifespanOf:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        """Load the models by alias, follow the alias, warm the kernels, yield the typed state."""
        await anyio.to_thread.run_sync(services.models.refresh)
        await anyio.to_thread.run_sync(tracing.start)
        services.compute.start()
        services.backtests.start()
        services.backfills.start()
        if services.settings.compute_warm:
            services.labels.start()
        try:
            services.windows.take()
            with (
                settling(lambda: bool(services.warming)) if owns_process else nullcontext(),
                polling(services.models.refresh, every_s=services.settings.alias_poll_s),
                polling(services.windows.take, every_s=EVERY_S),
            ):
                yield {"services": services}
        finally:
            services.compute.close()
            await anyio.to_thread.run_sync(services.backfills.close)
            await guard.rates.aclose()
            await anyio.to_thread.run_sync(guard.trail.close)
            await anyio.to_thread.run_sync(tracing.close)
            await anyio.to_thread.run_sync(services.labels.close)
            await anyio.to_thread.run_sync(services.backtests.close)
            await services.candles.aclose()
            await services.cache.aclose()

    return lifespan
