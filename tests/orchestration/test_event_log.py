"""The event log that keeps its connections: the files of Dagster's own, read by either."""

from pathlib import Path

import dagster as dg
import pytest
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
