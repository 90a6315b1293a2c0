"""Limits that every route has: what a body may weigh, and how long it may take to come."""

import anyio
import pytest
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import Message, Receive, Scope, Send

from serving.metrics import Metrics
from serving.middleware import RequestMiddleware
from tests.serving.compute_world import JSON_TYPE, refusal
from tests.serving.fakes import World
from tests.serving.test_access import routes

POSTS = sorted({path for method, path in routes() if method in {"POST", "PUT", "PATCH", "DELETE"}})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("world"))
    limits = {"max_body_bytes": 1000, "compute_max_body_bytes": 1000}
    made.settings = made.settings.model_copy(update={**limits, "backtest_max_body_bytes": 1000})
    return made


def test_no_route_takes_a_body_beyond_its_limit(world: World) -> None:
    assert {"/predict", "/v1/labels/compute", "/compute/batch", "/backtest/run"} <= set(POSTS)
    with world.client() as client:
        for path in POSTS:
            path = path.replace("/word", "/sma")  # noqa: PLW2901 - the word of a parameter
            declared = client.post(path, content=b" " * 1001, headers=JSON_TYPE)
            assert refusal(declared)[:2] == (413, "BODY_TOO_LARGE"), path
            pieces = client.post(path, content=(b" " * 500 for _ in range(3)), headers=JSON_TYPE)
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
            ExceptionMiddleware(app), metrics=Metrics(), max_body_bytes=100, body_timeout_s=0.05
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
