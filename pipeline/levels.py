"""Levels: support and resistance as events, and the nearest of them as of each close.

Belongs here: candles in, events and context out, month after month. Keep out: the rules
(``kernels.levels``), and levels as of an instant (``level_fold``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from kernels import levels as kernel
from market.errors import InputError, MalformedBarsError
from market.instruments import Instrument
from market.ports import State
from market.tables import INSTANT, LEVEL_EVENTS, Table
from market.timeframes import Timeframe
from pipeline.candles import complete

NEVER_US: Final = np.iinfo(np.int64).min

_STAMP: Final = "%Y%m%dT%H%M%SZ"

_SIDE: Final = {
    "{}": pl.Float64(),  # price of the nearest active level on that side of the close
    "{}_id": pl.String(),
    "{}_strength": pl.Float64(),
    "{}_touches": pl.Int64(),
    "{}_age": pl.Int64(),  # bars since the bar that made it
}

CONTEXT: Final = Table(
    name="level_context",
    schema={
        "ts": INSTANT,
        "known_at": INSTANT,
        "atr": pl.Float64(),
        **{name.format("resistance"): dtype for name, dtype in _SIDE.items()},
        **{name.format("support"): dtype for name, dtype in _SIDE.items()},
    },
    key=("ts",),
    required=("ts", "known_at"),
)
"""What is known of levels at each close; never stored, always replayed from a state."""


@dataclass(frozen=True, slots=True)
class LevelConfig:
    """Every number of the level machine; part of the code version of whatever reads levels.

    ``touch`` and ``break_`` are in ATR, or shares of the level's price (``unit="price"``).
    """

    atr_period: int = 14
    unit: Literal["atr", "price"] = "atr"
    touch: float = 0.1
    break_: float = 0.2
    flip_bars: int = 20
    expiry_bars: int = 200
    max_active: int = 64
    half_life_bars: float = 200.0
    episode_gap: int = 2

    @property
    def rules(self) -> kernel.Rules:
        """Return the same numbers as the kernel takes them; raise ``InputError`` on a bad unit."""
        if self.unit not in ("atr", "price"):
            raise InputError(f"unit: expected atr or price, was {self.unit!r}")
        return kernel.Rules(
            atr_period=self.atr_period,
            is_price_unit=self.unit == "price",
            touch=self.touch,
            break_=self.break_,
            flip_bars=self.flip_bars,
            expiry_bars=self.expiry_bars,
            max_active=self.max_active,
            half_life_bars=self.half_life_bars,
            episode_gap=self.episode_gap,
        )


DEFAULT: Final = LevelConfig()
SOURCE: Final = LevelConfig(unit="price", touch=0.001, break_=0.002)
"""The label source's 0.1 % and 0.2 % of price, whatever the volatility."""


@dataclass(frozen=True)
class Extended:
    """What the machine made of candles; each frame is built when it is first asked for."""

    bars: pl.DataFrame
    run: kernel.Run
    instrument: str
    timeframe: str
    state: dict[str, npt.NDArray[np.generic]]

    @cached_property
    def events(self) -> pl.DataFrame:
        """Return the events (``tables.LEVEL_EVENTS``)."""
        return _events(self)

    @cached_property
    def context(self) -> pl.DataFrame:
        """Return what is known at each close (``CONTEXT``)."""
        return _context(self)

    def level_ids(self, born_us: npt.NDArray[np.int64]) -> pl.Series:
        """Return the ids of the levels born in these bars: a bar makes one level at most."""
        # a level is named in many rows: write each instant once
        distinct, where = np.unique(born_us, return_inverse=True)
        name = f"{self.instrument}_{self.timeframe}_".replace("%", "%%")
        ids = pl.Series(distinct).cast(INSTANT).dt.strftime(f"{name}{_STAMP}_0")
        return ids[where.astype(np.uint32)]


def initial(config: LevelConfig = DEFAULT) -> dict[str, npt.NDArray[np.generic]]:
    """Return the state before the first candle."""
    try:
        state = kernel.initial(config.rules)
    except ValueError as e:
        raise InputError(str(e)) from e
    return {**state, "last_us": np.array([NEVER_US], dtype=np.int64)}


def extend(
    state: State,
    candles: pl.DataFrame,
    *,
    config: LevelConfig = DEFAULT,
    instrument: Instrument | str,
    timeframe: Timeframe | str,
) -> Extended:
    """Feed the complete candles to the machine; return their events, context and the state after.

    ``state`` is left as it was. Raises ``InputError`` for candles that do not come after those that
    made the state, ``MalformedBarsError`` for candles out of order.
    """
    bars = complete(candles)
    ts = _instants(bars["ts"])
    _require_after(ts, int(np.asarray(state["last_us"])[0]))
    prices = tuple(bars[name].to_numpy() for name in ("open", "high", "low", "close"))
    try:
        run = kernel.extend(dict(state), prices, ts, rules=config.rules)  # type: ignore[arg-type]
    except ValueError as e:
        raise InputError(str(e)) from e
    last_us = ts[-1:] if ts.size else np.asarray(state["last_us"])
    return Extended(
        bars=bars,
        run=run,
        instrument=instrument.id if isinstance(instrument, Instrument) else instrument,
        timeframe=str(timeframe),
        state={**run.state, "last_us": last_us.copy()},
    )


def _require_after(ts: npt.NDArray[np.int64], last_us: int) -> None:
    disordered = np.flatnonzero(np.diff(ts) <= 0)
    if disordered.size:
        at = np.datetime64(int(ts[disordered[0] + 1]), "us")
        raise MalformedBarsError(
            f"ts {at}Z: expected ascending order, was not after the one before"
        )
    if ts.size and ts[0] <= last_us:
        raise InputError(
            f"candles: expected to begin after {np.datetime64(last_us, 'us')}Z, where the state "
            f"ends, was {np.datetime64(int(ts[0]), 'us')}Z"
        )


def _events(done: Extended) -> pl.DataFrame:
    events, rows = done.run.events, done.run.events.bar.astype(np.uint32)
    n = rows.size
    level_id = done.level_ids(events.born_us)
    event = pl.Series(kernel.EVENTS)[events.code.astype(np.uint32)]
    stamp = _text(done.bars["ts"])[rows]
    between = pl.Series(["_"])  # with a text, ``+`` makes a plan of expressions
    columns = {
        "event_id": level_id + between + stamp + between + event,
        "level_id": level_id,
        "instrument": pl.Series([done.instrument]).new_from_index(0, n),
        "timeframe": pl.Series([done.timeframe]).new_from_index(0, n),
        "ts": done.bars["ts"][rows],
        "known_at": done.bars["known_at"][rows],
        "event": event,
        "price": pl.Series(events.price),
        "level_type": pl.Series(["support", "resistance"])[(events.kind > 0).astype(np.uint32)],
        "penetration": pl.Series(events.penetration, nan_to_null=True),
        "rebound_atr": pl.Series(events.rebound),
        "strength": pl.Series(events.strength),
    }
    return _frame(LEVEL_EVENTS, columns)


def _context(done: Extended) -> pl.DataFrame:
    run = done.run
    sides = {"resistance": run.resistance, "support": run.support}
    ids = done.level_ids(np.concatenate([nearest.born_us for nearest in sides.values()]))
    columns = {
        "ts": done.bars["ts"],
        "known_at": done.bars["known_at"],
        "atr": pl.Series(run.atr, nan_to_null=True),
    }
    for number, (side, nearest) in enumerate(sides.items()):
        is_none = pl.Series(np.isnan(nearest.price))
        columns |= {
            side: pl.Series(nearest.price, nan_to_null=True),
            f"{side}_id": ids.slice(number * is_none.len(), is_none.len()).set(is_none, None),
            f"{side}_strength": pl.Series(nearest.strength, nan_to_null=True),
            f"{side}_touches": pl.Series(nearest.touches).set(is_none, None),
            f"{side}_age": pl.Series(nearest.age).set(is_none, None),
        }
    return _frame(CONTEXT, columns)


def _frame(table: Table, columns: Mapping[str, pl.Series]) -> pl.DataFrame:
    return table.conform(pl.DataFrame([x.alias(name) for name, x in columns.items()]))


def _text(ts: pl.Series) -> pl.Series:
    return ts.dt.strftime(_STAMP)


def _instants(ts: pl.Series) -> npt.NDArray[np.int64]:
    return ts.cast(pl.Int64).to_numpy()
