"""``candles/<timeframe>``: bars by the session calendar, built from the provider's own."""

import numpy as np
import polars as pl

from assets import checks, plots, reading
from assets.line import Line
from assets.stage import Inputs, Outcome, Result, Stage
from market.months import month_bounds, shift_month
from market.ports import PartitionKey
from market.tables import CANDLES
from market.timeframes import Timeframe
from pipeline.states import watermark_state


class Candles(Stage):
    """Candles of one timeframe; reads raw bars of its month and the next (a week may straddle)."""

    table = CANDLES
    group = "candles"
    kinds = frozenset({"polars", "numba", "parquet"})
    check_names = ("schema", "order", "tiling", "gaps")

    @property
    def description(self) -> str:
        """Say what one row is."""
        return (
            f"One row per {self.timeframe} bar of the instrument's session calendar, "
            "known at its scheduled end; missing base bars are counted, never filled."
        )

    def inputs(self, line: Line, key: PartitionKey) -> Inputs:
        """Raw bars of the month and, where it is there, of the next."""
        return Inputs(rows={"raw": reading.raw_window(line, key, 1)})

    def compute(self, line: Line, key: PartitionKey, inputs: Inputs) -> Result:
        """Cut the raw bars by the calendar and keep those that open in the month."""
        refs = inputs.rows["raw"]
        watermark_us = reading.watermark(line, refs)
        # until when it has spoken of this month's bars: the month after grows without moving these
        settled_us = reading.settled(line, key)
        raw = reading.before(line.lake.read(refs), settled_us)
        built = reading.build_candles(line, key, raw, watermark_us)
        bounds = month_bounds(key.month)
        rows = reading.in_month(built.rows, bounds)
        calendar = reading.calendar_of(line, key)
        timeframe = Timeframe(key.timeframe)
        return Result(
            rows=rows,
            state=watermark_state(min(watermark_us, settled_us)),
            attributes={"out_of_session": built.n_out_of_session, "watermark_us": watermark_us},
            checks={
                **checks.of_table(CANDLES, rows, *bounds),
                "tiling": lambda: checks.tiling(calendar, timeframe, rows),
                "gaps": lambda: self._gaps(line, key, rows, watermark_us),
            },
            plot=lambda: plots.candles(rows, title=f"{key.instrument} {key.timeframe} {key.month}"),
        )

    @staticmethod
    def _gaps(line: Line, key: PartitionKey, rows: pl.DataFrame, watermark_us: int) -> Outcome:
        start_us, end_us = month_bounds(key.month)
        is_first = line.lake.find(key.at(shift_month(key.month, -1))) is None
        if is_first and rows.height:
            start_us = int(rows["ts"].dt.timestamp("us")[0])
        grid = reading.calendar_of(line, key).grid(Timeframe(key.timeframe), start_us, end_us)
        return checks.gaps(rows, int(np.sum(grid.end_us <= watermark_us)))
