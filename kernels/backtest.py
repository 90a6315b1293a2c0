"""A backtest: bars and wanted positions in; metrics, equity and trades out.

Belongs here: one run, and what stands beside it. Keep out: the rules of filling
(``backtest_trades``), figures (``performance_metrics``), many runs (``backtest_sweep``).
"""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.backtest_equity import PIECE, SUMS, followed
from kernels.backtest_orders import Account, Bars, Orders, Signals
from kernels.backtest_trades import (
    COLUMNS,
    ENTRY_BAR,
    ENTRY_PRICE,
    EXIT_BAR,
    EXIT_PRICE,
    OPEN,
    PNL,
    QUANTITY,
    REASON,
    SIDE,
    Prices,
    traded,
)
from kernels.gate import Matrix, Series
from kernels.jit import compiled_ieee
from kernels.performance_metrics import (
    AMBIGUOUS_TRADES,
    DEFLATED_SHARPE,
    KURTOSIS,
    OPTIMISTIC_RETURN,
    REJECTED_ORDERS,
    SHARPE_PER_BAR,
    SKEWNESS,
    WIDTH,
    Metrics,
    about,
    expected_best_sharpe,
    measured,
    probabilistic_sharpe,
    total_return,
)

_DEFAULT_ACCOUNT: Final = Account()


class Trades(NamedTuple):
    """Closed trades in order, one a row, shape (k,).

    ``entry_bar`` and ``exit_bar`` int64; ``side`` int8, +1 long, -1 short; ``quantity``;
    ``entry_price`` and ``exit_price`` as filled, slippage included; ``pnl`` money after all costs,
    ``trade_return`` the same over the value at entry; ``reason`` int8, a place in ``REASONS``.
    """

    entry_bar: npt.NDArray[np.int64]
    exit_bar: npt.NDArray[np.int64]
    side: npt.NDArray[np.int8]
    quantity: Series
    entry_price: Series
    exit_price: Series
    pnl: Series
    trade_return: Series
    reason: npt.NDArray[np.int8]


class OpenPosition(NamedTuple):
    """What is still held after the last bar: no trade yet, ``pnl`` marked to the last close."""

    entry_bar: int
    side: int
    quantity: float
    entry_price: float
    pnl: float


@dataclass(frozen=True, slots=True)
class Backtest:
    """One run: its figures, and beside them those of holding, and of doing nothing.

    ``buy_and_hold`` is bought at the second bar's open by the same rules, with the same costs and
    the same share of equity. ``equity`` at each close, shape (n,), money.
    """

    metrics: Metrics
    buy_and_hold: Metrics
    cash: Metrics
    equity: Series
    trades: Trades
    open_position: OpenPosition | None

    @property
    def total_return_range(self) -> tuple[float, float]:
        """Total return if ambiguous bars went against the account, and if they went its way."""
        return self.metrics.total_return, self.metrics.optimistic_return


def backtest(
    bars: Bars,
    signals: Signals,
    *,
    bars_per_year: float,
    account: Account = _DEFAULT_ACCOUNT,
    trials: int = 1,
    trial_variance: float | None = None,
) -> Backtest:
    """Trade what ``signals`` want over ``bars``, filled at the next bar's open.

    Causal: equity and trades up to a bar depend on no later bar. The rules of filling, stops,
    ambiguous bars and ruin are in ``docs/backtest.md``.

    Parameters
    ----------
    bars : Bars
        n bars; high and low are needed where there is a stop.
    signals : Signals
        Wanted positions at the n closes. The one of the last bar is never filled.
    bars_per_year : float
        How many bars of this timeframe and calendar a year has, above 0: annualises.
    account : Account
        Capital, position size, costs and lots.
    trials : int
        How many parameters or strategies were tried on this data, this one included.
    trial_variance : float, optional
        Of the trials' Sharpe ratios per bar; needed where ``trials`` is above 1.

    Returns
    -------
    Backtest

    Raises
    ------
    ValueError
        If shapes differ, a stop comes without high and low, or a number is out of range.

    References
    ----------
    D. Bailey and M. Lopez de Prado, "The Deflated Sharpe Ratio" (2014). Returns, drawdowns and
    Sharpe ratios equal vectorbt's ``Portfolio.from_signals`` for signals moved on by a bar and
    filled at ``price=open``.

    Examples
    --------
    >>> bars = Bars(open=[100.0, 100.0, 110.0, 120.0], close=[100.0, 110.0, 120.0, 130.0])
    >>> wanted = Signals(np.array([1, 1, 0, 0]))
    >>> run = backtest(bars, wanted, bars_per_year=252.0, account=Account(1000.0, 0.5, 0.0, 0.0))
    >>> run.equity, float(run.trades.pnl[0])
    (array([1000., 1050., 1100., 1100.]), 100.0)
    """
    require_year(bars_per_year)
    if signals.position.size != bars.size:
        raise ValueError(f"signals: expected {bars.size} bars, was {signals.position.size}")
    if signals.stop.size:
        bars.require_range("a stop")
    best = _benchmark(trials, trial_variance)
    settings = settings_of(bars, account)
    stops = signals.stop, signals.stop
    row, equity, table = evaluate(bars, signals.orders, stops, settings, bars_per_year)
    sharpe, skewness, kurtosis = (row[i : i + 1] for i in (SHARPE_PER_BAR, SKEWNESS, KURTOSIS))
    row[DEFLATED_SHARPE] = probabilistic_sharpe(
        sharpe, best, returns=bars.size - 1, skewness=skewness, kurtosis=kurtosis
    )[0]
    hold, cash = besides(bars, settings, bars_per_year)
    return Backtest(Metrics(*row.tolist()), hold, cash, equity, *_listed(table))


def require_year(bars_per_year: float) -> None:
    """Raise ``ValueError`` unless ``bars_per_year`` is above 0."""
    if not 0.0 < bars_per_year < math.inf:
        raise ValueError(f"bars_per_year: expected > 0, was {bars_per_year}")


def settings_of(bars: Bars, account: Account) -> Series:
    """Return the account as compiled code takes it, and the highest close."""
    return np.append(account.row, bars.highest_close)


def besides(bars: Bars, settings: Series, bars_per_year: float) -> tuple[Metrics, Metrics]:
    """Return the figures of buying at once and holding, and of doing nothing."""
    at, target = np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int8)
    none = np.empty(0), np.empty(0)
    out = []
    for count in (1, 0):
        orders = at[:count], target[:count]
        row = evaluate(bars, orders, none, settings, bars_per_year, is_whole=False)[0]
        row[DEFLATED_SHARPE] = row[DEFLATED_SHARPE - 1]  # nobody chose it among others
        out.append(Metrics(*row.tolist()))
    return out[0], out[1]


def evaluate(
    bars: Bars,
    orders: Orders,
    stops: tuple[Series, Series],
    settings: Series,
    bars_per_year: float,
    *,
    is_whole: bool = True,
) -> tuple[Series, Series, Matrix]:
    """Return the figures, the equity at each close if ``is_whole``, and the table of trades."""
    row, path = np.empty(WIDTH), np.empty(bars.size if is_whole else PIECE)
    trades = np.empty((int(np.count_nonzero(orders[1])), COLUMNS))
    room = trades, path, np.empty(SUMS)
    count = orders[0].size
    made = evaluated(bars.all, (count, *orders), stops, settings, room, bars_per_year, row)
    return row, path, trades[:made]


@compiled_ieee
def evaluated(  # noqa: PLR0913, PLR0917 - compiled code takes no bundle of unlike things
    prices: Prices,
    orders: tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int8]],
    stops: tuple[Series, Series],
    settings: Series,
    room: tuple[Matrix, Series, Series],
    bars_per_year: float,
    row: Series,
) -> int:
    """Fill orders, write trades, equity (into room as long as the bars) and figures.

    Return how many trades, one that is still open included.
    """
    table, path, sums = room
    closes = prices[3]
    n = closes.size
    capital = settings[0]
    optimistic = np.nan
    if stops[0].size:
        made = traded(prices, orders, stops, settings, True, table)[0]  # noqa: FBT003
        optimistic = total_return(table[:made], capital)
    made, rejected, ambiguous = traded(prices, orders, stops, settings, False, table)  # noqa: FBT003
    trades = table[:made]
    total = total_return(trades, capital)
    followed(closes, trades, capital, about(total, n), path, sums)
    measured(sums, n, trades, capital, bars_per_year, row)
    row[OPTIMISTIC_RETURN] = optimistic if stops[0].size else total
    row[AMBIGUOUS_TRADES] = ambiguous
    row[REJECTED_ORDERS] = rejected
    return made


def _benchmark(trials: int, variance: float | None) -> float:
    if trials > 1 and variance is None:
        raise ValueError(f"trial_variance: expected a number beside {trials} trials, was None")
    return expected_best_sharpe(trials, 0.0 if variance is None else variance)


def _listed(table: Matrix) -> tuple[Trades, OpenPosition | None]:
    """Return the closed trades as columns, and the position that is still open, if there is one."""
    is_open = bool(len(table)) and table[-1, REASON] == OPEN
    closed = table[: len(table) - is_open]
    count = len(closed)
    whole = np.empty((2, count), dtype=np.int64)
    small = np.empty((2, count), dtype=np.int8)
    prices = np.empty((5, count))
    _turn(closed, whole, small, prices)
    quantity, entry, leave, pnl, share = prices
    trades = Trades(whole[0], whole[1], small[0], quantity, entry, leave, pnl, share, small[1])
    if not is_open:
        return trades, None
    last = table[-1]
    position = OpenPosition(
        int(last[ENTRY_BAR]),
        int(last[SIDE]),
        float(last[QUANTITY]),
        float(last[ENTRY_PRICE]),
        float(last[PNL]),
    )
    return trades, position


@compiled_ieee
def _turn(
    closed: Matrix, whole: npt.NDArray[np.int64], small: npt.NDArray[np.int8], prices: Matrix
) -> None:
    """Write rows of trades as columns, in one pass: bars, side and reason, the numbers."""
    for k in range(closed.shape[0]):
        trade = closed[k]
        whole[0, k], whole[1, k] = int(trade[ENTRY_BAR]), int(trade[EXIT_BAR])
        small[0, k], small[1, k] = int(trade[SIDE]), int(trade[REASON])
        prices[0, k], prices[1, k] = trade[QUANTITY], trade[ENTRY_PRICE]
        prices[2, k], prices[3, k] = trade[EXIT_PRICE], trade[PNL]
        prices[4, k] = trade[PNL] / (trade[QUANTITY] * trade[ENTRY_PRICE])
