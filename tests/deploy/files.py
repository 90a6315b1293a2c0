"""What lies in ``deploy/``, read; and the programs that check it, where they are installed."""

import json
import shutil
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings

from market import settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
TOOLS = ROOT / "build" / "deploy-tools"
IMAGE = "wavehouse:0.1.0"
PASSWORDS = {"POSTGRES_PASSWORD": "a1", "CLICKHOUSE_PASSWORD": "b2", "GRAFANA_PASSWORD": "c3"}


def document(path: str) -> dict[str, Any]:
    """Return a file of one document."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / path).read_text(encoding="utf-8"))
    return found


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, manifest) of every object of the Kubernetes folder."""
    listed = ["secret.example.yaml", *document("kubernetes/kustomization.yaml")["resources"]]
    for name in listed:
        text = (DEPLOY / "kubernetes" / name).read_text(encoding="utf-8")
        for found in yaml.safe_load_all(text):
            yield f"{name}:{found['kind']}/{found['metadata']['name']}", found


def setting_names() -> set[str]:
    """Return every variable that the settings read."""
    kinds = [
        kind
        for kind in vars(settings).values()
        if isinstance(kind, type) and issubclass(kind, BaseSettings) and kind is not BaseSettings
    ]
    return {
        f"{kind.model_config['env_prefix']}{name}".upper()
        for kind in kinds
        for name in kind.model_fields
    }


def is_ours(name: str) -> bool:
    """Say whether a variable is one of our settings, or is meant to be."""
    return name.startswith(("WAVEHOUSE_", "WAREHOUSE_"))


def asked_of_environment(found: Any) -> set[str]:
    """Return the variables that a Dagster file names as ``{env: NAME}``."""
    if isinstance(found, dict):
        own = {found["env"]} if set(found) == {"env"} else set()
        return own.union(*(asked_of_environment(value) for value in found.values()))
    return set()


def scripts() -> set[str]:
    """Return every command that the installed packages bring."""
    return {point.name for point in entry_points(group="console_scripts")}


def pins() -> dict[str, str]:
    """Return name → version of what the image has beyond the lock."""
    lines = (DEPLOY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split(" ")[0].split("==") for line in lines if "==" in line]
    return {name: version for name, version in pairs}  # noqa: C416 - of lists of two


def tool(name: str) -> str:
    """Return the path of a program that checks, or skip and say how to get it."""
    found = shutil.which(name) or shutil.which(str(TOOLS / "usr" / "bin" / name))
    if found is None:
        pytest.skip(f"{name} is not installed: `make deploy-tools` unpacks it from Debian")
    return found


def dashboard() -> dict[str, Any]:
    """Return the provisioned dashboard."""
    text = (DEPLOY / "grafana" / "wavehouse.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
