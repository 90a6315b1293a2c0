"""``/v1/cache``: how the cache does, filling it, emptying it."""

import datetime as dt
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from serving.compute.cache import Kept
from serving.dependencies import ServicesDep
from serving.responses import ERRORS
from serving.schemas import Answer, Body, InstrumentId, TimeframeName
from storage.cache import CacheStats, KindStats
from storage.cache_keys import KeyFilter
from storage.cache_memory import MemoryTier

router = APIRouter(prefix="/v1/cache", tags=["cache"], responses=ERRORS)


class KindCounts(Answer):
    """Questions of one kind, by what answered them."""

    hit_rate: float | None = Field(description="Part that memory or Redis answered.")
    memory: int
    redis: int
    computed: int
    shared: int = Field(description="Waited for a computation that another had asked for.")
    failed: int
    bypassed: int = Field(description="Computed past the cache; no part of the hit rate.")


class MemoryCounts(Answer):
    """The tier in this process."""

    keys: int
    bytes: int
    max_bytes: int
    evictions: int


class RedisCounts(Answer):
    """The tier that processes share, as this process sees it."""

    status: Literal["off", "up", "down"]
    breaker: Literal["closed", "open", "half_open"] | None
    failures: int = Field(description="No answer, too late, or not Redis' language.")
    refused: int = Field(description="Declined: out of memory, read only.")
    dropped: int = Field(description="Damaged values.")
    skipped: int = Field(description="Not asked while the breaker was open.")


class CacheReport(Answer):
    """How the cache of the process that answers has done since its start."""

    timestamp: dt.datetime
    hit_rate: float | None
    kinds: dict[str, KindCounts]
    memory: MemoryCounts
    compute_memory: MemoryCounts | None = Field(description="Answers of /compute.")
    redis: RedisCounts


class WarmBody(Body):
    """Which labels to have ready."""

    instrument: InstrumentId
    granularity: TimeframeName
    hours: int = Field(24, ge=1, le=168, description="Before the newest candle with labels.")


class Warmed(Answer):
    """What is ready now."""

    instrument: str
    granularity: str
    hours: int
    candles: int = Field(description="Answers that were kept.")


class InvalidateParameters(Body):
    """What to drop: all that every parameter fits; everything without one."""

    instrument: InstrumentId | None = None
    granularity: TimeframeName | None = None
    pattern: str = Field(
        "*", max_length=200, description="Shell pattern on kind:instrument:granularity:hash."
    )


class InvalidatedAnswer(Answer):
    """How many answers went."""

    removed: int
    memory: int = Field(description="Of the process that answers.")
    redis: int | None = Field(description="Null where Redis is off or could not be asked.")


@router.get("/stats")
async def read_stats(services: ServicesDep) -> CacheReport:
    """Tell how often the cache answered, what it holds and how Redis is."""
    is_up = await services.cache.is_redis_up()
    stats = services.cache.stats()
    kept = services.compute.kept
    return CacheReport(
        timestamp=dt.datetime.now(dt.UTC),
        hit_rate=stats.hit_rate,
        kinds={name: _kind(kind) for name, kind in sorted(stats.kinds.items())},
        memory=MemoryCounts(
            keys=stats.memory_keys,
            bytes=stats.memory_bytes,
            max_bytes=stats.memory_max_bytes,
            evictions=stats.evictions,
        ),
        compute_memory=None if kept is None else _memory(kept),
        redis=_redis(stats, is_up=is_up),
    )


@router.post("/warm")
async def warm(services: ServicesDep, body: WarmBody) -> Warmed:
    """Keep the answers of the newest candles, as ``GET /v1/labels/{…}`` gives them."""
    services.check_instrument(body.instrument)
    candles = await services.candles.warm(body.instrument, body.granularity.value, hours=body.hours)
    return Warmed(
        instrument=body.instrument,
        granularity=body.granularity.value,
        hours=body.hours,
        candles=candles,
    )


@router.delete("/invalidate")
async def invalidate(
    services: ServicesDep, asked: Annotated[InvalidateParameters, Query()]
) -> InvalidatedAnswer:
    """Drop answers here and in Redis; keys name their data, so this frees room and nothing else."""
    granularity = asked.granularity and asked.granularity.value
    gone = await services.cache.invalidate(KeyFilter(asked.instrument, granularity, asked.pattern))
    return InvalidatedAnswer(
        removed=gone.memory + (gone.redis or 0), memory=gone.memory, redis=gone.redis
    )


def _memory(tier: MemoryTier[Kept]) -> MemoryCounts:
    return MemoryCounts(
        keys=len(tier), bytes=tier.size, max_bytes=tier.max_bytes, evictions=tier.evictions
    )


def _kind(kind: KindStats) -> KindCounts:
    return KindCounts(
        hit_rate=kind.hit_rate,
        memory=kind.memory,
        redis=kind.redis,
        computed=kind.computed,
        shared=kind.shared,
        failed=kind.failed,
        bypassed=kind.bypassed,
    )


def _redis(stats: CacheStats, *, is_up: bool | None) -> RedisCounts:
    status: Literal["off", "up", "down"] = "off"
    if is_up is not None:
        status = "up" if is_up else "down"
    return RedisCounts(
        status=status,
        breaker=None if stats.redis_state == "off" else stats.redis_state,
        failures=stats.redis_failures,
        refused=stats.redis_refused,
        dropped=stats.redis_dropped,
        skipped=stats.redis_skipped,
    )
