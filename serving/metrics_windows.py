"""What happened in the last minutes and hours, from differences of what is counted anyway.

Belongs here: snapshots of running totals, and what lies between two of them. Keep out: counting.
Totals are those of all workers that share their metrics, so a window is of all of them too.
"""

import datetime as dt
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from market.errors import StorageError
from serving.metrics import Metrics
from serving.operations import CacheWindow, HttpWindow, LabelsWindow, Latency, RouteWindow
from serving.operations import WindowReport as Report
from storage.cache import Cache

log = logging.getLogger("wavehouse.serving")

WINDOWS_S: Final[Mapping[str, int]] = {
    "1m": 60, "5m": 300, "15m": 900, "1h": 3600, "6h": 21_600, "24h": 86_400,
}  # fmt: skip
EVERY_S: Final = 10.0
_FINE: Final = 361  # an hour of them
_COARSE_S: Final = 300.0
_COARSE: Final = 289  # a day of them

_REQUESTS: Final = "http_requests_total"
_BUCKET: Final = "http_request_duration_seconds_bucket"
_QUESTIONS: Final = "cache_requests_total"
_COMPUTED: Final = "label_computation_duration_seconds_count"
_FAILED: Final = "label_computation_errors_total"
_MEGABYTES: Final = "cache_memory_usage_megabytes"
_KEYS: Final = "cache_keys_total"
_KEPT: Final[Mapping[str, tuple[str, ...]]] = {  # sample → labels that are told apart
    _REQUESTS: ("route", "status"),
    _BUCKET: ("route", "le"),
    _QUESTIONS: ("kind", "result"),
    _COMPUTED: (),
    _FAILED: (),
    _MEGABYTES: (),
    _KEYS: (),
}
_HITS: Final = ("memory", "redis")

Series = tuple[str, ...]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Snapshot:
    at: float
    numbers: Numbers


class Windows:
    """Snapshots of one app's totals; safe to call from any thread."""

    def __init__(
        self, metrics: Metrics, cache: Cache, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._cache = cache
        self._clock = clock
        self._lock = threading.Lock()
        self._index: dict[Series, int] = {}
        self._fine: deque[_Snapshot] = deque(maxlen=_FINE)
        self._coarse: deque[_Snapshot] = deque(maxlen=_COARSE)

    def take(self) -> None:
        """Keep the totals of now, and set the gauges that speak of the last minutes."""
        try:
            now = self._refreshed()
        except StorageError:  # of the workers' files: the next may go well
            log.exception("no snapshot of the metrics")
            return
        with self._lock:
            self._fine.append(now)
            if not self._coarse or now.at - self._coarse[-1].at >= _COARSE_S:
                self._coarse.append(now)

    def refresh(self) -> None:
        """Set the gauges that speak of the last minutes; raise ``StorageError`` as metrics do."""
        self._refreshed()

    def report(self, window: str) -> Report:
        """Return what happened in a window of ``WINDOWS_S``, or since the start if that is less."""
        now = self._refreshed()
        found, covered_s = self._between(now, WINDOWS_S[window])
        return Report(
            timestamp=dt.datetime.now(dt.UTC),
            window=window,
            covered_s=round(covered_s, 3),
            http=_http(found, covered_s),
            cache=_cache(found, self._totals(now.numbers)),
            labels=_labels(found, covered_s),
        )

    def _refreshed(self) -> _Snapshot:
        stats, of = self._cache.stats(), self._metrics
        of.cache.megabytes.set(stats.memory_bytes / 1e6)
        of.cache.keys.set(stats.memory_keys)
        now = self._read()
        minute, seconds = self._between(now, WINDOWS_S["1m"])
        of.requests_per_second.set(_sum(minute, _REQUESTS) / seconds if seconds else 0.0)
        recent, _ = self._between(now, WINDOWS_S["5m"])
        rate = _rate(recent, _HITS)
        if rate is not None:
            of.cache.hit_rate.set(rate)
        for level in _HITS:
            rate = _rate(recent, (level,), kind="labels")
            if rate is not None:
                of.cache.label_hit_rate.labels(level).set(rate)
        return now

    def _read(self) -> _Snapshot:
        totals: dict[Series, float] = {}
        for family in self._metrics.collected().collect():
            for sample in family.samples:
                kept = _KEPT.get(sample.name)
                if kept is not None:
                    series = (sample.name, *(sample.labels[label] for label in kept))
                    totals[series] = totals.get(series, 0.0) + sample.value
        with self._lock:
            for series in totals:
                self._index.setdefault(series, len(self._index))
            numbers = np.zeros(len(self._index))
            for series, value in totals.items():
                numbers[self._index[series]] = value
        return _Snapshot(self._clock(), numbers)

    def _between(self, now: _Snapshot, seconds: int) -> tuple[dict[Series, float], float]:
        """Return what was added since the newest snapshot that is so old, or since the oldest."""
        with self._lock:
            kept = [*self._coarse, *self._fine]
        if not kept:
            return self._totals(now.numbers), 0.0
        old = [snapshot for snapshot in kept if snapshot.at <= now.at - seconds]
        base = max(old, key=_at) if old else min(kept, key=_at)
        before = np.zeros_like(now.numbers)
        before[: base.numbers.size] = base.numbers
        is_anew = now.numbers < before  # the files were cleared: all of it came since
        return self._totals(np.where(is_anew, now.numbers, now.numbers - before)), now.at - base.at

    def _totals(self, numbers: Numbers) -> dict[Series, float]:
        with self._lock:
            return dict(zip(self._index, numbers.tolist(), strict=False))


def quantile(part: float, buckets: Iterable[tuple[float, float]]) -> float | None:
    """Return a quantile of cumulative ``(upper bound, count)``, straight lines within a bucket.

    What lies above the last finite bound is told as that bound; nothing is told of no observation.
    """
    lower, below = 0.0, 0.0
    ordered = sorted(buckets)
    wanted = part * ordered[-1][1] if ordered else 0.0
    if not wanted:
        return None
    for bound, count in ordered:
        if count >= wanted:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (wanted - below) / (count - below)
        lower, below = bound, count
    return lower


def _http(found: Mapping[Series, float], covered_s: float) -> HttpWindow:
    routes = {
        route: RouteWindow(
            requests=round(_sum(found, _REQUESTS, route)),
            errors=_errors(found, route),
            latency_ms=_latency(found, route),
        )
        for route in sorted({series[1] for series in found if series[0] == _REQUESTS})
        if _sum(found, _REQUESTS, route)
    }
    requests = sum(route.requests for route in routes.values())
    errors = sum(route.errors for route in routes.values())
    return HttpWindow(
        requests=requests,
        requests_per_second=round(requests / covered_s, 3) if covered_s else 0.0,
        errors=errors,
        error_rate=errors / requests if requests else None,
        latency_ms=_latency(found, None),
        routes=routes,
    )


def _cache(found: Mapping[Series, float], totals: Mapping[Series, float]) -> CacheWindow:
    asked = _sum(found, _QUESTIONS) - _results(found, ("bypassed",), None)
    return CacheWindow(
        questions=round(asked),
        hit_rate=_rate(found, _HITS),
        memory_megabytes=round(_sum(totals, _MEGABYTES), 3),
        keys=round(_sum(totals, _KEYS)),
    )


def _labels(found: Mapping[Series, float], covered_s: float) -> LabelsWindow:
    computed = round(_sum(found, _COMPUTED))
    return LabelsWindow(
        computed=computed,
        computed_per_hour=round(computed * 3600 / covered_s, 1) if covered_s else 0.0,
        errors=round(_sum(found, _FAILED)),
    )


def _rate(
    found: Mapping[Series, float], results: tuple[str, ...], kind: str | None = None
) -> float | None:
    every = ("memory", "redis", "computed", "shared", "failed")
    asked = _results(found, every, kind)
    return _results(found, results, kind) / asked if asked else None


def _results(found: Mapping[Series, float], results: tuple[str, ...], kind: str | None) -> float:
    return sum(
        value
        for series, value in found.items()
        if series[0] == _QUESTIONS and series[2] in results and kind in {None, series[1]}
    )


def _latency(found: Mapping[Series, float], route: str | None) -> Latency | None:
    buckets: dict[float, float] = {}
    for series, value in found.items():
        if series[0] == _BUCKET and route in {None, series[1]}:
            bound = float(series[2])
            buckets[bound] = buckets.get(bound, 0.0) + value
    found_at = [quantile(part, buckets.items()) for part in (0.5, 0.95, 0.99)]
    if any(value is None for value in found_at):
        return None
    p50, p95, p99 = (round(1e3 * (value or 0.0), 3) for value in found_at)
    return Latency(p50=p50, p95=p95, p99=p99)


def _errors(found: Mapping[Series, float], route: str) -> int:
    return round(
        sum(
            value
            for series, value in found.items()
            if series[:2] == (_REQUESTS, route) and series[2].startswith("5")
        )
    )


def _sum(found: Mapping[Series, float], *series: str) -> float:
    size = len(series)
    return sum(value for name, value in found.items() if name[:size] == series)


def _at(snapshot: _Snapshot) -> float:
    return snapshot.at
