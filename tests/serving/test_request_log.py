"""A request is a line of the log: with its id, its route and who asked, and without secrets."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from market import logs
from market.settings import LogSettings
from tests.serving.test_access import World, bearer, secret, token

BODY = {"symbol": "TCS", "prices": [1.0, 2.0, 3.0], "period": 2}


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    written = io.StringIO()
    logs.configure(LogSettings(level="DEBUG"), written)
    yield written
    root.setLevel(level)
    for handler in [h for h in root.handlers if h not in handlers]:
        root.removeHandler(handler)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with made.opened:
        yield made


def requests(stream: io.StringIO) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [line for line in found if line["logger"] == "wavehouse.requests"]


def test_a_request_is_one_line(world: World, stream: io.StringIO) -> None:
    key, row = world.keys.create("ann", ["read"])
    client = world.client(log_requests=True)
    client.get("/models?page=1", headers={"X-API-Key": key, "X-Request-ID": "mine"})
    client.post("/compute/sma", json=BODY)
    client.get("/wp-admin/x.php", headers={"X-API-Key": key})
    read, refused, unknown = requests(stream)
    assert 0 < read.pop("duration_ms") < 60_000
    assert read.pop("timestamp")
    assert read == {
        "event": "request", "level": "INFO", "logger": "wavehouse.requests", "method": "GET",
        "route": "/models", "path": "/models", "status": 200, "request_id": "mine",
        "principal": f"key:{row.key_id}:ann",
    }  # fmt: skip
    assert (refused["status"], refused["route"], refused["principal"]) == (
        401, "/compute/sma", "anonymous",
    )  # fmt: skip
    assert (unknown["status"], unknown["route"]) == (404, "unmatched")


def test_every_line_of_a_request_has_its_id_and_another_has_another(
    world: World, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _ = world.keys.create("ann", ["compute"])
    client = world.client(log_requests=True)

    def broken(*_: object, **__: object) -> None:
        logging.getLogger("wavehouse.lake").warning("on the way")
        raise RuntimeError("no")

    monkeypatch.setattr("serving.compute.service.computed", broken)
    for name in ("a", "b"):
        client.post("/compute/sma", json=BODY, headers={"X-API-Key": key, "X-Request-ID": name})
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    for name in ("a", "b"):
        loggers = {line["logger"] for line in found if line.get("request_id") == name}
        assert {"wavehouse.lake", "wavehouse.serving", "wavehouse.requests"} <= loggers


def test_a_setting_says_that_requests_are_not_told(world: World, stream: io.StringIO) -> None:
    world.client(log_requests=False).get("/models")
    assert requests(stream) == []


def test_neither_key_nor_token_is_ever_told(
    world: World, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _ = world.keys.create("ann", ["compute"])
    sent = token()
    client = world.client(log_requests=True, **secret())

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"X-API-Key: {key}, Authorization: Bearer {sent}")

    for headers in ({"X-API-Key": key}, bearer(sent), {"X-API-Key": key, **bearer(sent)}):
        client.post("/compute/sma", json=BODY, headers=headers)
        client.post(f"/compute/sma?api_key={key}", json=BODY, headers=headers)
        client.post(f"/compute/{key}", json=BODY, headers=headers)
    monkeypatch.setattr("serving.compute.service.computed", broken)
    body = {**BODY, "period": 3}
    assert client.post("/compute/sma", json=body, headers=bearer(sent)).status_code == 500
    written = stream.getvalue()
    assert "RuntimeError" in written
    for part in (key, sent, *sent.split(".")[1:], "s" * 32):
        assert part not in written
