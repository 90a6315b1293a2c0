"""``levels/<timeframe>``: the log of support and resistance, in months chained by state."""

import polars as pl

from assets import causality, checks, plots, reading
from assets.line import Line
from assets.stage import Inputs, Result, Stage
from market.months import month_bounds
from market.ports import PartitionKey
from market.tables import LEVEL_EVENTS
from pipeline import levels


class Levels(Stage):
    """Level events of one timeframe, from the machine saved at the end of the month before."""

    table = LEVEL_EVENTS
    group = "levels"
    kinds = frozenset({"numba", "parquet"})
    check_names = ("schema", "order", "causality")

    @property
    def description(self) -> str:
        """Say what one row is."""
        return (
            f"One row per event of a {self.timeframe} support or resistance level (made, touched, "
            "broken, flipped, gone), known at the bar's close; levels as of any time are a fold."
        )

    def inputs(self, line: Line, key: PartitionKey) -> Inputs:
        """Candles of the month, and the machine at the end of the month before."""
        return Inputs(
            rows={"candles": [line.lake.resolve(reading.candles_key(key))]},
            states=reading.previous_state(line, key, self.table.name),
        )

    def compute(self, line: Line, key: PartitionKey, inputs: Inputs) -> Result:
        """Run the machine over the month."""
        state = reading.level_state(line, inputs)
        candles = line.lake.read(inputs.rows["candles"])
        done = levels.extend(state, candles, instrument=key.instrument, timeframe=key.timeframe)
        bounds = month_bounds(key.month)

        def chain(raw: pl.DataFrame, watermark_us: int) -> pl.DataFrame:
            built = reading.build_candles(line, key, raw, watermark_us)
            return levels.extend(
                state,
                reading.in_month(built.rows, bounds),
                instrument=key.instrument,
                timeframe=key.timeframe,
            ).events

        return Result(
            rows=done.events,
            state=done.state,
            checks={
                **checks.of_table(LEVEL_EVENTS, done.events, *bounds),
                "causality": lambda: causality.of_rows(line, key, chain, done.events),
            },
            plot=lambda: plots.levels(
                candles,
                done.events,
                state,
                instrument=key.instrument,
                timeframe=key.timeframe,
                month=key.month,
            ),
        )
