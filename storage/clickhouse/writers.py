"""One writer a series, in a database that has no locks.

A writer says that it comes, then looks whether anyone else has said so: of two at the same time at
least one sees the other and steps back (both may: ``PartitionBusyError`` is safe to retry). A claim
ends by itself after a lease, renewed by each write, so that a killed writer blocks nobody for ever.
The claim saves work; it is not what keeps data whole. That is the pointer: versions never mix, and
of two that were written by writers who knew nothing of each other, one counts.
"""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

from market.errors import PartitionBusyError
from storage.clickhouse.connection import Connection
from storage.clickhouse.schema import WRITERS

Series = tuple[str, str, str]


class Writers:
    """The writers' places of one warehouse; times are the server's."""

    def __init__(self, connection: Connection, *, lease_s: float) -> None:
        self._connection = connection
        self._lease_s = lease_s
        self._me = uuid.uuid4().hex
        self._mutex = threading.Lock()
        self._held: dict[Series, int] = {}

    @contextmanager
    def writing(self, series: Series) -> Iterator[None]:
        """Hold a series; the thread that has it may take it again. Raises at once if taken."""
        me = threading.get_ident()
        with self._mutex:
            holder = self._held.get(series)
            if holder not in (None, me):
                raise _busy(series)
            self._held[series] = me
        if holder == me:
            self._claim(series, is_held=True)  # the lease starts again
            yield
            return
        try:
            self._claim(series, is_held=True)
            try:
                self._refuse_if_taken(series)
                yield
            finally:
                self._claim(series, is_held=False)
        finally:
            with self._mutex:
                del self._held[series]

    def _claim(self, series: Series, *, is_held: bool) -> None:
        name = "/".join(series)
        self._connection.command(
            f"INSERT INTO {self._connection.table(WRITERS)} "
            "(series, holder, is_held, expires_at) SELECT {series:String}, "
            "{holder:String}, {is_held:UInt8}, "
            "now64(6) + toIntervalMillisecond({lease_ms:UInt64})",
            about=f"{WRITERS}: {name}",
            series=name,
            holder=self._me,
            is_held=int(is_held),
            lease_ms=int(self._lease_s * 1000),
        )

    def _refuse_if_taken(self, series: Series) -> None:
        name = "/".join(series)
        others = self._connection.frame(
            f"SELECT count() AS n FROM {self._connection.table(WRITERS)} FINAL "  # noqa: S608
            "WHERE series = {series:String} AND holder != {holder:String} AND is_held = 1 "
            "AND expires_at > now64(6)",
            about=f"{WRITERS}: {name}",
            series=name,
            holder=self._me,
        )
        if others.select(pl.col("n").sum()).item():
            raise _busy(series)


def _busy(series: Series) -> PartitionBusyError:
    name = "/".join(series)
    return PartitionBusyError(f"{name}: expected no other writer of the series, was one")
