"""Levels as of any instant, folded from the event log.

Belongs here: which months of the log, and rows in the form of the API. Keep out: the fold itself
(``pipeline.level_fold``). A level may have been made long before it acts, so every month up to the
instant is read.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import orjson
import polars as pl

from market.errors import NotMaterializedError
from market.months import month_of
from market.ports import Lake, PartitionKey, PartitionRef
from pipeline.level_fold import fold

TABLE: Final = "level_events"
SHAPE_VERSION: Final = "1"


def resolve(lake: Lake, instrument: str, timeframe: str, as_of_us: int) -> list[PartitionRef]:
    """Return the versions of the months up to an instant; raise where there is none."""
    last = month_of(as_of_us)
    months = lake.months(TABLE, timeframe, instrument)
    keys = [PartitionKey(TABLE, timeframe, instrument, month) for month in months if month <= last]
    refs = [ref for ref in map(lake.find, keys) if ref is not None]
    if not refs:
        there = f"only from {months[0]}" if months else "none at all"
        raise NotMaterializedError(
            f"{TABLE}/{timeframe}/{instrument}: expected months until {last}, was {there}; "
            "run wavehouse backfill levels"
        )
    return refs


def etag(refs: Sequence[PartitionRef], as_of_us: int, code_version: str) -> str:
    """Return the answer's tag: a hash of data versions, the instant and code versions."""
    parts = [
        [(ref.key.path, ref.version, ref.code_version) for ref in refs],
        [as_of_us, SHAPE_VERSION, code_version],
    ]
    return '"' + hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32] + '"'


def rows(lake: Lake, refs: Sequence[PartitionRef], as_of_us: int) -> list[dict[str, Any]]:
    """Return the levels that stood at the instant, oldest first."""
    standing = fold(lake.read(refs), as_of_us)
    return standing.select(
        "level_id",
        "price",
        pl.col("level_type").alias("type"),
        "status",
        pl.col("created_ts").alias("created_at"),
        "touches",
        "strength",
        pl.col("last_event").alias("last_event_type"),
        pl.col("last_event_ts").alias("last_event_at"),
    ).to_dicts()
