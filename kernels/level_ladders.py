"""Which levels a candle can reach: the ladders of active levels, the queue of broken ones.

Belongs here: finding levels, and keeping the lists in order. Keep out: what happens to those found
(``level_machine``), and where the lists lie (``level_layout``).

Active levels stand in two ladders sorted by price, so a candle looks at those near it and stops at
the first that it does not reach. A support is a resistance to negated prices: both ladders obey
the same lines, to the bit.
"""

import math

from kernels.gate import Matrix
from kernels.jit import compiled_inline
from kernels.level_layout import (
    ACTIVE,
    BORN,
    BREAK_SHARE,
    BREAKING,
    BROKE,
    BROKEN,
    CONTACT,
    DUE,
    EPISODE_GAP,
    EXPIRY_BARS,
    FLIP_BARS,
    FLIPPING,
    GOING,
    GONE,
    IS_ORDERED,
    IS_PRICE_UNIT,
    KIND,
    LADDER_PRICE,
    LADDER_SLOT,
    PICKED,
    PRICE,
    QUEUE_BROKE,
    QUEUE_KIND,
    QUEUE_PRICE,
    QUEUE_SLOT,
    RESISTANCE,
    RESISTANCES,
    STATUS,
    SUPPORT,
    TOUCH_SHARE,
    TOUCHED,
    TOUCHING,
    WAITING,
    Book,
    Candle,
)


@compiled_inline
def climb(book: Book, j: int) -> None:
    """Put a level on the ladder of its kind, at its place."""
    m, slots, lists = book
    side = 0 if slots[j, KIND] == RESISTANCE else 1
    prices, who = LADDER_PRICE + 2 * side, LADDER_SLOT + 2 * side
    price, at = slots[j, PRICE] * slots[j, KIND], int(m[RESISTANCES + side])
    while at > 0 and lists[prices, at - 1] < price:
        lists[prices, at], lists[who, at] = lists[prices, at - 1], lists[who, at - 1]
        at -= 1
    lists[prices, at], lists[who, at] = price, j
    m[RESISTANCES + side] += 1.0


@compiled_inline
def close_up(book: Book, side: int, start: int) -> None:
    """Close up a ladder from ``start`` to its top over levels that are active no more."""
    m, slots, lists = book
    prices, who = LADDER_PRICE + 2 * side, LADDER_SLOT + 2 * side
    kept = start
    for at in range(start, int(m[RESISTANCES + side])):
        lists[prices, kept], lists[who, kept] = lists[prices, at], lists[who, at]
        kept += slots[int(lists[who, at]), STATUS] == ACTIVE
    m[RESISTANCES + side] = kept


@compiled_inline
def queue_up(book: Book, j: int) -> None:
    """Put a broken level into the queue: at its end, if it is not older."""
    m, slots, lists = book
    at = int(m[WAITING])
    while at > 0 and lists[QUEUE_BROKE, at - 1] > slots[j, BROKE]:
        _move(lists, at - 1, at)
        at -= 1
    lists[QUEUE_SLOT, at], lists[QUEUE_PRICE, at] = j, slots[j, PRICE]
    lists[QUEUE_KIND, at], lists[QUEUE_BROKE, at] = slots[j, KIND], slots[j, BROKE]
    m[WAITING] += 1.0


@compiled_inline
def leave(book: Book, j: int) -> None:
    """Take a level out of the queue."""
    m, _, lists = book
    kept = 0
    for k in range(int(m[WAITING])):
        _move(lists, k, kept)
        kept += lists[QUEUE_SLOT, k] != j
    m[WAITING] = kept


@compiled_inline
def _move(lists: Matrix, source: int, target: int) -> None:
    for row in range(QUEUE_SLOT, QUEUE_BROKE + 1):
        lists[row, target] = lists[row, source]


@compiled_inline
def by_birth(book: Book, row: int, n: int) -> None:
    """Sort a list of slots by birth, which is by level id."""
    _, slots, lists = book
    for k in range(1, n):
        j, at = lists[row, k], k
        while at > 0 and slots[int(lists[row, at - 1]), BORN] > slots[int(j), BORN]:
            lists[row, at] = lists[row, at - 1]
            at -= 1
        lists[row, at] = j


@compiled_inline
def reach(book: Book, candle: Candle, side: int, breaks: int, touches: int) -> tuple[int, int]:
    """List which active levels of one kind break, taking them off the ladder, or are touched.

    A contact within an episode that is still open is kept in mind, and is no touch. The loop does
    not branch on what cannot be foretold: a processor that guesses wrong loses more than it costs.
    """
    m, slots, lists = book
    t, atr, high, low, close, _ = candle
    if side:
        high, low, close = -low, -high, -close
    touch, break_, gap = m[TOUCH_SHARE], m[BREAK_SHARE], m[EPISODE_GAP]
    is_share, is_ordered = m[IS_PRICE_UNIT] != 0.0, m[IS_ORDERED] != 0.0
    at, before = int(m[RESISTANCES + side]) - 1, breaks
    while at >= 0:
        price = lists[LADDER_PRICE + 2 * side, at]
        unit = abs(price) if is_share else atr
        width = touch * unit
        is_reached = high >= price - width
        if is_ordered and not is_reached:
            break  # nor are those behind it
        j = int(lists[LADDER_SLOT + 2 * side, at])
        is_break = is_reached & (close - price > break_ * unit)
        is_near = is_reached & (low <= price + width) & (not is_break)
        contact = slots[j, CONTACT]
        slots[j, CONTACT] = t if is_near else contact
        slots[j, STATUS] = BROKEN if is_break else ACTIVE
        lists[BREAKING, breaks] = lists[TOUCHING, touches] = j
        breaks += is_break
        touches += is_near & (t - contact > gap)
        at -= 1
    if breaks > before:
        close_up(book, side, at + 1)
    return breaks, touches


@compiled_inline
def retest(book: Book, candle: Candle) -> int:
    """List which broken levels flip, taking them out of the queue."""
    m, _, lists = book
    t, atr, high, low, close, before = candle
    waiting, flips = int(m[WAITING]), 0
    touch, is_share, flip_bars = m[TOUCH_SHARE], m[IS_PRICE_UNIT] != 0.0, m[FLIP_BARS]
    for k in range(waiting):
        price, kind = lists[QUEUE_PRICE, k], lists[QUEUE_KIND, k]
        width = touch * (abs(price) if is_share else atr)
        lists[PICKED, flips] = k
        flips += (
            (low <= price + width)
            & (high >= price - width)
            & ((close - price) * kind > 0.0)
            & ((before - price) * kind > 0.0)
            & (t - lists[QUEUE_BROKE, k] <= flip_bars)
        )
    if flips:
        lists[PICKED, flips] = waiting
        kept = int(lists[PICKED, 0])
        for i in range(flips):
            picked = int(lists[PICKED, i])
            lists[FLIPPING, i] = lists[QUEUE_SLOT, picked]
            for k in range(picked + 1, int(lists[PICKED, i + 1])):
                _move(lists, k, kept)
                kept += 1
        m[WAITING] = kept
    return flips


@compiled_inline
def overdue(book: Book, t: int) -> int:
    """List which levels waited too long, taking them out of the queue or off their ladder."""
    m, slots, lists = book
    waiting, going = int(m[WAITING]), 0
    while going < waiting and t >= lists[QUEUE_BROKE, going] + m[FLIP_BARS]:
        lists[GOING, going] = lists[QUEUE_SLOT, going]
        going += 1
    if going:
        for k in range(going, waiting):
            _move(lists, k, k - going)
        m[WAITING] = waiting - going
    if t < m[DUE]:
        return going
    m[DUE] = math.inf
    for side in range(2):
        before = going
        for at in range(int(m[RESISTANCES + side])):
            j = int(lists[LADDER_SLOT + 2 * side, at])
            due = slots[j, TOUCHED] + m[EXPIRY_BARS]
            if t >= due:
                slots[j, STATUS] = GONE
                lists[GOING, going] = j
                going += 1
            else:
                m[DUE] = min(m[DUE], due)
        if going > before:
            close_up(book, side, 0)
    return going


@compiled_inline
def standing(book: Book, price: float, atr: float) -> int:
    """Return the active level nearest to a price in whose band it lies, the oldest of equals."""
    m, slots, lists = book
    found, least = -1, math.inf
    for side in range(2):
        kind = SUPPORT if side else RESISTANCE
        for at in range(int(m[RESISTANCES + side]) - 1, -1, -1):
            level = lists[LADDER_PRICE + 2 * side, at]
            apart = abs(price * kind - level)
            if apart <= m[TOUCH_SHARE] * (abs(level) if m[IS_PRICE_UNIT] != 0.0 else atr):
                j = int(lists[LADDER_SLOT + 2 * side, at])
                if apart < least or (apart == least and slots[j, BORN] < slots[found, BORN]):
                    found, least = j, apart
            elif level > price * kind and m[IS_ORDERED] != 0.0:
                break
    return found


@compiled_inline
def nearest(book: Book, close: float, side: int) -> int:
    """Return the nearest active level on one side of the close, the oldest of equals; or -1."""
    m, slots, lists = book
    prices, who = LADDER_PRICE + 2 * side, LADDER_SLOT + 2 * side
    if side:
        close = -close
    at = int(m[RESISTANCES + side]) - 1
    while at >= 0 and not lists[prices, at] > close:
        at -= 1
    if at < 0:
        return -1
    j, apart = int(lists[who, at]), lists[prices, at] - close
    while at > 0 and lists[prices, at - 1] - close == apart:  # the same, or but for rounding
        at -= 1
        if slots[int(lists[who, at]), BORN] < slots[j, BORN]:
            j = int(lists[who, at])
    return j
