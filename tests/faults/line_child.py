"""A process that materialises a range through ``Runner`` and is killed where it is told to.

Run as ``python line_child.py ROOT fetch N``, ``ROOT write PATH`` or ``ROOT hold SERIES`` from the
project's root; ``test_line_faults`` does. Nothing is imported from the test runner.
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from orchestration.runs import Runner
from storage import durable
from tests.fakes.line import BTC, MONTHS, FrameProvider, hourly, line_of, stages_of


def die_in_fetch(provider: FrameProvider, month: str) -> None:
    """Be killed in the middle of the fetch of a month."""

    def before(fetched: str) -> None:
        if fetched == month:
            os.kill(os.getpid(), signal.SIGKILL)

    provider.before = before


def die_in_write(path: str) -> None:
    """Be killed when half of a file below this folder is written."""
    real = durable._write

    def write(file: Path, data: bytes, *, at: int, fsync: bool) -> None:
        if path in file.as_posix():
            real(file, data[: len(data) // 2], at=at, fsync=fsync)
            os.kill(os.getpid(), signal.SIGKILL)
        real(file, data, at=at, fsync=fsync)

    durable.__dict__["_write"] = write


def hold(root: Path, series: str) -> None:
    """Take a series' writer's place, say so, and keep it until standard input ends."""
    table, timeframe, instrument = series.split("/")
    with line_of(root / "lake", FrameProvider(hourly(BTC))).lake.writing(
        table, timeframe, instrument
    ):
        print(os.getpid(), flush=True)  # noqa: T201 - the answer
        sys.stdin.read()


if __name__ == "__main__":
    folder, how, what = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    if how == "hold":
        hold(folder, what)
        sys.exit()
    source = FrameProvider(hourly(BTC))
    if how == "fetch":
        die_in_fetch(source, what)
    else:
        die_in_write(what)
    line = line_of(folder / "lake", source)
    Runner(line, folder / "dagster").run_months(stages_of("H4"), "BTC", MONTHS, stale_only=True)
