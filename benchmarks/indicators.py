"""One series, eight indicators, against TA-Lib's C and against copying the same bytes.

Run ``python -m benchmarks.indicators --json OUT``. Values are compared before anything is timed;
contenders take turns, a figure is the median of the rounds, a ratio the median of the rounds'
ratios. Time is the thread's own, so that a busy machine counts less.

Ten thousand points are another series at every call: a processor that has met the same prices a
hundred times knows each branch of them by heart, and TA-Lib's on-balance volume is then several
times faster than on prices that are new. Ours has no branches. New arrays are returned, as TA-Lib
does. Ten million points are one series, written where a caller says (``out=``), beside
``numpy.copyto`` of as many bytes as are read and written.
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
from kernels.momentum import macd, rsi
from kernels.volatility import atr, bollinger_bands
from kernels.volume import mfi, obv

ROUNDS = 11
SHORT, LONG = 10_000, 10_000_000
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
    Contest("ATR 14", lambda *x, **k: atr(*x, period=14, **k), lambda *x: talib.ATR(*x, 14), RANGE),
    Contest("OBV", obv, talib.OBV, ("close", "volume")),
    Contest(
        "MFI 14",
        lambda *x, **k: mfi(*x, period=14, **k),
        lambda *x: talib.MFI(*x, 14),
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
    return _row(
        contest.name,
        SHORT,
        {
            "wavehouse": lambda: contest.ours(*next(turns["wavehouse"])),
            "talib": lambda: contest.theirs(*next(turns["talib"])),
        },
        rounds,
    )


def long(contest: Contest, bars: Columns, rounds: int) -> dict[str, Any]:
    """Return what ten million points take, and what copying as many bytes does."""
    given = [bars[name] for name in contest.inputs]
    out = tuple(np.zeros(LONG) for _ in range(contest.lines))
    half = LONG * (len(given) + contest.lines) // 2
    source, target = np.ones(half), np.zeros(half)
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


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Compare, measure, print a table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--short", action="store_true", help="ten thousand points alone")
    options = parser.parse_args(arguments)
    series = [columns(SHORT, seed) for seed in range(N_SERIES)]
    with engine.forced("numba"):  # made once, it runs what it is faster at: all of these
        for contest in CONTESTS:
            require_equal(contest, series[0])
    rows = [short(contest, series, options.rounds) for contest in CONTESTS]
    if not options.short:
        bars = columns(LONG, N_SERIES)
        rows += [long(contest, bars, options.rounds) for contest in CONTESTS]
    result = {
        "benchmark": "indicators",
        "rounds": options.rounds,
        "talib": talib.__version__,
        "rows": rows,
        "mean_over_talib": {
            str(points): statistics.geometric_mean(
                row["talib_over_ours"] for row in rows if row["points"] == points
            )
            for points in sorted({row["points"] for row in rows})
        },
    }
    for row in rows:
        copy = f", {1 / row['copy_over_ours']:.2f} x a copy" if "copy_over_ours" in row else ""
        print(
            f"{row['name']:14} {row['points']:>10,} points {row['wavehouse_s'] * 1e6:10.1f} us, "
            f"TA-Lib {row['talib_s'] * 1e6:10.1f} us: {row['talib_over_ours']:5.2f} x{copy}"
        )
    for points, mean in result["mean_over_talib"].items():
        print(f"geometric mean over TA-Lib, {int(points):,} points: {mean:.2f} x")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
