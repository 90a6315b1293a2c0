"""The instances of Dagster in ``deploy/``: Dagster reads each; the launchers where installed."""

import importlib
import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._config import resolve_to_config_type, validate_config
from dagster._core.instance.config import dagster_instance_config
from dagster._core.instance.ref import InstanceRef

from tests.deploy.files import DEPLOY, asked_of_environment, document, pins

LAUNCHERS = {
    "dagster/default.yaml": None,
    "dagster/celery.yaml": ("dagster_celery.launcher", "CeleryRunLauncher", "dagster-celery"),
    "kubernetes/dagster.yaml": ("dagster_k8s", "K8sRunLauncher", "dagster-k8s"),
}


@pytest.mark.parametrize("name", LAUNCHERS)
def test_dagster_reads_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(DEPLOY / name, tmp_path / "dagster.yaml")
    for variable in asked_of_environment(document(name)):
        monkeypatch.setenv(variable, "postgresql://u:p@h/d")
    read, _ = dagster_instance_config(str(tmp_path))
    assert read["telemetry"] == {"enabled": False}
    launcher = InstanceRef.from_dir(str(tmp_path)).run_launcher_data
    assert launcher is not None
    expected = LAUNCHERS[name]
    if expected is not None:
        module, kind, package = expected
        assert (launcher.module_name, launcher.class_name) == (module, kind)
        assert package in pins()


def test_dagster_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    text = (DEPLOY / "dagster" / "default.yaml").read_text(encoding="utf-8")
    (tmp_path / "dagster.yaml").write_text(text.replace("run_monitoring", "run_watching"))
    with pytest.raises(Exception, match="run_watching"):
        dagster_instance_config(str(tmp_path))


@pytest.mark.parametrize("name", [name for name, launcher in LAUNCHERS.items() if launcher])
def test_the_launcher_takes_its_configuration(name: str) -> None:
    launcher = document(name)["run_launcher"]
    module = launcher["module"].split(".")[0]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is in the image alone (deploy/requirements.txt)")
    kind = getattr(importlib.import_module(launcher["module"]), launcher["class"])
    done = validate_config(resolve_to_config_type(kind.config_type()), launcher["config"])
    assert done.success, done.errors


def test_profiles_differ_in_who_runs_and_in_how_many_alone() -> None:
    def rest(name: str) -> dict[str, Any]:
        found = document(name)
        found.pop("run_launcher", None)
        found["concurrency"]["runs"].pop("max_concurrent_runs")
        return found

    assert rest("dagster/default.yaml") == rest("dagster/celery.yaml")
    assert rest("dagster/default.yaml") == rest("kubernetes/dagster.yaml")


def test_workers_listen_where_the_launcher_sends() -> None:
    sent = document("dagster/celery.yaml")["run_launcher"]["config"]
    read = document("dagster/celery-worker.yaml")["execution"]["config"]
    assert (sent["broker"], sent["backend"]) == (read["broker"], read["backend"])
    worker = document("compose.yaml")["services"]["celery-worker"]
    assert worker["command"][worker["command"].index("-q") + 1] == sent["default_queue"]
    ours = yaml.safe_load((DEPLOY / "kubernetes" / "workspace.yaml").read_text(encoding="utf-8"))
    assert ours == document("dagster/workspace.yaml")
