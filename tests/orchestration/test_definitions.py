"""The code location: it loads, and everything in it says what it is."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped]

from orchestration.graph import data_stages, learning_stages
from tests.fakes.line import BTC, FrameProvider, Workshop, hourly, line_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    line = line_of(tmp_path_factory.mktemp("lake"), FrameProvider(hourly(BTC)))
    return Workshop(line).definitions


def test_every_stage_is_an_asset_and_every_asset_a_stage(definitions: dg.Definitions) -> None:
    keys = {tuple(spec.key.path) for spec in definitions.resolve_all_asset_specs()}
    assert keys == {tuple(s.asset_path) for s in (*data_stages(), *learning_stages())}
    assert ("labels", "h4") in keys
    assert ("raw_candles",) in keys


def test_every_asset_says_what_it_is(definitions: dg.Definitions) -> None:
    for spec in definitions.resolve_all_asset_specs():
        assert spec.group_name not in (None, "default"), spec.key
        assert spec.kinds, spec.key
        assert spec.owners == ["team:research"], spec.key
        assert spec.description, spec.key
        assert spec.description.endswith("."), spec.key
        assert spec.code_version, spec.key
        assert spec.partitions_def is not None, spec.key
        assert spec.automation_condition is not None, spec.key
        assert "columns" in spec.metadata, spec.key


def test_every_stage_has_blocking_checks(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    by_asset: dict[tuple[str, ...], set[str]] = {}
    for key in graph.asset_check_keys:
        by_asset.setdefault(tuple(key.asset_key.path), set()).add(key.name)
        assert graph.get(key).blocking, key
    for stage in (*data_stages(), *learning_stages()):
        assert by_asset[tuple(stage.asset_path)] == set(stage.check_names)
    for spec in graph.asset_check_keys:
        assert str(graph.get(spec).description).endswith("."), spec
    for group in ("levels", "labels", "features"):
        assert {"schema", "order", "causality"} <= by_asset[group, "h4"]


def test_the_jobs_are_there_and_select_their_part_of_the_line(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    groups = {
        name: {graph.get(k).group_name for k in job.asset_layer.executable_asset_keys}
        for name in ("ingest", "backfill", "train")
        if (job := definitions.resolve_job_def(name))
    }
    data = {"raw_candles", "candles", "levels", "labels", "features"}
    assert groups == {
        "ingest": {"raw_candles", "candles"},
        "backfill": data,
        "train": {"training_sets", "models", "evaluation"},
    }
    for name in groups:
        assert definitions.resolve_job_def(name).description


def test_workspace_and_dg_name_the_same_location() -> None:
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text(encoding="utf-8"))
    (entry,) = workspace["load_from"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["dg"]
    assert (
        entry["python_module"]["module_name"] == project["project"]["code_location_target_module"]
    )
    assert entry["python_module"]["location_name"] == project["project"]["code_location_name"]
    assert project["cli"]["telemetry"]["enabled"] is False


def child(home: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "WAVEHOUSE_HOME": str(home),
        "WAVEHOUSE_INSTRUMENTS": str(ROOT / "instruments.toml"),
        "DAGSTER_HOME": str(home),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
    }
    home.mkdir(exist_ok=True)
    return subprocess.run(  # noqa: S603 - our own words
        argv, capture_output=True, text=True, check=False, env=environment, cwd=ROOT, timeout=300
    )


@pytest.mark.slow
def test_the_workspace_file_loads(tmp_path: Path) -> None:
    dagster = str(Path(sys.executable).with_name("dagster"))
    done = child(tmp_path / "home", dagster, "definitions", "validate", "-w", "workspace.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wavehouse" in done.stdout + done.stderr


@pytest.mark.slow
def test_dg_loads_the_same(tmp_path: Path) -> None:
    command = str(Path(sys.executable).with_name("dg"))
    done = child(tmp_path / "home", command, "check", "defs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All definitions loaded successfully" in done.stdout + done.stderr
