"""Backfill jobs, and the partitions that each has made."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "backfill_jobs",
        sa.Column("job_id", sa.String(100), primary_key=True),
        sa.Column("instrument", sa.String(64), nullable=False),
        sa.Column("timeframe", sa.String(8), nullable=False),
        sa.Column("first_month", sa.String(7), nullable=False),
        sa.Column("last_month", sa.String(7), nullable=False),
        sa.Column("is_forced", sa.Boolean, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("request_id", sa.String(200), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("total", sa.Integer),
        sa.Column("failed", sa.Integer, nullable=False),
        sa.Column("current_partition", sa.String(200)),
        sa.Column("starts", sa.Integer, nullable=False),
        sa.Column("is_cancel_asked", sa.Boolean, nullable=False),
        sa.Column("owner", sa.String(36)),
        sa.Column("lease_until_us", sa.BigInteger, nullable=False),
        sa.Column("submitted_us", sa.BigInteger, nullable=False),
        sa.Column("started_us", sa.BigInteger),
        sa.Column("taken_us", sa.BigInteger),
        sa.Column("finished_us", sa.BigInteger),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error_message", sa.Text),
    )
    op.create_index("ix_backfill_jobs_status", "backfill_jobs", ["status", "lease_until_us"])
    op.create_index("ix_backfill_jobs_submitted", "backfill_jobs", ["submitted_us"])
    op.create_table(
        "backfill_partitions",
        sa.Column("job_id", sa.String(100), primary_key=True),
        sa.Column("path", sa.String(200), primary_key=True),
        sa.Column("data_version", sa.String(64), nullable=False),
        sa.Column("candles", sa.BigInteger, nullable=False),
        sa.Column("made_us", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("backfill_partitions")
    op.drop_table("backfill_jobs")
