"""One row of labels in plain numbers, for who asks for one now.

Belongs here: the rules of ``label_outcomes`` for a single entry. A frame of one row takes a
millisecond to build and most of a batch's steps cost the same for one row as for a thousand; here
only what is asked for is computed. Arithmetic is the kernels' own, and a test holds every column of
materialised labels equal to these, bit by bit. Keep out: where bars and levels come from.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from kernels import first_touch as touches
from kernels.barriers import barriers
from kernels.forward_labels import meta_label, range_expansion
from kernels.forward_labels_levels import max_penetration
from kernels.forward_labels_path import PathStatistics, path_statistics
from kernels.forward_labels_trend import trend_scan
from market.tables import LABELS
from pipeline.label_outcomes import (
    LARGEST_SCALED_RETURN,
    LEVEL_COLUMNS,
    PLAIN_WIDTH,
    SERIES_COLUMNS,
)
from pipeline.label_series import LabelSeries
from pipeline.labels import LabelConfig

Instants = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Value = float | int | bool | str | None
Columns = dict[str, Value]

NAN: Final = math.nan
HISTORY_COLUMNS: Final = ("return_quantile", "event_burst")
"""What is ranked in a history, which is one of the materialised horizon alone."""

_HITS: Final = {
    touches.NONE: "none",
    touches.UPPER: "upper",
    touches.LOWER: "lower",
    touches.BOTH: "ambiguous",
}
_FIRST: Final = np.zeros(3, dtype=np.int64)
_WHOLE_NUMBERS: Final = frozenset(name for name, x in LABELS.schema.items() if x.is_integer())
_FLAGS: Final = frozenset(name for name, x in LABELS.schema.items() if str(x) == "Boolean")
_OUTCOMES: Final = (
    "enhanced_triple_barrier", "barrier_hit", "is_ambiguous", "label_if_long", "label_if_short",
    "t1", "time_to_barrier_bars", "time_to_barrier_path_bars",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lines:
    """Barriers of one entry with and without levels (``kernels.barriers``); NaN for none."""

    upper: float
    lower: float
    is_upper_adjusted: bool
    is_lower_adjusted: bool
    plain_upper: float
    plain_lower: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A candle at its close and the nearest levels as of then; NaN where there is none.

    ``lines`` are its barriers where somebody has computed them already.
    """

    price: float
    range: float  # high - low
    atr: float
    support: float
    resistance: float
    lines: Lines | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """[start, end) of the horizon, and the scheduled bars of the label's timeframe inside."""

    start_us: int
    end_us: int
    open_us: Instants
    close_us: Instants

    @property
    def horizon(self) -> int:
        """Return how many bars that is."""
        return self.open_us.size


class Path(Protocol):
    """The bars inside a window, in order; ``end_us`` is their scheduled end."""

    @property
    def ts(self) -> Instants: ...  # noqa: D102
    @property
    def end_us(self) -> Instants: ...  # noqa: D102
    @property
    def high(self) -> Floats: ...  # noqa: D102
    @property
    def low(self) -> Floats: ...  # noqa: D102
    @property
    def close(self) -> Floats: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Place:
    """Where the entry stands in a series (``label_series``)."""

    series: LabelSeries
    row: int


@dataclass(frozen=True, slots=True)
class _Touch:
    side: int
    index: int  # of the path bar
    bar: int  # of the horizon, 0-based; the horizon where nothing is touched


@dataclass(frozen=True, slots=True)
class _Seen:
    """An entry with its path, and what can be known of it."""

    entry: Entry
    window: Window
    path: Path
    first: Instants  # path bars of each bar of the horizon
    last: Instants
    gap: int  # first bar of the horizon without a path; the horizon where none is
    touch: _Touch
    plain: _Touch
    share: _Touch
    has_barriers: bool
    is_final: bool
    is_last_empty: bool

    @property
    def is_whole(self) -> bool:
        """Say whether all of the path was seen."""
        return self.is_final and self.gap == self.window.horizon

    @property
    def at_end(self) -> float:
        """Return P_H, NaN where nobody knows it."""
        if not self.is_final or self.is_last_empty or not self.path.ts.size:
            return NAN
        return float(self.path.close[-1])

    @property
    def bounds(self) -> tuple[Instants, Instants]:
        """Return the whole path as windows of one row."""
        return np.zeros(1, dtype=np.int64), np.array([self.path.ts.size])


def label_row(  # noqa: PLR0913 - what a label is made of, each part from another place
    entry: Entry,
    window: Window,
    path: Path,
    *,
    watermark_us: int,
    scheduled: int,
    config: LabelConfig,
    types: Collection[str],
    place: Place | None = None,
    edges: tuple[float, float] | None = None,
) -> Columns:
    """Return the columns of ``tables.LABELS`` that are the row's own; instants in microseconds.

    ``path`` holds the bars inside the window alone, ``scheduled`` says how many should have come by
    the watermark. 11.a and the status are always there, of the others those of ``types``. ``edges``
    are lowest resistance and highest support where a caller brought its own levels.
    """
    seen, row = _seen(entry, window, path, watermark_us, config)
    until_us = max(min(window.end_us, watermark_us), window.start_us)
    row["path_bars"] = path.ts.size
    row["path_bars_missing"] = scheduled - int(path.ts.searchsorted(until_us))
    row["nearest_level_distance"] = _distance(entry)
    wanted = set(types)
    for names, columns in _GROUPS:
        if not wanted.isdisjoint(names):
            row.update(columns(seen))
    if "meta_label" in wanted:
        row["meta_label"] = _meta_label(seen, place)
    if not wanted.isdisjoint(SERIES_COLUMNS):
        row.update(_series_columns(seen, place, edges))
    return row


def lines_of(entry: Entry, config: LabelConfig) -> Lines:
    """Return the barriers of an entry."""
    around = barriers(
        np.array([entry.price, entry.price]),
        np.array([entry.atr, entry.atr]),
        np.array([entry.support, NAN]),
        np.array([entry.resistance, NAN]),
        k=config.k,
        buffer=config.buffer,
        reach=config.reach,
        min_distance=config.min_distance,
    )
    (upper, plain_upper), (lower, plain_lower) = around.upper.tolist(), around.lower.tolist()
    return Lines(
        upper, lower, bool(around.is_upper_adjusted[0]), bool(around.is_lower_adjusted[0]),
        plain_upper, plain_lower,
    )  # fmt: skip


def _seen(
    entry: Entry, window: Window, path: Path, watermark_us: int, config: LabelConfig
) -> tuple[_Seen, Columns]:
    price, horizon = entry.price, window.horizon
    lines = entry.lines or lines_of(entry, config)
    touched = touches.first_touch(
        (path.high, path.low),
        (_FIRST, np.full(3, path.ts.size)),
        np.array([lines.upper, lines.plain_upper, price * (1.0 + PLAIN_WIDTH)]),
        np.array([lines.lower, lines.plain_lower, price * (1.0 - PLAIN_WIDTH)]),
    )
    touch, plain, share = (
        _touch(side, index, window, path)
        for side, index in zip(touched.side.tolist(), touched.bar.tolist(), strict=True)
    )
    first, last = path.ts.searchsorted(window.open_us), path.ts.searchsorted(window.close_us)
    is_empty = (first == last).tolist()
    gap = is_empty.index(True) if True in is_empty else horizon
    is_pending = window.end_us > watermark_us
    is_final = not is_pending and gap >= touch.bar
    has_barriers = not math.isnan(lines.upper)
    seen = _Seen(
        entry, window, path, first, last, gap, touch, plain, share, has_barriers, is_final,
        is_empty[-1],
    )  # fmt: skip
    row: Columns = {
        "status": "pending" if is_pending else "final" if is_final else "censored",
        "known_at": window.end_us,
        "matured_at": window.end_us if is_final else None,
        "upper_barrier": lines.upper if has_barriers else None,
        "lower_barrier": lines.lower if has_barriers else None,
        "is_upper_adjusted": lines.is_upper_adjusted if has_barriers else None,
        "is_lower_adjusted": lines.is_lower_adjusted if has_barriers else None,
        **_barrier_columns(seen),
    }
    return seen, row


def _touch(side: int, index: int, window: Window, path: Path) -> _Touch:
    if side == touches.NONE:
        return _Touch(side, index, window.horizon)
    bar = int(window.open_us.searchsorted(path.ts[index], side="right")) - 1
    # a candle off the grid closes inside a bar of it: what is left of that belongs to the first
    return _Touch(side, index, max(bar, 0))


def _barrier_columns(seen: _Seen) -> Columns:
    is_plain_known = seen.is_final and seen.has_barriers and seen.gap >= seen.plain.bar
    unadjusted = _side(seen.plain) if is_plain_known else None
    if not (seen.is_final and seen.has_barriers):
        return {**dict.fromkeys(_OUTCOMES), "label_unadjusted": unadjusted}
    touch, window, path = seen.touch, seen.window, seen.path
    is_touched, is_ambiguous = touch.side != touches.NONE, touch.side == touches.BOTH
    return {
        "enhanced_triple_barrier": _side(touch),
        "barrier_hit": _HITS[touch.side],
        "is_ambiguous": is_ambiguous,
        "label_if_long": -1 if is_ambiguous else touch.side,
        "label_if_short": 1 if is_ambiguous else touch.side,
        "t1": int(path.end_us[touch.index]) if is_touched else window.end_us,
        "time_to_barrier_bars": min(touch.bar + 1, window.horizon),
        "time_to_barrier_path_bars": touch.index + 1 if is_touched else path.ts.size,
        "label_unadjusted": unadjusted,
    }


def _share_columns(seen: _Seen) -> Columns:
    is_known = seen.is_final and seen.gap >= seen.share.bar and seen.entry.price > 0.0
    return {"triple_barrier": _side(seen.share) if is_known else None}


def _return_columns(seen: _Seen) -> Columns:
    price, atr, at_end = seen.entry.price, seen.entry.atr, seen.at_end
    scaled = (at_end - price) / atr if atr > 0.0 else NAN
    return {
        "forward_return": _typed("forward_return", at_end / price - 1.0),
        "return_sign": _typed("return_sign", float(np.sign(at_end - price))),
        "vol_scaled_return": _typed(
            "vol_scaled_return",
            float(np.clip(scaled, -LARGEST_SCALED_RETURN, LARGEST_SCALED_RETURN)),
        ),
    }


def _statistic_columns(seen: _Seen) -> Columns:
    if not seen.is_whole:
        return dict.fromkeys(PathStatistics._fields)
    path = seen.path
    found = path_statistics(
        (path.high, path.low, path.close), seen.bounds, np.array([seen.entry.price])
    )
    return {name: _typed(name, x[0]) for name, x in zip(found._fields, found, strict=True)}


_HORIZON_COLUMNS: Final = ("range_expansion", "trend_scan_sign", "trend_scan_t")


def _horizon_columns(seen: _Seen) -> Columns:
    if not seen.is_whole:
        return dict.fromkeys(_HORIZON_COLUMNS)
    path, of_row = seen.path, (np.zeros(1, dtype=np.int64), np.array([seen.window.horizon]))
    bars = touches.extremes((path.high, path.low), (seen.first, seen.last))
    scan = trend_scan(path.close[seen.last - 1], of_row, np.array([seen.entry.price]))
    expansion = range_expansion(bars, of_row, np.array([seen.entry.range]))
    found = zip(_HORIZON_COLUMNS, (expansion, scan.sign, scan.t), strict=True)
    return {name: _typed(name, x[0]) for name, x in found}


def _series_columns(seen: _Seen, place: Place | None, edges: tuple[float, float] | None) -> Columns:
    found: Columns = dict.fromkeys(SERIES_COLUMNS)
    if place is not None:
        series, row = place.series, place.row
        levels = series.levels(np.array([row]), np.array([seen.window.end_us]))
        edges = float(levels.lowest_resistance[0]), float(levels.highest_support[0])
        is_its_history = series.horizon == seen.window.horizon
        if seen.is_whole:
            found.update({name: _typed(name, getattr(levels, name)[0]) for name in LEVEL_COLUMNS})
        if seen.is_whole and is_its_history:
            found["event_burst"] = _typed("event_burst", series.burst[row])
        if not math.isnan(seen.at_end) and is_its_history:
            found["return_quantile"] = _typed("return_quantile", series.quantile[row])
    if edges is not None and seen.is_whole:
        lines = np.array([edges[0]]), np.array([edges[1]])
        deepest = max_penetration(seen.path.close, seen.bounds, lines, np.array([seen.entry.atr]))
        found["max_penetration"] = _typed("max_penetration", deepest[0])
    return found


def _meta_label(seen: _Seen, place: Place | None) -> Value:
    if place is None or not (seen.is_final and seen.has_barriers):
        return None
    touch = touches.FirstTouch(
        np.array([seen.touch.side], dtype=np.int8), np.array([seen.touch.index])
    )
    side = place.series.side[place.row : place.row + 1]
    won = meta_label(side, touch, np.array([seen.entry.price]), np.array([seen.at_end]))
    return _typed("meta_label", won[0])


_GROUPS: Final[tuple[tuple[tuple[str, ...], Callable[[_Seen], Columns]], ...]] = (
    (("triple_barrier",), _share_columns),
    (("forward_return", "return_sign", "vol_scaled_return"), _return_columns),
    (PathStatistics._fields, _statistic_columns),
    (_HORIZON_COLUMNS, _horizon_columns),
)


def _distance(entry: Entry) -> float | None:
    """Return the distance to the nearer of the two levels in ATR."""
    nearer = float(np.fmin(entry.resistance - entry.price, entry.price - entry.support))
    return _float(nearer / entry.atr) if entry.atr > 0.0 else None


def _side(touch: _Touch) -> int | None:
    return None if touch.side == touches.BOTH else touch.side


def _typed(column: str, value: np.float64 | float) -> Value:
    """Return a value as ``tables.LABELS`` types its column, nothing for NaN."""
    number = _float(value)
    if number is None:
        return None
    if column in _FLAGS:
        return bool(number)
    return int(number) if column in _WHOLE_NUMBERS else number


def _float(value: np.float64 | float) -> float | None:
    number = float(value)
    return None if math.isnan(number) else number
