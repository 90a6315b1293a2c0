"""The entry point over the real lake, the real registry and the real instruments file."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from market.settings import HomeSettings, LearningSettings, ServingSettings, StorageSettings
from serving import main
from tests.serving.fakes import World, mlflow_home

INSTRUMENTS = Path(__file__).resolve().parents[2] / "instruments.toml"
SERIES = {"instrument": "EURUSD", "timeframe": "H4"}


def _home(folder: Path) -> HomeSettings:
    return HomeSettings(home=folder, instruments=INSTRUMENTS)


def _build(folder: Path) -> FastAPI:
    return main.build(
        ServingSettings(alias_poll_s=0.01),
        home=_home(folder),
        storage=StorageSettings(),
        learning=LearningSettings(),
    )


def test_the_real_parts_answer(tmp_path: Path) -> None:
    World(tmp_path / "data")
    mlflow_home(tmp_path)
    with TestClient(_build(tmp_path)) as client:
        assert client.get("/health").json()["status"] == "healthy"
        answer = client.post("/predict", json=SERIES).json()
    assert (answer["model"], answer["version"], answer["run_id"]) == ("baseline", 1, "run1")
    assert answer["feature_data"]["path"] == "features/H4/EURUSD/2018-01"


def test_a_home_with_nothing_in_it_starts_and_says_so(tmp_path: Path) -> None:
    with TestClient(_build(tmp_path)) as client:
        health = client.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "degraded")
    assert not (tmp_path / "mlruns").exists()


def test_an_alias_on_a_version_without_a_bundle_keeps_the_old_one(tmp_path: Path) -> None:
    World(tmp_path / "data")
    database = mlflow_home(tmp_path)
    app = _build(tmp_path)
    with TestClient(app) as client:
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute(
                "INSERT INTO model_versions VALUES "
                "('default', 'baseline', 2, 'run2', '/nowhere', NULL, 'None')"
            )
            connection.execute("UPDATE registered_model_aliases SET version = 2")
        for _ in range(10_000):
            health = client.get("/health").json()
            if health["status"] == "degraded":
                break
        assert "version 2" in health["checks"]["models"]["message"]
        assert client.post("/predict", json=SERIES).json()["version"] == 1


def test_run_serves_on_the_configured_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    def serve(app: FastAPI, **options: object) -> None:
        asked.update(options, title=app.title)

    monkeypatch.setattr(uvicorn, "run", serve)
    main.run(ServingSettings(host="127.0.0.9", port=0), home=_home(tmp_path))
    assert (asked["title"], asked["host"], asked["port"]) == ("Wavehouse", "127.0.0.9", 0)
