"""Backtests against vectorbt and raptorbt in one run: one long series, a year, a sweep.

Run ``python -m benchmarks.backtests --json OUT``. Crossovers of simple averages on a seeded random
walk, long or flat, all of the equity, signals moved on by a bar and filled at its open: the rules
that all three know. Total return and drawdown have to be equal to 1e-12 before anything is timed,
and then contenders alternate; a figure is the median of the rounds' ratios. A peer that is not
installed is left out and named: ``pip install vectorbt raptorbt`` (no part of the product).
"""

import argparse
import importlib
import importlib.metadata
import json
import math
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kernels.backtest import Backtest, backtest
from kernels.backtest_orders import Account, Bars, Signals
from kernels.backtest_sweep import Grid, Sweep, sweep
from kernels.strategies import sma_crossover

FAST, SLOW = 10, 20
AXES = {"fast": list(range(5, 30)), "slow": list(range(30, 70))}  # 1,000 combinations
ROUNDS = 7
LONG_ENOUGH_S = 2e-3
START = 100_000.0
MINUTE_NS = 60_000_000_000
Calls = dict[str, Callable[[], Any]]
Given = tuple[Any, Any]
"""Entries and exits."""


class Case(NamedTuple):
    """A series of bars, and what trading on it costs: little enough for the money to last."""

    bars: Bars
    account: Account
    bars_per_year: float


def case(n: int, *, volatility: float, commission: float, slippage: float) -> Case:
    """Return a seeded random walk whose opens lie off the closes before them."""
    random = np.random.default_rng(7)
    close = 100.0 * np.exp(np.cumsum(random.standard_normal(n) * volatility))
    before = np.concatenate([[100.0], close[:-1]])
    open_ = before * np.exp(random.standard_normal(n) * volatility / 10)
    account = Account(START, 1.0, commission, slippage)
    return Case(Bars(open=open_, close=close), account, 365.0)


def ours(at: Case) -> Backtest:
    """Return checked bars, signals, equity, trades and every figure, holding beside them."""
    bars = Bars(open=at.bars.open, close=at.bars.close)
    signals = sma_crossover(bars, fast=FAST, slow=SLOW)
    return backtest(bars, signals, bars_per_year=at.bars_per_year, account=at.account)


def ours_given(at: Case, signals: Signals) -> Backtest:
    """Return the same, the positions given, in which orders have to be found."""
    given = Signals(signals.position)
    return backtest(at.bars, given, bars_per_year=at.bars_per_year, account=at.account)


def ours_swept(at: Case, threads: int) -> Sweep:
    """Return every figure of every combination."""
    grid = Grid("sma_crossover", AXES)
    return sweep(at.bars, grid, bars_per_year=at.bars_per_year, account=at.account, threads=threads)


class Vectorbt:
    """The same by vectorbt, as its documentation has it."""

    def __init__(self, at: Case) -> None:
        self.vbt: Any = importlib.import_module("vectorbt")
        pandas: Any = importlib.import_module("pandas")
        index = pandas.date_range("2000-01-01", periods=at.bars.size, freq="D", unit="s")
        self.close = pandas.Series(at.bars.close, index=index)
        self.open = at.bars.open[:, None]
        self.account = at.account

    def signals(self, fast: int | list[int] = FAST, slow: int | list[int] = SLOW) -> Given:
        """Return entries and exits, moved on to the bar that fills them."""
        quick = self.vbt.MA.run(self.close, fast, short_name="fast")
        slower = self.vbt.MA.run(self.close, slow, short_name="slow")
        sides = quick.ma_crossed_above(slower), quick.ma_crossed_below(slower)
        entries, exits = (side.shift(1, fill_value=False) for side in sides)
        return entries, exits

    def portfolio(self, given: Given) -> Any:  # noqa: ANN401 - of a peer that may be missing
        """Return the simulated portfolio."""
        return self.vbt.Portfolio.from_signals(
            self.close,
            *given,
            price=self.open,
            fees=self.account.commission,
            slippage=self.account.slippage,
            init_cash=START,
            freq="1D",
        )

    def three(self, given: Given) -> tuple[Any, Any, Any]:
        """Return total return, deepest drawdown and Sharpe ratio."""
        made = self.portfolio(given)
        return made.total_return(), made.max_drawdown(), made.sharpe_ratio()

    def all(self, given: Given) -> list[Any]:
        """Return what we return, as far as it has it: equity, trades, figures, holding."""
        made = self.portfolio(given)
        trades = made.trades
        return [
            made.total_return(), made.max_drawdown(), made.sharpe_ratio(), made.sortino_ratio(),
            made.calmar_ratio(), made.annualized_return(), made.total_benchmark_return(),
            made.value(), trades.records, trades.count(), trades.win_rate(),
            trades.profit_factor(), trades.winning.returns.mean(), trades.losing.returns.mean(),
        ]  # fmt: skip


def raptorbt_call(at: Case, crossed: Given) -> Callable[[], Any]:
    """Return a call that backtests the given crossings, filled at the next open by itself."""
    raptorbt: Any = importlib.import_module("raptorbt")
    config = raptorbt.BacktestConfig(
        initial_capital=START,
        fees=at.account.commission,
        slippage=at.account.slippage,
        fill_timing="next_bar_open",
    )
    open_, close = at.bars.open, at.bars.close
    high, low, volume = np.maximum(open_, close), np.minimum(open_, close), np.ones(close.size)
    stamps = np.arange(close.size, dtype=np.int64) * MINUTE_NS
    return lambda: raptorbt.run_single_backtest(
        stamps, open_, high, low, close, volume, *crossed, config=config
    )


def crossings(signals: Signals) -> Given:
    """Return where the position is entered and left, one truth a bar."""
    change = np.diff(signals.position, prepend=np.int8(0))
    return change > 0, change < 0


def installed(name: str) -> bool:
    """Whether a peer can be imported; say so where it cannot."""
    try:
        importlib.import_module(name)
    except ImportError as missing:
        print(f"{name} is left out: {missing}")
        return False
    return True


def require_near(what: str, mine: object, theirs: object, near: float = 1e-12) -> None:
    """Fail unless the figures are equal to ``near``."""
    np.testing.assert_allclose(
        np.asarray(mine, dtype=np.float64), np.asarray(theirs), rtol=near, atol=near, err_msg=what
    )


def one_series(at: Case, *, with_raptorbt: bool, with_vectorbt: bool) -> Calls:
    """Return the contenders of a single run, after comparing what they give."""
    signals = sma_crossover(at.bars, fast=FAST, slow=SLOW)
    mine = ours(at).metrics
    calls: Calls = {
        "wavehouse": lambda: ours(at),
        "wavehouse, signals given": lambda: ours_given(at, signals),
    }
    if with_vectorbt:
        vectorbt = Vectorbt(at)
        given = vectorbt.signals()
        total, deepest, _ = vectorbt.three(given)
        require_near("total return", mine.total_return, total)
        require_near("drawdown", mine.max_drawdown, deepest)
        calls["vectorbt, signals and three figures"] = lambda: vectorbt.three(vectorbt.signals())
        calls["vectorbt, signals given, three figures"] = lambda: vectorbt.three(given)
        calls["vectorbt, all figures"] = lambda: vectorbt.all(vectorbt.signals())
    if with_raptorbt:
        call = raptorbt_call(at, crossings(signals))
        theirs = call().metrics
        require_near("total return", mine.total_return, theirs.total_return_pct / 100.0)
        require_near("drawdown", mine.max_drawdown, -theirs.max_drawdown_pct / 100.0)
        calls["raptorbt, signals given"] = call
    return calls


def many_combinations(at: Case, *, with_vectorbt: bool) -> Calls:
    """Return the contenders of a sweep, after comparing what they give."""
    calls: Calls = {
        "wavehouse": lambda: ours_swept(at, 1),
        "wavehouse, two threads": lambda: ours_swept(at, 2),
    }
    if with_vectorbt:
        vectorbt = Vectorbt(at)
        mine = ours_swept(at, 1)
        fast, slow = (mine.parameters[name].tolist() for name in ("fast", "slow"))
        given = vectorbt.signals(fast, slow)
        total, deepest, _ = vectorbt.three(given)
        require_near("total return", mine.column("total_return"), total)
        require_near("drawdown", mine.column("max_drawdown"), deepest)
        calls["vectorbt, signals and three figures"] = lambda: vectorbt.three(
            vectorbt.signals(fast, slow)
        )
        calls["vectorbt, signals given, three figures"] = lambda: vectorbt.three(given)
    return calls


def measure(calls: Calls, rounds: int) -> list[dict[str, Any]]:
    """Return one row a contender: seconds, and the ratio to ours of the same kind."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    repeats = {name: _repeats(call) for name, call in calls.items()}
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            seconds[name].append((time.perf_counter() - began) / repeats[name])
    rows = []
    for name in calls:
        like = "wavehouse, signals given"
        base = like if "signals given" in name and like in calls else "wavehouse"
        pairs = zip(seconds[name], seconds[base], strict=True)
        rows.append(
            {
                "name": name,
                "seconds": statistics.median(seconds[name]),
                "beside": base,
                "ratio": statistics.median(theirs / mine for theirs, mine in pairs),
            }
        )
    return rows


def _repeats(call: Callable[[], Any]) -> int:
    """Return how often to call for a time that the clock can tell; compiles, and fills caches."""
    call()
    began = time.perf_counter()
    call()
    return max(1, math.ceil(LONG_ENOUGH_S / (time.perf_counter() - began)))


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print a table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", module=r"(vectorbt|plotly|dateparser)")
    warnings.filterwarnings("ignore", message="numpy.core")  # of a peer
    peers = {name: installed(name) for name in ("vectorbt", "raptorbt")}
    year = case(252, volatility=0.01, commission=0.001, slippage=0.0005)
    decades = case(10_000, volatility=0.005, commission=0.001, slippage=0.0005)
    minutes = case(1_000_000, volatility=0.0005, commission=1e-5, slippage=0.0)
    both = {f"with_{name}": there for name, there in peers.items()}
    calls = {
        "252 bars": one_series(year, **both),
        "1,000,000 bars": one_series(minutes, **both),
        "1,000 combinations of 10,000 bars": many_combinations(
            decades, with_vectorbt=peers["vectorbt"]
        ),
    }
    result = {
        "benchmark": "backtests",
        "rounds": options.rounds,
        "peers": {n: importlib.metadata.version(n) for n, there in peers.items() if there},
        "cases": {what: measure(those, options.rounds) for what, those in calls.items()},
    }
    for what, rows in result["cases"].items():
        print(what)
        for row in rows:
            times = f"{row['ratio']:9.2f} x {row['beside']}"
            print(f"  {row['name']:40} {row['seconds'] * 1e3:10.3f} ms {times}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
