"""The warehouse: the lake's port over ClickHouse.

Rows carry their ``data_version``; a pointer, one row that is inserted whole, says which version
counts. A writer inserts state, rows (in blocks) and the version's own record, in this order, and
moves the pointer last: a reader sees the old version or the new one, and what a killed writer left
is written over by the next, row for row. Old versions stay, as in the lake that keeps all.
Belongs here: what the ``Lake`` port asks for. Keep out: DDL (``schema``), the client.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from market.errors import (
    CorruptPartitionError,
    InputError,
    NotMaterializedError,
    SchemaError,
)
from market.ports import PartitionKey, PartitionRef, State
from market.tables import TABLES
from storage import canonical, pointers
from storage.clickhouse.connection import Connection, parse_dsn
from storage.clickhouse.moves import OF_KEY, Moves, decode, named
from storage.clickhouse.schema import PARTITION_COLUMNS, STATES, VERSIONS, migrate
from storage.clickhouse.writers import Writers
from storage.names import check_names

BLOCK_ROWS: Final = 100_000
DEFAULT_LEASE_S: Final = 120.0

_OF_VERSION: Final = (
    "partition_instrument = {instrument:String} AND partition_timeframe = {timeframe:String} "
    "AND partition_month = {month_number:UInt32} AND data_version = {version:String}"
)


class ClickHouseLake:
    """Partitions as rows of ClickHouse; implements ``market.ports.Lake``.

    Same data, same ``version`` as in the Parquet lake (``storage.canonical``). Order, NaN policy
    and nulls are the lake's. Only the tables and columns of ``market.tables`` can be kept.

    Parameters
    ----------
    connection : Connection
        An open database; it is brought up to date by ``migrate``.
    lease_s : float
        For how long a writer that was killed keeps others from its series.
    block_rows : int
        Rows an insert.

    Raises
    ------
    StorageError
        As everything here: the server does not answer or refuses; the table and the partition are
        named.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        lease_s: float = DEFAULT_LEASE_S,
        block_rows: int = BLOCK_ROWS,
    ) -> None:
        self._connection = connection
        self._moves = Moves(connection)
        self._writers = Writers(connection, lease_s=lease_s)
        self._block_rows = block_rows
        migrate(connection)

    @property
    def is_near(self) -> bool:
        """A server is asked over a network."""
        return False

    def __repr__(self) -> str:
        return f"ClickHouseLake({self._connection.address.name!r})"

    def close(self) -> None:
        """Let go of the server, or of chdb's directory."""
        self._connection.close()

    @contextmanager
    def writing(self, table: str, timeframe: str, instrument: str) -> Iterator[None]:
        """Hold the one writer's place of a series; raise ``PartitionBusyError`` if taken."""
        check_names(table, timeframe, instrument)
        with self._writers.writing((table, timeframe, instrument)):
            yield

    def write(
        self,
        key: PartitionKey,
        rows: pl.DataFrame,
        *,
        state: State | None = None,
        code_version: str,
        inputs: Mapping[str, str],
        attributes: Mapping[str, Any] | None = None,
    ) -> PartitionRef:
        """Write a version and move the pointer; what is there already is not written again.

        A version whose rows or state do not hash to its name is taken away and written anew.
        Raises as the lake does; ``SchemaError`` for a column that the table does not have.
        """
        check_names(key.table, key.timeframe, key.instrument, key.month)
        content = canonical.content(rows, state, month=key.month, name=key.path)
        _check_columns(key, content.rows)
        ref = PartitionRef(
            key=key,
            version=content.version,
            state_version=content.state_version,
            rows=content.rows.height,
            first_us=content.first_us,
            last_us=content.last_us,
            code_version=code_version,
            inputs=inputs,
            attributes=attributes or {},
        )
        pointer = pointers.encode(ref)
        with self.writing(key.table, key.timeframe, key.instrument):
            if not self._is_whole(ref):
                self._put(ref, content)
            was, sequence = self._moves.current(key)
            if was != pointer:
                self._moves.move(key, pointer, sequence + 1)
        return decode(key, pointer)

    def drop(self, key: PartitionKey) -> None:
        """Take the pointer away; the versions stay."""
        check_names(key.table, key.timeframe, key.instrument, key.month)
        with self.writing(key.table, key.timeframe, key.instrument):
            was, sequence = self._moves.current(key)
            if was is not None:
                self._moves.move(key, None, sequence + 1)

    def find(self, key: PartitionKey) -> PartitionRef | None:
        """Return what the pointer names, or ``None`` where nothing was materialised."""
        check_names(key.table, key.timeframe, key.instrument, key.month)
        pointer, _ = self._moves.current(key)
        return None if pointer is None else decode(key, pointer)

    def resolve(self, key: PartitionKey) -> PartitionRef:
        """Return what the pointer names; raise ``NotMaterializedError`` that says what to run."""
        ref = self.find(key)
        if ref is None:
            raise _missing(key.table, key.instrument, key.month)
        return ref

    def keys(self) -> tuple[PartitionKey, ...]:
        """Return every partition that has a pointer, in order."""
        return self._moves.keys()

    def months(self, table: str, timeframe: str, instrument: str) -> Sequence[str]:
        """Return the months of a series that are materialised, in order."""
        check_names(table, timeframe, instrument)
        return tuple(ref.key.month for ref in self._moves.of_series(table, timeframe, instrument))

    def versions(self, key: PartitionKey) -> tuple[pointers.Move, ...]:
        """Return every version that the pointer has named and since when, oldest first."""
        check_names(key.table, key.timeframe, key.instrument, key.month)
        return self._moves.history(key)

    def read(self, refs: Iterable[PartitionRef]) -> pl.DataFrame:
        """Return the rows of these versions, in the order given; raise as the lake does."""
        frames = [self._rows(ref) for ref in refs]
        if not frames:
            raise InputError("refs: expected at least one version, was none")
        first = frames[0].schema
        for frame in frames:
            if frame.schema != first:
                raise SchemaError(f"refs: expected {first}, was {frame.schema}")
        return pl.concat(frames, rechunk=True)

    def row(self, ref: PartitionRef, ts_us: int | None = None) -> pl.DataFrame:
        """Return the rows of the bar that opens at ``ts_us``, or a version's last row."""
        if ts_us is None:
            return self._select(ref, "AND row_number = {last:UInt32}", last=max(0, ref.rows - 1))
        where = "AND ts = fromUnixTimestamp64Micro({ts_us:Int64}, 'UTC')"
        return self._select(ref, where, ts_us=ts_us)

    def state(self, ref: PartitionRef) -> dict[str, npt.NDArray[np.generic]]:
        """Return the state saved with this version ({} if there is none)."""
        if not ref.state_version:
            return {}
        self._columns(ref)
        encoded = self._encoded_state(ref)
        if canonical.state_version(encoded) != ref.state_version:
            raise CorruptPartitionError(
                f"{STATES}: {ref.key.path}: expected a state that hashes to its name"
            )
        return canonical.decode_state(encoded)

    def newest(self, table: str, timeframe: str, instrument: str, *, rows: int) -> pl.DataFrame:
        """Return the last ``rows`` rows of a series, reading no more partitions than it takes."""
        if rows < 1:
            raise InputError(f"rows: expected >= 1, was {rows}")
        check_names(table, timeframe, instrument)
        refs: list[PartitionRef] = []
        for ref in reversed(self._moves.of_series(table, timeframe, instrument)):
            if ref.rows or not refs:
                refs.append(ref)
            if sum(found.rows for found in refs) >= rows:
                break
        if not refs:
            raise _missing(table, instrument, "YYYY-MM")
        return self.read(reversed(refs)).tail(rows)

    def verify(self, ref: PartitionRef) -> None:
        """Read a version whole; raise ``CorruptPartitionError`` unless it hashes to its name."""
        self.state(ref)
        frame = self._rows(ref)
        was = canonical.rows_version(
            canonical.canonical_rows(frame, ref.key.path), ref.state_version
        )
        if was != ref.version:
            raise CorruptPartitionError(
                f"{ref.key.table}: {ref.key.path}: expected rows that hash to {ref.version}, "
                f"was {was}"
            )

    def _rows(self, ref: PartitionRef) -> pl.DataFrame:
        frame = self._select(ref)
        if frame.height != ref.rows:
            raise CorruptPartitionError(
                f"{ref.key.table}: {ref.key.path}: expected {ref.rows} rows of {ref.version}, "
                f"was {frame.height}"
            )
        return frame

    def _select(self, ref: PartitionRef, where: str = "", **parameters: object) -> pl.DataFrame:
        columns = self._columns(ref)
        listed = ", ".join(f"`{column}`" for column in columns)
        frame = self._connection.frame(
            f"SELECT {listed} FROM {self._connection.table(ref.key.table)} FINAL "  # noqa: S608
            f"WHERE {_OF_VERSION} {where} ORDER BY row_number",
            about=f"{ref.key.table}: {ref.key.path}",
            **_of_version(ref),
            **parameters,
        )
        schema = TABLES[ref.key.table].schema
        return frame.cast({column: schema[column] for column in columns})

    def _columns(self, ref: PartitionRef) -> list[str]:
        """Return the columns of a version, in order; raise if it was never written whole."""
        check_names(ref.key.table, ref.key.timeframe, ref.key.instrument, ref.key.month)
        found = self._connection.frame(
            f"SELECT columns FROM {self._connection.table(VERSIONS)} FINAL "  # noqa: S608
            f"WHERE {OF_KEY} AND data_version = {{version:String}}",
            about=f"{VERSIONS}: {ref.key.path}",
            **named(ref.key),
            version=ref.version,
        )
        if found.is_empty():
            raise _missing(ref.key.table, ref.key.instrument, ref.key.month)
        columns: list[str] = orjson.loads(found["columns"][0])
        return columns

    def _is_whole(self, ref: PartitionRef) -> bool:
        try:
            self.verify(ref)
        except (NotMaterializedError, CorruptPartitionError):
            return False
        return True

    def _put(self, ref: PartitionRef, content: canonical.Content) -> None:
        """Insert a version; its record last, so that it vouches for rows and state."""
        key, about = ref.key, f"{ref.key.table}: {ref.key.path}"
        table = self._connection.table(key.table)
        if self._has_rows(ref):  # of a killed writer or a strange hand
            self._connection.command(
                f"DELETE FROM {table} WHERE {_OF_VERSION}",  # noqa: S608 - names are ours
                about=about,
                **_of_version(ref),
            )
        of_key = {
            "table_name": key.table,
            "timeframe": key.timeframe,
            "instrument": key.instrument,
            "month": key.month,
            "data_version": ref.version,
        }
        if content.state:
            state = pl.DataFrame({**of_key, "state": [content.state]})
            self._connection.insert(STATES, state, about=f"{STATES}: {key.path}")
        for at in range(0, ref.rows, self._block_rows):
            block = content.rows.slice(at, self._block_rows)
            self._connection.insert(key.table, _placed(ref, block, at), about=about)
        columns = orjson.dumps(content.rows.columns).decode()
        version = pl.DataFrame({**of_key, "columns": [columns], "row_count": [ref.rows]})
        version = version.cast({"row_count": pl.UInt32})
        self._connection.insert(VERSIONS, version, about=f"{VERSIONS}: {key.path}")

    def _has_rows(self, ref: PartitionRef) -> bool:
        """Say whether rows of a version are there: a ``DELETE`` looks into every part there is."""
        table = self._connection.table(ref.key.table)
        found = self._connection.frame(
            f"SELECT 1 AS one FROM {table} WHERE {_OF_VERSION} LIMIT 1",  # noqa: S608 - as above
            about=f"{ref.key.table}: {ref.key.path}",
            **_of_version(ref),
        )
        return not found.is_empty()

    def _encoded_state(self, ref: PartitionRef) -> bytes:
        found = self._connection.frame(
            "SELECT base64Encode(state) AS state "  # noqa: S608 - names are ours
            f"FROM {self._connection.table(STATES)} FINAL "
            f"WHERE {OF_KEY} AND data_version = {{version:String}}",
            about=f"{STATES}: {ref.key.path}",
            **named(ref.key),
            version=ref.version,
        )
        return base64.b64decode(found["state"][0]) if found.height else b""


def open_warehouse(dsn: str, *, lease_s: float = DEFAULT_LEASE_S) -> ClickHouseLake:
    """Open the warehouse of a DSN and bring its tables up to date."""
    return ClickHouseLake(Connection(parse_dsn(dsn)), lease_s=lease_s)


def _placed(ref: PartitionRef, block: pl.DataFrame, at: int) -> pl.DataFrame:
    values = (ref.key.instrument, ref.key.timeframe, _month_number(ref.key))
    return block.with_columns(
        *(
            pl.lit(value, dtype=pl.UInt32 if isinstance(value, int) else pl.String).alias(name)
            for name, value in zip(PARTITION_COLUMNS, values, strict=True)
        ),
        pl.lit(ref.version).alias("data_version"),
        pl.int_range(at, at + block.height, dtype=pl.UInt32).alias("row_number"),
    )


def _check_columns(key: PartitionKey, rows: pl.DataFrame) -> None:
    table = TABLES.get(key.table)
    if table is None:
        raise SchemaError(f"table: expected one of {sorted(TABLES)}, was {key.table!r}")
    for column, dtype in rows.schema.items():
        expected = table.schema.get(column)
        if dtype != expected:
            known = "no such column" if expected is None else expected
            raise SchemaError(f"{key.table}.{column}: expected {known}, was {dtype}")


def _of_version(ref: PartitionRef) -> dict[str, object]:
    return {
        "instrument": ref.key.instrument,
        "timeframe": ref.key.timeframe,
        "month_number": _month_number(ref.key),
        "version": ref.version,
    }


def _month_number(key: PartitionKey) -> int:
    return int(key.month.replace("-", ""))


def _missing(table: str, instrument: str, month: str) -> NotMaterializedError:
    return NotMaterializedError(
        f"{table}: expected a materialised partition, was none; run `wavehouse materialize {table} "
        f"--instrument {instrument} --from {month} --to {month}`"
    )
