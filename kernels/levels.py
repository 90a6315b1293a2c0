"""Support and resistance as an online state machine.

Belongs here: what one candle does to the levels. Keep out: level ids as text, frames, and the fold
over events (``pipeline.levels``).
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels import level_layout as lm
from kernels import level_machine as machine
from kernels.gate import Instants, Series, instants, series
from kernels.volatility import atr, atr_state

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


class Levels(NamedTuple):
    """The levels that stand, active or broken and awaiting a flip, by birth; shape (levels,)."""

    born_us: Instants
    kind: Instants
    is_broken: npt.NDArray[np.bool_]
    price: Series
    touches: Instants


class Run(NamedTuple):
    """What a batch of candles gives: context as of each close, events, and the state after."""

    atr: Series
    resistance: Nearest
    support: Nearest
    events: Events
    state: State


def initial(rules: Rules = _DEFAULT) -> State:
    """Return the state before the first candle: no levels, no ATR.

    Raises
    ------
    ValueError
        If a rule is out of range.

    Examples
    --------
    >>> initial()["slots"].shape
    (65, 10)
    """
    least = {"atr_period": 1, "max_active": 1, "flip_bars": 0, "expiry_bars": 1, "episode_gap": 0}
    for name, bound in least.items():
        if getattr(rules, name) < bound:
            raise ValueError(f"{name}: expected >= {bound}, was {getattr(rules, name)}")
    if not 0.0 <= rules.touch <= rules.break_:
        raise ValueError(f"touch: expected 0 <= touch <= break_, was {rules.touch}, {rules.break_}")
    if not rules.half_life_bars > 0.0:
        raise ValueError(f"half_life_bars: expected > 0, was {rules.half_life_bars}")
    return {
        "memory": np.zeros(lm.CARRIED, dtype=np.float64),
        "atr": atr_state(rules.atr_period),
        "slots": np.zeros((rules.max_active + 1, lm.KEPT), dtype=np.float64),
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
    shape = (rules.max_active + 1, lm.KEPT)
    if state["memory"].shape != (lm.CARRIED,) or state["slots"].shape != shape:
        raise ValueError(f"state: expected slots of shape {shape}, was {state['slots'].shape}")
    book = _loaded(state, rules)
    near = np.empty((lm.CONTEXT_REALS, ts.size), dtype=np.float64)
    average = state["atr"].astype(np.float64)
    atr(highs, lows, closes, period=rules.atr_period, state=average, out=near[0])
    counts = np.empty((lm.CONTEXT_WHOLES, ts.size), dtype=np.int64)
    events = _run(book, (opens, highs, lows, closes, ts), (near, counts))
    return Run(
        atr=near[0],
        resistance=Nearest(*near[1:3], *counts[:3]),
        support=Nearest(*near[3:], *counts[3:]),
        events=events,
        state={**_saved(book, ts.size), "atr": average},
    )


def table(state: State) -> Levels:
    """Return the levels that a state holds, by birth."""
    slots = state["slots"][: int(state["memory"][lm.USED])]
    return Levels(
        born_us=slots[:, lm.BORN_TS].astype(np.int64),
        kind=slots[:, lm.KIND].astype(np.int64),
        is_broken=slots[:, lm.STATUS] == lm.BROKEN,
        price=slots[:, lm.PRICE].astype(np.float64),
        touches=slots[:, lm.TOUCHES].astype(np.int64),
    )


def _loaded(state: State, rules: Rules) -> lm.Book:
    """Return working copies of what the state carries, with the rules beside it, and the lists."""
    memory = np.zeros(lm.MEMORY + lm.DECAYS, dtype=np.float64)
    memory[: lm.CARRIED] = state["memory"]
    memory[lm.CARRIED : lm.CARRIED + len(rules)] = rules
    slots = np.zeros((rules.max_active + 1, lm.SLOT), dtype=np.float64)
    slots[:, : lm.KEPT] = state["slots"]
    lists = np.zeros((lm.LISTS, rules.max_active + 2), dtype=np.float64)
    who = np.zeros((lm.ORDERS, max(rules.max_active + 2, lm.COUNTED)), dtype=np.int64)
    book = memory, slots, lists, who
    machine.load(book)
    return book


def _run(
    book: lm.Book, bars: tuple[Series, Series, Series, Series, Instants], context: lm.Table
) -> Events:
    """Run the machine over all bars; where its log fills up, empty it and go on."""
    counts, n, parts, done = book[3][lm.COUNTS], bars[4].size, [], 0
    room = 3 * n + 4 * len(book[1])
    while True:
        log = np.empty((lm.LOGGED, room)), np.empty((lm.LOGGED, room), dtype=np.int64)
        done = machine.run(book, bars, done, log, context)
        logged = int(counts[lm.CURSOR])
        parts.append(Events(*log[1][:, :logged], *log[0][:, :logged]))
        counts[lm.CURSOR] = 0
        if done == n:
            break
    return parts[0] if len(parts) == 1 else Events(*map(np.concatenate, zip(*parts, strict=True)))


def _saved(book: lm.Book, n: int) -> State:
    """Return what a state carries, with bars counted back from the next one."""
    kept = np.zeros((len(book[1]), lm.KEPT), dtype=np.float64)
    machine.save(book, n, kept)
    return {"memory": book[0][: lm.CARRIED].copy(), "slots": kept}
