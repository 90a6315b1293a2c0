"""Slow, obvious twins of the channels and trailing stops, from their definitions."""

from math import isnan, nan

from tests.naive import indicators
from tests.naive.indicators import Column, Lines


def donchian(high: Column, low: Column, period: int) -> Lines:
    upper = indicators.over(high, period, max)
    lower = indicators.over(low, period, min)
    return lower, [(u + d) / 2 for u, d in zip(upper, lower, strict=True)], upper


def ichimoku(high: Column, low: Column, conversion: int, base: int, span: int) -> Lines:
    quick, steady, slow = (donchian(high, low, p)[1] for p in (conversion, base, span))
    return quick, steady, [(a + b) / 2 for a, b in zip(quick, steady, strict=True)], slow


def keltner(
    bars: tuple[Column, Column, Column], period: int, atr_period: int, width: float
) -> Lines:
    def compute(high: Column, low: Column, close: Column) -> Lines:
        middle = indicators.ema(close, period)
        reach = [width * r for r in indicators.atr(high, low, close, atr_period)]
        lower = [m - r for m, r in zip(middle, reach, strict=True)]
        upper = [m + r for m, r in zip(middle, reach, strict=True)]
        shown = [nan if isnan(r) else m for m, r in zip(middle, reach, strict=True)]
        return lower, shown, upper

    return indicators.dropping_gaps(bars, compute)


def supertrend(bars: tuple[Column, Column, Column], period: int, width: float) -> Lines:
    """Return line and direction: the final bands first, then which of them is in force."""

    def compute(high: Column, low: Column, close: Column) -> Lines:
        n = len(close)
        ranges = indicators.atr(high, low, close, period)
        middle = [(h + d) / 2 for h, d in zip(high, low, strict=True)]
        upper, lower, line, direction = ([nan] * n for _ in range(4))
        for i in range(period, n):
            upper[i] = middle[i] + width * ranges[i]
            lower[i] = middle[i] - width * ranges[i]
            if i > period:
                if close[i - 1] <= upper[i - 1]:
                    upper[i] = min(upper[i], upper[i - 1])
                if close[i - 1] >= lower[i - 1]:
                    lower[i] = max(lower[i], lower[i - 1])
            was_up = direction[i - 1] == 1.0 if i > period else close[i] >= middle[i]
            direction[i] = 1.0 if close[i] > (lower[i] if was_up else upper[i]) else -1.0
            line[i] = lower[i] if direction[i] == 1.0 else upper[i]
        return line, direction

    return indicators.dropping_gaps(bars, compute)
