"""Redis stopped, killed, slow, full, talking nonsense, with damaged values: slower, never wrong."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import redis

from storage.cache import Cache, CacheMode
from storage.cache_keys import KeyFilter, frame
from storage.cache_redis import Breaker, RedisTier
from tests.fakes.redis_server import RedisServer

pytestmark = pytest.mark.slow

TIMEOUT_S = 0.05
KEY = "wavehouse:labels:EURUSD:H4:{}"


def make(i: int) -> Callable[[], Awaitable[bytes]]:
    async def made() -> bytes:
        return b"%d" % i * 100

    return made


@contextlib.asynccontextmanager
async def caching(url: str, memory_bytes: int = 0, **breaker: float) -> AsyncIterator[Cache]:
    """Give a cache over Redis; without memory every question is Redis'."""
    tier = RedisTier(url, timeout_s=TIMEOUT_S, breaker=Breaker(**breaker))  # type: ignore[arg-type]
    cache = Cache(memory_bytes=memory_bytes, redis=tier)
    try:
        yield cache
    finally:
        await cache.aclose()


async def ask(cache: Cache, i: int) -> str:
    """Ask; a wrong value is the one thing that must never be."""
    fetched = await cache.fetch(KEY.format(i), make(i), kind="labels")
    assert fetched.value == b"%d" % i * 100
    return fetched.source


async def until(cache: Cache, i: int, source: str) -> None:
    deadline = time.monotonic() + 20
    while await ask(cache, i) != source:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_another_process_finds_what_one_computed(tmp_path: Path) -> None:
    async def scenario(url: str) -> None:
        async with caching(url) as one, caching(url) as other:
            await until(one, 1, "redis")
            assert await ask(other, 1) == "redis"
            assert await ask(other, 2) == "computed"
            await until(one, 2, "redis")
            gone = await one.invalidate(KeyFilter("EURUSD", "H4"))
            assert (gone.memory, gone.redis) == (0, 2)
            assert await ask(other, 1) == "computed"
            assert await one.is_redis_up()

    with RedisServer(tmp_path) as server:
        with redis.Redis(port=server.port) as client:
            client.set("not-ours", "1")
        asyncio.run(scenario(server.url))
        with redis.Redis(port=server.port) as client:
            assert client.get("not-ours") == b"1"


def test_what_redis_had_is_in_memory_from_then_on(tmp_path: Path) -> None:
    async def scenario(url: str) -> None:
        async with caching(url) as one, caching(url, memory_bytes=10_000) as other:
            await until(one, 1, "redis")
            assert [await ask(other, 1) for _ in range(2)] == ["redis", "memory"]

    with RedisServer(tmp_path) as server:
        asyncio.run(scenario(server.url))


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_redis_goes_and_comes_in_the_middle_of_a_load(tmp_path: Path, end: str) -> None:
    async def scenario(server: RedisServer) -> None:
        async with caching(server.url, open_s=0.1) as cache:
            asked, stop = 0, asyncio.Event()

            async def client(offset: int) -> None:
                nonlocal asked
                while not stop.is_set():
                    await ask(cache, (asked + offset) % 50)
                    asked += 1

            async def reach(more: int) -> None:
                target, deadline = asked + more, time.monotonic() + 30
                while asked < target:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.01)

            load = [asyncio.create_task(client(i)) for i in range(8)]
            await reach(300)
            await asyncio.to_thread(getattr(server, end))
            await reach(300)
            assert cache.stats().redis_failures > 0
            await asyncio.to_thread(server.start)
            await reach(300)
            await until(cache, 3, "redis")
            stop.set()
            await asyncio.gather(*load)
            assert cache.stats().redis_state == "closed"
            assert cache.stats().kinds["labels"].failed == 0

    with RedisServer(tmp_path) as server:
        asyncio.run(scenario(server))


def test_a_dead_redis_costs_next_to_nothing(tmp_path: Path) -> None:
    async def scenario(url: str) -> None:
        async with caching(url, open_s=60.0) as cache:
            for i in range(3):  # each a question and an answer: the fifth failure opens the breaker
                await ask(cache, i)
            assert cache.stats().redis_state == "open"
            before = cache.stats().redis_failures
            started = time.perf_counter()
            for i in range(200):
                assert await ask(cache, i) == "computed"
            assert time.perf_counter() - started < 200 * TIMEOUT_S / 5
            assert cache.stats().redis_failures == before
            assert not await cache.is_redis_up()
            gone = await cache.invalidate(KeyFilter())
            assert gone.redis is None

    asyncio.run(scenario(RedisServer(tmp_path).url))


def test_a_full_redis_still_answers_what_it_has(tmp_path: Path) -> None:
    async def scenario(server: RedisServer) -> None:
        async with caching(server.url) as cache:
            await until(cache, 1, "redis")
            with redis.Redis(port=server.port) as client:
                client.config_set("maxmemory", "1")
            for i in range(2, 30):
                assert await ask(cache, i) == "computed"
            stats = cache.stats()
            assert stats.redis_refused >= 28
            assert stats.redis_state == "closed"
            assert await ask(cache, 1) == "redis"

    with RedisServer(tmp_path, "--maxmemory-policy", "noeviction") as server:
        asyncio.run(scenario(server))


def test_to_be_declined_is_to_be_answered(tmp_path: Path) -> None:
    async def refresh(cache: Cache, i: int) -> None:  # writes alone: no read closes the breaker
        mode = CacheMode.REFRESH
        made = await cache.fetch(KEY.format(i), make(i), kind="labels", mode=mode)
        assert made.value == b"%d" % i * 100

    async def scenario(server: RedisServer) -> None:
        with redis.Redis(port=server.port) as client:
            client.config_set("maxmemory", "1")
        async with caching(server.url, failures=3, open_s=60.0) as cache:
            for i in range(10):
                await refresh(cache, i)
            assert cache.stats().redis_refused == 10
            assert cache.stats().redis_state == "closed"
        tier = RedisTier(server.url, breaker=Breaker(failures=1, open_s=0.0))
        tier.breaker.fail()
        assert tier.breaker.state == "half_open"
        await tier.put("k", b"x", 60.0)  # the one question that is let through
        assert tier.breaker.state == "closed"
        await tier.aclose()

    with RedisServer(tmp_path, "--maxmemory-policy", "noeviction") as server:
        asyncio.run(scenario(server))


def test_poisoned_and_truncated_values_are_dropped_and_made_again(tmp_path: Path) -> None:
    async def scenario(server: RedisServer) -> None:
        key = KEY.format(1)
        sound = frame(key, b"1" * 100)
        poison = (
            b"", b"garbage", sound[:-1], sound[:5], sound + b"x", b"\x80\x04N.",
            frame(KEY.format(2), b"2" * 100),
        )  # fmt: skip
        async with caching(server.url) as cache:
            with redis.Redis(port=server.port) as client:
                for count, value in enumerate(poison, 1):
                    client.set(key, value)
                    assert await ask(cache, 1) == "computed"
                    assert cache.stats().redis_dropped == count
                    assert client.get(key) == sound
                client.delete(key)
                client.lpush(key, "another type")
            assert await ask(cache, 1) == "computed"
            await until(cache, 1, "redis")

    with RedisServer(tmp_path) as server:
        asyncio.run(scenario(server))


def test_what_is_damaged_is_gone_though_it_cannot_be_made_again(tmp_path: Path) -> None:
    async def broken() -> bytes:
        raise ValueError("no")

    async def scenario(server: RedisServer) -> None:
        key = KEY.format(1)
        async with caching(server.url) as cache:
            with redis.Redis(port=server.port) as client:
                client.set(key, frame(key, b"1" * 100)[:-1])
                with pytest.raises(ValueError, match="no"):
                    await cache.fetch(key, broken, kind="labels")
                assert client.get(key) is None

    with RedisServer(tmp_path) as server:
        asyncio.run(scenario(server))


def test_a_value_lives_as_long_as_its_kind_and_refresh_reads_none(tmp_path: Path) -> None:
    async def scenario(server: RedisServer) -> None:
        tier = RedisTier(server.url, timeout_s=5.0)
        cache = Cache(memory_bytes=0, redis=tier, ttls_s={"labels": 60.0, "levels": 600.0})
        with redis.Redis(port=server.port) as client:
            for i, (kind, most_s) in enumerate((("labels", 60), ("levels", 600), ("other", 3600))):
                made, kept = KEY.format(f"made{i}"), KEY.format(f"kept{i}")
                await cache.fetch(made, make(i), kind=kind)
                await cache.keep(kept, b"1", kind=kind)
                for key in (made, kept):
                    assert 0 < most_s - float(client.pttl(key)) / 1e3 + 1e-3 < most_s / 2  # type: ignore[arg-type]
        again = await cache.fetch(
            KEY.format("made0"), make(7), kind="labels", mode=CacheMode.REFRESH
        )
        assert (again.value, again.source) == (b"7" * 100, "computed")
        found = await cache.fetch(KEY.format("made0"), make(8), kind="labels")
        assert (found.value, found.source) == (b"7" * 100, "redis")
        await cache.aclose()

    with RedisServer(tmp_path) as server:
        asyncio.run(scenario(server))


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[str]:
    """Serve on a free port; wait for every connection to be closed at the end."""
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)
        await closed(writer)

    def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.create_task(handle(reader, writer)))

    server = await asyncio.start_server(start, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()
        async with asyncio.timeout(20):
            await asyncio.gather(*handlers)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def saying(reply: bytes | None) -> Serve:
    """Say the same to whatever is asked, or nothing at all."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            if reply is not None:
                writer.write(reply)
                await writer.drain()

    return serve


def delaying(port: int, delay_s: float) -> Serve:
    """Pass everything on to a port, and its answers back later."""

    async def pipe(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wait_s: float
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await asyncio.sleep(wait_s)
                writer.write(data)
                await writer.drain()
        await closed(writer)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pipe(reader, ours, 0), pipe(theirs, writer, delay_s))

    return serve


@pytest.mark.parametrize(
    "reply",
    [
        None, b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\xff\x00\xff\r\n", b":1\r\n", b"+OK\r\n",
        b"*-1\r\n", b"$999999999\r\nx", b"-ERR no\r\n", b"*3\r\n:1\r\n:2\r\n:3\r\n", b"$-1\r\n",
    ],
)  # fmt: skip
def test_silence_and_nonsense_are_misses(reply: bytes | None) -> None:
    async def scenario() -> None:
        async with serving(saying(reply)) as url, caching(url, open_s=60.0) as cache:
            slowest = 0.0
            for i in range(20):
                started = time.perf_counter()
                assert await ask(cache, i) == "computed"
                slowest = max(slowest, time.perf_counter() - started)
            assert slowest < 3 * TIMEOUT_S + 0.5  # a question, a drop, an answer; a busy machine
            assert cache.stats().kinds["labels"].computed == 20
            gone = await cache.invalidate(KeyFilter())
            assert gone.redis is None or gone.redis == 0

    asyncio.run(scenario())


def test_a_slow_redis_is_given_up(tmp_path: Path) -> None:
    async def scenario(port: int) -> None:
        slow = delaying(port, TIMEOUT_S * 4)
        async with serving(slow) as url, caching(url, open_s=60.0) as cache:
            for i in range(10):
                started = time.perf_counter()
                assert await ask(cache, i) == "computed"
                assert time.perf_counter() - started < 2 * TIMEOUT_S + 0.5
            assert cache.stats().redis_state == "open"

    with RedisServer(tmp_path) as server:
        asyncio.run(scenario(server.port))
