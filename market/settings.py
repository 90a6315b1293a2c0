"""Settings: one frozen class a room that has an outside, built once in an entry point.

Names, defaults and meaning are listed in ``.env.example`` (a test compares the two).
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def _config(prefix: str) -> SettingsConfigDict:
    return SettingsConfigDict(env_prefix=prefix, frozen=True, extra="ignore", env_file=".env")


class HomeSettings(BaseSettings):
    """Where Wavehouse keeps what it makes, and which instruments it knows."""

    model_config = _config("WAVEHOUSE_")

    home: Path = Path()  # data/ and mlruns/ lie below it
    instruments: Path = Path("instruments.toml")

    @property
    def lake_root(self) -> Path:
        """Folder of the Parquet lake."""
        return self.home.resolve() / "data" / "lake"

    @property
    def database(self) -> Path:
        """File of the SQL database, where no other is named."""
        return self.home.resolve() / "data" / "wavehouse.db"

    @property
    def backfill_logs(self) -> Path:
        """Folder of what workers of backfills say, a file a job."""
        return self.home.resolve() / "data" / "backfills"

    @property
    def dagster_home(self) -> Path:
        """Folder of Dagster's own databases."""
        return self.home.resolve() / "data" / "dagster"


class StorageSettings(BaseSettings):
    """The lake, and the SQL database."""

    model_config = _config("WAVEHOUSE_STORAGE_")

    retention_versions: Annotated[int, Field(ge=0)] = (
        0  # old versions kept a partition; 0 keeps all
    )
    is_near: bool = True  # off where the lake's disk is on a network: reads leave the event loop
    fsync: bool = True  # off only where losing the last seconds at a power cut is fine
    database_url: SecretStr = SecretStr("")  # postgresql://…; empty: SQLite below the home


class BackfillSettings(BaseSettings):
    """Backfills as jobs."""

    model_config = _config("WAVEHOUSE_BACKFILL_")

    dagster_url: str = ""  # http://127.0.0.1:3000; empty: the worker runs Dagster in itself
    workers: Annotated[int, Field(ge=1)] = 1  # jobs made at a time, others wait
    lease_s: Annotated[float, Field(gt=0)] = 45.0  # a worker that is not heard of: gone
    start_s: Annotated[float, Field(gt=0)] = 90.0  # one that was started and has not come: gone
    starts: Annotated[int, Field(ge=1)] = 10  # workers started for one job before it has failed
    attempts: Annotated[int, Field(ge=1)] = 5  # where a retry may help
    retry_s: Annotated[float, Field(gt=0)] = 1.0  # before the second; then twice as long each time
    plan_timeout_s: Annotated[float, Field(gt=0)] = 60.0  # of ?dry_run=true
    stall_s: Annotated[float, Field(gt=0)] = 600.0  # without an event, a server's run is dead


class WarehouseSettings(BaseSettings):
    """ClickHouse in the lake's place, where one machine ends."""

    model_config = _config("WAREHOUSE_")

    lease_s: Annotated[float, Field(gt=0)] = 120.0  # a killed writer keeps its series for so long
    dsn: SecretStr = SecretStr("")  # clickhouse://… or chdb:///folder; empty: the Parquet lake


class ProviderSettings(BaseSettings):
    """Market data sources that lie on a network."""

    model_config = _config("WAVEHOUSE_PROVIDER_")

    binance_url: str = "https://api.binance.com"
    binance_api_key: SecretStr = SecretStr("")
    timeout_s: Annotated[float, Field(gt=0)] = 10.0
    retries: Annotated[int, Field(ge=0)] = 3


class LearningSettings(BaseSettings):
    """Experiment tracking and the model registry."""

    model_config = _config("WAVEHOUSE_LEARNING_")

    tracking_uri: str = ""  # empty: sqlite in mlruns/mlflow.db below the home
    artifact_root: str = ""  # empty: mlruns/artifacts below the home


class LogSettings(BaseSettings):
    """The log of a process that serves."""

    model_config = _config("WAVEHOUSE_LOG_")

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    form: Literal["json", "text"] = "json"


class ServingSettings(BaseSettings):
    """The REST app."""

    model_config = _config("WAVEHOUSE_SERVING_")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    alias: str = "champion"
    alias_poll_s: Annotated[float, Field(gt=0, le=5)] = 2.0
    max_rows: Annotated[int, Field(ge=1)] = 1000  # rows a page
    max_body_bytes: Annotated[int, Field(ge=1)] = 1_000_000
    trusted_proxies: str = ""  # whose X-Forwarded-For is believed: addresses, networks, or *
    anonymous: Literal["none", "loopback", "all"] = "loopback"  # who needs no key; never admin
    open_health: bool = True  # without a key: /health and the probes
    open_metrics: bool = True  # /metrics
    open_docs: bool = True  # /docs, /redoc, /openapi.json
    key_remember_s: Annotated[float, Field(ge=0, le=60)] = 5.0  # a revoked key is refused by then
    jwt_key: SecretStr = SecretStr("")  # a secret (HS256), else a public key in PEM; empty: no JWT
    jwt_algorithm: Literal["HS256", "RS256", "ES256"] = "HS256"
    jwt_issuer: str = ""
    jwt_audience: str = "wavehouse"
    jwt_leeway_s: Annotated[float, Field(ge=0, le=300)] = 30.0
    cors_origins: str = ""  # whose pages may call, with commas; empty: nobody's
    body_timeout_s: Annotated[float, Field(gt=0)] = 60.0  # a body must have come by then
    request_timeout_s: Annotated[float, Field(gt=0)] = 120.0  # its answer must have begun by then
    log_requests: bool = True  # one line a request, and one a computation
    default_rate_limit: str = "5000/hour"  # per key, else address; empty: none. As all that follow
    labels_rate_limit: str = "10000/hour"  # reading labels
    labels_compute_rate_limit: str = "1000/hour"
    backfill_rate_limit: str = "10/hour"
    redis_url: SecretStr = SecretStr("")  # redis://host:6379/0, what processes share; empty: none
    audit_keep_days: Annotated[float, Field(gt=0, le=36_500)] = 365.0
    audit_max_rows: Annotated[int, Field(ge=1)] = 1_000_000  # the oldest go first
    otlp_endpoint: str = ""  # http://collector:4318; empty: no traces
    keep_alive_s: Annotated[float, Field(gt=0, le=3600)] = 75.0  # an idle connection stays open
    shutdown_s: Annotated[float, Field(ge=0, le=600)] = 30.0  # requests in flight may take so long
    compute_max_points: Annotated[int, Field(ge=1)] = 1_000_000  # a column
    compute_max_symbols: Annotated[int, Field(ge=1)] = 1000  # a batch
    compute_max_values: Annotated[int, Field(ge=1)] = 30_000_000  # an answer
    compute_max_body_bytes: Annotated[int, Field(ge=1)] = 64_000_000  # as sent, and as it unpacks
    compute_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    compute_threads: Annotated[int, Field(ge=1)] = 4
    compute_rate_limit: str = "100/minute"  # indicators, backtests, /ml/predict
    compute_cache_bytes: Annotated[int, Field(ge=0)] = 128_000_000  # 0: none
    compute_cache_ttl_s: Annotated[float, Field(gt=0)] = 3600.0
    compute_warm: bool = True  # compile every kernel at the start, in the background
    backtest_threads: Annotated[int, Field(ge=1)] = 2  # as many again for those nobody waits for
    backtest_queue: Annotated[int, Field(ge=0)] = 16  # of those nobody waits for
    backtest_lease_s: Annotated[float, Field(gt=0)] = 45.0  # past what a writer waits: gone
    backtest_keep_days: Annotated[float, Field(gt=0)] = 30.0  # results; trials are kept for ever
    backtest_max_body_bytes: Annotated[int, Field(ge=1)] = 128_000_000
    backtest_max_fills: Annotated[int, Field(ge=1)] = 200_000  # in one answer, some 40 MB
    backtest_max_combinations: Annotated[int, Field(ge=1)] = 10_000  # a sweep
    backtest_max_work: Annotated[int, Field(ge=1)] = 1_000_000_000  # combinations times bars
    labels_max_levels: Annotated[int, Field(ge=1)] = 1000  # a request
    labels_max_path_bars: Annotated[int, Field(ge=1)] = 150_000  # a request
    labels_resident_bytes: Annotated[int, Field(ge=0)] = 256_000_000  # decoded months
    cache_bytes: Annotated[int, Field(ge=0)] = 128_000_000  # of answers, in memory
    cache_timeout_s: Annotated[float, Field(gt=0, le=5)] = 0.05  # one question to Redis
    cache_labels_ttl_s: Annotated[float, Field(gt=0)] = 86_400.0
    cache_levels_ttl_s: Annotated[float, Field(gt=0)] = 300.0
    health_timeout_s: Annotated[float, Field(gt=0)] = 2.0  # a part that is needed answers by then
