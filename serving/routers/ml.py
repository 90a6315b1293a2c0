"""``POST /ml/predict``: a registered model by its name, features by theirs."""

import time
from typing import Annotated, Any, Final

import numpy as np
from fastapi import APIRouter
from fastapi import Body as Sent
from pydantic import Field

from learning.edge import EDGE_TAG
from market.errors import ModelNotFoundError
from serving import features
from serving.compute.contracts import unknown
from serving.dependencies import ServicesDep
from serving.models import choose
from serving.responses import ERRORS
from serving.routers.counted import CountedRoute
from serving.routers.predict import DIRECTIONS
from serving.schemas import Answer, Body, Direction, FeatureMap, ModelName, Probabilities

_EXAMPLES: Final[dict[str, Any]] = {
    "by name": {
        "value": {
            "model_id": "lgbm_direction_v2",
            "features": {"rsi_14": 45.2, "macd_line": 12.5, "momentum_20d": 0.035},
        }
    }
}

router = APIRouter(
    tags=["predictions"],
    responses=ERRORS,
    route_class=CountedRoute,
)


class MlRequest(Body):
    """A registered model, and every feature that it takes."""

    model_id: ModelName = Field(description="Registered name.")
    features: FeatureMap = Field(description="By the model's names; null where unknown.")


class MlAnswer(Answer):
    """The source's answer, and which version gave it."""

    model_id: str
    prediction: Direction
    confidence: float = Field(description="Calibrated probability of the prediction.")
    probabilities: Probabilities
    inference_time_ms: float
    mojo_used: bool = Field(description="Models do not run on Mojo: always false.")
    prediction_id: str
    version: int
    alias: str
    kind: str
    run_id: str
    edge: str | None = Field(
        description="What the version's evaluation shows over the first-passage baseline."
    )


@router.post("/ml/predict")
def predict(
    asked: Annotated[MlRequest, Sent(openapi_examples=_EXAMPLES)],
    services: ServicesDep,
) -> MlAnswer:
    """Predict the class of the enhanced triple barrier from features by name."""
    current = services.models.current
    if asked.model_id not in {*current.served, *current.failures} and current.served:
        raise ModelNotFoundError(f"model_id: {unknown(asked.model_id, sorted(current.served))}")
    served = choose(current, name=asked.model_id, kind=None, timeframe=None)
    vector = features.given(asked.features, served.bundle.features)
    began = time.perf_counter()
    found = served.bundle.predict(vector.reshape(1, -1)).probabilities[0]
    milliseconds = (time.perf_counter() - began) * 1e3
    best = int(np.argmax(found))
    services.metrics.predictions.labels(served.name, str(served.version.version)).inc()
    return MlAnswer(
        model_id=served.name,
        prediction=DIRECTIONS[best],
        confidence=float(found[best]),
        probabilities=Probabilities(**dict(zip(DIRECTIONS, found.tolist(), strict=True))),
        inference_time_ms=round(milliseconds, 4),
        mojo_used=False,
        prediction_id=features.prediction_id(served.version, vector),
        version=served.version.version,
        alias=served.alias,
        kind=served.bundle.kind,
        run_id=served.version.run_id,
        edge=served.version.tags.get(EDGE_TAG),
    )
