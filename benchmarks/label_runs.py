"""Materialising labels end to end: a million M5 candles through Dagster and the lake.

Run ``python -m benchmarks.label_runs --json OUT``. The line's own graph makes ``raw_candles``,
``candles``, ``levels`` and ``labels`` of synthetic M5 bars into an empty lake, each time in a fresh
process that has imported, compiled and opened Dagster's home before it is let go.

- The whole: seconds, processor time and peak memory of one run over all months, beside a run over a
  tenth of them (memory that is bounded by a partition does not grow), and beside the same stages in
  a plain loop (what Dagster adds).
- Two instruments in two processes at once against both in one, in turns; lake and Dagster's home
  are shared. Processor time is printed of both: where it grows, they share more than the cores.
- A million candles of two instruments, half of each, in two processes: what two cores make of it.
- H4 labels of a path of minutes: how many minutes a minute one core takes from the lake, and how
  many it takes if they are only read.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from assets.line import Line
from assets.stage import Stage
from benchmarks.graph import instrument_of, line_of, loop
from market.instruments import Instrument
from market.months import month_range
from market.ports import PartitionKey
from market.timeframes import Timeframe
from orchestration.graph import data_stages

ROOT: Final = Path(__file__).resolve().parent.parent
GROUPS: Final = ("raw_candles", "candles", "levels", "labels")
MONTHS: Final = tuple(month_range("2010-01", "2019-07"))  # a million M5 candles, never closed
FEW_MONTHS: Final = MONTHS[: len(MONTHS) // 10]
SHARED_MONTHS: Final = MONTHS[:24]
HALF_OF_MONTHS: Final = MONTHS[: -(-len(MONTHS) // 2)]
PAIR: Final = ("PAIRA", "PAIRB")
ROUNDS: Final = 3


def measure(rounds: int) -> dict[str, Any]:
    """Return what runs through Dagster take: a million candles, and two processes against one."""
    one, two = [PAIR], [PAIR[:1], PAIR[1:]]
    few = together([PAIR[:1]], FEW_MONTHS)
    plain = together([PAIR[:1]], MONTHS, is_plain=True)
    whole = [together([PAIR[:1]], MONTHS) for _ in range(rounds)]
    halves = [together(two, HALF_OF_MONTHS, threads=1) for _ in range(rounds)]
    turns = [
        (together(one, SHARED_MONTHS, threads=1), together(two, SHARED_MONTHS, threads=1))
        for _ in range(rounds)
    ]
    return {
        "candles": plain["candles"],
        "months": len(MONTHS),
        "wall_s": statistics.median(run["wall_s"] for run in whole),
        "cpu_s": statistics.median(run["cpu_s"] for run in whole),
        "peak_mb": statistics.median(run["peak_mb"] for run in whole),
        "halves_candles": halves[0]["candles"],
        "halves_wall_s": statistics.median(run["wall_s"] for run in halves),
        "halves_cpu_s": statistics.median(run["cpu_s"] for run in halves),
        "few_months": len(FEW_MONTHS),
        "few_peak_mb": few["peak_mb"],
        "loop_wall_s": plain["wall_s"],
        "loop_cpu_s": plain["cpu_s"],
        "shared_months": len(SHARED_MONTHS),
        "two_over_one": statistics.median(a["wall_s"] / b["wall_s"] for a, b in turns),
        "one_wall_s": statistics.median(a["wall_s"] for a, _ in turns),
        "two_wall_s": statistics.median(b["wall_s"] for _, b in turns),
        "one_cpu_s": statistics.median(a["cpu_s"] for a, _ in turns),
        "minutes": on_minutes(rounds),
        "two_cpu_s": statistics.median(b["cpu_s"] for _, b in turns),
    }


def on_minutes(rounds: int) -> dict[str, Any]:
    """Return how many minutes a minute H4 labels take from the lake, and reading them alone.

    A month of labels reads its own minutes and those of the month after as far as its horizons
    reach; they are counted once. Processor time of one thread, the median of the rounds.
    """
    instrument = instrument_of("MINUTES", Timeframe.M1)
    wanted = (None, Timeframe.H4)
    stages = [s for s in data_stages() if s.group in GROUPS and s.timeframe in wanted]
    *before, labels = stages
    months = MONTHS[:6]
    spent: dict[str, list[float]] = {"labels": [], "reading": []}
    with tempfile.TemporaryDirectory() as folder:
        line, _ = line_of(Path(folder), instrument)
        for stage in before:
            for month in months:
                _write(stage, line, stage.key(line, instrument.id, month))
        keys = [labels.key(line, instrument.id, month) for month in months[:-1]]
        for turn in range(rounds + 1):
            taken = dict.fromkeys(spent, 0.0)
            for key in keys:
                began = time.process_time()
                inputs = labels.inputs(line, key)
                labels.compute(line, key, inputs)
                taken["labels"] += time.process_time() - began
                began = time.process_time()
                line.lake.read(inputs.rows["raw"])
                taken["reading"] += time.process_time() - began
                if not turn:  # the first one compiles, and the next month goes on from it
                    _write(labels, line, key)
            if turn:
                for name, seconds in taken.items():
                    spent[name].append(seconds)
        minutes = sum(
            line.lake.resolve(stages[0].key(line, instrument.id, k.month)).rows for k in keys
        )
    return {f"{name}_per_min": 60 * minutes / statistics.median(x) for name, x in spent.items()}


def _write(stage: Stage, line: Line, key: PartitionKey) -> None:
    inputs = stage.inputs(line, key)
    made = stage.compute(line, key, inputs)
    line.lake.write(
        key, made.rows, state=made.state, code_version=stage.code_version,
        inputs=inputs.versions, attributes=made.attributes,
    )  # fmt: skip


def together(
    shares: Sequence[Sequence[str]],
    months: Sequence[str],
    *,
    threads: int | None = None,
    is_plain: bool = False,
) -> dict[str, Any]:
    """Let a process a share of instruments go at once; return the seconds until the last is done.

    ``threads`` is how many Polars may use in each, as many as there are cores by default;
    ``is_plain`` leaves Dagster out.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked = ["--child", folder, "--months", *months, *(["--plain"] if is_plain else [])]
        children = []
        for names in shares:
            children.append(_child([*asked, "--instruments", *names], threads))
            _require(children[-1], is_well=_said(children[-1]) == "ready")
        began = time.perf_counter()
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        told = [_said(child) for child in children]
        wall = time.perf_counter() - began
        for child in children:
            _require(child, is_well=child.wait() == 0)
    figures = [json.loads(line) for line in told]
    return {
        "wall_s": wall,
        "cpu_s": sum(f["cpu_s"] for f in figures),
        "peak_mb": max(f["peak_mb"] for f in figures),
        "candles": sum(f["candles"] for f in figures),
    }


def _child(asked: Sequence[str], threads: int | None) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "benchmarks.label_runs", *asked]
    environment = {k: v for k, v in os.environ.items() if k != "DAGSTER_HOME"}
    if threads:
        environment["POLARS_MAX_THREADS"] = str(threads)
    return subprocess.Popen(  # noqa: S603 - our own module
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _said(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def _require(child: "subprocess.Popen[str]", *, is_well: bool) -> None:
    if not is_well:
        child.kill()
        raise RuntimeError(f"child: expected figures, was an end with {child.wait()}")


def run(folder: Path, names: Sequence[str], months: Sequence[str], *, is_plain: bool) -> None:
    """Be a child: compile, say so, wait to be let go, make the months, print what it took."""
    stages = [s for s in data_stages() if s.group in GROUPS and s.timeframe in (None, Timeframe.M5)]
    instruments = [instrument_of(name, Timeframe.M5) for name in names]
    with tempfile.TemporaryDirectory() as warm:
        _prepared(Path(warm), stages, instruments[:1], months[:2], is_plain=is_plain)()
    make = _prepared(folder, stages, instruments, months, is_plain=is_plain)
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.process_time()
    candles = make()
    figures = {
        "cpu_s": time.process_time() - began,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "candles": candles,
    }
    print(json.dumps(figures), flush=True)


def _prepared(
    folder: Path,
    stages: Sequence[Stage],
    instruments: Sequence[Instrument],
    months: Sequence[str],
    *,
    is_plain: bool,
) -> Callable[[], int]:
    """Return what makes every month of each instrument and says how many base bars they have."""
    if is_plain:
        return lambda: sum(int(loop(stages, i, months)["bars"]) for i in instruments)
    os.environ.pop("DAGSTER_HOME", None)
    from orchestration.runs import Runner  # noqa: PLC0415 - a plain loop has no Dagster

    line, _ = line_of(folder / "lake", *instruments)
    runner = Runner(line, folder / "dagster")

    def make() -> int:
        for instrument in instruments:
            runner.run_months(stages, instrument.id, months, stale_only=False)
        keys = [stages[0].key(line, i.id, month) for i in instruments for month in months]
        return sum(line.lake.resolve(key).rows for key in keys)

    return make


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures, and write them as JSON where asked; ``--child``: be one that is timed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--child", type=Path)
    parser.add_argument("--instruments", nargs="+")
    parser.add_argument("--months", nargs="+")
    parser.add_argument("--plain", action="store_true")
    options = parser.parse_args(arguments)
    if options.child:
        run(options.child, options.instruments, options.months, is_plain=options.plain)
        return
    figures = {"benchmark": "label_runs", **measure(options.rounds), "load": os.getloadavg()[0]}
    text = json.dumps(figures, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
