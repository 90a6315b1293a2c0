"""``labels/<timeframe>``: what happened next, once it can be known."""

from dataclasses import dataclass

import polars as pl

from assets import causality, checks, plots, reading
from assets.line import Line
from assets.stage import Inputs, Result, Stage
from market.months import month_bounds
from market.ports import PartitionKey
from market.tables import LABELS
from market.timeframes import Timeframe
from pipeline import labels, levels
from pipeline.candles import build_all

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
            f"One row per complete {self.timeframe} candle: barriers at its close, what the path "
            "to the horizon touched first, forward return; null until matured."
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
        raw_refs = inputs.rows["raw"]
        watermark_us = reading.watermark(line, raw_refs)
        work = _Month(line, key, reading.level_state(line, inputs))
        candles = line.lake.read(inputs.rows["candles"])
        context = work.context(candles)
        raw = line.lake.read(raw_refs)
        path = work.path(raw, watermark_us)
        rows = work.labels(candles, context, path, watermark_us)

        def replay(changed: pl.DataFrame, entries: pl.DataFrame) -> pl.DataFrame:
            wanted, known = (reading.at_instants(f, entries) for f in (candles, context))
            return work.labels(wanted, known, changed, watermark_us)

        return Result(
            rows=rows,
            attributes={"label_version": CONFIG.label_version, "watermark_us": watermark_us},
            checks={
                **checks.of_table(LABELS, rows, *month_bounds(key.month)),
                "causality": lambda: causality.of_labels(
                    line,
                    key,
                    work.chain,
                    rows,
                    raw=raw,
                    watermark_us=watermark_us,
                    path=path,
                    replay=replay,
                ),
            },
            plot=lambda: plots.label_mix(
                rows, title=f"{key.instrument} {key.timeframe} {key.month}"
            ),
        )


@dataclass(frozen=True, slots=True)
class _Month:
    """A month's labels, made from whatever bars are given: the partition's own, or altered ones."""

    line: Line
    key: PartitionKey
    state: reading.StateArrays

    def path(self, raw: pl.DataFrame, until_us: int) -> pl.DataFrame:
        """Return the base bars in session."""
        base = self.line.book[self.key.instrument].base_timeframe
        key = PartitionKey("candles", base.value, self.key.instrument, self.key.month)
        return reading.build_candles(self.line, key, raw, until_us).rows

    def context(self, candles: pl.DataFrame) -> pl.DataFrame:
        """Return the nearest levels as of each close."""
        return levels.extend(
            self.state, candles, instrument=self.key.instrument, timeframe=self.key.timeframe
        ).context

    def labels(
        self, candles: pl.DataFrame, context: pl.DataFrame, path: pl.DataFrame, until_us: int
    ) -> pl.DataFrame:
        """Return the labels of candles, given their levels and the path."""
        return labels.compute(
            candles,
            context,
            path,
            instrument=self.line.book[self.key.instrument],
            timeframe=Timeframe(self.key.timeframe),
            config=CONFIG,
            watermark_us=until_us,
        )

    def chain(self, raw: pl.DataFrame, until_us: int) -> pl.DataFrame:
        """Return the month's labels from base bars through every stage."""
        instrument = self.line.book[self.key.instrument]
        timeframe, base = Timeframe(self.key.timeframe), instrument.base_timeframe
        built = build_all(
            raw, instrument=instrument, timeframes=(timeframe, base), watermark_us=until_us
        )
        candles = reading.in_month(built[timeframe].rows, month_bounds(self.key.month))
        return self.labels(candles, self.context(candles), built[base].rows, until_us)
