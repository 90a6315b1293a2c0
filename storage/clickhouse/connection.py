"""One connection to ClickHouse: where it is, how it is asked, what its errors mean.

Belongs here: the address, the client, the translation of errors. Keep out: tables and partitions.
Two back ends speak the same SQL: a server over HTTP, and ``chdb``, the engine in this process (one
process a directory; a process that has it open must never fork). Instants are read timezone-aware.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, cast
from urllib.parse import parse_qs, unquote, urlsplit

import polars as pl

from market.errors import InputError, StorageError, StorageFullError

DEFAULT_DATABASE: Final = "wavehouse"

_SETTINGS: Final = {
    "final": 1,  # rows written again are one row to every reader
    "do_not_merge_across_partitions_select_final": 1,  # copies of a row share its partition
    "insert_deduplicate": 0,  # a block that was deleted may be written again
    "mutations_sync": 1,
}
_PORTS: Final = {"clickhouse": 8123, "clickhouses": 8443}
_NO_ROOM: Final = ("Code: 243", "No space left on device")
_MAX_REASON: Final = 300


@dataclass(frozen=True, slots=True)
class Address:
    """Where a warehouse is; the password is never shown.

    ``path`` is chdb's directory; "" where the warehouse is a server at ``host``.
    """

    database: str
    path: str = ""
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    is_encrypted: bool = False

    @property
    def name(self) -> str:
        """What messages call it."""
        where = f"chdb://{self.path}" if self.path else f"{self.host}:{self.port}"
        return f"{where}/{self.database}"


def parse_dsn(dsn: str) -> Address:
    """Return what a DSN says; raise ``InputError`` that shows nothing of what may be secret.

    Examples
    --------
    >>> parse_dsn("clickhouse://reader:secret@db:8123/market").name
    'db:8123/market'
    >>> parse_dsn("chdb:///var/warehouse").path
    '/var/warehouse'
    """
    try:
        parts = urlsplit(dsn)
        port = parts.port
    except ValueError as e:
        raise InputError("WAREHOUSE_DSN: expected a URL, was none") from e
    if parts.scheme == "chdb":
        if parts.netloc or len(parts.path) < len("/x"):
            raise InputError("WAREHOUSE_DSN: expected chdb:///absolute/folder, was another path")
        database = parse_qs(parts.query).get("database", [DEFAULT_DATABASE])[0]
        return Address(database=_checked(database), path=unquote(parts.path))
    if parts.scheme not in _PORTS or not parts.hostname:
        raise InputError(
            "WAREHOUSE_DSN: expected clickhouse://user:password@host:8123/database or "
            f"chdb:///folder, was scheme {parts.scheme!r}"
        )
    return Address(
        database=_checked(parts.path.strip("/") or DEFAULT_DATABASE),
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        user=unquote(parts.username or "default"),
        password=unquote(parts.password or ""),
        is_encrypted=parts.scheme == "clickhouses",
    )


def _checked(database: str) -> str:
    if not (database.isascii() and database.isidentifier()):
        raise InputError("WAREHOUSE_DSN: expected a database of letters and digits, was another")
    return database


class _Client(Protocol):
    """What is used of ``clickhouse_connect``'s client."""

    def command(self, cmd: str, *, parameters: Mapping[str, Any] | None = None) -> Any: ...  # noqa: ANN401

    def query_arrow(self, query: str, *, parameters: Mapping[str, Any] | None = None) -> Any: ...  # noqa: ANN401

    def insert_arrow(self, table: str, arrow_table: Any) -> Any: ...  # noqa: ANN401

    def close(self) -> None: ...


class Connection:
    """A client of one database; may be shared by threads, not by forked processes.

    Raises ``StorageError`` where the server does not answer or refuses.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        with self.errors(address.name):
            self._client = _open(address)
            self._client.command(f"CREATE DATABASE IF NOT EXISTS {address.database}")

    def table(self, name: str) -> str:
        """Return a table's full name."""
        return f"{self.address.database}.{name}"

    def command(self, sql: str, *, about: str, **parameters: object) -> None:
        """Run what has no answer; ``about`` names the table and the partition in an error."""
        with self.errors(about):
            self._client.command(sql, parameters=parameters)

    def frame(self, sql: str, *, about: str, **parameters: object) -> pl.DataFrame:
        """Return the rows of a query, instants in UTC."""
        with self.errors(about):
            arrow = self._client.query_arrow(sql, parameters=parameters)
        return cast("pl.DataFrame", pl.from_arrow(arrow))

    def insert(self, table: str, rows: pl.DataFrame, *, about: str) -> None:
        """Insert one block; it is there whole or not at all."""
        arrow = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        with self.errors(about):
            self._client.insert_arrow(self.table(table), arrow)

    def close(self) -> None:
        """Let go of the server, or of the directory."""
        self._client.close()

    @contextmanager
    def errors(self, about: str) -> Iterator[None]:
        """Translate what the client raises; a message that holds the password is cut out of it."""
        from clickhouse_connect.driver.exceptions import ClickHouseError  # noqa: PLC0415

        try:
            yield
        except ClickHouseError as e:
            said = " ".join(str(e).split())
            password = self.address.password
            is_secret = bool(password) and password in said
            reason = said.replace(password, "***") if is_secret else said
            kind = StorageFullError if any(w in said for w in _NO_ROOM) else StorageError
            message = f"{about}: expected ClickHouse to answer, was {reason[:_MAX_REASON]}"
            raise kind(message) from (None if is_secret else e)


def _open(address: Address) -> _Client:
    try:
        import clickhouse_connect  # noqa: PLC0415 - heavy, and only where a warehouse is
    except ImportError as e:
        raise StorageError(
            "WAREHOUSE_DSN: expected clickhouse-connect, was not installed; "
            "run `pip install wavehouse[clickhouse]`"
        ) from e
    if address.path:
        client = clickhouse_connect.get_client(
            interface="chdb", path=address.path, tz_mode="aware", settings=_SETTINGS
        )
    else:
        client = clickhouse_connect.get_client(
            host=address.host,
            port=address.port,
            username=address.user,
            password=address.password,
            secure=address.is_encrypted,
            tz_mode="aware",
            settings=_SETTINGS,
            autogenerate_session_id=False,  # a session takes one query at a time
        )
    return cast("_Client", client)
