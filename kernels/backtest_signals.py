"""Conditions at each bar's close, as bits of a byte, and the position that follows from them.

Belongs here: what a strategy compares, and the machine that turns conditions into orders. Keep out:
indicators, which come from their own kernels, and fills.

Eight bars of conditions are one machine word, so eight quiet bars are passed over at once.
Values within 1e-12 of each other, relative, count as equal wherever they were computed: a crossing
that is made of rounding is none.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from kernels.backtest_orders import AT_CLOSE
from kernels.backtest_words import (
    EVERY_BYTE,
    NOTHING,
    Words,
    after_byte,
    changed,
    changes,
    eventful,
    first_byte,
)
from kernels.gate import Matrix, Series
from kernels.jit import compiled

Codes = npt.NDArray[np.uint8]

ENTER_LONG: Final = 1
EXIT_LONG: Final = 2
ENTER_SHORT: Final = 4
EXIT_SHORT: Final = 8
TAKE_LONG: Final = 16  # exit, if the close is above the open at which the long was filled
TAKE_SHORT: Final = 32  # exit, if the close is below the open at which the short was filled
SESSION_END: Final = 64

DIRECTIONS: Final = {
    "long": ENTER_LONG | EXIT_LONG | TAKE_LONG | SESSION_END,
    "short": ENTER_SHORT | EXIT_SHORT | TAKE_SHORT | SESSION_END,
    "both": 127,
}
"""Which conditions count, by the sides that may be taken."""

CROSSOVER: Final = 0
REVERSAL: Final = 1
REVERSION: Final = 2
BREAKOUT: Final = 3
OPENING_RANGE: Final = 4

ENDS: Final = 1.0
"""A bar that is its session's last by the calendar, known beforehand."""

BREAKS_OFF: Final = 0.5
"""A bar that is followed by another session's, which nobody knew at its close."""

_NEAR: Final = 1e-12
_TAKE_LONGS: Final = np.uint64(TAKE_LONG) * EVERY_BYTE
_TAKE_SHORTS: Final = np.uint64(TAKE_SHORT) * EVERY_BYTE
_TAKES: Final = _TAKE_LONGS | _TAKE_SHORTS


@compiled
def conditions(
    kind: int, rows: Matrix, index: npt.NDArray[np.int64], levels: Series, mask: int, out: Words
) -> None:
    """Write the conditions of one combination: rows of indicators by ``index``, and ``levels``.

    ``rows`` end with the close; of an opening range the ends of sessions come before it.
    """
    codes = out.view(np.uint8)
    close = rows[rows.shape[0] - 1]
    if kind == CROSSOVER:
        crossover(rows[index[0]], rows[index[1]], mask, codes)
    elif kind == REVERSAL:
        reversal(rows[index[0]], levels[0], levels[1], mask, codes)
    elif kind == REVERSION:
        reversion(rows[index[0]], levels[0], mask, codes)
    elif kind == BREAKOUT:
        entry, leave = index[0], index[1]
        breakout(close, (rows[entry], rows[entry + 1]), (rows[leave], rows[leave + 1]), mask, codes)
    else:
        ends = rows[rows.shape[0] - 2]
        opening_range(close, rows[index[0]], rows[index[0] + 1], ends, mask, codes)


@compiled
def crossover(fast: Series, slow: Series, mask: int, codes: Codes) -> None:
    """Long from where ``fast`` rises above ``slow``, short from where it falls below.

    The first side that is seen is where it came from, and no crossing.
    """
    sides(fast, slow, mask, codes)
    forget_first(codes[: fast.size])


@compiled
def sides(fast: Series, slow: Series, mask: int, codes: Codes) -> None:
    """Write on which side of ``slow`` each bar's ``fast`` lies; nothing where they are equal."""
    above = np.uint8((ENTER_LONG | EXIT_SHORT) & mask)
    below = np.uint8((ENTER_SHORT | EXIT_LONG) & mask)
    none = np.uint8(0)
    for i in range(fast.size):
        gap = fast[i] - slow[i]
        near = _NEAR * slow[i]
        codes[i] = (above if gap > near else none) | (below if gap < -near else none)


@compiled
def forget_first(codes: Codes) -> None:
    """Clear the first side that is seen, up to where the other one is."""
    none = first = np.uint8(0)
    for i in range(codes.size):
        if first == none:
            first = codes[i]
        elif codes[i] and codes[i] != first:
            break
        codes[i] = none


@compiled
def reversal(rsi: Series, lower: float, upper: float, mask: int, codes: Codes) -> None:
    """Long from below ``lower``, short from above ``upper``; each ends the other."""
    low = np.uint8((ENTER_LONG | EXIT_SHORT) & mask)
    high = np.uint8((ENTER_SHORT | EXIT_LONG) & mask)
    none = np.uint8(0)
    under, over = lower - 100.0 * _NEAR, upper + 100.0 * _NEAR
    for i in range(rsi.size):
        codes[i] = (low if rsi[i] < under else none) | (high if rsi[i] > over else none)


@compiled
def reversion(score: Series, width: float, mask: int, codes: Codes) -> None:
    """Long from ``width`` deviations below the mean, until as many above or a gain at the mean."""
    low = np.uint8((ENTER_LONG | EXIT_SHORT) & mask)
    high = np.uint8((ENTER_SHORT | EXIT_LONG) & mask)
    at_least = np.uint8(TAKE_LONG & mask)
    at_most = np.uint8(TAKE_SHORT & mask)
    none = np.uint8(0)
    reach = width * (1.0 - _NEAR)
    for i in range(score.size):
        z = score[i]
        outside = (low if z <= -reach else none) | (high if z >= reach else none)
        middle = (at_least if z >= -_NEAR else none) | (at_most if z <= _NEAR else none)
        codes[i] = outside | middle


@compiled
def breakout(
    close: Series,
    entry: tuple[Series, Series],
    leave: tuple[Series, Series],
    mask: int,
    codes: Codes,
) -> None:
    """Long from above the entry channel until below the exit channel; short mirrored.

    A channel is (lower, upper) with this bar among its bars; the one of the bar before counts.
    """
    n = close.size
    if n:
        codes[0] = 0
    floor, ceiling = entry
    support, resistance = leave
    now, then = close[1:], codes[1:n]
    none = np.uint8(0)
    up, down = np.uint8(ENTER_LONG & mask), np.uint8(ENTER_SHORT & mask)
    out, cover = np.uint8(EXIT_LONG & mask), np.uint8(EXIT_SHORT & mask)
    for i in range(n - 1):
        p = now[i]
        enter = (up if p > ceiling[i] else none) | (down if p < floor[i] else none)
        end = (out if p < support[i] else none) | (cover if p > resistance[i] else none)
        then[i] = enter | end


@compiled
def opening_range(
    close: Series, low: Series, high: Series, end: Series, mask: int, codes: Codes
) -> None:
    """Long from above the session's opening range, short from below; none at the session's end.

    Where a session breaks off, what is held leaves at the next session's first open, and what is
    not is not entered there.
    """
    up, down = np.uint8(ENTER_LONG & mask), np.uint8(ENTER_SHORT & mask)
    leave = np.uint8((EXIT_LONG | EXIT_SHORT) & mask)
    over, none = np.uint8(SESSION_END), np.uint8(0)
    for i in range(close.size):
        enter = (up if close[i] > high[i] else none) | (down if close[i] < low[i] else none)
        inside = leave if end[i] == BREAKS_OFF else enter
        codes[i] = over if end[i] == ENDS else inside


@compiled
def ordered(
    conditions_: Words,
    opens: Series,
    closes: Series,
    bars: npt.NDArray[np.int64],
    targets: npt.NDArray[np.int8],
) -> int:
    """Write the orders that follow from the conditions; return how many.

    Each is the bar at whose close it is given and the position that it aims at, ``AT_CLOSE`` where
    a session ends. An entry outranks an exit, so a strategy that takes both sides turns at once.
    Conditions that repeat those of the bar before change nothing, but for those of taking a gain.
    """
    seen = NOTHING
    for place in range(conditions_.size):
        seen |= conditions_[place]
    if seen & _TAKES != NOTHING:
        return _walked(conditions_, opens, closes, bars, targets)
    return _looked_up(conditions_, bars, targets, closes.size)


@compiled
def _looked_up(
    conditions_: Words, bars: npt.NDArray[np.int64], targets: npt.NDArray[np.int8], n: int
) -> int:
    """Write the orders where no gain is taken: of each change, by what is held and wanted alone.

    Without a branch, which could not be predicted: a million bars and 55,000 orders, 0.5 ms in
    place of 2.1.
    """
    codes = conditions_.view(np.uint8)
    follows = np.empty((3, SESSION_END + 16), dtype=np.int8)  # held, conditions
    for side in range(-1, 2):
        for code in range(follows.shape[1]):
            follows[side + 1, code] = _target(side, code, 0.0, 0.0)
    count = side = 0
    for k in range(changes(conditions_, n, bars)):  # which are written over where they are read
        i = bars[k]
        target = follows[side + 1, codes[i]]
        bars[count] = i
        targets[count] = target
        count += target != side
        side = 0 if target == AT_CLOSE else target
    return count


@compiled
def _walked(
    conditions_: Words,
    opens: Series,
    closes: Series,
    bars: npt.NDArray[np.int64],
    targets: npt.NDArray[np.int8],
) -> int:
    """Write the orders where gains are taken, which depends on the prices of each bar held."""
    places = np.empty(conditions_.size, dtype=np.int64)
    n = closes.size
    count = side = signal = 0
    relevant = ENTER_LONG | ENTER_SHORT
    takes = NOTHING
    for k in range(eventful(conditions_, _TAKES, places)):
        place = places[k]
        word = conditions_[place]
        new = changed(word, conditions_[place - 1] if place else NOTHING, _TAKES)
        rest = ~NOTHING
        while (new | (word & takes)) & rest != NOTHING:
            within = first_byte((new | (word & takes)) & rest)
            rest = after_byte(within)
            code = int(word >> np.uint64(8 * within)) & relevant
            if code == 0:
                continue
            i = 8 * place + within
            target = _target(side, code, closes[i], opens[min(signal + 1, n - 1)])
            if target == side:
                continue
            bars[count] = i
            targets[count] = target
            count += 1
            signal = i
            side = 0 if target == AT_CLOSE else target
            relevant, takes = ENTER_LONG | ENTER_SHORT, NOTHING
            if side == 1:
                relevant, takes = ENTER_SHORT | EXIT_LONG | TAKE_LONG | SESSION_END, _TAKE_LONGS
            elif side == -1:
                relevant, takes = ENTER_LONG | EXIT_SHORT | TAKE_SHORT | SESSION_END, _TAKE_SHORTS
    return count


@compiled
def _target(side: int, code: int, close: float, filled: float) -> int:
    if code & SESSION_END:
        return AT_CLOSE
    if code & ENTER_LONG and side != 1:
        return 1
    if code & ENTER_SHORT and side != -1:
        return -1
    if side == 1 and (code & EXIT_LONG or (code & TAKE_LONG and close > filled)):
        return 0
    if side == -1 and (code & EXIT_SHORT or (code & TAKE_SHORT and close < filled)):
        return 0
    return side
