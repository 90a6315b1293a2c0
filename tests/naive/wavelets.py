"""The slow, obvious twin of ``kernels.wavelets``: sums over spans, each written out.

Haar's transform is made of differences of block means. By induction on the recurrence, a_j[t] is
the mean of the last 2**j values, and d_j[t] half the gap between the newer and the older half of
those; that is what is computed here, directly.
"""

from collections.abc import Sequence
from math import fsum, log, nan

Column = Sequence[float]


def block_mean(x: Column, end: int, length: int) -> float:
    """Return the mean of the ``length`` values up to and including ``end``."""
    return fsum(x[end - length + 1 : end + 1]) / length if end >= length - 1 else nan


def haar(x: Column, levels: int) -> tuple[list[list[float]], list[float]]:
    """Return details by level and the approximation."""
    details = []
    for j in range(1, levels + 1):
        half = 2 ** (j - 1)
        details.append(
            [0.5 * (block_mean(x, t, half) - block_mean(x, t - half, half)) for t in range(len(x))]
        )
    return details, [block_mean(x, t, 2**levels) for t in range(len(x))]


def modwt(
    x: Column, low: Column, high: Column, levels: int
) -> tuple[list[list[float]], list[list[float]]]:
    """Return details and smooths by level, of filters that begin with the newest bar."""
    details, smooths = [], [list(x)]
    for j in range(levels):
        details.append(filtered(smooths[-1], high, 2**j))
        smooths.append(filtered(smooths[-1], low, 2**j))
    return details, smooths[1:]


def filtered(x: Column, factors: Column, step: int) -> list[float]:
    """Return the sum of the factors times every ``step``-th value back from each one."""
    reach = (len(factors) - 1) * step
    return [
        fsum(f * x[t - k * step] for k, f in enumerate(factors)) if t >= reach else nan
        for t in range(len(x))
    ]


def haar_window(x: Column, levels: int, window: int) -> list[dict[str, float]]:
    """Return the numbers of each bar's window; an empty dict where they are not defined."""
    details, rest = haar(x, levels)
    out: list[dict[str, float]] = []
    for t in range(len(x)):
        start = t - window + 1
        if start < 2**levels - 1:
            out.append({})
            continue
        energies = [fsum(d * d for d in row[start : t + 1]) for row in details]
        whole = fsum(energies)
        if whole == 0:
            out.append({})
            continue
        shares = [e / whole for e in energies]
        middle = (window - 1) / 2
        y = rest[start : t + 1]
        rise = fsum((k - middle) * v for k, v in enumerate(y))
        slow = fsum(energies[levels // 2 :])
        out.append(
            {
                "entropy": -fsum(p * log(p) for p in shares if p > 0) / log(levels),
                "dominant": 1.0 + energies.index(max(energies)),
                "fast_slow": fsum(energies[: levels // 2]) / slow if slow else nan,
                "slope": rise / fsum((k - middle) ** 2 for k in range(window)),
                **{f"share_{j}": p for j, p in enumerate(shares, 1)},
            }
        )
    return out
