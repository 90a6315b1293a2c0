"""How often a caller may ask: whose count, which count, what is said, in memory and in Redis."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from limits import parse
from pydantic import SecretStr

from market.errors import InputError
from market.settings import ServingSettings
from serving.access.principals import ANONYMOUS, Principal
from serving.access.rates import RateLimits, caller_of
from serving.access.shared_windows import SharedWindows
from serving.access.windows import MemoryWindows, Window
from serving.errors import TooManyRequestsError
from tests.fakes.redis_server import RedisServer
from tests.serving.compute_world import refusal, served
from tests.serving.fakes import UNLIMITED
from tests.serving.test_access import World

BODY = {"symbol": "TCS", "prices": [1.0, 2.0, 3.0], "period": 2}
ANN = Principal("key:1:ann", frozenset({"read"}), is_anonymous=False)
BOB = Principal("key:2:bob", frozenset({"read"}), is_anonymous=False)


def limited(shared: SharedWindows | None = None, **changes: Any) -> RateLimits:
    return RateLimits(ServingSettings(**{**UNLIMITED, **changes}), shared)


def left(
    limits: RateLimits, principal: Principal = ANONYMOUS, address: str = "192.0.2.1",
    *, method: str = "POST", path: str = "/compute/sma",
) -> int:  # fmt: skip
    """Ask once; return what is left, -1 for a refusal and -2 where nothing is counted."""

    async def ask() -> int:
        try:
            headers = await limits.take(principal, address, method=method, path=path)
        except TooManyRequestsError:
            return -1
        return int(headers.get("X-RateLimit-Remaining", -2))

    return asyncio.run(ask())


# whose count, and which


def test_addresses_are_counted_apart_and_ipv6_by_network() -> None:
    limits = limited(compute_rate_limit="1/year")
    for first in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
        assert left(limits, address=first) == 0
    for again in ("192.0.2.1", "2001:db8::2", "2001:db8:0:0:ffff::1"):
        assert left(limits, address=again) == -1
    assert left(limits, address="2001:db8:0:1::1") == 0
    assert caller_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert caller_of("fe80::1%eth0") == "fe80::/64"
    assert caller_of("testclient") == "testclient"


def test_a_key_is_counted_wherever_it_is_used_and_apart_from_its_address() -> None:
    limits = limited(compute_rate_limit="2/year")
    assert left(limits, ANN, "192.0.2.1") == 1
    assert left(limits, ANN, "192.0.2.2") == 0
    assert left(limits, ANN, "192.0.2.3") == -1
    assert left(limits, BOB, "192.0.2.3") == 1
    assert left(limits, ANONYMOUS, "192.0.2.3") == 1


def test_no_rate_is_no_limit() -> None:
    limits = limited()
    assert all(left(limits) == -2 for _ in range(100))


@pytest.mark.parametrize(
    ("method", "path", "amount"),
    [
        ("POST", "/v1/labels/compute", 1000),
        ("POST", "/v1/batch/backfill", 10),
        ("GET", "/v1/labels", 10_000),
        ("GET", "/v1/labels/EURUSD/H4/2024-01-10T13:00:00Z", 10_000),
        ("POST", "/compute/batch", 100),
        ("POST", "/backtest/run", 100),
        ("POST", "/ml/predict", 100),
        ("GET", "/v1/batch/jobs", 5000),
        ("POST", "/predict", 5000),
        ("GET", "/v1/levels", 5000),
        ("GET", "/nowhere\n", 5000),
        ("GET", "/health", -1),
        ("GET", "/v1/health/ready", -1),
        ("GET", "/metrics", -1),
        ("GET", "/docs/swagger-ui.css", -1),
    ],
)
def test_the_rates_are_those_of_the_sources(method: str, path: str, amount: int) -> None:
    assert left(RateLimits(ServingSettings()), method=method, path=path) == amount - 1


def test_routes_of_one_kind_share_a_count_and_kinds_do_not() -> None:
    limits = limited(compute_rate_limit="1/year", default_rate_limit="1/year")
    assert left(limits, path="/compute/sma") == 0
    assert left(limits, path="/compute/rsi") == -1
    assert left(limits, path="/predict") == 0
    assert left(limits, path="/models", method="GET") == -1


def test_what_is_no_rate_is_refused_by_its_name() -> None:
    with pytest.raises(InputError, match="labels_rate_limit: expected a rate"):
        limited(labels_rate_limit="often")


# what is said


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with made.opened:
        yield made


def test_every_answer_says_what_is_left_in_both_spellings(world: World) -> None:
    key, _ = world.keys.create("ann", ["read"])
    client = world.client(default_rate_limit="3/year")
    for path, status in (("/models", 200), ("/nowhere", 404), ("/v1/levels", 422)):
        answer = client.get(path, headers={"X-API-Key": key})
        assert answer.status_code == status
        for name in ("Limit", "Remaining", "Reset"):
            said = answer.headers[f"X-Rate-Limit-{name}"]
            assert said == answer.headers[f"X-RateLimit-{name}"]
    assert (answer.headers["X-Rate-Limit-Limit"], answer.headers["X-Rate-Limit-Remaining"]) == (
        "3", "0",
    )  # fmt: skip
    answer = client.get("/models", headers={"X-API-Key": key})
    assert refusal(answer) == (429, "TOO_MANY_REQUESTS", ["rate"])
    assert answer.headers["Retry-After"] == answer.headers["X-RateLimit-Reset"]
    assert 1 <= int(answer.headers["Retry-After"]) <= 366 * 86_400
    assert client.get("/health").status_code != 429


def test_who_guesses_keys_is_counted_by_address_and_slowed_down(world: World) -> None:
    key, _ = world.keys.create("ann", ["compute"])
    client = world.client(compute_rate_limit="2/year")
    guesses = [
        client.post("/compute/sma", json=BODY, headers={"X-API-Key": f"wh_{i:043d}"})
        for i in range(4)
    ]
    assert [answer.status_code for answer in guesses] == [401, 401, 429, 429]
    answer = client.post("/compute/sma", json=BODY, headers={"X-API-Key": key})
    assert answer.status_code == 200  # a key has a count of its own


def test_forged_headers_change_nobodys_count(world: World) -> None:
    key, _ = world.keys.create("ann", ["compute"])
    client = world.client(compute_rate_limit="1/year")
    statuses = [
        client.post(
            "/compute/sma",
            json=BODY,
            headers={
                "X-API-Key": key, "X-Forwarded-For": f"192.0.2.{i}",
                "X-Real-IP": f"192.0.2.{i}", "X-Forwarded-User": f"user{i}",
            },
        ).status_code
        for i in range(2)
    ]  # fmt: skip
    assert statuses == [200, 429]


def test_a_refusal_is_counted_under_the_route_that_would_have_answered(world: World) -> None:
    client = world.client(open_metrics=True)
    client.post("/compute/sma", json=BODY)
    client.get("/v1/labels/EURUSD/H4/2024-01-10T13:00:00Z")
    text = client.get("/metrics").text
    assert 'http_requests_total{method="POST",route="/compute/sma",status="401"} 1.0' in text
    route = 'route="/v1/labels/{instrument}/{granularity}/{timestamp}"'
    assert f'http_requests_total{{method="GET",{route},status="401"}} 1.0' in text
    counted = 'mojo_compute_errors_total{code="UNAUTHENTICATED",endpoint="/compute/sma"} 1.0'
    assert counted in text


# counting


def test_a_window_fades_into_the_next() -> None:
    now = [1000.0]
    windows, rate = MemoryWindows(clock=lambda: now[0]), parse("4/minute")
    taken = [windows.hit(rate, "a").is_taken for _ in range(6)]
    assert taken == [True] * 4 + [False] * 2
    wait_s = windows.hit(rate, "a").wait_s
    now[0] += wait_s - 1.5
    assert not windows.hit(rate, "a").is_taken
    now[0] += 1.5
    assert windows.hit(rate, "a").is_taken  # exactly as was said
    now[0] = 1000.0 + 60.0 + 30.0  # half of the window before counts: two
    assert [windows.hit(rate, "a").is_taken for _ in range(3)] == [True, False, False]
    now[0] += 300.0
    assert windows.hit(rate, "a").remaining == 3


def test_what_is_said_to_be_left_and_to_wait_for_is_so() -> None:
    rate = parse("10/minute")
    for previous in (0, 3, 10):
        for current in range(11):
            for elapsed_s in (0.0, 17.3, 59.9):
                window = Window(previous, current, elapsed_s)
                standing = window.standing(rate, is_taken=False)
                assert standing.remaining == max(0, 10 - window.used(60.0))
                if standing.remaining == 0:
                    at = elapsed_s + standing.wait_s
                    later = (
                        Window(previous, current, at)
                        if at < 60.0
                        else Window(current, 0, min(at - 60.0, 60.0))
                    )
                    assert later.used(60.0) < 10


def test_memory_is_bounded_and_whoever_was_heard_of_lately_is_kept() -> None:
    windows, rate = MemoryWindows(max_callers=3), parse("1/year")
    for caller in ("a", "b", "c"):
        windows.hit(rate, caller)
    assert not windows.hit(rate, "a").is_taken
    windows.hit(rate, "d")  # b goes
    assert not windows.hit(rate, "a").is_taken
    assert windows.hit(rate, "b").is_taken


def test_a_clock_that_is_set_changes_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = limited(compute_rate_limit="2/hour")
    assert left(limits) == 1
    for years in (-10, 10):
        monkeypatch.setattr(time, "time", lambda years=years: 1.7e9 + years * 3.2e7)
        left(limits)
    assert left(limits) == -1


# in Redis


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


def patient(server: RedisServer) -> SharedWindows:
    """Return counts in Redis that wait for it, however busy the machine is."""
    return SharedWindows(server.url, timeout_s=20.0)


def shared(server: RedisServer, monkeypatch: pytest.MonkeyPatch, *, timeout_s: float) -> Any:
    """Return the setting that names Redis, with so much patience."""
    init = SharedWindows.__init__
    monkeypatch.setattr(
        SharedWindows, "__init__", lambda self, url: init(self, url, timeout_s=timeout_s)
    )
    return {"redis_url": SecretStr(server.url)}


def test_processes_share_a_count_in_redis(redis: RedisServer) -> None:
    async def scenario() -> list[str]:
        said = []
        both = [limited(patient(redis), compute_rate_limit="3/year") for _ in range(2)]
        try:
            for i in range(4):
                try:
                    headers = await both[i % 2].take(
                        ANN, "192.0.2.1", method="POST", path="/compute/sma"
                    )
                    said.append(headers["X-Rate-Limit-Remaining"])
                except TooManyRequestsError as e:
                    is_bounded = 1 <= int(e.headers["Retry-After"]) <= 366 * 86_400
                    said.append("refused" if is_bounded else e.headers["Retry-After"])
        finally:
            for limits in both:
                await limits.aclose()
        return said

    assert asyncio.run(scenario()) == ["2", "1", "0", "refused"]


def test_a_hundred_at_once_are_counted_each_once(redis: RedisServer) -> None:
    async def scenario() -> int:
        limits = limited(patient(redis), compute_rate_limit="40/year")

        async def ask() -> bool:
            try:
                await limits.take(ANN, "192.0.2.1", method="POST", path="/compute/sma")
            except TooManyRequestsError:
                return False
            return True

        try:
            await ask()  # connected
            return sum(await asyncio.gather(*(ask() for _ in range(100))))
        finally:
            await limits.aclose()

    assert asyncio.run(scenario()) == 39


@pytest.mark.slow
def test_redis_that_is_killed_in_the_middle_costs_no_request(
    tmp_path: Path, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = shared(redis, monkeypatch, timeout_s=5.0)
    statuses: list[int] = []
    with served(tmp_path / "lake", compute_rate_limit="1000/year", **names) as client:

        def ask(times: int) -> int:
            for _ in range(times):
                answer = client.post("/compute/sma", json=BODY)
                statuses.append(answer.status_code)
            return int(answer.headers["X-RateLimit-Remaining"])

        assert ask(10) == 990
        redis.kill()
        assert ask(10) == 990  # the process's own count begins
        redis.start()
        deadline = time.monotonic() + 20.0
        while ask(1) < 990:  # an empty Redis counts from the beginning
            assert time.monotonic() < deadline
    assert set(statuses) == {200}


@pytest.mark.slow
def test_redis_that_does_not_answer_costs_a_moment_and_then_nothing(
    tmp_path: Path, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = shared(redis, monkeypatch, timeout_s=0.5)
    with served(tmp_path / "lake", compute_rate_limit="3/year", **names) as client:
        assert client.post("/compute/sma", json=BODY).status_code == 200
        redis.pause()
        try:
            statuses = [client.post("/compute/sma", json=BODY).status_code for _ in range(4)]
        finally:
            redis.resume()
    assert statuses == [200, 200, 200, 429]  # a limit holds without Redis too
