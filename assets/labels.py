"""``labels/<timeframe>``: what happened next, once it can be known."""

import polars as pl

from assets import causality, checks, plots, reading
from assets.line import Line
from assets.stage import Inputs, Result, Stage
from market.months import month_bounds
from market.ports import PartitionKey
from market.tables import LABELS
from market.timeframes import Timeframe
from pipeline import labels, levels

CONFIG = labels.LabelConfig()


class Labels(Stage):
    """Forward labels of one timeframe; rewritten when the months of their horizon arrive."""

    table = LABELS
    group = "labels"
    kinds = frozenset({"numba", "parquet"})
    check_names = ("schema", "order", "causality")

    @property
    def description(self) -> str:
        """Say what one row is."""
        return (
            f"One row per complete {self.timeframe} candle: barriers at its close, what the path to "
            "the horizon touched first, forward return; null until matured."
        )

    @property
    def code_version(self) -> str:
        """Return what moves when the output can change."""
        return f"{super().code_version}-{CONFIG.label_version}"

    def inputs(self, line: Line, key: PartitionKey) -> Inputs:
        """Candles of the month, levels before it, raw bars as far as the horizon reaches."""
        ahead = labels.months_ahead(Timeframe(key.timeframe), CONFIG.horizon)
        return Inputs(
            rows={
                "candles": [line.lake.resolve(reading.candles_key(key))],
                "raw": reading.raw_window(line, key, ahead),
            },
            states=reading.previous_state(line, key, "level_events"),
        )

    def compute(self, line: Line, key: PartitionKey, inputs: Inputs) -> Result:
        """Replay the levels for each close, then follow the path."""
        state = reading.level_state(line, inputs)
        raw_refs = inputs.rows["raw"]
        watermark_us = reading.watermark(line, raw_refs)
        bounds = month_bounds(key.month)
        instrument = line.book[key.instrument]
        base_key = PartitionKey(
            "candles", instrument.base_timeframe.value, key.instrument, key.month
        )

        def path_of(raw: pl.DataFrame, until_us: int) -> pl.DataFrame:
            return reading.build_candles(line, base_key, raw, until_us).rows

        def context_of(candles: pl.DataFrame) -> pl.DataFrame:
            return levels.extend(
                state, candles, instrument=key.instrument, timeframe=key.timeframe
            ).context

        def compute(
            candles: pl.DataFrame, context: pl.DataFrame, path: pl.DataFrame, until_us: int
        ) -> pl.DataFrame:
            return labels.compute(
                candles, context, path, instrument=instrument,
                timeframe=Timeframe(key.timeframe), config=CONFIG, watermark_us=until_us,
            )  # fmt: skip

        def chain(raw: pl.DataFrame, until_us: int) -> pl.DataFrame:
            built = reading.build_candles(line, key, raw, until_us).rows
            cut = reading.in_month(built, bounds)
            return compute(cut, context_of(cut), path_of(raw, until_us), until_us)

        candles = line.lake.read(inputs.rows["candles"])
        context = context_of(candles)
        path = path_of(line.lake.read(raw_refs), watermark_us)

        def replay(changed: pl.DataFrame, entries: pl.DataFrame) -> pl.DataFrame:
            wanted, known = (f.join(entries, on="ts", how="semi") for f in (candles, context))
            return compute(wanted, known, changed, watermark_us)

        rows = compute(candles, context, path, watermark_us)
        return Result(
            rows=rows,
            attributes={"label_version": CONFIG.label_version, "watermark_us": watermark_us},
            checks={
                **checks.of_table(LABELS, rows, *bounds),
                "causality": lambda: causality.of_labels(
                    line, key, chain, rows,
                    raw_refs=raw_refs, path=path, replay=replay,
                ),
            },
            plot=lambda: plots.label_mix(
                rows, title=f"{key.instrument} {key.timeframe} {key.month}"
            ),
        )  # fmt: skip
