"""A line over a lake in a folder and a provider that holds one frame: no network, no settings.

The provider can be restated, told that later bars have not come yet, and broken; ``run``
materialises a range of partitions in one Dagster run, as the command line does.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import dagster as dg
import polars as pl

from assets.build import STALE_ONLY
from assets.line import Line
from assets.stage import Stage
from market.calendars import calendar_for
from market.errors import ProviderUnavailableError
from market.instruments import Instrument, InstrumentBook
from market.months import month_of, month_start
from market.ports import Bars, PartitionKey
from market.timeframes import Timeframe
from orchestration.definitions import build_defs
from orchestration.graph import data_stages
from orchestration.partitions import INSTRUMENTS, partition_key
from providers.conventions import fingerprint
from storage.lake import ParquetLake
from tests.proofs.synthetic import bars

BTC = Instrument("BTC", "crypto", "crypto", "frame", "BTC", Timeframe.H1, 0.01, 1.0)
EUR = Instrument("EUR", "fx", "fx", "frame", "EUR", Timeframe.H1, 0.00001, 1.0)
MONTHS = ("2017-03", "2017-04", "2017-05", "2017-06")


def hourly(
    instrument: Instrument, first: str = "2017-03", until: str = "2017-07", *, seed: int = 7
) -> pl.DataFrame:
    """Return a random walk at every scheduled base bar of the months [first, until)."""
    grid = calendar_for(instrument).grid(
        instrument.base_timeframe, month_start(first), month_start(until)
    )
    ts = pl.Series("ts", grid.open_us).cast(pl.Datetime("us", "UTC"))
    return bars(grid.open_us.size, seed=seed).insert_column(0, ts)


class FrameProvider:
    """Delivers one frame; ``until_us`` hides what lies behind it, ``before`` breaks a fetch.

    It has no fingerprint, as a remote source has none, unless it ``is_marked``.
    """

    name = "frame"

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self.until_us: int | None = None
        self.is_marked = False
        self.before: Callable[[str], None] = lambda _month: None
        self.spoil: Callable[[str, pl.DataFrame], pl.DataFrame] = lambda _month, rows: rows
        self.fetched: list[str] = []

    def fetch(self, instrument: Instrument, start_us: int, end_us: int) -> Bars:
        """Return the bars that open in [start, end)."""
        month = month_of(start_us)
        self.fetched.append(month)
        self.before(month)
        stamps = pl.col("ts").dt.timestamp("us")
        rows = self._present.filter((stamps >= start_us) & (stamps < end_us))
        return Bars(self.spoil(month, rows), self._end(instrument))

    def span(self, instrument: Instrument) -> tuple[int, int]:
        """Return from the first open to the end of the last bar."""
        stamps = self._present["ts"].dt.timestamp("us")
        return int(stamps[0]), self._end(instrument)

    def fingerprint(self, instrument: Instrument, start_us: int, end_us: int) -> str | None:
        """Return what tells that the frame has changed, unless the source is one that cannot."""
        if not self.is_marked:
            return None
        stamps = pl.col("ts").dt.timestamp("us")
        rows = self._present.filter((stamps >= start_us) & (stamps < end_us))
        return fingerprint(Bars(rows, self._end(instrument)), end_us)

    def restate(self, row: int, **values: float) -> pl.DataFrame:
        """Change one bar as the source would, and return it as it is now."""
        is_it = pl.int_range(pl.len()) == row
        self.frame = self.frame.with_columns(
            pl.when(is_it).then(pl.lit(v)).otherwise(pl.col(c)).alias(c) for c, v in values.items()
        )
        return self.frame[row]

    @property
    def _present(self) -> pl.DataFrame:
        if self.until_us is None:
            return self.frame
        return self.frame.filter(pl.col("ts").dt.timestamp("us") < self.until_us)

    def _end(self, instrument: Instrument) -> int:
        last_us = int(self._present["ts"].dt.timestamp("us")[-1])
        return int(calendar_for(instrument).bar_ends(instrument.base_timeframe, [last_us])[0])


def broken_off(at: str) -> Callable[[str], None]:
    """Break the connection in the fetch of a month."""

    def before(month: str) -> None:
        if month == at:
            raise ProviderUnavailableError(f"frame BTC {month}: expected bars, was broken off")

    return before


def line_of(
    root: Path,
    provider: FrameProvider,
    *instruments: Instrument,
    published: Callable[[PartitionKey], None] = lambda _key: None,
) -> Line:
    """Return a line over a lake in ``root`` whose instruments all read ``provider``."""

    def no_models() -> NoReturn:
        raise AssertionError("models: expected no test to ask for them here")

    return Line(
        lake=ParquetLake(root, fsync=False),
        book=InstrumentBook({i.id: i for i in instruments or (BTC,)}),
        provider_for=lambda _instrument: provider,
        model_store=no_models,
        on_published=published,
    )


def stages_of(*timeframes: str, groups: Iterable[str] | None = None) -> list[Stage]:
    """Return ``raw_candles`` and the data stages of these timeframes, left to right."""
    wanted = set(groups) if groups is not None else None
    return [
        stage
        for stage in data_stages()
        if (stage.timeframe is None or stage.timeframe in timeframes)
        and (wanted is None or stage.group in wanted)
    ]


class Workshop:
    """Dagster over one line: the definitions once, an instance that remembers its events."""

    def __init__(self, line: Line, instance: dg.DagsterInstance | None = None) -> None:
        self.line = line
        self.instance = instance or dg.DagsterInstance.ephemeral(tempdir=beside(line))
        self.definitions = build_defs(line=line)
        self._job = self.definitions.resolve_implicit_global_asset_job_def()

    def run(
        self,
        stages: Sequence[Stage],
        months: Sequence[str],
        *,
        instrument: str = "BTC",
        stale_only: bool = False,
        succeeds: bool | None = True,
    ) -> dg.ExecuteInProcessResult:
        """Materialise a rectangle of partitions in one run."""
        self.instance.add_dynamic_partitions(str(INSTRUMENTS.name), [instrument])
        tags = {
            "dagster/asset_partition_range_start": partition_key(instrument, months[0]),
            "dagster/asset_partition_range_end": partition_key(instrument, months[-1]),
            STALE_ONLY: "true" if stale_only else "false",
        }
        result = self._job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(stage.asset_path) for stage in stages],
            tags=tags,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
        assert succeeds in (None, result.success), failure(result)
        return result

    def evaluations(self) -> list[dg.AssetCheckEvaluation]:
        """Return every check evaluation in the event log."""
        return [
            entry.asset_check_evaluation
            for run in self.instance.get_run_ids()
            for entry in self.instance.all_logs(run, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
            if entry.asset_check_evaluation is not None
        ]

    def last_event(self, stage: Stage, partition: str) -> dg.AssetMaterialization | None:
        """Return the newest materialisation of a partition."""
        records = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(
                asset_key=dg.AssetKey(stage.asset_path), asset_partitions=[partition]
            ),
            limit=1,
        ).records
        return records[0].asset_materialization if records else None


def beside(line: Line) -> str:
    """Return a folder of Dagster's own beside the lake."""
    assert isinstance(line.lake, ParquetLake)
    folder = line.lake.root.with_name(f"{line.lake.root.name}-dagster")
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def failure(result: dg.ExecuteInProcessResult) -> str:
    """Return the first failed step's description."""
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data is not None:
                return str(data.user_failure_data.description)
            return str(data.error)
    return ""


def fill(line: Line, stages: Iterable[Stage], months: Sequence[str]) -> None:
    """Make partitions by the stages' own functions, without Dagster."""
    for stage in stages:
        for month in months:
            key = stage.key(line, next(iter(line.book)).id, month)
            inputs = stage.inputs(line, key)
            result = stage.compute(line, key, inputs)
            line.lake.write(
                key, result.rows, state=result.state, code_version=stage.code_version,
                inputs=inputs.versions, attributes=result.attributes,
            )  # fmt: skip


def pointers(line: Line, stages: Iterable[Stage], instrument: str = "BTC") -> dict[str, str]:
    """Return partition → data version of everything that these stages have published."""
    found = {}
    for stage in stages:
        key = stage.key(line, instrument, "2000-01")
        for month in line.lake.months(key.table, key.timeframe, key.instrument):
            found[key.at(month).path] = line.lake.resolve(key.at(month)).version
    return found


def drop(line: Line, key: PartitionKey) -> None:
    """Take a partition's pointer away."""
    assert isinstance(line.lake, ParquetLake)
    line.lake.drop(key)


def contents(root: Path) -> Mapping[str, str]:
    """Return path → hash of every file below ``root`` that readers can see, clocks left out."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name not in {".lock", "history.jsonl"}
    }


def rows(line: Line, stage: Stage, instrument: str = "BTC") -> pl.DataFrame:
    """Return all months of a stage as one frame."""
    key = stage.key(line, instrument, "2000-01")
    months = line.lake.months(key.table, key.timeframe, key.instrument)
    return line.lake.read([line.lake.resolve(key.at(month)) for month in months])


def metadata_of(event: dg.AssetMaterialization) -> dict[str, Any]:
    """Return an event's metadata as plain values."""
    return {name: value.value for name, value in event.metadata.items()}
