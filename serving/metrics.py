"""Prometheus metrics of one app, in a registry of its own.

Add a metric here, once. Keep out: global registries (two apps in one process would share counts).

With several workers (``PROMETHEUS_MULTIPROC_DIR``) each writes its numbers into files of a folder,
and whoever is asked adds them up. Counts of a worker that is gone stay, its gauges go.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.registry import Collector

from market.errors import WavehouseError
from serving.metrics_workers import Workers

_DURATION_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


_COMPUTATIONS = ("/compute/", "/backtest/", "/ml/")  # paths
_COMPUTE_BUCKETS = (1e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 0.1, 1.0, 10.0, 30.0)
_POINTS_BUCKETS = (10, 100, 1_000, 10_000, 100_000, 1_000_000)


class ComputeMetrics:
    """What is counted of computations, by the names that dashboards know."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "mojo_compute_requests_total",
            "Answered requests for computations.",
            ("endpoint", "status"),
            registry=registry,
        )
        self.duration = Histogram(
            "mojo_compute_request_duration_seconds",
            "Time from the first byte of such a request to the end of its answer.",
            ("endpoint",),
            buckets=_DURATION_BUCKETS,
            registry=registry,
        )
        self.seconds = Histogram(
            "mojo_computation_seconds",
            "Time in the kernel, an indicator of a request.",
            ("indicator",),
            buckets=_COMPUTE_BUCKETS,
            registry=registry,
        )
        self.data_points = Histogram(
            "mojo_compute_data_points",
            "Bars of a request.",
            buckets=_POINTS_BUCKETS,
            registry=registry,
        )
        self.errors = Counter(
            "mojo_compute_errors_total",
            "Refused or failed requests for computations.",
            ("endpoint", "code"),
            registry=registry,
        )
        self.active = Gauge(
            "mojo_compute_active_connections",
            "Requests for computations that are being answered.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._engine(registry)
        self._cache(registry)

    def observe(self, endpoint: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.requests.labels(endpoint, str(status)).inc()
        self.duration.labels(endpoint).observe(seconds)

    def count_computed(
        self, indicator: str, milliseconds: float, symbols: int, *, is_fallback: bool
    ) -> None:
        """Count one indicator of some symbols, which took so long together."""
        self.seconds.labels(indicator).observe(milliseconds / 1e3)
        if is_fallback:
            self.fallbacks.inc(symbols)

    def count_cache(self, indicator: str, *, is_hit: bool) -> None:
        """Count a look into the cache."""
        (self._hits if is_hit else self._misses).labels(indicator).inc()

    def _engine(self, registry: CollectorRegistry) -> None:
        self.mojo_available = Gauge(
            "mojo_available",
            "Whether the Mojo library is there.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self.fallbacks = Counter(
            "mojo_fallback_total",
            "Computations that numba served because Mojo is not there.",
            registry=registry,
        )

    def _cache(self, registry: CollectorRegistry) -> None:
        self._hits = Counter(
            "mojo_cache_hits_total", "Answers given again.", ("indicator",), registry=registry
        )
        self._misses = Counter(
            "mojo_cache_misses_total",
            "Answers looked for and not there.",
            ("indicator",),
            registry=registry,
        )


class CacheMetrics:
    """What is counted of the cache."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "cache_requests_total",
            "Questions to the cache, by what answered them.",
            ("kind", "result"),
            registry=registry,
        )
        self.hit_rate = Gauge(
            "cache_hit_rate",
            "Part of the questions of the last five minutes that a tier answered.",
            multiprocess_mode="livemostrecent",
            registry=registry,
        )
        self.label_hit_rate = Gauge(
            "label_cache_hit_rate",
            "The same of labels, by the tier that answered.",
            ("cache_level",),
            multiprocess_mode="livemostrecent",
            registry=registry,
        )
        self.megabytes = Gauge(
            "cache_memory_usage_megabytes",
            "Answers in memory.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.keys = Gauge(
            "cache_keys_total",
            "How many answers are in memory.",
            multiprocess_mode="livesum",
            registry=registry,
        )

    def observe(self, kind: str, result: str) -> None:
        """Count one question."""
        self.requests.labels(kind, result).inc()


class LabelMetrics:
    """What is counted of labels that are computed on request."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.seconds = Histogram(
            "label_computation_duration_seconds",
            "Time of one computation.",
            ("instrument", "granularity", "label_type"),
            buckets=_DURATION_BUCKETS,
            registry=registry,
        )
        self.errors = Counter(
            "label_computation_errors_total",
            "Computations that failed.",
            ("instrument", "granularity", "label_type", "error_type"),
            registry=registry,
        )

    @contextmanager
    def timed(self, instrument: str, granularity: str, types: Iterable[str]) -> Iterator[None]:
        """Time the block as one computation; several types are computed at once."""
        named = list(types)
        labels = (instrument, granularity, named[0] if len(named) == 1 else "several")
        try:
            with self.seconds.labels(*labels).time():
                yield
        except WavehouseError as e:
            self.errors.labels(*labels, e.code).inc()
            raise


class BackfillMetrics:
    """What is counted of backfill jobs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.asked = Counter(
            "backfills_asked_total",
            "Backfills that were asked for, by what became of it.",
            ("outcome",),
            registry=registry,
        )
        self.workers = Counter(
            "backfill_workers_started_total", "Workers that were started.", registry=registry
        )
        self.jobs = Gauge(
            "backfill_jobs",
            "Jobs there are.",
            ("status",),
            multiprocess_mode="livemostrecent",  # of a table that all workers read
            registry=registry,
        )


class Metrics:
    """The app's counters, gauges and histograms."""

    def __init__(self, folder: Path | None = None) -> None:
        """``folder`` is where workers share their numbers, as the environment says."""
        self.registry = CollectorRegistry()
        self._workers = Workers(folder) if folder is not None else None
        self.requests = Counter(
            "http_requests_total",
            "Answered requests.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.duration = Histogram(
            "http_request_duration_seconds",
            "Time from the first byte of a request to the end of its answer.",
            ("method", "route"),
            buckets=_DURATION_BUCKETS,
            registry=self.registry,
        )
        self.predictions = Counter(
            "predictions_total",
            "Predictions answered.",
            ("model", "version"),
            registry=self.registry,
        )
        self.loaded_version = Gauge(
            "model_loaded_version",
            "Version of a model that is served.",
            ("model", "alias"),
            multiprocess_mode="livemostrecent",
            registry=self.registry,
        )
        self.swaps = Counter(
            "alias_swaps_total",
            "Times that a moved alias was picked up.",
            ("model",),
            registry=self.registry,
        )
        self.requests_per_second = Gauge(
            "http_requests_per_second",
            "Answered requests of the last minute, a second.",
            multiprocess_mode="livemostrecent",
            registry=self.registry,
        )
        self.compute = ComputeMetrics(self.registry)
        self.cache = CacheMetrics(self.registry)
        self.labels = LabelMetrics(self.registry)
        self.backfills = BackfillMetrics(self.registry)
        if folder is None:
            ProcessCollector(registry=self.registry)

    def collected(self) -> Collector:
        """Return what is told: this process's metrics, or those of all workers added up.

        Raise ``StorageError`` where the workers' files cannot be read.
        """
        return self.registry if self._workers is None else self._workers.collected()

    def unload(self, model: str, alias: str) -> None:
        """Tell of a model that no version of it is served."""
        if self._workers is None:
            self.loaded_version.remove(model, alias)
        else:  # a series of a shared file cannot be removed
            self.loaded_version.labels(model, alias).set(math.nan)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.requests.labels(method, route, str(status)).inc()
        self.duration.labels(method, route).observe(seconds)
        if route.startswith(_COMPUTATIONS):
            self.compute.observe(route, status, seconds)

    def count_refused(self, route: str, code: str) -> None:
        """Count a request that was answered before its route, by key, scope or rate."""
        if route.startswith(_COMPUTATIONS):
            self.compute.errors.labels(route, code).inc()

    def snapshot(self) -> list[Mapping[str, Any]]:
        """Return every metric with its samples; what is not finite is ``None``."""
        return [
            {
                "name": family.name,
                "type": family.type,
                "help": family.documentation,
                "samples": [
                    {
                        "name": sample.name,
                        "labels": sample.labels,
                        "value": sample.value if math.isfinite(sample.value) else None,
                    }
                    for sample in family.samples
                ],
            }
            for family in self.collected().collect()
        ]
