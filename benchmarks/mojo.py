"""Each kernel that Mojo has, on numba, on Mojo and in TA-Lib, in one run.

Run ``make mojo`` before, then ``python -m benchmarks.mojo --json OUT``. Contenders take turns; a
figure is the median of the rounds, a ratio the median of the rounds' ratios. Time is the thread's
own, so that a busy machine counts less. The panel is in ``benchmarks.panels``, the first answer of
a process in ``benchmarks.cold``.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import talib

from kernels import engine
from kernels.averages import ema, sma
from kernels.first_touch import first_touch
from kernels.momentum import macd, rsi
from kernels.rows import rows
from kernels.volatility import bollinger_bands

ROUNDS = 11
LONG_ENOUGH_S = 2e-3
SERIES = (10_000, 100_000, 1_000_000, 10_000_000)
HORIZONS = (100, 1_000, 10_000)

Call = Callable[[], object]
Contenders = Mapping[str, tuple[engine.Choice, Call]]


def both(call: Call, **others: Call) -> Contenders:
    """Return the contenders: one call on either engine, and others."""
    rest = {name: ("auto", other) for name, other in others.items()}
    return {"numba": ("numba", call), "mojo": ("mojo", call), **rest}


def one_series(n: int) -> Iterator[tuple[str, Contenders]]:
    """Yield each kernel of one series, writing where it did before."""
    close = 100.0 + np.cumsum(np.random.default_rng(7).standard_normal(n)) * 0.01
    out = [np.empty(n) for _ in range(3)]

    def copied(lines: int) -> Call:
        return lambda: [np.copyto(x, close) for x in out[:lines]]

    yield (
        "sma",
        both(
            lambda: sma(close, 20, out=out[0]), talib=lambda: talib.SMA(close, 20), copy=copied(1)
        ),
    )
    yield (
        "ema",
        both(
            lambda: ema(close, 20, out=out[0]), talib=lambda: talib.EMA(close, 20), copy=copied(1)
        ),
    )
    yield (
        "rsi",
        both(
            lambda: rsi(close, 14, out=out[0]), talib=lambda: talib.RSI(close, 14), copy=copied(1)
        ),
    )
    yield (
        "macd",
        both(lambda: macd(close, out=out), talib=lambda: talib.MACD(close), copy=copied(3)),
    )
    yield "bollinger", both(
        lambda: bollinger_bands(close, 20, out=out),
        talib=lambda: talib.BBANDS(close, 20), copy=copied(3),
    )  # fmt: skip


def many_rows(n_symbols: int, n: int) -> Iterator[tuple[str, Contenders]]:
    """Yield each kernel over a row a symbol, and a loop over TA-Lib."""
    steps = np.random.default_rng(3).standard_normal((n_symbols, n))
    close = 100.0 + np.cumsum(steps, axis=1) * 0.01
    asked: dict[str, tuple[tuple[float, ...], Call]] = {
        "sma": ((20,), lambda: [talib.SMA(x, 20) for x in close]),
        "ema": ((20,), lambda: [talib.EMA(x, 20) for x in close]),
        "rsi": ((14,), lambda: [talib.RSI(x, 14) for x in close]),
        "macd": ((12, 26, 9), lambda: [talib.MACD(x) for x in close]),
        "bollinger_bands": ((20, 2.0), lambda: [talib.BBANDS(x, 20) for x in close]),
    }
    for name, (parameters, loop) in asked.items():
        call = partial(rows, name, (close,), *parameters)
        yield f"{name.removesuffix('_bands')}_rows", both(call, talib=loop)


def touches(horizon: int, n: int = 200_000) -> Contenders:
    """Return the first passage from every bar, within a horizon, of barriers as far as it goes."""
    rng = np.random.default_rng(11)
    middle = np.cumsum(rng.standard_normal(n))
    high, low = middle + np.abs(rng.standard_normal(n)), middle - np.abs(rng.standard_normal(n))
    first = np.arange(1, n + 1)
    last = np.minimum(first + horizon, n)
    far = 0.5 * np.sqrt(horizon)
    barriers = middle + far, middle - far
    return both(lambda: first_touch((high, low), (first, last), *barriers, method="scan"))


def timed(contenders: Contenders, rounds: int) -> dict[str, list[float]]:
    """Return each contender's seconds a call, a value a round."""
    repeats = {}
    for name, (choice, call) in contenders.items():
        with engine.forced(choice):
            call()  # compiles, and touches the memory
            began = time.thread_time()
            call()
            repeats[name] = max(1, int(LONG_ENOUGH_S / max(time.thread_time() - began, 1e-7)))
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (choice, call) in contenders.items():
            with engine.forced(choice):
                began = time.thread_time()
                for _ in range(repeats[name]):
                    call()
                seconds[name].append((time.thread_time() - began) / repeats[name])
    return seconds


def rows_of(kernel: str, size: str, seconds: Mapping[str, list[float]]) -> list[dict[str, Any]]:
    """Return one row a contender: its median, and how often it fits into each of the others."""

    def ratio(theirs: str, name: str) -> float:
        pairs = zip(seconds[theirs], seconds[name], strict=True)
        return statistics.median(a / b for a, b in pairs)

    return [
        {
            "kernel": kernel,
            "size": size,
            "name": name,
            "seconds": statistics.median(seconds[name]),
            "times_faster_than": {other: ratio(other, name) for other in seconds if other != name},
        }
        for name in seconds
    ]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print a table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    if not engine.mojo_available():
        sys.exit(f"the Mojo library: {engine.why_not()}")
    found = []
    for n in SERIES:
        for kernel, contenders in one_series(n):
            found += rows_of(kernel, f"{n:,}", timed(contenders, options.rounds))
    for kernel, contenders in many_rows(1000, 250):
        found += rows_of(kernel, "1,000 x 250", timed(contenders, options.rounds))
    for horizon in HORIZONS:
        found += rows_of("first_touch", f"{horizon:,}", timed(touches(horizon), options.rounds))
    result = {
        "benchmark": "mojo",
        "rounds": options.rounds,
        "library_bytes": engine.BUILT.stat().st_size,
        "faster": sorted(engine.FASTER),
        "faster_from": dict(engine.FASTER_FROM),
        "rows": found,
    }
    for row in found:
        beside = ", ".join(f"{k} {v:.2f}" for k, v in row["times_faster_than"].items())
        print(
            f"{row['kernel']:12}{row['size']:>14}  {row['name']:13}"
            f"{row['seconds'] * 1e6:12.1f} us   faster than {beside}"
        )
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
