"""``GET /health``: what the app needs, whether it is there, and how new the data is."""

import datetime as dt
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, Literal

from fastapi import APIRouter, Response

from market.errors import CorruptPartitionError, WavehouseError
from market.ports import PartitionKey
from serving.compute.contracts import CONTRACTS
from serving.dependencies import Services, ServicesDep
from serving.features import TABLE
from serving.instants import from_us
from serving.operations import Check, Health, LoadedModel, Newest
from serving.responses import ERRORS

_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    500: ERRORS[500],
    503: {"model": Health, "description": "Unhealthy."},
}
router = APIRouter(tags=["health"])

_MAX_SERIES: Final = 64  # a probe is called every few seconds: its cost must not grow with the book
_OK: Final = Check(status="ok", message=None)


@router.get("/health", responses=_RESPONSES)
def read_health(services: ServicesDep, response: Response) -> Health:
    """Tell whether the app can serve; 503 when it can not."""
    lake, newest = _lake(services)
    checks = {
        "lake": lake,
        "registry": _registry(services),
        "models": _models(services),
        "kernels": _kernels(services),
        "database": _database(services),
    }
    status = _overall(checks, is_serving=bool(services.models.current.served))
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


def _overall(
    checks: dict[str, Check], *, is_serving: bool
) -> Literal["healthy", "degraded", "unhealthy"]:
    """Without the lake, or without a registry and a model, nothing can be answered."""
    if checks["lake"].status == "down":
        return "unhealthy"
    if checks["registry"].status == "down" and not is_serving:
        return "unhealthy"
    return "healthy" if all(c.status == "ok" for c in checks.values()) else "degraded"


def _lake(services: Services) -> tuple[Check, list[Newest]]:
    try:
        newest = list(islice(_newest(services), _MAX_SERIES))
        if services.book is None:
            services.lake.months(TABLE, "D", "health")
    except CorruptPartitionError as e:  # one series is damaged, the others can be served
        return Check(status="degraded", message=str(e)), []
    except WavehouseError as e:
        return Check(status="down", message=f"lake: expected an answer, was {_name(e)}"), []
    if services.book is not None and not newest:
        message = "lake: expected a materialised series of features, was none"
        return Check(status="degraded", message=message), []
    return _OK, newest


def _newest(services: Services) -> Iterator[Newest]:
    for instrument in services.book or ():
        for timeframe in instrument.timeframes:
            months = services.lake.months(TABLE, timeframe.value, instrument.id)
            for month in months[-1:]:
                key = PartitionKey(TABLE, timeframe.value, instrument.id, month)
                ref = services.lake.find(key)
                if ref is not None:
                    yield Newest(
                        instrument=instrument.id,
                        timeframe=timeframe.value,
                        month=month,
                        ts=None if ref.last_us is None else from_us(ref.last_us),
                        version=ref.version,
                    )


def _registry(services: Services) -> Check:
    error = services.models.current.registry_error
    if error is None:
        return _OK
    return Check(status="down", message=f"registry: expected an answer, was {error}")


def _models(services: Services) -> Check:
    current = services.models.current
    if current.failures:
        reasons = "; ".join(f"{name}: {why}" for name, why in sorted(current.failures.items()))
        return Check(status="degraded" if current.served else "down", message=reasons)
    if not current.served:
        alias = services.models.alias
        return Check(
            status="degraded", message=f"models: expected one with the alias {alias}, was none"
        )
    return _OK


def _kernels(services: Services) -> Check:
    warmth = services.compute.warmth
    is_warming = services.backtests.is_warming
    if not warmth.is_running and not warmth.failed and not is_warming:
        return _OK
    failed = f"; failed: {', '.join(sorted(warmth.failed))}" if warmth.failed else ""
    backtests = "; those of backtests are being compiled" if is_warming else ""
    return Check(
        status="degraded",
        message=(
            f"kernels: expected {len(CONTRACTS)} compiled, was {warmth.count}{backtests}{failed}"
        ),
    )


def _database(services: Services) -> Check:
    try:
        services.backtests.check()
    except WavehouseError as e:  # backtests cannot be counted or kept; all else can be served
        message = f"database: expected an answer, was {_name(e)}"
        return Check(status="degraded", message=message)
    return _OK


def _name(error: Exception) -> str:
    return getattr(error, "code", type(error).__name__)
