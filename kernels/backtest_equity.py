"""Equity from trades: its value at each close, its returns' moments, its deepest fall.

Belongs here: passes over bars. Keep out: what is made of the sums (``performance_metrics``).

The curve is made and used up in pieces that stay in the cache, so a run needs no room for it unless
it is wanted whole.
"""

from typing import Final

import numpy as np

from kernels.backtest_trades import (
    BASE,
    ENTRY_BAR,
    ENTRY_PRICE,
    EQUITY,
    EXIT_BAR,
    QUANTITY,
    SIDE,
)
from kernels.blocks import U
from kernels.gate import Matrix, Series
from kernels.jit import compiled_ieee, compiled_inline, compiled_reassociated

RETURNS: Final = 0  # how many were added up; those left out are 0
FIRST: Final = 1  # sum of the returns, each less the one they are measured from
SECOND: Final = 2  # of the squares of that
THIRD: Final = 3
FOURTH: Final = 4
BELOW: Final = 5  # sum of the squares of returns below 0
PEAK: Final = 6
FLOOR: Final = 7  # lowest ratio of equity to its peak before
SUMS: Final = 8

PIECE: Final = 4096
_LANES: Final = 16  # bars marked together: the exact length of short loops cannot be predicted
_BLOCK: Final = 64  # bars whose extremes say whether one of them can be a new low point


@compiled_ieee
def followed(
    closes: Series,
    trades: Matrix,
    capital: float,
    about: float,
    path: Series,
    sums: Series,
) -> None:
    """Add up what ``sums`` holds over the equity curve, its returns measured from ``about``.

    ``path`` is room for the curve: as long as ``closes`` it takes all of it, shorter it is used
    again and again, and a bar that repeats the equity of the bar before is left out: its return is
    0, and drawdowns do not need it. It has room for ``_LANES`` and two more at least.
    """
    n = closes.size
    is_whole = path.size == n
    piece = min(PIECE, path.size)
    sums[:] = 0.0
    sums[PEAK], sums[FLOOR] = capital, 1.0
    count = trades.shape[0]
    size = since = used = 0
    equity = capital
    for k in range(count + 1):
        entry = n if k == count else int(trades[k, ENTRY_BAR])
        if entry > since:
            until = size + (entry - since if is_whole else 1)
            _marked(closes, since, (equity, 0.0, 0.0), path, size, until)
            size = until
        if k == count:
            break
        last = int(trades[k, EXIT_BAR])
        signed = trades[k, SIDE] * trades[k, QUANTITY]
        line = trades[k, BASE], signed, trades[k, ENTRY_PRICE]
        while entry < last:
            if size - used + 1 >= piece:
                used, size = _used(path, (used, size), n, about, sums)
            until = min(size + last - entry, used + piece)
            _marked(closes, entry, line, path, size, until)
            entry += until - size
            size = until
        if size - used + 1 >= piece:
            used, size = _used(path, (used, size), n, about, sums)
        equity, since = trades[k, EQUITY], last
    _use(path[used:size], about, sums)


@compiled_inline
def _marked(
    closes: Series,
    bar: int,
    line: tuple[float, float, float],
    path: Series,
    size: int,
    until: int,
) -> None:
    """Write equity from ``size`` until ``until``, of closes from ``bar`` on, and maybe beyond.

    What is beyond is written over. ``line`` is the equity at a price, what it gains with each
    higher one, and that price.
    """
    base, signed, fill = line
    most = min(closes.size - bar, path.size - size) - _LANES
    length, done = until - size, 0
    while done < length and done <= most:
        now, to = U(bar + done), U(size + done)
        for i in range(U(_LANES)):
            path[i + to] = base + signed * (closes[i + now] - fill)
        done += _LANES
    for i in range(done, length):
        path[size + i] = base + signed * (closes[bar + i] - fill)


@compiled_ieee
def _used(
    path: Series, piece: tuple[int, int], n: int, about: float, sums: Series
) -> tuple[int, int]:
    """Use up a piece of the curve; return from where to where the next one is until now.

    It begins with the last value of this one: there, where the path takes the curve of all n bars.
    """
    used, size = piece
    _use(path[used:size], about, sums)
    if path.size == n:
        return size - 1, size
    path[0] = path[size - 1]
    return 0, 1


@compiled_ieee
def _use(piece: Series, about: float, sums: Series) -> None:
    if piece.size == 0:
        return
    s1, s2, s3, s4, below = _moments(piece, about)
    sums[RETURNS] += piece.size - 1.0
    sums[FIRST] += s1
    sums[SECOND] += s2
    sums[THIRD] += s3
    sums[FOURTH] += s4
    sums[BELOW] += below
    _sink(piece, sums)


@compiled_reassociated
def _moments(piece: Series, about: float) -> tuple[float, float, float, float, float]:
    s1 = s2 = s3 = s4 = below = 0.0
    now, before = piece[1:], piece[: piece.size - 1]
    for i in range(now.size):
        share = (now[i] - before[i]) / before[i]
        r = share if now[i] != before[i] else 0.0  # where nothing is left, nothing is lost
        d = r - about
        square = d * d
        s1 += d
        s2 += square
        s3 += square * d
        s4 += square * square
        loss = min(0.0, r)
        below += loss * loss
    return s1, s2, s3, s4, below


@compiled_ieee
def _sink(piece: Series, sums: Series) -> None:
    """Carry the peak and the lowest ratio to it through a piece of the curve.

    A block that makes no new high is judged by its lowest bar, and one that does is walked only if
    that, below its highest, could be a new deepest one. Floats above 0 are ordered as their bits
    are: as integers, extremes vectorise without a word on NaN.
    """
    bits = piece.view(np.int64)
    peak, floor = sums[PEAK], sums[FLOOR]
    whole = piece.size - piece.size % _BLOCK
    for start in range(0, whole, _BLOCK):
        block = bits[start : start + _BLOCK]
        low = high = block[0]
        for i in range(_BLOCK):
            low = min(low, block[i])
            high = max(high, block[i])
        highest, lowest = np.int64(high).view(np.float64), np.int64(low).view(np.float64)
        if low >= 0 and highest <= peak:
            floor = min(floor, lowest / peak)
        elif low < 0 or lowest < highest * floor:
            floor = _walked(piece[start : start + _BLOCK], peak, floor)
        peak = max(peak, highest)
    sums[FLOOR] = _walked(piece[whole:], peak, floor)
    for i in range(whole, piece.size):
        peak = max(peak, piece[i])
    sums[PEAK] = peak


@compiled_ieee
def _walked(piece: Series, peak: float, floor: float) -> float:
    for i in range(piece.size):
        peak = max(peak, piece[i])
        if piece[i] < peak * floor:
            floor = min(floor, piece[i] / peak)
    return floor
