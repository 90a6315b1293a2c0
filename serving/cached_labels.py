"""One candle's labels through the cache: the answer of a row that has not changed is kept.

Belongs here: what the cache keeps of materialised labels, and by which keys. Keep out: HTTP.

A bar that arrives makes a new version of its month, in which nearly every row is as it was. So keys
name the row, not the version: of each version an index is made once, hashes of its rows by time. An
answer still names the version that it was read from, which is written behind what was kept.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import orjson
import polars as pl
from anyio import to_thread

from market.ports import Lake, PartitionKey, PartitionRef
from serving import labels
from serving.caching import LABELS
from serving.instants import to_us
from serving.label_types import LABEL_TYPES
from serving.labels import LabelQuery
from storage.cache import Cache, CacheMode
from storage.cache_keys import cache_key

INDEX_BYTES: Final = 32_000_000  # of indices in memory: 24 bytes a row
INDEX_TTL_S: Final = 86_400.0
_INDEX: Final = np.dtype([("ts", "<i8"), ("first", "<u8"), ("second", "<u8")])
_SEEDS: Final = (1, 2)  # 128 bits of hash
_HOUR_US: Final = 3_600_000_000


class CandleLabels:
    """Answers of ``GET /v1/labels/{instrument}/{granularity}/{timestamp}``."""

    def __init__(self, lake: Lake, cache: Cache, *, code_version: str) -> None:
        self._lake = lake
        self._cache = cache
        self._code_version = code_version
        self._indices = Cache(  # apart: nobody asked for one
            memory_bytes=INDEX_BYTES, ttls_s={LABELS: INDEX_TTL_S}
        )

    async def answer(
        self, query: LabelQuery, ref: PartitionRef, mode: CacheMode = CacheMode.PREFER
    ) -> tuple[bytes, bool]:
        """Return the answer, and whether nothing had to be read for it.

        Raise ``NotMaterializedError`` where there is no such candle.
        """

        async def make() -> bytes:
            return await to_thread.run_sync(self._row, query, ref)

        if mode is CacheMode.BYPASS:
            found = await self._cache.fetch("", make, kind=LABELS, mode=mode)
            return _named(found.value, ref), False
        index, is_known = await self._index(ref)
        digest = _digest(index, query.start_us)
        if digest is None:
            return _named(await make(), ref), False  # says that there is none
        key = self._key(query, digest)
        found = await self._cache.fetch(key, make, kind=LABELS, mode=mode)
        return _named(found.value, ref), is_known and found.is_hit

    async def warm(self, instrument: str, timeframe: str, *, hours: int) -> int:
        """Keep the answers of the last hours before the newest candle; return how many.

        Raise ``NotMaterializedError`` where the series has none.
        """
        count = 0
        for wanted, ref in await to_thread.run_sync(self._newest, instrument, timeframe, hours):
            index, _ = await self._index(ref)
            for ts_us, row in await to_thread.run_sync(self._rows, wanted, ref):
                digest = _digest(index, ts_us)
                if digest is not None:
                    key = self._key(candle_query(instrument, timeframe, ts_us), digest)
                    await self._cache.keep(key, row, kind=LABELS)
                    count += 1
        return count

    async def aclose(self) -> None:
        """Stop what is being indexed for nobody."""
        await self._indices.aclose()

    def _key(self, query: LabelQuery, digest: str) -> str:
        return cache_key(
            LABELS,
            data_versions=[digest],
            code_version=f"{self._code_version}/{labels.SHAPE_VERSION}",
            parameters={
                "instrument": query.instrument,
                "granularity": query.timeframe,
                "ts": query.start_us,
                "types": query.types,
            },
        )

    async def _index(self, ref: PartitionRef) -> tuple[bytes, bool]:
        async def make() -> bytes:
            return await to_thread.run_sync(indexed, self._lake, ref)

        found = await self._indices.fetch(f"{ref.key.path}/{ref.version}", make, kind=LABELS)
        return found.value, found.is_hit

    def _row(self, query: LabelQuery, ref: PartitionRef) -> bytes:
        return _encoded(labels.one(self._lake, ref, query))

    def _rows(self, wanted: LabelQuery, ref: PartitionRef) -> list[tuple[int, bytes]]:
        frame = self._lake.read([ref]).filter(wanted.condition()).sort("ts")
        return [(to_us(row["ts"]), _encoded(row)) for row in labels.rows(frame, LABEL_TYPES)]

    def _newest(
        self, instrument: str, timeframe: str, hours: int
    ) -> Sequence[tuple[LabelQuery, PartitionRef]]:
        end_us = next(self._ends(instrument, timeframe), 0)  # 0: asking for it says what is missing
        wanted = candle_query(instrument, timeframe, end_us, start_us=end_us - hours * _HOUR_US)
        return [(wanted, ref) for ref in labels.resolve(self._lake, wanted)]

    def _ends(self, instrument: str, timeframe: str) -> Iterator[int]:
        for month in reversed(self._lake.months(labels.TABLE, timeframe, instrument)):
            ref = self._lake.find(PartitionKey(labels.TABLE, timeframe, instrument, month))
            if ref is not None and ref.last_us is not None:
                yield ref.last_us


def candle_query(
    instrument: str,
    timeframe: str,
    ts_us: int,
    *,
    start_us: int | None = None,
    types: Sequence[str] = LABEL_TYPES,
) -> LabelQuery:
    """Return the question for the candle that opens at an instant, or for those since another."""
    start_us = ts_us if start_us is None else start_us
    return LabelQuery(instrument, timeframe, start_us, ts_us, tuple(types), None, 1, 1, "ts_asc")


def indexed(lake: Lake, ref: PartitionRef) -> bytes:
    """Return time and hash of each row of a version, in order of time."""
    frame = lake.read([ref]).sort("ts")
    index = np.empty(frame.height, dtype=_INDEX)
    index["ts"] = frame["ts"].to_physical().to_numpy()
    for name, seed in zip(("first", "second"), _SEEDS, strict=True):
        index[name] = frame.hash_rows(seed=seed).to_numpy()
    return index.tobytes()


def _digest(index: bytes, ts_us: int) -> str | None:
    rows = np.frombuffer(index, dtype=_INDEX)
    at = int(rows["ts"].searchsorted(ts_us))
    if at == rows.size or rows["ts"][at] != ts_us:
        return None
    return f"{pl.__version__}:{rows['first'][at]:016x}{rows['second'][at]:016x}"


def _encoded(row: dict[str, object]) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_UTC_Z)


def _named(row: bytes, ref: PartitionRef) -> bytes:
    """Return the answer: the row, and the version that has it."""
    return row[:-1] + b',"data_versions":' + orjson.dumps({ref.key.path: ref.version}) + b"}"
