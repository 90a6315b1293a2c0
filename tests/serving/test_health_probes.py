"""``/v1/health`` and its probes: what is critical, what only degrades, what hangs."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from market.errors import StorageError
from serving.app import create_app
from storage.database import Database
from tests.serving.fakes import WatchedLake, World, book


class HangingLake(WatchedLake):
    """A lake on a network folder whose server went away: whoever asks waits."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.let_go = threading.Event()
        self.asked = 0

    def months(self, table: str, timeframe: str, instrument: str) -> Sequence[str]:
        """Wait, then list."""
        self.asked += 1
        self.let_go.wait(20.0)
        return super().months(table, timeframe, instrument)


def serving(world: World, **changes: Any) -> TestClient:
    parts = {"lake": world.lake, "database": None} | changes
    settings = world.settings.model_copy(update=parts.pop("settings", {}))
    return TestClient(create_app(settings, registry=world.registry, book=book(), **parts))


def test_both_paths_tell_the_same(client: TestClient) -> None:
    one, other = client.get("/health").json(), client.get("/v1/health").json()
    assert one["status"] == other["status"] == "healthy"
    assert one["checks"] == other["checks"]
    assert "redis" not in one["checks"]  # none is configured


def test_ready_and_live_when_all_is_well(client: TestClient) -> None:
    ready, live = client.get("/v1/health/ready"), client.get("/v1/health/live")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert set(ready.json()["checks"]) == {"lake", "database"}
    assert (live.status_code, live.json()["status"]) == (200, "alive")
    assert live.json()["uptime_s"] > 0


@pytest.mark.parametrize("path", ["/health", "/v1/health", "/v1/health/ready"])
def test_a_lake_that_is_down_is_a_503_and_the_process_lives(world: World, path: str) -> None:
    world.register(1)
    world.lake.failure = StorageError(f"lake: {world.folder}")
    with serving(world) as client:
        response = client.get(path)
        assert client.get("/v1/health/live").status_code == 200
    assert response.status_code == 503
    assert response.json()["status"] in {"unhealthy", "not_ready"}
    assert response.json()["checks"]["lake"]["status"] == "down"
    assert str(world.folder) not in response.text


@pytest.mark.parametrize("path", ["/v1/health", "/v1/health/ready"])
def test_a_database_that_is_down_is_a_503(world: World, path: str) -> None:
    world.register(1)
    with serving(world, database=Database("postgresql://w@127.0.0.1:1/none")) as client:
        response = client.get(path)
        assert client.get("/v1/health/live").status_code == 200
    assert response.status_code == 503
    assert response.json()["checks"]["database"]["status"] == "down"
    assert "127.0.0.1" not in response.text


def test_a_model_that_is_missing_does_not_make_it_unready(world: World) -> None:
    with serving(world) as client:
        assert client.get("/v1/health").json()["status"] == "degraded"
        assert client.get("/v1/health/ready").status_code == 200


def test_redis_that_is_down_degrades_and_is_not_critical(world: World) -> None:
    world.register(1)
    changes = {"redis_url": SecretStr("redis://127.0.0.1:1/0")}
    with serving(world, settings=changes) as client:
        health, ready = client.get("/v1/health"), client.get("/v1/health/ready")
    assert (health.status_code, health.json()["status"]) == (200, "degraded")
    assert health.json()["checks"]["redis"]["status"] == "degraded"
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")


def test_a_lake_that_hangs_holds_nobody_and_is_asked_once(world: World) -> None:
    world.register(1)
    lake = HangingLake(world.folder / "lake")
    with serving(world, lake=lake, settings={"health_timeout_s": 0.05}) as client:
        started = time.monotonic()
        for _ in range(5):
            response = client.get("/v1/health/ready")
            assert response.status_code == 503
            message = response.json()["checks"]["lake"]["message"]
            assert message == "lake: expected an answer in 0.05 s, was none"
        assert time.monotonic() - started < 10.0
        assert lake.asked == 1
        lake.let_go.set()
        deadline = time.monotonic() + 20.0
        while client.get("/v1/health/ready").status_code != 200:
            assert time.monotonic() < deadline
