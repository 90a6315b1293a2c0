"""Backtests that nobody waits for: a bounded queue, a few threads, and a lease on each.

Belongs here: when a run begins, and what is noted when it ends in any way. Keep out: what it
computes.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from market.errors import StorageError, WavehouseError
from serving.errors import OverloadedError
from storage.backtest_runs import BacktestRuns, RunInfo

log = logging.getLogger("wavehouse.backtests")

_LATER: Final = {"Retry-After": "5"}
_BEATS: Final = 3  # a lease is renewed so often before it lapses
_HOUR_S: Final = 3600.0


class Jobs:
    """The runs that this process has, waiting or computed, from ``start`` to ``close``."""

    def __init__(
        self, runs: BacktestRuns, *, threads: int, waiting: int, lease_s: float, keep_s: float
    ) -> None:
        self._runs = runs
        self._threads = threads
        self._waiting = waiting
        self._beat_s = lease_s / _BEATS
        self._keep_s = keep_s
        self._pool: ThreadPoolExecutor | None = None
        self._active: dict[str, Future[None] | None] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._care: threading.Thread | None = None

    def start(self, *, is_shared: bool) -> None:
        """Take jobs from now on; of a shared database, look after what others left."""
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="backtest")
        self._stop.clear()
        if is_shared:
            self._look_after()

    def submit(self, info: RunInfo, make: Callable[[], bytes]) -> None:
        """Note a run, and let a thread make its answer; raise ``OverloadedError`` if many wait."""
        with self._lock:
            pool = self._pool
            if pool is None or len(self._active) >= self._threads + self._waiting:
                raise OverloadedError(
                    f"backtests: expected at most {self._waiting} that wait, were as many", _LATER
                )
            self._active[info.run_id] = None
        try:
            self._runs.submit(info)
        except BaseException:
            self._release(info.run_id)
            raise
        self._look_after()
        with self._lock:
            if self._pool is pool:
                self._active[info.run_id] = pool.submit(self._work, info.run_id, make)
                return
        self._give_up(info.run_id)

    def close(self) -> None:
        """Let what is computed end, and fail what waits: whoever asks is told that it was not."""
        with self._lock:
            pool, self._pool = self._pool, None
            waiting = [run for run, job in self._active.items() if job is not None and job.cancel()]
        for run_id in waiting:
            self._give_up(run_id)
        if pool is not None:
            pool.shutdown()
        self._stop.set()
        if self._care is not None:
            self._care.join()
            self._care = None

    def _give_up(self, run_id: str) -> None:
        message = "run: expected to be computed, was waiting when the server stopped; ask again"
        self._note(self._runs.fail, run_id, "SERVER_STOPPED", message)
        self._release(run_id)

    def _work(self, run_id: str, make: Callable[[], bytes]) -> None:
        try:
            if self._note(self._runs.start, run_id):
                self._answer(run_id, make)
        finally:
            self._release(run_id)

    def _answer(self, run_id: str, make: Callable[[], bytes]) -> None:
        try:
            answer = make()
        except StorageError:
            log.exception("run %s", run_id)
            message = "database: expected an answer; the cause is in the log under this run_id"
            self._note(self._runs.fail, run_id, StorageError.code, message)
        except WavehouseError as e:
            self._note(self._runs.fail, run_id, e.code, str(e))
        except Exception:  # the outermost handler of a job: whoever asks must be told
            log.exception("run %s", run_id)
            message = "run: expected an answer; the cause is in the log under this run_id"
            self._note(self._runs.fail, run_id, WavehouseError.code, message)
        else:
            self._note(self._runs.complete, run_id, answer)

    def _note(self, write: Callable[..., bool], run_id: str, *what: object) -> bool:
        """Write down what became of a run; a database that is away lets its lease lapse."""
        try:
            return write(run_id, *what)
        except StorageError:
            log.exception("run %s", run_id)
            return False

    def _release(self, run_id: str) -> None:
        with self._lock:
            self._active.pop(run_id, None)

    def _look_after(self) -> None:
        with self._lock:
            if self._care is None:
                self._care = threading.Thread(target=self._care_for, name="backtest-care")
                self._care.daemon = True
                self._care.start()

    def _care_for(self) -> None:
        beats = max(1, int(_HOUR_S / self._beat_s))
        beat = 0
        while True:
            try:
                if beat % beats == 0:
                    self._runs.judge()
                    self._runs.forget(self._keep_s)
                with self._lock:
                    active = list(self._active)
                if active:
                    self._runs.renew(active)
            except Exception:  # without this thread no run is ever judged: it outlives anything
                log.exception("backtests: expected a database that answers")
            beat += 1
            if self._stop.wait(self._beat_s):
                return
