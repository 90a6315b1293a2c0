"""From the lake to the warehouse, and the proof that both hold the same.

Belongs here: what ``wavehouse warehouse`` does, without the command line. ``sync`` moves the
partitions whose pointers differ; stopped anywhere, it goes on where it was, since each partition is
whole or is not there. ``verify`` trusts no pointer: it reads every row back and hashes it.
Only the versions that count are moved; what the lake pointed to before stays in the lake.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from market.errors import CorruptPartitionError, NotMaterializedError
from market.ports import PartitionKey, PartitionRef
from storage import canonical, pointers
from storage.clickhouse.lake import ClickHouseLake
from storage.lake import ParquetLake
from storage.lake_keys import lake_keys

Progress = Callable[[PartitionKey, int, int], None]
"""Told of each partition that was looked at, how many were, and how many there are."""


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync did, in partitions; ``rows`` are those that were moved.

    ``extra`` are in the warehouse alone and were left there, ``dropped`` were taken away.
    """

    moved: int
    unchanged: int
    extra: int
    dropped: int
    rows: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A partition that is not the same in both, and how."""

    key: PartitionKey
    kind: Literal["missing", "extra", "version", "provenance", "damaged"]
    message: str


def sync(
    lake: ParquetLake,
    warehouse: ClickHouseLake,
    *,
    prune: bool = False,
    on_partition: Progress | None = None,
) -> Synced:
    """Make the warehouse say what the lake says; only what differs is read and written.

    A partition that the lake does not have stays, unless ``prune``: then it loses its pointer in
    the warehouse, not its rows (a lake that is empty by mistake must not empty a warehouse).
    Raises ``CorruptPartitionError`` where a file of the lake does not hash to its name: nothing
    damaged is passed on.
    """
    keys, there = lake_keys(lake.root), set(warehouse.keys())
    moved = rows = 0
    for done, key in enumerate(keys, start=1):
        ref = lake.resolve(key)
        found = warehouse.find(key) if key in there else None
        if found is None or pointers.encode(found) != pointers.encode(ref):
            _move(lake, warehouse, ref)
            moved, rows = moved + 1, rows + ref.rows
        if on_partition is not None:
            on_partition(key, done, len(keys))
    extra = there.difference(keys)
    if prune:
        for key in sorted(extra):
            warehouse.drop(key)
    return Synced(
        moved=moved,
        unchanged=len(keys) - moved,
        extra=0 if prune else len(extra),
        dropped=len(extra) if prune else 0,
        rows=rows,
    )


def verify(
    lake: ParquetLake, warehouse: ClickHouseLake, *, on_partition: Progress | None = None
) -> Iterator[Difference]:
    """Yield every partition in which the two differ; nothing where they are equal.

    Both versions are hashes of rows and state as they are read back now.
    """
    ours, theirs = lake_keys(lake.root), set(warehouse.keys())
    keys = sorted(theirs.union(ours))
    in_lake = set(ours)
    for done, key in enumerate(keys, start=1):
        if key not in theirs:
            yield Difference(key, "missing", f"{key.path}: expected in the warehouse, was not")
        elif key not in in_lake:
            yield Difference(key, "extra", f"{key.path}: expected in the lake, was not")
        else:
            yield from _compare(lake, warehouse, key)
        if on_partition is not None:
            on_partition(key, done, len(keys))


def _move(lake: ParquetLake, warehouse: ClickHouseLake, ref: PartitionRef) -> None:
    rows, state = lake.read([ref]), lake.state(ref)
    content = canonical.content(rows, state or None, month=ref.key.month, name=ref.key.path)
    if content.version != ref.version:
        raise CorruptPartitionError(
            f"{ref.key.path}: expected rows that hash to {ref.version}, was {content.version}"
        )
    warehouse.write(
        ref.key,
        rows,
        state=state or None,
        code_version=ref.code_version,
        inputs=ref.inputs,
        attributes=ref.attributes,
    )


def _compare(
    lake: ParquetLake, warehouse: ClickHouseLake, key: PartitionKey
) -> Iterator[Difference]:
    ours, theirs = lake.resolve(key), warehouse.resolve(key)
    if ours.version != theirs.version:
        message = f"{key.path}: expected version {ours.version}, was {theirs.version}"
        yield Difference(key, "version", message)
        return
    for store, ref in ((lake, ours), (warehouse, theirs)):
        try:
            store.verify(ref)
        except (CorruptPartitionError, NotMaterializedError) as e:
            yield Difference(key, "damaged", str(e))
            return
    if pointers.encode(ours) != pointers.encode(theirs):
        message = f"{key.path}: expected the same code version, inputs and attributes, was other"
        yield Difference(key, "provenance", message)
