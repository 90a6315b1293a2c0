"""What the app depends on, and whether it is there.

Belongs here: one check a part, and the time that a check may take. Keep out: statuses of HTTP.
"""

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Final, Literal

from market.errors import CorruptPartitionError, WavehouseError
from market.ports import PartitionKey
from serving.compute.contracts import CONTRACTS
from serving.dependencies import Services
from serving.features import TABLE
from serving.instants import from_us
from serving.looks import LakeFound
from serving.operations import Check, Newest

MAX_SERIES: Final = 64  # a probe's cost must not grow with the book
OK: Final = Check(status="ok", message=None)
CRITICAL: Final = ("lake", "database")  # without one of these nothing can be answered for sure

Checks = dict[str, Check]


async def critical(services: Services) -> tuple[Checks, list[Newest]]:
    """Return the checks without which the app is down, and the newest feature rows."""
    within_s = services.settings.health_timeout_s
    (lake, newest), database = await asyncio.gather(
        services.looks.lake.at(
            lambda: _lake(services), within_s=within_s, late=(_late("lake", within_s), [])
        ),
        services.looks.database.at(
            lambda: _database(services), within_s=within_s, late=_late("database", within_s)
        ),
    )
    return {"lake": lake, "database": database}, newest


async def all_checks(services: Services) -> tuple[Checks, list[Newest]]:
    """Return every check, and the newest feature rows."""
    (found, newest), redis = await asyncio.gather(critical(services), _redis(services))
    found |= {
        "registry": _registry(services),
        "models": _models(services),
        "kernels": _kernels(services),
    }
    return found | ({} if redis is None else {"redis": redis}), newest


def overall(
    checks: Checks, *, is_serving: bool = True
) -> Literal["healthy", "degraded", "unhealthy"]:
    """Without a critical part, or without a registry and a model, the app is unhealthy."""
    if any(checks[name].status == "down" for name in CRITICAL):
        return "unhealthy"
    registry = checks.get("registry", OK)
    if registry.status == "down" and not is_serving:
        return "unhealthy"
    return "healthy" if all(c.status == "ok" for c in checks.values()) else "degraded"


def _lake(services: Services) -> LakeFound:
    try:
        newest = list(islice(_newest(services), MAX_SERIES))
        if services.book is None:
            services.lake.months(TABLE, "D", "health")
    except CorruptPartitionError as e:  # one series is damaged, the others can be served
        return Check(status="degraded", message=str(e)), []
    except WavehouseError as e:
        return Check(status="down", message=f"lake: expected an answer, was {_name(e)}"), []
    if services.book is not None and not newest:
        message = "lake: expected a materialised series of features, was none"
        return Check(status="degraded", message=message), []
    return OK, newest


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


def _database(services: Services) -> Check:
    try:
        services.backtests.check()
    except WavehouseError as e:  # no key can be verified, no run or job be kept
        return Check(status="down", message=f"database: expected an answer, was {_name(e)}")
    return OK


async def _redis(services: Services) -> Check | None:
    is_up = await services.cache.is_redis_up()
    if is_up is None:
        return None
    if is_up:
        return OK
    return Check(status="degraded", message="redis: expected an answer, was none")


def _registry(services: Services) -> Check:
    error = services.models.current.registry_error
    if error is None:
        return OK
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
    return OK


def _kernels(services: Services) -> Check:
    warmth = services.compute.warmth
    if not services.warming and not warmth.failed:
        return OK
    warming = [name for name in services.warming if name != "indicators"]
    failed = f"; failed: {', '.join(sorted(warmth.failed))}" if warmth.failed else ""
    others = f"; those of {' and '.join(warming)} are being compiled" if warming else ""
    return Check(
        status="degraded",
        message=(
            f"kernels: expected {len(CONTRACTS)} compiled, was {warmth.count}{others}{failed}"
        ),
    )


def _late(part: str, within_s: float) -> Check:
    return Check(status="down", message=f"{part}: expected an answer in {within_s:g} s, was none")


def _name(error: Exception) -> str:
    return getattr(error, "code", type(error).__name__)
