"""``GET /health``, ``/models``, ``/metrics`` and the pages."""

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from market.errors import CorruptPartitionError
from serving.app import create_app
from serving.operations import MetricsReport
from tests.serving.fakes import FEATURE_NAMES, WatchedLake, World, book

BODY = {"features": dict.fromkeys(FEATURE_NAMES, 1.5)}


def test_all_well_is_healthy(client: TestClient) -> None:
    response = client.get("/health")
    health = response.json()
    assert (response.status_code, health["status"]) == (200, "healthy")
    assert {name: check["status"] for name, check in health["checks"].items()} == {
        "lake": "ok",
        "registry": "ok",
        "models": "ok",
        "kernels": "ok",
        "database": "ok",
    }
    (model,) = health["models"]
    assert (model["name"], model["version"], model["kind"]) == ("baseline", 1, "first_passage")
    (newest,) = health["newest"]
    assert (newest["timeframe"], newest["month"]) == ("H4", "2018-01")
    assert newest["ts"] == "2018-01-05T22:00:00Z"


def test_no_model_is_degraded(world: World) -> None:
    with world.client() as client:
        response = client.get("/health")
        refused = client.post("/predict", json=BODY)
    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert "champion" in response.json()["checks"]["models"]["message"]
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "MODEL_NOT_FOUND")


def test_an_empty_lake_is_degraded(world: World) -> None:
    world.register(1)
    lake = WatchedLake(world.folder / "empty")
    app = create_app(world.settings, lake=lake, registry=world.registry, book=book())
    with TestClient(app) as client:
        health = client.get("/health").json()
    assert (health["status"], health["checks"]["lake"]["status"]) == ("degraded", "degraded")


def test_a_lake_that_is_down_is_unhealthy(world: World, client: TestClient) -> None:
    series = world.folder / "lake/features/H4/EURUSD"
    series.rename(series.with_name("moved"))
    series.symlink_to(series)  # whoever opens it is refused by the operating system
    response = client.get("/health")
    assert (response.status_code, response.json()["status"]) == (503, "unhealthy")
    assert response.json()["checks"]["lake"]["status"] == "down"
    refused = client.post("/predict", json={"instrument": "EURUSD", "timeframe": "H4"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "STORAGE")
    assert str(world.folder) not in response.text + refused.text


def test_one_damaged_series_is_degraded(world: World, client: TestClient) -> None:
    world.lake.failure = CorruptPartitionError("features/H4: expected a pointer")
    response = client.get("/health")
    assert (response.status_code, response.json()["status"]) == (200, "degraded")


def test_a_registry_that_is_down_is_unhealthy_only_without_a_model(world: World) -> None:
    world.registry.is_down = True
    with world.client() as client:
        response = client.get("/health")
        refused = client.post("/predict", json=BODY)
    assert (response.status_code, response.json()["status"]) == (503, "unhealthy")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "MODEL_NOT_READY")


def test_models_are_listed_with_their_features_in_order(client: TestClient) -> None:
    answer = client.get("/models").json()
    (model,) = answer["models"]
    assert model["features"] == list(FEATURE_NAMES)
    assert (model["version"], model["alias"], model["timeframe"]) == (1, "champion", "H4")
    assert (model["cutoff"], model["data_version"]) == ("2018-01-01T00:00:00Z", "data")


def _samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_are_counted_by_route_and_status(client: TestClient) -> None:
    client.post("/predict", json=BODY)
    client.post("/predict", json={})
    client.get("/secret/1")
    client.get("/secret/2")
    client.request("BREW", "/secret/3")
    client.get("/predict")
    samples = _samples(client.get("/metrics").text)

    def count(method: str, route: str, status: str) -> float:
        labels = (("method", method), ("route", route), ("status", status))
        return samples["http_requests_total", labels]

    assert count("POST", "/predict", "200") == 1
    assert count("POST", "/predict", "422") == 1
    assert count("GET", "unmatched", "404") == 2
    assert count("OTHER", "unmatched", "404") == 1
    assert samples["predictions_total", (("model", "baseline"), ("version", "1"))] == 1
    seconds = "http_request_duration_seconds_count"
    assert samples[seconds, (("method", "POST"), ("route", "/predict"))] == 2
    assert samples["model_loaded_version", (("alias", "champion"), ("model", "baseline"))] == 1


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "text/plain"),
        ("text/plain", "text/plain"),
        ("application/json", "application/json"),
        ("application/json, text/plain;q=0.5", "application/json"),
        ("application/json;q=0.1, text/plain", "text/plain"),
        ("application/json;q=0", "text/plain"),
        ("application/json;q=high", "text/plain"),
        ("application/openmetrics-text;version=1.0.0,*/*;q=0.1", "application/openmetrics-text"),
    ],
)
def test_metrics_come_in_the_form_that_is_asked(client: TestClient, accept: str, kind: str) -> None:
    response = client.get("/metrics", headers={"accept": accept})
    assert response.headers["content-type"].split(";")[0] == kind


def test_metrics_as_json_are_the_same_numbers(client: TestClient) -> None:
    client.post("/predict", json=BODY)
    response = client.get("/metrics", headers={"accept": "application/json"})
    report = MetricsReport.model_validate_json(response.content)
    values = {s.name: s.value for family in report.metrics for s in family.samples}
    assert values["predictions_total"] == 1


def test_prometheus_is_text_whatever_is_asked(client: TestClient) -> None:
    response = client.get("/prometheus", headers={"accept": "application/json"})
    assert response.headers["content-type"].startswith("text/plain")
    assert "http_requests_total" in response.text


def test_two_apps_count_apart(world: World) -> None:
    world.register(1)
    with world.client() as one, world.client() as other:
        one.post("/predict", json=BODY)
        assert "predictions_total{" in one.get("/metrics").text
        assert "predictions_total{" not in other.get("/metrics").text


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
def test_the_pages_are_there(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200
