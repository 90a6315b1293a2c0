"""The arithmetic of ``momentum``, a block of bars at a time.

Belongs here: two recurrences that go in step, and what is made of them on the way. How one goes is
in ``recurrences``.
"""

import numpy as np

from kernels.blocks import U
from kernels.gate import Series
from kernels.jit import compiled_borrowing, compiled_inline
from kernels.recurrences import AHEAD, BEHIND, Lane, ahead, begin, powers, turn_page


@compiled_borrowing
def moves(
    close: Series, at: int, count: int, before: float, rising: Series, falling: Series
) -> int:
    """Write how far each bar rose or fell; return how many prices are not finite."""
    first, to = U(at), U(BEHIND + 1)
    missing = 0
    if count:
        change = close[at] - before  # NaN for the series' first bar, which rises and falls by 0
        rising[BEHIND] = max(0.0, change)
        falling[BEHIND] = -change if change < 0.0 else 0.0
        missing += not abs(close[at]) < np.inf
    for i in range(U(max(count - 1, 0))):
        price = close[i + first + U(1)]
        change = price - close[i + first]
        missing += not abs(price) < np.inf
        rising[i + to] = max(0.0, change)
        falling[i + to] = -change if change < 0.0 else 0.0
    return missing


@compiled_borrowing
def advance_strength(up: Lane, down: Lane, count: int, out: Series, at: int) -> None:
    """Advance the averages of gains and losses, and write 100 times the gain's share of both.

    Two recurrences take the time of one, which only waits.
    """
    rising, gains, work, period, weight, own = up
    falling, losses, work_2, _, _, own_2 = down
    first = 0
    if own[0] < period + AHEAD:
        first = begin(up, count)
        begin(down, count)
        for i in range(first):
            out[at + i] = strength(gains[AHEAD + i], losses[AHEAD + i])
    q, q2, q4, q8 = powers(weight)
    to = U(at)
    if first < count:
        for i in range(U(first), U(count + 6)):
            work[i] = weight * (rising[i + U(1)] + q * rising[i])
            work_2[i] = weight * (falling[i + U(1)] + q * falling[i])
        for i in range(U(first), U(count)):
            gain = ahead(work, i, q2, q4) + q8 * gains[i]
            loss = ahead(work_2, i, q2, q4) + q8 * losses[i]
            gains[i + U(8)] = gain
            losses[i + U(8)] = loss
            out[i + to] = strength(gain, loss)
        own[0] += count - first
        own_2[0] += count - first
    turn_page(up, count)
    turn_page(down, count)


@compiled_inline
def strength(gain: float, loss: float) -> float:
    """Return 100 times the gain's share of what moved; 50 where nothing did."""
    moved = gain + loss
    return 50.0 if moved == 0.0 else 100.0 * (gain / moved)


@compiled_borrowing
def advance_gaps(of_fast: Lane, of_slow: Lane, count: int, gaps: Series) -> int:
    """Advance both averages and write how far the fast one is above, from ``gaps[BEHIND]``.

    Return how many bars came before the slow one was known.
    """
    prices, quick, work, _, weight, own = of_fast
    _, steady, work_2, slow, weight_2, own_2 = of_slow
    waiting = min(max(slow - 1 - int(own_2[0]), 0), count)
    first = 0
    if own_2[0] < slow + AHEAD:
        first = begin(of_fast, count)
        begin(of_slow, count)
        for i in range(waiting, first):
            gaps[BEHIND + i - waiting] = quick[AHEAD + i] - steady[AHEAD + i]
    q, q2, q4, q8 = powers(weight)
    r, r2, r4, r8 = powers(weight_2)
    if first < count:
        for i in range(U(first), U(count + 6)):
            before, price = prices[i], prices[i + U(1)]
            work[i] = weight * (price + q * before)
            work_2[i] = weight_2 * (price + r * before)
        begun, to = U(first), U(BEHIND + first - waiting)
        for k in range(U(count - first)):
            j = k + begun
            high = ahead(work, j, q2, q4) + q8 * quick[j]
            low = ahead(work_2, j, r2, r4) + r8 * steady[j]
            quick[j + U(8)] = high
            steady[j + U(8)] = low
            gaps[k + to] = high - low
        own[0] += count - first
        own_2[0] += count - first
    turn_page(of_fast, count)
    for i in range(AHEAD):
        steady[i] = steady[count + i]
    return waiting


@compiled_borrowing
def advance_lines(  # noqa: PLR0913, PLR0917 - a lane, how far, three lines out
    of_signal: Lane,
    waiting: int,
    count: int,
    line: Series,
    average: Series,
    histogram: Series,
    at: int,
) -> None:
    """Advance the average of the gaps and write the three lines, NaN until it is known."""
    gaps, smoothed, work, period, weight, own = of_signal
    known, begun = count - waiting, at + waiting
    for i in range(at, begun):
        line[i] = average[i] = histogram[i] = np.nan
    first = begin(of_signal, known) if own[0] < period + AHEAD else 0
    for i in range(first):
        y, gap = smoothed[AHEAD + i], gaps[BEHIND + i]
        average[begun + i], histogram[begun + i] = y, gap - y
        line[begun + i] = gap if y == y else y  # noqa: PLR0124 - NaN
    q, q2, q4, q8 = powers(weight)
    to = U(begun)
    if first < known:
        for i in range(U(first), U(known + 6)):
            work[i] = weight * (gaps[i + U(1)] + q * gaps[i])
        for i in range(U(first), U(known)):
            y, gap = ahead(work, i, q2, q4) + q8 * smoothed[i], gaps[i + U(BEHIND)]
            smoothed[i + U(8)] = y
            average[i + to] = y
            histogram[i + to] = gap - y
            line[i + to] = gap
        own[0] += known - first
    turn_page(of_signal, known)
