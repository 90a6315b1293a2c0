"""Worker processes of one update: each takes some timeframes of an instrument in a Dagster run.

On one machine, for one command: what outgrows it belongs to Dagster's own launchers and executors.
A worker says each published partition on its standard output, and its error if it fails; it dies
with its parent's command.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

from market.errors import WavehouseError

if TYPE_CHECKING:
    from assets.stage import Stage


class WorkerError(WavehouseError):
    """A worker process ended without finishing its share; the message is its own."""

    code = "RUN_FAILED"


class Workers:
    """Children that share the stages of one instrument."""

    def __init__(
        self, instrument: str, months: Sequence[str], on_published: Callable[[str, str], None]
    ) -> None:
        self._task = {"instrument": instrument, "months": list(months)}
        self._on_published = on_published
        self._children: list[tuple[subprocess.Popen[str], threading.Thread, list[str]]] = []
        self._errors: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child, _thread, _runs in self._children:
            if child.poll() is None:
                child.terminate()
                child.wait()

    def start(self, shares: Sequence[Sequence["Stage"]]) -> None:
        """Start a child a share."""
        for share in shares:
            task = {**self._task, "stages": ["/".join(stage.asset_path) for stage in share]}
            child = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "wavehouse.workers", json.dumps(task)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL,
                text=True,
            )
            runs: list[str] = []
            thread = threading.Thread(target=self._follow, args=(child, runs), daemon=True)
            thread.start()
            self._children.append((child, thread, runs))

    def finish(self) -> list[str]:
        """Wait for all and return their runs; raise ``WorkerError`` if one failed."""
        for child, thread, runs in self._children:
            thread.join()
            if child.wait() != 0:
                words = "; ".join(self._errors) or f"exit code {child.returncode}"
                raise WorkerError(words)
            if not runs:
                raise WorkerError("a worker process ended before its run did")
        return [run for _, _, runs in self._children for run in runs]

    def _follow(self, child: "subprocess.Popen[str]", runs: list[str]) -> None:
        for line in child.stdout or ():
            said: dict[str, Any] = json.loads(line)
            if "published" in said:
                self._on_published(*said["published"])
            elif "run" in said:
                runs.append(said["run"])
            else:
                self._errors.append(str(said["error"]))


def _say(**words: Any) -> None:  # noqa: ANN401 - JSON
    os.write(1, (json.dumps(words) + "\n").encode())


def work(task: dict[str, Any]) -> int:
    """Do a share and say so; return the exit code."""
    from market.settings import HomeSettings  # noqa: PLC0415 - only a worker needs these
    from orchestration.graph import data_stages  # noqa: PLC0415
    from orchestration.line import build_line  # noqa: PLC0415
    from orchestration.runs import Runner  # noqa: PLC0415

    line = build_line(on_published=lambda key: _say(published=[key.table, key.timeframe]))
    by_name = {"/".join(stage.asset_path): stage for stage in data_stages()}
    try:
        run = Runner(line, HomeSettings().dagster_home).run_months(
            [by_name[name] for name in task["stages"]],
            task["instrument"],
            task["months"],
            stale_only=True,
        )
    except WavehouseError as e:
        _say(error=str(e))
        return 1
    _say(run=run.run_id)
    return 0


if __name__ == "__main__":
    sys.exit(work(json.loads(sys.argv[1])))
