"""Pages of labels out of the lake: only the months asked, read no more than the page takes.

Pointers are resolved once; everything after works on those immutable versions.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
import polars as pl

from market.errors import InputError, NotMaterializedError
from market.months import month_of
from market.ports import Lake, PartitionKey, PartitionRef
from serving.instants import from_us

TABLE: Final = "labels"
SHAPE_VERSION: Final = "1"  # moves when the same rows are answered in another form

BARRIER: Final = "enhanced_triple_barrier"
PLAIN_TYPES: Final = (
    "forward_return", "return_sign", "vol_scaled_return", "return_quantile", "triple_barrier",
    "mfe", "mae", "profit_factor", "retouch_count", "touch_run", "breakout_occurred",
    "nearest_breakout_occurred", "flip_occurred", "range_expansion", "event_burst",
    "drawdown_depth", "end_vs_extremum_gap", "max_penetration", "time_underwater",
    "path_skewness", "nearest_level_distance", "next_touch_time", "trend_scan_sign",
    "trend_scan_t", "meta_label",
)  # fmt: skip
LABEL_TYPES: Final = (BARRIER, *PLAIN_TYPES)
ALIASES: Final[Mapping[str, str]] = {
    "2": "vol_scaled_return", "4": "return_quantile", "6": "triple_barrier", "9": "mfe",
    "10": "mae", "11.a": BARRIER, "12": "retouch_count", "15": "touch_run",
    "16": "breakout_occurred", "17": "flip_occurred", "22": "range_expansion",
    "24": "event_burst", "28": "drawdown_depth", "31": "end_vs_extremum_gap",
    "35": "max_penetration",
}  # fmt: skip


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

    @property
    def is_by_time(self) -> bool:
        """Whether rows come in the order in which they rest."""
        return self.sort.startswith("ts_")

    @property
    def is_descending(self) -> bool:
        """Whether the largest comes first."""
        return self.sort.endswith("_desc")

    @property
    def rows(self) -> range:
        """Positions of the page's rows in the whole answer."""
        return range((self.page - 1) * self.per_page, self.page * self.per_page)

    def condition(self) -> pl.Expr:
        """Return the rows that are meant."""
        wanted = pl.col("ts").is_between(from_us(self.start_us), from_us(self.end_us))
        if self.barrier_label is not None:
            wanted &= pl.col(BARRIER) == self.barrier_label
        return wanted


def parse_types(csv: str | None) -> tuple[str, ...]:
    """Return the label types of a comma-separated list; all of them for none."""
    if csv is None:
        return LABEL_TYPES
    names = [name.strip() for name in csv.split(",")]
    asked = {ALIASES.get(name, name) for name in names}
    unknown = sorted(asked.difference(LABEL_TYPES))
    if unknown:
        raise InputError(
            f"label_types: expected some of {', '.join(LABEL_TYPES)} "
            f"(or {', '.join(ALIASES)}), was {', '.join(unknown)!r}"
        )
    return tuple(name for name in LABEL_TYPES if name in asked)


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


def etag(refs: Sequence[PartitionRef], query: LabelQuery, code_version: str) -> str:
    """Return the answer's tag: a hash of data versions, code versions and parameters."""
    parts = [
        [(ref.key.path, ref.version, ref.code_version) for ref in refs],
        [getattr(query, name) for name in query.__slots__],
        [SHAPE_VERSION, code_version],
    ]
    return '"' + hashlib.sha256(orjson.dumps(parts)).hexdigest()[:32] + '"'


def page(lake: Lake, refs: Sequence[PartitionRef], query: LabelQuery) -> tuple[pl.DataFrame, int]:
    """Return the page's rows in order and how many rows there are on all pages."""
    if query.is_by_time:
        return _page_by_time(lake, refs, query)
    return _page_by_return(lake, refs, query)


def rows(frame: pl.DataFrame, types: Sequence[str]) -> list[dict[str, Any]]:
    """Return label rows in the form of the API; a null stays a null."""
    labels = [_barrier().alias(BARRIER)] if BARRIER in types else []
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


def _page_by_time(
    lake: Lake, refs: Sequence[PartitionRef], query: LabelQuery
) -> tuple[pl.DataFrame, int]:
    """Walk the months; one whose row count its pointer tells is read only if the page is in it."""
    wanted, total = query.rows, 0
    parts: list[pl.DataFrame] = []
    for ref in reversed(refs) if query.is_descending else refs:
        known = _count_without_reading(ref, query)
        if known is not None and (total + known <= wanted.start or total >= wanted.stop):
            total += known
            continue
        frame = lake.read([ref]).filter(query.condition()).sort(
            "ts", descending=query.is_descending
        )  # fmt: skip
        start = max(wanted.start - total, 0)
        stop = min(wanted.stop - total, frame.height)
        if start < stop:
            parts.append(frame.slice(start, stop - start))
        total += frame.height
    return _stack(lake, refs, parts), total


def _page_by_return(
    lake: Lake, refs: Sequence[PartitionRef], query: LabelQuery
) -> tuple[pl.DataFrame, int]:
    """Rank all rows by two columns, then read whole rows only of the months on the page."""
    ranked = (
        pl.concat(list(_returns(lake, refs, query)))
        .sort(
            "forward_return",
            "ts",
            descending=[query.is_descending, False],
            nulls_last=True,
            maintain_order=True,
        )
        .with_row_index("position")
    )
    on_page = ranked.slice(query.rows.start, query.per_page)
    parts = [
        lake.read([refs[index]]).join(on_page.select("ts", "position"), on="ts", how="inner")
        for index in on_page["ref"].unique().sort()
    ]
    frame = _stack(lake, refs, parts)
    return (frame.sort("position").drop("position") if parts else frame), ranked.height


def _returns(lake: Lake, refs: Sequence[PartitionRef], query: LabelQuery) -> Iterator[pl.DataFrame]:
    for index, ref in enumerate(refs):
        found = lake.read([ref]).filter(query.condition())
        yield found.select("ts", "forward_return", pl.lit(index, pl.Int64).alias("ref"))


def _count_without_reading(ref: PartitionRef, query: LabelQuery) -> int | None:
    if ref.first_us is None or ref.last_us is None:
        return ref.rows
    is_inside = query.start_us <= ref.first_us and ref.last_us <= query.end_us
    return ref.rows if is_inside and query.barrier_label is None else None


def _stack(lake: Lake, refs: Sequence[PartitionRef], parts: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(parts) if parts else lake.read(refs[:1]).clear()
