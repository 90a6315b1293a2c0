"""Where the level machine keeps what it knows: the rows and columns of its arrays.

Belongs here: names of places. Keep out: arithmetic (``level_machine``, ``level_ladders``).

Four arrays make a book, few because each that a compiled function takes costs time to compile:
``m``, the memory, shape (MEMORY + DECAYS,); ``slots``, a row a level, in no order, shape
(max_active + 1, SLOT); ``lists``, prices and bars in an order, shape (LISTS, max_active + 2);
``who``, whole numbers: the slots in those orders and how many there are, shape (ORDERS, max_active
+ 2) or wider. Bars are counted from the batch's first. Instants are exact in float64 until the
year 2255.
"""

from typing import Final

import numpy as np

from kernels.gate import Matrix, Series

Wholes = np.ndarray[tuple[int, int], np.dtype[np.int64]]
Book = tuple[Series, Matrix, Matrix, Wholes]
Table = tuple[Matrix, Wholes]
"""Columns of floats and columns of integers, each a row in memory."""

Candle = tuple[int, float, float, float, float, float]
"""Bar, ATR, high, low, close, and the close before."""

SUPPORT: Final = -1.0
RESISTANCE: Final = 1.0
GONE: Final = 0.0  # the status of a slot that is free
ACTIVE: Final = 1.0
BROKEN: Final = 2.0

# codes of events: of the first of a pair in ``levels.EVENTS``; its mirror's is one more
NEW, FLIP, TOUCH, BREAK, DEACTIVATE = 0, 2, 4, 6, 8

# memory: what a state carries (the candle before, levels that stand), the rules, the first bar at
# which an active level can be due for expiry, and whether the order of prices is that of their
# bands too; then 2^(-bars / half-life) for bars 0 ... DECAYS - 1
BEFORE_OPEN, BEFORE_HIGH, BEFORE_LOW, BEFORE, USED, CARRIED = range(6)
PERIOD, IS_PRICE_UNIT, TOUCH_SHARE, BREAK_SHARE, FLIP_BARS = range(5, 10)
EXPIRY_BARS, MAX_ACTIVE, HALF_LIFE, EPISODE_GAP = range(10, 14)
DUE, IS_ORDERED, MEMORY = range(14, 17)
DECAYS: Final = 512

# slots: what a state carries of a level, and its strength at the bar of its last touch
PRICE, REBOUNDS, KIND, STATUS, BORN_TS, BORN, TOUCHED, CONTACT, BROKE, TOUCHES, KEPT = range(11)
WORTH, SLOT = range(10, 12)

# lists: the prices of the two ladders (a support's negated), highest first: the top, to which a
# price comes first, is the end; and the queue of broken levels, oldest break first
LADDER_PRICE, SUPPORT_PRICE, QUEUE_PRICE, QUEUE_KIND, QUEUE_BROKE, LISTS = range(6)

# who: how many (events logged, levels on each ladder, levels in the queue, slots that are free);
# the slots of the ladders and of the queue; those that are free; and who breaks, flips, is touched
# or goes in the candle at hand
CURSOR, RESISTANCES, SUPPORTS, WAITING, SPARE, COUNTED = range(6)
COUNTS, LADDER_SLOT, SUPPORT_SLOT, QUEUE_SLOT, FREE = range(5)
BREAKING, FLIPPING, TOUCHING, GOING, PICKED, ORDERS = range(5, 11)

LOGGED: Final = 4  # of each type: price, penetration, rebound, strength; bar, code, birth, kind
CONTEXT_REALS: Final = 5  # ATR, then price and strength of the nearest resistance and support
CONTEXT_WHOLES: Final = 6  # touches, age and birth of the same two
