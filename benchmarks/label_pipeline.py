"""Labels as the line makes them: 11.a alone, and every label as rows of the table.

Run ``python -m benchmarks.label_pipeline --json OUT``. What contenders return is compared before
anything is timed; they take turns; a figure is the median of the rounds, a ratio the median of the
rounds' ratios. Time is the processor's, so that a busy machine counts less.

- 11.a of M5 candles in memory, levels and ATR included, whose path is the candles themselves,
  against NumPy's sliding windows, which are given the levels. The bound: copying what goes in and
  comes out.
- Every label of H4 candles on hours (24 path bars) with sixteen active levels, as rows of the
  table, against a loop over rows in NumPy that makes some of them.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from kernels import levels as machine
from kernels.barriers import barriers
from kernels.first_touch import first_touch
from kernels.gate import Series
from market.calendars import calendar_for
from market.instruments import Instrument
from market.tables import INSTANT
from market.timeframes import MICROSECONDS_PER_HOUR, Timeframe
from pipeline import candles, label_series, labels, levels

ROUNDS = 9
N_M5, HORIZON = 300_000, 6
N_HOURS, SLOTS = 4 * 30_000, 21  # slots that hold sixteen active levels, and broken ones
N_PEER = 1_000  # rows that the loop in NumPy makes
PEER_COLUMNS = ("enhanced_triple_barrier", "mfe", "mae", "drawdown_depth", "path_skewness")

Call = Callable[[], object]
Ohlc = tuple[Series, Series, Series, Series]


def walk(n: int, sigma: float, seed: int = 7) -> Ohlc:
    """Return a random walk of ``n`` bars: open, high, low, close."""
    random = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(random.normal(0.0, sigma, n)))
    open_ = np.concatenate([[100.0], close[:-1]])
    above, below = np.abs(random.normal(0.0, sigma / 2, (2, n)))
    high = np.maximum(open_, close) * (1.0 + above)
    return open_, high, np.minimum(open_, close) * (1.0 - below), close


def barrier_contest(rounds: int) -> dict[str, Any]:
    """Return what a row of 11.a takes from candles in memory."""
    bars = walk(N_M5, 1e-3)
    _, high, low, close = bars
    ts = np.arange(N_M5) * 300_000_000
    first = np.minimum(np.arange(N_M5) + 1, N_M5)
    windows = first, np.minimum(first + HORIZON, N_M5)
    state = machine.initial()

    def given(run: machine.Run) -> npt.NDArray[np.int8]:
        around = barriers(close, run.atr, run.support.price, run.resistance.price)
        return first_touch((high, low), windows, around.upper, around.lower).side

    def by_numpy(run: machine.Run) -> npt.NDArray[np.int8]:
        around = barriers(close, run.atr, run.support.price, run.resistance.price)
        pad = np.full(HORIZON, np.nan)
        highs, lows = (
            np.lib.stride_tricks.sliding_window_view(np.append(x, pad), HORIZON)[1:]
            for x in (high, low)
        )
        up, down = highs >= around.upper[:, None], lows <= around.lower[:, None]
        is_up, is_down = up.any(axis=1), down.any(axis=1)
        up_at = np.where(is_up, up.argmax(axis=1), HORIZON)
        down_at = np.where(is_down, down.argmax(axis=1), HORIZON)
        side = np.where(up_at < down_at, 1, np.where(down_at < up_at, -1, 2))
        return np.where(is_up | is_down, side, 0).astype(np.int8)

    whole = machine.extend(state, bars, ts)
    np.testing.assert_array_equal(given(whole), by_numpy(whole))
    source = np.ones(7 * N_M5)  # four prices, ts; two barriers and more come out
    target = np.empty_like(source)
    calls: dict[str, Call] = {
        "11.a from candles": lambda: given(machine.extend(state, bars, ts)),
        "11.a, levels given": lambda: given(whole),
        "NumPy sliding windows, levels given": lambda: by_numpy(whole),
        "copying in and out": lambda: np.copyto(target, source),
    }
    timed = {name: (call, N_M5) for name, call in calls.items()}
    return {"candles": N_M5, "rows": _timed(timed, rounds)}


class Case:
    """H4 candles on hours, played with sixteen active levels on average."""

    def __init__(self) -> None:
        raw_ohlc = walk(N_HOURS, 1e-3)
        ts = 1_488_326_400_000_000 + np.arange(N_HOURS) * MICROSECONDS_PER_HOUR
        prices = dict(zip(("open", "high", "low", "close"), raw_ohlc, strict=True))
        raw = pl.DataFrame({"ts": pl.Series(ts).cast(INSTANT), **prices}).with_columns(
            volume=pl.lit(1.0), source=pl.lit("bench")
        )
        self.instrument = Instrument(
            "BENCH", "crypto", "crypto", "bench", "BENCH", Timeframe.H1, 0.01, 1.0
        )
        self.until = int(ts[-1]) + MICROSECONDS_PER_HOUR
        self.candles, self.path = (
            candles.build(
                raw, instrument=self.instrument, timeframe=t, watermark_us=self.until
            ).rows
            for t in (Timeframe.H4, Timeframe.H1)
        )
        self.config = levels.LevelConfig(max_active=SLOTS, expiry_bars=10_000)
        self.played = self.play()

    def play(self) -> levels.Extended:
        """Play the levels from none."""
        return levels.extend(
            levels.initial(self.config), self.candles, instrument="BENCH",
            timeframe=Timeframe.H4, config=self.config,
        )  # fmt: skip

    def series(self, played: levels.Extended) -> label_series.LabelSeries:
        """Return what labels are measured against."""
        return label_series.follow(
            label_series.initial(), played, levels.initial(self.config), config=self.config,
            calendar=calendar_for(self.instrument), timeframe=Timeframe.H4, horizon=HORIZON,
        )  # fmt: skip

    def labels(self, played: levels.Extended) -> pl.DataFrame:
        """Return every label, as rows of the table."""
        return labels.compute(
            self.candles, played.context, self.path, instrument=self.instrument,
            timeframe=Timeframe.H4, watermark_us=self.until, series=self.series(played),
        )  # fmt: skip

    def active(self) -> float:
        """Return how many levels stand at an entry, on average."""
        spans = self.series(self.played).spans
        n = self.candles.height
        change = np.zeros(n + 1)
        np.add.at(change, np.clip(spans.start, 0, n), 1)
        np.add.at(change, np.clip(spans.stop, 0, n), -1)
        return float(np.cumsum(change)[n // 10 : n].mean())


def by_loop(case: Case, rows: pl.DataFrame) -> dict[str, list[float]]:
    """Make some labels as one writes them first: a row at a time, arrays for its window."""
    high, low, close = (case.path[c].to_numpy() for c in ("high", "low", "close"))
    spans = case.series(case.played).spans
    made: dict[str, list[float]] = {name: [] for name in PEER_COLUMNS}
    for at, (price, upper, lower) in enumerate(
        rows.select("entry_price", "upper_barrier", "lower_barrier").iter_rows()
    ):
        entry = N_PEER + at
        window = slice(4 * (entry + 1), 4 * (entry + 1 + HORIZON))
        h, l, c = high[window], low[window], close[window]  # noqa: E741 - as in mathematics
        up, down = np.flatnonzero(h >= upper), np.flatnonzero(l <= lower)
        hit_up, hit_down = (x[0] if x.size else h.size for x in (up, down))
        made["enhanced_triple_barrier"].append(float(np.sign(hit_down - hit_up)))
        made["mfe"].append(max((h.max() - price) / price, 0.0))
        made["mae"].append(min((l.min() - price) / price, 0.0))
        made["drawdown_depth"].append(float((c / np.maximum.accumulate(c) - 1.0).min()))
        steps = np.diff(np.log(c), prepend=np.log(price))
        off = steps - steps.mean()
        made["path_skewness"].append(float((off**3).mean() / (off**2).mean() ** 1.5))
        is_active = (spans.start <= entry) & (spans.stop > entry)
        near = np.abs(spans.price[is_active][:, None] - c[None, :]) <= 0.1 * price
        near.sum(axis=1).max(initial=0)
    return made


def every_label_contest(rounds: int) -> dict[str, Any]:
    """Return what a row of all labels takes."""
    case = Case()
    n = case.candles.height
    rows = case.labels(case.played)
    some = rows[N_PEER : 2 * N_PEER]
    peer = by_loop(case, some)
    for name, values in peer.items():
        ours = some[name].fill_null(0).to_numpy()
        np.testing.assert_allclose(values, ours, rtol=1e-6, atol=1e-9, err_msg=name)
    source = np.ones((case.path.estimated_size() + rows.estimated_size()) // 8)
    target = np.empty_like(source)
    timed: dict[str, tuple[Call, int]] = {
        "every label": (lambda: case.labels(case.played), n),
        "every label, levels played too": (lambda: case.labels(case.play()), n),
        "NumPy, a row at a time, some labels": (lambda: by_loop(case, some), N_PEER),
        "copying path and rows": (lambda: np.copyto(target, source), n),
    }
    return {
        "candles": n,
        "path_bars": 4 * HORIZON,
        "active_levels": case.active(),
        "columns": rows.width,
        "rows": _timed(timed, rounds),
    }


def _timed(calls: dict[str, tuple[Call, int]], rounds: int) -> list[dict[str, Any]]:
    """Return nanoseconds a row by contender, and how many times those of the first."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, (call, rows) in calls.items():
            began = time.process_time()
            call()
            if turn:  # the first one compiles and fills caches
                spent[name].append((time.process_time() - began) / rows * 1e9)
    ours = next(iter(spent.values()))
    return [
        {
            "name": name,
            "ns": statistics.median(times),
            "ratio": statistics.median(t / o for t, o in zip(times, ours, strict=True)),
        }
        for name, times in spent.items()
    ]


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    result = {
        "benchmark": "label_pipeline",
        "barrier": barrier_contest(options.rounds),
        "every": every_label_contest(options.rounds),
        "load": os.getloadavg()[0],
    }
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
