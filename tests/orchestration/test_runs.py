"""The runner of the command line: Dagster's home, and what a failed run says."""

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped]

from orchestration.definitions import build_defs
from orchestration.jobs import job_of
from orchestration.runs import RunFailedError, Runner, prepare_home
from tests.fakes.line import (
    BTC,
    MONTHS,
    FrameProvider,
    broken_off,
    hourly,
    line_of,
    pointers,
    stages_of,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take away what would name a home, and what the test puts there afterwards."""
    for name in ("DAGSTER_HOME", "DAGSTER_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield
    for name in ("DAGSTER_HOME", "DAGSTER_DISABLE_TELEMETRY"):
        os.environ.pop(name, None)


@pytest.mark.usefixtures("clean")
def test_a_home_is_made_with_telemetry_off_and_named(tmp_path: Path) -> None:
    prepare_home(tmp_path / "a" / "dagster")
    config = yaml.safe_load((tmp_path / "a" / "dagster" / "dagster.yaml").read_text())
    assert config["telemetry"] == {"enabled": False}
    with dg.DagsterInstance.get() as instance:
        assert not instance.nux_enabled  # no dialog covers the pages
    assert os.environ["DAGSTER_HOME"] == str(tmp_path / "a" / "dagster")
    assert os.environ["DAGSTER_DISABLE_TELEMETRY"] == "yes"


@pytest.mark.usefixtures("clean")
def test_a_home_that_is_named_or_configured_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "dagster.yaml").write_text("telemetry:\n  enabled: true\n")
    prepare_home(tmp_path / "mine")
    assert "true" in (tmp_path / "mine" / "dagster.yaml").read_text()
    prepare_home(tmp_path / "other")
    assert not (tmp_path / "other").exists()
    assert os.environ["DAGSTER_HOME"] == str(tmp_path / "mine")


@pytest.mark.slow
@pytest.mark.usefixtures("clean")
def test_a_range_run_is_one_run_recorded_in_the_home(tmp_path: Path) -> None:
    line = line_of(tmp_path / "lake", FrameProvider(hourly(BTC)))
    runner = Runner(line, tmp_path / "dagster")
    stages = stages_of("D", groups=["raw_candles", "candles"])
    run = runner.run_months(stages, "BTC", MONTHS, stale_only=True)
    assert run.partitions == 8
    assert len(pointers(line, stages)) == 8
    with dg.DagsterInstance.get() as instance:
        assert instance.get_run_ids() == [run.run_id]
        done = instance.get_materialized_partitions(dg.AssetKey(["candles", "d"]))
        assert done == {f"BTC|{month}-01" for month in MONTHS}
        assert instance.get_dynamic_partitions("instrument") == ["BTC"]
        (recorded,) = instance.get_runs()
    # what the timeline and a job's page ask for
    assert recorded.job_name == "ingest"
    assert recorded.remote_job_origin is not None
    assert recorded.remote_job_origin.job_name == "ingest"
    repository = recorded.remote_job_origin.repository_origin
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text(encoding="utf-8"))
    (entry,) = workspace["load_from"]
    location = entry["python_module"]["location_name"]
    assert repository.code_location_origin.location_name == location
    assert repository.repository_name == build_defs(line=line).get_repository_def().name
    assert recorded.tags["team"] == "research"


@pytest.mark.parametrize(
    ("groups", "job"),
    [
        (["raw_candles"], "ingest"),
        (["raw_candles", "candles"], "ingest"),
        (["labels"], "backfill"),
        (["raw_candles", "candles", "levels", "labels", "features"], "backfill"),
        (["training_sets", "models", "evaluation"], "train"),
    ],
)
def test_a_run_is_of_the_smallest_job_that_holds_its_stages(groups: list[str], job: str) -> None:
    assert job_of(groups) == job


@pytest.mark.slow
@pytest.mark.usefixtures("clean")
def test_a_failed_run_is_an_error_that_names_run_partition_and_cause(tmp_path: Path) -> None:
    provider = FrameProvider(hourly(BTC))
    provider.before = broken_off("2017-04")
    runner = Runner(line_of(tmp_path / "lake", provider), tmp_path / "dagster")
    with pytest.raises(
        RunFailedError, match=r"^run [0-9a-f-]{36}: raw_candles/H1/BTC/2017-04: .*broken off$"
    ):
        runner.run_months(stages_of("D"), "BTC", MONTHS, stale_only=True)


@pytest.mark.slow
@pytest.mark.usefixtures("clean")
def test_an_unforeseen_error_names_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = FrameProvider(hourly(BTC))

    def unforeseen(_month: str) -> None:
        raise ZeroDivisionError("nobody thought of it")

    monkeypatch.setattr(provider, "before", unforeseen)
    runner = Runner(line_of(tmp_path / "lake", provider), tmp_path / "dagster")
    with pytest.raises(RunFailedError, match="raw_candles: ZeroDivisionError: nobody thought"):
        runner.run_months(stages_of("D"), "BTC", MONTHS[:1], stale_only=True)
