"""Levels as of an instant: a fold over events, and the same table out of a machine's state.

Belongs here: what stood when. Keep out: what makes an event (``kernels.levels``).
"""

from typing import Final

import numpy as np
import polars as pl

from kernels import levels as kernel
from market.instruments import Instrument
from market.ports import State
from market.tables import INSTANT, LEVEL_EVENTS
from market.timeframes import Timeframe

LEVELS: Final = {
    "level_id": pl.String(),
    "price": pl.Float64(),
    "level_type": pl.String(),  # support | resistance
    "status": pl.String(),  # active | broken (a barrier no more, unless it flips)
    "created_ts": INSTANT,  # open of the bar that made it
    "touches": pl.Int64(),
}


def fold(events: pl.DataFrame, as_of_us: int) -> pl.DataFrame:
    """Return the levels that stand at an instant (microseconds UTC), by what was known by then.

    One row a level that is active or broken, oldest first, with its last event besides: event, when
    it happened, and the strength after it. Reads rows in any order; none whose ``known_at`` lies
    after the instant.
    """
    known = LEVEL_EVENTS.conform(events).filter(
        pl.col("known_at") <= pl.lit(as_of_us).cast(INSTANT)
    )
    event = pl.col("event")
    # a level is broken and evicted in one bar at most: what removes it counts, in any order
    turn = event.str.starts_with("BREAK") | event.str.starts_with("FLIP")
    return (
        known.with_columns(is_gone=event.str.starts_with("DEACTIVATE"))
        .sort("known_at", "is_gone", maintain_order=True)
        .group_by("level_id", maintain_order=True)
        .agg(
            pl.col("price").last(),
            pl.col("level_type").last(),
            event.filter(turn).last().alias("turn"),
            pl.col("ts").first().alias("created_ts"),
            event.str.starts_with("TOUCH").sum().cast(pl.Int64).alias("touches"),
            event.last().alias("last_event"),
            pl.col("ts").last().alias("last_event_ts"),
            pl.col("strength").last(),
            pl.col("is_gone").last(),
        )
        .filter(~pl.col("is_gone"))
        .with_columns(
            status=pl.when(pl.col("turn").str.starts_with("BREAK").fill_null(value=False))
            .then(pl.lit("broken"))
            .otherwise(pl.lit("active"))
        )
        .select(*LEVELS, "last_event", "last_event_ts", "strength")
        .sort("created_ts", "level_id")
    )


def table(
    state: State, *, instrument: Instrument | str, timeframe: Timeframe | str
) -> pl.DataFrame:
    """Return the levels that a machine's state holds: what ``fold`` gives after its last candle."""
    levels = kernel.table(dict(state))
    name = instrument.id if isinstance(instrument, Instrument) else instrument
    created = pl.Series(levels.born_us).cast(INSTANT)
    return pl.DataFrame(
        {
            "level_id": f"{name}_{timeframe}_" + created.dt.strftime("%Y%m%dT%H%M%SZ") + "_0",
            "price": levels.price,
            "level_type": np.where(levels.kind > 0, "resistance", "support"),
            "status": np.where(levels.is_broken, "broken", "active"),
            "created_ts": created,
            "touches": levels.touches,
        },
        schema=LEVELS,
    )
