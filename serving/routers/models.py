"""``GET /models``: what is served under the alias."""

from fastapi import APIRouter

from serving.dependencies import ServicesDep
from serving.instants import from_us
from serving.models import Served
from serving.operations import ModelInfo, ModelList
from serving.responses import ERRORS

router = APIRouter(tags=["models"], responses={s: ERRORS[s] for s in (401, 403, 429, 500, 503)})


@router.get("/models")
def list_models(services: ServicesDep) -> ModelList:
    """List the served models with the features that each wants, in order."""
    current = services.models.current
    return ModelList(
        alias=services.models.alias,
        models=[_info(current.served[name]) for name in sorted(current.served)],
        failures=dict(current.failures),
    )


def _info(served: Served) -> ModelInfo:
    made_from = served.bundle.provenance
    return ModelInfo(
        name=served.name,
        version=served.version.version,
        alias=served.alias,
        kind=served.bundle.kind,
        run_id=served.version.run_id,
        loaded_at=served.loaded_at,
        timeframe=made_from.timeframe,
        cutoff=from_us(made_from.cutoff_us),
        label_version=made_from.label_version,
        data_version=made_from.data_version,
        code_version=made_from.code_version,
        features=list(served.bundle.features),
        tags=dict(served.version.tags),
    )
