"""Limits of the compute service: bodies and what they unpack to, rates, time, memory; its log."""

import asyncio
import gzip
import json
import logging
import sys
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from kernels import engine
from kernels.indicator import StatefulKernel
from market.errors import InputError
from market.logs import formatter
from serving.backtests import service as backtests
from serving.compute import content, warmth
from serving.compute.cache import Kept, MemoryCache, key_of
from serving.compute.content import ARROW
from serving.compute.contracts import CONTRACTS, VALUES
from serving.compute.questions import Question
from serving.compute.workers import Workers
from serving.errors import (
    BodyTooLargeError,
    MalformedRequestError,
    OverloadedError,
    TimeLimitError,
)
from serving.label_compute import warmth as label_warmth
from serving.routers.counted import REQUEST_LOG
from tests.serving.compute_world import JSON_TYPE, bars, read_stream, refusal, served, stream

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BODY = {"symbol": "TCS", "prices": [1.0, 2.0, 3.0], "period": 2}
TEXT = json.dumps(BODY).encode()
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with served(tmp_path_factory.mktemp("lake")) as found:
        yield found


def _samples(client: TestClient) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = client.get("/metrics").text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _zstd_bomb(size: int) -> bytes:
    return zstd.compress(b" " * size)


# bodies


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", lambda x: gzip.compress(x[:20]) + gzip.compress(x[20:])),
        ("zstd", zstd.compress),
        ("zstd", lambda x: zstd.compress(x[:20]) + zstd.compress(x[20:])),
        ("identity", bytes),
    ],
)
def test_a_packed_body_is_unpacked(client: TestClient, encoding: str, pack: Any) -> None:
    headers = {**JSON_TYPE, "content-encoding": encoding}
    response = client.post("/compute/sma", content=pack(TEXT), headers=headers)
    assert response.json()["values"] == [None, 1.5, 2.5]


def test_a_packed_arrow_stream_is_unpacked(client: TestClient) -> None:
    response = client.post(
        "/compute/sma?symbol=T&period=2",
        content=zstd.compress(stream({"close": [1.0, 3.0]})),
        headers={"content-type": ARROW, "content-encoding": "zstd", "accept": "application/json"},
    )
    assert response.json()["values"] == [None, 2.0]


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "gzip, zstd", "x" * 500])
def test_another_packing_is_refused(client: TestClient, encoding: str) -> None:
    headers = {**JSON_TYPE, "content-encoding": encoding}
    response = client.post("/compute/sma", content=TEXT, headers=headers)
    assert refusal(response) == (415, "UNSUPPORTED_MEDIA_TYPE", ["Content-Encoding"])


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("damage", ["not packed", "cut", "trailing", "changed"])
def test_a_damaged_body_is_refused(client: TestClient, encoding: str, damage: str) -> None:
    packed = (gzip.compress if encoding == "gzip" else zstd.compress)(TEXT)
    body = {
        "not packed": TEXT,
        "cut": packed[:-6],
        "trailing": packed + b"more",
        "changed": packed[:12] + bytes([packed[12] ^ 255]) + packed[13:],
    }[damage]
    headers = {**JSON_TYPE, "content-encoding": encoding}
    response = client.post("/compute/sma", content=body, headers=headers)
    assert refusal(response)[0] == 422


@pytest.mark.slow
@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, pack: Any) -> None:
    bomb = pack(b" " * (200 * MEGABYTE))
    encoding = "gzip" if pack is gzip.compress else "zstd"
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLargeError):
            content.unpacked(bomb, encoding, 2 * MEGABYTE)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * MEGABYTE
    with served(tmp_path, compute_max_body_bytes=2 * MEGABYTE) as client:
        headers = {**JSON_TYPE, "content-encoding": encoding}
        response = client.post("/compute/sma", content=bomb, headers=headers)
    assert refusal(response) == (413, "BODY_TOO_LARGE", ["body"])


def test_a_zstd_window_of_a_gigabyte_is_refused() -> None:
    options = {
        zstd.CompressionParameter.window_log: 30,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    packer = zstd.ZstdCompressor(options=options)
    body = packer.compress(b"x" * 1000) + packer.flush()
    with pytest.raises(MalformedRequestError):
        content.unpacked(body, "zstd", MEGABYTE)


def test_unpacking_stops_exactly_at_the_bound() -> None:
    for pack, encoding in ((gzip.compress, "gzip"), (zstd.compress, "zstd")):
        packed = pack(b"a" * 1000)
        assert content.unpacked(packed, encoding, 1000) == b"a" * 1000
        with pytest.raises(BodyTooLargeError):
            content.unpacked(packed, encoding, 999)
    assert content.unpacked(gzip.compress(b""), "gzip", 10) == b""
    assert zlib.crc32(content.unpacked(zstd.compress(TEXT), "zstd", 10**6)) == zlib.crc32(TEXT)


def test_a_body_may_be_larger_than_elsewhere_and_no_larger_than_that(tmp_path: Path) -> None:
    with served(tmp_path, max_body_bytes=1000, compute_max_body_bytes=5000) as client:
        body = {"symbol": "T", "prices": [1.25] * 900, "period": 2}
        assert client.post("/compute/sma", json=body).status_code == 200
        body["prices"] = [1.25] * 1100
        response = client.post("/compute/sma", json=body)
        assert refusal(response)[:2] == (413, "BODY_TOO_LARGE")
        chunks = (b" " * 1000 for _ in range(6))
        response = client.post("/compute/sma", content=chunks, headers=JSON_TYPE)
        assert refusal(response)[:2] == (413, "BODY_TOO_LARGE")
        assert client.post("/predict", content=b" " * 1001, headers=JSON_TYPE).status_code == 413


# rates


def test_an_address_asks_so_often_and_no_oftener(tmp_path: Path) -> None:
    with served(tmp_path, compute_rate_limit="3/year") as client:
        left = []
        for _ in range(3):
            response = client.post("/compute/sma", json=BODY)
            assert response.status_code == 200
            assert response.headers["x-ratelimit-limit"] == "3"
            left.append(response.headers["x-ratelimit-remaining"])
        assert left == ["2", "1", "0"]
    with served(tmp_path, compute_rate_limit="3/year") as client:
        for sent in (b"nonsense", b"{}", TEXT.replace(b"2.0", b"-2.0")):
            response = client.post("/compute/sma", content=sent, headers=JSON_TYPE)
            assert response.status_code == 422
            left.append(response.headers["x-ratelimit-remaining"])
        assert left[3:] == ["2", "1", "0"]
        response = client.post("/compute/rsi", content=b"nonsense")
        assert refusal(response)[:2] == (429, "TOO_MANY_REQUESTS")
        assert 1 <= int(response.headers["retry-after"]) <= 366 * 86_400
        assert response.headers["x-ratelimit-remaining"] == "0"
        assert client.get("/models").status_code == 200


def test_a_forwarded_address_is_believed_only_from_a_proxy_that_is_named(tmp_path: Path) -> None:
    def ask(client: TestClient, forwarded: str) -> int:
        headers = {"x-forwarded-for": forwarded}
        return client.post("/compute/sma", json=BODY, headers=headers).status_code

    with served(tmp_path, compute_rate_limit="1/year") as client:
        assert [ask(client, "192.0.2.1"), ask(client, "192.0.2.2")] == [200, 429]
    with served(tmp_path, compute_rate_limit="1/year", trusted_proxies="198.51.100.0/24") as client:
        assert [ask(client, "192.0.2.1"), ask(client, "192.0.2.2")] == [200, 200]
        assert ask(client, "192.0.2.9, 192.0.2.1") == 429  # who sent it to the proxy
    with served(tmp_path, compute_rate_limit="1/year", trusted_proxies="10.0.0.1") as client:
        assert [ask(client, "192.0.2.1"), ask(client, "192.0.2.2")] == [200, 429]


# time


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Hold every kernel until the event is set."""
    event = threading.Event()
    run = StatefulKernel.run

    def held(self: StatefulKernel, *args: Any, **kwargs: Any) -> Any:
        assert event.wait(20)
        return run(self, *args, **kwargs)

    monkeypatch.setattr(StatefulKernel, "run", held)
    yield event
    event.set()


def test_what_takes_too_long_is_given_up(tmp_path: Path, gate: threading.Event) -> None:
    with served(tmp_path, compute_timeout_s=0.05) as client:
        response = client.post("/compute/sma", json=BODY)
        assert refusal(response) == (504, "TIMEOUT", ["computation"])
        assert "0.05 s" in response.json()["error"]["message"]
        wishes = [{"type": "sma", "params": {"period": 2}}]
        one = {"symbol": "A", "prices": [1.0, 2.0], "indicators": wishes}
        response = client.post("/compute/batch", json={"requests": [one]})
        assert refusal(response)[:2] == (504, "TIMEOUT")
        gate.set()
        deadline = time.monotonic() + 10
        while client.post("/compute/sma", json=BODY).status_code != 200:
            assert time.monotonic() < deadline
        assert client.get("/health").status_code == 200


def test_a_job_that_was_given_up_keeps_its_thread_until_it_ends() -> None:
    event, started = threading.Event(), []

    def job(name: str) -> str:
        started.append(name)
        assert event.wait(20)
        return name

    async def scenario() -> None:
        workers = Workers(1, 0.05)
        workers.start()
        with pytest.raises(TimeLimitError):
            await workers.run(job, "first")
        with pytest.raises(TimeLimitError):  # waits for the thread, and never starts
            await workers.run(job, "second")
        assert started == ["first"]
        event.set()
        while True:
            try:
                assert await workers.run(job, "third") == "third"
                break
            except TimeLimitError:
                continue
        assert "second" not in started
        workers.close()

    asyncio.run(scenario())


def test_more_than_may_wait_are_sent_away() -> None:
    event = threading.Event()

    async def scenario() -> None:
        workers = Workers(1, 20.0)
        workers.start()
        jobs = [asyncio.create_task(workers.run(event.wait, 20)) for _ in range(9)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as refused:
            await workers.run(event.wait, 20)
        assert refused.value.headers == {"Retry-After": "1"}
        event.set()
        assert all(await asyncio.gather(*jobs))
        assert await workers.run(event.wait, 20)
        workers.close()

    asyncio.run(scenario())


def test_what_is_large_lets_others_be_answered(tmp_path: Path, gate: threading.Event) -> None:
    with served(tmp_path) as client:
        found: list[int] = []

        def ask() -> None:
            found.append(client.post("/compute/sma", json=BODY).status_code)

        thread = threading.Thread(target=ask)
        thread.start()
        assert client.get("/models").status_code == 200
        assert not found
        gate.set()
        thread.join(10)
        assert found == [200]


@pytest.mark.parametrize(
    ("indicator", "points", "given", "is_inline"),
    [
        ("sma", 10_000, {}, True),
        ("sma", 10_000, {"period": 400}, False),  # much to compute
        ("haar_window", 20_000, {}, False),  # much to answer
        ("sma", 90_000, {}, False),  # much to read
    ],
)
def test_what_is_small_is_answered_without_a_thread(
    client: TestClient, monkeypatch: pytest.MonkeyPatch,
    indicator: str, points: int, given: dict[str, Any], *, is_inline: bool,
) -> None:  # fmt: skip
    body = {"symbol": "TCS", "prices": bars(points)["close"].tolist(), **given}
    assert client.post(f"/compute/{indicator}", json=body).status_code == 200  # compiled by now
    run, runs = Workers.run, []

    async def counted(self: Workers, *args: Any, **named: Any) -> Any:
        runs.append(self)
        return await run(self, *args, **named)

    monkeypatch.setattr(Workers, "run", counted)
    assert client.post(f"/compute/{indicator}", json=body).status_code == 200
    assert len(runs) == (0 if is_inline else 1)


def test_an_app_that_starts_again_computes_again(tmp_path: Path) -> None:
    with served(tmp_path) as client:
        assert client.post("/compute/sma", json=BODY).status_code == 200
        app = client.app
    for indicator in ("sma", "ema"):
        with TestClient(app) as client:
            assert client.post(f"/compute/{indicator}", json=BODY).status_code == 200


# the cache


def test_the_same_question_has_the_same_bytes_and_says_so(tmp_path: Path) -> None:
    with served(tmp_path) as client:
        first = client.post("/compute/sma", json=BODY)
        again = client.post("/compute/sma", content=TEXT, headers=JSON_TYPE)
        assert (first.headers["x-cache-hit"], again.headers["x-cache-hit"]) == ("false", "true")
        assert first.content == again.content
        packed = client.post(
            "/compute/sma",
            content=gzip.compress(TEXT),
            headers={**JSON_TYPE, "content-encoding": "gzip"},
        )
        assert packed.headers["x-cache-hit"] == "true"
        others = [
            {**BODY, "period": 3},
            {**BODY, "symbol": "INFY"},
            {**BODY, "prices": [1.0, 2.0, 3.0000000001]},
        ]
        for other in others:
            assert client.post("/compute/sma", json=other).headers["x-cache-hit"] == "false"
        assert client.post("/compute/ema", json=BODY).headers["x-cache-hit"] == "false"
        accept = {"accept": ARROW}
        arrow = client.post("/compute/sma", json=BODY, headers=accept)
        assert (arrow.headers["x-cache-hit"], arrow.headers["content-type"]) == ("false", ARROW)
        samples = _samples(client)
    sma = (("indicator", "sma"),)
    assert samples["mojo_cache_hits_total", sma] == 2
    assert samples["mojo_cache_misses_total", sma] == 5


def test_no_cache_keeps_nothing(tmp_path: Path) -> None:
    with served(tmp_path, compute_cache_bytes=0) as client:
        for _ in range(2):
            assert client.post("/compute/sma", json=BODY).headers["x-cache-hit"] == "false"


def test_a_key_is_of_the_content() -> None:
    x = np.array([1.0, 2.0])

    def key_for(
        period: int = 20, column: str = "close", change: float = 0.0, form: str = "json",
        version: str = "1.0",
    ) -> str:  # fmt: skip
        question = Question("TCS", {column: x + change}, {"period": period})
        return key_of("sma", question, form, version)

    key = key_for()
    assert key.startswith("mojo:sma:TCS:")
    changed = [
        key_for(period=21),
        key_for(change=1e-12),
        key_for(form="arrow"),
        key_for(column="high"),
        key_for(version="1.1"),
    ]
    assert len({key, *changed}) == 6
    assert key == key_for()


def test_the_cache_is_bounded_and_forgets_what_was_asked_for_longest_ago() -> None:
    now = [0.0]
    cache = MemoryCache(10_000, 60.0, clock=lambda: now[0])
    for i in range(12):
        cache.put(f"k{i}", Kept(b"x" * 600, {}))
        cache.get("k0")
    assert cache.size <= 10_000
    assert cache.get("k0") is not None
    assert cache.get("k1") is None
    assert cache.get("k11") is not None
    cache.put("large", Kept(b"x" * 2000, {}))
    assert cache.get("large") is None
    before = cache.size
    cache.put("k11", Kept(b"y" * 600, {}))
    assert cache.size == before
    now[0] = 60.0
    assert cache.get("k11") is None
    assert cache.size < before


# streamed answers


def test_a_long_answer_comes_in_pieces_with_the_same_content(client: TestClient) -> None:
    n = 100_000
    prices = bars(n)["close"]
    body = {"symbol": "TCS", "prices": [float(x) for x in prices], "period": 3}
    response = client.post("/compute/sma", json=body)
    assert "content-length" not in response.headers
    answer = response.json()
    expected = CONTRACTS["sma"].kernel.run({"close": prices}, None, period=3)[0]
    np.testing.assert_array_equal(np.array(answer["values"][2:]), expected[2:])
    assert answer["values"][:2] == [None, None]
    assert response.headers["x-cache-hit"] == "false"
    body["prices"] = body["prices"][:-1]
    response = client.post("/compute/sma", json=body)
    assert "content-length" in response.headers
    assert response.json()["values"] == answer["values"][:-1]


def test_a_long_arrow_answer_comes_in_pieces(client: TestClient) -> None:
    prices = bars(100_000)["close"]
    response = client.post(
        "/compute/sma?symbol=T", content=stream({"close": prices}), headers={"content-type": ARROW}
    )
    assert int(response.headers["content-length"]) == len(response.content) > 800_000
    found = read_stream(response.content).column(VALUES).to_numpy()
    expected = CONTRACTS["sma"].kernel.run({"close": prices}, None, period=20)[0]
    np.testing.assert_array_equal(found, expected)


# told and counted


def test_a_computation_is_told_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        served(tmp_path, log_requests=True) as client,
        caplog.at_level(logging.INFO, logger=REQUEST_LOG),
    ):
        client.post("/compute/sma", json=BODY)
        client.post("/compute/sma", json=BODY)
    line = formatter("json").format
    first, second = (json.loads(line(r)) for r in caplog.records if r.name == REQUEST_LOG)
    assert set(first) == {
        "timestamp", "level", "endpoint", "symbol", "period", "data_points",
        "computation_time_ms", "mojo_used", "cache_hit", "event", "logger",
    }  # fmt: skip
    assert first["endpoint"] == "/compute/sma"
    assert (first["level"], first["symbol"], first["period"]) == ("INFO", "TCS", 2)
    assert (first["data_points"], first["cache_hit"], second["cache_hit"]) == (3, False, True)
    assert second["computation_time_ms"] == first["computation_time_ms"]


def test_computations_are_counted_by_the_names_that_dashboards_know(tmp_path: Path) -> None:
    with served(tmp_path, compute_cache_bytes=0) as client:
        client.post("/compute/sma", json=BODY)
        client.post("/compute/sma", json=BODY)
        client.post("/compute/sma", json={**BODY, "period": 0})
        available = client.get("/health").json()["mojo_available"]
        samples = _samples(client)
    sma = ("endpoint", "/compute/sma")
    assert samples["mojo_compute_requests_total", (sma, ("status", "200"))] == 2
    assert samples["mojo_compute_requests_total", (sma, ("status", "422"))] == 1
    assert samples["mojo_compute_errors_total", (("code", "VALIDATION_ERROR"), sma)] == 1
    assert samples["mojo_computation_seconds_count", (("indicator", "sma"),)] == 2
    assert samples["mojo_compute_request_duration_seconds_count", (sma,)] == 3
    assert samples["mojo_compute_data_points_sum", ()] == 6
    assert samples["mojo_compute_active_connections", ()] == 0
    assert samples["mojo_available", ()] == float(available)
    assert samples["mojo_fallback_total", ()] == (0 if available else 2)


def test_without_the_mojo_library_numba_serves_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine, "library", lambda: engine.Library({}, "not built"))
    with served(tmp_path) as client:
        assert "Mojo unavailable, numba serves: not built" in caplog.messages
        assert client.get("/health").json()["mojo_available"] is False
        for period in (2, 3):
            answer = client.post("/compute/sma", json={**BODY, "period": period})
            assert answer.json()["mojo_used"] is False
        samples = _samples(client)
    assert samples["mojo_available", ()] == 0
    assert samples["mojo_fallback_total", ()] == 2


# warming


@pytest.fixture
def nothing_else_warms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the kernels of labels and backtests: where they are cold they take many seconds."""
    monkeypatch.setattr(backtests, "warm", lambda _: None)
    monkeypatch.setattr(label_warmth, "warm", lambda: None)


def _kernels(client: TestClient) -> dict[str, str]:
    found: dict[str, str] = client.get("/health").json()["checks"]["kernels"]
    return found


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.usefixtures("nothing_else_warms")
def test_kernels_are_warmed_in_the_background_and_health_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event, warmed = threading.Event(), []

    def slow(contract: Any) -> None:
        assert event.wait(20)
        warmed.append(contract.name)

    monkeypatch.setattr(warmth, "warm", slow)
    with served(tmp_path, compute_warm=True) as client:
        check = _kernels(client)
        assert check["status"] == "degraded"
        assert str(len(CONTRACTS)) in check["message"]
        event.set()
        _until(lambda: _kernels(client)["status"] == "ok")
    assert warmed == list(CONTRACTS)


@pytest.mark.usefixtures("nothing_else_warms")
def test_health_waits_for_the_kernels_of_backtests_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = threading.Event()
    monkeypatch.setattr(warmth, "warm", lambda _: None)
    monkeypatch.setattr(backtests, "warm", lambda _: event.wait(20))
    with served(tmp_path, compute_warm=True) as client:
        check = _kernels(client)
        assert check["status"] == "degraded"
        assert "those of backtests are being compiled" in check["message"]
        event.set()
        _until(lambda: _kernels(client)["status"] == "ok")


@pytest.mark.usefixtures("nothing_else_warms")
def test_a_kernel_that_does_not_run_is_told_and_leaves_the_others_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(contract: Any) -> None:
        if contract.name in {"sma", "rsi"}:
            raise RuntimeError("no compiler")

    monkeypatch.setattr(warmth, "warm", broken)
    with served(tmp_path, compute_warm=True) as client:
        told = f"was {len(CONTRACTS) - 2}; failed: rsi, sma"
        _until(lambda: _kernels(client)["message"].endswith(told))
        assert _kernels(client)["status"] == "degraded"


def test_warming_runs_every_indicator() -> None:
    for contract in CONTRACTS.values():
        warmth.warm(contract)


def test_closing_stops_the_warming(monkeypatch: pytest.MonkeyPatch) -> None:
    warmed: list[str] = []
    started, event = threading.Event(), threading.Event()

    def slow(contract: Any) -> None:
        started.set()
        assert event.wait(20)
        warmed.append(contract.name)

    monkeypatch.setattr(warmth, "warm", slow)
    kernels = warmth.Warmth()
    kernels.start()
    assert started.wait(10)
    threading.Timer(0.05, event.set).start()
    kernels.close()
    assert not kernels.is_running
    assert len(warmed) == 1


def test_a_service_that_refuses_says_why_and_is_not_broken_by_it(client: TestClient) -> None:
    for _ in range(3):
        assert client.post("/compute/sma", content=b"{", headers=JSON_TYPE).status_code == 422
    assert client.post("/compute/sma", json=BODY).status_code == 200
    with pytest.raises(InputError):
        CONTRACTS["macd"].resolved({"fast_period": 30})
