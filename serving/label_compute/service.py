"""Labels of one candle: what is known at its close, the path after it, the batch's own rules.

Belongs here: the order of the steps, and what is kept between requests. Keep out: what a request
looks like (``contracts``, ``questions``) and what an answer looks like (``answers``).
"""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from market.ports import Lake
from market.timeframes import Timeframe
from pipeline import labels
from pipeline.label_outcomes import SERIES_COLUMNS
from pipeline.label_row import HISTORY_COLUMNS, NAN, Entry, Place, label_row
from pipeline.labels import DEFAULT, LabelConfig
from serving.instants import from_us
from serving.label_compute.answers import answer
from serving.label_compute.materialized import AsOf, Known, Materialized, PathAsked, SeriesAsked
from serving.label_compute.paths import NO_BARS, PathBars
from serving.label_compute.questions import Question
from serving.label_compute.warmth import Warmth
from storage.cache import Cache, cache_key

KIND: Final = "labels"
AGAINST_OTHERS: Final = frozenset((*SERIES_COLUMNS, "meta_label"))
"""Labels that the candle and its path alone do not tell: levels over time, earlier rows."""

GIVEN_AT_ONCE: Final = 500  # bars of a request that are checked on the event loop
BARS_AT_ONCE: Final = 20_000  # bars of a path that are scanned there: a millisecond, every label

_INSTANTS: Final = ("known_at", "matured_at", "t1")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A question with its pointers resolved: everything after reads immutable versions."""

    question: Question
    as_of: AsOf | None
    path: PathAsked | None
    series: SeriesAsked | None

    @property
    def versions(self) -> dict[str, str]:
        """Return path → version of all that is read."""
        found: dict[str, str] = {}
        for asked in (self.as_of, self.path, self.series):
            if asked is not None:
                found.update(asked.versions)
        return found


class LabelService:
    """Computes labels; may be shared by threads."""

    def __init__(self, lake: Lake, *, resident_bytes: int, cache: Cache | None = None) -> None:
        """``cache`` keeps finished answers; without one, all are computed."""
        self.cache = cache
        self._is_near = lake.is_near
        self._materialized = Materialized(lake, max_bytes=resident_bytes)
        self._warmth = Warmth()

    def start(self) -> None:
        """Compile in the background what the first label would wait for."""
        self._warmth.start()

    def close(self) -> None:
        """Wait until that is done."""
        self._warmth.close()

    @property
    def is_warming(self) -> bool:
        """Whether kernels of labels are being compiled."""
        return self._warmth.is_running

    def resolves_at_once(self, path_bars: int) -> bool:
        """Say whether an event loop may resolve a question that brings so many bars."""
        return self._is_near and self._warmth.is_done and path_bars <= GIVEN_AT_ONCE

    def computes_at_once(self, resolved: Resolved) -> bool:
        """Say whether an event loop may compute: nothing to compile or decode, few bars.

        A thread in between takes several times what a label does.
        """
        q, asked, source = resolved.question, resolved.path, self._materialized
        finer = self._finer(resolved)
        if not self._warmth.is_done or q.end_us - q.t_c > BARS_AT_ONCE * finer.microseconds:
            return False
        return (
            source.has_schedule(q.instrument, q.timeframe, finer, q.t_c)
            and (resolved.as_of is None or source.has_known(resolved.as_of))
            and (asked is None or source.has_path(asked))
            and (resolved.series is None or source.has_series(resolved.series))
        )

    def resolve(self, question: Question) -> Resolved:
        """Resolve what the question did not bring; raise ``NotMaterializedError`` for levels."""
        q, source = question, self._materialized
        as_of = path = series = None
        if q.given is None or q.candle.atr_14 is None:
            as_of = source.resolve_known(q.instrument, q.timeframe, q.t_c)
        if q.path is None:
            window = (q.t_c, q.end_us)
            path = source.resolve_path(q.instrument, q.timeframe, window, q.horizon)
        is_own = q.given is not None or q.path is not None
        if as_of is not None and not is_own and not AGAINST_OTHERS.isdisjoint(q.types):
            series = source.resolve_series(as_of, q.instrument, q.timeframe, q.horizon)
        return Resolved(q, as_of, path, series)

    def compute(self, resolved: Resolved) -> Mapping[str, Any]:
        """Return the answer, but for what only this request can say (time, cache)."""
        q = resolved.question
        known, place = self._known(resolved), self._place(resolved)
        finer, bars, watermark_us = self._path(resolved)
        schedule = self._materialized.schedule(q.instrument, q.timeframe, finer, q.t_c)
        window = schedule.window(q.t_c, q.horizon)
        config = _config(q.horizon)
        support, resistance = known.support, known.resistance
        row: dict[str, Any] = label_row(
            Entry(
                price=q.candle.close,
                range=q.candle.high - q.candle.low,
                atr=known.atr,
                support=support.price if support else NAN,
                resistance=resistance.price if resistance else NAN,
                lines=known.lines,
            ),
            window,
            bars,
            watermark_us=watermark_us,
            scheduled=schedule.scheduled(window, watermark_us),
            config=config,
            types=q.types,
            place=place,
            edges=q.given.edges if q.given else None,
        )
        row.update({x: None if row[x] is None else from_us(row[x]) for x in _INSTANTS})
        row.update(
            entry_price=q.candle.close,
            atr=None if np.isnan(known.atr) else known.atr,
            nearest_support=support and support.price,
            nearest_resistance=resistance and resistance.price,
            support_level_id=support and support.level_id,
            resistance_level_id=resistance and resistance.level_id,
            path_timeframe=finer.value,
            horizon_bars=q.horizon,
            label_version=_version(config),
        )
        return answer(q, row, bars, resolved.versions, unavailable(resolved, place))

    def _known(self, resolved: Resolved) -> Known:
        q = resolved.question
        given, atr = q.given, q.candle.atr_14
        if resolved.as_of is None:
            known = Known(NAN, None, None)
        else:
            month = self._materialized.known(resolved.as_of, q.instrument, q.timeframe)
            known = month.at(q.t_c, q.candle.close)
        if given is None and atr is None:
            return known
        support, resistance = (
            (known.support, known.resistance)
            if given is None
            else (given.support, given.resistance)
        )
        return Known(known.atr if atr is None else atr, support, resistance)

    def _place(self, resolved: Resolved) -> Place | None:
        """Return where the candle stands in its series, if it is the one that is materialised."""
        q = resolved.question
        if resolved.series is None:
            return None
        series = self._materialized.series(resolved.series, q.instrument, q.timeframe)
        row = int(series.ts_us.searchsorted(q.ts_us))
        if row == series.ts_us.size or series.ts_us[row] != q.ts_us:
            return None
        candle = (q.candle.high, q.candle.low, q.candle.close)
        is_it = all(x[row] == y for x, y in zip(series.prices[:3], candle, strict=True))
        return Place(series, row) if is_it else None

    def _path(self, resolved: Resolved) -> tuple[Timeframe, PathBars, int]:
        q = resolved.question
        window = (q.t_c, q.end_us)
        if q.path is not None:
            return q.path.timeframe, q.path.bars.between(*window), q.path.watermark_us
        if resolved.path is not None:
            asked = resolved.path
            bars = self._materialized.path(asked, q.instrument, window)
            return asked.timeframe, bars, asked.watermark_us
        return self._finer(resolved), NO_BARS, q.t_c

    @staticmethod
    def _finer(resolved: Resolved) -> Timeframe:
        q = resolved.question
        if q.path is not None:
            return q.path.timeframe
        if resolved.path is not None:
            return resolved.path.timeframe
        return min(q.instrument.base_timeframe, q.timeframe, key=lambda x: x.rank)


def unavailable(resolved: Resolved, place: Place | None) -> dict[str, str]:
    """Return label → why it is null and waiting will not change that."""
    q = resolved.question
    asked = [name for name in q.types if name in AGAINST_OTHERS]
    if q.given is not None or q.path is not None:
        brought = "levels" if q.given is not None else "path"
        why = f"measured on materialised candles and levels, was asked with its own {brought}"
        is_told = q.given is not None
        return {name: why for name in asked if not (is_told and name == "max_penetration")}
    if resolved.series is None:
        return dict.fromkeys(asked, "the month before has candles but no labels, whose state it is")
    if place is None:
        return dict.fromkeys(asked, "measured on materialised candles, the candle is none of them")
    if q.horizon == DEFAULT.horizon:
        return {}
    why = f"its history is one of {DEFAULT.horizon} periods, was asked with {q.horizon}"
    return {name: why for name in asked if name in HISTORY_COLUMNS}


def answer_key(resolved: Resolved, code_version: str) -> str:
    """Return a key of all that the answer is made from: data, code, the question, its maturity.

    What the options say of the cache is not in it: who refreshes writes what others read.
    """
    q = resolved.question
    watermark = resolved.path.watermark_us if resolved.path else 0
    return cache_key(
        KIND,
        data_versions=[f"{path}={version}" for path, version in sorted(resolved.versions.items())],
        code_version=f"{code_version}-{labels.FORMULA}",
        parameters={
            "instrument": q.instrument.id,
            "granularity": q.timeframe.value,
            "window": (q.ts_us, q.t_c, q.end_us, q.horizon, min(watermark, q.end_us)),
            "types": q.types,
            "is_explained": q.is_explained,
            "candle": (q.candle.high, q.candle.low, q.candle.close, q.candle.atr_14),
            "given": _given(q),
        },
    )


def _given(q: Question) -> list[object]:
    """Return what the caller brought: levels by what labels are made of, bars by their hash."""
    found: list[object] = []
    if q.given is not None:
        near = (q.given.support, q.given.resistance)
        found.append([x and x.price for x in near] + [repr(x) for x in q.given.edges])
    if q.path is not None:
        digest = hashlib.sha256()
        for column in (q.path.bars.ts, q.path.bars.high, q.path.bars.low, q.path.bars.close):
            digest.update(column.tobytes())
        found.append([q.path.timeframe.value, digest.hexdigest()])
    return found


@functools.lru_cache(maxsize=labels.MAX_HORIZON)
def _config(horizon: int) -> LabelConfig:
    return LabelConfig(horizon=horizon)


@functools.lru_cache(maxsize=labels.MAX_HORIZON)
def _version(config: LabelConfig) -> str:
    return config.label_version
