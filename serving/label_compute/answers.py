"""Answers of ``POST /v1/labels/compute``: a row of labels in the source's form, and why."""

from collections.abc import Mapping
from typing import Any, Final

from pipeline.labels import DEFAULT
from serving.instants import from_us
from serving.label_compute.paths import PathBars
from serving.label_compute.questions import Question
from serving.label_types import BARRIER, TIME_TO_BARRIER

BARS_AROUND: Final = 3

Row = Mapping[str, Any]


def answer(
    q: Question,
    row: Row,
    bars: PathBars,
    versions: Mapping[str, str],
    unavailable: Mapping[str, str],
) -> dict[str, Any]:
    """Return the answer, but for version, time and cache."""
    content = {
        "instrument_id": q.instrument.id,
        "granularity": q.timeframe.value,
        "ts": from_us(q.ts_us),
        "labels": {name: _label(name, row) for name in q.types},
        "status": row["status"],
        "known_at": row["known_at"],
        "matured_at": row["matured_at"],
        "label_version": row["label_version"],
        "horizon_periods": row["horizon_bars"],
        "entry_price": row["entry_price"],
        "atr": row["atr"],
        "unavailable": dict(unavailable),
        "data_versions": dict(versions),
    }
    if q.is_explained:
        content["explain"] = explanation(row, bars)
    return content


def barrier(row: Row) -> dict[str, Any]:
    """Return 11.a with everything around it."""
    hit, upper, lower = row["barrier_hit"], row["upper_barrier"], row["lower_barrier"]
    is_upper, is_lower = row["is_upper_adjusted"], row["is_lower_adjusted"]
    return {
        "label": row[BARRIER],
        "barrier_hit": hit,
        "time_to_barrier": row["time_to_barrier_bars"],
        "time_to_barrier_path_bars": row["time_to_barrier_path_bars"],
        "barrier_price": {"upper": upper, "lower": lower}.get(hit),
        "level_adjusted": None if is_upper is None else is_upper or is_lower,
        "upper_adjusted": is_upper,
        "lower_adjusted": is_lower,
        "nearest_support": row["nearest_support"],
        "nearest_resistance": row["nearest_resistance"],
        "support_level_id": row["support_level_id"],
        "resistance_level_id": row["resistance_level_id"],
        "upper_barrier": upper,
        "lower_barrier": lower,
        "t1": row["t1"],
        "is_ambiguous": row["is_ambiguous"],
        "label_if_long": row["label_if_long"],
        "label_if_short": row["label_if_short"],
        "label_unadjusted": row["label_unadjusted"],
        "path_timeframe": row["path_timeframe"],
        "path_bars": row["path_bars"],
        "path_bars_missing": row["path_bars_missing"],
    }


def explanation(row: Row, bars: PathBars) -> dict[str, Any]:
    """Return which level moved which barrier, and the bars around the touch."""
    return {
        "upper": _reason(row, "resistance", "upper", 1.0),
        "lower": _reason(row, "support", "lower", -1.0),
        "label_unadjusted": row["label_unadjusted"],
        "bars_around_touch": _around(row, bars),
    }


def _label(name: str, row: Row) -> Any:  # noqa: ANN401 - a number, a flag or 11.a
    if name == BARRIER:
        return barrier(row)
    return row["time_to_barrier_bars" if name == TIME_TO_BARRIER else name]


def _reason(row: Row, side: str, name: str, sign: float) -> dict[str, Any]:
    level, price, atr = row[f"nearest_{side}"], row["entry_price"], row["atr"]
    found = {
        "barrier": row[f"{name}_barrier"],
        "unadjusted": price + sign * DEFAULT.k * atr if atr else None,
        "level_price": level,
        "level_id": row[f"{side}_level_id"],
    }
    return {**found, "reason": _why(row, level, name, sign)}


def _why(row: Row, level: float | None, name: str, sign: float) -> str:
    if not row["atr"]:
        return "no atr"
    if level is None:
        return "no level"
    if row[f"is_{name}_adjusted"]:
        return "moved"
    distance = sign * (level - row["entry_price"]) / row["atr"]
    if distance >= DEFAULT.reach:
        return "beyond reach"
    return "too near" if distance - DEFAULT.buffer < DEFAULT.min_distance else "outside the band"


def _around(row: Row, bars: PathBars) -> list[dict[str, Any]]:
    if row["barrier_hit"] in (None, "none"):
        return []
    touch = row["time_to_barrier_path_bars"] - 1
    return [
        {
            "ts": from_us(int(bars.ts[i])),
            "high": float(bars.high[i]),
            "low": float(bars.low[i]),
            "close": float(bars.close[i]),
            "is_touch": i == touch,
        }
        for i in range(max(touch - BARS_AROUND, 0), min(touch + BARS_AROUND + 1, bars.ts.size))
    ]
