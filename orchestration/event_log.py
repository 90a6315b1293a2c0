"""Dagster's SQLite event log with its connections kept open, and a transaction an event.

Dagster 1.13 builds an engine and opens a file for every statement, which was about half of the time
of a backfill of small partitions, and commits an event two to four times, each with a wait for the
disk. This class changes when connections are opened and when they commit, nothing else: same files,
same tables, same rows, same locks; a folder written by one is read by the other. It is named in
``dagster.yaml`` where there was none; Postgres takes its place in production.
See docs/decisions/0007.
"""

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from dagster._core.events import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    EVENT_TYPE_TO_PIPELINE_RUN_STATUS,
    DagsterEventType,
)
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetKeyTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME

if TYPE_CHECKING:
    from dagster._core.events.log import EventLogEntry
    from dagster._serdes import ConfigurableClassData

MAX_RUN_ENGINES = 4
"""Runs whose files stay open; a daemon sees many runs, few at a time."""
TIMEOUT_S = 20.0

_INDEXED: Final = ASSET_EVENTS | ASSET_CHECK_EVENTS | EVENT_TYPE_TO_PIPELINE_RUN_STATUS.keys()

# built once: SQLAlchemy takes longer to build a statement and find its text than to run it
_EVENT: Final = SqlEventLogStorageTable.insert()
_CHECK: Final = AssetCheckExecutionsTable.insert()
_checks = AssetCheckExecutionsTable.c
_CHECK_AGAIN: Final = AssetCheckExecutionsTable.update().where(
    *(
        _checks[name] == sa.bindparam(f"of_{name}")
        for name in ("asset_key", "check_name", "run_id")
    ),
    _checks.partition.is_not_distinct_from(sa.bindparam("of_partition")),
)


class PooledSqliteEventLogStorage(SqliteEventLogStorage):
    """The default event log, connecting once a file and committing once an event and file."""

    def __init__(self, base_dir: str, inst_data: "ConfigurableClassData | None" = None) -> None:
        self._engines: OrderedDict[str, sa.Engine] = OrderedDict()
        self._open: dict[str, sa.Connection] = {}  # of the thread that holds the lock
        self._tables: set[str] = set()
        self._has_index_columns = False
        super().__init__(base_dir, inst_data)
        self._db_lock: Any = threading.RLock()

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

    def store_event(self, event: "EventLogEntry") -> None:
        """Store an event: in its run's file, and in the index if it is about an asset."""
        self.store_event_batch([event])

    def store_event_batch(self, events: Sequence["EventLogEntry"]) -> None:
        """Store events; a file takes all of them in one transaction, or none."""
        rows = [self._event_to_row(event) for event in events]
        by_run: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            by_run[row["run_id"]].append(row)
        for run_id, own in by_run.items():
            with self.run_connection(run_id) as connection:
                connection.execute(_EVENT, own)
        indexed = [
            (event, row)
            for event, row in zip(events, rows, strict=True)
            if event.is_dagster_event and event.dagster_event_type in _INDEXED
        ]
        if indexed:
            with self.index_connection() as connection:
                self._index(connection, indexed)

    def dispose(self) -> None:
        """Close every file."""
        with self._db_lock:
            while self._engines:
                self._engines.popitem()[1].dispose()
        super().dispose()

    def _index(
        self, connection: sa.Connection, events: Sequence[tuple["EventLogEntry", dict[str, Any]]]
    ) -> None:
        newest: dict[tuple[str | None, object], tuple[EventLogEntry, int]] = {}
        for event, row in events:
            event_id = connection.execute(_EVENT, row).inserted_primary_key[0]  # type: ignore[index]
            kind = event.dagster_event_type
            if kind in ASSET_EVENTS:
                self._store_asset_event_tags(connection, [event], [event_id])
                newest.pop((row["asset_key"], kind), None)  # the order is that of the last ones
                newest[row["asset_key"], kind] = (event, event_id)
            elif kind is DagsterEventType.ASSET_CHECK_EVALUATION and event.run_id:
                self._store_check(connection, event, row, event_id)
            elif kind in ASSET_CHECK_EVENTS:
                self.store_asset_check_event(event, event_id)
        for event, event_id in newest.values():
            self._store_asset_event(connection, event, event_id)

    def _store_asset_event(
        self, conn: sa.Connection, event: "EventLogEntry", event_id: int
    ) -> None:
        """Say of the asset what its newest event says; the caller's transaction may write alone."""
        asset_key = event.dagster_event.asset_key if event.dagster_event else None
        values = self._get_asset_entry_values(
            event, event_id, self._has_asset_key_index_cols_on_connection(conn)
        )
        if asset_key is None or not values:
            return
        is_it = AssetKeyTable.c.asset_key == asset_key.to_string()
        if not conn.execute(AssetKeyTable.update().where(is_it), values).rowcount:
            conn.execute(AssetKeyTable.insert(), {"asset_key": asset_key.to_string(), **values})

    def _has_asset_key_index_cols_on_connection(self, conn: sa.Connection) -> bool:
        """Whether the index is of a Dagster that is not ancient; once it is, it stays so."""
        if not self._has_index_columns:
            self._has_index_columns = super()._has_asset_key_index_cols_on_connection(conn)
        return self._has_index_columns

    def _store_check(
        self,
        connection: sa.Connection,
        event: "EventLogEntry",
        row: Mapping[str, Any],
        event_id: int,
    ) -> None:
        """Store what a check found; a run that finds it twice keeps what it found last."""
        found: Any = event.get_dagster_event().event_specific_data
        target = found.target_materialization_data
        of = {
            "asset_key": found.asset_key.to_string(),
            "check_name": found.check_name,
            "run_id": event.run_id,
            "partition": found.partition,
        }
        values = {
            "execution_status": "SUCCEEDED" if found.passed else "FAILED",
            "evaluation_event": row["event"],
            "evaluation_event_timestamp": row["timestamp"],
            "evaluation_event_storage_id": event_id,
            "materialization_event_storage_id": target.storage_id if target else None,
        }
        where = {f"of_{name}": value for name, value in of.items()}
        if not connection.execute(_CHECK_AGAIN, {**where, **values}).rowcount:
            connection.execute(_CHECK, {**of, **values})

    @contextmanager
    def _connected(self, shard: str) -> Iterator[sa.Connection]:
        with self._db_lock:
            if shard in self._open:  # part of a transaction that this thread has begun
                yield self._open[shard]
                return
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                self._open[shard] = connection
                try:
                    yield connection
                finally:
                    del self._open[shard]

    def _engine(self, shard: str) -> sa.Engine:
        """Return the shard's engine; the file that was used longest ago is closed for a new one."""
        if shard not in self._engines:
            engine = sa.create_engine(
                self.conn_string_for_shard(shard),
                connect_args={"timeout": TIMEOUT_S, "check_same_thread": False},
            )
            sa.event.listen(engine, "connect", _leave_syncing_to_checkpoints)
            self._engines[shard] = engine
            runs = [
                name
                for name in self._engines
                if name != INDEX_SHARD_NAME and name not in self._open
            ]
            for name in runs[:-MAX_RUN_ENGINES]:
                self._engines.pop(name).dispose()
        self._engines.move_to_end(shard)
        return self._engines[shard]


def _leave_syncing_to_checkpoints(connection: Any, _record: object) -> None:  # noqa: ANN401 - DBAPI's
    """Do not wait for the disk at each commit: safe in WAL mode, which Dagster's files are in.

    A kill loses nothing; a power cut may lose the last events, never the file. What a partition is
    made of stands in the lake, which does wait.
    """
    connection.execute("PRAGMA synchronous=NORMAL")
