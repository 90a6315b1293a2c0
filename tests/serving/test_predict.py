"""``POST /predict``: both bodies, provenance, and what is refused."""

import math
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.serving.fakes import FEATURE_NAMES, World, bundle

GIVEN: dict[str, Any] = {
    "features": dict.fromkeys(FEATURE_NAMES, 1.5) | {"mfi_14": None},
}
SERIES = {"instrument": "EURUSD", "timeframe": "H4"}


def test_a_given_vector_is_answered_with_its_model_and_itself(client: TestClient) -> None:
    answer = client.post("/predict", json=GIVEN).json()
    assert (answer["model"], answer["version"], answer["alias"]) == ("baseline", 1, "champion")
    assert (answer["kind"], answer["run_id"]) == ("first_passage", "run1")
    assert answer["features"] == GIVEN["features"]
    assert answer["feature_data"] is None
    assert answer["known_at"] is None
    expected = bundle().predict(np.array([[1.5, 1.5, 1.5, 1.5, math.nan]])).probabilities[0]
    assert list(answer["probabilities"]) == ["bearish", "neutral", "bullish"]
    assert list(answer["probabilities"].values()) == expected.tolist()
    best = int(np.argmax(expected))
    assert answer["label"] == best - 1
    assert answer["prediction"] == ("bearish", "neutral", "bullish")[best]
    assert answer["confidence"] == expected[best]


def test_an_ordered_list_is_the_same_question_as_the_names(client: TestClient) -> None:
    named = client.post("/predict", json=GIVEN).json()
    listed = client.post("/predict", json={"features": [1.5, 1.5, 1.5, 1.5, None]}).json()
    assert listed == named


def test_the_id_is_of_model_version_and_vector(world: World) -> None:
    world.register(1)
    with world.client() as client:
        first = client.post("/predict", json=GIVEN).json()["prediction_id"]
        other = GIVEN["features"] | {"rsi_14": 1.25}
        assert client.post("/predict", json={"features": other}).json()["prediction_id"] != first
        zero = [client.post("/predict", json={"features": GIVEN["features"] | {"rsi_14": z}})
                for z in (0.0, -0.0)]  # fmt: skip
        assert zero[0].json()["prediction_id"] == zero[1].json()["prediction_id"]
    with world.client() as client:
        assert client.post("/predict", json=GIVEN).json()["prediction_id"] == first
    world.register(2)
    with world.client() as client:
        assert client.post("/predict", json=GIVEN).json()["prediction_id"] != first


def test_the_newest_row_is_read_with_its_data_version(world: World, client: TestClient) -> None:
    answer = client.post("/predict", json=SERIES).json()
    assert answer["ts"] == "2018-01-05T22:00:00Z"
    assert answer["known_at"] == "2018-01-06T02:00:00Z"
    assert answer["features"]["rsi_14"] == 79.0
    assert answer["features"]["mfi_14"] is None
    (version,) = (world.folder / "lake/features/H4/EURUSD/2018-01").glob("*.parquet")
    assert answer["feature_data"] == {
        "path": "features/H4/EURUSD/2018-01",
        "version": version.stem,
        "code_version": "code-1",
    }
    assert (world.lake.rows_read, world.lake.months_read) == (["2018-01"], [])


@pytest.mark.parametrize("ts", ["2017-12-01T06:00:00Z", "2017-12-01T01:00:00-05:00"])
def test_a_row_is_read_by_its_open(world: World, client: TestClient, ts: str) -> None:
    answer = client.post("/predict", json=SERIES | {"ts": ts, "timeframe": "h4"}).json()
    assert answer["ts"] == "2017-12-01T06:00:00Z"
    assert answer["features"]["rsi_14"] == 51.0
    assert (world.lake.rows_read, world.lake.months_read) == (["2017-12"], [])


def test_a_stored_row_and_the_same_vector_given_have_one_id(client: TestClient) -> None:
    stored = client.post("/predict", json=SERIES).json()
    given = client.post("/predict", json={"features": stored["features"]}).json()
    assert given["prediction_id"] == stored["prediction_id"]
    assert given["probabilities"] == stored["probabilities"]


def test_the_better_kind_answers_unless_one_is_named(world: World) -> None:
    world.register(1)
    world.register(4, bundle(kind="xgboost"), name="trees")
    with world.client() as client:
        assert client.post("/predict", json=GIVEN).json()["model"] == "trees"
        asked = client.post("/predict", json=GIVEN | {"model": "baseline"}).json()
        assert asked["model"] == "baseline"
        asked = client.post("/predict", json=GIVEN | {"model_type": "first_passage"}).json()
        assert asked["model"] == "baseline"
        refused = client.post("/predict", json=GIVEN | {"model": "trees", "model_type": "lstm"})
        assert refused.status_code == 400


def test_a_series_is_asked_of_a_model_of_its_timeframe(world: World) -> None:
    world.register(1)
    world.register(2, bundle(kind="xgboost", timeframe="H1"), name="hourly")
    with world.client() as client:
        assert client.post("/predict", json=SERIES).json()["model"] == "baseline"
        refused = client.post("/predict", json=SERIES | {"model": "hourly"})
        assert refused.status_code == 400
        assert refused.json()["error"]["details"][0]["field"] == "timeframe"


def test_two_models_alike_must_be_told_apart(world: World) -> None:
    world.register(1)
    world.register(1, name="twin")
    with world.client() as client:
        refused = client.post("/predict", json=GIVEN)
    assert refused.status_code == 400
    assert "baseline, twin" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        (SERIES | {"instrument": "GBPUSD"}, 404, "UNKNOWN_INSTRUMENT", "instrument"),
        (SERIES | {"ts": "2019-12-01T06:00:00Z"}, 404, "NOT_MATERIALIZED", None),
        (SERIES | {"ts": "2017-12-01T06:00:01Z"}, 404, "NOT_MATERIALIZED", "ts"),
        (SERIES | {"timeframe": "D"}, 404, "MODEL_NOT_FOUND", "model"),
        (SERIES | {"model": "nobody"}, 404, "MODEL_NOT_FOUND", "model"),
        (GIVEN | {"model_type": "lstm"}, 404, "MODEL_NOT_FOUND", "model"),
        (SERIES | {"timeframe": "H5"}, 422, "VALIDATION_ERROR", "timeframe"),
        (SERIES | {"instrument": "../secrets"}, 422, "VALIDATION_ERROR", "instrument"),
        (SERIES | {"ts": 1512108000}, 422, "VALIDATION_ERROR", "ts"),
        (SERIES | {"ts": "1512108000"}, 422, "VALIDATION_ERROR", "ts"),
        (SERIES | {"ts": "0001-01-01T00:00:00+14:00"}, 422, "VALIDATION_ERROR", "ts"),
        (SERIES | {"speed": 1}, 422, "VALIDATION_ERROR", "speed"),
        ({"timeframe": "H4"}, 422, "VALIDATION_ERROR", "instrument"),
        ({}, 422, "VALIDATION_ERROR", "instrument"),
        ([], 422, "VALIDATION_ERROR", "body"),
        (GIVEN | {"instrument": "EURUSD"}, 422, "VALIDATION_ERROR", "instrument"),
        ({"features": "rsi"}, 422, "VALIDATION_ERROR", "features"),
        ({"features": []}, 422, "VALIDATION_ERROR", "features"),
        ({"features": {"rsi_14": "1.5"}}, 422, "VALIDATION_ERROR", "features.rsi_14"),
        ({"features": {"rsi_14": True}}, 422, "VALIDATION_ERROR", "features.rsi_14"),
        ({"features": {"rsi_14": 10**400}}, 422, "VALIDATION_ERROR", "features.rsi_14"),
        ({"features": [1.0, [2.0]]}, 422, "VALIDATION_ERROR", "features.1"),
        ({"features": [1.0, 2.0]}, 422, "FEATURE_MISMATCH", "features"),
        ({"features": [1.0, 1.0, None, 1.0, 1.0]}, 422, "FEATURE_MISMATCH", "atr_ratio_14"),
    ],
)
def test_refusals_name_the_field(
    client: TestClient, body: Any, status: int, code: str, field: str | None
) -> None:
    response = client.post("/predict", json=body)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    if field is not None:
        assert field in [detail["field"] for detail in error["details"]]


def test_missing_and_unknown_features_are_listed_one_by_one(client: TestClient) -> None:
    features = GIVEN["features"] | {"rsi_41": 1.0}
    del features["rsi_14"]
    response = client.post("/predict", json={"features": features})
    assert response.status_code == 422
    details = {d["field"]: d["code"] for d in response.json()["error"]["details"]}
    assert details == {
        "features.rsi_14": "FEATURE_MISSING",
        "features.rsi_41": "FEATURE_UNKNOWN",
    }


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_not_finite_is_refused(client: TestClient, number: str) -> None:
    response = client.post(
        "/predict",
        content=f'{{"features": {{"rsi_14": {number}}}}}',
        headers={"content-type": "application/json"},
    )
    assert response.status_code == 422
    detail = response.json()["error"]["details"][0]
    assert (detail["field"], detail["code"]) == ("features.rsi_14", "FINITE_NUMBER")


def test_the_prediction_set_is_the_bundles(world: World) -> None:
    world.register(1, bundle(bias=9.0))
    with world.client() as client:
        answer = client.post("/predict", json=GIVEN).json()
    assert answer["prediction_set"] == ["bullish"]
    assert answer["prediction"] == "bullish"
