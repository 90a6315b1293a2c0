"""Spans go where a setting says; without one, what sends them is not even imported."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.collector import Collector
from tests.serving.compute_world import served
from tests.serving.test_access import World
from tests.serving.test_imports import packages_after

BODY = {"symbol": "TCS", "prices": [1.0, 2.0, 3.0], "period": 2}
ABOVE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNTRACED = """
import sys
from pathlib import Path
from tests.serving.compute_world import served

with served(Path(sys.argv[1])) as client:
    assert client.get("/models").status_code == 200
print(*sorted({".".join(name.split(".")[:2]) for name in sys.modules}))
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as made:
        yield made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with made.opened:
        yield made


def attributes(span: Any) -> dict[str, Any]:
    return {
        a.key: a.value.int_value if a.value.HasField("int_value") else a.value.string_value
        for a in span.attributes
    }


def test_a_request_is_a_span_with_its_route_and_id(world: World, collector: Collector) -> None:
    key, row = world.keys.create("ann", ["compute"])
    client = world.client(otlp_endpoint=collector.url + "/")
    client.post(
        "/compute/sma",
        json=BODY,
        headers={"X-API-Key": key, "X-Request-ID": "mine", "traceparent": ABOVE},
    )
    client.get("/models", headers={"traceparent": "nonsense"})
    world.opened.close()  # what waits is sent
    spans = collector.named(2)
    assert set(collector.paths) == {"/v1/traces"}
    span = spans["POST /compute/sma"]
    assert span.trace_id.hex() == ABOVE.split("-")[1]
    assert span.parent_span_id.hex() == ABOVE.split("-")[2]
    assert span.end_time_unix_nano > span.start_time_unix_nano
    assert attributes(span) == {
        "http.request.method": "POST", "http.route": "/compute/sma", "url.path": "/compute/sma",
        "http.response.status_code": 200, "wavehouse.request_id": "mine",
        "wavehouse.principal": f"key:{row.key_id}:ann",
    }  # fmt: skip
    refused = spans["GET /models"]
    assert attributes(refused)["http.response.status_code"] == 401
    assert not refused.parent_span_id


@pytest.mark.slow
def test_a_collector_that_is_away_costs_no_request(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with served(tmp_path, otlp_endpoint=url) as client:
            assert client.post("/compute/sma", json=BODY).status_code == 200


@pytest.mark.slow
def test_without_an_endpoint_nothing_of_it_is_imported(tmp_path: Path) -> None:
    imported = packages_after(UNTRACED, str(tmp_path))
    assert "starlette" in imported
    # FastAPI itself imports OpenTelemetry's interface, which does nothing
    assert "opentelemetry.trace" in imported
    assert not imported & {"opentelemetry.sdk", "opentelemetry.exporter", "redis", "structlog"}
