"""The warehouse itself: moves from a lake, proofs, migrations, what cannot be seen."""

import datetime as dt
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from market.errors import (
    CorruptPartitionError,
    InputError,
    PartitionBusyError,
    SchemaError,
    StorageError,
)
from market.ports import PartitionKey, PartitionRef
from storage.clickhouse import schema, transfer
from storage.clickhouse.connection import Connection, parse_dsn
from storage.clickhouse.lake import ClickHouseLake
from storage.lake import ParquetLake
from tests.fakes.bars import candles

pytestmark = pytest.mark.slow

KEY = PartitionKey("candles", "H1", "EURUSD", "2017-03")
MONTHS = ("2017-03", "2017-04", "2017-05")
STATE = {"atr": np.array([0.5, np.nan])}
INSTANT = pl.Datetime("us", "UTC")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chdb")


@pytest.fixture
def connection(folder: Path) -> Iterator[Connection]:
    made = Connection(parse_dsn(f"chdb://{folder}?database=t{uuid.uuid4().hex}"))
    yield made
    made.close()


@pytest.fixture
def warehouse(connection: Connection) -> ClickHouseLake:
    return ClickHouseLake(connection)


@pytest.fixture
def lake(tmp_path: Path) -> ParquetLake:
    made = ParquetLake(tmp_path / "lake", fsync=False)
    for i, month in enumerate(MONTHS):
        rows = candles(month, 5 * i)  # the first one is empty
        made.write(KEY.at(month), rows, state=STATE, code_version="1", inputs={"a": "b"})
    return made


def differences(lake: ParquetLake, warehouse: ClickHouseLake) -> list[tuple[str, str]]:
    return [(d.kind, d.key.month) for d in transfer.verify(lake, warehouse)]


def test_a_synced_warehouse_is_equal_and_a_second_sync_moves_nothing(
    lake: ParquetLake, warehouse: ClickHouseLake
) -> None:
    assert {kind for kind, _ in differences(lake, warehouse)} == {"missing"}
    seen: list[tuple[int, int]] = []
    first = transfer.sync(lake, warehouse, on_partition=lambda _, n, of: seen.append((n, of)))
    assert first == transfer.Synced(moved=3, unchanged=0, dropped=0, rows=15)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert differences(lake, warehouse) == []
    for month in MONTHS:
        assert warehouse.resolve(KEY.at(month)) == lake.resolve(KEY.at(month))
    again = transfer.sync(lake, warehouse)
    assert again == transfer.Synced(moved=0, unchanged=3, dropped=0, rows=0)


def test_an_interrupted_sync_goes_on_where_it_was(
    lake: ParquetLake, warehouse: ClickHouseLake
) -> None:
    def stop(_: PartitionKey, done: int, __: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfer.sync(lake, warehouse, on_partition=stop)
    assert differences(lake, warehouse) == [("missing", "2017-05")]
    assert transfer.sync(lake, warehouse).moved == 1
    assert differences(lake, warehouse) == []


def test_rows_without_a_pointer_are_written_over(
    connection: Connection, lake: ParquetLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = ClickHouseLake(connection, block_rows=4)
    insert, blocks = connection.insert, []

    def dies(table: str, rows: pl.DataFrame, *, about: str) -> None:
        if table == "candles":
            blocks.append(rows.height)
            if len(blocks) == 2:
                raise StorageError("the server went away")
        insert(table, rows, about=about)

    with monkeypatch.context() as patch:
        patch.setattr(connection, "insert", dies)
        with pytest.raises(StorageError, match="went away"):
            transfer.sync(lake, warehouse)
    assert blocks == [4, 1]
    assert warehouse.find(KEY.at("2017-04")) is None
    transfer.sync(lake, warehouse)
    assert differences(lake, warehouse) == []


def test_a_row_altered_in_the_warehouse_is_found_and_repaired(
    connection: Connection, lake: ParquetLake, warehouse: ClickHouseLake
) -> None:
    transfer.sync(lake, warehouse)
    connection.command(
        f"ALTER TABLE {connection.table('candles')} UPDATE close = close + 1e-9 "
        "WHERE partition_month = 201705 AND row_number = 3 SETTINGS mutations_sync = 2",
        about="a strange hand",
    )
    assert differences(lake, warehouse) == [("damaged", "2017-05")]
    with pytest.raises(CorruptPartitionError, match="candles/H1/EURUSD/2017-05"):
        warehouse.verify(warehouse.resolve(KEY.at("2017-05")))
    assert transfer.sync(lake, warehouse).moved == 0  # the pointers agree: only reading tells
    ref, rows = lake.resolve(KEY.at("2017-05")), lake.read([lake.resolve(KEY.at("2017-05"))])
    warehouse.write(ref.key, rows, state=STATE, code_version="1", inputs={"a": "b"})
    assert differences(lake, warehouse) == []


def test_a_row_taken_out_of_the_warehouse_is_found(
    connection: Connection, lake: ParquetLake, warehouse: ClickHouseLake
) -> None:
    transfer.sync(lake, warehouse)
    connection.command(
        f"DELETE FROM {connection.table('candles')} "  # noqa: S608
        "WHERE partition_month = 201704 AND row_number = 0",
        about="a strange hand",
    )
    assert differences(lake, warehouse) == [("damaged", "2017-04")]
    with pytest.raises(CorruptPartitionError, match="expected 5 rows"):
        warehouse.read([warehouse.resolve(KEY.at("2017-04"))])


def test_what_changed_and_what_went_is_followed(
    lake: ParquetLake, warehouse: ClickHouseLake
) -> None:
    transfer.sync(lake, warehouse)
    lake.write(KEY, candles("2017-03", 2), state=STATE, code_version="1", inputs={"a": "b"})
    lake.write(KEY.at("2017-04"), candles("2017-04", 5), state=STATE, code_version="2", inputs={})
    lake.drop(KEY.at("2017-05"))
    found = differences(lake, warehouse)
    assert found == [("version", "2017-03"), ("provenance", "2017-04"), ("extra", "2017-05")]
    done = transfer.sync(lake, warehouse)
    assert (done.moved, done.unchanged, done.dropped) == (2, 0, 1)
    assert differences(lake, warehouse) == []


def awkward() -> pl.DataFrame:
    """Rows of a DST night to the microsecond: nulls beside NaN, signs of zero, other scripts."""
    instants = [
        dt.datetime(2017, 3, 26, 0, 59, 59, 999_999, tzinfo=dt.UTC),
        dt.datetime(2017, 3, 26, 1, 0, 0, 1, tzinfo=dt.UTC),
        dt.datetime(2017, 3, 26, 1, 0, 0, 1, tzinfo=dt.UTC),
    ]
    rows = candles("2017-03", 3, instrument="ÜNÏ/日経 'x\\\n")
    return rows.with_columns(
        pl.Series("ts", instants, dtype=INSTANT),
        pl.Series("volume", [None, float("nan"), -0.0]),
        pl.Series("source", ["", "'; DROP TABLE candles; --", "€"]),
    )


def test_awkward_values_come_back_with_the_lakes_version(
    lake: ParquetLake, warehouse: ClickHouseLake
) -> None:
    ours = lake.write(KEY, awkward(), code_version="", inputs={})
    theirs = warehouse.write(KEY, awkward(), code_version="", inputs={})
    assert ours == theirs
    read = warehouse.read([theirs])
    assert_frame_equal(read, lake.read([ours]), check_exact=True)
    assert read["volume"].is_null().to_list() == [True, False, False]
    assert read.schema["ts"] == INSTANT
    warehouse.verify(theirs)


def test_migrations_run_once_and_a_new_column_is_added(connection: Connection) -> None:
    assert schema.migrate(connection) == [1, 2]
    assert schema.migrate(connection) == []
    candle_table = connection.table("candles")
    connection.command(f"ALTER TABLE {candle_table} DROP COLUMN volume", about="older")
    warehouse = ClickHouseLake(connection)
    ref = warehouse.write(KEY, candles("2017-03", 3), code_version="", inputs={})
    warehouse.verify(ref)
    connection.command(
        f"ALTER TABLE {candle_table} MODIFY COLUMN volume Nullable(String)", about="other"
    )
    with pytest.raises(SchemaError, match=r"candles\.volume"):
        schema.migrate(connection)


def test_a_newer_database_is_refused(connection: Connection) -> None:
    schema.migrate(connection)
    row = pl.DataFrame({"number": [99], "name": ["later"]}).cast({"number": pl.UInt32})
    connection.insert(schema.MIGRATIONS, row, about="later")
    with pytest.raises(StorageError, match="99"):
        schema.migrate(connection)


def test_one_writer_a_series_over_two_clients_until_the_lease_ends(
    connection: Connection,
) -> None:
    one, other = ClickHouseLake(connection), ClickHouseLake(connection)
    with one.writing("candles", "H1", "EURUSD"):
        with pytest.raises(PartitionBusyError), other.writing("candles", "H1", "EURUSD"):
            pass
        with other.writing("candles", "H1", "GBPUSD"):
            pass
    with other.writing("candles", "H1", "EURUSD"):
        pass
    dead = ClickHouseLake(connection, lease_s=0.001)  # as if killed: its claim stays and ends
    dead._writers._claim(("candles", "H1", "EURUSD"), is_held=True)
    connection.command("SELECT sleep(0.01)", about="the lease")
    with other.writing("candles", "H1", "EURUSD"):
        pass


def test_errors_name_table_and_partition_and_never_the_password() -> None:
    address = parse_dsn("clickhouse://reader:hunter2@127.0.0.1:1/market")
    assert "hunter2" not in repr(address)
    with pytest.raises(StorageError) as e:
        Connection(address)
    assert "127.0.0.1:1/market" in str(e.value)
    assert "hunter2" not in str(e.value)


def test_an_error_says_which_table_and_partition(
    connection: Connection, warehouse: ClickHouseLake
) -> None:
    ref: PartitionRef = warehouse.write(KEY, candles("2017-03", 3), code_version="", inputs={})
    connection.command(f"DROP TABLE {connection.table('candles')}", about="a strange hand")
    with pytest.raises(StorageError, match=r"candles: candles/H1/EURUSD/2017-03"):
        warehouse.read([ref])


@pytest.mark.parametrize(
    "dsn", ["", "postgresql://u:hunter2@h/d", "clickhouse:///d", "chdb://x", "clickhouse://h/a;b"]
)
def test_a_dsn_that_cannot_be_is_refused_without_showing_it(dsn: str) -> None:
    with pytest.raises(InputError, match="WAREHOUSE_DSN") as e:
        parse_dsn(dsn)
    assert "hunter2" not in str(e.value)
