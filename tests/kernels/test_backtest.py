"""The backtest against its naive twin, and rules of filling computed by hand."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.backtest import Backtest, backtest, settings_of
from kernels.backtest_equity import SUMS, followed
from kernels.backtest_orders import AT_CLOSE, Account, Bars, Signals
from kernels.backtest_trades import COLUMNS, REASONS, traded
from kernels.performance_metrics import Metrics, measured
from tests.naive import backtest as naive

Floats = npt.NDArray[np.float64]
FREE = Account(10_000.0, 1.0, 0.0, 0.0)
YEAR = 252.0


def random_bars(n: int, seed: int, tick: float) -> Bars:
    """Return a random walk; a coarse tick makes equal prices, flat bars and stops met exactly."""
    rng = np.random.default_rng(seed)
    path = 50.0 + np.cumsum(rng.normal(0.0, 0.5, 4 * n)).reshape(n, 4)
    path = np.maximum(np.round(path / tick) * tick, tick)
    gap = np.round(rng.normal(0.0, 0.5, n) / tick) * tick * (rng.random(n) < 0.2)
    open_, close = np.maximum(path[:, 0] + gap, tick), path[:, 3]
    return Bars(
        open=open_,
        close=close,
        high=np.maximum(path.max(axis=1, initial=tick), open_),
        low=np.minimum(path.min(axis=1, initial=1e9), open_),
    )


@st.composite
def runs(draw: st.DrawFn, most: int = 40) -> tuple[Bars, Signals, Account]:
    n, seed = draw(st.integers(2, most)), draw(st.integers(0, 2**32 - 1))
    bars = random_bars(n, seed, draw(st.sampled_from([1e-6, 0.5, 2.0])))
    rng = np.random.default_rng(seed + 1)
    stay = draw(st.sampled_from([0.2, 0.7]))
    kinds = draw(st.sampled_from([[0, 1], [0, -1], [-1, 0, 1], [-1, 1]]))
    position = np.zeros(n, dtype=np.int8)
    for t in range(n):
        was = position[t - 1] if t else 0
        position[t] = was if rng.random() < stay else rng.choice(kinds)
    optional: dict[str, Any] = {}
    if draw(st.booleans()):
        distance = rng.choice([0.0, 0.5, 1.0, 4.0, np.nan], n)
        optional["stop"] = bars.close - np.where(position == 0, 1, position) * distance
    if draw(st.booleans()):
        flat = rng.random(n) < 0.15
        optional["is_flat_at_close"] = flat
        position[flat] = 0
    account = Account(
        initial_capital=draw(st.sampled_from([1000.0, 100_000.0])),
        position_size=draw(st.sampled_from([0.1, 0.5, 1.0])),
        commission=draw(st.sampled_from([0.0, 0.001, 0.02])),
        slippage=draw(st.sampled_from([0.0, 0.0005, 0.01])),
        lot_size=draw(st.sampled_from([0.0, 0.0, 1.0, 0.1, 50.0])),
    )
    return bars, Signals(position, **optional), account


def slow(bars: Bars, signals: Signals, account: Account, *, is_optimistic: bool = False) -> Any:
    return naive.run(
        list(zip(*(x.tolist() for x in bars.all), strict=True)),
        signals.position.tolist(),
        account={name: getattr(account, name) for name in account.__slots__},
        stops=signals.stop.tolist() if signals.stop.size else None,
        flat=signals.is_flat_at_close.tolist() if signals.is_flat_at_close.size else None,
        is_optimistic=is_optimistic,
    )


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(run=runs())
def test_agrees_with_the_naive_twin(run: tuple[Bars, Signals, Account]) -> None:
    bars, signals, account = run
    got, expected = backtest(bars, signals, bars_per_year=YEAR, account=account), slow(*run)
    np.testing.assert_allclose(got.equity, expected.equity, rtol=1e-12)
    assert got.trades.entry_bar.tolist() == [t["bar"] for t in expected.trades]
    assert got.trades.exit_bar.tolist() == [t["exit"] for t in expected.trades]
    assert got.trades.side.tolist() == [t["side"] for t in expected.trades]
    assert [REASONS[r] for r in got.trades.reason] == [t["why"] for t in expected.trades]
    for name, key in (("quantity", "quantity"), ("entry_price", "price"), ("pnl", "pnl")):
        np.testing.assert_allclose(
            getattr(got.trades, name),
            [t[key] for t in expected.trades],
            rtol=1e-12,
            atol=1e-12 * account.initial_capital,
        )
    open_ = got.open_position
    assert (open_.quantity * open_.side if open_ else 0.0) == pytest.approx(expected.quantity)
    figures = naive.metrics(expected, capital=account.initial_capital, bars_per_year=YEAR)
    figures["optimistic_return"] = (
        slow(*run, is_optimistic=True).equity[-1] / account.initial_capital - 1.0
    )
    figures["deflated_sharpe"] = figures["probabilistic_sharpe"]
    assert set(figures) == set(got.metrics._fields)
    for name in ("total_return", "optimistic_return", "max_drawdown"):
        assert getattr(got.metrics, name) == pytest.approx(figures[name], rel=1e-12, abs=1e-12)
    if np.any(np.sign(got.trades.pnl) != np.sign([t["pnl"] for t in expected.trades])):
        for name in ("profitable_trades", "losing_trades", "win_rate", "avg_win", "avg_loss"):
            del figures[name]  # whether rounding won or lost
    if -1e-6 < figures["max_drawdown"] < 0.0:
        del figures["calmar_ratio"]  # a quotient by rounding
    if -1e-12 < figures["max_drawdown"] < 0.0:
        del figures["sortino_ratio"]  # nothing was lost but the last bits of the twin's sums
    for name, value in figures.items():
        assert getattr(got.metrics, name) == pytest.approx(
            value, rel=1e-8, abs=1e-10, nan_ok=True
        ), name


def of(prices: list[tuple[float, float, float, float]]) -> Bars:
    open_, high, low, close = np.array(prices, dtype=np.float64).reshape(-1, 4).T
    return Bars(open=open_, close=close, high=high, low=low)


def run(bars: Bars, position: list[int], account: Account = FREE, **signals: Any) -> Backtest:
    return backtest(
        bars, Signals(np.array(position), **signals), bars_per_year=YEAR, account=account
    )


def flat(n: int, price: float) -> Bars:
    return of([(price, price, price, price)] * n)


@pytest.mark.parametrize("price", [100.0, 0.1, 1.1, 1234.567])
@pytest.mark.parametrize("size", [0.1, 1.0, 0.37])
def test_a_flat_price_at_zero_cost_returns_exactly_nothing(price: float, size: float) -> None:
    position = [0, 1, 1, 0, -1, -1, 1, 1, 0, 1] * 10
    out = run(flat(100, price), position, Account(100_000.0, size, 0.0, 0.0))
    assert (out.equity == 100_000.0).all()
    assert out.metrics.total_return == 0.0
    assert out.metrics.max_drawdown == 0.0
    assert math.isnan(out.metrics.sharpe_ratio)
    assert math.isnan(out.metrics.deflated_sharpe)
    assert out.buy_and_hold.total_return == 0.0


def test_a_market_order_fills_at_the_next_open_worse_by_slippage_and_pays_on_both_sides() -> None:
    bars = of([(90, 99, 89, 95), (100, 111, 99, 110), (120, 121, 110, 115), (100, 101, 99, 100)])
    out = run(bars, [1, 0, 0, 0], Account(10_000.0, 0.5, 0.01, 0.02))
    quantity = 5000.0 / 102.0
    proceeds = quantity * 120 * 0.98
    assert out.trades.entry_price.tolist() == [102.0]
    assert out.trades.exit_price.tolist() == [pytest.approx(117.6)]
    assert out.trades.quantity.tolist() == [pytest.approx(quantity)]
    pnl = proceeds - 5000.0 - 50.0 - 0.01 * proceeds
    assert out.trades.pnl.tolist() == [pytest.approx(pnl)]
    assert out.trades.trade_return.tolist() == [pytest.approx(pnl / 5000.0)]
    assert out.equity == pytest.approx(
        [10_000, 10_000 - 5050 + quantity * 110, 10_000 + pnl, 10_000 + pnl]
    )


def test_a_short_is_worse_by_slippage_the_other_way() -> None:
    bars = of([(100, 100, 100, 100), (100, 100, 90, 90), (80, 85, 80, 85)])
    out = run(bars, [-1, 0, 0], Account(1000.0, 1.0, 0.0, 0.01))
    assert out.trades.entry_price.tolist() == [99.0]
    assert out.trades.exit_price.tolist() == [pytest.approx(80.8)]
    assert out.trades.pnl.tolist() == [pytest.approx(1000 / 99 * (99 - 80.8))]


def test_a_signal_at_the_last_bar_is_never_filled() -> None:
    out = run(flat(3, 10.0), [0, 0, 1])
    assert not out.trades.pnl.size
    assert out.open_position is None
    late = run(of([(10, 10, 10, 10), (10, 10, 10, 10), (10, 12, 10, 12)]), [1, 1, 0])
    assert late.metrics.total_trades == 0
    assert late.open_position is not None
    assert (late.open_position.entry_bar, late.open_position.pnl) == (1, pytest.approx(2000.0))
    assert late.metrics.total_return == pytest.approx(0.2)


def test_cash_never_goes_below_zero_whatever_the_commission() -> None:
    out = run(flat(4, 10.0), [1, 1, 0, 0], Account(1000.0, 1.0, 0.25, 0.0))
    assert out.trades.quantity.tolist() == [pytest.approx(80.0)]  # 800 and a fee of 200
    assert out.equity.tolist() == pytest.approx([1000.0, 800.0, 800.0, 600.0])


@pytest.mark.parametrize(
    ("lot", "capital", "expected"),
    [
        (1.0, 1000.0, 31.0),
        (10.0, 1000.0, 30.0),
        (0.1, 3.2, 0.1),
        (0.1, 9.6, 0.3),
        (100.0, 1000.0, 0),
    ],
)
def test_quantities_are_whole_lots(lot: float, capital: float, expected: float) -> None:
    out = run(flat(4, 32.0), [1, 1, 0, 0], Account(capital, 1.0, 0.0, 0.0, lot))
    assert out.trades.quantity.tolist() == ([pytest.approx(expected)] if expected else [])
    assert out.metrics.rejected_orders == (not expected)


BEFORE = (100.0, 101.0, 99.0, 100.0)


@pytest.mark.parametrize(
    ("bar", "price"),
    [
        ((98.0, 99.0, 94.0, 97.0), 95.0),  # through it: at the stop
        ((98.0, 99.0, 95.0, 97.0), 95.0),  # at it
        ((94.0, 99.0, 93.0, 97.0), 94.0),  # beyond it from the start: at the open
        ((98.0, 99.0, 95.01, 97.0), None),
    ],
)
def test_a_stop_fills_at_its_price_or_at_an_open_beyond_it(bar: Any, price: float | None) -> None:
    stop = np.full(5, 95.0)
    out = run(of([BEFORE, BEFORE, BEFORE, bar, BEFORE]), [0, 1, 1, 1, 1], stop=stop)
    if price is None:
        assert out.open_position is not None
        return
    assert (out.trades.exit_bar.tolist(), out.trades.exit_price.tolist()) == ([3], [price])
    assert REASONS[out.trades.reason[0]] == "stop"
    assert out.open_position is None  # nothing new was wanted since
    assert out.total_return_range == (pytest.approx((price - 100) / 100),) * 2
    upside = Bars(**{k: 200.0 - v for k, v in _mirror(of([BEFORE, BEFORE, BEFORE, bar, BEFORE]))})
    short = run(upside, [0, -1, -1, -1, -1], stop=200.0 - stop)
    assert short.trades.exit_price.tolist() == [200.0 - price]


def _mirror(bars: Bars) -> list[tuple[str, Floats]]:
    return [("open", bars.open), ("high", bars.low), ("low", bars.high), ("close", bars.close)]


def test_a_stop_reached_in_the_bar_of_the_entry_is_ambiguous() -> None:
    bars = of([BEFORE, (100, 112, 90, 110), (120, 120, 120, 120), BEFORE])
    out = run(bars, [1, 0, 0, 0], stop=np.full(4, 95.0))
    assert out.metrics.ambiguous_trades == 1
    assert out.total_return_range == (pytest.approx(-0.05), pytest.approx(0.2))
    assert out.equity[-1] == pytest.approx(9500.0)
    worse = of([BEFORE, (100, 112, 90, 110), (80, 80, 80, 80), BEFORE])
    later = run(worse, [1, 0, 0, 0], stop=np.full(4, 95.0))
    assert later.total_return_range == (pytest.approx(-0.2), pytest.approx(-0.05))


def test_an_entry_that_opens_beyond_its_stop_is_stopped_there_and_is_not_ambiguous() -> None:
    out = run(of([BEFORE, (94, 100, 94, 99), BEFORE]), [1, 1, 1], stop=np.full(3, 95.0))
    assert out.trades.exit_price.tolist() == [94.0]
    assert out.metrics.ambiguous_trades == 0


def test_a_session_end_closes_at_its_close_and_its_bar_can_still_be_stopped() -> None:
    ends = np.array([False, False, True, False])
    bars = of([BEFORE, BEFORE, (100, 106, 98, 105), BEFORE])
    out = run(bars, [1, 1, 0, 0], is_flat_at_close=ends)
    assert (out.trades.exit_bar.tolist(), out.trades.exit_price.tolist()) == ([2], [105.0])
    assert REASONS[out.trades.reason[0]] == "session_end"
    stopped = run(bars, [1, 1, 0, 0], is_flat_at_close=ends, stop=np.full(4, 98.5))
    assert (stopped.trades.exit_bar.tolist(), stopped.trades.exit_price.tolist()) == ([2], [98.5])
    assert stopped.metrics.ambiguous_trades == 0


def test_a_short_that_loses_everything_ends_the_run() -> None:
    bars = of([BEFORE, BEFORE, (150, 220, 150, 210), BEFORE, BEFORE, BEFORE])
    out = run(bars, [-1, -1, 0, 1, 1, 1])
    assert REASONS[out.trades.reason[0]] == "ruin"
    assert out.equity.tolist() == pytest.approx([1e4, 1e4, -1e3, -1e3, -1e3, -1e3])
    assert out.metrics.total_return == pytest.approx(-1.1)
    assert out.metrics.annualised_return == -1.0
    assert out.metrics.rejected_orders == 0  # the run is over
    assert out.metrics.max_drawdown == pytest.approx(-1.1)


def test_buy_and_hold_and_cash_stand_beside_the_run() -> None:
    bars = random_bars(50, 3, 1e-6)
    account = Account(1000.0, 0.4, 0.002, 0.001)
    out = run(bars, [0] * 25 + [1] * 25, account)
    for beside, position in ((out.buy_and_hold, [1] * 50), (out.cash, [0] * 50)):
        np.testing.assert_allclose(beside, run(bars, position, account).metrics, rtol=1e-12)
    assert out.cash.total_return == 0.0


def test_compiled_code_does_what_its_python_does() -> None:
    bars, account = random_bars(200, 11, 0.5), Account(1000.0, 0.5, 0.001, 0.001, 0.1)
    position = np.repeat(np.random.default_rng(2).integers(-1, 2, 50), 4).astype(np.int8)
    at, targets = Signals(position).orders
    orders = at.size, at, targets
    stop = bars.close - position * 0.5
    outcomes = []
    for get in (lambda f: f, lambda f: f.py_func):
        trades, path, sums = np.zeros((at.size, COLUMNS)), np.zeros(200), np.zeros(SUMS)
        row = np.zeros(len(Metrics._fields))
        with np.errstate(all="ignore"):
            counts = [
                get(traded)(bars.all, orders, (stop, stop), settings_of(bars, account), way, trades)
                for way in (True, False)
            ]
            made = trades[: counts[1][0]]
            get(followed)(bars.close, made, 1000.0, 1e-5, path, sums)
            get(measured)(sums, 200, made, 1000.0, YEAR, row)
        outcomes.append((counts, trades, path, sums, row))
    assert outcomes[0][0] == outcomes[1][0]
    assert outcomes[0][0][0][0] > 10
    for compiled, python in zip(outcomes[0][1:], outcomes[1][1:], strict=True):
        np.testing.assert_allclose(compiled, python, rtol=1e-9)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_hardly_any_bars_give_no_ratio(n: int) -> None:
    out = run(flat(n, 5.0), [1] * n)
    assert out.equity.tolist() == [10_000.0] * n
    assert math.isnan(out.metrics.sharpe_ratio)
    assert out.metrics.total_return == 0.0


@pytest.mark.parametrize("capital", [1000.0, 999.0874195092239, 1e5 / 3.0])
def test_a_stop_at_the_last_close_is_a_stop(capital: float) -> None:
    bars = Bars(open=[51.0, 51.0], high=[51.0, 52.0], low=[51.0, 51.0], close=[51.0, 52.0])
    signals = Signals(np.array([-1, -1]), stop=np.array([52.0, np.nan]))
    account = Account(initial_capital=capital, position_size=0.1, commission=0.0, slippage=0.0)
    out = backtest(bars, signals, bars_per_year=YEAR, account=account)
    # the worse of both is as bad as the other: then the stop, which was reached first
    assert [REASONS[reason] for reason in out.trades.reason] == ["stop"]
    assert [trade["why"] for trade in slow(bars, signals, account).trades] == ["stop"]


def test_a_curve_longer_than_a_piece_is_measured_the_same() -> None:
    bars = random_bars(20_000, 5, 1e-6)
    up = bars.close + 100.0 - bars.close.min()
    lifted = Bars(open=up, close=up)
    position = [1] * 9000 + [0] * 3000 + [-1] * 8000
    account = Account(position_size=0.3)
    out = run(lifted, position, account)
    book = slow(Bars(open=up, close=up, high=up, low=up), Signals(np.array(position)), account)
    figures = naive.metrics(book, capital=account.initial_capital, bars_per_year=YEAR)
    for name in ("total_return", "max_drawdown", "sharpe_ratio", "kurtosis", "sortino_ratio"):
        assert getattr(out.metrics, name) == pytest.approx(figures[name], rel=1e-9), name
    held = run(lifted, [1] * 20_000, account).metrics
    np.testing.assert_allclose(out.buy_and_hold, held, rtol=1e-9)


def test_many_trades_over_pieces_are_measured_by_their_curve() -> None:
    rng = np.random.default_rng(8)
    close = 50.0 * np.exp(rng.normal(0.0, 1e-3, 20_001).cumsum())
    position = np.repeat(rng.integers(-1, 2, 2001), 10)[: close.size]
    out = run(Bars(open=close, close=close), position.tolist())
    returns = np.diff(out.equity) / out.equity[:-1]
    assert out.metrics.total_trades > 800
    assert out.metrics.sharpe_per_bar == pytest.approx(returns.mean() / returns.std(ddof=1))
    deepest = (out.equity / np.maximum.accumulate(out.equity)).min() - 1.0
    assert out.metrics.max_drawdown == pytest.approx(deepest, rel=1e-12)


def test_positions_that_follow_orders_give_these_orders() -> None:
    at, targets = np.array([2, 5, 7]), np.array([1, -1, 0], dtype=np.int8)
    signals = Signals.following((at, targets), 9)
    assert signals.position.tolist() == [0, 0, 1, 1, 1, -1, -1, 0, 0]
    assert signals.orders[0] is at
    again = Signals(signals.position).orders
    assert [x.tolist() for x in again] == [at.tolist(), targets.tolist()]
    with pytest.raises(ValueError, match="read-only"):
        signals.position[0] = 1  # it would not be what the orders say


def test_a_position_that_ends_at_a_close_is_not_in_the_positions() -> None:
    at, targets = np.array([1, 2]), np.array([1, AT_CLOSE], dtype=np.int8)
    signals = Signals.following((at, targets), 4)
    assert signals.position.tolist() == [0, 1, 0, 0]
    assert signals.orders[1].tolist() == [1, 0]


@pytest.mark.parametrize(("close", "highest"), [([], 0.0), ([2.0, 5.5, 1e-300], 5.5)])
def test_bars_know_their_highest_close(close: list[float], highest: float) -> None:
    assert Bars(open=close, close=close).highest_close == highest


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"open": [1.0, 2.0], "close": [1.0]}, "close: expected 2 bars as open, was 1"),
        ({"open": [1.0, math.nan], "close": [1.0, 1.0]}, "open: expected finite prices above 0"),
        ({"open": [1.0], "close": [math.inf]}, "close: expected finite"),
        ({"open": [-1.0], "close": [1.0]}, "was -1.0 at bar 0"),
        ({"open": [1.0], "close": [0.0]}, "was 0.0 at bar 0"),
        ({"open": [1.0], "close": [1.0], "high": [1.0]}, "low: expected 1 bars as open, was 0"),
        (
            {"open": [1.0], "close": [2.0], "high": [1.5], "low": [1.0]},
            "high, low: expected open and close between them",
        ),
    ],
)
def test_bars_that_cannot_be_are_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Bars(**columns)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("initial_capital", 0.0), ("initial_capital", math.nan), ("initial_capital", math.inf),
        ("position_size", 0.0), ("position_size", 1.01), ("position_size", math.nan),
        ("commission", -0.1), ("commission", 1.0), ("slippage", 1.0), ("slippage", math.nan),
        ("lot_size", -1.0), ("lot_size", math.nan),
    ],
)  # fmt: skip
def test_accounts_that_cannot_be_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected"):
        Account(**{name: value})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"position": [2, 0, 0]}, "expected -1, 0 or"),
        ({"position": [0.5, 0, 0]}, "expected -1, 0 or"),
        ({"position": [[0]]}, "expected shape"),
        ({"position": [0, 0, 0], "stop": [1.0]}, "stop: expected shape"),
        ({"position": [0, 1, 0], "is_flat_at_close": [False, True, False]}, "expected 0 at a bar"),
    ],
)
def test_signals_that_cannot_be_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Signals(**given)


def test_runs_that_cannot_be_are_refused() -> None:
    bars, signals = flat(3, 1.0), Signals(np.zeros(3))
    narrow = Bars(open=bars.open, close=bars.close)
    with pytest.raises(ValueError, match="bars_per_year"):
        backtest(bars, signals, bars_per_year=0.0)
    with pytest.raises(ValueError, match="signals: expected 3 bars, was 2"):
        backtest(bars, Signals(np.zeros(2)), bars_per_year=YEAR)
    with pytest.raises(ValueError, match="high, low: expected both, which a stop reads"):
        backtest(narrow, Signals(np.zeros(3), stop=np.ones(3)), bars_per_year=YEAR)
    with pytest.raises(ValueError, match="trial_variance: expected a number beside 5 trials"):
        backtest(bars, signals, bars_per_year=YEAR, trials=5)
