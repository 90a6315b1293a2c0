"""One series, eight indicators, against TA-Lib's C and against copying the same bytes; and a step.

Run ``python -m benchmarks.indicators --json OUT``. Values are compared before anything is timed;
contenders take turns, a figure is the median of the rounds, a ratio the median of the rounds'
ratios. Time is the thread's own, so that a busy machine counts less.

Ten thousand points are another series at every call: a processor that has met the same prices a
hundred times knows each branch of them by heart, and TA-Lib's on-balance volume is then several
times faster than on prices that are new. Ours has no branches. New arrays are returned, as TA-Lib
does. Ten million points are one series, written where a caller says (``out=``). Beside both stands
``numpy.copyto`` of as many bytes as are read and written.

A step of every indicator of the registry is timed a thousand bars after the first, and a million:
the ratio says whether it ages.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import talib

from kernels import engine
from kernels.averages import ema, sma
from kernels.gate import Series
from kernels.indicator import StatefulKernel
from kernels.momentum import macd, rsi
from kernels.registry import STATEFUL_KERNELS
from kernels.volatility import atr, bollinger_bands
from kernels.volume import mfi, obv

ROUNDS = 11
SHORT, LONG = 10_000, 10_000_000
YOUNG, OLD = 1_000, 1_000_000
N_SERIES = 16
LONG_ENOUGH_S = 2e-3

Columns = dict[str, Series]
Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Contest:
    """One indicator: ours, TA-Lib's, the columns that both take, how many lines come out."""

    name: str
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    inputs: tuple[str, ...]
    lines: int = 1


CLOSE, RANGE = ("close",), ("high", "low", "close")
CONTESTS = (
    Contest("SMA 20", lambda c, **k: sma(c, 20, **k), lambda c: talib.SMA(c, 20), CLOSE),
    Contest("EMA 20", lambda c, **k: ema(c, 20, **k), lambda c: talib.EMA(c, 20), CLOSE),
    Contest("RSI 14", lambda c, **k: rsi(c, 14, **k), lambda c: talib.RSI(c, 14), CLOSE),
    Contest("MACD 12 26 9", macd, talib.MACD, CLOSE, 3),
    Contest(
        "Bollinger 20",
        lambda c, **k: bollinger_bands(c, 20, **k),
        lambda c: talib.BBANDS(c, 20)[::-1],
        CLOSE,
        3,
    ),
    Contest(
        "ATR 14",
        lambda *x, **k: atr(*x, period=14, **k),
        lambda h, low, c: talib.ATR(h, low, c, 14),
        RANGE,
    ),
    Contest("OBV", obv, talib.OBV, ("close", "volume")),
    Contest(
        "MFI 14",
        lambda *x, **k: mfi(*x, period=14, **k),
        lambda h, low, c, v: talib.MFI(h, low, c, v, 14),
        (*RANGE, "volume"),
    ),
)


def columns(n: int, seed: int) -> Columns:
    """Return a random walk of ``n`` bars with whole volumes."""
    random = np.random.default_rng(seed)
    close = 100.0 + np.cumsum(random.normal(0.0, 0.01, n))
    return {
        "high": close + 0.01 * random.random(n),
        "low": close - 0.01 * random.random(n),
        "close": close,
        "volume": np.round(random.exponential(300.0, n)) + 1.0,
    }


def require_equal(contest: Contest, bars: Columns) -> None:
    """Fail unless ours is TA-Lib's to 1e-12 of the larger of the value and the input."""
    given = [bars[name] for name in contest.inputs]
    scale = max(float(np.abs(x).max()) for x in given)
    for got, expected in zip(
        _lines(contest.ours(*given)), _lines(contest.theirs(*given)), strict=True
    ):
        np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), err_msg=contest.name)
        known = ~np.isnan(expected)
        allowed = 1e-12 * np.maximum(np.abs(expected[known]), scale)
        assert (np.abs(got - expected)[known] <= allowed).all(), contest.name


def short(contest: Contest, series: Sequence[Columns], rounds: int) -> dict[str, Any]:
    """Return what a series of ten thousand points takes, each call another one."""
    given = [[bars[name] for name in contest.inputs] for bars in series]
    turns = {"wavehouse": cycle(given), "talib": cycle(given)}
    source, target = _as_many_bytes(contest, SHORT)
    return _row(
        contest.name,
        SHORT,
        {
            "wavehouse": lambda: contest.ours(*next(turns["wavehouse"])),
            "talib": lambda: contest.theirs(*next(turns["talib"])),
            "copy": lambda: np.copyto(target, source),
        },
        rounds,
    )


def long(contest: Contest, bars: Columns, rounds: int) -> dict[str, Any]:
    """Return what ten million points take, and what copying as many bytes does."""
    given = [bars[name] for name in contest.inputs]
    out = tuple(np.zeros(LONG) for _ in range(contest.lines))
    source, target = _as_many_bytes(contest, LONG)
    return _row(
        contest.name,
        LONG,
        {
            "wavehouse": lambda: contest.ours(*given, out=out if contest.lines > 1 else out[0]),
            "talib": lambda: contest.theirs(*given),
            "copy": lambda: np.copyto(target, source),
        },
        rounds,
    )


def _as_many_bytes(contest: Contest, points: int) -> tuple[Series, Series]:
    """Return what to copy, and where to, to move the bytes that an indicator reads and writes."""
    half = points * (len(contest.inputs) + contest.lines) // 2
    return np.ones(half), np.zeros(half)


def ageing(kernel: StatefulKernel, bars: Columns, rounds: int) -> dict[str, Any]:
    """Return what a step takes after a thousand bars and after all of them."""
    bar = {name: float(bars[name][-1]) for name in kernel.inputs}
    young, old = kernel.init(), kernel.init()
    kernel.run({name: bars[name][:YOUNG] for name in kernel.inputs}, young)
    kernel.run(bars, old)
    calls: dict[str, Call] = {
        "young": lambda: kernel.step(young, bar),
        "old": lambda: kernel.step(old, bar),
    }
    repeats = _repeats(calls["young"])
    spent: dict[str, list[float]] = {who: [] for who in calls}
    for _ in range(rounds):
        for who, call in calls.items():
            spent[who].append(_seconds(call, repeats))
    pairs = zip(spent["old"], spent["young"], strict=True)
    return {
        "name": kernel.name,
        "state_bytes": old.nbytes,
        **{f"{who}_s": statistics.median(times) for who, times in spent.items()},
        "old_over_young": statistics.median(o / y for o, y in pairs),
    }


def _row(name: str, points: int, calls: dict[str, Call], rounds: int) -> dict[str, Any]:
    repeats = {who: _repeats(call) for who, call in calls.items()}
    spent: dict[str, list[float]] = {who: [] for who in calls}
    for _ in range(rounds):
        for who, call in calls.items():
            spent[who].append(_seconds(call, repeats[who]))
    ours = spent["wavehouse"]
    ratios = {
        f"{who}_over_ours": statistics.median(t / o for t, o in zip(times, ours, strict=True))
        for who, times in spent.items()
        if who != "wavehouse"
    }
    seconds = {f"{who}_s": statistics.median(times) for who, times in spent.items()}
    return {"name": name, "points": points, **seconds, **ratios}


def _seconds(call: Call, repeats: int) -> float:
    began = time.thread_time()
    for _ in range(repeats):
        call()
    return (time.thread_time() - began) / repeats


def _repeats(call: Call) -> int:
    """Return how often to call for a time that the clock can tell, in whole rounds of series."""
    call()
    once = _seconds(call, N_SERIES)
    if once > LONG_ENOUGH_S:
        return 1
    return N_SERIES * max(1, math.ceil(LONG_ENOUGH_S / (N_SERIES * max(once, 1e-9))))


def _lines(out: Any) -> tuple[Any, ...]:  # noqa: ANN401 - an array, or a tuple of them
    return tuple(out) if isinstance(out, tuple) else (out,)


def _means(rows: list[dict[str, Any]], ratio: str) -> dict[str, float]:
    """Return the geometric mean of a ratio by number of points."""
    by_points: dict[str, list[float]] = {}
    for row in rows:
        by_points.setdefault(str(row["points"]), []).append(row[ratio])
    return {points: statistics.geometric_mean(ratios) for points, ratios in by_points.items()}


def report(result: dict[str, Any]) -> None:
    """Print the figures."""
    for row in result["rows"]:
        print(
            f"{row['name']:14} {row['points']:>10,} points {row['wavehouse_s'] * 1e6:10.1f} us, "
            f"TA-Lib {row['talib_s'] * 1e6:10.1f} us: {row['talib_over_ours']:5.2f} x, "
            f"{1 / row['copy_over_ours']:.2f} x a copy"
        )
    for points, mean in result["mean_over_talib"].items():
        print(f"geometric mean over TA-Lib, {int(points):,} points: {mean:.2f} x")
    for step in result["steps"]:
        print(
            f"a step of {step['name']:16} {step['young_s'] * 1e6:6.1f} us at bar {YOUNG:,}, "
            f"{step['old_over_young']:.2f} x at bar {OLD:,}, state {step['state_bytes']:,} bytes"
        )
    oldest = result["oldest"]
    print(f"the step that ages most: {oldest['name']}, {oldest['old_over_young']:.2f} x")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Compare, measure, print a table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--short", action="store_true", help="no series of ten million points")
    options = parser.parse_args(arguments)
    series = [columns(SHORT, seed) for seed in range(N_SERIES)]
    with engine.forced("numba"):  # made once, it runs what it is faster at: all of these
        for contest in CONTESTS:
            require_equal(contest, series[0])
    rows = [short(contest, series, options.rounds) for contest in CONTESTS]
    if not options.short:
        bars = columns(LONG, N_SERIES)
        rows += [long(contest, bars, options.rounds) for contest in CONTESTS]
    bars = columns(OLD, N_SERIES)
    bars["session"] = np.floor(np.arange(OLD) / YOUNG)
    result = {
        "benchmark": "indicators",
        "rounds": options.rounds,
        "talib": talib.__version__,
        "mojo": engine.mojo_available(),
        "rows": rows,
        "mean_over_talib": _means(rows, "talib_over_ours"),
        "mean_copy_over_ours": _means(rows, "copy_over_ours"),
        "steps": [ageing(kernel, bars, options.rounds) for kernel in STATEFUL_KERNELS],
    }
    result["oldest"] = max(result["steps"], key=lambda step: step["old_over_young"])
    report(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
