"""The slow, obvious twins of the strategies: what is wanted at each close, from the definitions."""

import math
from collections.abc import Callable, Sequence

NEAR = 1e-12
Line = Sequence[float]


def mean(x: Line) -> float:
    return math.fsum(x) / len(x)


def machine(
    n: int,
    wants: Callable[[int, int, int], int],
    direction: str,
) -> list[int]:
    """Return positions: ``wants(bar, position, bar of its signal)`` says what it should be."""
    out, side, signal = [], 0, 0
    for t in range(n):
        target = wants(t, side, signal)
        if (direction == "long" and target < 0) or (direction == "short" and target > 0):
            target = 0 if side * target < 0 else side
        if target != side:
            side, signal = target, t
        out.append(side)
    return out


def sma_crossover(close: Line, fast: int, slow: int, direction: str) -> list[int]:
    sides = []
    for t in range(len(close)):
        if t + 1 < slow:
            sides.append(0)
            continue
        a, b = mean(close[t + 1 - fast : t + 1]), mean(close[t + 1 - slow : t + 1])
        sides.append(0 if abs(a - b) <= NEAR * b else 1 if a > b else -1)
    first = next((s for s in sides if s), 0)
    crossed = next((t for t, s in enumerate(sides) if s * first < 0), len(close))

    def wants(t: int, side: int, _: int) -> int:
        return sides[t] if t >= crossed and sides[t] else side

    return machine(len(close), wants, direction)


def rsi(close: Line, period: int, method: str) -> list[float]:
    out = [math.nan] * len(close)
    gain = loss = 0.0
    for t in range(period, len(close)):
        moves = [close[i] - close[i - 1] for i in range(t - period + 1, t + 1)]
        if method == "cutler" or t == period:
            gain = mean([max(m, 0.0) for m in moves])
            loss = mean([max(-m, 0.0) for m in moves])
        else:
            gain = (gain * (period - 1) + max(moves[-1], 0.0)) / period
            loss = (loss * (period - 1) + max(-moves[-1], 0.0)) / period
        out[t] = 100.0 * gain / (gain + loss) if gain + loss > NEAR * close[t] else 50.0
    return out


def rsi_reversal(
    close: Line, period: int, bounds: tuple[float, float], method: str, direction: str
) -> list[int]:
    line = rsi(close, period, method)

    def wants(t: int, side: int, _: int) -> int:
        if line[t] < bounds[0] - 1e-10:
            return 1
        return -1 if line[t] > bounds[1] + 1e-10 else side

    return machine(len(close), wants, direction)


def bollinger_reversion(
    open_: Line, close: Line, period: int, width: float, direction: str
) -> list[int]:
    def score(t: int) -> float:
        window = close[t + 1 - period : t + 1]
        middle = mean(window)
        deviation = math.sqrt(mean([(x - middle) ** 2 for x in window]))
        return (close[t] - middle) / deviation if deviation > NEAR * middle else math.nan

    def wants(t: int, side: int, signal: int) -> int:
        if t + 1 < period or math.isnan(z := score(t)):
            return side
        if z <= -width * (1 - NEAR):
            return 1
        if z >= width * (1 - NEAR):
            return -1
        if side > 0 and z >= -NEAR and close[t] > open_[signal + 1]:
            return 0
        if side < 0 and z <= NEAR and close[t] < open_[signal + 1]:
            return 0
        return side

    return machine(len(close), wants, direction)


def donchian_breakout(
    high: Line, low: Line, close: Line, periods: tuple[int, int], direction: str
) -> list[int]:
    entry, leave = periods

    def wants(t: int, side: int, _: int) -> int:
        if t >= entry and close[t] > max(high[t - entry : t]) and direction != "short":
            return 1
        if t >= entry and close[t] < min(low[t - entry : t]) and direction != "long":
            return -1
        if side > 0 and t >= leave and close[t] < min(low[t - leave : t]):
            return 0
        if side < 0 and t >= leave and close[t] > max(high[t - leave : t]):
            return 0
        return side

    return machine(len(close), wants, direction)


def opening_range_breakout(
    high: Line, low: Line, close: Line, session: Sequence[int], bars: int, direction: str
) -> tuple[list[int], list[float], list[bool]]:
    n = len(close)
    last = [t + 1 < n and session[t + 1] != session[t] for t in range(n)]

    def wants(t: int, side: int, _: int) -> int:
        found = span(high, low, session, bars, t)
        if last[t] or found is None:
            return 0 if last[t] else side
        if close[t] > found[1] and direction != "short":
            return 1
        if close[t] < found[0] and direction != "long":
            return -1
        return side

    position = machine(n, wants, direction)
    stops = [math.nan] * n
    for t, side in enumerate(position):
        found = span(high, low, session, bars, t)
        if side and found is not None:
            stops[t] = found[0] if side > 0 else found[1]
    return position, stops, last


def span(
    high: Line, low: Line, session: Sequence[int], bars: int, t: int
) -> tuple[float, float] | None:
    """Return lowest and highest of the session's first bars, once there are so many."""
    start = t
    while start > 0 and session[start - 1] == session[t]:
        start -= 1
    if t - start + 1 < bars:
        return None
    return min(low[start : start + bars]), max(high[start : start + bars])
