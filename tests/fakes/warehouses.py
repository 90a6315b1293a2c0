"""Warehouses for tests: chdb in this process, and a server's HTTP interface in one of its own."""

import importlib.util
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.clickhouse.connection import Connection, parse_dsn
from storage.clickhouse.schema import MIGRATIONS

GATEWAY = Path(__file__).with_name("clickhouse_gateway.py")


def need_engine() -> None:
    """Skip, and say why, where the client or the engine is not installed."""
    for module, where in (("clickhouse_connect", "extra clickhouse"), ("chdb", "group dev")):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} ({where}) is not installed: nothing ran over ClickHouse")


@contextmanager
def database(server: str) -> Iterator[str]:
    """Give the DSN of a new database on a server, or in chdb's folder; drop it after the block.

    An engine works for every table that it has, also for those that nobody reads any more.
    """
    name = f"t{uuid.uuid4().hex}"
    dsn = f"{server}?database={name}" if server.startswith("chdb:") else f"{server}/{name}"
    try:
        yield dsn
    finally:
        connection = Connection(parse_dsn(dsn))
        connection.command(f"DROP DATABASE {name} SYNC", about=name)
        connection.close()


def emptied(dsn: str) -> str:
    """Take every row out of a database, but for the record of its migrations; return its DSN."""
    connection = Connection(parse_dsn(dsn))
    tables = connection.frame(
        "SELECT name FROM system.tables "
        "WHERE database = {database:String} AND name != {kept:String}",
        about="system.tables",
        database=connection.address.database,
        kept=MIGRATIONS,
    )
    for (name,) in tables.iter_rows():
        connection.command(f"TRUNCATE TABLE {connection.table(name)}", about=name)
    connection.close()
    return dsn


@contextmanager
def gateway(folder: Path) -> Iterator[int]:
    """Yield the port of a gateway over ``folder``; it ends with the block."""
    with subprocess.Popen(  # noqa: S603 - our own file
        [sys.executable, str(GATEWAY), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
