"""Starts runs in this process: a range of partitions of one instrument in a single Dagster run.

Used by the command line and the demo. The UI, the daemon and schedules run the same assets; a
launcher or an executor on other machines is Dagster's own configuration, not ours.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from assets.line import Line
from assets.stage import Stage
from market.errors import WavehouseError

if TYPE_CHECKING:
    import dagster as dg

DAGSTER_YAML = """\
# Written by wavehouse where there was none. In production, point storage at Postgres.
telemetry:
  enabled: false
event_log_storage:
  module: orchestration.event_log
  class: PooledSqliteEventLogStorage
  config:
    base_dir: "{runs}"
"""


class RunFailedError(WavehouseError):
    """A Dagster run ended without success; the message is the first failed step's."""

    code = "RUN_FAILED"


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run."""

    run_id: str
    partitions: int


def prepare_home(folder: Path) -> None:
    """Make Dagster's home folder with telemetry off, and name it to Dagster unless it is named."""
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
    if "DAGSTER_HOME" in os.environ:
        return
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "dagster.yaml"
    if not config.exists():
        runs = folder / "history" / "runs"
        config.write_text(DAGSTER_YAML.format(runs=runs), encoding="utf-8")
    os.environ["DAGSTER_HOME"] = str(folder)


class Runner:
    """Runs stages over partition ranges against one Dagster instance."""

    def __init__(self, line: Line, dagster_home: Path) -> None:
        prepare_home(dagster_home)
        import dagster as dg  # noqa: PLC0415 - 1 to 2 s, and only runs need it

        from orchestration.definitions import build_defs  # noqa: PLC0415

        self._dg = dg
        self._instance = dg.DagsterInstance.get()
        self._job = build_defs(line=line).resolve_implicit_global_asset_job_def()

    def run_months(
        self, stages: Sequence[Stage], instrument: str, months: Sequence[str], *, stale_only: bool
    ) -> Run:
        """Materialise these stages over consecutive months of one instrument."""
        from orchestration.partitions import INSTRUMENTS, partition_key  # noqa: PLC0415

        self._instance.add_dynamic_partitions(str(INSTRUMENTS.name), [instrument])
        keys = [partition_key(instrument, month) for month in (months[0], months[-1])]
        return self._run(stages, keys, len(months), stale_only=stale_only)

    def run_cutoffs(
        self, stages: Sequence[Stage], months: Sequence[str], *, stale_only: bool
    ) -> Run:
        """Materialise the learning stages over consecutive cutoffs."""
        keys = [f"{month}-01" for month in (months[0], months[-1])]
        return self._run(stages, keys, len(months), stale_only=stale_only)

    def _run(
        self, stages: Sequence[Stage], keys: Sequence[str], months: int, *, stale_only: bool
    ) -> Run:
        from assets.build import STALE_ONLY  # noqa: PLC0415

        result = self._job.execute_in_process(
            instance=self._instance,
            asset_selection=[self._dg.AssetKey(stage.asset_path) for stage in stages],
            tags={
                "dagster/asset_partition_range_start": keys[0],
                "dagster/asset_partition_range_end": keys[1],
                STALE_ONLY: "true" if stale_only else "false",
            },
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
        if not result.success:
            raise RunFailedError(f"run {result.run_id}: {_first_failure(result)}")
        return Run(result.run_id, months * len(stages))


def _first_failure(result: "dg.ExecuteInProcessResult") -> str:
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data is not None and data.user_failure_data.description:
                return data.user_failure_data.description
            if data.error is not None:
                cause = data.error.cause or data.error
                return f"{event.step_key}: {cause.message.strip()}"
    return "ended without success and without a failed step"
