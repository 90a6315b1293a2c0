"""Workers as processes of their own: ``wavehouse backfill``, which outlives whoever started it.

Belongs here: starting a process, and what it says. Keep out: which job is next (``service``).
"""

import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import orjson

from market.errors import WavehouseError
from serving.errors import TimeLimitError

log = logging.getLogger("wavehouse.backfills")

PROGRAM: Final = (sys.executable, "-c", "from wavehouse.cli import main; main()", "backfill")
"""The command line by the interpreter that serves: a script need not be on the path."""

_TOLD: Final = re.compile(r"error \[([A-Z_]+)\] (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Question:
    """Months of an instrument in a timeframe that are to be brought up to date."""

    instrument: str
    timeframe: str
    first: str
    last: str


class Launcher(Protocol):
    """What the service needs of processes; tests hand in another."""

    def start(self, job_id: str) -> None:
        """Start a worker for a job; raise ``OSError`` if there is no process to be had."""
        ...

    def look(self) -> None:
        """Say which workers have ended."""
        ...

    def plan(self, question: Question) -> Sequence[Mapping[str, str]]:
        """Return the partitions that are out of date, and why; raise what the planner says."""
        ...


@dataclass(slots=True)
class ProcessLauncher:
    """Starts workers in sessions of their own, with a log each in ``folder``.

    ``settings``: environment variables beside this process's own.
    """

    folder: Path
    plan_timeout_s: float
    settings: Mapping[str, str] = field(default_factory=dict)
    _workers: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, job_id: str) -> None:
        """Start a worker that a signal to this process's group does not reach."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{job_id}.log").open("ab") as said:
            worker = subprocess.Popen(  # noqa: S603 - our own program
                [*PROGRAM, "--job", job_id],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                env={**os.environ, **self.settings},
            )
        log.info("%s: worker %d", job_id, worker.pid)
        with self._lock:
            self._workers[job_id] = worker

    def look(self) -> None:
        """Say which workers have ended, and leave no zombies of them."""
        with self._lock:
            ended = [job_id for job_id, w in self._workers.items() if w.poll() is not None]
            for job_id in ended:
                code = self._workers.pop(job_id).returncode
                log.log(
                    logging.WARNING if code else logging.INFO,
                    "%s: worker ended with %d; %s",
                    job_id, code, self.folder / f"{job_id}.log",
                )  # fmt: skip

    def plan(self, question: Question) -> Sequence[Mapping[str, str]]:
        """Ask the command line, which knows the stages; serving does not import them."""
        words = [
            *("labels", "--dry-run", "--json", "--instrument", question.instrument),
            *("--timeframe", question.timeframe),
            *("--from", question.first, "--to", question.last),
        ]
        try:
            done = subprocess.run(  # noqa: S603 - our own program, no shell
                [*PROGRAM, *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self.plan_timeout_s,
                check=False,
                env={**os.environ, **self.settings},
            )
        except subprocess.TimeoutExpired as e:
            raise TimeLimitError(
                f"dry_run: expected an answer in {self.plan_timeout_s:g} s, was none"
            ) from e
        if done.returncode:
            raise _refusal(done.stderr.decode(errors="replace").strip())
        rows: list[dict[str, str]] = orjson.loads(done.stdout)["partitions"]
        return rows


def kind_of(code: str) -> type[WavehouseError] | None:
    """Return the class of errors that has a code of its own, if it is one of the market's."""
    waiting = [WavehouseError]
    while waiting:
        kind = waiting.pop()
        if kind.__dict__.get("code") == code and kind.__module__ == WavehouseError.__module__:
            return kind
        waiting.extend(kind.__subclasses__())
    return None


def _refusal(said: str) -> WavehouseError:
    """Return the error that the command line has told in its one line."""
    told = _TOLD.search(said)
    kind = kind_of(told.group(1)) if told else None
    if told is None or kind is None:
        return WavehouseError(f"dry_run: expected a plan, was: {said[-2000:]}")
    return kind(told.group(2))
