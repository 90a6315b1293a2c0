"""``GET /v1/metrics``: what happened in the last minutes and hours."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from market.errors import StorageError
from serving.metrics import Metrics
from serving.metrics_windows import WINDOWS_S, Windows, quantile
from serving.operations import WindowReport
from storage.cache import Cache, CacheMode
from tests.serving.label_world import SOURCE

HOUR = 3600.0


class Clocked:
    """Metrics, a cache and their windows, at a time that the test says."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.metrics = Metrics()
        self.cache = Cache(memory_bytes=100_000, observe=self.metrics.cache.observe)
        self.windows = Windows(self.metrics, self.cache, clock=lambda: self.now)
        self.windows.take()

    def until(self, seconds: float, request: Callable[[], None] | None = None) -> None:
        """Let time pass in steps of ten seconds, with a request in each."""
        for _ in range(round(seconds / 10)):
            if request is not None:
                request()
            self.now += 10
            self.windows.take()

    def served(self, seconds: float = 0.02, status: int = 200, route: str = "/predict") -> None:
        """Count one answer."""
        self.metrics.observe("GET", route, status, seconds)


def test_a_window_has_what_came_in_it_and_nothing_else() -> None:
    at = Clocked()
    at.until(600, at.served)
    at.until(300, lambda: at.served(status=503))
    report = at.windows.report("5m")
    assert (report.covered_s, report.http.requests, report.http.errors) == (300.0, 30, 30)
    assert report.http.error_rate == 1.0
    assert report.http.requests_per_second == 0.1
    whole = at.windows.report("15m")
    assert (whole.http.requests, whole.http.errors) == (90, 30)
    assert whole.http.routes["/predict"].requests == 90


def test_a_window_longer_than_the_process_covers_what_there_was() -> None:
    at = Clocked()
    at.until(60, at.served)
    report = at.windows.report("24h")
    assert (report.covered_s, report.http.requests) == (60.0, 6)


def test_nothing_happened() -> None:
    report = Clocked().windows.report("1m")
    assert (report.covered_s, report.http.requests, report.http.error_rate) == (0.0, 0, None)
    assert report.http.latency_ms is None
    assert report.cache.hit_rate is None


@pytest.mark.slow
def test_days_are_kept_in_a_bounded_number_of_snapshots() -> None:
    at = Clocked()
    at.until(26 * HOUR, at.served)
    for name, seconds in WINDOWS_S.items():
        report = at.windows.report(name)
        assert seconds <= report.covered_s <= seconds + 300
        assert report.http.requests == report.covered_s / 10
    assert len(at.windows._fine) + len(at.windows._coarse) == 650


def test_counts_that_begin_anew_are_not_negative() -> None:
    at = Clocked()
    at.until(120, at.served)
    at.metrics.requests.clear()
    at.served()
    assert at.windows.report("1m").http.requests == 1


def test_the_cache_s_part() -> None:
    async def scenario() -> None:
        at = Clocked()

        async def make() -> bytes:
            return b"x" * 1000

        async def ask(key: str, kind: str, mode: CacheMode = CacheMode.PREFER) -> None:
            await at.cache.fetch(key, make, kind=kind, mode=mode)

        for key, kind in (("a", "labels"), ("a", "labels"), ("b", "levels"), ("b", "levels")):
            await ask(key, kind)
        await ask("a", "labels")
        await ask("c", "labels", CacheMode.BYPASS)
        at.until(10)
        report = at.windows.report("5m")
        assert (report.cache.questions, report.cache.hit_rate) == (5, 0.6)
        assert report.cache.keys == 2
        assert report.cache.memory_megabytes == pytest.approx(0.003, abs=0.001)
        told = {
            (s.name, *s.labels.values()): s.value
            for family in at.metrics.collected().collect()
            for s in family.samples
        }
        assert told["cache_hit_rate",] == 0.6
        assert told["label_cache_hit_rate", "memory"] == pytest.approx(2 / 3)
        assert told["label_cache_hit_rate", "redis"] == 0.0
        assert told["cache_keys_total",] == 2

    asyncio.run(scenario())


@given(seconds=st.lists(st.floats(1e-4, 4.9), min_size=1, max_size=200), part=st.floats(0.01, 1.0))
def test_a_quantile_is_right_to_a_bucket(seconds: list[float], part: float) -> None:
    bounds = [0.001, 0.01, 0.1, 1.0, 5.0, float("inf")]
    buckets = [(bound, sum(x <= bound for x in seconds)) for bound in bounds]
    found = quantile(part, buckets)
    assert found is not None
    rank = max(0, -int(-part * len(seconds) // 1) - 1)
    exact = sorted(seconds)[min(rank, len(seconds) - 1)]
    bound = next(b for b in bounds if exact <= b)
    below = max((b for b in bounds if b < exact), default=0.0)
    assert below <= found <= bound or found == pytest.approx(bound)


def test_a_quantile_beyond_the_buckets_is_the_last_bound() -> None:
    assert quantile(0.5, [(1.0, 0.0), (5.0, 1.0), (float("inf"), 10.0)]) == 5.0
    assert quantile(0.5, [(1.0, 0.0), (float("inf"), 0.0)]) is None
    assert quantile(0.5, []) is None


@pytest.mark.parametrize("window", ["1m", "5m", "15m", "1h", "6h", "24h"])
def test_the_page_tells_of_every_window(client: TestClient, window: str) -> None:
    client.get("/v1/health/live")
    client.get("/v1/nowhere")
    answer = client.get("/v1/metrics", params={"window": window})
    assert answer.status_code == 200
    report = WindowReport.model_validate_json(answer.content)
    assert report.window == window
    assert report.http.routes["/v1/health/live"].requests == 1
    assert report.http.routes["unmatched"].errors == 0
    latency = report.http.latency_ms
    assert latency is not None
    assert 0 < latency.p50 <= latency.p95 <= latency.p99


def test_the_page_as_prometheus_reads_it(client: TestClient) -> None:
    answer = client.get("/v1/metrics", params={"format": "prometheus"})
    assert answer.headers["content-type"].startswith("text/plain")
    for name in (
        "http_requests_per_second", "cache_hit_rate", "cache_memory_usage_megabytes",
        "cache_keys_total", "http_request_duration_seconds", "label_cache_hit_rate",
        "label_computation_duration_seconds", "label_computation_errors_total",
    ):  # fmt: skip
        assert f"# TYPE {name} " in answer.text


@pytest.mark.parametrize("params", [{"window": "2m"}, {"format": "xml"}, {"windows": "5m"}])
def test_the_page_refuses(client: TestClient, params: dict[str, str]) -> None:
    answer = client.get("/v1/metrics", params=params)
    assert answer.status_code == 422
    assert answer.json()["error"]["details"][0]["field"].endswith(next(iter(params)))


def test_labels_of_routes_are_those_of_the_cache(client: TestClient) -> None:
    path = "/v1/labels/EURUSD/H4/2018-01-01T02:00:00Z"
    for _ in range(3):
        client.get(path)
    report = WindowReport.model_validate_json(client.get("/v1/metrics").content)
    assert (report.cache.questions, report.cache.keys) == (3, 1)
    assert report.cache.hit_rate == pytest.approx(2 / 3)


def test_a_computed_label_is_timed_by_its_series_and_type(client: TestClient) -> None:
    body = SOURCE | {"instrument_id": "EURUSD"}
    for types in (["enhanced_triple_barrier"], ["mfe", "mae"], ["mfe", "mae"]):
        answer = client.post("/v1/labels/compute", json=body | {"label_types": types})
        assert answer.status_code == 200
    name = "label_computation_duration_seconds_count"
    told = {
        tuple(sample.labels[k] for k in ("instrument", "granularity", "label_type")): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == name
    }
    assert told == {
        ("EURUSD", "H4", "enhanced_triple_barrier"): 1.0,
        ("EURUSD", "H4", "several"): 1.0,  # the third came from the cache
    }
    report = WindowReport.model_validate_json(client.get("/v1/metrics").content)
    assert (report.labels.computed, report.labels.errors) == (2, 0)


def test_a_label_that_fails_is_counted_by_its_code() -> None:
    at = Clocked()
    with pytest.raises(StorageError), at.metrics.labels.timed("EURUSD", "H4", ["mfe"]):
        raise StorageError("lake: expected an answer, was none")
    errors = at.metrics.labels.errors.labels("EURUSD", "H4", "mfe", "STORAGE")
    assert errors._value.get() == 1.0
    at.until(10)
    assert at.windows.report("1m").labels.errors == 1
