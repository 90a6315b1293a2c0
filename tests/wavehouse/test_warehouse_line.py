"""The line over ClickHouse: made there, served from there, the same answers as from the lake."""

import json
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from typer.testing import CliRunner

from market.settings import (
    HomeSettings,
    LearningSettings,
    ServingSettings,
    StorageSettings,
    WarehouseSettings,
)
from serving import main
from storage.clickhouse import transfer
from storage.clickhouse.lake import open_warehouse
from storage.lake import ParquetLake
from tests.fakes import warehouses
from wavehouse import cli

pytestmark = pytest.mark.slow

MAY = {"instrument_id": "SYN", "start_date": "2017-05-01", "end_date": "2017-05-31"}
QUESTIONS = [
    MAY | {"granularity": "H4", "per_page": "200"},
    MAY | {"granularity": "H4", "label_types": "enhanced_triple_barrier", "sort": "ts_desc"},
    MAY | {"granularity": "D", "start_date": "2017-03-01"},
    MAY | {"granularity": "W"},
    MAY | {"granularity": "H4", "start_date": "2016-01-01", "end_date": "2016-02-01"},
]


def wavehouse(*words: str) -> Any:
    result = CliRunner().invoke(cli.app, [*words, "--json"])
    return json.loads(result.stdout) if result.stdout else pytest.fail(result.output)


def served(folder: Path, dsn: str) -> FastAPI:
    return main.build(
        ServingSettings(compute_warm=False, anonymous="all"),
        home=HomeSettings(home=folder, instruments=folder / "instruments.toml"),
        storage=StorageSettings(),
        learning=LearningSettings(),
        warehouse=WarehouseSettings(dsn=dsn),  # type: ignore[arg-type]
    )


def answers(client: TestClient) -> list[Any]:
    """Return status, body and entity tag of every question, and the versions that health names."""
    found = [client.get("/v1/labels", params=question) for question in QUESTIONS]
    newest = client.get("/health").json()["newest"]
    bodies = [r.json() if r.is_success else r.json()["error"]["code"] for r in found]
    tags = [r.headers.get("etag") for r in found]
    return [[r.status_code for r in found], bodies, tags, newest]


def test_what_is_made_in_clickhouse_is_what_is_made_in_the_lake_and_is_served_alike(
    filled: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    warehouses.need_engine()
    with warehouses.gateway(tmp_path_factory.mktemp("gateway")) as port:
        dsn = f"clickhouse://writer:secret@127.0.0.1:{port}/t{uuid.uuid4().hex}"
        monkeypatch.setenv("WAREHOUSE_DSN", dsn)
        made = wavehouse("materialize", "labels", "features", "-i", "SYN")
        assert (made["partitions"], made["out_of_date"]) == (39, 39)
        assert wavehouse("materialize", "labels", "features", "-i", "SYN")["out_of_date"] == 0
        assert not (home / "data" / "lake").exists()
        rows = {row["what"]: row for row in wavehouse("doctor")}
        assert rows["warehouse"]["found"].endswith("39 partitions")
        assert rows["lake SYN"]["found"] == "3 months, 2017-03 to 2017-05"

        store = open_warehouse(dsn)
        lake = ParquetLake(filled / "data" / "lake")
        assert list(transfer.verify(lake, store)) == []
        store.close()

        with TestClient(served(filled, "")) as ours:
            expected = answers(ours)
        with TestClient(served(home, dsn)) as theirs:
            found = answers(theirs)
    statuses, bodies, tags, newest = expected
    assert statuses == [200, 200, 200, 200, 404]
    assert len(bodies[0]["data"]) > 100
    assert all(tags[:4])
    assert len(newest) == 3  # H4, D and W
    assert found == expected


def test_a_warehouse_that_goes_away_is_a_503_and_health_says_so(
    home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    warehouses.need_engine()
    with ExitStack() as server:
        port = server.enter_context(warehouses.gateway(tmp_path_factory.mktemp("gateway")))
        app = served(home, f"clickhouse://reader:hunter2@127.0.0.1:{port}/market")
        with TestClient(app) as client:
            assert client.get("/health").status_code == 200
            assert client.get("/v1/labels", params=QUESTIONS[0]).status_code == 404
            server.close()
            health = client.get("/health")
            assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
            assert health.json()["checks"]["lake"]["status"] == "down"
            refused = client.get("/v1/labels", params=QUESTIONS[0])
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "STORAGE")
    assert "hunter2" not in health.text + refused.text
