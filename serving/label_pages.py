"""Pages of labels: by number, or from where the last page ended; read no more than a page takes.

A cursor names the last row that was read by what rows are ordered by, so rows that are added
meanwhile move nothing: each is on a later page, or on none, and no row is on two. It carries a hash
of the question, for it means nothing in another one's order.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
import polars as pl

from market.errors import InputError
from market.ports import Lake, PartitionRef
from market.tables import INSTANT
from serving.labels import LabelQuery

Key = tuple[float | None, int]
"""Where a row stands: its forward return (none in an order by time), and its ``ts``."""

_RETURN: Final = "forward_return"
_ASKED: Final = ("instrument", "timeframe", "start_us", "end_us", "barrier_label", "ranges",
                 "status", "sort")  # fmt: skip
_HASH_CHARACTERS: Final = 12
_LARGEST: Final = 2**62  # of what can be compared with an instant


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in order, the cursor of the page after, and how many rows all pages have.

    ``total`` is nothing on a page that was asked for by a cursor: nobody counted.
    """

    rows: pl.DataFrame
    next_cursor: str | None
    total: int | None


def page(lake: Lake, refs: Sequence[PartitionRef], query: LabelQuery) -> Page:
    """Return the page; raise ``InputError`` for a cursor that is not of this question."""
    if query.cursor is not None:
        return _page_after(lake, refs, query, decoded(query.cursor, query))
    found, total = (
        _page_by_time(lake, refs, query) if query.is_by_time else _page_by_return(lake, refs, query)
    )
    return Page(found, _next(found, query, has_more=total > query.rows.stop), total)


def encoded(key: Key, query: LabelQuery) -> str:
    """Return a cursor: opaque to callers, safe in a URL."""
    return base64.urlsafe_b64encode(orjson.dumps([_hash(query), *key])).decode().rstrip("=")


def decoded(cursor: str, query: LabelQuery) -> Key:
    """Return the key that a cursor names; raise ``InputError`` for any other text."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars="-_", validate=True)
        parts = orjson.loads(text)
    except (binascii.Error, ValueError) as e:
        raise _no_cursor(cursor) from e
    match parts:
        case [str() as asked, None | float() as value, int() as ts_us]:
            pass
        case _:
            raise _no_cursor(cursor)
    if not -_LARGEST < ts_us < _LARGEST:
        raise _no_cursor(cursor)
    if asked != _hash(query):
        raise InputError("cursor: expected one of the same question, was one of another")
    return value, ts_us


def _no_cursor(cursor: str) -> InputError:
    return InputError(f"cursor: expected next_cursor of a page, was {cursor[:100]!r}")


def _hash(query: LabelQuery) -> str:
    asked = orjson.dumps([getattr(query, name) for name in _ASKED])
    return hashlib.sha256(asked).hexdigest()[:_HASH_CHARACTERS]


def _next(rows: pl.DataFrame, query: LabelQuery, *, has_more: bool) -> str | None:
    if not has_more or not rows.height:
        return None
    value = None if query.is_by_time else rows[_RETURN][-1]
    return encoded((value, int(rows["ts"].to_physical()[-1])), query)


def _after(query: LabelQuery, key: Key) -> pl.Expr:
    """Return the rows behind a key, in the question's order."""
    value, ts_us = key
    ts, at = pl.col("ts"), pl.lit(ts_us).cast(INSTANT)
    if query.is_by_time:
        return ts < at if query.is_descending else ts > at
    returns = pl.col(_RETURN)
    if value is None:  # the last ones, whichever way
        return returns.is_null() & (ts > at)
    farther = returns < value if query.is_descending else returns > value
    return farther | ((returns == value) & (ts > at)) | returns.is_null()


def _page_after(lake: Lake, refs: Sequence[PartitionRef], query: LabelQuery, key: Key) -> Page:
    condition, most = query.condition() & _after(query, key), query.per_page
    if query.is_by_time:
        found = _first_by_time(lake, refs, query, condition, key[1])
    else:
        ranked = _ranked(lake, refs, query, condition).head(most + 1).with_row_index("position")
        found = _whole(lake, refs, ranked)
    rows = found.head(most)
    return Page(rows, _next(rows, query, has_more=found.height > most), None)


def _first_by_time(
    lake: Lake, refs: Sequence[PartitionRef], query: LabelQuery, condition: pl.Expr, at_us: int
) -> pl.DataFrame:
    """Return a page and a row more, month after month until they are there."""
    parts: list[pl.DataFrame] = []
    wanted = query.per_page + 1
    for ref in reversed(refs) if query.is_descending else refs:
        edge = ref.first_us if query.is_descending else ref.last_us
        if edge is None or (edge >= at_us if query.is_descending else edge <= at_us):
            continue
        rows = lake.read([ref]).filter(condition).sort("ts", descending=query.is_descending)
        parts.append(rows.head(wanted))
        wanted -= parts[-1].height
        if not wanted:
            break
    return _stack(lake, refs, parts)


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
    ranked = _ranked(lake, refs, query, query.condition()).with_row_index("position")
    return _whole(lake, refs, ranked.slice(query.rows.start, query.per_page)), ranked.height


def _ranked(
    lake: Lake, refs: Sequence[PartitionRef], query: LabelQuery, condition: pl.Expr
) -> pl.DataFrame:
    """Return return, instant and month of the rows that are meant, in order."""
    return pl.concat(list(_returns(lake, refs, condition))).sort(
        _RETURN,
        "ts",
        descending=[query.is_descending, False],
        nulls_last=True,
        maintain_order=True,
    )


def _returns(
    lake: Lake, refs: Sequence[PartitionRef], condition: pl.Expr
) -> Iterator[pl.DataFrame]:
    for index, ref in enumerate(refs):
        found = lake.read([ref]).filter(condition)
        yield found.select("ts", _RETURN, pl.lit(index, pl.Int64).alias("ref"))


def _whole(lake: Lake, refs: Sequence[PartitionRef], on_page: pl.DataFrame) -> pl.DataFrame:
    """Return the whole rows of ranked ones, in their order."""
    parts = [
        lake.read([refs[index]]).join(on_page.select("ts", "position"), on="ts", how="inner")
        for index in on_page["ref"].unique().sort()
    ]
    frame = _stack(lake, refs, parts)
    return frame.sort("position").drop("position") if parts else frame


def _count_without_reading(ref: PartitionRef, query: LabelQuery) -> int | None:
    if ref.first_us is None or ref.last_us is None:
        return ref.rows
    is_inside = query.start_us <= ref.first_us and ref.last_us <= query.end_us
    return ref.rows if is_inside and not query.is_filtered else None


def _stack(lake: Lake, refs: Sequence[PartitionRef], parts: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(parts) if parts else lake.read(refs[:1]).clear()
