"""The event log that keeps its connections: the files of Dagster's own, read by either."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage

from orchestration.event_log import MAX_RUN_ENGINES, PooledSqliteEventLogStorage
from orchestration.runs import prepare_home

PARTS = dg.StaticPartitionsDefinition(["a", "b"])


@dg.asset(partitions_def=PARTS, check_specs=[dg.AssetCheckSpec("good", asset="thing")])
def thing(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """Be one thing."""
    check = dg.AssetCheckResult(passed=True, check_name="good")
    return dg.MaterializeResult(metadata={"key": context.partition_key}, check_results=[check])


def instance(folder: Path, monkeypatch: pytest.MonkeyPatch, *, pooled: bool) -> dg.DagsterInstance:
    """Return an instance over the folder, with our event log or Dagster's."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    if pooled:
        prepare_home(folder)
    else:
        runs = folder / "history" / "runs"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "dagster.yaml").write_text(
            "telemetry: {enabled: false}\n"
            "event_log_storage:\n  module: dagster._core.storage.event_log\n"
            f"  class: SqliteEventLogStorage\n  config:\n    base_dir: '{runs}'\n"
        )
        monkeypatch.setenv("DAGSTER_HOME", str(folder))
    return dg.DagsterInstance.get()


def events(found: dg.DagsterInstance) -> list[tuple[str, str | None]]:
    """Return what the log says of the asset, partition by partition."""
    records = found.fetch_materializations(dg.AssetKey("thing"), limit=10).records
    return sorted(
        (str(r.asset_materialization.metadata["key"].value), r.asset_materialization.partition)
        for r in records
        if r.asset_materialization
    )


@pytest.mark.slow
@pytest.mark.parametrize("written_by_ours", [True, False])
def test_either_reads_what_the_other_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, written_by_ours: bool
) -> None:
    folder = tmp_path / "dagster"
    with instance(folder, monkeypatch, pooled=written_by_ours) as writer:
        kind = type(writer.event_log_storage)
        assert (kind is PooledSqliteEventLogStorage) is written_by_ours
        for part in ("a", "b"):
            assert dg.materialize([thing], instance=writer, partition_key=part).success
    (folder / "dagster.yaml").unlink()
    with instance(folder, monkeypatch, pooled=not written_by_ours) as reader:
        assert isinstance(reader.event_log_storage, SqliteEventLogStorage)
        assert events(reader) == [("a", "a"), ("b", "b")]
        assert len(reader.event_log_storage.get_all_run_ids()) == 2


def tables(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return the rows of every table of every file; but for what says when a row was made."""
    found = {}
    for file in sorted(folder.glob("*.db")):
        with sqlite3.connect(file) as connection:
            connection.row_factory = sqlite3.Row
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for (name,) in sorted(map(tuple, names.fetchall())):
                rows = [dict(r) for r in connection.execute(f"SELECT * FROM {name}")]  # noqa: S608
                for row in rows:
                    row.pop("create_timestamp", None)
                    row.pop("migration_completed", None)
                found[f"{file.stem}.{name}"] = [tuple(row.items()) for row in rows]
        connection.close()
    return found


@dg.asset(
    partitions_def=PARTS,
    check_specs=[dg.AssetCheckSpec("good", asset="many")],
    dagster_type=dg.Nothing,
)
def many(context: dg.AssetExecutionContext):  # noqa: ANN201 - events
    """Be found good, then bad, then good in each partition of a range, and as a whole."""
    for partition in context.partition_keys:
        for passed in (True, False):
            yield dg.AssetCheckEvaluation(
                asset_key=context.asset_key, check_name="good", passed=passed, partition=partition
            )
        tags = {"dagster/data_version": f"of {partition}"}
        yield dg.AssetMaterialization(context.asset_key, partition=partition, tags=tags)
    yield dg.Output(None)
    yield dg.AssetCheckResult(passed=True, check_name="good")


def one_by_one(log: SqliteEventLogStorage, entries: Sequence[EventLogEntry]) -> None:
    for entry in entries:
        log.store_event(entry)


def at_once(log: SqliteEventLogStorage, entries: Sequence[EventLogEntry]) -> None:
    log.store_event_batch(entries)


@pytest.mark.slow
@pytest.mark.parametrize("store", [one_by_one, at_once])
def test_the_rows_are_those_of_dagsters_own_class(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    store: Callable[[SqliteEventLogStorage, Sequence[EventLogEntry]], None],
) -> None:
    with instance(tmp_path / "dagster", monkeypatch, pooled=True) as made:
        whole = {
            "dagster/asset_partition_range_start": "a",
            "dagster/asset_partition_range_end": "b",
        }
        runs = [dg.materialize([many], instance=made, tags=whole).run_id]
        runs.append(dg.materialize([many, thing], instance=made, partition_key="b").run_id)
        entries = [entry for run_id in runs for entry in made.all_logs(run_id)]
        entries.append(entries[-1]._replace(dagster_event=None, step_key=None))  # a word of the log
    theirs, ours = (
        SqliteEventLogStorage(str(tmp_path / "1")),
        PooledSqliteEventLogStorage(str(tmp_path / "2")),
    )
    one_by_one(theirs, entries)
    store(ours, entries)
    expected = tables(tmp_path / "1")
    assert {"ASSET_CHECK_EVALUATION", "ASSET_MATERIALIZATION_PLANNED"} <= {
        str(dict(row)["dagster_event_type"]) for row in expected["index.event_logs"]
    }
    assert tables(tmp_path / "2") == expected
    ours.dispose()


@pytest.mark.slow
def test_what_fails_in_the_middle_of_a_batch_leaves_no_part_of_it_in_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with instance(tmp_path / "dagster", monkeypatch, pooled=True) as made:
        run_id = dg.materialize([thing], instance=made, partition_key="a").run_id
        entries = list(made.all_logs(run_id))
    log = PooledSqliteEventLogStorage(str(tmp_path / "log"))

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(log, "_store_asset_event", refuse)
    with pytest.raises(sqlite3.OperationalError):
        log.store_event_batch(entries)
    assert tables(tmp_path / "log")["index.event_logs"] == []
    log.dispose()


@pytest.mark.slow
def test_a_daemon_that_sees_many_runs_keeps_few_files_open(tmp_path: Path) -> None:
    log = PooledSqliteEventLogStorage(str(tmp_path))
    for i in range(3 * MAX_RUN_ENGINES):
        with log.run_connection(f"run-{i}"):
            pass
    assert len(log._engines) <= MAX_RUN_ENGINES + 1
    assert len(log.get_all_run_ids()) == 3 * MAX_RUN_ENGINES  # closed, not lost
    log.dispose()
    assert not log._engines
