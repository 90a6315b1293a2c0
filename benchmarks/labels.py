"""Labels and levels: first touch on two timeframes and at every bar, and the level machine.

Run ``python -m benchmarks.labels --json OUT``. Three contests, on seeded random walks; labels are
compared before anything is timed, contenders take turns, a figure is the median of the rounds and
a ratio the median of the rounds' ratios. Time is the thread's own, so that a busy machine counts
less.

- H4 candles on their minutes, 6 candles ahead: against a plain scan of the minutes, with and
  without levels that pull barriers in. Reading every minute once is what no search can beat that
  has to see them all.
- Every bar an entry: against vectorbt's BOLB in its Rust engine, called without what Python puts
  around it. Barriers lie k deviations of the horizon's return away; the farther, the more bars a
  scan reads. It is left out and named where it is not installed: ``pip install "vectorbt[rust]"``
  (no part of the product).
- Online levels with events: against what others compute anew at every candle, which is another
  definition of a level. Beside it, copying as many bytes as go in and come out.
"""

import argparse
import importlib
import importlib.metadata
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from scipy import signal, stats

from kernels import levels
from kernels.barriers import barriers
from kernels.first_touch import extremes, first_passage, first_touch
from kernels.gate import Instants, Series
from kernels.passage_nested import nested_first_touch
from kernels.volatility import atr

ROUNDS = 11
N_H4, MINUTES, HORIZON = 40_000, 240, 6
N_BARS, MINUTE_SIGMA, BAR_SIGMA = 100_000, 1e-4, 1e-3
HORIZONS = (1_000, 10_000)
DEVIATIONS = (0.5, 1.0, 2.0)
N_CANDLES = 200_000
LOOKBACK, WINDOW, N_PEER = 365, 500, 64  # bars that peers look back at, and candles timed

Call = Callable[[], object]
Ohlc = tuple[Series, Series, Series, Series]


class Nested(NamedTuple):
    """H4 candles on their minutes: both paths, how they nest, each row's window and barriers."""

    coarse: tuple[Series, Series]
    fine: tuple[Series, Series]
    starts: Instants
    windows: tuple[Instants, Instants]
    upper: Series
    lower: Series


def walk(n: int, sigma: float, seed: int = 7) -> Ohlc:
    """Return a random walk of ``n`` bars: open, high, low, close."""
    random = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(random.normal(0.0, sigma, n)))
    open_ = np.concatenate([[100.0], close[:-1]])
    above, below = np.abs(random.normal(0.0, sigma / 2, (2, n)))
    high = np.maximum(open_, close) * (1.0 + above)
    return open_, high, np.minimum(open_, close) * (1.0 - below), close


def nested_case(*, has_levels: bool) -> Nested:
    """Return H4 candles with the barriers of 11.a, drawn in by levels or two ATR away."""
    open_, high, low, close = walk(N_H4 * MINUTES, MINUTE_SIGMA)
    starts = np.arange(N_H4 + 1) * MINUTES
    top, bottom = extremes((high, low), (starts[:-1], starts[1:]))
    bars = open_[::MINUTES].copy(), top, bottom, close[MINUTES - 1 :: MINUTES].copy()
    none = np.full(N_H4, np.nan)
    support, resistance = none, none
    if has_levels:
        run = levels.extend(levels.initial(), bars, starts[:-1])
        support, resistance = run.support.price, run.resistance.price
    around = barriers(bars[3], atr(*bars[1:], period=14), support, resistance)
    first = np.minimum(np.arange(N_H4) + 1, N_H4)
    windows = first, np.minimum(first + HORIZON, N_H4)
    return Nested((top, bottom), (high, low), starts, windows, around.upper, around.lower)


@numba.njit(nogil=True)
def scan(
    path: tuple[Series, Series],
    windows: tuple[Instants, Instants],
    upper: Series,
    lower: Series,
    found: tuple[npt.NDArray[np.int8], Instants],
) -> None:
    """Read each window up to its touch: what one writes first, compiled by numba."""
    for row in range(upper.size):
        found[0][row], found[1][row] = 0, -1
        for bar in range(windows[0][row], windows[1][row]):
            is_up, is_down = path[0][bar] >= upper[row], path[1][bar] <= lower[row]
            if is_up or is_down:
                found[0][row] = 2 if is_up and is_down else 1 if is_up else -1
                found[1][row] = bar
                break


def scanned(case: Nested) -> tuple[npt.NDArray[np.int8], Instants]:
    """Return side and minute of each row's first touch by the plain scan."""
    windows = case.starts[case.windows[0]], case.starts[case.windows[1]]
    found = np.zeros(case.upper.size, dtype=np.int8), np.zeros(case.upper.size, dtype=np.int64)
    scan(case.fine, windows, case.upper, case.lower, found)
    return found


def nested_contest(case: Nested, rounds: int) -> dict[str, Any]:
    """Return what labels of H4 candles on their minutes take, after comparing them."""
    side, bar = scanned(case)
    exact, lazy = nested_first_touch(*case), nested_first_touch(*case, exact_time=False)
    np.testing.assert_array_equal(exact.side, side)
    np.testing.assert_array_equal(exact.fine_bar, bar)
    np.testing.assert_array_equal(lazy.side, side)
    np.testing.assert_array_equal(lazy.bar, np.where(bar < 0, -1, bar // MINUTES))
    minutes = case.starts[case.windows[0]], case.starts[case.windows[1]]
    calls: dict[str, Call] = {
        "exact minute": lambda: nested_first_touch(*case),
        "minutes where ambiguous": lambda: nested_first_touch(*case, exact_time=False),
        "plain scan": lambda: scanned(case),
        "our scan": lambda: first_touch(case.fine, minutes, case.upper, case.lower, method="scan"),
        "reading every minute": lambda: (case.fine[0].sum(), case.fine[1].sum()),
    }
    is_looked_into = lazy.fine_bar >= 0
    return {
        "candles": side.size,
        "touched": float((side != 0).mean()),
        "looked_into": float(is_looked_into.mean()),
        "rows": _rows(calls, side.size, rounds, beside="exact minute"),
    }


def bolb() -> Callable[..., Any] | None:
    """Return vectorbt's labels of breakouts by its Rust engine; say so where it is missing."""
    try:
        return importlib.import_module("vectorbt_rust.labels").breakout_labels_rs  # type: ignore[no-any-return]
    except ImportError as missing:
        print(f"vectorbt's Rust engine is left out: {missing}")
        return None


def passage_contest(horizon: int, deviations: float, rounds: int) -> dict[str, Any]:
    """Return what a label at every bar takes, after comparing it with vectorbt's."""
    close = walk(N_BARS, BAR_SIGMA)[3]
    width = deviations * BAR_SIGMA * horizon**0.5
    calls: dict[str, Call] = {
        "wavehouse": lambda: first_passage(
            (close, close), close * (1.0 + width), close * (1.0 - width), horizon=horizon
        )
    }
    theirs = bolb()
    if theirs is not None:
        column, threshold = close[:, None].copy(), np.full((1, 1), width)
        calls["vectorbt"] = lambda: theirs(column, horizon, threshold, threshold, 1, flex_2d=True)
        found: Any = calls["wavehouse"]()
        np.testing.assert_array_equal(found.side, np.asarray(calls["vectorbt"]())[:, 0])
    rows = _rows(calls, close.size, rounds, beside="wavehouse")
    return {"bars": close.size, "horizon": horizon, "deviations": deviations, "rows": rows}


def levels_by_density(log_close: Series, log_range: float) -> Series:
    """Return levels as peaks of a density of closes, as TechnicalAnalysisAutomation has them."""
    weights = 0.1 + np.arange(log_close.size) * (0.9 / log_close.size)
    density = stats.gaussian_kde(log_close, bw_method=log_range * 3.0, weights=weights)
    grid = np.linspace(log_close.min(), log_close.max(), 200)
    heights = density(grid)
    peaks, _ = signal.find_peaks(heights, prominence=heights.max() * 0.1)
    return np.exp(grid[peaks])


def levels_by_extrema(high: Series, low: Series) -> tuple[Series, Series]:
    """Return levels as the extremes of five bars on either side."""
    tops = signal.argrelextrema(high, np.greater_equal, order=5)[0]
    return high[tops], low[signal.argrelextrema(low, np.less_equal, order=5)[0]]


def level_calls(bars: Ohlc) -> dict[str, tuple[Call, int]]:
    """Return calls that give levels as of each candle, and of how many candles."""
    _, high, low, close = bars
    ts = np.arange(close.size) * 3_600_000_000
    state = levels.initial()
    whole = levels.extend(state, bars, ts)
    logs, ranges = np.log(close), atr(np.log(high), np.log(low), np.log(close), period=LOOKBACK)
    source = np.ones(sum(x.nbytes for x in (*bars, ts, *_outputs(whole))) // 16)
    target = np.zeros(source.size)
    each = range(WINDOW, WINDOW + N_PEER)

    def by_density() -> None:
        for t in each:
            levels_by_density(logs[t + 1 - LOOKBACK : t + 1], float(ranges[t]))

    def by_extrema() -> None:
        for t in each:
            levels_by_extrema(high[t + 1 - WINDOW : t + 1], low[t + 1 - WINDOW : t + 1])

    return {
        "wavehouse": (lambda: levels.extend(state, bars, ts), close.size),
        "copying in and out": (lambda: np.copyto(target, source), close.size),
        "scipy gaussian_kde and find_peaks": (by_density, N_PEER),
        "scipy argrelextrema": (by_extrema, N_PEER),
    }


def level_contest(rounds: int) -> dict[str, Any]:
    """Return what the level machine takes, once pieces have given what the whole gives."""
    bars = walk(N_CANDLES, BAR_SIGMA)
    ts = np.arange(N_CANDLES) * 3_600_000_000
    whole = levels.extend(levels.initial(), bars, ts)
    state, parts = levels.initial(), []
    for start in range(0, N_CANDLES, N_CANDLES // 4):
        piece = slice(start, start + N_CANDLES // 4)
        open_, high, low, close = (x[piece] for x in bars)
        parts.append(levels.extend(state, (open_, high, low, close), ts[piece]))
        state = parts[-1].state
    for name in ("price", "penetration", "rebound", "strength", "code"):
        joined = np.concatenate([getattr(p.events, name) for p in parts])
        np.testing.assert_array_equal(joined, getattr(whole.events, name))
    return {
        "candles": N_CANDLES,
        "events_per_candle": whole.events.bar.size / N_CANDLES,
        "rows": _timed(level_calls(bars), rounds, beside="wavehouse"),
    }


def _outputs(run: levels.Run) -> list[npt.NDArray[Any]]:
    return [run.atr, *run.resistance, *run.support, *run.events]


def _rows(
    calls: dict[str, Call], entries: int, rounds: int, *, beside: str
) -> list[dict[str, Any]]:
    return _timed({name: (call, entries) for name, call in calls.items()}, rounds, beside=beside)


def _timed(calls: dict[str, tuple[Call, int]], rounds: int, *, beside: str) -> list[dict[str, Any]]:
    """Return nanoseconds an entry by contender, and how many times those of ``beside``."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, (call, entries) in calls.items():
            began = time.thread_time()
            call()
            if turn:  # the first one compiles and fills caches
                spent[name].append((time.thread_time() - began) / entries * 1e9)
    return [
        {
            "name": name,
            "ns": statistics.median(times),
            "ratio": statistics.median(t / o for t, o in zip(times, spent[beside], strict=True)),
            "beside": beside,
        }
        for name, times in spent.items()
    ]


def _show(what: str, rows: list[dict[str, Any]]) -> None:
    print(what)
    for row in rows:
        print(
            f"  {row['name']:36} {row['ns']:12.1f} ns {1e3 / row['ns']:9.3f} M/s "
            f"{row['ratio']:10.2f} x {row['beside']}"
        )


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print a table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    rounds = options.rounds
    nested = {
        what: nested_contest(nested_case(has_levels=has), rounds)
        for what, has in (("two ATR", False), ("with levels", True))
    }
    passage = [passage_contest(h, k, rounds) for h in HORIZONS for k in DEVIATIONS]
    machine = level_contest(rounds)
    result = {
        "benchmark": "labels",
        "rounds": rounds,
        "vectorbt": importlib.metadata.version("vectorbt") if bolb() else None,
        "scipy": importlib.metadata.version("scipy"),
        "nested": nested,
        "passage": passage,
        "levels": machine,
    }
    for what, found in nested.items():
        touched = f"{found['touched']:.0%} touched, {found['looked_into']:.2%} looked into"
        _show(f"H4 on minutes, {what}: {touched}", found["rows"])
    for found in passage:
        _show(f"horizon {found['horizon']:,}, {found['deviations']} deviations", found["rows"])
    _show(f"levels, {machine['events_per_candle']:.2f} events a candle", machine["rows"])
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
