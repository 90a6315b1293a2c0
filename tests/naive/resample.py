"""The slow, obvious twin of ``kernels.resample``: dictionaries and loops, from the definition."""

from collections.abc import Sequence

Bar = tuple[int, float, float, float, float, float]
"""ts, open, high, low, close, volume."""


def resample(bars: Sequence[Bar], intervals: Sequence[tuple[int, int]]) -> list[tuple[Bar, int]]:
    """Return (bar, number of bars inside) for every interval [open, end) that holds a bar."""
    made = []
    for start, end in intervals:
        inside = [bar for bar in bars if start <= bar[0] < end]
        if not inside:
            continue
        volume = 0.0
        for bar in inside:
            volume += bar[5]
        highest = max(bar[2] for bar in inside)
        lowest = min(bar[3] for bar in inside)
        made.append(((start, inside[0][1], highest, lowest, inside[-1][4], volume), len(inside)))
    return made
