"""Dagster's SQLite event log with its connections kept open.

Dagster 1.13 builds an engine and opens a file for every statement, which was about half of the time
of a backfill of small partitions. This class changes when connections are opened, nothing
else: same files, same tables, same locks; a folder written by one is read by the other. It is named
in ``dagster.yaml`` where there was none; Postgres takes its place in production.
See docs/decisions/0007.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME

if TYPE_CHECKING:
    from dagster._serdes import ConfigurableClassData

MAX_RUN_ENGINES = 4
"""Runs whose files stay open; a daemon sees many runs, few at a time."""
TIMEOUT_S = 20.0


class PooledSqliteEventLogStorage(SqliteEventLogStorage):
    """The default event log, connecting once a file instead of once a statement."""

    def __init__(self, base_dir: str, inst_data: "ConfigurableClassData | None" = None) -> None:
        self._engines: OrderedDict[str, sa.Engine] = OrderedDict()
        self._tables: set[str] = set()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: "ConfigurableClassData | None", config_value: Mapping[str, Any]
    ) -> "PooledSqliteEventLogStorage":
        """Build it from ``dagster.yaml``."""
        return cls(inst_data=inst_data, **config_value)

    def run_connection(self, run_id: str | None = None) -> Any:  # noqa: ANN401 - as Dagster has it
        """Connect to a run's own file."""
        return self._connected(str(run_id))

    def index_connection(self) -> AbstractContextManager[sa.Connection]:
        """Connect to the file with the events of assets across runs."""
        return self._connected(INDEX_SHARD_NAME)

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table; one that is there stays there."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def dispose(self) -> None:
        """Close every file."""
        with self._db_lock:
            while self._engines:
                self._engines.popitem()[1].dispose()
        super().dispose()

    @contextmanager
    def _connected(self, shard: str) -> Iterator[sa.Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def _engine(self, shard: str) -> sa.Engine:
        """Return the shard's engine; the file that was used longest ago is closed for a new one."""
        if shard not in self._engines:
            self._engines[shard] = sa.create_engine(
                self.conn_string_for_shard(shard),
                connect_args={"timeout": TIMEOUT_S, "check_same_thread": False},
            )
            runs = [name for name in self._engines if name != INDEX_SHARD_NAME]
            for name in runs[:-MAX_RUN_ENGINES]:
                self._engines.pop(name).dispose()
        self._engines.move_to_end(shard)
        return self._engines[shard]
