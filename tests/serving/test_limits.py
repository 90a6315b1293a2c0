"""Limits that every route has: what a body may weigh, and how long it may take to come."""

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import Message, Receive, Scope, Send

from serving.metrics import Metrics
from serving.middleware import Limits, RequestMiddleware
from tests.serving.compute_world import JSON_TYPE, refusal
from tests.serving.fakes import WatchedLake, World
from tests.serving.test_access import routes

WRITES = sorted({x for x in routes() if x[0] in {"POST", "PUT", "PATCH", "DELETE"}})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("world"))
    limits = {"max_body_bytes": 1000, "compute_max_body_bytes": 1000}
    made.settings = made.settings.model_copy(update={**limits, "backtest_max_body_bytes": 1000})
    return made


def test_no_route_takes_a_body_beyond_its_limit(world: World) -> None:
    posts = {path for method, path in WRITES if method == "POST"}
    assert {"/predict", "/v1/labels/compute", "/compute/batch", "/backtest/run"} <= posts
    with world.client() as client:
        for method, path in WRITES:
            path = path.replace("/word", "/sma")  # noqa: PLW2901 - the word of a parameter
            pieces_of = (b" " * 500 for _ in range(3))
            declared = client.request(method, path, content=b" " * 1001, headers=JSON_TYPE)
            assert refusal(declared)[:2] == (413, "BODY_TOO_LARGE"), path
            if method == "DELETE":  # takes no body, so reads none
                continue
            pieces = client.request(method, path, content=pieces_of, headers=JSON_TYPE)
            # a route that says no before it reads is as good
            assert refusal(pieces)[0] in {404, 413, 415}, path


def answer_of(*messages: Message, more: bool) -> int | None:
    """Return the status of a request whose body comes so, and then nothing more."""
    sent: list[Message] = []
    waiting = list(messages)

    async def receive() -> Message:
        if waiting:
            return waiting.pop(0)
        await anyio.sleep(1 if more else 0.2)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def scenario() -> int | None:
        middleware = RequestMiddleware(
            ExceptionMiddleware(app),
            metrics=Metrics(),
            limits=Limits(100, 0.05, 20.0),
        )
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
        await middleware(scope, receive, send)
        return next((m["status"] for m in sent if "status" in m), None)

    return anyio.run(scenario)


def test_a_body_that_does_not_come_is_given_up_and_one_that_has_come_is_not() -> None:
    part = {"type": "http.request", "body": b"{", "more_body": True}
    whole = {"type": "http.request", "body": b"{}", "more_body": False}
    assert answer_of(part, whole, more=False) == 200  # waits for the caller to hang up
    assert answer_of(part, more=True) == 408


@pytest.mark.slow
def test_an_answer_that_does_not_begin_is_a_504_and_what_comes_later_goes_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = World(tmp_path)
    made.settings = made.settings.model_copy(update={"request_timeout_s": 3.0})
    released, ended = threading.Event(), threading.Event()
    months = WatchedLake.months

    def held(lake: WatchedLake, table: str, timeframe: str, instrument: str) -> Sequence[str]:
        assert released.wait(120.0)
        ended.set()
        return months(lake, table, timeframe, instrument)

    query = {"instrument_id": "EURUSD", "granularity": "H4"}
    dates = {"start_date": "2017-11-01", "end_date": "2017-12-01"}
    with made.client() as client:
        monkeypatch.setattr(WatchedLake, "months", held)
        late = client.get("/v1/labels", params={**query, **dates})
        assert refusal(late)[:2] == (504, "TIMEOUT")
        deadline = time.monotonic() + 60.0
        while client.get("/models").status_code != 200:  # others are answered
            assert time.monotonic() < deadline
        assert not ended.is_set()
        released.set()
        assert ended.wait(20.0)
        monkeypatch.undo()
        made.settings = made.settings.model_copy(update={"request_timeout_s": 20.0})
    with made.client() as client:
        assert client.get("/v1/labels", params={**query, **dates}).status_code == 200


def test_a_caller_who_hangs_up_ends_what_works_for_them() -> None:
    ended: list[str] = []

    async def app(*_: object) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("app")

    async def scenario() -> None:
        middleware = RequestMiddleware(app, metrics=Metrics(), limits=Limits(100, 20.0, 20.0))
        scope = {"type": "http", "method": "GET", "path": "/models", "headers": []}
        task = asyncio.ensure_future(middleware(scope, _nothing, _nothing))
        while not ended:
            await asyncio.sleep(0)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert ended == ["app"]


async def _nothing(*_: object) -> Message:
    return {"type": "http.disconnect"}
