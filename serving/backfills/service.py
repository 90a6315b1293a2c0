"""The backfill service: requests become jobs in SQL, and every job finds a worker.

Belongs here: the order of things, and the caretaker that starts workers. Keep out: HTTP (the
router's), the life of a job (``storage.backfill_jobs``).

Any number of servers may share a database: each looks after the jobs of all. A worker that is
killed is heard of no more, and whichever server looks next starts another.
"""

import datetime as dt
import logging
import re
import secrets
import string
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from market.calendars import calendar_for
from market.errors import InputError, StorageError, WavehouseError
from market.instruments import Instrument
from market.months import month_bounds
from market.settings import BackfillSettings
from market.timeframes import Timeframe
from serving.backfills.launching import Launcher, Question
from serving.errors import OverloadedError
from serving.metrics import BackfillMetrics
from storage.backfill_jobs import Backfill, BackfillJobs, Filter
from storage.backfill_rows import Job

log = logging.getLogger("wavehouse.backfills")

_BEATS: Final = 3
_LETTERS: Final = string.ascii_lowercase + string.digits
_FIRST, _LAST = "1970-01", "2199-12"  # that calendars know


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that will be made, whether a worker has been started, and what is to be expected."""

    job_id: str
    is_started: bool
    candles: int
    minutes: float | None


class BackfillService:
    """Everything behind ``/v1/batch``; the caretaker runs from ``start`` to ``close``."""

    def __init__(
        self,
        jobs: BackfillJobs,
        settings: BackfillSettings,
        metrics: BackfillMetrics,
        launcher: Launcher | None,
    ) -> None:
        """``launcher``: ``None`` where no process could see the jobs: none is taken then."""
        self._jobs, self._settings, self._metrics = jobs, settings, metrics
        self._launcher = launcher
        self._stop = threading.Event()
        self._care: threading.Thread | None = None

    def start(self) -> None:
        """Look after jobs from now on, those of a server that is gone included."""
        if self._launcher is not None:
            self._stop.clear()
            self._care = threading.Thread(target=self._care_for, name="backfill-care", daemon=True)
            self._care.start()

    def close(self) -> None:
        """End the caretaker; workers go on, and are looked after by the next server."""
        self._stop.set()
        if self._care is not None:
            self._care.join()
            self._care = None

    def submit(
        self, question: Question, instrument: Instrument, *, is_forced: bool, priority: str,
        request_id: str,
    ) -> Submitted:  # fmt: skip
        """Make a job of a request, and start its worker if none has to be waited for.

        Raise ``BackfillInProgressError`` if another job has the instrument, ``InputError`` for what
        cannot be made, ``OverloadedError`` where there are no workers.
        """
        check(question, instrument)
        if self._launcher is None:
            raise OverloadedError("backfills: expected a database that workers share", {})
        asked = Backfill(
            _job_id(question),
            question.instrument,
            question.timeframe,
            question.first,
            question.last,
            is_forced,
            priority,
            request_id,
        )
        try:
            self._jobs.submit(asked)
        except StorageError as e:
            self._metrics.asked.labels(e.code).inc()
            raise
        self._metrics.asked.labels("accepted").inc()
        candles = scheduled(question, instrument)
        pace = self._jobs.usual_pace(question.timeframe)
        rate = pace.candles_a_minute if pace else None
        self._start_left(self._launcher)
        is_started = self._jobs.read(asked.job_id).starts > 0  # by whichever server was first
        return Submitted(asked.job_id, is_started, candles, candles / rate if rate else None)

    def plan(self, question: Question, instrument: Instrument) -> Sequence[Mapping[str, str]]:
        """Return the partitions that are out of date, and why."""
        check(question, instrument)
        if self._launcher is None:
            raise OverloadedError("backfills: expected workers to ask, were none", {})
        return self._launcher.plan(question)

    def read(self, job_id: str) -> Job:
        """Return a job; raise ``UnknownJobError`` if there is none."""
        return self._jobs.read(job_id)

    def page(
        self, wanted: Filter, *, page: int, per_page: int, is_oldest_first: bool
    ) -> tuple[tuple[Job, ...], int]:
        """Return a page of jobs, and how many there are."""
        return self._jobs.page(
            wanted, limit=per_page, offset=(page - 1) * per_page, is_oldest_first=is_oldest_first
        )

    def cancel(self, job_id: str) -> Job:
        """End a job, at once or at its next partition."""
        return self._jobs.cancel(job_id)

    def _start_left(self, launcher: Launcher) -> None:
        """Start a worker for every job that may have one and has none."""
        limits = {"most": self._settings.workers, "most_starts": self._settings.starts}
        while (job_id := self._jobs.start_next(**limits)) is not None:
            try:
                launcher.start(job_id)
            except OSError:  # its lease lapses, and somebody tries again
                log.exception("%s: expected a process, was none", job_id)
                return
            self._metrics.workers.inc()

    def _care_for(self) -> None:
        launcher = self._launcher
        assert launcher is not None  # noqa: S101 - the thread is not started without
        while True:
            try:
                launcher.look()
                self._start_left(launcher)
                for status, count in self._jobs.counts().items():
                    self._metrics.jobs.labels(status).set(count)
            except WavehouseError:  # without this thread no job is ever taken up
                log.exception("backfills: expected a database that answers")
            if self._stop.wait(self._settings.lease_s / _BEATS):
                return


def check(question: Question, instrument: Instrument) -> None:
    """Raise ``InputError`` that names the field which cannot be."""
    known = [t.value for t in instrument.timeframes]
    if question.timeframe not in known:
        raise InputError(
            f"granularity: expected one of {', '.join(known)} for {instrument.id}, "
            f"was {question.timeframe}"
        )
    if question.first < _FIRST or question.last > _LAST:
        raise InputError(
            f"start_date: expected months from {_FIRST} to {_LAST}, "
            f"was {question.first} to {question.last}"
        )
    if question.last < question.first:
        raise InputError(f"end_date: expected {question.first} or later, was {question.last}")


def scheduled(question: Question, instrument: Instrument) -> int:
    """Return about how many candles the months have by the session calendar, until now."""
    start_us, end_us = month_bounds(question.first)[0], month_bounds(question.last)[1]
    end_us = max(start_us, min(end_us, int(dt.datetime.now(dt.UTC).timestamp() * 1e6)))
    found = calendar_for(instrument).sessions(start_us, end_us)
    timeframe = Timeframe(question.timeframe)
    if timeframe is Timeframe.D:
        return int(found.open_us.size)
    if timeframe is Timeframe.W:
        return int(np.unique(found.week).size)
    opens = np.maximum(found.open_us, start_us)
    closes = np.minimum(found.close_us, end_us)
    return int(np.sum(-(-(closes - opens) // timeframe.microseconds)))


def _job_id(question: Question) -> str:
    day = dt.datetime.now(dt.UTC).strftime("%Y%m%d")
    name = re.sub("[^a-z0-9]", "", question.instrument.lower()) or "x"
    tail = "".join(secrets.choice(_LETTERS) for _ in range(6))
    return f"bf_{day}_{name}_{question.timeframe.lower()}_{tail}"
