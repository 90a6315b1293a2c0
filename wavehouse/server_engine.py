"""Runs of a job that a Dagster server makes: launched, followed, taken up again, ended.

Belongs here: patience with a server that is away, and with a run that says nothing more. Keep out:
GraphQL (``dagster_server``), which partitions are out of date (``updating``).
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from assets.line import Line
from assets.stage import Stage
from market.ports import PartitionKey
from wavehouse.backfilling import JOB_TAG, Hold, StoppedError
from wavehouse.dagster_server import (
    UNFINISHED,
    WAITING,
    DagsterServer,
    DagsterUnavailableError,
    Failure,
)

if TYPE_CHECKING:
    from orchestration.runs import Run

log = logging.getLogger("wavehouse.backfills")

POLL_S: Final = 0.5
T = TypeVar("T")


@dataclass(slots=True)
class ServerEngine:
    """Makes the runs of one job on a Dagster server; see ``wavehouse.updating.Engine``."""

    server: DagsterServer
    line: Line
    hold: Hold
    stall_s: float
    poll_s: float = POLL_S
    _seen: set[str] = field(default_factory=set)

    def take_up(self) -> None:
        """Follow to their ends the runs that an earlier worker of the job has launched."""
        from orchestration.runs import RunFailedError  # noqa: PLC0415

        runs = self._patiently(lambda: self.server.unfinished(JOB_TAG, self.hold.job.job_id))
        for run_id in runs:
            try:
                self._follow(run_id, is_ours=True)
            except (RunFailedError, DagsterUnavailableError) as e:
                log.warning("%s: %s", self.hold.job.job_id, e)  # what is left is planned anew

    def run_months(
        self, stages: Sequence[Stage], instrument: str, months: Sequence[str], *, stale_only: bool
    ) -> "Run":
        """Materialise these stages over consecutive months of one instrument."""
        from assets.build import STALE_ONLY  # noqa: PLC0415
        from orchestration.partitions import INSTRUMENTS, partition_key  # noqa: PLC0415
        from orchestration.runs import Run  # noqa: PLC0415

        self._patiently(lambda: self.server.add_partition(str(INSTRUMENTS.name), instrument))
        tags = {
            **self.hold.tags,
            "dagster/asset_partition_range_start": partition_key(instrument, months[0]),
            "dagster/asset_partition_range_end": partition_key(instrument, months[-1]),
            STALE_ONLY: "true" if stale_only else "false",
        }
        run_id = self._launch([stage.asset_path for stage in stages], tags)
        self._follow(run_id)
        return Run(run_id, len(stages) * len(months))

    def _launch(self, paths: Sequence[Sequence[str]], tags: Mapping[str, str]) -> str:
        """Launch once: an answer that was lost is looked for among the job's runs first."""
        try:
            return self.server.launch(paths, tags)
        except DagsterUnavailableError:
            runs = self._patiently(lambda: self.server.unfinished(JOB_TAG, self.hold.job.job_id))
            return runs[0] if runs else self._patiently(lambda: self.server.launch(paths, tags))

    def _follow(self, run_id: str, *, is_ours: bool = False) -> None:
        """Tell of what a run publishes until it ends; raise if it fails or stalls."""
        try:
            self._until_ended(run_id, is_ours=is_ours)
        except StoppedError:
            if self.hold.is_cancelled:  # else the next worker takes the run up
                self._patiently(lambda: self.server.end(run_id, at_once=False), time.sleep)
            raise

    def _until_ended(self, run_id: str, *, is_ours: bool) -> None:
        from orchestration.runs import RunFailedError  # noqa: PLC0415

        cursor, failures = "", list[Failure]()
        last_heard = time.monotonic()
        while True:
            found = self._patiently(partial(self.server.follow, run_id, cursor))
            if found.cursor != cursor or found.status in WAITING:
                last_heard = time.monotonic()
            cursor = found.cursor
            failures += found.failures
            for path, partition in found.materialized:
                key = self._new(run_id, path, partition)
                if key is not None:
                    self.hold.published(key, is_ours=is_ours)
            if found.has_more:
                continue
            if found.status not in UNFINISHED:
                break
            if time.monotonic() - last_heard > self.stall_s:
                self._patiently(lambda: self.server.end(run_id, at_once=True))
                raise DagsterUnavailableError(
                    f"run {run_id}: expected an event in {self.stall_s:g} s, was none"
                )
            self.hold.rest(self.poll_s)
        if found.status != "SUCCESS":
            first = failures[0] if failures else Failure(f"ended as {found.status}", "")
            raise RunFailedError(f"run {run_id}: {first.message}", first.cause)

    def _new(self, run_id: str, path: tuple[str, ...], partition: str) -> PartitionKey | None:
        """Return the partition of its first event in a run: it has another at the step's end."""
        name = f"{run_id}/{'/'.join(path)}/{partition}"
        is_new = name not in self._seen
        self._seen.add(name)
        return self._key(path, partition) if is_new else None

    def _key(self, path: tuple[str, ...], partition: str) -> PartitionKey | None:
        from orchestration.graph import data_stages  # noqa: PLC0415
        from orchestration.partitions import split_key  # noqa: PLC0415

        instrument, month = split_key(partition)
        for stage in data_stages():
            if tuple(stage.asset_path) == path:
                return stage.key(self.line, instrument, month)
        return None

    def _patiently(self, ask: Callable[[], T], rest: Callable[[float], None] | None = None) -> T:
        """Ask a server that may be away, until it has been for too long."""
        rest = rest or self.hold.rest
        deadline = time.monotonic() + self.stall_s
        while True:
            try:
                return ask()
            except DagsterUnavailableError:
                if time.monotonic() > deadline:
                    raise
                rest(self.poll_s)
