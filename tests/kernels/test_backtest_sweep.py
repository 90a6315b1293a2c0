"""A sweep is the single runs of its combinations, computed together."""

from typing import Any

import numpy as np
import pytest

from kernels.backtest import backtest
from kernels.backtest_orders import Account, Bars
from kernels.backtest_sweep import Grid, sweep
from kernels.performance_metrics import Metrics, expected_best_sharpe, probabilistic_sharpe
from kernels.strategies import STRATEGIES

YEAR = 252.0
SESSION = np.arange(400) // 20
LAST = (np.arange(400) % 20 == 19) & (SESSION % 3 > 0)  # every third one breaks off
AXES: dict[str, dict[str, list[float]]] = {
    "sma_crossover": {"fast": [1, 3, 8], "slow": [2, 8, 13]},
    "rsi_reversal": {"period": [2, 5], "lower": [25.0, 40.0], "upper": [40.0, 70.5]},
    "bollinger_reversion": {"period": [5, 9], "width": [0.8, 1.3, 2.0]},
    "donchian_breakout": {"entry": [3, 8], "leave": [2, 5, 8]},
    "opening_range_breakout": {"range_bars": [1, 3, 6]},
}


def walk(n: int = 400, seed: int = 4) -> Bars:
    path = 60.0 + np.cumsum(np.random.default_rng(seed).normal(0.0, 0.3, 4 * n)).reshape(n, 4)
    return Bars(open=path[:, 0], close=path[:, 3], high=path.max(axis=1), low=path.min(axis=1))


def grid(name: str, direction: str = "long", **options: Any) -> Grid:
    if name == "opening_range_breakout":
        options |= {"session": SESSION, "last": LAST}
    return Grid(name, AXES[name], direction=direction, **options)


@pytest.mark.parametrize("direction", ["long", "short", "both"])
@pytest.mark.parametrize("name", sorted(STRATEGIES))
@pytest.mark.parametrize("threads", [1, 2])
def test_every_combination_is_its_single_run(name: str, direction: str, threads: int) -> None:
    bars, account = walk(), Account(position_size=0.7, lot_size=0.5)
    out = sweep(bars, grid(name, direction), bars_per_year=YEAR, account=account, threads=threads)
    assert out.column("total_trades").sum() > 0
    for k in range(len(out.metrics)):
        options: dict[str, Any] = {p: v[k].item() for p, v in out.parameters.items()}
        if name == "opening_range_breakout":
            options |= {"session": SESSION, "last": LAST}
        signals = STRATEGIES[name].kernel(bars, direction=direction, **options)
        single = backtest(
            bars,
            signals,
            bars_per_year=YEAR,
            account=account,
            trials=out.trials,
            trial_variance=out.trial_variance,
        )
        for field, got, expected in zip(Metrics._fields, out.of(k), single.metrics, strict=True):
            near = 1e-12 if field in {"total_return", "max_drawdown"} else 1e-9
            assert got == pytest.approx(expected, rel=near, abs=near, nan_ok=True), field
        np.testing.assert_allclose(out.buy_and_hold, single.buy_and_hold)
        np.testing.assert_allclose(out.cash, single.cash)


def test_where_nothing_is_left_a_sweep_and_a_run_say_the_same() -> None:
    close = [99.0, 101.0, 100.0, 100.0, 200.0, 200.0, 200.0, 200.0]
    bars, account = Bars(open=close, close=close), Account(1000.0, 1.0, 0.0, 0.0)
    sold = Grid("sma_crossover", {"fast": [1], "slow": [2]}, direction="short")
    out = sweep(bars, sold, bars_per_year=YEAR, account=account)
    signals = STRATEGIES["sma_crossover"].kernel(bars, direction="short", fast=1, slow=2)
    single = backtest(bars, signals, bars_per_year=YEAR, account=account)
    assert single.equity[-3:].tolist() == [0.0, 0.0, 0.0]
    assert single.metrics.total_return == -1.0
    assert single.metrics.sharpe_ratio < 0.0
    for field, got, expected in zip(Metrics._fields, out.of(0), single.metrics, strict=True):
        assert got == pytest.approx(expected, rel=1e-9, nan_ok=True), field


def test_combinations_are_a_product_without_those_that_do_not_go_together() -> None:
    got = grid("sma_crossover").combinations
    assert list(zip(got["fast"].tolist(), got["slow"].tolist(), strict=True)) == [
        (1, 2), (1, 8), (1, 13), (3, 8), (3, 13), (8, 13),
    ]  # fmt: skip
    assert Grid("rsi_reversal", {"period": [9]}).combinations["upper"].tolist() == [70.0]
    assert grid("rsi_reversal").combinations["lower"].tolist() == [25.0, 25.0, 40.0] * 2


def test_deflation_counts_the_trials_and_their_spread() -> None:
    bars = walk()
    out = sweep(bars, grid("sma_crossover"), bars_per_year=YEAR, trials=500)
    sharpe = out.column("sharpe_per_bar")
    assert out.trials == 500
    assert out.trial_variance == pytest.approx(sharpe.var(ddof=1))
    best = expected_best_sharpe(500, out.trial_variance)
    expected = probabilistic_sharpe(
        sharpe,
        best,
        returns=bars.size - 1,
        skewness=out.column("skewness"),
        kurtosis=out.column("kurtosis"),
    )
    np.testing.assert_allclose(out.column("deflated_sharpe"), expected)
    assert (out.column("deflated_sharpe") < out.column("probabilistic_sharpe")).all()
    alone = sweep(bars, Grid("sma_crossover", {"fast": [3], "slow": [8]}), bars_per_year=YEAR)
    assert alone.of(0).deflated_sharpe == alone.of(0).probabilistic_sharpe


def test_method_reaches_the_index() -> None:
    bars = walk()
    cutler, wilder = (
        sweep(bars, grid("rsi_reversal", method=m), bars_per_year=YEAR).column("total_return")
        for m in ("cutler", "wilder")
    )
    assert not np.allclose(cutler, wilder)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Grid("sma", {}), "strategy: expected one of"),
        (Grid("sma_crossover", {"quick": [3]}), "axes: expected some of .*quick"),
        (Grid("sma_crossover", {"fast": [0]}), "fast: expected"),
        (Grid("sma_crossover", {"fast": [2.5]}), "fast: expected a whole number"),
        (Grid("sma_crossover", {"fast": [9], "slow": [9]}), "grid: expected a combination"),
        (Grid("sma_crossover", {"fast": []}), "grid: expected a combination"),
        (Grid("sma_crossover", {}, direction="up"), "direction"),
        (Grid("rsi_reversal", {}, method="x"), "method"),
        (Grid("opening_range_breakout", {}), "session: expected 400 bars, was 0"),
    ],
)
def test_grids_that_cannot_be_are_refused(given: Grid, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sweep(walk(), given, bars_per_year=YEAR)


def test_numbers_that_cannot_be_are_refused() -> None:
    for options, message in (
        ({"bars_per_year": -1.0}, "bars_per_year"),
        ({"bars_per_year": YEAR, "trials": 5}, "trials: expected at least the 6"),
        ({"bars_per_year": YEAR, "threads": 0}, "threads"),
    ):
        with pytest.raises(ValueError, match=message):
            sweep(walk(), grid("sma_crossover"), **options)


def test_hardly_any_bars_are_swept_too() -> None:
    for n in (0, 1, 3):
        bars = Bars(**{k: getattr(walk(), k)[:n] for k in ("open", "close", "high", "low")})
        out = sweep(bars, Grid("donchian_breakout", {"entry": [1, 2]}), bars_per_year=YEAR)
        assert out.column("total_return").tolist() == [0.0, 0.0]
