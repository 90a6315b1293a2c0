"""Which levels a candle can reach: the ladders of active levels, the queue of broken ones.

Belongs here: finding levels, and keeping the lists in order. Keep out: what happens to those found
(``level_machine``), and where the lists lie (``level_layout``).

Active levels stand in two ladders sorted by price, so a candle looks at those near it and stops at
the first that it does not reach. A support is a resistance to negated prices: both ladders obey
the same lines, to the bit.
"""

import math

from kernels.jit import compiled_inline
from kernels.level_layout import (
    ACTIVE,
    BORN,
    BREAK_SHARE,
    BREAKING,
    BROKE,
    BROKEN,
    CONTACT,
    COUNTS,
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
    _, slots, lists, who = book
    side = 0 if slots[j, KIND] == RESISTANCE else 1
    prices, ladder = LADDER_PRICE + side, LADDER_SLOT + side
    price, at = slots[j, PRICE] * slots[j, KIND], who[COUNTS, RESISTANCES + side]
    while at > 0 and lists[prices, at - 1] < price:
        lists[prices, at], who[ladder, at] = lists[prices, at - 1], who[ladder, at - 1]
        at -= 1
    lists[prices, at], who[ladder, at] = price, j
    who[COUNTS, RESISTANCES + side] += 1


@compiled_inline
def close_up(book: Book, side: int, start: int) -> None:
    """Close up a ladder from ``start`` to its top over levels that are active no more."""
    _, slots, lists, who = book
    prices, ladder = LADDER_PRICE + side, LADDER_SLOT + side
    kept = start
    for at in range(start, who[COUNTS, RESISTANCES + side]):
        lists[prices, kept], who[ladder, kept] = lists[prices, at], who[ladder, at]
        kept += slots[who[ladder, at], STATUS] == ACTIVE
    who[COUNTS, RESISTANCES + side] = kept


@compiled_inline
def queue_up(book: Book, j: int) -> None:
    """Put a broken level into the queue: at its end, if it is not older."""
    _, slots, lists, who = book
    at = who[COUNTS, WAITING]
    while at > 0 and lists[QUEUE_BROKE, at - 1] > slots[j, BROKE]:
        _move(book, at - 1, at)
        at -= 1
    who[QUEUE_SLOT, at], lists[QUEUE_PRICE, at] = j, slots[j, PRICE]
    lists[QUEUE_KIND, at], lists[QUEUE_BROKE, at] = slots[j, KIND], slots[j, BROKE]
    who[COUNTS, WAITING] += 1


@compiled_inline
def leave(book: Book, j: int) -> None:
    """Take a level out of the queue."""
    _, _, _, who = book
    kept = 0
    for k in range(who[COUNTS, WAITING]):
        _move(book, k, kept)
        kept += who[QUEUE_SLOT, k] != j
    who[COUNTS, WAITING] = kept


@compiled_inline
def _move(book: Book, source: int, target: int) -> None:
    _, _, lists, who = book
    who[QUEUE_SLOT, target] = who[QUEUE_SLOT, source]
    for row in range(QUEUE_PRICE, QUEUE_BROKE + 1):
        lists[row, target] = lists[row, source]


@compiled_inline
def by_birth(book: Book, row: int, n: int) -> None:
    """Sort a list of slots by birth, which is by level id."""
    _, slots, _, who = book
    for k in range(1, n):
        j, at = who[row, k], k
        while at > 0 and slots[who[row, at - 1], BORN] > slots[j, BORN]:
            who[row, at] = who[row, at - 1]
            at -= 1
        who[row, at] = j


@compiled_inline
def reach(book: Book, candle: Candle, side: int, breaks: int, touches: int) -> tuple[int, int]:
    """List which active levels of one kind break, taking them off the ladder, or are touched.

    A contact within an episode that is still open is kept in mind, and is no touch. The loop does
    not branch on what cannot be foretold: a processor that guesses wrong loses more than it costs.
    """
    m, slots, lists, who = book
    t, atr, high, low, close, _ = candle
    if side:
        high, low, close = -low, -high, -close
    touch, break_, gap = m[TOUCH_SHARE], m[BREAK_SHARE], m[EPISODE_GAP]
    is_share, is_ordered = m[IS_PRICE_UNIT] != 0.0, m[IS_ORDERED] != 0.0
    at, before = who[COUNTS, RESISTANCES + side] - 1, breaks
    while at >= 0:
        price = lists[LADDER_PRICE + side, at]
        unit = abs(price) if is_share else atr
        width = touch * unit
        is_reached = high >= price - width
        if is_ordered and not is_reached:
            break  # nor are those behind it
        j = who[LADDER_SLOT + side, at]
        is_break = is_reached & (close - price > break_ * unit)
        is_near = is_reached & (low <= price + width) & (not is_break)
        contact = slots[j, CONTACT]
        slots[j, CONTACT] = t if is_near else contact
        who[BREAKING, breaks] = who[TOUCHING, touches] = j
        breaks += is_break
        touches += is_near & (t - contact > gap)
        at -= 1
    for k in range(before, breaks):
        slots[who[BREAKING, k], STATUS] = BROKEN
    if not is_share:
        who[COUNTS, RESISTANCES + side] -= breaks - before  # by ATR those that break are on top
    elif breaks > before:
        close_up(book, side, at + 1)
    return breaks, touches


@compiled_inline
def retest(book: Book, candle: Candle) -> int:
    """List which broken levels flip, taking them out of the queue."""
    m, _, lists, who = book
    t, atr, high, low, close, before = candle
    waiting, flips = who[COUNTS, WAITING], 0
    touch, is_share, flip_bars = m[TOUCH_SHARE], m[IS_PRICE_UNIT] != 0.0, m[FLIP_BARS]
    for k in range(waiting):
        price, kind = lists[QUEUE_PRICE, k], lists[QUEUE_KIND, k]
        width = touch * (abs(price) if is_share else atr)
        who[PICKED, flips] = k
        flips += (
            (low <= price + width)
            & (high >= price - width)
            & ((close - price) * kind > 0.0)
            & ((before - price) * kind > 0.0)
            & (t - lists[QUEUE_BROKE, k] <= flip_bars)
        )
    if flips:
        who[PICKED, flips] = waiting
        kept = who[PICKED, 0]
        for i in range(flips):
            picked = who[PICKED, i]
            who[FLIPPING, i] = who[QUEUE_SLOT, picked]
            for k in range(picked + 1, who[PICKED, i + 1]):
                _move(book, k, kept)
                kept += 1
        who[COUNTS, WAITING] = kept
    return flips


@compiled_inline
def overdue(book: Book, t: int) -> int:
    """List which levels waited too long, taking them out of the queue or off their ladder."""
    m, slots, lists, who = book
    waiting, going = who[COUNTS, WAITING], 0
    while going < waiting and t >= lists[QUEUE_BROKE, going] + m[FLIP_BARS]:
        who[GOING, going] = who[QUEUE_SLOT, going]
        going += 1
    if going:
        for k in range(going, waiting):
            _move(book, k, k - going)
        who[COUNTS, WAITING] = waiting - going
    if t < m[DUE]:
        return going
    m[DUE] = math.inf
    for side in range(2):
        before = going
        for at in range(who[COUNTS, RESISTANCES + side]):
            j = who[LADDER_SLOT + side, at]
            due = slots[j, TOUCHED] + m[EXPIRY_BARS]
            if t >= due:
                slots[j, STATUS] = GONE
                who[GOING, going] = j
                going += 1
            else:
                m[DUE] = min(m[DUE], due)
        if going > before:
            close_up(book, side, 0)
    return going


@compiled_inline
def standing(book: Book, price: float, atr: float) -> int:
    """Return the active level nearest to a price in whose band it lies, the oldest of equals."""
    m, slots, lists, who = book
    found, least = -1, math.inf
    for side in range(2):
        kind = SUPPORT if side else RESISTANCE
        for at in range(who[COUNTS, RESISTANCES + side] - 1, -1, -1):
            level = lists[LADDER_PRICE + side, at]
            apart = abs(price * kind - level)
            if apart <= m[TOUCH_SHARE] * (abs(level) if m[IS_PRICE_UNIT] != 0.0 else atr):
                j = who[LADDER_SLOT + side, at]
                if apart < least or (apart == least and slots[j, BORN] < slots[found, BORN]):
                    found, least = j, apart
            elif level > price * kind and m[IS_ORDERED] != 0.0:
                break
    return found


@compiled_inline
def nearest(book: Book, close: float, side: int) -> int:
    """Return the nearest active level on one side of the close, the oldest of equals; or -1."""
    _, slots, lists, who = book
    prices, ladder = LADDER_PRICE + side, LADDER_SLOT + side
    if side:
        close = -close
    at = who[COUNTS, RESISTANCES + side] - 1
    while at >= 0 and not lists[prices, at] > close:
        at -= 1
    if at < 0:
        return -1
    j: int = who[ladder, at]
    apart = lists[prices, at] - close
    while at > 0 and lists[prices, at - 1] - close == apart:  # the same, or but for rounding
        at -= 1
        if slots[who[ladder, at], BORN] < slots[j, BORN]:
            j = who[ladder, at]
    return j
