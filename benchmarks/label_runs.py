"""Runs of the label line in processes of their own: warmed, then let go together.

A child compiles, says so, waits for a line on its standard input, makes its instruments' months
through Dagster into the lake that all children share, and prints its figures.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.graph import instrument_of, line_of, loop
from market.timeframes import Timeframe
from orchestration.graph import data_stages

ROOT = Path(__file__).resolve().parent.parent
GROUPS = ("raw_candles", "candles", "levels", "labels")


def together(
    folder: Path,
    instruments: Sequence[Sequence[str]],
    months: Sequence[str],
    *,
    threads: int | None = None,
) -> dict[str, Any]:
    """Return the seconds from the start of all children to the end of the last one.

    ``threads`` is how many Polars may use in each; as many as there are cores by default.
    """
    folder.mkdir(parents=True)
    children = [_child(folder, names, months, threads) for names in instruments]
    for child in children:
        _said(child, "ready")
    began = time.perf_counter()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    figures = [json.loads(_line(child)) for child in children]
    wall = time.perf_counter() - began
    for child in children:
        if child.wait() != 0:
            raise RuntimeError(f"child: expected success, was {child.returncode}")
    return {
        "wall_s": wall,
        "cpu_s": sum(f["cpu_s"] for f in figures),
        "peak_mb": max(f["peak_mb"] for f in figures),
        "candles": sum(f["candles"] for f in figures),
    }


def _child(
    folder: Path, names: Sequence[str], months: Sequence[str], threads: int | None
) -> "subprocess.Popen[str]":
    command = [
        sys.executable, "-m", "benchmarks.label_runs", "--folder", str(folder),
        "--instruments", *names, "--months", *months,
    ]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if k != "DAGSTER_HOME"}
    if threads:
        environment["POLARS_MAX_THREADS"] = str(threads)
    return subprocess.Popen(  # noqa: S603 - our own module
        command, cwd=ROOT, env=environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def _line(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    return child.stdout.readline()


def _said(child: "subprocess.Popen[str]", word: str) -> None:
    if (was := _line(child).strip()) != word:
        raise RuntimeError(f"child: expected {word!r}, was {was!r}")


def main() -> None:
    """Warm, wait, run, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--instruments", nargs="+", required=True)
    parser.add_argument("--months", nargs="+", required=True)
    options = parser.parse_args()
    stages = [s for s in data_stages() if s.group in GROUPS and s.timeframe in (None, Timeframe.M5)]
    with tempfile.TemporaryDirectory() as warm:
        from orchestration.runs import Runner  # noqa: PLC0415 - Dagster is not part of the start

        first = instrument_of(options.instruments[0], Timeframe.M5)
        loop(stages, first, options.months[:2])
        os.environ["DAGSTER_HOME"] = str(Path(warm))
        line, _ = line_of(Path(warm) / "lake", first)
        Runner(line, Path(warm)).run_months(stages, first.id, options.months[:2], stale_only=False)
        del os.environ["DAGSTER_HOME"]
    instruments = [instrument_of(name, Timeframe.M5) for name in options.instruments]
    line, _ = line_of(options.folder / "lake", *instruments)
    runner = Runner(line, options.folder / "dagster")
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.process_time()
    for instrument in instruments:
        runner.run_months(stages, instrument.id, options.months, stale_only=False)
    cpu = time.process_time() - began
    rows = sum(
        line.lake.resolve(stages[0].key(line, i.id, month)).rows
        for i in instruments
        for month in options.months
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu_s": cpu, "peak_mb": peak, "candles": rows}), flush=True)


if __name__ == "__main__":
    main()
