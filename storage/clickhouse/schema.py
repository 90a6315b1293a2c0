"""ClickHouse's tables, generated from ``market.tables``, and the migrations that make them.

Belongs here: DDL. Keep out: rows. A column keeps its name and its type; beside the table's own
stand the partition that a row belongs to (``partition_*``), its ``data_version`` and its place in
it (``row_number``): what happened in one bar keeps its order, and old versions stay beside new.
Every column but these and ``ts`` is nullable: a null that comes in is a null that goes out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import polars as pl

from market.errors import SchemaError, StorageError
from market.tables import TABLES, Dtype, Table
from storage.clickhouse.connection import Connection

VERSIONS: Final = "wavehouse_versions"
STATES: Final = "wavehouse_states"
POINTERS: Final = "wavehouse_pointers"
WRITERS: Final = "wavehouse_writers"
MIGRATIONS: Final = "wavehouse_migrations"

PARTITION_COLUMNS: Final = ("partition_instrument", "partition_timeframe", "partition_month")
TIME_COLUMN: Final = "ts"

_TYPES: Final[dict[type[pl.DataType], str]] = {
    pl.Boolean: "Bool",
    pl.Int8: "Int8",
    pl.Int16: "Int16",
    pl.Int32: "Int32",
    pl.Int64: "Int64",
    pl.UInt8: "UInt8",
    pl.UInt16: "UInt16",
    pl.UInt32: "UInt32",
    pl.UInt64: "UInt64",
    pl.Float32: "Float32",
    pl.Float64: "Float64",
    pl.String: "String",
    pl.Date: "Date32",
}
_OF_A_PARTITION: Final = (
    "partition_instrument LowCardinality(String), partition_timeframe LowCardinality(String), "
    "partition_month UInt32"
)
_KEY: Final = "table_name String, timeframe String, instrument String, month String"
_ORDER: Final = "table_name, timeframe, instrument, month"


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step; ``statements`` may run again without harm."""

    number: int
    name: str
    statements: Callable[[Connection], list[str]]


def clickhouse_type(name: str, dtype: Dtype) -> str:
    """Return the type of a column; raise ``SchemaError`` for one that ClickHouse cannot keep.

    Examples
    --------
    >>> clickhouse_type("close", pl.Float64()), clickhouse_type("ts", pl.Datetime("us", "UTC"))
    ('Nullable(Float64)', "DateTime64(6, 'UTC')")
    """
    if dtype == pl.Datetime("us", "UTC"):
        plain = "DateTime64(6, 'UTC')"
    elif type(dtype) in _TYPES:
        plain = _TYPES[type(dtype)]
    else:
        raise SchemaError(f"{name}: expected a flat column, was {dtype}")
    return plain if name == TIME_COLUMN else f"Nullable({plain})"


def create_table(full_name: str, table: Table) -> str:
    """Return the DDL of a table of ``market.tables``."""
    columns = ", ".join(f"`{n}` {clickhouse_type(n, d)}" for n, d in table.schema.items())
    time = f"{TIME_COLUMN}, " if TIME_COLUMN in table.schema else ""
    return (
        f"CREATE TABLE IF NOT EXISTS {full_name} ({_OF_A_PARTITION}, data_version String, "
        f"row_number UInt32, {columns}) ENGINE = ReplacingMergeTree "
        "PARTITION BY (partition_timeframe, partition_month) "
        f"ORDER BY (partition_instrument, partition_timeframe, {time}data_version, row_number)"
    )


def _catalogue(connection: Connection) -> list[str]:
    def make(name: str, columns: str, order: str, tail: str = "") -> str:
        return (
            f"CREATE TABLE IF NOT EXISTS {connection.table(name)} ({columns}) "
            f"ENGINE = ReplacingMergeTree ORDER BY ({order}){tail}"
        )

    version = f"{_KEY}, data_version String, columns String, row_count UInt32"
    state = f"{_KEY}, data_version String, state String"
    pointer = (
        f"{_KEY}, sequence UInt64, is_dropped UInt8, pointer String, "
        "moved_at DateTime64(6, 'UTC') DEFAULT now64(6)"
    )
    writer = "series String, holder String, is_held UInt8, expires_at DateTime64(6, 'UTC')"
    return [
        make(VERSIONS, version, f"{_ORDER}, data_version"),
        make(STATES, state, f"{_ORDER}, data_version"),
        make(POINTERS, pointer, f"{_ORDER}, sequence"),
        make(WRITERS, writer, "series, holder", " TTL toDateTime(expires_at) + INTERVAL 1 DAY"),
    ]


def _tables(connection: Connection) -> list[str]:
    return [create_table(connection.table(name), table) for name, table in TABLES.items()]


STEPS: Final = (
    Migration(1, "versions, states, pointers and writers", _catalogue),
    Migration(2, "the tables of the market", _tables),
)


def migrate(connection: Connection) -> list[int]:
    """Bring a database up to date; return the numbers of the steps that ran.

    Steps run in order, each is recorded once it is through, and one that was cut off runs again.
    Raises ``StorageError`` where the database is newer than this code.
    """
    name, about = connection.table(MIGRATIONS), f"{connection.address.name}: migrations"
    connection.command(
        f"CREATE TABLE IF NOT EXISTS {name} (number UInt32, name String, "
        "applied_at DateTime64(6, 'UTC') DEFAULT now64(6)) ENGINE = ReplacingMergeTree "
        "ORDER BY number",
        about=about,
    )
    done = set(connection.frame(f"SELECT number FROM {name} FINAL", about=about)["number"])  # noqa: S608
    if done - {step.number for step in STEPS}:
        raise StorageError(f"{about}: expected at most {STEPS[-1].number}, was {max(done)}")
    ran = []
    for step in STEPS:
        if step.number in done:
            continue
        for statement in step.statements(connection):
            connection.command(statement, about=f"{about}: {step.number} {step.name}")
        row = pl.DataFrame({"number": [step.number], "name": [step.name]})
        connection.insert(MIGRATIONS, row.cast({"number": pl.UInt32}), about=about)
        ran.append(step.number)
    _add_columns(connection, about)
    return ran


def _add_columns(connection: Connection, about: str) -> None:
    """Add the columns that a table has gained since; a changed type is refused."""
    found = connection.frame(
        "SELECT table, name, type FROM system.columns WHERE database = {database:String}",
        about=about,
        database=connection.address.database,
    )
    types = {(table, name): kind for table, name, kind in found.iter_rows()}
    for table in TABLES.values():
        for column, dtype in table.schema.items():
            expected = clickhouse_type(column, dtype)
            was = types.get((table.name, column))
            if was is None:
                connection.command(
                    f"ALTER TABLE {connection.table(table.name)} "
                    f"ADD COLUMN IF NOT EXISTS `{column}` {expected}",
                    about=f"{about}: {table.name}.{column}",
                )
            elif was != expected:
                raise SchemaError(f"{table.name}.{column}: expected {expected}, was {was}")
