"""What a partition costs in processor time and bytes, and what very many would need.

``python -m benchmarks.scaling --write`` measures, keeps the figures in ``benchmarks/scaling.json``
and writes the tables between the markers of ``docs/scaling.md``; without it, it prints them.
Months of synthetic minutes of one instrument go through every data stage in a plain loop (processor
time of this process: compute, checks, lake), through Dagster in one run (what it adds), and from
the lake into ClickHouse (chdb, in this process). What is multiplied is said to be.
"""

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from assets.checks import run as run_checks
from assets.line import Line
from assets.stage import Stage
from benchmarks.pages import main
from market.instruments import Instrument, InstrumentBook
from market.months import month_range
from market.ports import PartitionKey
from market.settings import ProviderSettings
from market.timeframes import Timeframe
from orchestration.graph import data_stages
from orchestration.resources import provider_factory
from storage.clickhouse import transfer
from storage.clickhouse.connection import Connection, parse_dsn
from storage.clickhouse.lake import ClickHouseLake
from storage.lake import ParquetLake

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "scaling.md"
FIGURES: Final = ROOT / "benchmarks" / "scaling.json"
MONTHS: Final = tuple(month_range("2023-01", "2023-08"))
WARM: Final = 2  # months that are made first and not counted: what compiles, and what starts up
INSTRUMENTS: Final = 10_000
YEARS: Final = 10
CORES: Final = (16, 64, 256)


def measure() -> dict[str, Any]:
    """Return processor seconds and bytes a month of one instrument, by table."""
    instrument = Instrument(
        id="SCALE", asset_class="crypto", calendar="crypto", provider="synthetic", symbol="SCALE",
        base_timeframe=Timeframe.M1, tick_size=0.01, lot_size=1.0,
        options={"seed": 7, "start": "2023-01-01", "end": "2024-01-01"},
    )  # fmt: skip
    stages = [
        s for s in data_stages() if s.timeframe is None or s.timeframe in instrument.timeframes
    ]
    with tempfile.TemporaryDirectory() as folder:
        line, lake = _line(Path(folder) / "lake", instrument)
        made = _made(line, stages, instrument, MONTHS)
        sizes = _sizes(lake)
        moved = _moved(lake, Path(folder) / "warehouse")
    counted = len(MONTHS) - WARM
    return {
        "cores": os.cpu_count(),
        "months": counted,
        "tables": {
            table: {
                "partitions": found["partitions"] / counted,
                "rows": found["rows"] / counted,
                "cpu_s": found["cpu_s"] / counted,
                "lake_bytes": sizes[table] / len(MONTHS),
                "clickhouse_bytes": moved[table]["bytes"] / len(MONTHS),
                "clickhouse_cpu_s": moved[table]["cpu_s"] / counted,
            }
            for table, found in made.items()
        },
        "dagster_cpu_s": dagster_adds(stages, instrument, MONTHS[:WARM]),
    }


def _line(folder: Path, instrument: Instrument) -> tuple[Line, ParquetLake]:
    lake = ParquetLake(folder)

    def no_models() -> Any:  # noqa: ANN401 - the data stages register nothing
        raise AssertionError("the data stages register no model")

    book = InstrumentBook({instrument.id: instrument})
    return Line(lake, book, provider_factory(ProviderSettings()), no_models), lake


def _made(
    line: Line, stages: Sequence[Stage], instrument: Instrument, months: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Make every partition; return what those of the counted months took, by table."""
    found: dict[str, dict[str, float]] = {}
    for stage in stages:
        of_table = found.setdefault(stage.table.name, {"partitions": 0, "rows": 0, "cpu_s": 0.0})
        for number, month in enumerate(months):
            start = time.process_time()
            key = stage.key(line, instrument.id, month)
            inputs = stage.inputs(line, key)
            result = stage.compute(line, key, inputs)
            outcomes = run_checks(result.checks)
            assert all(o.passed for o in outcomes.values()), outcomes
            line.lake.write(
                key, result.rows, state=result.state, code_version=stage.code_version,
                inputs=inputs.versions, attributes=result.attributes,
            )  # fmt: skip
            if number >= WARM:
                of_table["cpu_s"] += time.process_time() - start
                of_table["partitions"] += 1
                of_table["rows"] += result.rows.height
    return found


def _sizes(lake: ParquetLake) -> dict[str, int]:
    """Return the bytes of each table's files, pointers and states with them."""
    return {
        folder.name: sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for folder in lake.root.iterdir()
        if folder.is_dir()
    }


def _moved(lake: ParquetLake, folder: Path) -> dict[str, dict[str, float]]:
    """Move the lake to ClickHouse; return bytes, and processor seconds of the counted months."""
    connection = Connection(parse_dsn(f"chdb://{folder}"))
    warehouse = ClickHouseLake(connection)
    taken: dict[str, dict[str, float]] = defaultdict(lambda: {"bytes": 0.0, "cpu_s": 0.0})
    clock = [time.process_time()]

    def count(key: PartitionKey, _done: int, _of: int) -> None:
        now = time.process_time()
        if key.month in MONTHS[WARM:]:
            taken[key.table]["cpu_s"] += now - clock[0]
        clock[0] = now

    transfer.sync(lake, warehouse, on_partition=count)
    parts = connection.frame(
        "SELECT table, sum(bytes_on_disk) AS bytes FROM system.parts "
        "WHERE active AND database = {database:String} GROUP BY table",
        about="system.parts",
        database=connection.address.database,
    )
    for table, size in parts.iter_rows():
        if table in taken:
            taken[table]["bytes"] = float(size)
    connection.close()
    return dict(taken)


def dagster_adds(stages: Sequence[Stage], instrument: Instrument, months: Sequence[str]) -> float:
    """Return the processor seconds that a partition takes more through Dagster than in the loop."""
    with tempfile.TemporaryDirectory() as folder:
        line, _ = _line(Path(folder) / "loop", instrument)
        start = time.process_time()
        _made(line, stages, instrument, months)
        loop = time.process_time() - start
        line, _ = _line(Path(folder) / "lake", instrument)
        os.environ.pop("DAGSTER_HOME", None)
        from orchestration.runs import Runner  # noqa: PLC0415 - not part of what is measured

        runner = Runner(line, Path(folder) / "dagster")
        start = time.process_time()
        runner.run_months(stages, instrument.id, months, stale_only=False)
        through = time.process_time() - start
        os.environ.pop("DAGSTER_HOME", None)
    return (through - loop) / (len(stages) * len(months))


def needs(figures: dict[str, Any]) -> dict[str, float]:
    """Return what all instruments over all years need: products of what was measured."""
    tables = figures["tables"].values()
    months = INSTRUMENTS * YEARS * 12
    partitions = sum(t["partitions"] for t in tables)
    make = sum(t["cpu_s"] for t in tables) + partitions * figures["dagster_cpu_s"]
    move = sum(t["clickhouse_cpu_s"] for t in tables)
    return {
        "instrument_months": months,
        "partitions": months * partitions,
        "rows": months * sum(t["rows"] for t in tables),
        "month_cpu_s": make,
        "core_hours": months * make / 3600,
        "clickhouse_core_hours": months * move / 3600,
        "lake_tb": months * sum(t["lake_bytes"] for t in tables) / 1e12,
        "clickhouse_tb": months * sum(t["clickhouse_bytes"] for t in tables) / 1e12,
        "cores_hourly": INSTRUMENTS * make / 3600,
    }


def render(figures: dict[str, Any]) -> str:
    """Return the page's tables in Markdown."""
    return "\n".join([*_measured(figures), "", *_multiplied(figures)])


def _measured(figures: dict[str, Any]) -> list[str]:
    lines = [
        (
            "A month of minutes of one instrument, around the clock: means over "
            f"{figures['months']} months, one process, {figures['cores']} cores. Processor time is "
            "that of compute, checks and the lake together."
        ),
        "",
        (
            "| table | partitions | rows | processor time | bytes in the lake "
            "| bytes in ClickHouse | time to move there |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{table}` | {f['partitions']:.0f} | {f['rows']:,.0f} | {f['cpu_s'] * 1e3:,.0f} ms "
        f"| {f['lake_bytes'] / 1e6:.2f} MB | {f['clickhouse_bytes'] / 1e6:.2f} MB "
        f"| {f['clickhouse_cpu_s'] * 1e3:,.0f} ms |"
        for table, f in figures["tables"].items()
    ]
    dagster_ms = figures["dagster_cpu_s"] * 1e3
    month_s = needs(figures)["month_cpu_s"]
    return [
        *lines,
        "",
        (
            f"Dagster adds {dagster_ms:.0f} ms of processor time a partition. "
            f"**{month_s:.1f} s an instrument and month**, all told."
        ),
    ]


def _multiplied(figures: dict[str, Any]) -> list[str]:
    need = needs(figures)
    core_hours = f"{need['core_hours']:,.0f}"
    return [
        f"{INSTRUMENTS:,} instruments x {YEARS} years of minutes, *multiplied, not measured*:",
        "",
        "```",
        f"instrument-months  {INSTRUMENTS:,} x {YEARS} x 12 = {need['instrument_months']:,.0f}",
        f"core-hours         instrument-months x {need['month_cpu_s']:.1f} s / 3600 = {core_hours}",
        "days on n cores    core-hours / n / 24",
        "bytes              instrument-months x bytes an instrument and month",
        "```",
        "",
        "| what | need |",
        "|---|---|",
        f"| partitions | {need['partitions']:,.0f} |",
        f"| rows, all tables | {need['rows']:,.0f} |",
        f"| the lake | {need['lake_tb']:.1f} TB |",
        f"| ClickHouse | {need['clickhouse_tb']:.1f} TB |",
        f"| made once | {core_hours} core-hours |",
        *(f"| made once on {n} cores | {need['core_hours'] / n / 24:,.1f} days |" for n in CORES),
        f"| moved to ClickHouse once | {need['clickhouse_core_hours']:,.0f} core-hours |",
        (
            "| a whole running month of every instrument made again each hour "
            f"| {need['cores_hourly']:,.0f} cores |"
        ),
    ]


if __name__ == "__main__":
    main(__doc__, measure, render, FIGURES, PAGE)
