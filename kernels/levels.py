"""Support and resistance as an online state machine.

Belongs here: what one candle does to the levels. Keep out: level ids as text, frames, and the fold
over events (``pipeline.levels``).
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.gate import Instants, Series, instants, series
from kernels.level_machine import (
    ATR,
    BORN,
    BROKE,
    BROKEN,
    CONTACT,
    STATUS,
    TOUCHED,
    USED,
    Floats,
    Integers,
    Machine,
    Rules,
    run,
)

State = dict[str, npt.NDArray[np.generic]]

EVENTS: Final = (
    "NEW_SUPPORT",
    "NEW_RESISTANCE",
    "FLIP_TO_SUPPORT",
    "FLIP_TO_RESISTANCE",
    "TOUCH_UP",
    "TOUCH_DOWN",
    "BREAK_SUPPORT",
    "BREAK_RESISTANCE",
    "DEACTIVATE_UP",
    "DEACTIVATE_DOWN",
)
"""Events by code; the steps of one candle are in no such order."""


_DEFAULT: Final = Rules()


class Nearest(NamedTuple):
    """The nearest active levels of one side, one row a candle; NaN and -1 where there is none."""

    price: Series
    strength: Series
    touches: Instants
    age: Instants
    born_us: Instants


class Events(NamedTuple):
    """What happened, in order; ``bar`` indexes the batch, ``code`` indexes ``EVENTS``."""

    bar: Instants
    code: Instants
    born_us: Instants
    kind: Instants
    price: Series
    penetration: Series
    rebound: Series
    strength: Series


class Run(NamedTuple):
    """What a batch of candles gives: context as of each close, events, and the state after."""

    atr: Series
    resistance: Nearest
    support: Nearest
    events: Events
    state: State


def initial(rules: Rules = _DEFAULT) -> State:
    """Return the state before the first candle: no levels, no ATR."""
    for name, least in (("atr_period", 1), ("max_active", 1), ("flip_bars", 0), ("expiry_bars", 1)):
        if getattr(rules, name) < least:
            raise ValueError(f"{name}: expected >= {least}, was {getattr(rules, name)}")
    if not (0.0 <= rules.touch <= rules.break_):
        raise ValueError(f"touch: expected 0 <= touch <= break_, was {rules.touch}, {rules.break_}")
    if not rules.half_life_bars > 0.0:
        raise ValueError(f"half_life_bars: expected > 0, was {rules.half_life_bars}")
    recent = np.zeros(6, dtype=np.float64)
    recent[ATR] = np.nan
    slots = rules.max_active + 1
    return {
        "recent": recent,
        "counts": np.zeros(2, dtype=np.int64),
        "prices": np.zeros((2, slots), dtype=np.float64),
        "marks": np.zeros((8, slots), dtype=np.int64),
    }


def extend(
    state: State,
    bars: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike, npt.ArrayLike],
    ts_us: npt.ArrayLike,
    *,
    rules: Rules = _DEFAULT,
) -> Run:
    """Feed candles to the level machine; return context, events and the state after them.

    Causal: row i reads candles up to i alone, and a level acts on candles after the one that made
    it. Cutting the input into chunks changes no bit of any output (ages in a state are relative, so
    a state does not tell where its history began). Warm-up: no level and no event before ATR is
    valid, at index ``atr_period`` (14).

    Everything of candle t uses ATR_t (Wilder, seeded as in TA-Lib), known at its close. The touch
    band is p +- ``touch`` and the break distance ``break_``, in ATR_t or in shares of p. Within a
    candle, each step by level id:

    1. break: an active resistance with close > p + break distance waits, broken, for its flip;
    2. flip: broken at most ``flip_bars`` ago, previous close > p, the candle enters the touch band
       and closes > p: active again, as support;
    3. touch: the candle enters the band of an active level. It is an event only where the last
       contact is more than ``episode_gap`` candles ago;
    4. expiry: broken ``flip_bars`` ago, or ``expiry_bars`` without a touch (birth and flip count);
    5. new: previous candle green, this one red: a resistance at the higher of the two highs, unless
       within the band of an active level (then a contact of the nearest such level);
    6. eviction: above ``max_active`` (broken ones count) the weakest goes, the oldest of equals.

    Supports mirror it; negated prices give the mirrored events to the bit, and prices times a power
    of two the same events. A price that equals a level counts as lying on the level's own side:
    below a resistance, above a support.

    Strength is 10 (1 - exp(-(touches / 2 + mean |rebound| in ATR))) 2^(-bars since touch /
    ``half_life_bars``), 0..10; the rebounds are those of the birth and of each touch.

    Parameters
    ----------
    state
        From ``initial`` or an earlier run under the same rules; not altered.
    bars
        Open, high, low, close: float64, shape (n,), price units, finite.
    ts_us
        int64, shape (n,), bar opens in microseconds UTC, ascending.
    rules
        The configuration.

    Returns
    -------
    Run
        ``atr`` (price units, NaN in warm-up) and the nearest active levels strictly above and below
        each close, shape (n,); ``events`` of shape (m,): ``penetration`` in ATR >= 0 (NaN for a new
        level), ``rebound`` (close - price) / ATR signed, ``kind`` 1 resistance or -1 support after
        the event; ``state`` after the last candle.

    Raises
    ------
    ValueError
        If shapes differ, or the state was made under another ``max_active``.

    References
    ----------
    TA-Lib, ``ATR``, for the average true range; J. W. Wilder, New Concepts in Technical Trading
    Systems (1978).

    Examples
    --------
    >>> rules = Rules(atr_period=1)
    >>> bars = ([1.0850, 1.0855], [1.0860, 1.0865], [1.0840, 1.0845], [1.0855, 1.0848])
    >>> run = extend(initial(rules), bars, [0, 1], rules=rules)
    >>> [EVENTS[code] for code in run.events.code], run.events.price.tolist()
    (['NEW_RESISTANCE'], [1.0865])
    """
    opens, highs, lows, closes = (
        series(x, name) for x, name in zip(bars, ("open", "high", "low", "close"), strict=True)
    )
    ts = instants(ts_us, "ts_us")
    for name, column in (("open", opens), ("high", highs), ("low", lows), ("close", closes)):
        if column.shape != ts.shape:
            raise ValueError(f"{name}: expected shape {ts.shape} as ts_us, was {column.shape}")
    slots = rules.max_active + 1
    if state["prices"].shape != (2, slots):
        raise ValueError(f"state: expected {slots} slots, was {state['prices'].shape[1]}")
    machine = _machine(state, rules, ts.size)
    context = np.empty((5, ts.size)), np.empty((6, ts.size), dtype=np.int64)
    events = _events(machine, (opens, highs, lows, closes), ts, context)
    numbers, marks = context
    return Run(
        atr=numbers[0],
        resistance=Nearest(numbers[1], numbers[2], marks[0], marks[1], marks[2]),
        support=Nearest(numbers[3], numbers[4], marks[3], marks[4], marks[5]),
        events=events,
        state=_state(machine, ts.size),
    )


def _machine(state: State, rules: Rules, n: int) -> Machine:
    slots = rules.max_active + 1
    room = 2 * n + 4 * slots
    return Machine(
        candle=np.zeros(4, dtype=np.float64),
        recent=np.array(state["recent"], dtype=np.float64),
        rules=_typed(rules),
        prices=np.array(state["prices"], dtype=np.float64),
        marks=np.array(state["marks"], dtype=np.int64),
        counts=np.array(state["counts"], dtype=np.int64),
        actions=np.zeros(slots, dtype=np.int64),
        log_marks=np.empty((4, room), dtype=np.int64),
        log_numbers=np.empty((4, room), dtype=np.float64),
        cursor=np.zeros(1, dtype=np.int64),
    )


def _events(
    machine: Machine,
    bars: tuple[Series, Series, Series, Series],
    ts: Instants,
    context: tuple[Floats, Integers],
) -> Events:
    """Run the machine over all bars; where its log fills up, empty it and go on."""
    log: list[tuple[Integers, Floats]] = []
    done = -1
    while done < ts.size:
        done = run(machine, bars, ts, max(done, 0), context)
        used = machine.cursor[0]
        log.append((machine.log_marks[:, :used].copy(), machine.log_numbers[:, :used].copy()))
        machine.cursor[0] = 0
    marks = np.concatenate([part[0] for part in log], axis=1)
    numbers = np.concatenate([part[1] for part in log], axis=1)
    return Events(*marks, *numbers)


def _state(machine: Machine, n: int) -> State:
    """Return the state with bars counted back from the next one."""
    marks, used = machine.marks, int(machine.counts[USED])
    marks[[BORN, TOUCHED, CONTACT], :used] -= n
    marks[BROKE, marks[STATUS] == BROKEN] -= n
    return {
        "recent": machine.recent,
        "counts": machine.counts,
        "prices": machine.prices,
        "marks": marks,
    }


def _typed(rules: Rules) -> Rules:
    """Return the rules with exact types, so that ``touch=1`` compiles nothing anew."""
    return Rules(
        int(rules.atr_period),
        bool(rules.is_price_unit),
        float(rules.touch),
        float(rules.break_),
        int(rules.flip_bars),
        int(rules.expiry_bars),
        int(rules.max_active),
        float(rules.half_life_bars),
        int(rules.episode_gap),
    )
