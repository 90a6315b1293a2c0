"""``features/<timeframe>``: what was known at each close, scale-free."""

import polars as pl

from assets import causality, checks, reading
from assets.line import Line
from assets.stage import Inputs, Result, Stage
from market.months import month_bounds
from market.ports import PartitionKey
from market.tables import FEATURES
from market.timeframes import Timeframe
from pipeline import features, levels


class Features(Stage):
    """Causal features of one timeframe; starts from the state at the end of the month before."""

    table = FEATURES
    group = "features"
    kinds = frozenset({"numba", "parquet"})
    check_names = ("schema", "order", "causality")

    @property
    def description(self) -> str:
        """Say what one row is."""
        return (
            f"One row per complete {self.timeframe} bar: every feature of the list, known at the "
            "bar's close. Null while warming up, where the source has no volume, and, of a level, "
            "where none stands on that side of the close; barriers are then those of volatility."
        )

    def inputs(self, line: Line, key: PartitionKey) -> Inputs:
        """Candles of the month, and both machines at the end of the month before."""
        return Inputs(
            rows={"candles": [line.lake.resolve(reading.candles_key(key))]},
            states={
                **reading.previous_state(line, key, "level_events"),
                **reading.previous_state(line, key, self.table.name),
            },
        )

    def compute(self, line: Line, key: PartitionKey, inputs: Inputs) -> Result:
        """Run the feature machine over the month, beside the levels as of each close."""
        level_state = reading.level_state(line, inputs)
        ref = inputs.states.get(self.table.name)
        state = line.lake.state(ref) if ref else dict(features.initial())
        bounds = month_bounds(key.month)
        instrument, timeframe = line.book[key.instrument], Timeframe(key.timeframe)

        def extend(candles: pl.DataFrame) -> features.Extended:
            context = levels.extend(
                level_state, candles, instrument=key.instrument, timeframe=key.timeframe
            ).context
            return features.extend(
                state, candles, context, instrument=instrument, timeframe=timeframe
            )

        def chain(raw: pl.DataFrame, watermark_us: int) -> pl.DataFrame:
            built = reading.build_candles(line, key, raw, watermark_us).rows
            return extend(reading.in_month(built, bounds)).rows

        done = extend(line.lake.read(inputs.rows["candles"]))
        return Result(
            rows=done.rows,
            state=done.state,
            attributes={"null_reasons": dict(done.null_reasons)},
            checks={
                **checks.of_table(FEATURES, done.rows, *bounds),
                "causality": lambda: causality.of_rows(line, key, chain, done.rows),
            },
        )
