"""The worker of a backfill job: takes it, brings its partitions up to date, says how far it is.

Belongs here: one process's hold on one job, and what becomes of the job in the end. Keep out: which
partitions are out of date (``updating``), what a job is in SQL (``storage.backfill_jobs``).

A partition that is published is noted in a transaction of its own, behind Dagster's event. Whatever
kills the worker costs at most the partition it was in: the next asks the lake again.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from assets.line import Line
from assets.stage import Stage
from market.errors import (
    PartitionBusyError,
    ProviderUnavailableError,
    StorageError,
    WavehouseError,
)
from market.ports import PartitionKey
from market.settings import BackfillSettings
from storage.backfill_jobs import CANCELLED, COMPLETED, FAILED, BackfillJobs, Made
from wavehouse.updating import Engine, Request, Update, outstanding

if TYPE_CHECKING:
    from storage.backfill_rows import Job

log = logging.getLogger("wavehouse.backfills")

JOB_TAG: Final = "wavehouse/job"
REQUEST_TAG: Final = "wavehouse/request"
TABLE: Final = "labels"
"""What a job makes, after all that it reads."""

_BEATS: Final = 3  # a lease is renewed so often before it lapses
_TRANSIENT: Final = frozenset(
    {PartitionBusyError.code, ProviderUnavailableError.code, "DAGSTER_UNAVAILABLE"}
)
"""Causes that may be gone the next time: another writer, a network, a server that is away."""


class StoppedError(WavehouseError):
    """The job is not to go on: it was cancelled, given back, or another worker has it."""

    code = "BACKFILL_STOPPED"


EngineOf = Callable[[Line, "Hold"], Engine]


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker works with; ``line_of`` makes a line that tells of published partitions."""

    jobs: BackfillJobs
    settings: BackfillSettings
    line_of: Callable[[Callable[[PartitionKey], None]], Line]
    engine_of: EngineOf
    take_up: "Callable[[Line, Hold], None]" = lambda _line, _hold: None
    """Follow to their ends the runs of the job's earlier workers, before anything is planned."""

    def work(self, job_id: str, stopping: threading.Event) -> str:
        """Make a job; return how it ended, or ``""`` where another worker has it or it has ended.

        ``stopping``: set to give the job back at the next partition.
        """
        if not self.jobs.take(job_id):
            return ""
        job = self.jobs.read(job_id)
        log.info("%s: worker %d of the job [trace_id=%s]", job_id, job.starts, job.request_id)
        request = Request(
            targets=(TABLE,),
            instrument=job.instrument,
            first=job.first,
            last=job.last,
            timeframes=(job.timeframe,),
            is_forced=job.is_forced,
        )
        hold = Hold(self.jobs, job, request, stopping)
        with hold.beating(self.settings.lease_s / _BEATS):
            try:
                self._make(hold)
            except WavehouseError as e:
                return self._ended(hold, e)
            except KeyboardInterrupt:
                self.jobs.release(job_id)
                raise
        return COMPLETED if self.jobs.finish(job_id, COMPLETED) else ""

    def _make(self, hold: "Hold") -> None:
        """Bring the request up to date; try again where that may help."""
        hold.line = self.line_of(hold.published)
        wait_s = self.settings.retry_s
        for attempt in range(1, self.settings.attempts + 1):
            try:
                hold.read_made()
                hold.look()
                self.take_up(hold.line, hold)
                hold.read_made()
                update = Update(
                    hold.line, hold.request, hold, lambda line: self.engine_of(line, hold)
                )
                update.data()
            except WavehouseError as e:
                hold.check()
                hold.stumble()
                if cause_of(e) not in _TRANSIENT or attempt == self.settings.attempts:
                    raise
                log.warning("%s: attempt %d: %s", hold.job.job_id, attempt, e)
                hold.rest(wait_s)
                wait_s *= 2
            else:
                hold.settle()
                return

    def _ended(self, hold: "Hold", error: WavehouseError) -> str:
        """Note why a job is not done; return how it ended."""
        job_id = hold.job.job_id
        if hold.is_lost:
            log.warning("%s: another worker has the job", job_id)
            return ""
        if hold.is_cancelled:
            self.jobs.finish(job_id, CANCELLED)
            return CANCELLED
        if hold.is_stopping:
            self.jobs.release(job_id)
            return ""
        log.error("%s: %s", job_id, error)
        self.jobs.finish(job_id, FAILED, cause_of(error), str(error))
        return FAILED


class Hold:
    """One process's hold on one job: renewed by a thread, checked at every partition."""

    line: Line

    def __init__(
        self, jobs: BackfillJobs, job: "Job", request: Request, stopping: threading.Event
    ) -> None:
        self.job, self.request = job, request
        self._jobs, self._stopping = jobs, stopping
        self._made: set[str] = set()
        self._wanted: dict[str, PartitionKey] = {}
        self._is_over = False  # cancelled, or another's
        self._done = threading.Event()

    @property
    def is_stopping(self) -> bool:
        """Whether this process is to end."""
        return self._stopping.is_set()

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody has asked the job to end."""
        return self._jobs.read(self.job.job_id).is_cancel_asked

    @property
    def is_lost(self) -> bool:
        """Whether the job is another worker's by now."""
        return not self._jobs.beat(self.job.job_id) and not self.is_cancelled

    @property
    def tags(self) -> dict[str, str]:
        """Return what Dagster's pages say of the job's runs."""
        tags = {JOB_TAG: self.job.job_id}
        return tags | ({REQUEST_TAG: self.job.request_id} if self.job.request_id else {})

    @contextmanager
    def beating(self, every_s: float) -> Iterator[None]:
        """Renew the lease from time to time until the block ends."""
        thread = threading.Thread(target=self._beat, args=(every_s,), daemon=True, name="lease")
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()

    def read_made(self) -> None:
        """Look up what the job has made before: by force it is not made again."""
        self._made = set(self._jobs.made_before(self.job.job_id))
        self.request = replace(self.request, made=frozenset(self._made))

    def expect(self, stages: Sequence[Stage], partitions: int) -> None:
        """Look at what is out of date now that a run is about to begin."""
        del stages, partitions
        self.look()

    def look(self) -> None:
        """Look at what is out of date now, and say how much it is."""
        keys = outstanding(self.line, self.request, self.job.instrument)
        self._wanted = {key.path: key for key in keys}
        self._note(self._jobs.expect(self.job.job_id, len(self._made | self._wanted.keys())))
        self.check()

    def published(self, key: PartitionKey, *, is_ours: bool = False) -> None:
        """Note a partition that Dagster has recorded; stop here if the job is not to go on.

        Only one that was out of date is; ``is_ours``: or one of a run that was the job's before.
        """
        is_noted = is_ours or key.path in self._wanted
        ref = self.line.lake.find(key) if is_noted else None
        if ref is not None:
            candles = ref.rows if key.table == TABLE else 0
            made = Made(key.path, ref.version, candles)
            self._note(self._jobs.made(self.job.job_id, made))
            self._made.add(key.path)
        self.check()

    def stumble(self) -> None:
        """Count a partition that could not be made."""
        self._note(self._jobs.stumble(self.job.job_id))

    def settle(self) -> None:
        """Take off the count what was found to be as it should be."""
        self._note(self._jobs.expect(self.job.job_id, len(self._made)))

    def rest(self, seconds: float) -> None:
        """Wait, unless the job is not to go on."""
        self._stopping.wait(seconds)
        self.check()

    def check(self) -> None:
        """Raise ``StoppedError`` if the job is not to go on."""
        if self._is_over or self.is_stopping:
            raise StoppedError(f"{self.job.job_id}: expected to go on, was stopped")

    def _note(self, goes_on: bool) -> None:  # noqa: FBT001 - what the database has just said
        self._is_over = self._is_over or not goes_on

    def _beat(self, every_s: float) -> None:
        while not self._done.wait(every_s):
            try:
                self._note(self._jobs.beat(self.job.job_id))
            except StorageError:  # the lease says how long that may last
                log.exception("%s: expected a database that answers", self.job.job_id)


def cause_of(error: WavehouseError) -> str:
    """Return the code of what is behind an error: that of a failed run is its step's."""
    return getattr(error, "cause", "") or error.code
