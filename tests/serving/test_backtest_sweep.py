"""``POST /backtest/sweep``, and the count of trials: each once on the bars it was tried on."""

from collections.abc import Iterator
from pathlib import Path
from statistics import variance
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from kernels.performance_metrics import expected_best_sharpe, probabilistic_sharpe
from serving.backtests.contracts import CONTRACTS
from tests.serving.backtest_world import CROSSING, FREE, asked, run, sweep, walk
from tests.serving.compute_world import served

BARS = walk(300)
GRID = {"fast_period": [5, 10, 60], "slow_period": [20, 40]}
COMMON = {"strategy_id": "sma_crossover", "symbol": "W", "prices": BARS}
VARYING = {"run_id", "computation_time_ms", "mojo_used"}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with served(tmp_path) as found:
        yield found


def chance(results: dict[str, Any], bars: int, trials: int, spread: float) -> float:
    """Return the deflated Sharpe ratio by the paper's formula."""
    moments = {name: [results[name]] for name in ("skewness", "kurtosis")}
    best = expected_best_sharpe(trials, spread)
    sharpe = [results["sharpe_per_bar"]]
    return float(probabilistic_sharpe(sharpe, best, returns=bars - 1, **moments)[0])


def same(results: dict[str, Any]) -> Any:
    """Return figures to compare with: sums of a sweep and of a run are added in another order."""
    return {n: x if x is None else pytest.approx(x, rel=1e-9) for n, x in results.items()}


def test_every_combination_is_what_a_run_of_it_is(client: TestClient) -> None:
    swept = sweep(client, COMMON | {"grid": GRID})
    found = [c["parameters"] for c in swept["combinations"]]
    assert found == [
        {"fast_period": fast, "slow_period": slow} for fast in (5, 10) for slow in (20, 40)
    ]  # 60 is never the faster one
    assert swept["trials"] == 4
    for combination in swept["combinations"]:
        alone = run(client, COMMON | {"parameters": combination["parameters"]})
        assert combination["results"] == same(alone["results"])  # and it is no new trial
        assert alone["buy_and_hold"] == swept["buy_and_hold"]
        assert alone["cash"] == swept["cash"]


def test_the_best_is_that_of_the_highest_ratio(client: TestClient) -> None:
    swept = sweep(client, COMMON | {"grid": GRID})
    sharpes = [c["results"]["sharpe_ratio"] for c in swept["combinations"]]
    assert sharpes[swept["best"]] == max(sharpes)
    flat = BARS | {name: [100.0] * 300 for name in ("open", "high", "low", "close")}
    swept = sweep(client, COMMON | {"prices": flat, "grid": GRID})
    assert swept["best"] is None
    assert {c["results"]["deflated_sharpe"] for c in swept["combinations"]} == {None}
    assert (swept["trials"], swept["trial_variance"]) == (4, 0.0)


def test_one_trial_is_the_probabilistic_ratio(client: TestClient) -> None:
    results = run(client, COMMON)["results"]
    assert (results["trials"], results["trial_variance"]) == (1, 0.0)
    assert results["deflated_sharpe"] == results["probabilistic_sharpe"]
    assert 0 < results["deflated_sharpe"] < 1


def test_trials_are_counted_once_on_the_bars_that_they_were_tried_on(client: TestClient) -> None:
    first = run(client, COMMON)["results"]
    again = run(client, COMMON | {"symbol": "ELSEWHERE"})["results"]
    assert again["trials"] == 1  # the same parameters on the same bars
    defaults = {"fast_period": 20, "slow_period": 50, "slippage": 0.0005, "direction": "long"}
    assert run(client, COMMON | {"parameters": defaults})["results"]["trials"] == 1
    swept = sweep(client, COMMON | {"grid": GRID})
    assert swept["trials"] == 5
    other = run(client, COMMON | {"parameters": {"direction": "both"}})["results"]
    assert other["trials"] == 6
    elsewhere = run(client, COMMON | {"prices": walk(300, seed=2)})["results"]
    assert elsewhere["trials"] == 1
    sharpes = [c["results"]["sharpe_per_bar"] for c in swept["combinations"]]
    sharpes += [first["sharpe_per_bar"], other["sharpe_per_bar"]]
    now = run(client, COMMON)["results"]
    assert now["trials"] == 6
    assert now["trial_variance"] == pytest.approx(variance(sharpes), rel=1e-10)
    expected = chance(now, 300, 6, now["trial_variance"])
    assert now["deflated_sharpe"] == pytest.approx(expected, rel=1e-12)
    assert now["deflated_sharpe"] < first["deflated_sharpe"]


def test_a_trial_without_a_ratio_counts(client: TestClient) -> None:
    still = asked({"fast_period": 4, "slow_period": 8})  # never crosses
    assert run(client, still)["results"]["sharpe_ratio"] is None
    results = run(client, asked())["results"]
    assert (results["trials"], results["trial_variance"]) == (2, 0.0)


@pytest.mark.parametrize(
    ("strategy", "grid"),
    [
        ("rsi_reversal", {"period": [5, 14], "lower": [20.0, 80.0], "upper": [70.0]}),
        ("bollinger_reversion", {"std_dev": [1.0, 1.5]}),
        ("donchian_breakout", {"entry_period": [10, 20], "exit_period": [5]}),
        ("opening_range_breakout", {"range_bars": [2, 4]}),
    ],
)
def test_every_strategy_is_swept(client: TestClient, strategy: str, grid: dict[str, Any]) -> None:
    bars = walk(400, minutes=15)
    common = {"strategy_id": strategy, "symbol": "W", "prices": bars}
    swept = sweep(client, common | {"grid": grid, "parameters": {"direction": "both", **FREE}})
    assert len(swept["combinations"]) == 2
    for combination in swept["combinations"]:
        parameters = combination["parameters"] | {"direction": "both", **FREE}
        alone = run(client, common | {"parameters": parameters})
        assert alone["results"] == same(combination["results"])
    assert set(CONTRACTS[strategy].numbers) >= set(grid)


def test_many_trials_leave_little_of_a_lucky_one(client: TestClient) -> None:
    grid = {"fast_period": list(range(2, 32)), "slow_period": list(range(32, 62))}
    swept = sweep(client, COMMON | {"grid": grid})
    assert swept["trials"] == 900
    best = swept["combinations"][swept["best"]]["results"]
    sharpes = [c["results"]["sharpe_per_bar"] for c in swept["combinations"]]
    assert swept["trial_variance"] == pytest.approx(np.var(sharpes, ddof=1), rel=1e-10)
    expected = chance(best, 300, 900, swept["trial_variance"])
    assert best["deflated_sharpe"] == pytest.approx(expected, rel=1e-12)
    assert best["deflated_sharpe"] < best["probabilistic_sharpe"]


def test_a_sweep_is_read_again(client: TestClient) -> None:
    swept = sweep(client, asked({}, grid={"fast_period": [1], "slow_period": [2, 3]}))
    assert client.get(f"/backtest/results/{swept['run_id']}").json() == swept
    again = sweep(client, asked({}, grid={"fast_period": [1], "slow_period": [2, 3]}))
    assert {n: x for n, x in again.items() if n not in VARYING} == {
        n: x for n, x in swept.items() if n not in VARYING
    }
    assert again["combinations"][0]["parameters"] == CROSSING
