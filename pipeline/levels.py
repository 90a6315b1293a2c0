"""Levels: support and resistance as events, and the nearest of them as of each close.

Belongs here: candles in, events and context out, month after month. Keep out: the rules
(``kernels.levels``), and levels as of an instant (``level_fold``).
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from kernels import levels as kernel
from market.errors import InputError, MalformedBarsError
from market.instruments import Instrument
from market.ports import State
from market.tables import CANDLES, INSTANT, LEVEL_EVENTS, Table
from market.timeframes import Timeframe

NEVER_US: Final = np.iinfo(np.int64).min

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


@dataclass(frozen=True, slots=True)
class Extended:
    """Events (``tables.LEVEL_EVENTS``), context (``CONTEXT``), and the state after the candles."""

    events: pl.DataFrame
    context: pl.DataFrame
    state: dict[str, npt.NDArray[np.generic]]


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
    bars = CANDLES.conform(candles).filter("complete")
    ts = _instants(bars["ts"])
    _require_after(ts, int(np.asarray(state["last_us"])[0]))
    prices = tuple(bars[name].to_numpy() for name in ("open", "high", "low", "close"))
    try:
        run = kernel.extend(dict(state), prices, ts, rules=config.rules)  # type: ignore[arg-type]
    except ValueError as e:
        raise InputError(str(e)) from e
    last_us = ts[-1:] if ts.size else np.asarray(state["last_us"])
    name = instrument.id if isinstance(instrument, Instrument) else instrument
    prefix = f"{name}_{timeframe}_"
    return Extended(
        events=_events(run.events, bars, (name, str(timeframe)), prefix),
        context=_context(run, bars, prefix),
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


def _events(
    events: kernel.Events, bars: pl.DataFrame, names: tuple[str, str], prefix: str
) -> pl.DataFrame:
    stamps = bars.select("ts", "known_at", bar=_text(bars["ts"]))[events.bar]
    level_id = prefix + _stamp_text(events.born_us) + "_0"  # a bar makes one level at most
    event = pl.Series("event", kernel.EVENTS)[events.code]
    kind = pl.Series(events.kind)
    frame = stamps.with_columns(
        level_id.alias("level_id"),
        event,
        pl.lit(names[0]).alias("instrument"),
        pl.lit(names[1]).alias("timeframe"),
        pl.Series("price", events.price),
        pl.Series("penetration", events.penetration, nan_to_null=True),
        pl.Series("rebound_atr", events.rebound),
        pl.Series("strength", events.strength),
        pl.when(kind > 0)
        .then(pl.lit("resistance"))
        .otherwise(pl.lit("support"))
        .alias("level_type"),
    ).with_columns(event_id=pl.concat_str("level_id", "bar", "event", separator="_"))
    return LEVEL_EVENTS.conform(frame)


def _context(run: kernel.Run, bars: pl.DataFrame, prefix: str) -> pl.DataFrame:
    columns = [pl.Series("atr", run.atr, nan_to_null=True)]
    for side, nearest in (("resistance", run.resistance), ("support", run.support)):
        is_none = pl.Series(np.isnan(nearest.price))
        level_id = prefix + _stamp_text(nearest.born_us) + "_0"
        columns += [
            pl.Series(side, nearest.price, nan_to_null=True),
            level_id.set(is_none, None).alias(f"{side}_id"),
            pl.Series(f"{side}_strength", nearest.strength, nan_to_null=True),
            pl.Series(f"{side}_touches", nearest.touches).set(is_none, None),
            pl.Series(f"{side}_age", nearest.age).set(is_none, None),
        ]
    return CONTEXT.conform(bars.select("ts", "known_at").with_columns(columns))


def _stamp_text(instants_us: npt.NDArray[np.int64]) -> pl.Series:
    # a level is named in many rows: write each instant once
    distinct, where = np.unique(instants_us, return_inverse=True)
    return _text(pl.Series(distinct).cast(INSTANT))[where]


def _text(ts: pl.Series) -> pl.Series:
    return ts.dt.strftime("%Y%m%dT%H%M%SZ")


def _instants(ts: pl.Series) -> npt.NDArray[np.int64]:
    return ts.to_physical().to_numpy()
