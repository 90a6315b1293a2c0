"""What one candle does to the levels: the compiled half of ``levels``.

Belongs here: the steps of a candle, in order. Keep out: checks, copies and meaning for callers
(``levels`` has the rules in words), which levels a candle can reach (``level_ladders``), and where
things lie in memory (``level_layout``).
"""

import math
from typing import Final

from kernels.gate import Instants, Matrix, Series
from kernels.jit import compiled_borrowing, compiled_inline
from kernels.level_ladders import (
    by_birth,
    climb,
    close_up,
    leave,
    nearest,
    overdue,
    queue_up,
    reach,
    retest,
    standing,
)
from kernels.level_layout import (
    ACTIVE,
    BEFORE,
    BEFORE_HIGH,
    BEFORE_LOW,
    BEFORE_OPEN,
    BORN,
    BORN_TS,
    BREAK,
    BREAK_SHARE,
    BREAKING,
    BROKE,
    BROKEN,
    CONTACT,
    COUNTS,
    CURSOR,
    DEACTIVATE,
    DECAYS,
    DUE,
    EPISODE_GAP,
    EXPIRY_BARS,
    FLIP,
    FLIPPING,
    FREE,
    GOING,
    GONE,
    HALF_LIFE,
    IS_ORDERED,
    IS_PRICE_UNIT,
    KEPT,
    KIND,
    MAX_ACTIVE,
    MEMORY,
    NEW,
    PRICE,
    REBOUNDS,
    RESISTANCE,
    SPARE,
    STATUS,
    SUPPORT,
    TOUCH,
    TOUCHED,
    TOUCHES,
    TOUCHING,
    USED,
    WORTH,
    Book,
    Candle,
    Table,
)

_WIDEST: Final = 0.25  # share of the price

Prices = tuple[float, float, float, float]


@compiled_borrowing
def run(
    book: Book,
    bars: tuple[Series, Series, Series, Series, Instants],
    start: int,
    log: Table,
    context: Table,
) -> int:
    """Take candles from ``start`` on; return where it stopped (before the log could run over).

    The average true range of each candle is the first row of ``context``.
    """
    m, slots, _, who = book
    opens, highs, lows, closes, ts = bars
    room, end = log[0].shape[1] - 2 * slots.shape[0] - 2, ts.size
    before = m[BEFORE_OPEN], m[BEFORE_HIGH], m[BEFORE_LOW], m[BEFORE]
    for t in range(start, ts.size):
        if who[COUNTS, CURSOR] > room:
            end = t
            break
        now = (opens[t], highs[t], lows[t], closes[t])
        atr = context[0][0, t]
        if atr > 0.0:
            candle = (t, atr, now[1], now[2], now[3], before[3])
            _act(book, log, candle)
            going = overdue(book, t)
            by_birth(book, GOING, going)
            for k in range(going):
                _drop(book, log, candle, book[3][GOING, k])
            _create(book, log, candle, (before, now), ts[t])
            if m[USED] > m[MAX_ACTIVE]:
                _evict(book, log, candle)
        _write(book, context, t, now[3], 0)
        _write(book, context, t, now[3], 1)
        before = now
    m[BEFORE_OPEN], m[BEFORE_HIGH], m[BEFORE_LOW], m[BEFORE] = before
    return end


@compiled_borrowing
def load(book: Book) -> None:
    """Make the lists of the levels that a state brought, and what else follows from it."""
    m, slots, _, who = book
    used = int(m[USED])
    # the edges of bands in shares of the price come in the order of the prices, rounded too
    m[IS_ORDERED] = m[IS_PRICE_UNIT] == 0.0 or m[BREAK_SHARE] <= _WIDEST
    m[DUE] = -math.inf  # look at every level once
    for bars in range(DECAYS):
        m[MEMORY + bars] = _decay(m, bars)
    for j in range(used):
        slots[j, WORTH] = _worth(slots[j, TOUCHES], slots[j, REBOUNDS])
        if slots[j, STATUS] == ACTIVE:
            climb(book, j)
        else:
            queue_up(book, j)
    for j in range(slots.shape[0] - 1, used - 1, -1):
        who[FREE, who[COUNTS, SPARE]] = j
        who[COUNTS, SPARE] += 1


@compiled_borrowing
def save(book: Book, n: int, kept: Matrix) -> None:
    """Copy what a state carries of each level, by birth, with bars counted from bar ``n``."""
    slots, used = book[1], 0
    for j in range(slots.shape[0]):
        if slots[j, STATUS] == GONE:
            continue
        at = used
        while at > 0 and kept[at - 1, BORN] > slots[j, BORN] - n:
            for column in range(KEPT):
                kept[at, column] = kept[at - 1, column]
            at -= 1
        for column in range(KEPT):
            kept[at, column] = slots[j, column]
        kept[at, BORN] -= n
        kept[at, TOUCHED] -= n
        kept[at, CONTACT] -= n
        if kept[at, STATUS] == BROKEN:
            kept[at, BROKE] -= n
        used += 1


@compiled_inline
def _is_below(price: float, level: float, kind: float) -> bool:
    """Say on which side of a level a price lies; an equal one lies on the level's own side."""
    return price < level or (price == level and kind == RESISTANCE)


@compiled_inline
def _act(book: Book, log: Table, candle: Candle) -> None:
    """Do all breaks, then all flips, then all touches; each by birth."""
    m, slots, _, who = book
    t = candle[0]
    breaks, touches = reach(book, candle, 0, 0, 0)
    breaks, touches = reach(book, candle, 1, breaks, touches)
    flips = retest(book, candle)
    by_birth(book, BREAKING, breaks)
    for k in range(breaks):
        j = who[BREAKING, k]
        slots[j, BROKE] = t
        queue_up(book, j)
        _log(book, log, candle, j, BREAK + (slots[j, KIND] == RESISTANCE))
    by_birth(book, FLIPPING, flips)
    for k in range(flips):
        j = who[FLIPPING, k]
        slots[j, KIND], slots[j, STATUS] = -slots[j, KIND], ACTIVE
        slots[j, TOUCHED], slots[j, CONTACT], slots[j, BROKE] = t, t, 0.0
        m[DUE] = min(m[DUE], t + m[EXPIRY_BARS])
        climb(book, j)
        _log(book, log, candle, j, FLIP + (slots[j, KIND] == RESISTANCE))
    by_birth(book, TOUCHING, touches)
    for k in range(touches):
        _touch(book, log, candle, who[TOUCHING, k])


@compiled_inline
def _touch(book: Book, log: Table, candle: Candle, j: int) -> None:
    """Count a touch, and tell from which side it came."""
    slots = book[1]
    t, atr, _, _, close, before = candle
    slots[j, TOUCHED] = t
    slots[j, TOUCHES] += 1.0
    slots[j, REBOUNDS] += abs(close - slots[j, PRICE]) / atr
    slots[j, WORTH] = _worth(slots[j, TOUCHES], slots[j, REBOUNDS])
    is_from_above = not _is_below(before, slots[j, PRICE], slots[j, KIND])
    _log(book, log, candle, j, TOUCH + is_from_above)


@compiled_borrowing
def _drop(book: Book, log: Table, candle: Candle, j: int) -> None:
    """Tell that a level is over, and free its slot; it stands in no list any more."""
    m, slots, _, who = book
    is_below = _is_below(candle[4], slots[j, PRICE], slots[j, KIND])
    _log(book, log, candle, j, DEACTIVATE + is_below)
    slots[j, STATUS] = GONE
    who[FREE, who[COUNTS, SPARE]] = j
    who[COUNTS, SPARE] += 1
    m[USED] -= 1.0


@compiled_inline
def _create(book: Book, log: Table, candle: Candle, bars: tuple[Prices, Prices], ts: int) -> None:
    """Make the level of a turn between two candles, or count it as a contact of one that stands."""
    m, slots, _, who = book
    t, atr, _, _, close, _ = candle
    before, now = bars
    if (before[3] > before[0]) & (now[3] < now[0]):
        kind, price = RESISTANCE, max(before[1], now[1])
    elif (before[3] < before[0]) & (now[3] > now[0]):
        kind, price = SUPPORT, min(before[2], now[2])
    else:
        return
    found = standing(book, price, atr)
    if found >= 0:
        is_touch = t - slots[found, CONTACT] > m[EPISODE_GAP]
        slots[found, CONTACT] = t
        if is_touch:
            _touch(book, log, candle, found)
        return
    who[COUNTS, SPARE] -= 1
    m[USED] += 1.0
    m[DUE] = min(m[DUE], t + m[EXPIRY_BARS])
    j = who[FREE, who[COUNTS, SPARE]]
    slots[j, PRICE], slots[j, REBOUNDS] = price, abs(close - price) / atr
    slots[j, KIND], slots[j, STATUS], slots[j, BORN_TS] = kind, ACTIVE, ts
    slots[j, BORN], slots[j, TOUCHED], slots[j, CONTACT] = t, t, t
    slots[j, BROKE], slots[j, TOUCHES] = 0.0, 0.0
    slots[j, WORTH] = _worth(0.0, slots[j, REBOUNDS])
    climb(book, j)
    _log(book, log, candle, j, NEW + (kind == RESISTANCE))


@compiled_borrowing
def _evict(book: Book, log: Table, candle: Candle) -> None:
    """Drop the weakest level where there are too many, the oldest of equals."""
    m, slots, _, _ = book
    weakest, least = -1, math.inf
    for j in range(slots.shape[0]):
        if slots[j, STATUS] != GONE:
            strength = _strength(m, slots, candle[0], j)
            if strength < least or (strength == least and slots[j, BORN] < slots[weakest, BORN]):
                weakest, least = j, strength
    if slots[weakest, STATUS] == BROKEN:
        leave(book, weakest)
    else:
        slots[weakest, STATUS] = GONE
        close_up(book, 0 if slots[weakest, KIND] == RESISTANCE else 1, 0)
    _drop(book, log, candle, weakest)


@compiled_inline
def _worth(touches: float, rebounds: float) -> float:
    """Return a level's strength at the bar of its last touch."""
    evidence = 0.5 * touches + rebounds / (touches + 1.0)
    return 10.0 * (1.0 - math.exp(-evidence))


@compiled_inline
def _decay(m: Series, bars: int) -> float:
    """Return 2^(-bars / half-life)."""
    return math.exp(-(bars / m[HALF_LIFE]) * math.log(2.0))


@compiled_inline
def _strength(m: Series, slots: Matrix, t: int, j: int) -> float:
    bars = int(t - slots[j, TOUCHED])
    decay: float = m[MEMORY + bars] if bars < DECAYS else _decay(m, bars)
    strength: float = slots[j, WORTH] * decay
    return strength


@compiled_inline
def _log(book: Book, log: Table, candle: Candle, j: int, code: int) -> None:
    """Append an event, with how far the candle went beyond the level."""
    m, slots, _, who = book
    reals, wholes = log
    t, atr, high, low, close, _ = candle
    price, kind = slots[j, PRICE], slots[j, KIND]
    if code in (TOUCH, FLIP + 1):  # came from below
        beyond = high - price
    elif code in (TOUCH + 1, FLIP):
        beyond = price - low
    else:
        beyond = (close - price) * kind
    k = who[COUNTS, CURSOR]
    who[COUNTS, CURSOR] += 1
    wholes[0, k], wholes[1, k], wholes[2, k], wholes[3, k] = t, code, slots[j, BORN_TS], kind
    reals[0, k], reals[1, k] = price, math.nan if code < FLIP else max(beyond, 0.0) / atr
    reals[2, k], reals[3, k] = (close - price) / atr, _strength(m, slots, t, j)


@compiled_inline
def _write(book: Book, context: Table, t: int, close: float, side: int) -> None:
    """Write the nearest active level on one side of the close."""
    m, slots, _, _ = book
    reals, wholes = context
    j = nearest(book, close, side)
    if j < 0:
        reals[1 + 2 * side, t] = reals[2 + 2 * side, t] = math.nan
        for column in range(3):
            wholes[3 * side + column, t] = -1
        return
    reals[1 + 2 * side, t], reals[2 + 2 * side, t] = slots[j, PRICE], _strength(m, slots, t, j)
    wholes[3 * side, t] = slots[j, TOUCHES]
    wholes[3 * side + 1, t] = t - slots[j, BORN]
    wholes[3 * side + 2, t] = slots[j, BORN_TS]
