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
from pipeline import label_series, labels, levels
from pipeline.candles import build_all
from pipeline.label_series import LabelSeries

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
        """Candles of the month, levels and history before, raw bars as far as the horizon."""
        ahead = labels.months_ahead(Timeframe(key.timeframe), CONFIG.horizon)
        return Inputs(
            rows={
                "candles": [line.lake.resolve(reading.candles_key(key))],
                "raw": reading.raw_window(line, key, ahead),
            },
            states={
                **reading.previous_state(line, key, "level_events"),
                **reading.previous_state(line, key, self.table.name),
            },
        )

    def compute(self, line: Line, key: PartitionKey, inputs: Inputs) -> Result:
        """Replay the levels for each close, then follow the path."""
        raw_refs = inputs.rows["raw"]
        watermark_us = reading.watermark(line, raw_refs)
        ref = inputs.states.get(self.table.name)
        history = line.lake.state(ref) if ref else dict(label_series.initial())
        work = _Month(line, key, reading.level_state(line, inputs), history)
        candles = line.lake.read(inputs.rows["candles"])
        raw = reading.before(line.lake.read(raw_refs), work.reach_us())
        seen = work.seen(candles, work.ahead(raw, watermark_us))
        path = work.path(raw, watermark_us)
        rows = work.labels(seen, path, watermark_us)

        def replay(changed: pl.DataFrame, entries: pl.DataFrame) -> pl.DataFrame:
            return work.labels(seen.at(entries), changed, watermark_us)

        return Result(
            rows=rows,
            state=label_series.after(seen.series, month_bounds(key.month)[1]),
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
class _Seen:
    """Candles of a month, what was known at their closes, and the series that they stand in."""

    candles: pl.DataFrame
    context: pl.DataFrame
    series: LabelSeries

    def at(self, entries: pl.DataFrame) -> "_Seen":
        """Return the same for some of the candles."""
        candles, context = (reading.at_instants(f, entries) for f in (self.candles, self.context))
        return _Seen(candles, context, self.series)


@dataclass(frozen=True, slots=True)
class _Month:
    """A month's labels, made from whatever bars are given: the partition's own, or altered ones."""

    line: Line
    key: PartitionKey
    state: reading.StateArrays
    history: reading.StateArrays

    def reach_us(self) -> int:
        """Return the end of the last horizon: what is after it is in no label."""
        _, end_us = month_bounds(self.key.month)
        calendar = reading.calendar_of(self.line, self.key)
        timeframe = Timeframe(self.key.timeframe)
        # a candle that opens in the month may end after it: one bar more than the horizon
        return int(calendar.horizon_ends(timeframe, [end_us], CONFIG.horizon + 1)[0])

    def path(self, raw: pl.DataFrame, until_us: int) -> pl.DataFrame:
        """Return the base bars in session."""
        base = self.line.book[self.key.instrument].base_timeframe
        key = PartitionKey("candles", base.value, self.key.instrument, self.key.month)
        return reading.build_candles(self.line, key, raw, until_us).rows

    def ahead(self, raw: pl.DataFrame, until_us: int) -> pl.DataFrame:
        """Return the candles after the month into which its horizons reach."""
        _, end_us = month_bounds(self.key.month)
        reach_us = self.reach_us()
        bars = reading.in_month(raw, (end_us, reach_us))
        built = reading.build_candles(self.line, self.key, bars, until_us).rows
        return reading.in_month(built, (end_us, reach_us))

    def seen(self, candles: pl.DataFrame, ahead: pl.DataFrame) -> _Seen:
        """Return the month's candles, the nearest levels as of each close, and their series."""
        calendar, timeframe = (
            reading.calendar_of(self.line, self.key),
            Timeframe(self.key.timeframe),
        )
        played = levels.extend(
            self.state,
            pl.concat([candles, ahead]),
            instrument=self.key.instrument,
            timeframe=timeframe,
        )
        series = label_series.follow(
            self.history,
            played,
            self.state,
            calendar=calendar,
            timeframe=timeframe,
            horizon=CONFIG.horizon,
        )
        return _Seen(
            candles, reading.in_month(played.context, month_bounds(self.key.month)), series
        )

    def labels(self, seen: _Seen, path: pl.DataFrame, until_us: int) -> pl.DataFrame:
        """Return the labels of candles, given their levels and the path."""
        return labels.compute(
            seen.candles,
            seen.context,
            path,
            instrument=self.line.book[self.key.instrument],
            timeframe=Timeframe(self.key.timeframe),
            config=CONFIG,
            watermark_us=until_us,
            series=seen.series,
        )

    def chain(self, raw: pl.DataFrame, until_us: int) -> pl.DataFrame:
        """Return the month's labels from base bars through every stage."""
        instrument = self.line.book[self.key.instrument]
        timeframe, base = Timeframe(self.key.timeframe), instrument.base_timeframe
        built = build_all(
            raw, instrument=instrument, timeframes=(timeframe, base), watermark_us=until_us
        )
        candles = reading.in_month(built[timeframe].rows, month_bounds(self.key.month))
        seen = self.seen(candles, self.ahead(raw, until_us))
        return self.labels(seen, built[base].rows, until_us)
