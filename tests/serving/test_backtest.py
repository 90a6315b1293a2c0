"""``POST /backtest/run``: the contract, examples by hand, and what stands beside a result."""

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from kernels.backtest import backtest
from kernels.backtest_orders import Account, Bars
from kernels.strategies import STRATEGIES
from market.logs import formatter
from serving.backtests.contracts import CONTRACTS
from tests.serving.backtest_world import CROSSING, FREE, asked, prices, run, walk
from tests.serving.compute_world import served

SOURCE_RESULTS = {
    "total_return", "sharpe_ratio", "max_drawdown", "win_rate", "total_trades",
    "profitable_trades", "losing_trades", "avg_win", "avg_loss", "profit_factor",
}  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with served(tmp_path_factory.mktemp("lake")) as found:
        yield found


def test_the_source_s_request_is_answered_as_the_source_says(client: TestClient) -> None:
    parameters = {
        "fast_period": 1, "slow_period": 2, "initial_capital": 100000,
        "position_size": 0.1, "transaction_cost": 0.001,
    }  # fmt: skip
    body = {"strategy_id": "sma_crossover", "symbol": "TCS", "prices": prices()}
    answer = run(client, body | {"parameters": parameters})
    assert {"run_id", "status", "results", "equity_curve", "trades"} <= set(answer)
    assert answer["status"] == "completed"
    assert set(answer["results"]) > SOURCE_RESULTS
    assert [set(fill) >= {"date", "type", "price", "quantity", "pnl"} for fill in answer["trades"]]
    assert answer["computation_time_ms"] > 0
    assert isinstance(answer["mojo_used"], bool)


def test_an_example_by_hand(client: TestClient) -> None:
    answer = run(client, asked({**CROSSING, "initial_capital": 1000, "position_size": 1.0}))
    # wanted at the close of the 6th (9 > 8.5), bought at the open of the 9th: 100 at 10;
    # not wanted at the close of the 11th (10 < 11), sold at the open of the 12th: 100 at 8
    bought, sold = answer["trades"]
    assert (bought["date"], bought["type"], bought["price"], bought["quantity"], bought["pnl"]) == (
        "2023-01-09", "buy", 10.0, 100.0, None,
    )  # fmt: skip
    assert (sold["date"], sold["type"], sold["price"], sold["quantity"], sold["pnl"]) == (
        "2023-01-12", "sell", 8.0, 100.0, -200.0,
    )  # fmt: skip
    assert (sold["trade_return"], sold["reason"], sold["side"]) == (-0.2, "signal", "long")
    curve = [1000.0, 1000.0, 1000.0, 1000.0, 1100.0, 1200.0, 1000.0, 800.0]
    assert answer["equity_curve"] == pytest.approx(curve, rel=1e-13)
    results = answer["results"]
    assert results["total_return"] == pytest.approx(-0.2, rel=1e-13)
    assert results["max_drawdown"] == pytest.approx(-1 / 3, rel=1e-13)
    assert (results["total_trades"], results["losing_trades"], results["win_rate"]) == (1, 1, 0.0)
    assert (results["avg_win"], results["avg_loss"]) == (None, pytest.approx(-0.2))
    assert results["exposure"] == 3 / 8
    returns = np.diff(curve) / curve[:-1]
    sharpe = returns.mean() / returns.std(ddof=1)
    assert results["sharpe_per_bar"] == pytest.approx(sharpe, rel=1e-12)
    yearly = math.sqrt(answer["bars_per_year"])
    assert results["sharpe_ratio"] == pytest.approx(sharpe * yearly, rel=1e-12)
    assert results["total_return_range"] == [results["total_return"]] * 2
    # held from the second bar's open: 1000 / 9 at 9, and 8 at the end
    assert answer["buy_and_hold"]["total_return"] == pytest.approx(8 / 9 - 1, rel=1e-12)
    assert answer["cash"]["total_return"] == 0
    assert answer["cash"]["sharpe_ratio"] is None


def test_costs_by_hand(client: TestClient) -> None:
    parameters = {**CROSSING, "initial_capital": 1000, "position_size": 0.5}
    answer = run(client, asked(parameters | {"transaction_cost": 0.001}))
    # 50 at 10 and 50 at 8, a thousandth of 500 and of 400 for the broker
    assert answer["trades"][1]["pnl"] == pytest.approx(-100 - 0.5 - 0.4, rel=1e-12)
    assert answer["equity_curve"][-1] == pytest.approx(1000 - 100.9, rel=1e-12)
    answer = run(client, asked(parameters | {"slippage": 0.01, "lot_size": 7}))
    # 500 buys 49.5 at 10.10: 7 lots of 7; sold at 7.92
    bought, sold = answer["trades"]
    assert (bought["price"], bought["quantity"]) == (pytest.approx(10.1), 49.0)
    assert (sold["price"], sold["pnl"]) == (pytest.approx(7.92), pytest.approx(49 * (7.92 - 10.1)))


@pytest.mark.parametrize("strategy", CONTRACTS)
@pytest.mark.parametrize("direction", ["long", "short", "both"])
def test_a_flat_price_at_no_cost_returns_exactly_nothing(
    client: TestClient, strategy: str, direction: str
) -> None:
    flat = walk(80, minutes=1)
    flat |= {name: [100.0] * 80 for name in ("open", "high", "low", "close")}
    parameters = {**FREE, "direction": direction, "position_size": 1.0}
    body = {"strategy_id": strategy, "symbol": "F", "prices": flat, "parameters": parameters}
    answer = run(client, body)
    for part in ("results", "buy_and_hold", "cash"):
        assert answer[part]["total_return"] == 0.0
        assert answer[part]["sharpe_ratio"] is None
        assert answer[part]["probabilistic_sharpe"] is None
    assert answer["results"]["deflated_sharpe"] is None
    assert set(answer["equity_curve"]) == {100_000.0}


def test_what_is_held_at_a_flat_price_is_worth_what_was_paid(client: TestClient) -> None:
    """The origin forgot the position's cost: 10 % of the money was gone at once."""
    flat = prices([100.0] * 8, [100.0] * 8)
    answer = run(client, asked({**CROSSING, "position_size": 0.1}, prices=flat))
    assert answer["buy_and_hold"]["exposure"] == 7 / 8
    assert answer["buy_and_hold"]["total_return"] == 0.0


@pytest.mark.parametrize("strategy", CONTRACTS)
@pytest.mark.parametrize("direction", ["long", "short", "both"])
def test_every_strategy_says_what_its_kernel_says(
    client: TestClient, strategy: str, direction: str
) -> None:
    bars = walk(400, minutes=15, start="2024-03-04")
    body = {"strategy_id": strategy, "symbol": "W", "prices": bars, "calendar": "crypto"}
    answer = run(client, body | {"parameters": {"direction": direction}})
    given = Bars(**{name: np.array(bars[name]) for name in ("open", "close", "high", "low")})
    days = np.array(bars["dates"], dtype="datetime64[D]").astype(np.int64)
    session = {"session": days} if strategy == "opening_range_breakout" else {}
    signals = STRATEGIES[strategy].kernel(given, direction=direction, **session)
    made = backtest(given, signals, bars_per_year=answer["bars_per_year"], account=Account())
    assert answer["equity_curve"] == made.equity.tolist()
    assert answer["results"]["sharpe_ratio"] == made.metrics.sharpe_ratio
    assert answer["buy_and_hold"]["calmar_ratio"] == made.buy_and_hold.calmar_ratio
    assert [x["pnl"] for x in answer["trades"] if x["reason"]] == made.trades.pnl.tolist()
    assert answer["results"]["total_trades"] == made.trades.pnl.size > 0
    is_open = made.open_position is not None
    assert (answer["open_position"] is not None) is is_open
    assert len(answer["trades"]) == 2 * made.trades.pnl.size + is_open
    dates = [fill["date"] for fill in answer["trades"]]
    assert dates == sorted(dates)
    kinds = {"long": {"buy"}, "short": {"sell"}, "both": {"buy", "sell"}}[direction]
    assert {x["type"] for x in answer["trades"] if x["reason"] is None} == kinds


@pytest.mark.parametrize(
    ("strategy", "defaults"),
    [
        ("sma_crossover", {"fast_period": 20, "slow_period": 50}),
        ("rsi_reversal", {"period": 14, "lower": 30.0, "upper": 70.0, "method": "cutler"}),
        ("bollinger_reversion", {"period": 20, "std_dev": 2.0}),
        ("donchian_breakout", {"entry_period": 20, "exit_period": 10}),
        ("opening_range_breakout", {"range_bars": 15}),
    ],
)
def test_defaults_are_the_source_s(
    client: TestClient, strategy: str, defaults: dict[str, Any]
) -> None:
    answer = run(client, {"strategy_id": strategy, "symbol": "W", "prices": walk(60)})
    account = {
        "direction": "long", "initial_capital": 100_000.0, "position_size": 0.1,
        "transaction_cost": 0.001, "slippage": 0.0005, "lot_size": 0.0,
    }  # fmt: skip
    assert answer["parameters"] == defaults | account


def test_wilder_s_average_is_asked_for_by_name(client: TestClient) -> None:
    body = {"strategy_id": "rsi_reversal", "symbol": "W", "prices": walk(400)}
    cutler, wilder = (
        run(client, body | {"parameters": {"method": method}}) for method in ("cutler", "wilder")
    )
    assert cutler["equity_curve"] != wilder["equity_curve"]


def test_an_entry_s_bar_that_reaches_its_stop_leaves_a_range(client: TestClient) -> None:
    # the range is the first bar's 9 to 11; a close at 12 orders an entry at the next open, and that
    # bar reaches the stop at 9 before or after: nobody knows
    bars = {
        "dates": [f"2024-03-04T10:0{i}:00Z" for i in range(5)],
        "open": [10.0, 10.0, 12.0, 12.0, 13.0],
        "high": [11.0, 12.0, 13.0, 13.0, 13.0],
        "low": [9.0, 10.0, 8.0, 12.0, 13.0],
        "close": [10.0, 12.0, 12.0, 13.0, 13.0],
    }
    parameters = {**FREE, "range_bars": 1, "position_size": 1.0, "initial_capital": 1200.0}
    body = {"strategy_id": "opening_range_breakout", "symbol": "A", "prices": bars}
    results = run(client, body | {"parameters": parameters, "calendar": "crypto"})["results"]
    # 100 at 12: stopped at 9, or held to 13
    assert results["ambiguous_trades"] == 1
    assert results["total_return_range"] == pytest.approx([-0.25, 1 / 12])
    assert results["total_return"] == pytest.approx(-0.25)


def test_the_bars_are_named_by_their_content(client: TestClient) -> None:
    first = run(client, asked())["data_version"]
    assert run(client, asked(symbol="OTHER"))["data_version"] == first
    assert run(client, asked(prices=prices(volume=[5.0] * 8)))["data_version"] == first
    instants = [f"{date}T00:00:00Z" for date in prices()["dates"]]
    assert run(client, asked(prices=prices(dates=instants)))["data_version"] == first
    closes = [*prices()["close"][:-1], 8.0 - 1e-9]
    lows = [*prices()["low"][:-1], 8.0 - 1e-9]
    other = prices() | {"close": closes, "low": lows}
    assert run(client, asked(prices=other))["data_version"] != first
    later = [*prices()["dates"][:-1], "2023-01-13"]
    assert run(client, asked(prices=prices(dates=later)))["data_version"] != first


def test_a_log_line_and_the_metrics_tell_of_a_run(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level("INFO", "wavehouse.compute.requests"),
        served(tmp_path_factory.mktemp("lake"), log_requests=True) as client,
    ):
        run(client, asked())
        client.post("/backtest/run", json={})
        text = client.get("/metrics").text
    (record,) = (r for r in caplog.records if r.name == "wavehouse.compute.requests")
    line = json.loads(formatter("json").format(record))
    assert line["endpoint"] == "/backtest/run"
    assert (line["symbol"], line["strategy_id"]) == ("TCS", "sma_crossover")
    assert line["fast_period"] == 1
    endpoint = 'mojo_compute_requests_total{endpoint="/backtest/run",status='
    assert f'{endpoint}"200"}} 1.0' in text
    assert f'{endpoint}"422"}} 1.0' in text
    assert 'mojo_compute_errors_total{code="VALIDATION_ERROR",endpoint="/backtest/run"} 1' in text
    assert 'mojo_computation_seconds_count{indicator="sma_crossover"} 1.0' in text
