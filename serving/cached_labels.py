"""One candle's labels as the bytes of an answer: the key, the making, the newest ones at once.

Belongs here: what the cache keeps of materialised labels. Keep out: the cache, HTTP.
"""

from collections.abc import Iterator, Sequence

import orjson

from market.ports import Lake, PartitionKey, PartitionRef
from serving import labels
from serving.caching import LABELS
from serving.instants import to_us
from serving.label_types import LABEL_TYPES
from serving.labels import LabelQuery
from storage.cache_keys import cache_key

_HOUR_US = 3_600_000_000


def candle_query(instrument: str, timeframe: str, ts_us: int, types: Sequence[str]) -> LabelQuery:
    """Return the question for the candle that opens at an instant."""
    return LabelQuery(instrument, timeframe, ts_us, ts_us, tuple(types), None, 1, 1, "ts_asc")


def key(refs: Sequence[PartitionRef], query: LabelQuery, code_version: str) -> str:
    """Return the answer's key: it moves with the month's version."""
    return cache_key(
        LABELS,
        data_versions=[ref.version for ref in refs],
        code_version=code_version,
        parameters={
            "instrument": query.instrument,
            "granularity": query.timeframe,
            "etag": labels.etag(refs, query, code_version),  # of every field of the question
        },
    )


def made(lake: Lake, refs: Sequence[PartitionRef], query: LabelQuery) -> bytes:
    """Return the answer; raise ``NotMaterializedError`` where there is no such candle."""
    return _encoded(labels.one(lake, refs[0], query), refs)


def newest(
    lake: Lake, instrument: str, timeframe: str, *, hours: int, code_version: str
) -> Iterator[tuple[str, bytes]]:
    """Yield key and answer of each candle of the last hours before the newest one.

    Raise ``NotMaterializedError`` where the series has none.
    """
    end_us = _newest_us(lake, instrument, timeframe)
    wanted = LabelQuery(
        instrument, timeframe, end_us - hours * _HOUR_US, end_us, LABEL_TYPES, None, 1, 1, "ts_asc"
    )
    for ref in labels.resolve(lake, wanted):
        frame = lake.read([ref]).filter(wanted.condition()).sort("ts")
        for row in labels.rows(frame, LABEL_TYPES):
            query = candle_query(instrument, timeframe, to_us(row["ts"]), LABEL_TYPES)
            yield key([ref], query, code_version), _encoded(row, [ref])


def _newest_us(lake: Lake, instrument: str, timeframe: str) -> int:
    for month in reversed(lake.months(labels.TABLE, timeframe, instrument)):
        ref = lake.find(PartitionKey(labels.TABLE, timeframe, instrument, month))
        if ref is not None and ref.last_us is not None:
            return ref.last_us
    return 0  # nothing is there: asking for it says so


def _encoded(row: dict[str, object], refs: Sequence[PartitionRef]) -> bytes:
    content = {**row, "data_versions": {ref.key.path: ref.version for ref in refs}}
    return orjson.dumps(content, option=orjson.OPT_UTC_Z)
