"""Labels out of the lake: which rows are asked for, which versions hold them, how they are told.

Pointers are resolved once; everything after works on those immutable versions. Belongs here: the
question, its tag, a row's form in JSON. Keep out: pages (``label_pages``).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
import polars as pl

from market.errors import InputError, NotMaterializedError
from market.months import month_of
from market.ports import Lake, PartitionKey, PartitionRef
from serving.instants import from_us
from serving.label_types import (
    ALIASES,
    BARRIER,
    LABEL_TYPES,
    PLAIN_TYPES,
    TIME_TO_BARRIER,
    known_types,
    suggestion,
)

TABLE: Final = "labels"
SHAPE_VERSION: Final = "1"  # moves when the same rows are answered in another form


@dataclass(frozen=True, slots=True)
class LabelQuery:
    """What a request asks for; ``end_us`` is the last microsecond that is wanted."""

    instrument: str
    timeframe: str
    start_us: int
    end_us: int
    types: tuple[str, ...]
    barrier_label: int | None
    page: int
    per_page: int
    sort: str
    ranges: tuple[tuple[str, float | None, float | None], ...] = ()
    status: str | None = None
    cursor: str | None = None

    @property
    def is_by_time(self) -> bool:
        """Whether rows come in the order in which they rest."""
        return self.sort.startswith("ts_")

    @property
    def is_descending(self) -> bool:
        """Whether the largest comes first."""
        return self.sort.endswith("_desc")

    @property
    def is_filtered(self) -> bool:
        """Whether rows inside the range may be left out."""
        bounds = [bound for _, *both in self.ranges for bound in both]
        named = (self.barrier_label, self.status, *bounds)
        return any(value is not None for value in named)

    @property
    def rows(self) -> range:
        """Positions of the page's rows in the whole answer."""
        return range((self.page - 1) * self.per_page, self.page * self.per_page)

    def condition(self) -> pl.Expr:
        """Return the rows that are meant."""
        wanted = pl.col("ts").is_between(from_us(self.start_us), from_us(self.end_us))
        if self.barrier_label is not None:
            wanted &= pl.col(BARRIER) == self.barrier_label
        if self.status is not None:
            wanted &= pl.col("status") == self.status
        for column, least, most in self.ranges:
            if least is not None:
                wanted &= pl.col(column) >= least
            if most is not None:
                wanted &= pl.col(column) <= most
        return wanted


def parse_types(csv: str | None) -> tuple[str, ...]:
    """Return the label types of a comma-separated list; all of them for none."""
    if csv is None:
        return LABEL_TYPES
    types, unknown = known_types(name.strip() for name in csv.split(","))
    if unknown:
        raise InputError(
            f"label_types: expected some of {', '.join(LABEL_TYPES)} "
            f"(or {', '.join(ALIASES)}), was {', '.join(unknown)!r}{suggestion(unknown[0])}"
        )
    return types


def resolve(lake: Lake, query: LabelQuery) -> list[PartitionRef]:
    """Return the versions of the months that the query overlaps; raise where there is none."""
    first, last = month_of(query.start_us), month_of(query.end_us)
    months = lake.months(TABLE, query.timeframe, query.instrument)
    keys = [
        PartitionKey(TABLE, query.timeframe, query.instrument, month)
        for month in months
        if first <= month <= last
    ]
    refs = [ref for ref in map(lake.find, keys) if ref is not None]
    if not refs:
        there = f"only {months[0]} to {months[-1]}" if months else "none at all"
        raise NotMaterializedError(
            f"{TABLE}/{query.timeframe}/{query.instrument}: expected months {first} to {last}, "
            f"was {there}; run wavehouse backfill labels"
        )
    return refs


def etag(refs: Sequence[PartitionRef], query: LabelQuery, code_version: str, form: str = "") -> str:
    """Return the answer's tag: a hash of data versions, code versions, parameters and its form."""
    parts = [
        [(ref.key.path, ref.version, ref.code_version) for ref in refs],
        [getattr(query, name) for name in query.__slots__],
        [SHAPE_VERSION, code_version, form],
    ]
    return '"' + hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32] + '"'


def one(lake: Lake, ref: PartitionRef, query: LabelQuery) -> dict[str, Any]:
    """Return the row of the candle that opens where the query starts; raise where there is none."""
    found = rows(lake.row(ref, query.start_us), query.types)
    if not found:
        raise NotMaterializedError(
            f"timestamp: expected the open of a complete bar of {ref.key.path}, "
            f"was {from_us(query.start_us).isoformat()}"
        )
    return found[0]


def rows(frame: pl.DataFrame, types: Sequence[str]) -> list[dict[str, Any]]:
    """Return label rows in the form of the API; a null stays a null."""
    labels = [_barrier().alias(BARRIER)] if BARRIER in types else []
    if TIME_TO_BARRIER in types:
        labels.append(pl.col("time_to_barrier_bars").alias(TIME_TO_BARRIER))
    labels += [pl.col(name) for name in PLAIN_TYPES if name in types]
    return frame.select(
        pl.col("instrument").alias("instrument_id"),
        pl.col("timeframe").alias("granularity"),
        pl.col("ts"),
        pl.struct(labels).alias("labels"),
        pl.col("status"),
        pl.col("known_at"),
        pl.col("matured_at"),
        pl.col("label_version"),
        pl.col("horizon_bars").alias("horizon_periods"),
        pl.col("entry_price"),
        pl.col("atr"),
    ).to_dicts()


def _barrier() -> pl.Expr:
    upper, lower = pl.col("upper_barrier"), pl.col("lower_barrier")
    hit = pl.col("barrier_hit")
    return pl.struct(
        pl.col(BARRIER).alias("label"),
        hit,
        pl.col("time_to_barrier_bars").alias("time_to_barrier"),
        pl.col("time_to_barrier_path_bars"),
        pl.when(hit == "upper").then(upper).when(hit == "lower").then(lower).alias("barrier_price"),
        (pl.col("is_upper_adjusted") | pl.col("is_lower_adjusted")).alias("level_adjusted"),
        pl.col("is_upper_adjusted").alias("upper_adjusted"),
        pl.col("is_lower_adjusted").alias("lower_adjusted"),
        "nearest_support",
        "nearest_resistance",
        "support_level_id",
        "resistance_level_id",
        upper,
        lower,
        "t1",
        "is_ambiguous",
        "label_if_long",
        "label_if_short",
        "label_unadjusted",
        "path_timeframe",
        "path_bars",
        "path_bars_missing",
    )
