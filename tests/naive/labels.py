"""Labels told slowly: one candle, one path bar at a time, straight from the definition."""

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import scipy.stats

from market.calendars import SessionCalendar
from market.timeframes import Timeframe
from pipeline.labels import LabelConfig
from tests.naive.levels import Book, Event, average_true_range

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


# --- the other labels, each from its sentence -------------------------------------------------


def path_statistics(price: float, bars: Sequence[tuple[float, float, float]]) -> dict[str, float]:
    """Say what a path of (high, low, close) did after an entry."""
    highs, lows, closes = zip(*bars, strict=True)
    mfe = max(0.0, (max(highs) - price) / price)
    mae = min(0.0, (min(lows) - price) / price)
    falls = [now / before - 1 for i, now in enumerate(closes) for before in closes[: i + 1]]
    gaps = {
        abs(closes[-1] - extreme) / abs(extreme - price)
        for extreme in (max(highs), min(lows))
        if extreme != price
        and abs(extreme - price) == max(abs(max(highs) - price), abs(min(lows) - price))
    }
    returns = [math.log(b) - math.log(a) for a, b in itertools.pairwise((price, *closes))]
    is_flat = len(returns) < 3 or max(returns) - min(returns) < 1e-12
    return {
        "mfe": mfe,
        "mae": mae,
        "profit_factor": abs(mfe / mae) if mae else math.nan,
        "drawdown_depth": min(falls),
        "end_vs_extremum_gap": max(gaps, default=math.nan),
        "time_underwater": sum(c < price for c in closes) / len(closes),
        "path_skewness": math.nan if is_flat else float(scipy.stats.skew(returns)),
    }


def matured(
    values: Sequence[float], decided: Sequence[int], ends: Sequence[int], row: int, lookback: int
) -> list[float]:
    """Return the last values of other rows that were known when ``row`` was decided."""
    known = [
        v
        for j, v in enumerate(values)
        if j != row and ends[j] <= decided[row] and not math.isnan(v)
    ]
    return known[-lookback:]


def decile(value: float, history: Sequence[float], fewest: int) -> float:
    """Rank one return in others."""
    if math.isnan(value) or len(history) < fewest:
        return math.nan
    below = sum(h < value for h in history)
    return min(10, 1 + math.floor(Fraction(10 * below, len(history))))


def burst(count: float, history: Sequence[float], fewest: int) -> float:
    """Say whether a count is above the mean by more than two deviations, in exact numbers."""
    if math.isnan(count) or len(history) < fewest:
        return math.nan
    known = [Fraction(h) for h in history]
    mean = sum(known, Fraction()) / len(known)
    variance = sum(((h - mean) ** 2 for h in known), Fraction()) / len(known)
    above = Fraction(count) - mean
    return float(above > 0 and above**2 > 4 * variance)


def trend(prices: Sequence[float], shortest: int = 3) -> tuple[float, float, int]:
    """Return sign, t and bars of the clearest slope; the first price is the entry's."""
    best = (0.0, -1.0, 0)
    for bars in range(shortest, len(prices)):
        x, y = np.arange(bars + 1.0), np.array(prices[: bars + 1])
        slope, intercept = np.polyfit(x, y, 1)
        left = np.sum((y - intercept - slope * x) ** 2)
        total = np.sum((y - y.mean()) ** 2)
        share = 0.0 if total == 0 else min(1 - left / total, 1 - 1e-12)
        t = math.sqrt(max((bars - 1) * share / (1 - share), 0.0))
        if t > best[1] * (1 + 1e-9):
            best = (float(np.sign(slope)) if t else 0.0, t, bars)
    return best[0], best[0] * best[1], best[2]


class Role(NamedTuple):
    """A level while it is active in one role; ``end`` None while it lasts."""

    born: int
    price: float
    kind: str
    start: int
    end: int | None
    is_broken: bool


def roles(events: Sequence[Event]) -> list[Role]:
    """Follow each level through the log."""
    found, open_ = [], {}
    for e in events:
        if e.event.startswith(("NEW", "FLIP")):
            open_[e.born] = Role(e.born, e.price, e.kind, e.bar, None, is_broken=False)
        elif e.event.startswith(("BREAK", "DEACTIVATE")) and e.born in open_:
            is_broken = e.event.startswith("BREAK")
            found.append(open_.pop(e.born)._replace(end=e.bar, is_broken=is_broken))
    return found + list(open_.values())


def level_labels(book: Book, entry: int, horizon: int) -> dict[str, float]:
    """Say what the bars after an entry did to the levels that were active at it."""
    candles, rules = book.candles, book.rules
    ends = min(entry + horizon, len(candles) - 1)
    standing = [
        r for r in roles(book.events) if r.start <= entry and (r.end is None or r.end > entry)
    ]
    episodes: list[list[int]] = []
    for role in standing:
        contacts = [
            b
            for b in range(role.start, ends + 1)
            if (role.end is None or b <= role.end - role.is_broken)
            and (b == role.start or in_band(book, role.price, b))
        ]
        own: list[list[int]] = []
        for b in contacts:
            if own and b - own[-1][-1] <= rules.episode_gap:
                own[-1].append(b)
            else:
                own.append([b])
        episodes += own
    new = [e[0] for e in episodes if e[0] > entry]
    broken = {r.born for r in standing if r.is_broken and r.end is not None and r.end <= ends}
    close = candles[entry].close
    above = [r for r in standing if r.kind == "resistance" and r.price > close]
    below = [r for r in standing if r.kind == "support" and r.price < close]
    nearest = [r for r in above if r.price == min(x.price for x in above)]
    nearest += [r for r in below if r.price == max(x.price for x in below)]
    flipped = [
        e for e in book.events
        if e.event.startswith("FLIP") and entry < e.bar <= ends and e.born <= entry
    ]  # fmt: skip
    of_kind = {k: [r.price for r in standing if r.kind == k] for k in ("resistance", "support")}
    return {
        "retouch_count": len(new),
        "touch_run": max((sum(b > entry for b in e) for e in episodes), default=0),
        "next_touch_time": min(new, default=ends + 1) - entry,
        "breakout_occurred": float(bool(broken)),
        "nearest_breakout_occurred": float(any(r.born in broken for r in nearest)),
        "flip_occurred": float(bool(flipped)),
        "lowest_resistance": min(of_kind["resistance"], default=math.nan),
        "highest_support": max(of_kind["support"], default=math.nan),
    }


def in_band(book: Book, price: float, bar: int) -> bool:
    """Say whether a bar enters the touch band of a price."""
    atr = average_true_range(book.candles[: bar + 1], book.rules.atr_period)
    assert atr is not None
    band = book.rules.touch * (abs(price) if book.rules.is_price_unit else atr)
    return book.candles[bar].low <= price + band and book.candles[bar].high >= price - band
