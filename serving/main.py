"""The entry point: settings in, real parts built, uvicorn started."""

import logging
import os
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from market.instruments import load_instruments
from market.settings import (
    BackfillSettings,
    HomeSettings,
    LearningSettings,
    ServingSettings,
    StorageSettings,
    WarehouseSettings,
)
from serving.app import create_app
from serving.backfills.launching import ProcessLauncher
from serving.routers import counted


def build(
    serving: ServingSettings,
    *,
    home: HomeSettings,
    storage: StorageSettings,
    learning: LearningSettings,
    backfill: BackfillSettings | None = None,
    warehouse: WarehouseSettings | None = None,
) -> FastAPI:
    """Return the app over the store and the model registry of these settings."""
    from learning.registry import open_registry  # noqa: PLC0415 - heavy parts only where they run
    from storage.database import Database  # noqa: PLC0415
    from storage.opening import open_store  # noqa: PLC0415

    backfill = backfill or BackfillSettings()
    lake = open_store(home, storage, warehouse or WarehouseSettings())
    return create_app(
        serving,
        lake=lake,
        registry=open_registry(learning.tracking_uri or tracking_uri(home.home)),
        book=load_instruments(home.instruments),
        database=Database(storage.database_url.get_secret_value())
        if storage.database_url.get_secret_value()
        else Database.at(home.database),
        metrics_folder=metrics_folder(os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")),
        backfill=backfill,
        launcher=ProcessLauncher(
            home.backfill_logs,
            backfill.plan_timeout_s,
            {
                "WAVEHOUSE_HOME": str(home.home.resolve()),
                "WAVEHOUSE_INSTRUMENTS": str(home.instruments.resolve()),
                "WAVEHOUSE_STORAGE_DATABASE_URL": storage.database_url.get_secret_value(),
            },
        ),
    )


def metrics_folder(named: str) -> Path | None:
    """Return the folder in which workers share their metrics, made if it must be.

    The name of the variable is ``prometheus_client``'s, which reads it by itself.
    """
    if not named:
        return None
    folder = Path(named)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def request_log(settings: ServingSettings) -> None:
    """Write one JSON line a computation to standard error, if a setting says so."""
    if not settings.log_requests:
        return
    lines = logging.getLogger(counted.REQUEST_LOG)
    if not lines.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        lines.addHandler(handler)
    lines.setLevel(logging.INFO)
    lines.propagate = False


def tracking_uri(home: Path) -> str:
    """Return where the registry lies unless a setting says otherwise."""
    return f"sqlite:///{home.resolve() / 'mlruns' / 'mlflow.db'}"


def app() -> FastAPI:
    """Build the app from the environment: ``uvicorn --factory serving.main:app``."""
    settings = ServingSettings()
    request_log(settings)
    return build(
        settings,
        home=HomeSettings(),
        storage=StorageSettings(),
        learning=LearningSettings(),
    )


def run(
    serving: ServingSettings | None = None,
    *,
    home: HomeSettings | None = None,
    storage: StorageSettings | None = None,
    learning: LearningSettings | None = None,
) -> None:
    """Serve until interrupted; a setting that is not given comes from the environment."""
    settings = serving or ServingSettings()
    built = build(
        settings,
        home=home or HomeSettings(),
        storage=storage or StorageSettings(),
        learning=learning or LearningSettings(),
    )
    request_log(settings)
    uvicorn.run(
        built,
        host=settings.host,
        port=settings.port,
        access_log=False,  # counted and timed by our own middleware
        server_header=False,
        proxy_headers=False,  # a setting of ours says who is believed
    )
