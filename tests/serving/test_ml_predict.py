"""``POST /ml/predict``: the source's contract over the registered models."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from learning.edge import EDGE_TAG
from tests.serving.compute_world import refusal
from tests.serving.fakes import FEATURE_NAMES, World, bundle

FEATURES = {name: 1.0 + i / 10 for i, name in enumerate(FEATURE_NAMES)}


def ask(client: TestClient, **changed: Any) -> Any:
    body = {"model_id": "baseline", "features": FEATURES} | changed
    return client.post("/ml/predict", json=body)


def test_a_model_answers_as_the_source_says(client: TestClient) -> None:
    response = ask(client)
    answer = response.json()
    assert response.status_code == 200, answer
    assert (answer["model_id"], answer["mojo_used"]) == ("baseline", False)
    probabilities = answer["probabilities"]
    assert set(probabilities) == {"bullish", "bearish", "neutral"}
    assert sum(probabilities.values()) == pytest.approx(1.0)
    assert answer["prediction"] == max(probabilities, key=probabilities.__getitem__)
    assert answer["confidence"] == probabilities[answer["prediction"]]
    assert answer["inference_time_ms"] > 0
    vector = np.array([[FEATURES[name] for name in FEATURE_NAMES]])
    expected = bundle().predict(vector).probabilities[0]
    found = [probabilities[name] for name in ("bearish", "neutral", "bullish")]
    assert found == pytest.approx(expected.tolist(), rel=1e-12)


def test_the_answer_names_the_very_version(world: World) -> None:
    world.register(1)
    found = world.registry.by_alias("baseline", "champion")
    world.registry.add(replace(found, tags={EDGE_TAG: "none"}))
    with world.client() as client:
        answer = ask(client).json()
        same = client.post("/predict", json={"features": FEATURES, "model": "baseline"}).json()
    assert (answer["version"], answer["run_id"], answer["alias"]) == (1, "run1", "champion")
    assert (answer["kind"], answer["edge"]) == ("first_passage", "none")
    for name in ("prediction_id", "probabilities", "prediction", "edge"):
        assert answer[name] == same[name]


def test_the_order_of_features_does_not_matter_and_null_is_unknown(client: TestClient) -> None:
    backwards = dict(reversed(FEATURES.items()))
    assert (
        ask(client, features=backwards).json()["probabilities"]
        == (ask(client).json()["probabilities"])
    )
    assert ask(client, features=FEATURES | {"rsi_14": None}).status_code == 200


def test_features_that_are_missing_or_unknown_are_named(client: TestClient) -> None:
    given = {name: x for name, x in FEATURES.items() if name != "rsi_14"} | {"rsi14": 45.2}
    response = ask(client, features=given)
    assert refusal(response) == (
        422, "FEATURE_MISMATCH", ["features.rsi_14", "features.rsi14"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "status", "field"),
    [
        ({"features": {}}, 422, "features"),
        ({"features": [1.0, 2.0]}, 422, "features"),
        ({"features": FEATURES | {"rsi_14": "45"}}, 422, "features.rsi_14"),
        ({"features": FEATURES | {"rsi_14": True}}, 422, "features.rsi_14"),
        ({"features": None}, 422, "features"),
        ({"model_id": 7}, 422, "model_id"),
        ({"model_id": ""}, 422, "model_id"),
        ({"model": "baseline"}, 422, "model"),
        ({"model_id": "lgbm_direction_v2"}, 404, "model_id"),
    ],
)
def test_a_wrong_question_is_refused_by_field(
    client: TestClient, changed: dict[str, Any], status: int, field: str
) -> None:
    response = ask(client, **changed)
    assert refusal(response)[0] == status
    assert refusal(response)[2] == [field]


def test_a_model_that_is_not_served_is_told_beside_those_that_are(client: TestClient) -> None:
    response = ask(client, model_id="baselin")
    message = response.json()["error"]["message"]
    assert message == "model_id: expected one of baseline (did you mean baseline?)"


def test_where_nothing_is_served_no_model_is_found(world: World) -> None:
    with world.client() as client:
        assert refusal(ask(client))[:2] == (404, "MODEL_NOT_FOUND")
    world.registry.is_down = True
    with world.client() as client:
        assert refusal(ask(client))[:2] == (503, "MODEL_NOT_READY")


def test_predictions_count_against_the_rate_and_in_the_metrics(world: World) -> None:
    world.register(1)
    world.settings = world.settings.model_copy(update={"compute_rate_limit": "2/year"})
    with world.client() as client:
        assert ask(client).headers["x-ratelimit-remaining"] == "1"
        ask(client, features={"x": 1.0})
        assert refusal(ask(client))[:2] == (429, "TOO_MANY_REQUESTS")
        text = client.get("/metrics").text
    assert 'predictions_total{model="baseline",version="1"} 1.0' in text
    assert 'mojo_compute_requests_total{endpoint="/ml/predict",status="200"} 1.0' in text
    assert 'code="FEATURE_MISMATCH",endpoint="/ml/predict"} 1.0' in text
