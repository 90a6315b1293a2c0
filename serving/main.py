"""The entry point: settings in, real parts built, uvicorn started."""

import math
from pathlib import Path
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from market import logs
from market.instruments import load_instruments
from market.settings import (
    HomeSettings,
    LearningSettings,
    LogSettings,
    ServingSettings,
    StorageSettings,
)
from serving.app import create_app

WORKER_BUSY_S: Final = 60  # one that does not stir for so long is replaced


def build(
    serving: ServingSettings,
    *,
    home: HomeSettings,
    storage: StorageSettings,
    learning: LearningSettings,
) -> FastAPI:
    """Return the app over the Parquet lake and the model registry of these settings."""
    from learning.registry import open_registry  # noqa: PLC0415 - heavy parts only where they run
    from storage.database import Database  # noqa: PLC0415
    from storage.lake import ParquetLake  # noqa: PLC0415

    lake = ParquetLake(
        home.lake_root, retention_versions=storage.retention_versions, fsync=storage.fsync
    )
    return create_app(
        serving,
        lake=lake,
        registry=open_registry(learning.tracking_uri or tracking_uri(home.home)),
        book=load_instruments(home.instruments),
        database=Database(storage.database_url.get_secret_value())
        if storage.database_url.get_secret_value()
        else Database.at(home.database),
    )


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
    uvicorn.run(built, **_options(settings))


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
        **_options(settings),
    )
    _Workers(config, sockets=[config.bind_socket()]).run()


class _Workers(Multiprocess):
    """Uvicorn's, that stops listening as soon as it is asked to stop."""

    def terminate_all(self) -> None:
        """Close its own socket: connections that no worker takes any more would wait there."""
        for socket in self.sockets:
            socket.close()
        super().terminate_all()


def _options(settings: ServingSettings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "log_config": None,  # its lines are in our log
        "access_log": False,  # counted and timed by our own middleware
        "server_header": False,
        "proxy_headers": False,  # a setting of ours says who is believed
        "timeout_graceful_shutdown": math.ceil(settings.shutdown_s),
    }
