"""Processes that write to and read from a lake, and die where they are told to.

Run as ``python lake_child.py COMMAND ROOT ...`` from the project's root; ``test_lake_faults`` does.
"""

import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import polars as pl

from market.errors import PartitionBusyError
from market.ports import PartitionKey, PartitionRef
from storage.lake import ParquetLake
from tests.fakes.bars import candles

KEY = PartitionKey("candles", "H1", "EURUSD", "2017-05")
STEPS = ("open", "ftruncate", "write", "fsync", "replace", "mkdir", "truncate")
MAX_KILLS = 200


@functools.cache
def expected(shift: int) -> pl.DataFrame:
    """Return the rows of the version that ``shift`` names."""
    return candles(KEY.month, 300, shift=float(shift))


def put(lake: ParquetLake, shift: int) -> PartitionRef:
    """Write the version that ``shift`` names, with its state."""
    rows = expected(shift)
    state = {"shift": np.array([shift])}
    return lake.write(KEY, rows, state=state, code_version=str(shift), inputs={})


def whole(lake: ParquetLake) -> int:
    """Return which version is there; fail unless all of it is."""
    frame = lake.newest(KEY.table, KEY.timeframe, KEY.instrument, rows=1000)
    shift = round(float(frame["close"][0]) - 1.1)
    if not frame.equals(expected(shift)):
        raise AssertionError(f"rows: expected one version whole, was {frame}")
    return shift


def before_step(which: int, act: Callable[[str, Any], None]) -> Callable[[], int]:
    """Call ``act`` instead of the ``which``-th call to the operating system; return the count."""
    count = 0

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == which:
                act(name, args)
            return real(*args, **kwargs)

        return step

    for name in STEPS:
        setattr(os, name, wrap(name, getattr(os, name)))
    return lambda: count


def die(name: str, args: Any) -> None:
    """Be killed, in the middle of a write where it is one."""
    if name == "write":
        os.pwrite(args[0], bytes(args[1])[: len(args[1]) // 2], os.lseek(args[0], 0, os.SEEK_CUR))
    os.kill(os.getpid(), signal.SIGKILL)


def kill_everywhere(root: Path, *, is_rewrite: bool) -> None:
    """Make a lake below ``root`` for each step of a write, in which a writer died at that step.

    One process a lake, forked before Polars has started a thread.
    """
    for which in range(1, MAX_KILLS):
        pid = os.fork()
        if pid == 0:
            lake = ParquetLake(root / f"{which:03d}")
            if is_rewrite:
                put(lake, 0)
            before_step(which, die)
            put(lake, 1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if status == 0:
            return
        if not os.WIFSIGNALED(status):
            sys.exit(f"step {which}: expected a kill, was status {status}")
    sys.exit("expected the write to end")


def write_for_ever(root: Path) -> None:
    """Write one version after the other until killed."""
    lake = ParquetLake(root, fsync=False)
    shift = 0
    while True:
        shift = shift % 50 + 1
        put(lake, shift)


def write_some(root: Path, first: int) -> None:
    """Write fifty versions, each as soon as the other writer lets it; print how often it waited."""
    lake = ParquetLake(root, fsync=False)
    waits = 0
    for shift in range(first, first + 50):
        while True:
            try:
                put(lake, shift)
                break
            except PartitionBusyError:
                waits += 1
    print(waits)  # noqa: T201 - the answer


def hold(root: Path) -> None:
    """Take the writer's place, say so, and keep it until standard input ends."""
    with ParquetLake(root).writing(KEY.table, KEY.timeframe, KEY.instrument):
        print(os.getpid(), flush=True)  # noqa: T201 - the answer
        sys.stdin.read()


def watch(root: Path, retention: int) -> None:
    """Read until standard input ends; print the versions seen."""
    lake = ParquetLake(root, retention_versions=retention)
    print(whole(lake), flush=True)  # noqa: T201 - ready
    seen = []
    with os.fdopen(0, "rb", buffering=0) as commands:
        os.set_blocking(0, False)
        while commands.read(1) is None:
            seen.append(whole(lake))
    print(*seen)  # noqa: T201 - the answer


if __name__ == "__main__":
    command, folder, *rest = sys.argv[1:]
    match command:
        case "kill-everywhere":
            kill_everywhere(Path(folder), is_rewrite=rest == ["rewrite"])
        case "write-for-ever":
            write_for_ever(Path(folder))
        case "write-some":
            write_some(Path(folder), int(rest[0]))
        case "hold":
            hold(Path(folder))
        case "watch":
            watch(Path(folder), int(rest[0]))
