"""``GET /health``, ``/v1/health``: what the app needs and how new the data is; and the probes."""

import datetime as dt
from typing import Any, Final

from fastapi import APIRouter, Response

from serving import health
from serving.dependencies import Services, ServicesDep
from serving.operations import Alive, Health, LoadedModel, Ready
from serving.responses import ERRORS

_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    500: ERRORS[500],
    503: {"model": Health, "description": "Unhealthy."},
}
_READY: Final[dict[int | str, dict[str, Any]]] = {
    500: ERRORS[500],
    503: {"model": Ready, "description": "Not ready."},
}
router = APIRouter(tags=["health"])


@router.get("/health", responses=_RESPONSES)
async def read_health(services: ServicesDep, response: Response) -> Health:
    """Tell whether the app can serve; 503 when it can not."""
    return await _health(services, response)


@router.get("/v1/health", responses=_RESPONSES)
async def read_v1_health(services: ServicesDep, response: Response) -> Health:
    """Tell the same as ``/health``."""
    return await _health(services, response)


@router.get("/v1/health/ready", responses=_READY)
async def read_ready(services: ServicesDep, response: Response) -> Ready:
    """Tell whether requests may be sent here: 503 while a critical part is down."""
    checks, _ = await health.critical(services)
    is_ready = health.overall(checks) != "unhealthy"
    if not is_ready:
        response.status_code = 503
    return Ready(
        status="ready" if is_ready else "not_ready",
        timestamp=dt.datetime.now(dt.UTC),
        checks=checks,
    )


@router.get("/v1/health/live", responses={500: ERRORS[500]})
async def read_live(services: ServicesDep) -> Alive:
    """Tell that the process answers; looks at nothing else, so that no outage restarts it."""
    now = dt.datetime.now(dt.UTC)
    return Alive(
        status="alive", timestamp=now, uptime_s=(now - services.started_at).total_seconds()
    )


async def _health(services: Services, response: Response) -> Health:
    checks, newest = await health.all_checks(services)
    status = health.overall(checks, is_serving=bool(services.models.current.served))
    if status == "unhealthy":
        response.status_code = 503
    now = dt.datetime.now(dt.UTC)
    return Health(
        status=status,
        version=services.version,
        timestamp=now,
        uptime_s=(now - services.started_at).total_seconds(),
        mojo_available=services.compute.mojo_available,
        checks=checks,
        models=[
            LoadedModel(
                name=s.name,
                version=s.version.version,
                alias=s.alias,
                kind=s.bundle.kind,
                loaded_at=s.loaded_at,
            )
            for s in services.models.current.served.values()
        ],
        newest=newest,
    )
