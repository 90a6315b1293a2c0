"""The entry point: settings in, real parts built, uvicorn started."""

import math
import os
from pathlib import Path
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from market import logs
from market.instruments import load_instruments
from market.settings import (
    BackfillSettings,
    HomeSettings,
    LearningSettings,
    LogSettings,
    ServingSettings,
    StorageSettings,
    WarehouseSettings,
)
from serving.app import create_app
from serving.backfills.launching import ProcessLauncher

WORKER_BUSY_S: Final = 60  # one that does not stir for so long is replaced


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
        owns_process=True,
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


def tracking_uri(home: Path) -> str:
    """Return where the registry lies unless a setting says otherwise."""
    return f"sqlite:///{home.resolve() / 'mlruns' / 'mlflow.db'}"


def app() -> FastAPI:
    """Build the app from the environment: ``uvicorn --factory serving.main:app``."""
    logs.configure(LogSettings())
    return build(
        ServingSettings(),
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
    logs.configure(LogSettings())
    built = build(
        settings,
        home=home or HomeSettings(),
        storage=storage or StorageSettings(),
        learning=learning or LearningSettings(),
    )
    uvicorn.run(built, **server_options(settings))


def run_workers(workers: int, serving: ServingSettings | None = None) -> None:
    """Serve with several processes on one port, each built from the environment.

    Of the settings that are given, only the address reaches them. A worker that dies is replaced.
    """
    settings = serving or ServingSettings()
    logs.configure(LogSettings())
    config = uvicorn.Config(
        "serving.main:app",
        factory=True,
        workers=workers,
        timeout_worker_healthcheck=WORKER_BUSY_S,
        **server_options(settings),
    )
    _Workers(config, sockets=[config.bind_socket()]).run()


class _Workers(Multiprocess):
    """Uvicorn's, that stops listening as soon as it is asked to stop."""

    def terminate_all(self) -> None:
        """Close its own socket: connections that no worker takes any more would wait there."""
        for socket in self.sockets:
            socket.close()
        super().terminate_all()


def server_options(settings: ServingSettings) -> dict[str, Any]:
    """Return what uvicorn is told of a server with these settings."""
    return {
        "host": settings.host,
        "port": settings.port,
        "log_config": None,  # its lines are in our log
        "access_log": False,  # counted and timed by our own middleware
        "server_header": False,
        "proxy_headers": False,  # a setting of ours says who is believed
        "timeout_keep_alive": math.ceil(settings.keep_alive_s),
        "timeout_graceful_shutdown": math.ceil(settings.shutdown_s),
    }
