"""Where a label is computed: on the event loop if nothing is to be waited for, else in a thread."""

import gc
import inspect
import time
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.testclient import TestClient

from serving import collection
from serving.app import bare_app
from serving.backtests import service as backtests
from serving.compute import warmth as indicators
from serving.label_compute import service
from serving.routers import label_compute
from storage.lake import ParquetLake
from tests.serving.label_world import LabelWorld, candle_of

BYPASS = {"X-Cache-Strategy": "bypass_cache"}


class Threads:
    """What the route hands over."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    async def run_sync(self, call: Callable[[], Any]) -> Any:
        """Note it, and do it."""
        self.taken.append(call.__name__)
        return call()


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    found = Threads()
    monkeypatch.setattr(label_compute, "to_thread", found)
    return found


@pytest.fixture(autouse=True)
def labels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no other kernels be compiled."""
    monkeypatch.setattr(backtests, "warm", lambda _: None)
    monkeypatch.setattr(indicators, "warm", lambda _: None)


@pytest.fixture
def warm_client(label_world: LabelWorld) -> Iterator[TestClient]:
    """Serve with the kernels of labels compiled."""
    with label_world.client(compute_warm=True) as client:
        _wait(client)
        yield client


def _wait(client: TestClient) -> None:
    """Wait until the kernels are compiled; a test's own time limit ends it."""
    while client.get("/health").json()["checks"]["kernels"]["status"] != "ok":
        time.sleep(0.02)


def _ask(client: TestClient, world: LabelWorld, **options: Any) -> dict[str, Any]:
    row = world.rows("candles").row(200, named=True)
    body = {
        "instrument_id": "BTC", "granularity": "H4", "candle": candle_of(row), "options": options
    }  # fmt: skip
    response = client.post("/v1/labels/compute", json=body, headers=BYPASS)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return {k: x for k, x in found.items() if k != "computation_time_ms"}


def test_a_thread_decodes_and_the_loop_computes_what_is_decoded(
    label_world: LabelWorld, warm_client: TestClient, threads: Threads
) -> None:
    first = _ask(warm_client, label_world)
    assert threads.taken == ["compute"]
    assert _ask(warm_client, label_world) == first
    assert threads.taken == ["compute"]


@pytest.mark.parametrize("most", ["GIVEN_AT_ONCE", "BARS_AT_ONCE"])
def test_what_takes_long_leaves_the_loop(
    label_world: LabelWorld,
    warm_client: TestClient,
    threads: Threads,
    monkeypatch: pytest.MonkeyPatch,
    most: str,
) -> None:
    first = _ask(warm_client, label_world)
    threads.taken.clear()
    monkeypatch.setattr(service, most, -1)
    assert _ask(warm_client, label_world) == first
    assert threads.taken == [{"GIVEN_AT_ONCE": "resolve", "BARS_AT_ONCE": "compute"}[most]]


def test_a_lake_on_a_network_is_asked_in_a_thread(
    label_world: LabelWorld, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = label_world.line.lake
    assert isinstance(lake, ParquetLake)
    monkeypatch.setattr(lake, "is_near", False)
    app = label_world.app(compute_warm=True)
    with TestClient(app) as client:
        _wait(client)
        _ask(client, label_world)
        _ask(client, label_world)
    assert threads.taken == ["resolve", "compute", "resolve"]


def test_kernels_that_are_not_compiled_are_compiled_in_a_thread(
    label_world: LabelWorld, label_client: TestClient, threads: Threads
) -> None:
    for _ in range(2):
        _ask(label_client, label_world)
    assert threads.taken == ["resolve", "compute"] * 2


def test_no_dependency_of_a_route_takes_a_thread() -> None:
    def of(dependant: Dependant) -> Iterator[Dependant]:
        for inner in dependant.dependencies:
            yield inner
            yield from of(inner)

    routes = [x for x in iter_route_contexts(bare_app().routes) if isinstance(x.route, APIRoute)]
    found = [inner for x in routes for inner in of(x.route.dependant)]
    assert found
    assert not [x.call for x in found if not inspect.iscoroutinefunction(x.call)]


def test_what_lives_as_long_as_the_process_is_left_out_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left_out: list[bool] = []
    warm = [True, True, False, False]
    monkeypatch.setattr(collection, "leave_out", lambda: left_out.append(warm[0]))
    monkeypatch.setattr(collection, "_EVERY_S", 0.0)

    async def scenario() -> None:
        with collection.settling(lambda: warm.pop(0) if len(warm) > 1 else warm[0]):
            await anyio.wait_all_tasks_blocked()

    anyio.run(scenario)
    assert left_out == [True, False]


def test_what_is_left_out_is_not_looked_at_again() -> None:
    before = gc.get_freeze_count()
    kept = [[] for _ in range(1000)]  # type: ignore[var-annotated]
    try:
        collection.leave_out()
        assert gc.get_freeze_count() >= before + len(kept)
    finally:
        gc.unfreeze()
        if before:
            gc.freeze()
