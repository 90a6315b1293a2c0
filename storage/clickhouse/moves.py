"""Pointers as a log of rows: which version of a partition counts, and which did before.

Belongs here: the table of pointers. Keep out: rows of partitions. A move is one row that is
inserted whole, with the next number; the highest number counts.
"""

import base64
from pathlib import Path
from typing import Final

from market.ports import PartitionKey, PartitionRef
from storage import pointers
from storage.clickhouse.connection import Connection
from storage.clickhouse.schema import POINTERS

OF_KEY: Final = (
    "table_name = {table:String} AND timeframe = {timeframe:String} "
    "AND instrument = {instrument:String} AND month = {month:String}"
)
OF_SERIES: Final = (
    "table_name = {table:String} AND timeframe = {timeframe:String} "
    "AND instrument = {instrument:String}"
)


class Moves:
    """The pointers of one warehouse."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def current(self, key: PartitionKey) -> tuple[bytes | None, int]:
        """Return the pointer's bytes, and how often it has moved."""
        found = self._connection.frame(
            "SELECT is_dropped, pointer, sequence "  # noqa: S608 - names are ours
            f"FROM {self._connection.table(POINTERS)} FINAL "
            f"WHERE {OF_KEY} ORDER BY sequence DESC LIMIT 1",
            about=f"{POINTERS}: {key.path}",
            **named(key),
        )
        if found.is_empty():
            return None, 0
        is_dropped, pointer, sequence = found.row(0)
        return (None if is_dropped else pointer.encode()), sequence

    def move(self, key: PartitionKey, pointer: bytes | None, sequence: int) -> None:
        """Let the pointer say this from now on (``None``: nothing), in one row."""
        self._connection.command(
            f"INSERT INTO {self._connection.table(POINTERS)} "
            "(table_name, timeframe, instrument, month, sequence, is_dropped, pointer) SELECT "
            "{table:String}, {timeframe:String}, {instrument:String}, {month:String}, "
            "{sequence:UInt64}, {is_dropped:UInt8}, base64Decode({pointer:String})",
            about=f"{POINTERS}: {key.path}",
            **named(key),
            sequence=sequence,
            is_dropped=int(pointer is None),
            pointer=base64.b64encode(pointer or b"").decode(),
        )

    def keys(self) -> tuple[PartitionKey, ...]:
        """Return every partition that has a pointer, in order."""
        found = self._connection.frame(
            "SELECT table_name, timeframe, instrument, month "  # noqa: S608 - names are ours
            f"FROM {self._connection.table(POINTERS)} FINAL "
            "GROUP BY table_name, timeframe, instrument, month "
            "HAVING argMax(is_dropped, sequence) = 0 "
            "ORDER BY table_name, timeframe, instrument, month",
            about=f"{POINTERS}: all partitions",
        )
        return tuple(PartitionKey(*row) for row in found.iter_rows())

    def history(self, key: PartitionKey) -> tuple[pointers.Move, ...]:
        """Return every version that the pointer has named and since when, oldest first."""
        found = self._connection.frame(
            f"SELECT pointer, moved_at FROM {self._connection.table(POINTERS)} FINAL "  # noqa: S608
            f"WHERE {OF_KEY} AND is_dropped = 0 ORDER BY sequence",
            about=f"{POINTERS}: {key.path}",
            **named(key),
        )
        return tuple(
            pointers.Move(decode(key, pointer.encode()), moved_at)
            for pointer, moved_at in found.iter_rows()
        )

    def of_series(self, table: str, timeframe: str, instrument: str) -> list[PartitionRef]:
        """Return what the pointers of a series name, by month."""
        found = self._connection.frame(
            "SELECT month, argMax(pointer, sequence) AS current "  # noqa: S608 - names are ours
            f"FROM {self._connection.table(POINTERS)} FINAL WHERE {OF_SERIES} "
            "GROUP BY month HAVING argMax(is_dropped, sequence) = 0 ORDER BY month",
            about=f"{POINTERS}: {table}/{timeframe}/{instrument}",
            table=table,
            timeframe=timeframe,
            instrument=instrument,
        )
        return [
            decode(PartitionKey(table, timeframe, instrument, month), pointer.encode())
            for month, pointer in found.iter_rows()
        ]


def named(key: PartitionKey) -> dict[str, object]:
    """Return the parameters of ``OF_KEY``."""
    return {
        "table": key.table,
        "timeframe": key.timeframe,
        "instrument": key.instrument,
        "month": key.month,
    }


def decode(key: PartitionKey, pointer: bytes) -> PartitionRef:
    """Return what a pointer says; raise ``CorruptPartitionError`` that names it."""
    return pointers.decode(key, pointer, Path(POINTERS) / key.path)
