"""What a process that has just begun waits for: the import, and the first indicator.

Run ``python -m benchmarks.cold --json OUT`` (after ``make mojo``, else that row is left out). Every
figure is of an interpreter of its own, and they take turns; the first round, which compiles what
numba keeps on disk and what Python keeps of our sources, is not counted. Times are by the clock:
from the first line of code on, and of the whole process from its start to its end; importing NumPy,
which an indicator cannot do without, stands beside, and a bare interpreter.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from kernels import engine

ROUNDS = 11
ROOT = Path(__file__).resolve().parent.parent

FIRST_LINE = "import time; began = time.perf_counter()"
LAST_LINE = "print(time.perf_counter() - began)"
SMA = """
import numpy as np
close = np.arange(1000.0)
after_numpy = time.perf_counter()
from kernels.averages import sma
assert sma(close, 20)[999] == 989.5
began = after_numpy
"""

CASES: dict[str, tuple[str, str]] = {
    "a bare interpreter": ("auto", ""),
    "import numpy": ("auto", "import numpy"),
    "import kernels": ("auto", "import kernels"),
    "import every indicator": ("auto", "import kernels.registry"),
    "first SMA, Mojo": ("mojo", SMA.replace("began = after_numpy", "")),
    "first SMA, Mojo, after NumPy": ("mojo", SMA),
    "first SMA, numba's cache warm": ("numba", SMA.replace("began = after_numpy", "")),
    "first SMA, numba's cache warm, after NumPy": ("numba", SMA),
}


def fresh(engine_name: str, code: str) -> tuple[float, float]:
    """Return the seconds that ``code`` took in an interpreter of its own, and all of that one's."""
    began = time.perf_counter()
    run = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", f"{FIRST_LINE}\n{code}\n{LAST_LINE}"],
        cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE,
        env={**os.environ, "WAVEHOUSE_ENGINE": engine_name},
    )  # fmt: skip
    return float(run.stdout), time.perf_counter() - began


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print a table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    cases = {k: v for k, v in CASES.items() if engine.mojo_available() or v[0] != "mojo"}
    if len(cases) < len(CASES):
        print(f"left out: the Mojo library ({engine.why_not()})")
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for _ in range(options.rounds + 1):
        for name, case in cases.items():
            spent[name].append(fresh(*case))
    rows = [
        {
            "name": name,
            "seconds": statistics.median(own for own, _ in seconds[1:]),
            "process_s": statistics.median(whole for _, whole in seconds[1:]),
        }
        for name, seconds in spent.items()
    ]
    for row in rows:
        print(
            f"{row['name']:44}{row['seconds'] * 1e3:8.1f} ms, "
            f"its whole process {row['process_s'] * 1e3:7.1f} ms"
        )
    result = {"benchmark": "cold", "rounds": options.rounds, "rows": rows}
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
