"""What a backtest's trades are worth together: returns, risk, and how far luck alone would reach.

Belongs here: figures of an equity curve and of a list of trades. Keep out: how trades come about
(``backtest_trades``).

Returns are simple, from close to close: n bars have n - 1. Ratios of them are taken a bar and then
annualised by the square root of the bars in a year. A curve whose returns differ by less than 1e-14
is a flat line, and has no such ratio: NaN, never 0.
"""

import math
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.backtest_equity import BELOW, FIRST, FLOOR, FOURTH, RETURNS, SECOND, THIRD
from kernels.backtest_trades import (
    ENTRY_BAR,
    ENTRY_PRICE,
    EQUITY,
    EXIT_BAR,
    EXIT_PRICE,
    OPEN,
    PNL,
    QUANTITY,
    REASON,
)
from kernels.gate import Matrix, Series, series
from kernels.jit import compiled_ieee

_FLAT: Final = 1e-14  # a standard deviation or a drawdown below it is rounding
_EULER: Final = 0.5772156649015329


class Metrics(NamedTuple):
    """The figures of one backtest; each a float, NaN where there is none.

    ``total_return`` of the pessimistic account; ``optimistic_return`` of the other one (the same
    but where the bar of an entry reached its stop). ``annualised_return`` compound.
    ``sharpe_ratio`` and ``sortino_ratio`` (target 0) annualised, ``sharpe_per_bar`` as it is;
    ``calmar_ratio`` annualised return over the deepest drawdown. ``max_drawdown`` <= 0, on closes.
    ``win_rate`` of closed trades; ``avg_win`` and ``avg_loss`` mean returns of those that won and
    lost, after costs, on the value at entry; ``profit_factor`` money won over money lost, infinite
    where none was. ``exposure`` share of bars that close in a position; ``turnover`` sum over
    fills of value over equity. ``skewness`` and ``kurtosis`` (raw: 3 for a normal) of returns.
    ``probabilistic_sharpe`` the chance that the true Sharpe ratio is above 0, ``deflated_sharpe``
    that it is above what the best of as many trials shows by luck.
    """

    total_return: float
    optimistic_return: float
    annualised_return: float
    sharpe_ratio: float
    sharpe_per_bar: float
    sortino_ratio: float
    calmar_ratio: float
    max_drawdown: float
    win_rate: float
    total_trades: float
    profitable_trades: float
    losing_trades: float
    avg_win: float
    avg_loss: float
    profit_factor: float
    exposure: float
    turnover: float
    skewness: float
    kurtosis: float
    probabilistic_sharpe: float
    deflated_sharpe: float
    ambiguous_trades: float
    rejected_orders: float


WIDTH: Final = len(Metrics._fields)
_AT: Final = {name: i for i, name in enumerate(Metrics._fields)}
OPTIMISTIC_RETURN: Final = _AT["optimistic_return"]
DEFLATED_SHARPE: Final = _AT["deflated_sharpe"]
AMBIGUOUS_TRADES: Final = _AT["ambiguous_trades"]
REJECTED_ORDERS: Final = _AT["rejected_orders"]
SHARPE_PER_BAR: Final = _AT["sharpe_per_bar"]
SKEWNESS: Final = _AT["skewness"]
KURTOSIS: Final = _AT["kurtosis"]
TOTAL_RETURN: Final = _AT["total_return"]
_YEARLY: Final = _AT["annualised_return"]
_SHARPE: Final = _AT["sharpe_ratio"]
_SORTINO: Final = _AT["sortino_ratio"]
_CALMAR: Final = _AT["calmar_ratio"]
_DRAWDOWN: Final = _AT["max_drawdown"]
_WIN_RATE: Final = _AT["win_rate"]
_TRADES: Final = _AT["total_trades"]
_WINS: Final = _AT["profitable_trades"]
_LOSSES: Final = _AT["losing_trades"]
_AVG_WIN: Final = _AT["avg_win"]
_AVG_LOSS: Final = _AT["avg_loss"]
_PROFIT_FACTOR: Final = _AT["profit_factor"]
_EXPOSURE: Final = _AT["exposure"]
_TURNOVER: Final = _AT["turnover"]
_PROBABILISTIC: Final = _AT["probabilistic_sharpe"]


def expected_best_sharpe(trials: int, variance: float) -> float:
    """Return the Sharpe ratio that the best of ``trials`` shows on average where none has an edge.

    sqrt(V) * ((1 - g) * Z(1 - 1 / N) + g * Z(1 - 1 / (N e))), g Euler's constant and Z the normal
    quantile; 0 for one trial.

    Parameters
    ----------
    trials : int
        How many were tried, at least 1, the discarded ones too.
    variance : float
        Of the trials' Sharpe ratios per bar, at least 0.

    Returns
    -------
    float
        A Sharpe ratio per bar.

    Raises
    ------
    ValueError
        If ``trials`` is below 1 or ``variance`` below 0 or NaN.

    References
    ----------
    D. Bailey and M. Lopez de Prado, "The Deflated Sharpe Ratio" (2014), equation 6.

    Examples
    --------
    >>> round(expected_best_sharpe(100, 0.25), 4)
    1.2653
    """
    if trials < 1:
        raise ValueError(f"trials: expected >= 1, was {trials}")
    if not 0.0 <= variance < math.inf:
        raise ValueError(f"variance: expected >= 0, was {variance}")
    if trials == 1:
        return 0.0
    normal = NormalDist()
    quantile = (1.0 - _EULER) * normal.inv_cdf(1.0 - 1.0 / trials)
    quantile += _EULER * normal.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * quantile


def probabilistic_sharpe(
    sharpe: npt.ArrayLike,
    benchmark: float,
    *,
    returns: int,
    skewness: npt.ArrayLike,
    kurtosis: npt.ArrayLike,
) -> Series:
    """Return the probability that the true Sharpe ratio is above ``benchmark``.

    Z((SR - SR*) * sqrt(n - 1) / sqrt(1 - skew * SR + (kurt - 1) / 4 * SR^2)). With the benchmark of
    ``expected_best_sharpe`` it is the deflated Sharpe ratio.

    Parameters
    ----------
    sharpe : array_like, float64, shape (n,)
        Per bar, not annualised. NaN gives NaN.
    benchmark : float
        Per bar.
    returns : int
        How many returns each ratio was computed from.
    skewness, kurtosis : array_like, float64, shape (n,)
        Of the returns; the kurtosis raw, 3 for a normal.

    Returns
    -------
    ndarray of float64, shape (n,)
        0..1; NaN also where fewer than two returns are known.

    Raises
    ------
    ValueError
        If an input is not one-dimensional or the shapes differ.

    References
    ----------
    D. Bailey and M. Lopez de Prado, "The Sharpe Ratio Efficient Frontier" (2012), equation 5.

    Examples
    --------
    >>> probabilistic_sharpe([0.1], 0.0, returns=101, skewness=[0.0], kurtosis=[3.0]).round(4)
    array([0.8407])
    """
    ratio = series(sharpe, "sharpe")
    third, fourth = series(skewness, "skewness"), series(kurtosis, "kurtosis")
    if not ratio.shape == third.shape == fourth.shape:
        raise ValueError(
            f"skewness, kurtosis: expected shape {ratio.shape} as sharpe, "
            f"was {third.shape}, {fourth.shape}"
        )
    out = np.empty(ratio.size)
    _probabilities(ratio, third, fourth, (benchmark, float(returns)), out)
    return out


@compiled_ieee
def _probabilities(
    sharpe: Series, skewness: Series, kurtosis: Series, against: tuple[float, float], out: Series
) -> None:
    benchmark, returns = against
    for i in range(sharpe.size):
        out[i] = exceeding(sharpe[i], benchmark, returns, skewness[i], kurtosis[i])


@compiled_ieee
def exceeding(
    sharpe: float, benchmark: float, returns: float, skewness: float, kurtosis: float
) -> float:
    """Return the probability of ``probabilistic_sharpe`` for one ratio."""
    spread = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe * sharpe
    if not (spread > 0.0 and returns > 1.0):
        return np.nan
    z = (sharpe - benchmark) * np.sqrt(returns - 1.0) / np.sqrt(spread)
    return 0.5 * math.erfc(-z / np.sqrt(2.0))


@compiled_ieee
def measured(
    sums: Series, n: int, trades: Matrix, capital: float, bars_per_year: float, row: Series
) -> None:
    """Write every figure of one backtest of ``n`` bars, but for those of its orders."""
    row[:] = np.nan
    total = total_return(trades, capital)
    row[TOTAL_RETURN] = total
    _measure_trades(trades, n, capital, row)
    row[_DRAWDOWN] = sums[FLOOR] - 1.0
    returns = n - 1.0
    if returns < 1.0:
        return
    yearly = np.expm1(np.log1p(total) * bars_per_year / returns) if total > -1.0 else -1.0
    row[_YEARLY] = yearly
    if row[_DRAWDOWN] < -_FLAT:
        row[_CALMAR] = yearly / -row[_DRAWDOWN]
    if returns > 1.0:
        _measure_returns(sums, returns, about(total, n), bars_per_year, row)


@compiled_ieee
def total_return(trades: Matrix, capital: float) -> float:
    """Return what the trades have made of the capital, as a return."""
    count = trades.shape[0]
    return (trades[count - 1, EQUITY] - capital) / capital if count else 0.0


@compiled_ieee
def about(total: float, n: int) -> float:
    """Return the mean return that the total implies: moments measured from it keep their digits."""
    return np.expm1(np.log1p(total) / (n - 1.0)) if total > -1.0 and n > 1 else 0.0


@compiled_ieee
def _measure_returns(
    sums: Series, returns: float, origin: float, bars_per_year: float, row: Series
) -> None:
    quiet = returns - sums[RETURNS]  # bars left out: their return is 0
    off = (sums[FIRST] - quiet * origin) / returns
    second = (sums[SECOND] + quiet * origin**2) / returns
    third = (sums[THIRD] - quiet * origin**3) / returns
    fourth = (sums[FOURTH] + quiet * origin**4) / returns
    mean = origin + off
    m2 = second - off**2
    if not m2 > _FLAT**2:
        return
    m3 = third - 3.0 * off * second + 2.0 * off**3
    m4 = fourth - 4.0 * off * third + 6.0 * off**2 * second - 3.0 * off**4
    sharpe = mean / np.sqrt(m2 * returns / (returns - 1.0))
    row[SHARPE_PER_BAR] = sharpe
    row[_SHARPE] = sharpe * np.sqrt(bars_per_year)
    if sums[BELOW] > 0.0:
        row[_SORTINO] = mean / np.sqrt(sums[BELOW] / returns) * np.sqrt(bars_per_year)
    row[SKEWNESS] = m3 / (m2 * np.sqrt(m2))
    row[KURTOSIS] = m4 / (m2 * m2)
    row[_PROBABILISTIC] = exceeding(sharpe, 0.0, returns, row[SKEWNESS], row[KURTOSIS])


@compiled_ieee
def _measure_trades(trades: Matrix, n: int, capital: float, row: Series) -> None:
    """Write what the trades alone say; one that is still open counts for exposure and turnover."""
    closed = wins = losses = 0
    won = lost = gain = loss = held = turned = 0.0
    before = capital
    for k in range(trades.shape[0]):
        trade = trades[k]
        value = trade[QUANTITY] * trade[ENTRY_PRICE]
        held += trade[EXIT_BAR] - trade[ENTRY_BAR]
        turned += value / before
        before = trade[EQUITY]
        if trade[REASON] == OPEN:
            continue
        turned += trade[QUANTITY] * trade[EXIT_PRICE] / before
        pnl = trade[PNL]
        share = pnl / value
        closed += 1
        wins += pnl > 0.0
        losses += pnl < 0.0
        won += max(pnl, 0.0)
        lost += min(pnl, 0.0)
        gain += max(share, 0.0)
        loss += min(share, 0.0)
    row[_TRADES], row[_WINS], row[_LOSSES] = closed, wins, losses
    row[_WIN_RATE] = wins / closed if closed else np.nan
    row[_AVG_WIN] = gain / wins if wins else np.nan
    row[_AVG_LOSS] = loss / losses if losses else np.nan
    if won > 0.0 or lost < 0.0:
        row[_PROFIT_FACTOR] = won / abs(lost)
    row[_EXPOSURE] = held / n if n else np.nan
    row[_TURNOVER] = turned
