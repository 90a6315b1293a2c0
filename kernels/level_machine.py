"""What one candle does to the levels: the compiled half of ``levels``.

Belongs here: arithmetic on the machine's arrays. Keep out: checks, copies and meaning for callers
(``levels`` has the rules in words). One file, because Numba's cache does not see a change in a
helper that lives in another.
"""

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from kernels.gate import Instants, Series

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SUPPORT: Final = -1
RESISTANCE: Final = 1
ACTIVE: Final = 1
BROKEN: Final = 2

# codes of events: that of a downward or support event, its mirror is one more
NEW, FLIP, TOUCH, BREAK, DEACTIVATE = 0, 2, 4, 6, 8

# rows of Machine.prices, shape (2, slots), and Machine.marks, shape (8, slots)
PRICE, REBOUNDS = 0, 1
KIND, STATUS, BORN_US, BORN, TOUCHED, CONTACT, BROKE, TOUCHES = 0, 1, 2, 3, 4, 5, 6, 7
# Machine.recent, shape (6,): the candle before, the ATR, and the sum that seeds it
OPEN, HIGH, LOW, CLOSE, ATR, SEED = 0, 1, 2, 3, 4, 5
# Machine.counts, shape (2,): bars seen (up to period + 1), slots in use
SEEN, USED = 0, 1

_BREAKS, _FLIPS, _TOUCHES = 1, 2, 4  # bits of Machine.actions
_GONE = 0  # the status of a slot to be closed up


class Rules(NamedTuple):
    """Every number the machine obeys; distances in ATR, or shares of the level's price."""

    atr_period: int = 14
    is_price_unit: bool = False
    touch: float = 0.1
    break_: float = 0.2
    flip_bars: int = 20
    expiry_bars: int = 200
    max_active: int = 64
    half_life_bars: float = 200.0
    episode_gap: int = 2


class Machine(NamedTuple):
    """What the compiled functions share: the candle, the rules, the levels and the event log.

    Slots are in the order of birth, which is that of level ids. Bars are counted from the batch's
    first. ``log_marks`` has rows bar, code, birth, kind; ``log_numbers`` price, penetration,
    rebound, strength.
    """

    candle: Floats
    recent: Floats
    rules: Rules
    prices: Floats
    marks: Integers
    counts: Integers
    actions: Integers
    log_marks: Integers
    log_numbers: Floats
    cursor: Integers


@njit(cache=True, nogil=True, error_model="numpy")
def run(
    m: Machine,
    bars: tuple[Series, Series, Series, Series],
    ts: Instants,
    start: int,
    context: tuple[Floats, Integers],
) -> int:
    """Take candles from ``start`` on; return where it stopped (before the log could run over)."""
    opens, highs, lows, closes = bars
    numbers, marks = context
    room = m.log_marks.shape[1] - 2 * m.actions.size - 2
    for t in range(start, ts.size):
        if m.cursor[0] > room:
            return t
        m.candle[OPEN], m.candle[HIGH] = opens[t], highs[t]
        m.candle[LOW], m.candle[CLOSE] = lows[t], closes[t]
        _average_range(m)
        numbers[0, t] = m.recent[ATR]
        if m.recent[ATR] > 0.0:
            actions = _decide(m, t)
            if actions:
                _act(m, t, actions)
            _expire(m, t)
            _create(m, t, ts[t])
            if m.counts[USED] > m.rules.max_active:
                _evict(m, t)
        _nearest(m, t, RESISTANCE, numbers[1:3, t], marks[0:3, t])
        _nearest(m, t, SUPPORT, numbers[3:5, t], marks[3:6, t])
        m.recent[:4] = m.candle[:4]
    return ts.size


@njit(cache=True, nogil=True, error_model="numpy")
def _average_range(m: Machine) -> None:
    """Step Wilder's average true range, seeded as in TA-Lib: the mean of the first ``period``."""
    period, seen = m.rules.atr_period, m.counts[SEEN]
    if seen > 0:
        high, low, before = m.candle[HIGH], m.candle[LOW], m.recent[CLOSE]
        true_range = max(high - low, abs(high - before), abs(low - before))
        if seen > period:
            m.recent[ATR] = (m.recent[ATR] * (period - 1) + true_range) / period
        else:
            m.recent[SEED] += true_range
            if seen == period:
                m.recent[ATR] = m.recent[SEED] / period
                m.recent[SEED] = 0.0
    if seen <= period:
        m.counts[SEEN] = seen + 1


@njit(cache=True, nogil=True, error_model="numpy")
def _width(m: Machine, share: float, price: float) -> float:
    return share * abs(price) if m.rules.is_price_unit else share * m.recent[ATR]


@njit(cache=True, nogil=True, error_model="numpy")
def _is_below(m: Machine, j: int, price: float) -> bool:
    """Say on which side of level j a price lies; an equal one lies on the level's own side."""
    level = m.prices[PRICE, j]
    return price < level or (price == level and m.marks[KIND, j] == RESISTANCE)


@njit(cache=True, nogil=True, error_model="numpy")
def _decide(m: Machine, t: int) -> int:
    """Note for each level whether it breaks, flips or is in contact; return the union."""
    union = 0
    high, low, close, before = m.candle[HIGH], m.candle[LOW], m.candle[CLOSE], m.recent[CLOSE]
    for j in range(m.counts[USED]):
        price, kind, action = m.prices[PRICE, j], m.marks[KIND, j], 0
        touch = _width(m, m.rules.touch, price)
        is_near = low <= price + touch and high >= price - touch
        if m.marks[STATUS, j] == ACTIVE:
            if (close - price) * kind > _width(m, m.rules.break_, price):
                action = _BREAKS
            elif is_near:
                action = _TOUCHES
        elif is_near and (before - price) * kind > 0.0 and (close - price) * kind > 0.0:
            if t - m.marks[BROKE, j] <= m.rules.flip_bars:
                action = _FLIPS
        m.actions[j] = action
        union |= action
    return union


@njit(cache=True, nogil=True, error_model="numpy")
def _act(m: Machine, t: int, union: int) -> None:
    """Do what was decided: all breaks, then all flips, then all touches."""
    for action in (_BREAKS, _FLIPS, _TOUCHES):
        if not union & action:
            continue
        for j in range(m.counts[USED]):
            if m.actions[j] != action:
                continue
            price, kind = m.prices[PRICE, j], m.marks[KIND, j]
            if action == _BREAKS:
                m.marks[STATUS, j], m.marks[BROKE, j] = BROKEN, t
                _log(m, t, j, BREAK + (kind == RESISTANCE), abs(m.candle[CLOSE] - price))
            elif action == _FLIPS:
                beyond = m.candle[HIGH] - price if kind == SUPPORT else price - m.candle[LOW]
                m.marks[KIND, j], m.marks[STATUS, j], m.marks[BROKE, j] = -kind, ACTIVE, 0
                m.marks[TOUCHED, j] = m.marks[CONTACT, j] = t
                _log(m, t, j, FLIP + (kind == SUPPORT), beyond)
            else:
                _contact(m, t, j)


@njit(cache=True, nogil=True, error_model="numpy")
def _contact(m: Machine, t: int, j: int) -> None:
    """Record a contact with level j: a touch, unless it belongs to an episode still open."""
    is_touch = t - m.marks[CONTACT, j] > m.rules.episode_gap
    m.marks[CONTACT, j] = t
    if is_touch:
        price = m.prices[PRICE, j]
        m.marks[TOUCHED, j] = t
        m.marks[TOUCHES, j] += 1
        m.prices[REBOUNDS, j] += abs(m.candle[CLOSE] - price) / m.recent[ATR]
        is_up = _is_below(m, j, m.recent[CLOSE])
        _log(m, t, j, TOUCH + is_up, m.candle[HIGH] - price if is_up else price - m.candle[LOW])


@njit(cache=True, nogil=True, error_model="numpy")
def _expire(m: Machine, t: int) -> None:
    """Drop broken levels that were not retested in time, and those long untouched."""
    some = False
    for j in range(m.counts[USED]):
        if m.marks[STATUS, j] == BROKEN:
            is_over = t - m.marks[BROKE, j] >= m.rules.flip_bars
        else:
            is_over = t - m.marks[TOUCHED, j] >= m.rules.expiry_bars
        if is_over:
            some = True
            _deactivate(m, t, j)
    if some:
        _close_up(m)


@njit(cache=True, nogil=True, error_model="numpy")
def _create(m: Machine, t: int, ts: int) -> None:
    """Make the level of a turn between two candles, or count it as a contact of one that stands."""
    turn = m.recent[CLOSE] - m.recent[OPEN], m.candle[CLOSE] - m.candle[OPEN]
    if turn[0] > 0.0 > turn[1]:
        kind, price = RESISTANCE, max(m.recent[HIGH], m.candle[HIGH])
    elif turn[0] < 0.0 < turn[1]:
        kind, price = SUPPORT, min(m.recent[LOW], m.candle[LOW])
    else:
        return
    found, least = -1, math.inf
    for j in range(m.counts[USED]):
        apart = abs(price - m.prices[PRICE, j])
        if m.marks[STATUS, j] == ACTIVE and apart < least:
            if apart <= _width(m, m.rules.touch, m.prices[PRICE, j]):
                found, least = j, apart
    if found >= 0:
        _contact(m, t, found)
        return
    j = m.counts[USED]
    m.counts[USED] = j + 1
    m.prices[PRICE, j] = price
    m.prices[REBOUNDS, j] = abs(m.candle[CLOSE] - price) / m.recent[ATR]
    m.marks[KIND, j], m.marks[STATUS, j], m.marks[BORN_US, j] = kind, ACTIVE, ts
    m.marks[BORN, j] = m.marks[TOUCHED, j] = m.marks[CONTACT, j] = t
    m.marks[BROKE, j] = m.marks[TOUCHES, j] = 0
    _log(m, t, j, NEW + (kind == RESISTANCE), math.nan)


@njit(cache=True, nogil=True, error_model="numpy")
def _evict(m: Machine, t: int) -> None:
    """Drop the weakest level, the oldest of equals."""
    weakest, least = 0, math.inf
    for j in range(m.counts[USED]):
        strength = _strength(m, t, j)
        if strength < least:
            weakest, least = j, strength
    _deactivate(m, t, weakest)
    _close_up(m)


@njit(cache=True, nogil=True, error_model="numpy")
def _deactivate(m: Machine, t: int, j: int) -> None:
    beyond = (m.candle[CLOSE] - m.prices[PRICE, j]) * m.marks[KIND, j]
    _log(m, t, j, DEACTIVATE + _is_below(m, j, m.candle[CLOSE]), beyond)
    m.marks[STATUS, j] = _GONE


@njit(cache=True, nogil=True, error_model="numpy")
def _close_up(m: Machine) -> None:
    """Close up the slots of levels that are gone; clear those left free."""
    kept = 0
    for j in range(m.counts[USED]):
        if m.marks[STATUS, j] != _GONE:
            if kept < j:
                m.prices[:, kept] = m.prices[:, j]
                m.marks[:, kept] = m.marks[:, j]
            kept += 1
    m.prices[:, kept : m.counts[USED]] = 0.0
    m.marks[:, kept : m.counts[USED]] = 0
    m.counts[USED] = kept


@njit(cache=True, nogil=True, error_model="numpy")
def _strength(m: Machine, t: int, j: int) -> float:
    touches = m.marks[TOUCHES, j]
    evidence = 0.5 * touches + m.prices[REBOUNDS, j] / (touches + 1)
    idle = t - m.marks[TOUCHED, j]
    return 10.0 * (1.0 - math.exp(-evidence)) * 2.0 ** (-idle / m.rules.half_life_bars)


@njit(cache=True, nogil=True, error_model="numpy")
def _log(m: Machine, t: int, j: int, code: int, beyond: float) -> None:
    k, price = m.cursor[0], m.prices[PRICE, j]
    m.cursor[0] = k + 1
    m.log_marks[0, k], m.log_marks[1, k] = t, code
    m.log_marks[2, k], m.log_marks[3, k] = m.marks[BORN_US, j], m.marks[KIND, j]
    m.log_numbers[0, k] = price
    m.log_numbers[1, k] = beyond / m.recent[ATR] if not beyond < 0.0 else 0.0
    m.log_numbers[2, k] = (m.candle[CLOSE] - price) / m.recent[ATR]
    m.log_numbers[3, k] = _strength(m, t, j)


@njit(cache=True, nogil=True, error_model="numpy")
def _nearest(m: Machine, t: int, kind: int, numbers: Floats, marks: Integers) -> None:
    """Write the nearest active level of one side of the close, the oldest of equals."""
    found, least, close = -1, math.inf, m.candle[CLOSE]
    for j in range(m.counts[USED]):
        apart = (m.prices[PRICE, j] - close) * kind
        if 0.0 < apart < least and m.marks[KIND, j] == kind and m.marks[STATUS, j] == ACTIVE:
            found, least = j, apart
    if found < 0:
        numbers[:] = math.nan
        marks[:] = -1
        return
    numbers[0], numbers[1] = m.prices[PRICE, found], _strength(m, t, found)
    marks[0], marks[1] = m.marks[TOUCHES, found], t - m.marks[BORN, found]
    marks[2] = m.marks[BORN_US, found]
