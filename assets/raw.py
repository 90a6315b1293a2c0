"""``raw_candles``: what the provider said, kept as it said it."""

import polars as pl

from assets import checks
from assets.line import Line
from assets.stage import Inputs, Result, Stage
from market.months import month_bounds
from market.ports import PartitionKey
from market.tables import RAW_CANDLES
from pipeline.states import watermark_state


class RawCandles(Stage):
    """Bars at the instrument's base timeframe, UTC and open-stamped, sessions not yet applied."""

    table = RAW_CANDLES
    group = "raw_candles"
    kinds = frozenset({"polars", "parquet"})
    check_names = ("schema", "order")
    description = (
        "One row per bar that the provider delivered at the instrument's base timeframe, "
        "before the session calendar is applied."
    )

    def inputs(self, line: Line, key: PartitionKey) -> Inputs:
        """Return none: nothing of ours lies to the left."""
        del line, key
        return Inputs()

    def is_fresh(self, line: Line, key: PartitionKey) -> bool:
        """Say whether the source says what it said, until the month's end or for as long as it can.

        A source without a fingerprint is believed to.
        """
        ref = line.lake.find(key)
        if ref is None or ref.code_version != self.code_version:
            return False
        instrument = line.book[key.instrument]
        provider, (start_us, end_us) = line.provider_for(instrument), month_bounds(key.month)
        if ref.attributes.get("fingerprint") != provider.fingerprint(instrument, start_us, end_us):
            return False
        spoken_us = int(ref.attributes["watermark_us"])
        return spoken_us >= end_us or spoken_us >= provider.span(instrument)[1]

    def compute(self, line: Line, key: PartitionKey, inputs: Inputs) -> Result:
        """Fetch the month, whole or not at all."""
        del inputs
        instrument = line.book[key.instrument]
        start_us, end_us = month_bounds(key.month)
        provider = line.provider_for(instrument)
        # before the bars: what changes between the two is found the next time, not missed
        fingerprint = provider.fingerprint(instrument, start_us, end_us)
        bars = provider.fetch(instrument, start_us, end_us)
        checks.require_bars(bars.frame, name=f"{provider.name} {key.instrument} {key.month}")
        rows = RAW_CANDLES.conform(
            bars.frame.with_columns(
                pl.lit(key.instrument).alias("instrument"),
                pl.lit(key.timeframe).alias("timeframe"),
                pl.lit(provider.name).alias("source"),
            )
        )
        watermark_us = min(bars.watermark_us, end_us)
        return Result(
            rows=rows,
            state=watermark_state(watermark_us),
            attributes={
                "watermark_us": watermark_us,
                "source": provider.name,
                **({"fingerprint": fingerprint} if fingerprint else {}),
            },
            checks=checks.of_table(RAW_CANDLES, rows, start_us, end_us),
        )
