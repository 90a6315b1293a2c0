"""``POST /predict``: one vector in, one prediction with its provenance out."""

from typing import Annotated, Any, Final, cast, get_args

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Body

from learning.edge import EDGE_TAG
from serving import features
from serving.dependencies import Services, ServicesDep
from serving.instants import to_us
from serving.models import Served, choose
from serving.responses import ERRORS
from serving.schemas import (
    Direction,
    FeatureData,
    PredictFromFeatures,
    Prediction,
    PredictRequest,
    Probabilities,
    Sign,
)

router = APIRouter(tags=["predictions"], responses=ERRORS)

DIRECTIONS: Final[tuple[Direction, ...]] = get_args(Direction)  # of the classes -1, 0, +1
_EXAMPLES: Final[dict[str, Any]] = {
    "newest": {"value": {"instrument": "EURUSD", "timeframe": "H4"}},
    "given": {"value": {"features": {"log_return_1": 0.001}, "model_type": "xgboost"}},
}


@router.post("/predict")
def predict(
    request: Annotated[PredictRequest, Body(openapi_examples=_EXAMPLES)], services: ServicesDep
) -> Prediction:
    """Predict the class of the enhanced triple barrier of one bar."""
    if isinstance(request, PredictFromFeatures):
        served = choose(
            services.models.current, name=request.model, kind=request.model_type, timeframe=None
        )
        vector = features.given(request.features, served.bundle.features)
        return _answer(services, served, vector)
    services.check_instrument(request.instrument)
    served = choose(
        services.models.current,
        name=request.model,
        kind=request.model_type,
        timeframe=request.timeframe.value,
    )
    row = features.stored(
        services.lake,
        request.instrument,
        request.timeframe.value,
        None if request.ts is None else to_us(request.ts),
    )
    return _answer(services, served, row.vector(served.bundle.features), row)


def _answer(
    services: Services,
    served: Served,
    vector: npt.NDArray[np.float64],
    row: features.StoredRow | None = None,
) -> Prediction:
    predictions = served.bundle.predict(vector.reshape(1, -1))
    probabilities = [float(p) for p in predictions.probabilities[0]]
    best = int(np.argmax(probabilities))
    services.metrics.predictions.labels(served.name, str(served.version.version)).inc()
    return Prediction(
        prediction_id=features.prediction_id(served.version, vector),
        model=served.name,
        version=served.version.version,
        alias=served.alias,
        kind=served.bundle.kind,
        run_id=served.version.run_id,
        edge=served.version.tags.get(EDGE_TAG),
        prediction=DIRECTIONS[best],
        label=cast("Sign", best - 1),
        confidence=probabilities[best],
        probabilities=Probabilities(**dict(zip(DIRECTIONS, probabilities, strict=True))),
        prediction_set=[
            d for d, is_in in zip(DIRECTIONS, predictions.sets[0], strict=True) if is_in
        ],
        instrument=None if row is None else row.ref.key.instrument,
        timeframe=None if row is None else row.ref.key.timeframe,
        ts=None if row is None else row.ts,
        known_at=None if row is None else row.known_at,
        features={
            name: None if np.isnan(value) else float(value)
            for name, value in zip(served.bundle.features, vector, strict=True)
        },
        feature_data=None
        if row is None
        else FeatureData(
            path=row.ref.key.path, version=row.ref.version, code_version=row.ref.code_version
        ),
    )
