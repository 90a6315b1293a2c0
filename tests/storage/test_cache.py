"""The cache over memory alone: single flight, modes, keys, frames, bounds."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.cache import Cache, CacheMode, cache_key
from storage.cache_keys import FrameError, KeyFilter, frame, unframe
from storage.cache_memory import MemoryTier
from storage.cache_redis import Breaker


def key_of(instrument: str = "EURUSD", granularity: str = "H4", **parameters: object) -> str:
    return cache_key(
        "labels",
        data_versions=["v1"],
        code_version="c1",
        parameters={"instrument": instrument, "granularity": granularity, **parameters},
    )


def constant(value: bytes) -> Callable[[], Awaitable[bytes]]:
    async def make() -> bytes:
        return value

    return make


class Gate:
    """A computation that waits until it is let go, and counts how often it was begun."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun = 0
        self.open = asyncio.Event()
        self._error = error

    async def __call__(self) -> bytes:
        """Wait, then fail or return."""
        self.begun += 1
        await self.open.wait()
        if self._error:
            raise self._error
        return b"made"


def test_a_hundred_cold_misses_make_one_computation() -> None:
    async def scenario() -> None:
        cache, gate = Cache(memory_bytes=10_000), Gate()
        asked = [asyncio.create_task(cache.fetch("k", gate, kind="labels")) for _ in range(100)]
        await asyncio.sleep(0)
        gate.open.set()
        answers = await asyncio.gather(*asked)
        assert {(a.value, a.source) for a in answers} == {(b"made", "computed")}
        assert gate.begun == 1
        stats = cache.stats().kinds["labels"]
        assert (stats.computed, stats.shared, stats.memory) == (1, 99, 0)
        assert (await cache.fetch("k", gate, kind="labels")).source == "memory"

    asyncio.run(scenario())


def test_a_failure_fails_all_who_wait_and_is_not_kept() -> None:
    async def scenario() -> None:
        cache, gate = Cache(memory_bytes=10_000), Gate(ValueError("no"))
        asked = [asyncio.create_task(cache.fetch("k", gate, kind="labels")) for _ in range(5)]
        await asyncio.sleep(0)
        gate.open.set()
        failures = await asyncio.gather(*asked, return_exceptions=True)
        assert [str(f) for f in failures] == ["no"] * 5
        assert gate.begun == 1
        assert cache.stats().kinds["labels"].failed == 5
        assert (await cache.fetch("k", constant(b"well"), kind="labels")).value == b"well"

    asyncio.run(scenario())


def test_who_stops_waiting_stops_nobody_else() -> None:
    async def scenario() -> None:
        cache, gate = Cache(memory_bytes=10_000), Gate()
        first, second = (
            asyncio.create_task(cache.fetch("k", gate, kind="labels")) for _ in range(2)
        )
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.open.set()
        assert (await second).value == b"made"
        assert gate.begun == 1

    asyncio.run(scenario())


def test_bypass_neither_reads_nor_writes_and_refresh_writes() -> None:
    async def scenario() -> None:
        cache = Cache(memory_bytes=10_000)
        await cache.fetch("k", constant(b"1"), kind="labels")
        passed = await cache.fetch("k", constant(b"2"), kind="labels", mode=CacheMode.BYPASS)
        assert (passed.value, passed.source) == (b"2", "computed")
        assert (await cache.fetch("k", constant(b"3"), kind="labels")).value == b"1"
        anew = await cache.fetch("k", constant(b"4"), kind="labels", mode=CacheMode.REFRESH)
        assert (anew.value, anew.source) == (b"4", "computed")
        assert (await cache.fetch("k", constant(b"5"), kind="labels")).value == b"4"

    asyncio.run(scenario())


def test_what_is_kept_beforehand_is_there_and_is_no_question() -> None:
    async def scenario() -> None:
        told: list[tuple[str, str]] = []
        cache = Cache(memory_bytes=10_000, observe=lambda kind, result: told.append((kind, result)))
        await cache.keep("k", b"1", kind="labels")
        assert told == []
        assert (await cache.fetch("k", constant(b"2"), kind="labels")).value == b"1"
        await cache.fetch("k", constant(b"3"), kind="labels", mode=CacheMode.BYPASS)
        assert told == [("labels", "memory"), ("labels", "bypassed")]
        stats = cache.stats().kinds["labels"]
        assert (stats.memory, stats.bypassed, stats.hit_rate) == (1, 1, 1.0)

    asyncio.run(scenario())


def test_a_computation_still_running_at_the_end_is_stopped() -> None:
    async def scenario() -> None:
        cache, gate = Cache(memory_bytes=10_000), Gate()
        asked = asyncio.create_task(cache.fetch("k", gate, kind="labels"))
        await asyncio.sleep(0)
        await cache.aclose()
        with pytest.raises(asyncio.CancelledError):
            await asked

    asyncio.run(scenario())


def test_a_key_moves_with_data_code_and_parameters_and_not_with_their_order() -> None:
    def key(versions: tuple[str, ...] = ("a", "b"), code: str = "c", **parameters: object) -> str:
        return cache_key("labels", data_versions=versions, code_version=code, parameters=parameters)

    keys = [key(), key(("ab",)), key(("b", "a")), key(code="d"), key(horizon=6), key(horizon=7)]
    assert len(set(keys)) == len(keys)
    assert key(a=1, b=2) == key(b=2, a=1)
    assert key_of("a:b*").startswith("wavehouse:labels:a%3Ab%2A:H4:")


def test_invalidation_is_by_tag_and_pattern() -> None:
    async def scenario() -> None:
        cache = Cache(memory_bytes=100_000)
        for instrument in ("EURUSD", "EUR"):
            for granularity in ("H1", "H4"):
                key = key_of(instrument, granularity)
                await cache.fetch(key, constant(b"x"), kind="labels")
        gone = await cache.invalidate(KeyFilter("EUR", "H4"))
        assert (gone.memory, gone.redis) == (1, None)
        assert (await cache.invalidate(KeyFilter(pattern="levels:*"))).memory == 0
        assert (await cache.invalidate(KeyFilter(pattern="labels:EURUSD:*"))).memory == 2
        assert (await cache.fetch(key_of("EUR", "H1"), constant(b"y"), kind="labels")).value == b"x"

    asyncio.run(scenario())


@given(value=st.binary(max_size=200), data=st.data())
def test_a_damaged_frame_is_refused(value: bytes, data: st.DataObject) -> None:
    framed = frame("k", value)
    assert unframe("k", framed) == value
    cut = data.draw(st.integers(0, len(framed) - 1))
    flipped = bytearray(framed)
    flipped[cut] ^= data.draw(st.integers(1, 255))
    for damaged in (framed[:cut], bytes(flipped), framed + b"\0"):
        with pytest.raises(FrameError):
            unframe("k", damaged)
    with pytest.raises(FrameError):
        unframe("another", framed)


def test_memory_is_bounded_and_lets_go_of_what_was_used_longest_ago() -> None:
    memory = MemoryTier[bytes](4000, weigh=len)
    for i in range(50):
        memory.put(f"k{i}", b"x" * 100, 60)
        memory.get("k0")
        assert memory.size <= 4000
    assert memory.get("k0") is not None
    assert memory.get("k1") is None
    assert memory.evictions == 50 - len(memory)
    memory.put("k0", b"x" * 1000, 60)  # too large a part: the old value is not kept either
    assert memory.get("k0") is None


def test_a_memory_that_is_given_is_the_one_that_is_used() -> None:
    async def scenario() -> None:
        memory = MemoryTier[bytes](4000, weigh=len)
        cache = Cache(memory_bytes=0, memory=memory)
        await cache.fetch("k", constant(b"1"), kind="labels")
        assert memory.get("k") == b"1"

    asyncio.run(scenario())


def test_memory_forgets_what_is_too_old() -> None:
    now = [0.0]
    memory = MemoryTier[bytes](4000, weigh=len, clock=lambda: now[0])
    memory.put("k", b"x", 10)
    now[0] = 9.9
    assert memory.get("k") == b"x"
    now[0] = 10.0
    assert memory.get("k") is None
    assert memory.size == 0


def test_a_breaker_opens_probes_once_and_closes() -> None:
    now = [0.0]
    breaker = Breaker(failures=2, open_s=1.0, clock=lambda: now[0])
    for _ in range(2):
        assert breaker.allows()
        breaker.fail()
    assert (breaker.state, breaker.allows()) == ("open", False)
    now[0] = 1.0
    assert [breaker.allows(), breaker.allows()] == [True, False]
    breaker.fail()
    assert breaker.state == "open"
    now[0] = 2.0
    assert breaker.allows()
    breaker.forget()
    assert breaker.allows()
    breaker.succeed()
    assert [breaker.allows(), breaker.allows()] == [True, True]
