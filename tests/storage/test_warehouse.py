"""The warehouse itself: moves from a lake, proofs, migrations, what cannot be seen."""

import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
from storage.clickhouse.lake import ClickHouseLake, open_warehouse
from storage.lake import ParquetLake
from tests.fakes import warehouses
from tests.fakes.bars import candles

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
KEY = PartitionKey("candles", "H1", "EURUSD", "2017-03")
MONTHS = ("2017-03", "2017-04", "2017-05")
STATE = {"atr": np.array([0.5, np.nan])}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    warehouses.need_engine()
    return tmp_path_factory.mktemp("chdb")


@pytest.fixture
def connection(folder: Path) -> Iterator[Connection]:
    with warehouses.database(f"chdb://{folder}") as dsn:
        made = Connection(parse_dsn(dsn))
        yield made
        made.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the DSN of a database that other processes can open too."""
    warehouses.need_engine()
    with warehouses.gateway(tmp_path_factory.mktemp("gateway")) as port:
        yield f"clickhouse://writer:secret@127.0.0.1:{port}"


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
    assert first == transfer.Synced(moved=3, unchanged=0, extra=0, dropped=0, rows=15)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert differences(lake, warehouse) == []
    for month in MONTHS:
        assert warehouse.resolve(KEY.at(month)) == lake.resolve(KEY.at(month))
    again = transfer.sync(lake, warehouse)
    assert again == transfer.Synced(moved=0, unchanged=3, extra=0, dropped=0, rows=0)


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
    assert (done.moved, done.unchanged, done.extra, done.dropped) == (2, 0, 1, 0)
    assert differences(lake, warehouse) == [("extra", "2017-05")]
    done = transfer.sync(lake, warehouse, prune=True)
    assert (done.moved, done.unchanged, done.extra, done.dropped) == (0, 2, 0, 1)
    assert differences(lake, warehouse) == []


def physical(connection: Connection, table: str = "candles") -> int:
    """Count the rows that were ever inserted, copies of a row included."""
    n = connection.frame(
        f"SELECT count() AS n FROM {connection.table(table)} SETTINGS final = 0",  # noqa: S608
        about=table,
    )
    return int(n["n"][0])


def test_the_same_partition_written_again_inserts_nothing(
    connection: Connection, warehouse: ClickHouseLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert, inserted = connection.insert, []

    def counted(table: str, rows: pl.DataFrame, *, about: str) -> None:
        inserted.append(table)
        insert(table, rows, about=about)

    monkeypatch.setattr(connection, "insert", counted)
    for code_version in ("1", "1", "2"):
        warehouse.write(KEY, candles("2017-03", 5), code_version=code_version, inputs={})
    assert inserted == ["candles", schema.VERSIONS]
    assert physical(connection) == 5
    assert [move.ref.code_version for move in warehouse.versions(KEY)] == ["1", "2"]


def test_a_row_that_is_there_twice_is_read_once(
    connection: Connection, warehouse: ClickHouseLake
) -> None:
    connection.command(f"SYSTEM STOP MERGES {connection.table('candles')}", about="no luck")
    ref = warehouse.write(KEY, candles("2017-03", 5), code_version="1", inputs={})
    table = connection.table("candles")
    connection.command(f"INSERT INTO {table} SELECT * FROM {table}", about="again")  # noqa: S608
    assert physical(connection) == 10
    assert_frame_equal(warehouse.read([ref]), candles("2017-03", 5), check_exact=True)
    assert warehouse.row(ref).height == 1
    assert warehouse.newest("candles", "H1", "EURUSD", rows=3).height == 3
    warehouse.verify(ref)


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


DYING = """
import os, signal, sys
from storage.clickhouse.connection import Connection, parse_dsn
from storage.clickhouse.lake import ClickHouseLake, open_warehouse
from market.ports import PartitionKey
from tests.fakes.bars import candles

connection = Connection(parse_dsn(sys.argv[1]))
warehouse = ClickHouseLake(connection, lease_s=1.0, block_rows=4)
insert, blocks = connection.insert, []

def dies(table, rows, *, about):
    if table == "candles":
        blocks.append(rows.height)
        if len(blocks) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
    insert(table, rows, about=about)

connection.insert = dies
key = PartitionKey("candles", "H1", "EURUSD", "2017-03")
warehouse.write(key, candles("2017-03", 10, shift=1.0), code_version="1", inputs={})
"""


def once_free(warehouse: ClickHouseLake, rows: pl.DataFrame) -> PartitionRef:
    """Write as soon as the series has no other writer."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return warehouse.write(KEY, rows, code_version="1", inputs={})
        except PartitionBusyError:
            assert time.monotonic() < deadline, "expected the series to become free, was not"


def test_what_a_killed_writer_left_is_never_served_and_is_written_over(server: str) -> None:
    dsn = f"{server}/t{uuid.uuid4().hex}"
    connection = Connection(parse_dsn(dsn))
    warehouse = ClickHouseLake(connection)
    old = warehouse.write(KEY, candles("2017-03", 5), code_version="1", inputs={})
    child = subprocess.run([sys.executable, "-c", DYING, dsn], check=False, cwd=ROOT)  # noqa: S603
    assert child.returncode == -signal.SIGKILL
    assert physical(connection) == 5 + 8
    assert warehouse.resolve(KEY) == old
    assert_frame_equal(warehouse.newest("candles", "H1", "EURUSD", rows=99), candles("2017-03", 5))
    new = candles("2017-03", 10, shift=1.0)
    ref = once_free(warehouse, new)  # when the dead one's lease has ended
    assert physical(connection) == 5 + 10
    assert_frame_equal(warehouse.read([ref]), new, check_exact=True)
    warehouse.verify(ref)
    connection.close()


def test_two_clients_that_rewrite_one_partition_leave_it_whole(server: str) -> None:
    dsn = f"{server}/t{uuid.uuid4().hex}"
    clients = [open_warehouse(dsn) for _ in range(2)]
    start = threading.Barrier(2)

    def rewrite(shift: int) -> list[PartitionRef]:
        start.wait()
        return [
            once_free(clients[shift], candles("2017-03", 10, shift=shift + step / 10))
            for step in range(4)
        ]

    with ThreadPoolExecutor(2) as pool:
        written = [ref for refs in pool.map(rewrite, range(2)) for ref in refs]
    last = clients[0].resolve(KEY)
    assert last == clients[1].resolve(KEY)
    assert last in written
    assert len({move.ref.version for move in clients[0].versions(KEY)}) == len(written) == 8
    for ref in written:
        clients[0].verify(ref)
    for client in clients:
        client.close()


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
