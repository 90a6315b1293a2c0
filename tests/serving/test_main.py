"""The entry point over the real lake, the real registry and the real instruments file."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from learning.bundle import BUNDLE_FILE
from learning.registry import BUNDLE_FOLDER
from market.settings import HomeSettings, LearningSettings, ServingSettings, StorageSettings
from serving import main
from serving.schemas import ErrorResponse
from tests.serving.fakes import World, mlflow_home

INSTRUMENTS = Path(__file__).resolve().parents[2] / "instruments.toml"
SERIES = {"instrument": "EURUSD", "timeframe": "H4"}


def _home(folder: Path) -> HomeSettings:
    return HomeSettings(home=folder, instruments=INSTRUMENTS)


def _build(folder: Path) -> FastAPI:
    return main.build(
        ServingSettings(alias_poll_s=0.01, compute_warm=False, anonymous="all"),
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
        deadline = time.monotonic() + 30
        while (health := client.get("/health").json())["status"] != "degraded":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert "version 2" in health["checks"]["models"]["message"]
        assert client.post("/predict", json=SERIES).json()["version"] == 1


def _forget_alias(home: Path) -> None:
    with closing(sqlite3.connect(home / "mlruns" / "mlflow.db")) as connection, connection:
        connection.execute("DELETE FROM registered_model_aliases")


def _lose_artefact(home: Path) -> None:
    (home / "mlruns" / "artifacts" / "1" / BUNDLE_FOLDER / BUNDLE_FILE).unlink()


def _damage_artefact(home: Path) -> None:
    (home / "mlruns" / "artifacts" / "1" / BUNDLE_FOLDER / BUNDLE_FILE).write_text('{"format": 1')


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "status", "code", "reason"),
    [
        (_forget_alias, 404, "MODEL_NOT_FOUND", "expected one with the alias champion, was none"),
        (_lose_artefact, 503, "MODEL_NOT_READY", "baseline version 1: expected bundle.json in"),
        (_damage_artefact, 503, "MODEL_NOT_READY", "ModelArtefactError: bundle"),
    ],
)
@pytest.mark.parametrize("asked", [{}, {"model": "baseline"}, {"model_type": "first_passage"}])
def test_no_alias_is_a_404_and_no_artefact_a_503(
    tmp_path: Path,
    harm: Callable[[Path], None],
    status: int,
    code: str,
    reason: str,
    asked: dict[str, str],
) -> None:
    World(tmp_path / "data")
    mlflow_home(tmp_path)
    harm(tmp_path)
    with TestClient(_build(tmp_path)) as client:
        refused = client.post("/predict", json=SERIES | asked)
        models = client.get("/health").json()["checks"]["models"]
    assert refused.status_code == status
    error = ErrorResponse.model_validate_json(refused.content).error
    assert error.code == code
    assert str(tmp_path) not in refused.text
    assert reason in models["message"]


def test_a_request_that_the_lost_model_may_have_answered_is_a_503(tmp_path: Path) -> None:
    World(tmp_path / "data")
    database = mlflow_home(tmp_path)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(
            """
            INSERT INTO registered_models VALUES ('default', 'trees');
            INSERT INTO registered_model_aliases VALUES ('default', 'trees', 'champion', 1);
            INSERT INTO model_versions
                VALUES ('default', 'trees', 1, 'run2', '/nowhere', NULL, 'None');
            """
        )
    with TestClient(_build(tmp_path)) as client:
        served = client.post("/predict", json=SERIES)
        lost = client.post("/predict", json=SERIES | {"model_type": "xgboost"})
        unknown = client.post("/predict", json=SERIES | {"model": "nobody"})
    assert served.json()["model"] == "baseline"
    assert (lost.status_code, lost.json()["error"]["code"]) == (503, "MODEL_NOT_READY")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "MODEL_NOT_FOUND")


def test_run_serves_on_the_configured_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    def serve(app: FastAPI, **options: object) -> None:
        asked.update(options, title=app.title)

    monkeypatch.setattr(uvicorn, "run", serve)
    settings = ServingSettings(host="127.0.0.9", port=0, keep_alive_s=90.5)
    main.run(settings, home=_home(tmp_path))
    assert (asked["title"], asked["host"], asked["port"]) == ("Wavehouse", "127.0.0.9", 0)
    assert asked["timeout_keep_alive"] == 91
