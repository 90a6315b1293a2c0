"""Where the level machine keeps what it knows: the rows and columns of its arrays.

Belongs here: names of places. Keep out: arithmetic (``level_machine``, ``level_ladders``).

Three arrays make a book, few because each that a compiled function takes costs time to compile:
``m``, the memory, shape (MEMORY + DECAYS,); ``slots``, a row a level, in no order, shape
(max_active + 1, SLOT); ``lists``, slots in an order, shape (LISTS, max_active + 2). Bars are
counted from the batch's first. Instants are exact in float64 until the year 2255.
"""

from typing import Final

import numpy as np

from kernels.gate import Matrix, Series

Book = tuple[Series, Matrix, Matrix]
Table = tuple[Matrix, np.ndarray[tuple[int, int], np.dtype[np.int64]]]
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

# memory: what a state carries (the candle before, levels that stand), the rules, the log's length,
# the first bar at which an active level can be due for expiry, how long the lists are, and whether
# the order of prices is that of their bands too; then 2^(-bars / half-life), bars 0 ... DECAYS - 1
BEFORE_OPEN, BEFORE_HIGH, BEFORE_LOW, BEFORE, USED, CARRIED = range(6)
PERIOD, IS_PRICE_UNIT, TOUCH_SHARE, BREAK_SHARE, FLIP_BARS = range(5, 10)
EXPIRY_BARS, MAX_ACTIVE, HALF_LIFE, EPISODE_GAP = range(10, 14)
CURSOR, DUE, RESISTANCES, SUPPORTS, WAITING, SPARE, IS_ORDERED, MEMORY = range(14, 22)
DECAYS: Final = 512

# slots: what a state carries of a level, and its strength at the bar of its last touch
PRICE, REBOUNDS, KIND, STATUS, BORN_TS, BORN, TOUCHED, CONTACT, BROKE, TOUCHES, KEPT = range(11)
WORTH, SLOT = range(10, 12)

# lists: the two ladders (prices, a support's negated, and slots, highest price first: the top, to
# which a price comes first, is the end); the queue of broken levels, oldest break first; slots that
# are free; and who breaks, flips, is touched or goes in the candle at hand
LADDER_PRICE, LADDER_SLOT, SUPPORT_PRICE, SUPPORT_SLOT = range(4)
QUEUE_SLOT, QUEUE_PRICE, QUEUE_KIND, QUEUE_BROKE = range(4, 8)
FREE, BREAKING, FLIPPING, TOUCHING, GOING, PICKED, LISTS = range(8, 15)

LOGGED: Final = 4  # of each type: price, penetration, rebound, strength; bar, code, birth, kind
CONTEXT_REALS: Final = 5  # ATR, then price and strength of the nearest resistance and support
CONTEXT_WHOLES: Final = 6  # touches, age and birth of the same two
