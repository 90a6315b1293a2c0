"""Prometheus metrics of one app, in a registry of its own.

Add a metric here, once. Keep out: global registries (two apps in one process would share counts).
"""

import math
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_DURATION_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """The app's counters, gauges and histograms."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
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
            registry=self.registry,
        )
        self.swaps = Counter(
            "alias_swaps_total",
            "Times that a moved alias was picked up.",
            ("model",),
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.requests.labels(method, route, str(status)).inc()
        self.duration.labels(method, route).observe(seconds)

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
            for family in self.registry.collect()
        ]
