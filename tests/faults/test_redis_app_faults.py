"""Redis stopped, killed, paused, full, replaced by a babbler, in the middle of a load on the app.

Slower, never wrong, never a 5xx: every answer is compared with the one that no cache has seen.
"""

import random
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
import redis
from pydantic import SecretStr
from starlette.testclient import TestClient

from serving.app import create_app
from storage.cache_keys import unframe
from tests.fakes.redis_server import RedisServer
from tests.serving.fakes import World, book, opens

pytestmark = pytest.mark.slow

PATHS = [
    f"/v1/labels/EURUSD/H4/{ts.isoformat()}"
    for month in ("2017-11", "2017-12", "2018-01")
    for ts in opens(month, 10)
]
DEADLINE_S = 60.0


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a lake with labels."""
    return World(tmp_path)


@contextmanager
def serving(world: World, url: str, **changes: Any) -> Iterator[TestClient]:
    """Serve without memory of its own, so that Redis is asked each time."""
    updated = {"redis_url": SecretStr(url), "cache_bytes": 0} | changes
    settings = world.settings.model_copy(update=updated)
    app = create_app(settings, lake=world.lake, registry=world.registry, book=book())
    with TestClient(app) as client:
        yield client


class Load:
    """Threads that ask for labels until the end, and what they were told."""

    def __init__(self, client: TestClient) -> None:
        self._client = client
        past = {"X-Cache-Strategy": "bypass_cache"}
        self.truth = {path: client.get(path, headers=past).content for path in PATHS}
        self.asked = self.hits = 0
        self.wrong: list[tuple[int, str]] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(4)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE_S)

    def reach(self, more: int, count: Callable[[], int] | None = None) -> None:
        """Wait until so many more were asked (or counted)."""
        count = count or (lambda: self.asked)
        target, deadline = count() + more, time.monotonic() + DEADLINE_S
        while count() < target:
            assert time.monotonic() < deadline, "the load stands still"
            assert not self.wrong, self.wrong[0]
            time.sleep(0.005)

    def reach_hits(self, more: int) -> None:
        """Wait until Redis has answered so many more."""
        self.reach(more, lambda: self.hits)

    def _ask(self, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - which page, no secret
        while not self._stop.is_set():
            path = chance.choice(PATHS)
            answer = self._client.get(path)
            with self._lock:
                self.asked += 1
                self.hits += answer.headers.get("X-Cache-Hit") == "true"
                if answer.status_code != 200 or answer.content != self.truth[path]:
                    self.wrong.append((answer.status_code, answer.text))


class Babbler:
    """Something else on Redis' port: it says what no Redis says."""

    def __init__(self, port: int) -> None:
        class Babble(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                chance = random.Random(7)  # noqa: S311 - noise, no secret
                while self.request.recv(65536):
                    kinds = (b"$999\r\nx", b"+OK\r\n", b":1\r\n", b"-ERR\r\n", chance.randbytes(50))
                    self.request.sendall(chance.choice(kinds))

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server(("127.0.0.1", port), Babble)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(DEADLINE_S)
        self._server.server_close()


def redis_status(client: TestClient) -> str:
    """Return what ``/v1/health`` says; it must be no 503."""
    answer = client.get("/v1/health")
    assert answer.status_code == 200
    return str(answer.json()["checks"]["redis"]["status"])


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_redis_goes_and_comes_back_empty(world: World, tmp_path: Path, end: str) -> None:
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis") as server, serving(world, server.url) as client:
        with Load(client) as load:
            load.reach_hits(100)
            getattr(server, end)()
            load.reach(200)
            assert redis_status(client) == "degraded"
            server.start()
            load.reach_hits(100)
            assert redis_status(client) == "ok"
        assert load.wrong == []


def test_redis_hangs(world: World, tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis") as server, serving(world, server.url) as client:
        with Load(client) as load:
            load.reach_hits(100)
            server.pause()
            try:
                load.reach(200)
                assert redis_status(client) == "degraded"
            finally:
                server.resume()
            load.reach_hits(100)
        assert load.wrong == []


def test_redis_is_full(world: World, tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    full = RedisServer(tmp_path / "redis", "--maxmemory-policy", "noeviction", "--maxmemory", "1")
    with full as server, serving(world, server.url) as client:
        with Load(client) as load, redis.Redis(port=server.port) as admin:
            load.reach(200)
            assert load.hits == 0
            stats = client.get("/v1/cache/stats").json()["redis"]
            assert stats["refused"] > 0
            assert (stats["status"], stats["breaker"]) == ("up", "closed")
            admin.config_set("maxmemory", "0")
            load.reach_hits(100)
        assert load.wrong == []


def test_something_else_takes_redis_place(world: World, tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis") as server, serving(world, server.url) as client:
        with Load(client) as load:
            load.reach_hits(100)
            server.kill()
            with Babbler(server.port):
                load.reach(300)
            server.start()
            load.reach_hits(100)
        assert load.wrong == []


def test_damaged_values_are_dropped_and_made_again(world: World, tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    path = PATHS[0]
    with (
        RedisServer(tmp_path / "redis") as server,
        serving(world, server.url) as client,
        redis.Redis(port=server.port) as admin,
    ):
        truth = client.get(path).content
        (key,) = admin.scan_iter()
        sound = admin.get(key)
        assert isinstance(sound, bytes)
        assert truth.startswith(unframe(key.decode(), sound)[:-1])  # behind it the version
        other = client.get(PATHS[1]).content
        (elsewhere,) = set(admin.scan_iter()) - {key}
        harmed = (b"", b"null", sound[:-1], sound[:30], b"\x80\x04N.", admin.get(elsewhere))
        for count, value in enumerate(harmed, 1):
            assert value is not None
            admin.set(key, value)
            answer = client.get(path)
            assert (answer.status_code, answer.content) == (200, truth)
            assert answer.headers["X-Cache-Hit"] == "false"
            assert client.get("/v1/cache/stats").json()["redis"]["dropped"] == count
            assert admin.get(key) == sound
        assert client.get(path).headers["X-Cache-Hit"] == "true"
        assert other != truth


def test_two_apps_share_and_invalidate(world: World, tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    with (
        RedisServer(tmp_path / "redis") as server,
        serving(world, server.url) as one,
        serving(world, server.url) as other,
    ):
        assert one.get(PATHS[0]).headers["X-Cache-Hit"] == "false"
        for month in (PATHS[1], PATHS[20]):  # reads the months' indices
            assert other.get(month).headers["X-Cache-Hit"] == "false"
        assert other.get(PATHS[0]).headers["X-Cache-Hit"] == "true"
        gone = other.delete("/v1/cache/invalidate", params={"instrument": "EURUSD"}).json()
        assert gone == {"removed": 3, "memory": 0, "redis": 3}
        assert one.get(PATHS[0]).headers["X-Cache-Hit"] == "false"
        body = {"instrument": "EURUSD", "granularity": "H4", "hours": 24}
        assert one.post("/v1/cache/warm", json=body).json()["candles"] == 7
        newest = opens("2018-01", 30)[-1].isoformat()
        assert other.get(f"/v1/labels/EURUSD/H4/{newest}").headers["X-Cache-Hit"] == "true"
        server.kill()
        assert other.delete("/v1/cache/invalidate").json()["redis"] is None
        assert one.post("/v1/cache/warm", json=body).status_code == 200
