"""Labels told slowly: one candle, one path bar at a time, straight from the definition."""

from typing import Any

import numpy as np
import polars as pl

from market.calendars import SessionCalendar
from market.timeframes import Timeframe
from pipeline.labels import LabelConfig

Row = dict[str, Any]


def micros(ts: pl.Series) -> list[int]:
    return ts.to_physical().to_list()


def label(
    candle: Row,
    known: Row,
    path: pl.DataFrame,
    *,
    calendar: SessionCalendar,
    timeframes: tuple[Timeframe, Timeframe],
    config: LabelConfig,
    watermark_us: int,
    ended_us: int | None = None,
) -> Row:
    """Label one candle; instants are microseconds."""
    timeframe, base = timeframes
    t_c, price, atr = candle["known_at"], candle["close"], known["atr"]
    grid = calendar.grid(timeframe, t_c, t_c + 8 * 86_400_000_000)
    bars = list(zip(grid.open_us.tolist(), grid.end_us.tolist(), strict=True))[: config.horizon]
    end = bars[-1][1]
    inside = [r for r in path.iter_rows(named=True) if t_c <= r["ts"] < end]
    upper, lower = barrier(price, atr, known, config)
    plain = barrier(price, atr, {"support": None, "resistance": None}, config)
    touch, touch_plain = first(inside, upper, lower), first(inside, *plain)
    empty = [i for i, (a, b) in enumerate(bars) if not any(a <= r["ts"] < b for r in inside)]
    is_ended = ended_us is not None and watermark_us >= ended_us and ended_us < end
    status = state(
        touch,
        horizon=(bars, empty),
        is_over=watermark_us >= end,
        is_ended=is_ended,
    )
    row: Row = {
        "known_at": end,
        "status": status,
        "upper_barrier": upper,
        "lower_barrier": lower,
        "path_bars": len(inside),
    }
    until = max(t_c, min(end, watermark_us))
    scheduled = calendar.grid(base, t_c, until).open_us.size
    row["path_bars_missing"] = scheduled - sum(r["ts"] < until for r in inside)
    if status != "final":
        return row
    row["matured_at"] = end
    if upper is not None:
        row |= outcome(touch, inside, bars, calendar, base)
        is_seen = holding(touch_plain, bars) <= min([*empty, config.horizon])
        if is_seen and (touch_plain is not None or not is_ended):
            side = 0 if touch_plain is None else touch_plain[1]
            row["label_unadjusted"] = None if side == 2 else side
    if not is_ended and config.horizon - 1 not in empty:
        change = inside[-1]["close"] - price
        row["forward_return"] = inside[-1]["close"] / price - 1
        row["return_sign"] = int(np.sign(change))
        row["vol_scaled_return"] = None if not atr else max(-10.0, min(10.0, change / atr))
    if not is_ended and not empty:
        row["mfe"] = max(0.0, *((r["high"] - price) / price for r in inside))
        row["mae"] = min(0.0, *((r["low"] - price) / price for r in inside))
        row["profit_factor"] = row["mfe"] / -row["mae"] if row["mae"] else None
    return row


def barrier(
    price: float, atr: float | None, known: Row, config: LabelConfig
) -> tuple[float | None, float | None]:
    if not atr:
        return None, None
    upper, lower = price + config.k * atr, price - config.k * atr
    if known["resistance"] is not None:
        near = known["resistance"] - config.buffer * atr
        if (
            known["resistance"] - price < config.reach * atr
            and price + config.min_distance * atr <= near < upper
        ):
            upper = near
    if known["support"] is not None:
        near = known["support"] + config.buffer * atr
        if (
            price - known["support"] < config.reach * atr
            and lower < near <= price - config.min_distance * atr
        ):
            lower = near
    return upper, lower


def first(
    inside: list[Row], upper: float | None, lower: float | None
) -> tuple[int, int, int] | None:
    """Return place, side (2 for both) and instant of the first touch."""
    if upper is None or lower is None:
        return None
    for i, r in enumerate(inside):
        up, down = r["high"] >= upper, r["low"] <= lower
        if up or down:
            return i, 2 if up and down else 1 if up else -1, r["ts"]
    return None


def holding(touch: tuple[int, int, int] | None, bars: list[tuple[int, int]]) -> int:
    """Return which bar of the horizon holds the touch."""
    if touch is None:
        return len(bars)
    return next(i for i, (a, b) in enumerate(bars) if a <= touch[2] < b)


def state(
    touch: tuple[int, int, int] | None,
    *,
    horizon: tuple[list[tuple[int, int]], list[int]],
    is_over: bool,
    is_ended: bool,
) -> str:
    bars, empty = horizon
    if is_ended and touch is None:
        return "censored"
    if not is_over:
        return "pending"
    return "censored" if any(i < holding(touch, bars) for i in empty) else "final"


def outcome(
    touch: tuple[int, int, int] | None,
    inside: list[Row],
    bars: list[tuple[int, int]],
    calendar: SessionCalendar,
    base: Timeframe,
) -> Row:
    side = 0 if touch is None else touch[1]
    is_both = side == 2
    return {
        "enhanced_triple_barrier": None if is_both else side,
        "barrier_hit": {0: "none", 1: "upper", -1: "lower", 2: "ambiguous"}[side],
        "is_ambiguous": is_both,
        "label_if_long": -1 if is_both else side,
        "label_if_short": 1 if is_both else side,
        "t1": bars[-1][1] if touch is None else int(calendar.bar_ends(base, [touch[2]])[0]),
        "time_to_barrier_bars": min(len(bars), holding(touch, bars) + 1),
        "time_to_barrier_path_bars": len(inside) if touch is None else touch[0] + 1,
    }
