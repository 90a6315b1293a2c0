"""Slow, obvious twins of the indicators, from their definitions: lists, loops, ``fsum``.

They share nothing with ``kernels``. Windows are looked at as a whole; recursive ones drop the bars
that miss a value, compute over the rest, and put the results back.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import fsum, isclose, isfinite, isnan, nan, sqrt

Column = Sequence[float]
Lines = tuple[list[float], ...]


def windows(x: Column, period: int) -> list[Column | None]:
    """Return each bar's last ``period`` values, or ``None`` where there are too few."""
    return [x[i + 1 - period : i + 1] if i + 1 >= period else None for i in range(len(x))]


def over(x: Column, period: int, statistic: Callable[[Column], float]) -> list[float]:
    """Return a statistic of each full window; NaN where one is missing a value."""
    return [
        nan if w is None or not all(map(isfinite, w)) else statistic(w) for w in windows(x, period)
    ]


def dropping_gaps(columns: Sequence[Column], compute: Callable[..., Lines]) -> Lines:
    """Return ``compute`` over the bars that miss nothing, NaN at the others."""
    kept = [i for i in range(len(columns[0])) if all(isfinite(c[i]) for c in columns)]
    dense = compute(*([c[i] for i in kept] for c in columns))
    lines = tuple([nan] * len(columns[0]) for _ in dense)
    for line, values in zip(lines, dense, strict=True):
        for i, value in zip(kept, values, strict=True):
            line[i] = value
    return lines


def mean(w: Column) -> float:
    return fsum(w) / len(w)


def sma(x: Column, period: int) -> list[float]:
    return over(x, period, mean)


def wma(x: Column, period: int) -> list[float]:
    def weighted(w: Column) -> float:
        return fsum((k + 1) * v for k, v in enumerate(w)) / fsum(range(1, len(w) + 1))

    return over(x, period, weighted)


def hma(x: Column, period: int) -> list[float]:
    half, whole = wma(x, period // 2), wma(x, period)
    return wma([2 * a - b for a, b in zip(half, whole, strict=True)], int(sqrt(period)))


def seeded(x: Column, period: int, weight: float, start: int = 0) -> list[float]:
    """Return the exponential average, seeded by the mean of ``period`` values from ``start``."""
    out = [nan] * len(x)
    first = start + period - 1
    if first < len(x):
        out[first] = mean(x[start : first + 1])
    for i in range(first + 1, len(x)):
        out[i] = (1 - weight) * out[i - 1] + weight * x[i]
    return out


def ema(x: Column, period: int) -> list[float]:
    return dropping_gaps([x], lambda v: (seeded(v, period, 2 / (period + 1)),))[0]


def macd(x: Column, fast: int, slow: int, signal: int) -> Lines:
    def compute(v: Column) -> Lines:
        quick = seeded(v, fast, 2 / (fast + 1), start=slow - fast)
        steady = seeded(v, slow, 2 / (slow + 1))
        line = [a - b for a, b in zip(quick, steady, strict=True)]
        average = seeded(line, signal, 2 / (signal + 1), start=slow - 1)
        shown = [nan if isnan(a) else b for a, b in zip(average, line, strict=True)]
        return shown, average, [a - b for a, b in zip(line, average, strict=True)]

    return dropping_gaps([x], compute)


def rsi(x: Column, period: int) -> list[float]:
    def compute(v: Column) -> Lines:
        steps = [nan] + [b - a for a, b in pairwise(v)]
        gain = seeded([max(s, 0) for s in steps], period, 1 / period, start=1)
        loss = seeded([max(-s, 0) for s in steps], period, 1 / period, start=1)
        out = []
        for g, d in zip(gain, loss, strict=True):
            out.append(50.0 if g + d == 0 else 100 * g / (g + d))
        return (out[: len(v)],)

    return dropping_gaps([x], compute)[0]


def cutler_rsi(x: Column, period: int) -> list[float]:
    steps = [nan] + [b - a for a, b in pairwise(x)]

    def strength(w: Column) -> float:
        gain, loss = fsum(max(s, 0) for s in w), fsum(max(-s, 0) for s in w)
        return 50.0 if gain + loss == 0 else 100 * gain / (gain + loss)

    return over(steps[: len(x)], period, strength)


def roc(x: Column, period: int) -> list[float]:
    return [nan if i < period else 100 * (x[i] / x[i - period] - 1) for i in range(len(x))]


def true_ranges(high: Column, low: Column, close: Column) -> list[float]:
    out = [nan]
    for h, lo, before in zip(high[1:], low[1:], close, strict=False):
        out.append(max(h - lo, abs(h - before), abs(lo - before)))
    return out[: len(high)]


def atr(high: Column, low: Column, close: Column, period: int) -> list[float]:
    def compute(h: Column, lo: Column, c: Column) -> Lines:
        return (seeded(true_ranges(h, lo, c), period, 1 / period, start=1),)

    return dropping_gaps([high, low, close], compute)[0]


def bollinger(x: Column, period: int, width: float) -> Lines:
    middle = sma(x, period)

    def deviation(w: Column) -> float:
        return sqrt(fsum((v - mean(w)) ** 2 for v in w) / len(w))

    sigma = over(x, period, deviation)
    reach = [width * s for s in sigma]
    lower = [m - r for m, r in zip(middle, reach, strict=True)]
    upper = [m + r for m, r in zip(middle, reach, strict=True)]
    percent = [
        0.5 if r == 0 else (v - m) / (2 * r) + 0.5 for v, m, r in zip(x, middle, reach, strict=True)
    ]
    across = [2 * r / m for r, m in zip(reach, middle, strict=True)]
    return lower, middle, upper, percent, across, sigma


def range_position(high: Column, low: Column, close: Column, period: int) -> list[float]:
    """Return where the close lies between the window's lowest low (0) and highest high (1)."""
    out = []
    for top, bottom, c in zip(over(high, period, max), over(low, period, min), close, strict=True):
        flat = top == bottom and isfinite(c)
        out.append(0.5 if flat else (c - bottom) / (top - bottom) if top != bottom else nan)
    return out


def stochastic(high: Column, low: Column, close: Column, periods: tuple[int, int, int]) -> Lines:
    raw = [100 * p for p in range_position(high, low, close, periods[0])]
    k = sma(raw, periods[1])
    d = sma(k, periods[2])
    return [nan if isnan(b) else a for a, b in zip(k, d, strict=True)], d


def williams_r(high: Column, low: Column, close: Column, period: int) -> list[float]:
    return [100 * p - 100 for p in range_position(high, low, close, period)]


def cci(high: Column, low: Column, close: Column, period: int) -> list[float]:
    def index(w: Column) -> float:
        spread = fsum(abs(v - mean(w)) for v in w) / len(w)
        return 0.0 if len(set(w)) == 1 else (w[-1] - mean(w)) / (0.015 * spread)

    return over([(a + b + c) / 3 for a, b, c in zip(high, low, close, strict=True)], period, index)


def mfi(high: Column, low: Column, close: Column, volume: Column, period: int) -> list[float]:
    typical = [(a + b + c) / 3 for a, b, c in zip(high, low, close, strict=True)]

    def moved(j: int) -> bool:
        return not isclose(typical[j], typical[j - 1], rel_tol=2e-15)

    out = [nan] * min(period, len(typical))
    for i in range(period, len(typical)):
        bars = range(i - period + 1, i + 1)
        if not all(isfinite(typical[j] * volume[j] + typical[j - 1]) for j in bars):
            out.append(nan)
            continue
        up = fsum(typical[j] * volume[j] for j in bars if moved(j) and typical[j] > typical[j - 1])
        down = fsum(
            typical[j] * volume[j] for j in bars if moved(j) and typical[j] < typical[j - 1]
        )
        out.append(50.0 if up + down == 0 else 100 * up / (up + down))
    return out


def obv(close: Column, volume: Column) -> list[float]:
    def compute(c: Column, v: Column) -> Lines:
        out = list(v[:1])
        for i in range(1, len(c)):
            out.append(out[-1] + (v[i] if c[i] > c[i - 1] else -v[i] if c[i] < c[i - 1] else 0))
        return (out,)

    return dropping_gaps([close, volume], compute)[0]


def obv_change(close: Column, volume: Column, period: int) -> list[float]:
    out = [nan] * min(period, len(close))
    for i in range(period, len(close)):
        c, v = close[i - period : i + 1], volume[i - period : i + 1]
        if not all(map(isfinite, [*c, *v[1:]])):
            out.append(nan)
            continue
        balance = obv(c, [0.0, *v[1:]])
        out.append(0.0 if fsum(v[1:]) == 0 else balance[-1] / fsum(v[1:]))
    return out


def cmf(high: Column, low: Column, close: Column, volume: Column, period: int) -> list[float]:
    flow = [
        v * (nan if a + b + c != a + b + c else 0.0 if a == b else (2 * c - a - b) / (a - b))
        for a, b, c, v in zip(high, low, close, volume, strict=True)
    ]
    money, quantity = over(flow, period, fsum), over(volume, period, fsum)
    return [
        0.0 if b == 0 and not isnan(a) else a / b if b else nan
        for a, b in zip(money, quantity, strict=True)
    ]


def vwap(
    high: Column, low: Column, close: Column, volume: Column, session: Sequence[int]
) -> list[float]:
    out = []
    for i in range(len(close)):
        bars = [j for j in range(i + 1) if session[j] == session[i]]
        bars = [j for j in bars if isfinite(high[j] + low[j] + close[j] + volume[j])]
        quantity = fsum(volume[j] for j in bars)
        money = fsum((high[j] + low[j] + close[j]) / 3 * volume[j] for j in bars)
        out.append(money / quantity if quantity > 0 and i in bars else nan)
    return out


def adx(high: Column, low: Column, close: Column, period: int) -> Lines:
    def wilder_sum(x: Column) -> list[float]:
        out = [nan] * len(x)
        total = fsum(x[1:period])
        for i in range(period, len(x)):
            total = total - total / period + x[i]
            out[i] = total
        return out

    def compute(h: Column, lo: Column, c: Column) -> Lines:
        plus, minus = [nan], [nan]
        for i in range(1, len(c)):
            up, down = h[i] - h[i - 1], lo[i - 1] - lo[i]
            plus.append(up if up > down and up > 0 else 0.0)
            minus.append(down if down > up and down > 0 else 0.0)
        span = wilder_sum(true_ranges(h, lo, c))
        share = [
            [
                100 * m / s if s else 0.0
                for m, s in zip(wilder_sum(moves[: len(c)]), span, strict=True)
            ]
            for moves in (plus, minus)
        ]
        index = [
            0.0 if a + b == 0 else 100 * abs(a - b) / (a + b) for a, b in zip(*share, strict=True)
        ]
        return seeded(index, period, 1 / period, start=period), *share

    return dropping_gaps([high, low, close], compute)


def aroon(high: Column, low: Column, period: int) -> Lines:
    def recency(w: Column) -> float:
        return 100 * max(k for k, v in enumerate(w) if v == max(w)) / period

    up = over(high, period + 1, recency)
    down = over([-v for v in low], period + 1, recency)
    return up, down, [a - b for a, b in zip(up, down, strict=True)]
