"""The SQL database: SQLite in one file by default, Postgres by its address.

Belongs here: connections, transactions, errors, and the schema brought up to date before the first
of them. Keep out: what the tables say (``backtest_runs``).

Any number of processes share it. SQLite is in WAL mode, so that readers never wait; whoever writes
takes the lock when its transaction begins (a lock that is asked for in the middle can be refused at
once, whatever the time-out) and waits for it for up to ``BUSY_S``.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from market.errors import StorageError, StorageFullError

BUSY_S: Final = 30.0  # a writer waits so long for another
CONNECT_S: Final = 5  # a server that does not answer is away
_READS: Final = "wavehouse_reads"
_DRIVERS: Final = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
_MICROSECONDS: Final = 1_000_000


class Database:
    """Transactions on one database; nothing is opened, made or migrated before the first."""

    def __init__(self, url: str) -> None:
        made = sa.make_url(url)
        self._url = made.set(drivername=_DRIVERS.get(made.drivername, made.drivername))
        self._engine = _engine(self._url)
        self._migrating = threading.Lock()
        self._is_migrated = False

    @classmethod
    def at(cls, path: Path) -> Self:
        """Return the SQLite database in the file ``path``."""
        return cls(sa.URL.create("sqlite", database=str(path)).render_as_string())

    @classmethod
    def in_memory(cls) -> Self:
        """Return a database that is gone when it is closed."""
        return cls("sqlite://")

    @property
    def is_shared(self) -> bool:
        """Whether it outlives the process."""
        return self._url.get_backend_name() != "sqlite" or _is_file(self._url)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Yield a connection in a transaction that only reads.

        Raise ``StorageError`` for whatever the database refuses.
        """
        with self._transaction(self._engine.execution_options(**{_READS: True})) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Yield a connection in a transaction, committed at the end; raises as ``reading``."""
        with self._transaction(self._engine) as connection:
            yield connection

    def check(self) -> None:
        """Raise ``StorageError`` unless the database answers; one in memory always does."""
        if self.is_shared:
            with self.reading() as connection:
                connection.execute(sa.select(1))

    def close(self) -> None:
        """Close every connection; a later transaction opens new ones."""
        with self._migrating:
            self._engine.dispose()
            self._is_migrated = False  # what lay in memory is gone

    @contextmanager
    def _transaction(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        with _translated():
            self._migrate()
            with engine.begin() as connection:
                yield connection

    def _migrate(self) -> None:
        with self._migrating:
            if self._is_migrated:
                return
            from storage.database_migrations import upgrade  # noqa: PLC0415 - Alembic: where needed

            if _is_file(self._url):
                Path(str(self._url.database)).parent.mkdir(parents=True, exist_ok=True)
            upgrade(self._engine)
            self._is_migrated = True


def now_us(connection: sa.Connection) -> int:
    """Return microseconds since 1970 by the one clock that every process of a database shares."""
    if connection.dialect.name == "sqlite":  # one machine
        return time.time_ns() // 1000
    seconds = connection.scalar(sa.text("SELECT extract(epoch FROM clock_timestamp())"))
    return int(float(seconds or 0) * _MICROSECONDS)


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        arguments = {"connect_timeout": CONNECT_S}
        return sa.create_engine(url, pool_pre_ping=True, connect_args=arguments)
    options: dict[str, Any] = {"connect_args": {"timeout": BUSY_S, "check_same_thread": False}}
    if not _is_file(url):  # one connection is the whole database: threads take turns
        options |= {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0}
    engine = sa.create_engine(url, **options)
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # the driver begins nothing of its own: _begin does
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")
    deadline = time.monotonic() + BUSY_S
    while True:  # the switch to WAL does not wait for others by itself
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin(connection: sa.Connection) -> None:
    is_reading = connection.get_execution_options().get(_READS, False)
    connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")


def _is_file(url: sa.URL) -> bool:
    return url.get_backend_name() == "sqlite" and url.database not in {None, "", ":memory:"}


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (sa.exc.SQLAlchemyError, OSError) as e:
        cause = getattr(e, "orig", None) or e
        message = f"database: expected an answer, was {type(cause).__name__}: {cause}"
        if "disk is full" in str(cause):
            raise StorageFullError(message) from e
        raise StorageError(message) from e
