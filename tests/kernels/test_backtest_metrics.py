"""The probabilistic and the deflated Sharpe ratio: published figures, and what must hold."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kernels.backtest import backtest
from kernels.backtest_orders import Account, Bars, Signals
from kernels.performance_metrics import expected_best_sharpe, probabilistic_sharpe


def test_the_example_of_the_paper() -> None:
    """Bailey and Lopez de Prado (2014), "A numerical example": 100 trials over five years of days.

    An annualised ratio of 2.5, variance of the trials' annualised ratios 0.5, skewness -3,
    kurtosis 10, 1250 returns of which 250 make a year.
    """
    best = expected_best_sharpe(100, 0.5 / 250)
    assert best == pytest.approx(0.1132, abs=5e-5)
    chance = probabilistic_sharpe(
        [2.5 / math.sqrt(250)], best, returns=1250, skewness=[-3.0], kurtosis=[10.0]
    )
    assert chance[0] == pytest.approx(0.9004, abs=5e-5)
    fewer = probabilistic_sharpe(
        [2.5 / math.sqrt(250)],
        expected_best_sharpe(46, 0.5 / 250),
        returns=1250,
        skewness=[-3.0],
        kurtosis=[10.0],
    )
    assert fewer[0] == pytest.approx(0.9505, abs=5e-5)


@given(trials=st.integers(2, 10**6), variance=st.floats(1e-8, 10.0))
def test_the_best_of_many_rises_with_their_number_and_spread(trials: int, variance: float) -> None:
    here = expected_best_sharpe(trials, variance)
    assert 0.0 < here < expected_best_sharpe(2 * trials, variance)
    assert here == pytest.approx(math.sqrt(variance) * expected_best_sharpe(trials, 1.0))


def test_the_best_of_many_is_near_what_drawing_them_shows() -> None:
    drawn = np.random.default_rng(1).normal(0.0, 1.0, (20_000, 50)).max(axis=1).mean()
    assert expected_best_sharpe(50, 1.0) == pytest.approx(drawn, rel=0.02)


@given(
    sharpe=st.floats(-0.5, 0.5),
    benchmark=st.floats(-0.2, 0.2),
    returns=st.integers(2, 5000),
    skewness=st.floats(-2.0, 2.0),
    excess=st.floats(0.1, 20.0),
)
def test_the_formula(
    sharpe: float, benchmark: float, returns: int, skewness: float, excess: float
) -> None:
    kurtosis = 1.0 + skewness**2 + excess
    spread = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    expected = stats.norm.cdf((sharpe - benchmark) * math.sqrt(returns - 1) / math.sqrt(spread))
    got = probabilistic_sharpe(
        [sharpe], benchmark, returns=returns, skewness=[skewness], kurtosis=[kurtosis]
    )
    assert got[0] == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_ratios_are_those_of_the_curve() -> None:
    close = 100.0 * np.exp(np.cumsum(np.random.default_rng(2).normal(0.0, 0.01, 900)))
    bars = Bars(open=close, close=close)
    out = backtest(
        bars, Signals(np.ones(900)), bars_per_year=365.0, account=Account(position_size=1.0)
    )
    returns = np.diff(out.equity) / out.equity[:-1]
    m = out.metrics
    sharpe = returns.mean() / returns.std(ddof=1)
    assert m.sharpe_per_bar == pytest.approx(sharpe, rel=1e-10)
    assert m.sharpe_ratio == pytest.approx(sharpe * math.sqrt(365.0), rel=1e-10)
    assert m.skewness == pytest.approx(stats.skew(returns), rel=1e-9)
    assert m.kurtosis == pytest.approx(stats.kurtosis(returns, fisher=False), rel=1e-9)
    below = math.sqrt((np.minimum(returns, 0.0) ** 2).mean())
    assert m.sortino_ratio == pytest.approx(returns.mean() / below * math.sqrt(365.0), rel=1e-10)


def test_many_trials_deflate_a_single_run() -> None:
    close = 100.0 * np.exp(np.cumsum(np.random.default_rng(3).normal(0.001, 0.01, 500)))
    bars, signals = Bars(open=close, close=close), Signals(np.ones(500))
    one = backtest(bars, signals, bars_per_year=252.0).metrics
    many = backtest(bars, signals, bars_per_year=252.0, trials=100, trial_variance=0.002).metrics
    assert one.deflated_sharpe == one.probabilistic_sharpe
    assert many.probabilistic_sharpe == one.probabilistic_sharpe
    assert many.deflated_sharpe < one.deflated_sharpe - 0.1


def test_a_steady_gain_keeps_its_digits() -> None:
    """Returns of 1 % that vary by 1e-9: moments about 0 would have lost the variance."""
    steps = 0.01 + 1e-9 * np.random.default_rng(4).normal(0.0, 1.0, 300)
    close = 100.0 * np.cumprod(1.0 + steps)
    bars = Bars(open=np.concatenate([[99.0], close[:-1]]), close=close)
    free = Account(position_size=1.0, commission=0.0, slippage=0.0)
    out = backtest(bars, Signals(np.ones(300)), bars_per_year=1.0, account=free)
    returns = np.diff(out.equity) / out.equity[:-1]
    expected = returns.mean() / returns.std(ddof=1)
    assert out.metrics.sharpe_per_bar == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.01])
def test_a_line_without_spread_has_no_ratio(rate: float) -> None:
    close = 64.0 * (1.0 + rate) ** np.arange(
        12
    )  # 1 % is not exact in binary: its spread is rounding
    bars = Bars(open=np.concatenate([[64.0], close[:-1]]), close=close)
    free = Account(64.0, 1.0, 0.0, 0.0)
    out = backtest(bars, Signals(np.ones(12)), bars_per_year=1.0, account=free).metrics
    assert math.isnan(out.sharpe_ratio)
    assert math.isnan(out.probabilistic_sharpe)
    assert out.total_return == pytest.approx((1.0 + rate) ** 11 - 1.0)


def test_what_cannot_be_computed_is_refused() -> None:
    for trials, variance in ((0, 1.0), (5, -1.0), (5, math.nan), (5, math.inf)):
        with pytest.raises(ValueError, match="expected >="):
            expected_best_sharpe(trials, variance)
    with pytest.raises(ValueError, match="skewness, kurtosis: expected shape"):
        probabilistic_sharpe([0.1], 0.0, returns=9, skewness=[0.0, 1.0], kurtosis=[3.0])
    one = probabilistic_sharpe([0.1], 0.0, returns=1, skewness=[0.0], kurtosis=[3.0])
    assert math.isnan(one[0])
