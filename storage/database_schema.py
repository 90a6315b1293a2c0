"""The tables of the SQL database, as the code knows them.

A change here needs a migration in ``migrations/versions``: a test compares the two. Instants are
microseconds since 1970, UTC.
"""

from typing import Final

import sqlalchemy as sa

METADATA: Final = sa.MetaData()

BACKTEST_RUNS: Final = sa.Table(
    "backtest_runs",
    METADATA,
    sa.Column("run_id", sa.String(36), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),  # run, sweep
    sa.Column("status", sa.String(16), nullable=False),  # pending, running, completed, failed
    sa.Column("strategy_id", sa.String(64), nullable=False),
    sa.Column("symbol", sa.String(64), nullable=False),
    sa.Column("data_version", sa.String(64), nullable=False),
    sa.Column("owner", sa.String(36), nullable=False),  # the process that has it
    sa.Column("lease_until_us", sa.BigInteger, nullable=False),  # by then its owner is heard of
    sa.Column("submitted_us", sa.BigInteger, nullable=False),
    sa.Column("started_us", sa.BigInteger),
    sa.Column("finished_us", sa.BigInteger),
    sa.Column("answer", sa.LargeBinary),  # JSON, deflated
    sa.Column("error_code", sa.String(64)),
    sa.Column("error_message", sa.Text),
    sa.Index("ix_backtest_runs_status", "status", "lease_until_us"),
    sa.Index("ix_backtest_runs_finished", "finished_us"),
)
"""One row a backtest or sweep that was asked for."""

TRIALS: Final = sa.Table(
    "trials",
    METADATA,
    sa.Column("data_version", sa.String(64), primary_key=True),
    sa.Column("trial_key", sa.String(64), primary_key=True),  # hash of strategy and parameters
    sa.Column("strategy_id", sa.String(64), nullable=False),
    sa.Column("parameters", sa.Text, nullable=False),  # JSON
    sa.Column("sharpe_per_bar", sa.Double),  # null where the equity is a flat line
    sa.Column("counted_us", sa.BigInteger, nullable=False),
)
"""One row a set of parameters that was tried on some bars; never removed."""

API_KEYS: Final = sa.Table(
    "api_keys",
    METADATA,
    sa.Column("key_id", sa.String(12), primary_key=True),
    sa.Column("key_hash", sa.String(64), nullable=False),  # SHA-256, hexadecimal
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("scopes", sa.String(128), nullable=False),  # with spaces between
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("expires_us", sa.BigInteger),
    sa.Column("revoked_us", sa.BigInteger),
    sa.Index("ix_api_keys_hash", "key_hash", unique=True),
)
"""One row an API key that was made; the key itself is nowhere."""

BACKFILL_JOBS: Final = sa.Table(
    "backfill_jobs",
    METADATA,
    sa.Column("job_id", sa.String(100), primary_key=True),
    sa.Column("instrument", sa.String(64), nullable=False),
    sa.Column("timeframe", sa.String(8), nullable=False),
    sa.Column("first_month", sa.String(7), nullable=False),
    sa.Column("last_month", sa.String(7), nullable=False),
    sa.Column("is_forced", sa.Boolean, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),  # 0 is first
    sa.Column("request_id", sa.String(200), nullable=False),  # of the request that asked
    sa.Column("status", sa.String(16), nullable=False),  # pending, running, completed, failed, …
    sa.Column("total", sa.Integer),  # partitions; null until a worker has looked
    sa.Column("failed", sa.Integer, nullable=False),
    sa.Column("current_partition", sa.String(200)),  # the newest that was made
    sa.Column("starts", sa.Integer, nullable=False),  # workers that were started for it
    sa.Column("is_cancel_asked", sa.Boolean, nullable=False),
    sa.Column("owner", sa.String(36)),  # the process that has it
    sa.Column("lease_until_us", sa.BigInteger, nullable=False),  # by then its owner is heard of
    sa.Column("submitted_us", sa.BigInteger, nullable=False),
    sa.Column("started_us", sa.BigInteger),
    sa.Column("taken_us", sa.BigInteger),  # by the worker that has it now
    sa.Column("finished_us", sa.BigInteger),
    sa.Column("error_code", sa.String(64)),
    sa.Column("error_message", sa.Text),
    sa.Index("ix_backfill_jobs_status", "status", "lease_until_us"),
    sa.Index("ix_backfill_jobs_submitted", "submitted_us"),
)
"""One row a backfill that was asked for."""

BACKFILL_PARTITIONS: Final = sa.Table(
    "backfill_partitions",
    METADATA,
    sa.Column("job_id", sa.String(100), primary_key=True),
    sa.Column("path", sa.String(200), primary_key=True),
    sa.Column("data_version", sa.String(64), nullable=False),
    sa.Column("candles", sa.BigInteger, nullable=False),  # labelled; 0 of other tables
    sa.Column("made_us", sa.BigInteger, nullable=False),
)
"""One row a partition that a job has made, or found as it should be."""

AUDIT_LOG: Final = sa.Table(
    "audit_log",
    METADATA,
    sa.Column("audit_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("principal", sa.String(200), nullable=False),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("method", sa.String(16), nullable=False),
    sa.Column("path", sa.String(512), nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("request_id", sa.String(128), nullable=False),
    sa.Column("left_out", sa.Integer, nullable=False),  # others like it without a row
    sa.Index("ix_audit_log_at", "at_us"),
    sqlite_autoincrement=True,  # a number is never given twice
)
"""One row a change that was asked for, or a refusal; the database refuses to change one."""
