"""``training_sets/<timeframe>``: what a model may learn from at a cutoff."""

import polars as pl

from assets import checks
from assets.line import Line
from assets.stage import Inputs, Outcome, Result, Stage
from learning import training_frame, training_set
from learning.training_set import TrainingSet
from market.months import month_start
from market.ports import PartitionKey, PartitionRef
from market.tables import TRAINING_SETS, Table

POOLED = "pooled"


class LearningStage(Stage):
    """A stage partitioned by cutoff month, over all instruments together."""

    def applies_to(self, line: Line, instrument_id: str) -> bool:
        """Pooled over instruments."""
        del line
        return instrument_id == POOLED

    def key(self, line: Line, instrument_id: str, month: str) -> PartitionKey:
        """Name the partition of a cutoff."""
        del line
        assert self.timeframe is not None  # noqa: S101 - graph.learning_stages gives one
        return PartitionKey(self.table_name, self.timeframe.value, instrument_id, month)


class TrainingSets(LearningStage):
    """Features and labels of every instrument, matured by the cutoff, with their weights."""

    table = TRAINING_SETS
    group = "training_sets"
    kinds = frozenset({"polars", "parquet"})
    check_names = ("schema", "maturity")

    @property
    def description(self) -> str:
        """Say what one row is."""
        return (
            f"One row per {self.timeframe} bar of any instrument whose label had matured by the "
            "cutoff: the features known at its close, its class, its weight (average uniqueness)."
        )

    def inputs(self, line: Line, key: PartitionKey) -> Inputs:
        """Features and labels of all months before the cutoff's."""
        return Inputs(rows=months_before(line, key, key.month))

    def compute(self, line: Line, key: PartitionKey, inputs: Inputs) -> Result:
        """Join, leave out what had not matured, weigh."""
        cutoff_us = month_start(key.month)
        made = rows_of(line, inputs, cutoff_us)
        rows = training_frame.to_frame(made)
        return Result(
            rows=rows,
            attributes={"facts": training_frame.facts(made)},
            checks={
                "schema": lambda: checks.schema(TRAINING_SETS, rows),
                "maturity": lambda: maturity(rows, cutoff_us),
            },
        )


def months_before(line: Line, key: PartitionKey, month: str) -> dict[str, list[PartitionRef]]:
    """Resolve features and labels of all instruments, in the months before ``month``."""
    return {
        table: [
            line.lake.resolve(PartitionKey(table, key.timeframe, instrument.id, m))
            for instrument in line.book
            if key.timeframe in instrument.timeframes
            for m in line.lake.months(table, key.timeframe, instrument.id)
            if m < month
        ]
        for table in ("features", "labels")
    }


def rows_of(line: Line, inputs: Inputs, cutoff_us: int) -> TrainingSet:
    """Join the features and labels that were resolved, as of a cutoff."""
    frames = {
        table: line.lake.read(refs) if refs else _empty(table)
        for table, refs in inputs.rows.items()
        if table in {"features", "labels"}
    }
    return training_set.build(
        frames["features"], frames["labels"], cutoff_us=cutoff_us, inputs=inputs.versions
    )


def _empty(table: str) -> pl.DataFrame:
    from market.tables import TABLES  # noqa: PLC0415 - only where there is nothing

    known: Table = TABLES[table]
    return known.empty()


def maturity(rows: pl.DataFrame, cutoff_us: int) -> Outcome:
    """No label is in the set that had not matured by the cutoff."""
    late = int((rows["matured_at"].dt.timestamp("us") > cutoff_us).sum())
    mix = {str(k): int((rows["label"] == k).sum()) for k in (-1, 0, 1)}
    return Outcome(
        passed=late == 0,
        description=f"{late} rows matured after the cutoff"
        if late
        else "all matured by the cutoff",
        metadata={"rows": rows.height, **{f"label_{k}": n for k, n in mix.items()}},
    )
