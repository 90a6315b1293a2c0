"""What the pages for operators say over the wire: models, health, metrics. No logic."""

import datetime as dt
from typing import Literal

from pydantic import Field

from serving.schemas import Answer


class ModelInfo(Answer):
    """A served model version."""

    name: str
    version: int
    alias: str
    kind: str
    run_id: str
    loaded_at: dt.datetime
    timeframe: str
    cutoff: dt.datetime = Field(description="Labels that it learnt had matured by then.")
    label_version: str
    data_version: str = Field(description="Hash of its training set.")
    code_version: str
    features: list[str]
    tags: dict[str, str]


class ModelList(Answer):
    """What is served under the alias, and what could not be."""

    alias: str
    models: list[ModelInfo]
    failures: dict[str, str]


class Check(Answer):
    """One thing that the app depends on."""

    status: Literal["ok", "degraded", "down"]
    message: str | None


class Newest(Answer):
    """The newest feature row of a series."""

    instrument: str
    timeframe: str
    month: str
    ts: dt.datetime | None
    version: str


class LoadedModel(Answer):
    """A model version in memory."""

    name: str
    version: int
    alias: str
    kind: str
    loaded_at: dt.datetime


class Health(Answer):
    """How the app is."""

    status: Literal["healthy", "degraded", "unhealthy"]
    version: str
    timestamp: dt.datetime
    uptime_s: float
    mojo_available: bool
    checks: dict[str, Check]
    models: list[LoadedModel]
    newest: list[Newest]


class Ready(Answer):
    """Whether requests may be sent here, by the parts without which none can be answered."""

    status: Literal["ready", "not_ready"]
    timestamp: dt.datetime
    checks: dict[str, Check]


class Alive(Answer):
    """The process answers."""

    status: Literal["alive"]
    timestamp: dt.datetime
    uptime_s: float


class Latency(Answer):
    """Percentiles in milliseconds, from the histogram's buckets."""

    p50: float
    p95: float
    p99: float


class RouteWindow(Answer):
    """Requests of a route in the window."""

    requests: int
    errors: int = Field(description="Answered with 5xx.")
    latency_ms: Latency | None


class HttpWindow(Answer):
    """Requests of every route in the window."""

    requests: int
    requests_per_second: float
    errors: int
    error_rate: float | None
    latency_ms: Latency | None
    routes: dict[str, RouteWindow]


class CacheWindow(Answer):
    """Questions to the cache in the window, and what it holds now."""

    questions: int
    hit_rate: float | None
    memory_megabytes: float
    keys: int


class LabelsWindow(Answer):
    """Labels that were computed on request in the window."""

    computed: int
    computed_per_hour: float
    errors: int


class WindowReport(Answer):
    """What happened in the last so many seconds, over all workers that share their metrics."""

    timestamp: dt.datetime
    window: str
    covered_s: float = Field(description="Less than the window soon after the start.")
    http: HttpWindow
    cache: CacheWindow
    labels: LabelsWindow


class Sample(Answer):
    """One number."""

    name: str
    labels: dict[str, str]
    value: float | None


class MetricFamily(Answer):
    """One metric and its samples."""

    name: str
    type: str
    help: str
    samples: list[Sample]


class MetricsReport(Answer):
    """The metrics as JSON."""

    timestamp: dt.datetime
    metrics: list[MetricFamily]
