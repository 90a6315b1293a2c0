"""What one candle does to the levels: the compiled half of ``levels``.

Belongs here: arithmetic on the machine's arrays. Keep out: checks, copies and meaning for callers
(``levels`` has the rules in words). One file, because Numba's cache does not see a change in a
helper that lives in another; float64 throughout and few arrays, because each array that a compiled
function takes costs compile time (a named tuple of ten took 8 s, and ran four times slower).

Three arrays go round: ``m``, the memory of one candle, shape (MEMORY,); ``slots``, the levels,
shape (max_active + 1, SLOT), in the order of birth, which is that of level ids; ``log``, the
events, shape (room, LOGGED). Bars are counted from the batch's first. Instants are exact in float64
until the year 2255.
"""

import math
from typing import Final

from kernels.gate import Matrix, Series
from kernels.jit import compiled_ieee

SUPPORT: Final = -1.0
RESISTANCE: Final = 1.0
GONE: Final = 0.0  # the status of a slot that is free, or about to be closed up
ACTIVE: Final = 1.0
BROKEN: Final = 2.0

# codes of events: of the first of a pair in ``levels.EVENTS``; its mirror's is one more
NEW, FLIP, TOUCH, BREAK, DEACTIVATE = 0, 2, 4, 6, 8

# memory: what a state carries (the candle before, the ATR and the sum that seeds it, bars seen up
# to period + 1, slots in use), the rules, the candle at hand, the log's length, and the first bar
# at which a level can be due for expiry
BEFORE_OPEN, BEFORE_HIGH, BEFORE_LOW, BEFORE, ATR, SEED, SEEN, USED, CARRIED = range(9)
PERIOD, IS_PRICE_UNIT, TOUCH_SHARE, BREAK_SHARE, FLIP_BARS = range(8, 13)
EXPIRY_BARS, MAX_ACTIVE, HALF_LIFE, EPISODE_GAP = range(13, 17)
OPEN, HIGH, LOW, CLOSE, CURSOR, DUE, MEMORY = range(17, 24)

# slots: what a state carries of a level, and two columns to list the levels that act in a candle
PRICE, REBOUNDS, KIND, STATUS, BORN_TS, BORN, TOUCHED, CONTACT, BROKE, TOUCHES, KEPT = range(11)
WHO, ACTION, SLOT = range(10, 13)

LOGGED: Final = 8  # columns of the log
CONTEXT: Final = 11  # columns of the context: ATR, five of the resistance, five of the support

_BREAKS, _FLIPS, _TOUCHES = 1.0, 2.0, 3.0  # slots[ACTION]


@compiled_ieee
def run(
    m: Series,
    slots: Matrix,
    log: Matrix,
    bars: tuple[Series, Series, Series, Series, Series],
    start: int,
    context: Matrix,
) -> int:
    """Take candles from ``start`` on; return where it stopped (before the log could run over)."""
    opens, highs, lows, closes, ts = bars
    room = log.shape[0] - 2 * slots.shape[0] - 2
    for t in range(start, ts.size):
        if m[CURSOR] > room:
            return t
        m[OPEN], m[HIGH], m[LOW], m[CLOSE] = opens[t], highs[t], lows[t], closes[t]
        _average_range(m)
        if m[ATR] > 0.0:
            _act(m, slots, log, t)
            if t >= m[DUE]:
                _expire(m, slots, log, t)
            _create(m, slots, log, t, ts[t])
            if m[USED] > m[MAX_ACTIVE]:
                _evict(m, slots, log, t)
        context[t, 0] = m[ATR]
        _nearest(m, slots, t, context)
        for column in range(4):
            m[BEFORE_OPEN + column] = m[OPEN + column]
    return ts.size


@compiled_ieee
def _average_range(m: Series) -> None:
    """Step Wilder's average true range, seeded as in TA-Lib: the mean of the first ``period``."""
    if m[SEEN] > 0.0:
        true_range = max(m[HIGH] - m[LOW], abs(m[HIGH] - m[BEFORE]), abs(m[LOW] - m[BEFORE]))
        if m[SEEN] > m[PERIOD]:
            m[ATR] = (m[ATR] * (m[PERIOD] - 1.0) + true_range) / m[PERIOD]
        else:
            m[SEED] += true_range
            if m[SEEN] == m[PERIOD]:
                m[ATR] = m[SEED] / m[PERIOD]
                m[SEED] = 0.0
    if m[SEEN] <= m[PERIOD]:
        m[SEEN] += 1.0


@compiled_ieee
def _is_below(price: float, level: float, kind: float) -> bool:
    """Say on which side of a level a price lies; an equal one lies on the level's own side."""
    return price < level or (price == level and kind == RESISTANCE)


@compiled_ieee
def _decide(m: Series, slots: Matrix, t: int) -> int:
    """List the levels that break, flip or are in contact; return how many act."""
    high, low, close, before = m[HIGH], m[LOW], m[CLOSE], m[BEFORE]
    touch, break_, is_share, atr = m[TOUCH_SHARE], m[BREAK_SHARE], m[IS_PRICE_UNIT] != 0.0, m[ATR]
    acting = 0
    for j in range(int(m[USED])):
        price, kind = slots[j, PRICE], slots[j, KIND]
        unit = abs(price) if is_share else atr
        width = touch * unit
        if (high < price - width) if kind > 0.0 else (low > price + width):
            continue  # most levels are out of reach: neither contact nor break nor flip
        beyond = (close - price) * kind
        is_near = low <= price + width and high >= price - width
        action = 0.0
        if slots[j, STATUS] == ACTIVE:
            action = _BREAKS if beyond > break_ * unit else (_TOUCHES if is_near else 0.0)
        elif is_near and beyond > 0.0 and (before - price) * kind > 0.0:
            action = _FLIPS if t - slots[j, BROKE] <= m[FLIP_BARS] else 0.0
        if action > 0.0:
            slots[acting, WHO], slots[acting, ACTION] = j, action
            acting += 1
    return acting


@compiled_ieee
def _act(m: Series, slots: Matrix, log: Matrix, t: int) -> None:
    """Do all breaks, then all flips, then all touches."""
    acting = _decide(m, slots, t)
    for action in (_BREAKS, _FLIPS, _TOUCHES):
        for k in range(acting):
            if slots[k, ACTION] != action:
                continue
            j = int(slots[k, WHO])
            if action == _BREAKS:
                slots[j, STATUS], slots[j, BROKE] = BROKEN, t
                m[DUE] = min(m[DUE], t + m[FLIP_BARS])
                _log(m, slots, log, t, j, BREAK + (slots[j, KIND] == RESISTANCE))
            elif action == _FLIPS:
                slots[j, KIND], slots[j, STATUS] = -slots[j, KIND], ACTIVE
                slots[j, TOUCHED], slots[j, CONTACT], slots[j, BROKE] = t, t, 0.0
                m[DUE] = min(m[DUE], t + m[EXPIRY_BARS])
                _log(m, slots, log, t, j, FLIP + (slots[j, KIND] == RESISTANCE))
            else:
                _contact(m, slots, log, t, j)


@compiled_ieee
def _contact(m: Series, slots: Matrix, log: Matrix, t: int, j: int) -> None:
    """Record a contact with level j: a touch, unless it belongs to an episode still open."""
    is_touch = t - slots[j, CONTACT] > m[EPISODE_GAP]
    slots[j, CONTACT] = t
    if is_touch:
        slots[j, TOUCHED] = t
        slots[j, TOUCHES] += 1.0
        slots[j, REBOUNDS] += abs(m[CLOSE] - slots[j, PRICE]) / m[ATR]
        _log(
            m, slots, log, t, j, TOUCH + (not _is_below(m[BEFORE], slots[j, PRICE], slots[j, KIND]))
        )


@compiled_ieee
def _expire(m: Series, slots: Matrix, log: Matrix, t: int) -> None:
    """Drop broken levels that were not retested in time, and those long untouched."""
    m[DUE], used, is_any = math.inf, m[USED], False
    for j in range(int(used)):
        if slots[j, STATUS] == BROKEN:
            due = slots[j, BROKE] + m[FLIP_BARS]
        else:
            due = slots[j, TOUCHED] + m[EXPIRY_BARS]
        if t >= due:
            _log(
                m,
                slots,
                log,
                t,
                j,
                DEACTIVATE + _is_below(m[CLOSE], slots[j, PRICE], slots[j, KIND]),
            )
            slots[j, STATUS], is_any = GONE, True
        else:
            m[DUE] = min(m[DUE], due)
    if is_any:
        _close_up(m, slots)


@compiled_ieee
def _create(m: Series, slots: Matrix, log: Matrix, t: int, ts: float) -> None:
    """Make the level of a turn between two candles, or count it as a contact of one that stands."""
    if m[BEFORE] > m[BEFORE_OPEN] and m[CLOSE] < m[OPEN]:
        kind, price = RESISTANCE, max(m[BEFORE_HIGH], m[HIGH])
    elif m[BEFORE] < m[BEFORE_OPEN] and m[CLOSE] > m[OPEN]:
        kind, price = SUPPORT, min(m[BEFORE_LOW], m[LOW])
    else:
        return
    used, found, least = int(m[USED]), -1, math.inf
    for j in range(used):
        apart = abs(price - slots[j, PRICE])
        unit = abs(slots[j, PRICE]) if m[IS_PRICE_UNIT] != 0.0 else m[ATR]
        if slots[j, STATUS] == ACTIVE and apart <= m[TOUCH_SHARE] * unit and apart < least:
            found, least = j, apart
    if found >= 0:
        _contact(m, slots, log, t, found)
        return
    m[USED] += 1.0
    slots[used, PRICE], slots[used, REBOUNDS] = price, abs(m[CLOSE] - price) / m[ATR]
    slots[used, KIND], slots[used, STATUS], slots[used, BORN_TS] = kind, ACTIVE, ts
    slots[used, BORN], slots[used, TOUCHED], slots[used, CONTACT] = t, t, t
    slots[used, BROKE], slots[used, TOUCHES] = 0.0, 0.0
    m[DUE] = min(m[DUE], t + m[EXPIRY_BARS])
    _log(m, slots, log, t, used, NEW + (kind == RESISTANCE))


@compiled_ieee
def _evict(m: Series, slots: Matrix, log: Matrix, t: int) -> None:
    """Drop the weakest level where there are too many, the oldest of equals."""
    weakest, least = 0, math.inf
    for j in range(int(m[USED])):
        strength = _strength(
            slots[j, TOUCHES], slots[j, REBOUNDS], (t - slots[j, TOUCHED]) / m[HALF_LIFE]
        )
        if strength < least:
            weakest, least = j, strength
    _log(
        m,
        slots,
        log,
        t,
        weakest,
        DEACTIVATE + _is_below(m[CLOSE], slots[weakest, PRICE], slots[weakest, KIND]),
    )
    slots[weakest, STATUS] = GONE
    _close_up(m, slots)


@compiled_ieee
def _close_up(m: Series, slots: Matrix) -> None:
    """Close up the slots of levels that are gone; clear those left free."""
    used, kept = int(m[USED]), 0
    for j in range(used):
        if slots[j, STATUS] != GONE:
            if kept < j:
                for row in range(KEPT):
                    slots[kept, row] = slots[j, row]
            kept += 1
    for j in range(kept, used):
        for row in range(KEPT):
            slots[j, row] = 0.0
    m[USED] = kept


@compiled_ieee
def _strength(touches: float, rebounds: float, halvings: float) -> float:
    evidence = 0.5 * touches + rebounds / (touches + 1.0)
    return 10.0 * (1.0 - math.exp(-evidence)) * math.exp(-halvings * math.log(2.0))


@compiled_ieee
def _log(m: Series, slots: Matrix, log: Matrix, t: int, j: int, code: int) -> None:
    """Append an event, with how far the candle went beyond the level."""
    price, kind = slots[j, PRICE], slots[j, KIND]
    if code in (TOUCH, FLIP + 1):  # came from below
        beyond = m[HIGH] - price
    elif code in (TOUCH + 1, FLIP):
        beyond = price - m[LOW]
    else:
        beyond = (m[CLOSE] - price) * kind
    k = int(m[CURSOR])
    m[CURSOR] += 1.0
    log[k, 0], log[k, 1], log[k, 2], log[k, 3], log[k, 4] = t, code, slots[j, BORN_TS], kind, price
    log[k, 5] = math.nan if code < FLIP else max(beyond, 0.0) / m[ATR]
    log[k, 6], log[k, 7] = (
        (m[CLOSE] - price) / m[ATR],
        _strength(slots[j, TOUCHES], slots[j, REBOUNDS], (t - slots[j, TOUCHED]) / m[HALF_LIFE]),
    )


@compiled_ieee
def _nearest(m: Series, slots: Matrix, t: int, context: Matrix) -> None:
    """Write the nearest active level on either side of the close, the oldest of equals."""
    close, above, below = m[CLOSE], -1, -1
    least_above, least_below = math.inf, math.inf
    for j in range(int(m[USED])):
        if slots[j, STATUS] == ACTIVE:
            kind = slots[j, KIND]
            apart = (slots[j, PRICE] - close) * kind
            if kind == RESISTANCE and 0.0 < apart < least_above:
                above, least_above = j, apart
            elif kind == SUPPORT and 0.0 < apart < least_below:
                below, least_below = j, apart
    for column, j in ((1, above), (6, below)):
        if j < 0:
            context[t, column : column + 5] = math.nan
        else:
            context[t, column], context[t, column + 1] = (
                slots[j, PRICE],
                _strength(
                    slots[j, TOUCHES], slots[j, REBOUNDS], (t - slots[j, TOUCHED]) / m[HALF_LIFE]
                ),
            )
            context[t, column + 2] = slots[j, TOUCHES]
            context[t, column + 3] = t - slots[j, BORN]
            context[t, column + 4] = slots[j, BORN_TS]
