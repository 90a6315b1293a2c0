"""Prometheus and Grafana: promtool reads the rules, every metric named is one that we export."""

import re
import subprocess
from collections.abc import Iterator

import pytest

from serving.metrics import Metrics
from tests.deploy.files import DEPLOY, dashboard, document, tool

PROMETHEUS = DEPLOY / "prometheus"
OF_PROMETHEUS = {"up"}
OF_SCRAPING = {"job", "instance"}
WORDS = {"by", "without", "on", "ignoring", "and", "or", "unless", "bool", "offset", "group_left"}


def exported() -> dict[str, set[str]]:
    """Return the name of every series that the app can answer, and its labels."""
    found: dict[str, set[str]] = {}
    registry = Metrics().registry
    for collector, names in registry._collector_to_names.items():
        labels = set(getattr(collector, "_labelnames", ()))
        for name in names:
            found[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    for family in registry.collect():  # the process's own collector says its names only so
        for sample in family.samples:
            found.setdefault(sample.name, set(sample.labels))
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for group in document("prometheus/alerts.yml")["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def named(expression: str) -> tuple[set[str], set[str]]:
    """Return the metrics and the labels that an expression names."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"\"", bare))
    for group in re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", bare):
        labels |= {label.strip() for label in group.split(",")}
    bare = re.sub(r"\b(?:by|without|on|ignoring)\s*\([^)]*\)", " ", bare)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    metrics = set(re.findall(r"(?<![\w:$.])([a-zA-Z_:][\w:]*)(?!\s*\(|[\w:])", bare)) - WORDS
    return metrics, labels


def test_names_are_found_in_an_expression() -> None:
    expression = (
        'sum by (route, le) (rate(a_bucket{job="x",status=~"5.."}[5m])) / on (instance) b:c == 1'
    )
    assert named(expression) == ({"a_bucket", "b:c"}, {"route", "le", "job", "status", "instance"})


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_every_metric_and_label_is_one_that_the_app_exports(where: str, expression: str) -> None:
    known = exported()
    metrics, labels = named(expression)
    assert metrics, where
    assert metrics <= set(known) | OF_PROMETHEUS, where
    of_metrics = set[str]().union(*(known[name] for name in metrics - OF_PROMETHEUS))
    assert labels <= of_metrics | OF_SCRAPING, where


@pytest.mark.parametrize(
    "words", [("config", "prometheus.yml"), ("rules", "alerts.yml")], ids=lambda words: words[0]
)
def test_promtool_reads_it(words: tuple[str, str]) -> None:
    kind, name = words
    done = subprocess.run(  # noqa: S603 - a program that we found
        [tool("promtool"), "check", kind, str(PROMETHEUS / name)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_scraped_is_a_service_on_a_port_that_it_has() -> None:
    services = document("compose.yaml")["services"]
    (ours,) = [
        job
        for job in document("prometheus/prometheus.yml")["scrape_configs"]
        if job["job_name"] == "wavehouse"
    ]
    (target,) = ours["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert port in services[host]["command"]
    for _, expression in expressions():
        assert 'job="wavehouse"' in expression


def test_an_alert_says_what_to_do() -> None:
    for group in document("prometheus/alerts.yml")["groups"]:
        for rule in group["rules"]:
            assert {"summary", "action"} <= set(rule["annotations"]), rule["alert"]
            assert rule["labels"]["severity"] in {"warning", "critical"}
            assert "for" in rule


def test_the_dashboard_is_provisioned_with_its_source() -> None:
    (source,) = document("grafana/datasources.yaml")["datasources"]
    services = document("compose.yaml")["services"]
    host, port = source["url"].removeprefix("http://").split(":")
    assert services[host]["ports"] == [f"127.0.0.1:{port}:{port}"]
    (provider,) = document("grafana/dashboards.yaml")["providers"]
    mounts = [volume.split(":")[1] for volume in services["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/wavehouse.json" in mounts
    ids, corners = set(), set()
    for panel in dashboard()["panels"]:
        assert panel["datasource"]["uid"] == source["uid"]
        assert all(target["datasource"]["uid"] == source["uid"] for target in panel["targets"])
        ids.add(panel["id"])
        corners.add((panel["gridPos"]["x"], panel["gridPos"]["y"]))
    assert len(ids) == len(corners) == len(dashboard()["panels"])
