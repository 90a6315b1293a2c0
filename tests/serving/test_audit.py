"""Who changed what and who was refused is written down, and refusals fill no disk."""

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from market.errors import StorageError
from serving.access import audit
from serving.access.audit import OF_A_CALLER, AuditTrail, Sampler
from storage.audit_log import AuditEvent, AuditFilter, AuditLog
from storage.database import Database
from tests.serving.test_access import World

REFUSED = AuditEvent("anonymous", "192.0.2.1", "GET", "/models", 401, "req_1")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with made.opened:
        yield made


def written(world: World) -> list[AuditEvent]:
    """End the app, so that all is written; return the events, oldest first."""
    world.opened.close()
    rows = AuditLog(world.database).read(AuditFilter(), limit=1000)
    world.database.close()
    return [row.event for row in reversed(rows)]


def test_a_change_is_written_before_its_answer_leaves(world: World) -> None:
    key, row = world.keys.create("ann", ["write"])
    client = world.client()
    answer = client.delete(
        "/v1/cache/nothing?secret=hunter2", headers={"X-API-Key": key, "X-Request-ID": "mine"}
    )
    (found,) = AuditLog(world.database).read(AuditFilter())
    assert found.event == AuditEvent(
        f"key:{row.key_id}:ann", "198.51.100.7", "DELETE", "/v1/cache/nothing",
        answer.status_code, "mine",
    )  # fmt: skip


def test_reading_and_computing_write_nothing(world: World) -> None:
    key, _ = world.keys.create("ann", ["read", "compute"])
    client = world.client()
    assert client.get("/models", headers={"X-API-Key": key}).status_code == 200
    body = {"symbol": "TCS", "prices": [1.0, 2.0, 3.0], "period": 2}
    assert client.post("/compute/sma", json=body, headers={"X-API-Key": key}).status_code == 200
    assert client.get("/health").status_code == 200
    assert written(world) == []


def test_refusals_are_written_with_who_and_why(world: World) -> None:
    key, row = world.keys.create("ann", ["read"])
    client = world.client(default_rate_limit="2/year")
    client.get("/models", headers={"X-API-Key": "wh_wrong"})
    client.post("/models/update", headers={"X-API-Key": key})
    client.get("/models", headers={"X-API-Key": key})
    client.get("/models", headers={"X-API-Key": key})
    ann = f"key:{row.key_id}:ann"
    assert [(e.status, e.principal, e.path) for e in written(world)] == [
        (401, "anonymous", "/models"),
        (403, ann, "/models/update"),
        (429, ann, "/models"),
    ]


def test_a_change_that_breaks_is_written_as_that(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _ = world.keys.create("ann", ["write"])
    client = world.client()

    async def broken(*_: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(client.app.router, "app", broken)  # type: ignore[attr-defined]
    monkeypatch.setattr(type(client.app.router), "__call__", broken)  # type: ignore[attr-defined]
    assert client.post("/models/update", headers={"X-API-Key": key}).status_code == 500
    monkeypatch.undo()
    assert [event.status for event in written(world)] == [500]


def test_a_flood_of_refusals_is_a_few_rows_that_say_how_many(world: World) -> None:
    client = world.client()
    for _ in range(3 * OF_A_CALLER):
        assert client.get("/models").status_code == 401
    assert len(written(world)) == OF_A_CALLER


def test_what_was_left_out_is_said_by_the_next_row() -> None:
    now = [0.0]
    sampler = Sampler(clock=lambda: now[0])
    rows = [sampler.sampled(REFUSED) for _ in range(OF_A_CALLER + 5)]
    assert sum(row is not None for row in rows) == OF_A_CALLER
    other = replace(REFUSED, address="192.0.2.2")
    assert sampler.sampled(other) == other
    now[0] = 60.0
    assert sampler.sampled(REFUSED) == replace(REFUSED, left_out=5)
    assert sampler.sampled(REFUSED) == REFUSED


def test_many_callers_together_are_bounded_too() -> None:
    sampler = Sampler(clock=lambda: 0.0)
    events = [replace(REFUSED, address=f"192.0.{i // 256}.{i % 256}") for i in range(2000)]
    assert sum(sampler.sampled(event) is not None for event in events) == audit.OF_ALL


def test_a_log_that_takes_nothing_is_told_and_refuses_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key, _ = world.keys.create("ann", ["write"])
    client = world.client()

    def away(*_: object) -> None:
        raise StorageError("database: expected an answer, was none")

    monkeypatch.setattr(AuditLog, "append", away)
    with caplog.at_level(logging.ERROR, logger="wavehouse.audit"):
        answer = client.post("/v1/cache/nothing", headers={"X-API-Key": key})
    assert answer.status_code == 404
    assert any("/v1/cache/nothing" in r.getMessage() for r in caplog.records)


def test_the_log_is_pruned_as_it_grows(tmp_path: Path) -> None:
    database = Database.at(tmp_path / "wavehouse.db")
    log = AuditLog(database, max_rows=5)
    log.append([REFUSED] * 20)
    trail = AuditTrail(log)
    trail.refused(REFUSED)
    trail.close()
    assert len(log.read(AuditFilter())) == 5
    trail.refused(REFUSED)  # a trail that was closed begins again
    trail.close()
    assert log.read(AuditFilter())[0].audit_id == 22
    database.close()


def test_a_change_that_was_given_up_is_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _ = world.keys.create("ann", ["write"])
    client = world.client(request_timeout_s=0.2)

    async def held(*_: Any) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(type(client.app.router), "__call__", held)  # type: ignore[attr-defined]
    assert client.post("/models/update", headers={"X-API-Key": key}).status_code == 504
    deadline = time.monotonic() + 20.0
    while not (rows := AuditLog(world.database).read(AuditFilter())):  # the answer does not wait
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert [row.event.status for row in rows] == [504]
