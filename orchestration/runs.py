"""Starts runs in this process: a range of partitions of one instrument in a single Dagster run.

Used by the command line and the demo. The UI, the daemon and schedules run the same assets; a
launcher or an executor on other machines is Dagster's own configuration, not ours.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.line import Line
from assets.stage import Stage
from market.errors import WavehouseError

if TYPE_CHECKING:
    import dagster as dg
    from dagster._core.remote_origin import RemoteJobOrigin

DAGSTER_YAML = """\
# Written by wavehouse where there was none. In production, point storage at Postgres.
telemetry:
  enabled: false
nux:
  enabled: false
event_log_storage:
  module: orchestration.event_log
  class: PooledSqliteEventLogStorage
  config:
    base_dir: "{runs}"
"""
EVENTS_AT_ONCE = 500
"""Of those that Dagster makes for a whole range: planned at its start, automatic at ``Output``."""
CODE_LOCATION = "wavehouse"
"""Name of the code location in ``workspace.yaml``."""


class RunFailedError(WavehouseError):
    """A Dagster run ended without success; message and cause's code are the first failed step's."""

    code = "RUN_FAILED"

    def __init__(self, message: str, cause: str = "") -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run."""

    run_id: str
    partitions: int


def prepare_home(folder: Path) -> None:
    """Make Dagster's home folder with telemetry off, and name it to Dagster unless it is named."""
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", str(EVENTS_AT_ONCE))
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

    def __init__(
        self, line: Line, dagster_home: Path, tags: Mapping[str, str] | None = None
    ) -> None:
        """``tags``: what Dagster's pages say of every run beside its partitions."""
        self._tags = dict(tags or {})
        prepare_home(dagster_home)
        import dagster as dg  # noqa: PLC0415 - 1 to 2 s, and only runs need it

        from orchestration.definitions import build_defs  # noqa: PLC0415

        self._dg = dg
        self._instance = dg.DagsterInstance.get()
        self._definitions = build_defs(line=line)

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

    def close_lost(self, tag: str, value: str) -> None:
        """Call those runs with a tag failed that no process makes any more; the caller knows."""
        wanted = self._dg.RunsFilter(tags={tag: value}, statuses=_unended(self._dg))
        for run in self._instance.get_runs(wanted):
            self._instance.report_run_failed(run, "its process is gone; another run goes on")

    def _run(
        self, stages: Sequence[Stage], keys: Sequence[str], months: int, *, stale_only: bool
    ) -> Run:
        from assets.build import STALE_ONLY  # noqa: PLC0415
        from orchestration.jobs import job_of  # noqa: PLC0415

        result = self._execute(
            job_of(stage.group for stage in stages),
            [stage.asset_path for stage in stages],
            {
                "dagster/asset_partition_range_start": keys[0],
                "dagster/asset_partition_range_end": keys[1],
                STALE_ONLY: "true" if stale_only else "false",
            },
        )
        if _was_interrupted(result):
            raise KeyboardInterrupt
        if not result.success:
            why, cause = _first_failure(result)
            raise RunFailedError(f"run {result.run_id}: {why}", cause)
        return Run(result.run_id, months * len(stages))

    def _execute(
        self, name: str, paths: Sequence[Sequence[str]], tags: Mapping[str, str]
    ) -> "dg.JobExecutionResult":
        """Run a part of a job here and now, recorded as what it is: a run of that job.

        ``execute_in_process`` would record a run of no code location, which Dagster's timeline
        leaves out and its pages cannot run again.
        """
        from dagster._core.definitions.job_base import InMemoryJob  # noqa: PLC0415
        from dagster._core.execution.api import execute_run  # noqa: PLC0415

        job = self._definitions.resolve_job_def(name)
        run = self._instance.create_run_for_job(
            job_def=job,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            tags={**job.run_tags, **self._tags, **tags},
            asset_selection=frozenset(self._dg.AssetKey(path) for path in paths),
            remote_job_origin=_origin(name),
        )
        return execute_run(InMemoryJob(job), run, self._instance)


def _unended(dg: Any) -> list[Any]:  # noqa: ANN401 - the module, imported late
    ended = {"SUCCESS", "FAILURE", "CANCELED"}
    return [status for status in dg.DagsterRunStatus if status.value not in ended]


def _origin(job: str) -> "RemoteJobOrigin":
    """Return where Dagster's pages find the job: by the code location's name alone."""
    from dagster._core.definitions.repository_definition import (  # noqa: PLC0415
        SINGLETON_REPOSITORY_NAME,
    )
    from dagster._core.remote_origin import (  # noqa: PLC0415
        RegisteredCodeLocationOrigin,
        RemoteJobOrigin,
        RemoteRepositoryOrigin,
    )

    location = RegisteredCodeLocationOrigin(CODE_LOCATION)
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME), job)


def _was_interrupted(result: "dg.JobExecutionResult") -> bool:
    """Say whether a step ended by Ctrl-C: Dagster records it as a failure and goes on."""
    errors = [e.step_failure_data.error for e in result.all_events if e.is_step_failure]
    return any(e is not None and e.cls_name == "DagsterExecutionInterruptedError" for e in errors)


def _first_failure(result: "dg.JobExecutionResult") -> tuple[str, str]:
    """Return what the first failed step says, and the code of the error behind it ("" if none)."""
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            told = data.user_failure_data
            if told is not None and told.description:
                code = told.metadata.get("code")
                return told.description, "" if code is None else str(code.value)
            if data.error is not None:
                cause = data.error.cause or data.error
                return f"{event.step_key}: {cause.message.strip()}", ""
    return "ended without success and without a failed step", ""
