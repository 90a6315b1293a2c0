"""The REST app: routers, middleware and lifespan put together, everything handed in."""

import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
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
from serving.access.keys import KeyRing
from serving.access.middleware import AccessMiddleware
from serving.access.rules import rules
from serving.access.tokens import TokenVerifier
from serving.backtests.service import BacktestService
from serving.cached_labels import CandleLabels
from serving.caching import open_cache
from serving.compute.service import ComputeService
from serving.dependencies import Services
from serving.label_compute.service import LabelService
from serving.metrics import Metrics
from serving.metrics_windows import EVERY_S, Windows
from serving.middleware import RequestMiddleware
from serving.models import BundleLoader, ModelStore, polling
from serving.routers import (
    backtest,
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
from storage.api_keys import ApiKeys
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
        cache,
    ):
        app.include_router(part.router)
    return app


def create_app(  # noqa: PLR0913 - every part is handed in
    settings: ServingSettings,
    *,
    lake: Lake,
    registry: ModelRegistry,
    book: InstrumentBook | None = None,
    database: Database | None = None,
    load: BundleLoader = Bundle.load,
    metrics_folder: Path | None = None,
) -> FastAPI:
    """Build the app; nothing is opened, read or started before its lifespan.

    Without a database, backtests and trials are forgotten at the end of the lifespan. Workers that
    share their metrics do so in ``metrics_folder``.
    """
    measures = Metrics(metrics_folder)
    kept = open_cache(settings, measures.cache.observe)
    database = database or Database.in_memory()
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
        candles=CandleLabels(lake, kept, code_version=version("wavehouse")),
        windows=Windows(measures, kept),
        version=version("wavehouse"),
        started_at=dt.datetime.now(dt.UTC),
    )
    app = bare_app(_lifespan(services))
    errors.install(app)
    _guard(app, settings, database)
    app.add_middleware(
        RequestMiddleware,
        metrics=measures,
        max_body_bytes=settings.max_body_bytes,
        larger={
            "/compute/": settings.compute_max_body_bytes,
            "/backtest/": settings.backtest_max_body_bytes,
        },
    )
    if settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=settings.trusted_proxies)
    return app


def _guard(app: FastAPI, settings: ServingSettings, database: Database) -> None:
    """Let in who may come in; a page of another origin asks (CORS) before it has a key."""
    app.add_middleware(
        AccessMiddleware,
        keys=KeyRing(ApiKeys(database), remember_s=settings.key_remember_s),
        tokens=TokenVerifier(settings),
        rules=rules(
            probes=settings.open_health, metrics=settings.open_metrics, docs=settings.open_docs
        ),
        anonymous=settings.anonymous,
    )
    origins = [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["X-API-Key", "Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After", "ETag"],
        )


def _lifespan(services: Services) -> LifespanOf:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        """Load the models by alias, follow the alias, warm the kernels, yield the typed state."""
        await anyio.to_thread.run_sync(services.models.refresh)
        services.compute.start()
        services.backtests.start()
        if services.settings.compute_warm:
            services.labels.start()
        try:
            services.windows.take()
            with (
                polling(services.models.refresh, every_s=services.settings.alias_poll_s),
                polling(services.windows.take, every_s=EVERY_S),
            ):
                yield {"services": services}
        finally:
            services.compute.close()
            await anyio.to_thread.run_sync(services.labels.close)
            await anyio.to_thread.run_sync(services.backtests.close)
            await services.candles.aclose()
            await services.cache.aclose()

    return lifespan
