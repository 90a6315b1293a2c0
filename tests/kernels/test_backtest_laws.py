"""What holds of every backtest: nothing from the future, money kept, scale, mirror, costs."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kernels.backtest import Backtest, backtest
from kernels.backtest_orders import Account, Bars, Signals
from kernels.backtest_trades import REASONS
from kernels.strategies import STRATEGIES

YEAR = 252.0
SIDES = st.sampled_from(["long", "short", "both"])
NAMES = st.sampled_from(sorted(STRATEGIES))
SMALL = {
    "sma_crossover": {"fast": 2, "slow": 5},
    "rsi_reversal": {"period": 3},
    "bollinger_reversion": {"period": 4, "width": 1.0},
    "donchian_breakout": {"entry": 4, "leave": 2},
    "opening_range_breakout": {"range_bars": 2},
}
SESSION = 9


def walk(n: int, seed: int, tick: float = 1.0) -> Bars:
    """Return bars on a grid of ticks, in binary fractions, far from 0: sums of them are exact."""
    rng = np.random.default_rng(seed)
    path = 512.0 + tick * np.cumsum(rng.integers(-2, 3, (n, 4)).ravel()).reshape(n, 4)
    return Bars(open=path[:, 0], close=path[:, 3], high=path.max(axis=1), low=path.min(axis=1))


def wanted(bars: Bars, name: str, direction: str) -> Signals:
    options: dict[str, Any] = dict(SMALL[name])
    if name == "opening_range_breakout":
        options["session"] = np.arange(bars.size) // SESSION
    return STRATEGIES[name].kernel(bars, direction=direction, **options)


def run(bars: Bars, signals: Signals, account: Account) -> Backtest:
    return backtest(bars, signals, bars_per_year=YEAR, account=account)


def shown(bars: Bars, change: Any) -> Bars:
    return Bars(
        **{f.name: change(getattr(bars, f.name)) for f in dataclasses.fields(Bars) if f.init}
    )


@settings(deadline=None, max_examples=100)
@given(name=NAMES, direction=SIDES, seed=st.integers(0, 10**6), data=st.data())
def test_later_bars_change_nothing(
    name: str, direction: str, seed: int, data: st.DataObject
) -> None:
    bars, others = walk(60, seed), walk(60, seed + 1)
    cut = data.draw(st.integers(0, 60))
    columns = {f.name: getattr(bars, f.name).copy() for f in dataclasses.fields(Bars) if f.init}
    for column, values in columns.items():
        values[cut:] = getattr(others, column)[cut:]
    account = Account(lot_size=data.draw(st.sampled_from([0.0, 1.0])))
    before, after = wanted(bars, name, direction), wanted(Bars(**columns), name, direction)
    np.testing.assert_array_equal(before.position[:cut], after.position[:cut])
    np.testing.assert_array_equal(before.stop[:cut], after.stop[:cut])
    first, second = run(bars, before, account), run(Bars(**columns), after, account)
    is_known = first.trades.exit_bar < cut
    if not first.metrics.ambiguous_trades + second.metrics.ambiguous_trades:
        assert first.equity[:cut].tobytes() == second.equity[:cut].tobytes()
        count = int(is_known.sum())
        for a, b in zip(first.trades, second.trades, strict=True):
            np.testing.assert_array_equal(a[:count], b[:count])


@settings(deadline=None, max_examples=60)
@given(name=NAMES, direction=SIDES, seed=st.integers(0, 10**6), data=st.data())
def test_bars_that_are_left_out_change_nothing(
    name: str, direction: str, seed: int, data: st.DataObject
) -> None:
    bars = walk(60, seed)
    cut = data.draw(st.integers(0, 60))
    if name == "opening_range_breakout":  # a session's end is known from its calendar alone
        assume(cut % SESSION)
    got = wanted(shown(bars, lambda x: x[:cut]), name, direction)
    np.testing.assert_array_equal(got.position, wanted(bars, name, direction).position[:cut])


@settings(deadline=None, max_examples=100)
@given(name=NAMES, direction=SIDES, seed=st.integers(0, 10**6), data=st.data())
def test_money_is_neither_made_nor_lost_on_the_way(
    name: str, direction: str, seed: int, data: st.DataObject
) -> None:
    bars = walk(80, seed)
    account = Account(
        1000.0,
        data.draw(st.sampled_from([0.1, 1.0])),
        data.draw(st.sampled_from([0.0, 0.01])),
        data.draw(st.sampled_from([0.0, 0.01])),
        data.draw(st.sampled_from([0.0, 0.25])),
    )
    out = run(bars, wanted(bars, name, direction), account)
    t = out.trades
    gained = t.side * t.quantity * (t.exit_price - t.entry_price)
    paid = account.commission * t.quantity * (t.exit_price + t.entry_price)
    np.testing.assert_allclose(t.pnl, gained - paid, rtol=1e-9, atol=1e-9)
    open_pnl = out.open_position.pnl if out.open_position else 0.0
    assert 1000.0 + t.pnl.sum() + open_pnl == pytest.approx(out.equity[-1], rel=1e-12)
    if account.lot_size:
        lots = t.quantity / account.lot_size
        np.testing.assert_allclose(lots, np.round(lots), atol=1e-9)
    before = np.concatenate([[1000.0], 1000.0 + np.cumsum(t.pnl)[:-1]])[: t.pnl.size]
    spent = t.quantity * t.entry_price * (1.0 + account.commission)
    assert (spent <= before * (1.0 + 1e-9)).all()


@settings(deadline=None, max_examples=60)
@given(
    name=NAMES,
    direction=SIDES,
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([2.0**-10, 0.25, 3.0, 1e6]),
)
def test_scaled_prices_change_only_quantities(
    name: str, direction: str, seed: int, scale: float
) -> None:
    bars = walk(80, seed)
    scaled = shown(bars, lambda x: x * scale)
    first, second = wanted(bars, name, direction), wanted(scaled, name, direction)
    np.testing.assert_array_equal(first.position, second.position)
    a, b = run(bars, first, Account()), run(scaled, second, Account())
    np.testing.assert_allclose(a.equity, b.equity, rtol=1e-10)
    np.testing.assert_allclose(a.trades.quantity, b.trades.quantity * scale, rtol=1e-10)


@settings(deadline=None, max_examples=100)
@given(name=NAMES, direction=SIDES, seed=st.integers(0, 10**6))
def test_mirrored_prices_flip_the_sides(name: str, direction: str, seed: int) -> None:
    bars = walk(80, seed)
    mirrored = Bars(
        open=1024.0 - bars.open,
        close=1024.0 - bars.close,
        high=1024.0 - bars.low,
        low=1024.0 - bars.high,
    )
    other = {"long": "short", "short": "long", "both": "both"}[direction]
    first, second = wanted(bars, name, direction), wanted(mirrored, name, other)
    np.testing.assert_array_equal(first.position, -second.position)
    np.testing.assert_array_equal(first.stop, 1024.0 - second.stop)
    free = Account(position_size=0.1, commission=0.0, slippage=0.0)
    a, b = run(bars, first, free), run(mirrored, second, free)
    if a.metrics.ambiguous_trades:
        return  # which outcome is worse is a question of money, so of the level of the price
    np.testing.assert_array_equal(a.trades.entry_bar, b.trades.entry_bar)
    np.testing.assert_array_equal(a.trades.exit_bar, b.trades.exit_bar)
    unit = a.trades.pnl / a.trades.quantity  # the same money a unit; quantities differ by the price
    np.testing.assert_allclose(unit, b.trades.pnl / b.trades.quantity, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=100)
@given(
    name=NAMES,
    direction=SIDES,
    seed=st.integers(0, 10**6),
    commission=st.floats(0.0, 0.01),
    slippage=st.floats(0.0, 0.01),
    size=st.sampled_from([0.1, 1.0]),
)
def test_higher_costs_never_pay(
    name: str, direction: str, seed: int, commission: float, slippage: float, size: float
) -> None:
    bars = walk(80, seed)
    signals = wanted(bars, name, direction)
    once = run(bars, signals, Account(1000.0, size, commission, slippage))
    twice = run(bars, signals, Account(1000.0, size, 2 * commission, 2 * slippage))
    if once.metrics.ambiguous_trades or once.trades.pnl.size != twice.trades.pnl.size:
        return  # other trades
    assert twice.equity[-1] <= once.equity[-1] * (1.0 + 1e-12)


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(direction=SIDES, seed=st.integers(0, 10**6))
def test_the_range_of_an_opening_range_run_holds_both_outcomes(direction: str, seed: int) -> None:
    bars = walk(120, seed)
    out = run(bars, wanted(bars, "opening_range_breakout", direction), Account(position_size=1.0))
    low, high = out.total_return_range
    assert low <= high
    assert (low == high) == (out.metrics.ambiguous_trades == 0) or low == pytest.approx(high)
    reasons = {REASONS[r] for r in out.trades.reason}
    assert reasons <= {"stop", "session_end", "signal"}
    closes = out.trades.reason == REASONS.index("session_end")
    assert ((out.trades.exit_bar[closes] + 1) % SESSION == 0).all()
