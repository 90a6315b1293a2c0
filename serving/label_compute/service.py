"""Labels of one candle: what is known at its close, the path after it, the batch's own functions.

Belongs here: the order of the steps, and what is kept between requests. Keep out: what a request
looks like (``contracts``, ``questions``) and what an answer looks like (``answers``).
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import orjson
import polars as pl

from market.ports import Lake
from market.tables import CANDLES, INSTANT
from pipeline import labels
from pipeline.level_spans import NearestLevel
from pipeline.levels import CONTEXT
from serving.label_compute.answers import answer
from serving.label_compute.contracts import CacheStrategy
from serving.label_compute.materialized import NO_BARS, AsOf, Materialized, PathAsked, PathBars
from serving.label_compute.questions import Question

KIND = "labels"


class AnswerCache(Protocol):
    """Where finished answers are kept, by what they were made from."""

    async def fetch(
        self, key: str, make: Callable[[], Awaitable[bytes]], *, kind: str, mode: CacheStrategy
    ) -> tuple[bytes, bool]:
        """Return the bytes, and whether they were there already."""
        ...


@dataclass(frozen=True, slots=True)
class Resolved:
    """A question with its pointers resolved: everything after reads immutable versions."""

    question: Question
    as_of: AsOf | None
    path: PathAsked | None

    @property
    def versions(self) -> dict[str, str]:
        """Return path → version of all that is read."""
        found = dict(self.as_of.versions) if self.as_of else {}
        return {**found, **(self.path.versions if self.path else {})}


@dataclass(frozen=True, slots=True)
class Known:
    """What stood at the candle's close."""

    atr: float | None
    support: NearestLevel | None
    resistance: NearestLevel | None


class LabelService:
    """Computes labels; may be shared by threads."""

    def __init__(
        self, lake: Lake, *, resident_bytes: int, cache: AnswerCache | None = None
    ) -> None:
        self.cache = cache
        self._materialized = Materialized(lake, max_bytes=resident_bytes)

    def resolve(self, question: Question) -> Resolved:
        """Resolve what the question did not bring; raise ``NotMaterializedError`` for levels."""
        q = question
        as_of = path = None
        if q.nearest is None or q.candle.atr_14 is None:
            as_of = self._materialized.resolve_known(q.instrument, q.timeframe, q.t_c)
        if q.path is None:
            window = (q.t_c, q.end_us)
            path = self._materialized.resolve_path(q.instrument, q.timeframe, window, q.horizon)
        return Resolved(q, as_of, path)

    def compute(self, resolved: Resolved) -> Mapping[str, Any]:
        """Return the answer, but for what only this request can say (time, cache)."""
        q = resolved.question
        known = self._known(resolved)
        timeframe, bars, watermark = self._path(resolved)
        row = labels.compute(
            _candle(q),
            _context(q, known),
            _frame(bars),
            instrument=replace(q.instrument, base_timeframe=timeframe),
            timeframe=q.timeframe,
            config=replace(labels.DEFAULT, horizon=q.horizon),
            watermark_us=watermark,
        ).row(0, named=True)
        return answer(q, row, bars, resolved.versions)

    def _known(self, resolved: Resolved) -> Known:
        q = resolved.question
        atr, nearest = q.candle.atr_14, q.nearest
        if resolved.as_of is not None:
            month = self._materialized.known(resolved.as_of, q.instrument, q.timeframe)
            if nearest is None:
                nearest = month.active.nearest(q.t_c, q.candle.close)
            if atr is None:
                last = int(month.known_at.searchsorted(q.t_c, side="right")) - 1
                found = float(month.atr[last])
                atr = found if found > 0.0 else None
        return Known(atr, *(nearest or (None, None)))

    def _path(self, resolved: Resolved) -> tuple[Any, PathBars, int]:
        q = resolved.question
        window = (q.t_c, q.end_us)
        if q.path is not None:
            return q.path.timeframe, q.path.bars.between(*window), q.path.watermark_us
        if resolved.path is not None:
            found = resolved.path
            return found.timeframe, self._materialized.path(found, window), found.watermark_us
        return min(q.instrument.base_timeframe, q.timeframe, key=_rank), NO_BARS, q.t_c


def answer_key(body: bytes, resolved: Resolved, code_version: str) -> str:
    """Return a key of all that the answer is made from: request, data, horizon's maturity, code."""
    q = resolved.question
    watermark = resolved.path.watermark_us if resolved.path else 0
    parts = [
        code_version, labels.FORMULA, q.instrument.id, q.timeframe.value, q.ts_us, q.t_c, q.end_us,
        q.horizon, q.types, q.is_explained, sorted(resolved.versions.items()),
        min(watermark, q.end_us), hashlib.sha256(body).hexdigest(),
    ]  # fmt: skip
    return f"{KIND}:" + hashlib.sha256(orjson.dumps(parts)).hexdigest()


def _rank(timeframe: Any) -> int:  # noqa: ANN401 - a timeframe, or what ``min`` makes of two
    return int(timeframe.rank)


def _candle(q: Question) -> pl.DataFrame:
    candle = q.candle
    values = {
        "instrument": q.instrument.id,
        "timeframe": q.timeframe.value,
        "ts": q.ts_us,
        "open": candle.open,
        "high": candle.high,
        "low": candle.low,
        "close": candle.close,
        "volume": candle.volume,
        "n_missing": 0,
        "complete": True,
        "source": "request",
        "known_at": q.t_c,
    }
    return pl.DataFrame([pl.Series(n, [values[n]], dtype=t) for n, t in CANDLES.schema.items()])


def _context(q: Question, known: Known) -> pl.DataFrame:
    support, resistance = known.support, known.resistance
    values = {
        "ts": q.ts_us,
        "known_at": q.t_c,
        "atr": known.atr,
        "resistance": resistance and resistance.price,
        "resistance_id": resistance and resistance.level_id,
        "support": support and support.price,
        "support_id": support and support.level_id,
    }
    columns = [pl.Series(n, [values.get(n)], dtype=t) for n, t in CONTEXT.schema.items()]
    return pl.DataFrame(columns)


def _frame(bars: PathBars) -> pl.DataFrame:
    columns = {"high": bars.high, "low": bars.low, "close": bars.close}
    return pl.DataFrame({"ts": pl.Series(bars.ts).cast(INSTANT), **columns})
