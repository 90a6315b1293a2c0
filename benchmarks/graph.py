"""The whole graph over a year of synthetic minute candles: compute, I/O, and what Dagster adds.

The same stages run twice over the same bars into two empty lakes: by a plain loop whose lake is
timed (compute and I/O), and by Dagster in one range run. What Dagster's run takes beyond the loop
is its overhead, printed a partition, for 10 and for 120 partitions.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from assets.checks import run as run_checks
from assets.line import Line
from assets.stage import Stage
from market.instruments import Instrument, InstrumentBook
from market.months import month_range
from market.ports import PartitionKey, PartitionRef, State
from market.settings import ProviderSettings
from market.timeframes import Timeframe
from orchestration.graph import data_stages
from orchestration.resources import provider_factory
from storage.lake import ParquetLake

YEAR = tuple(month_range("2023-01", "2023-12"))


@dataclass(slots=True)
class TimedLake:
    """A lake that counts the seconds spent in it."""

    lake: ParquetLake
    seconds: dict[str, float] = field(default_factory=lambda: {"read": 0.0, "write": 0.0})

    def writing(self, table: str, timeframe: str, instrument: str) -> AbstractContextManager[None]:
        """Pass on."""
        return self.lake.writing(table, timeframe, instrument)

    def write(
        self,
        key: PartitionKey,
        rows: pl.DataFrame,
        *,
        state: State | None = None,
        code_version: str,
        inputs: Mapping[str, str],
        attributes: Mapping[str, Any] | None = None,
    ) -> PartitionRef:
        """Time a write."""
        start = time.perf_counter()
        ref = self.lake.write(
            key, rows, state=state, code_version=code_version, inputs=inputs, attributes=attributes
        )
        self.seconds["write"] += time.perf_counter() - start
        return ref

    def read(self, refs: Iterable[PartitionRef]) -> pl.DataFrame:
        """Time a read."""
        start = time.perf_counter()
        frame = self.lake.read(refs)
        self.seconds["read"] += time.perf_counter() - start
        return frame

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the rest of the port
        return getattr(self.lake, name)


def measure() -> dict[str, Any]:
    """Return seconds and megabytes of a year of minutes, and overhead at 10 and 120 partitions."""
    minutes = instrument_of("YEARM1", Timeframe.M1)
    hours = instrument_of("YEARSH1", Timeframe.H1)
    stages = [s for s in data_stages() if s.timeframe is None or s.timeframe in minutes.timeframes]
    _warm(stages, minutes)
    plain = loop(stages, minutes, YEAR)
    through = through_dagster(stages, minutes, YEAR)
    few = _overhead(hours, 10)
    many = _overhead(hours, 120)
    return {
        "partitions": plain["partitions"],
        "bars": plain["bars"],
        "compute_s": plain["compute_s"],
        "checks_s": plain["checks_s"],
        "io_s": plain["io_s"],
        "loop_s": plain["total_s"],
        "dagster_s": through,
        "dagster_overhead_ms_per_partition": 1e3
        * (through - plain["total_s"])
        / plain["partitions"],
        "overhead_ms_at_10": few,
        "overhead_ms_at_120": many,
        "overhead_ratio_120_to_10": many / few,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def instrument_of(name: str, base: Timeframe) -> Instrument:
    """Return a synthetic market that never closes."""
    return Instrument(
        id=name, asset_class="crypto", calendar="crypto", provider="synthetic", symbol=name,
        base_timeframe=base, tick_size=0.01, lot_size=1.0,
        options={"seed": 7, "start": "2010-01-01", "end": "2024-01-01"},
    )  # fmt: skip


def line_of(folder: Path, *instruments: Instrument) -> tuple[Line, TimedLake]:
    """Return a line over an empty lake, and the lake's clock."""
    lake = TimedLake(ParquetLake(folder))

    def no_models() -> Any:  # noqa: ANN401 - the data stages register nothing
        raise AssertionError("the data stages register no model")

    book = InstrumentBook({i.id: i for i in instruments})
    return Line(lake, book, provider_factory(ProviderSettings()), no_models), lake


def _warm(stages: Sequence[Stage], instrument: Instrument) -> None:
    """Compile what runs, outside the measurement."""
    loop(stages, instrument, YEAR[:2])


def loop(stages: Sequence[Stage], instrument: Instrument, months: Sequence[str]) -> dict[str, Any]:
    """Return what a plain loop over partitions spends on computing, checks and the lake."""
    with tempfile.TemporaryDirectory() as folder:
        line, lake = line_of(Path(folder), instrument)
        computing = checking = 0.0
        bars = 0
        start = time.perf_counter()
        for stage in stages:
            for month in months:
                key = stage.key(line, instrument.id, month)
                inputs = stage.inputs(line, key)
                t0, io0 = time.perf_counter(), sum(lake.seconds.values())
                result = stage.compute(line, key, inputs)
                t1, io1 = time.perf_counter(), sum(lake.seconds.values())
                outcomes = run_checks(result.checks)
                t2, io2 = time.perf_counter(), sum(lake.seconds.values())
                assert all(o.passed for o in outcomes.values()), outcomes
                computing += t1 - t0 - (io1 - io0)
                checking += t2 - t1 - (io2 - io1)
                lake.write(
                    key, result.rows, state=result.state, code_version=stage.code_version,
                    inputs=inputs.versions, attributes=result.attributes,
                )  # fmt: skip
                bars += result.rows.height if stage.table.name == "raw_candles" else 0
        total = time.perf_counter() - start
    return {
        "partitions": len(stages) * len(months), "bars": bars, "compute_s": computing,
        "checks_s": checking, "io_s": sum(lake.seconds.values()), "total_s": total,
    }  # fmt: skip


def through_dagster(
    stages: Sequence[Stage], instrument: Instrument, months: Sequence[str]
) -> float:
    """Return the seconds of one Dagster run over the same partitions, into an empty lake."""
    with tempfile.TemporaryDirectory() as folder:
        line, _ = line_of(Path(folder) / "lake", instrument)
        os.environ.pop("DAGSTER_HOME", None)
        from orchestration.runs import Runner  # noqa: PLC0415 - not part of what is measured

        runner = Runner(line, Path(folder) / "dagster")
        start = time.perf_counter()
        runner.run_months(stages, instrument.id, months, stale_only=False)
        seconds = time.perf_counter() - start
        os.environ.pop("DAGSTER_HOME", None)
    return seconds


def _overhead(instrument: Instrument, partitions: int) -> float:
    """Return Dagster's milliseconds a partition over ``partitions`` months of one light stage."""
    stages = data_stages()[:1]
    months = tuple(month_range("2010-01", "2019-12"))[:partitions]
    through = through_dagster(stages, instrument, months)
    return 1e3 * (through - loop(stages, instrument, months)["total_s"]) / partitions


def main() -> None:
    """Print the figures; ``--json OUT`` writes them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    out = parser.parse_args().json
    figures = measure()
    text = json.dumps(figures, indent=2)
    print(text)
    if out:
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
