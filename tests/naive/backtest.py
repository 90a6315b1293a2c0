"""The slow, obvious twin of the backtest: one bar, one event at a time, cash and a position."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

Bar = tuple[float, float, float, float]
"""open, high, low, close."""


@dataclass
class Book:
    """An account in the middle of its run."""

    cash: float
    size: float
    commission: float
    slippage: float
    lot: float
    quantity: float = 0.0  # below 0 for a short
    stop: float = math.nan
    entry: dict[str, Any] = field(default_factory=dict)
    trades: list[dict[str, Any]] = field(default_factory=list)
    equity: list[float] = field(default_factory=list)
    rejected: int = 0
    ambiguous: int = 0
    turnover: float = 0.0
    held_bars: int = 0
    is_ruined: bool = False

    def buy(self, quantity: float, price: float) -> float:
        """Trade at a price that slippage has made worse; below 0 sells. Return the price."""
        side = 1.0 if quantity > 0.0 else -1.0
        paid = price * (1.0 + side * self.slippage)
        self.cash -= quantity * paid + abs(quantity) * paid * self.commission
        self.quantity += quantity
        return paid

    def open(self, t: int, side: int, price: float, stop: float) -> None:
        """Take a position of the wanted share of equity, or what can be paid."""
        paid = price * (1.0 + side * self.slippage)
        wanted = self.size * self.cash / paid
        affordable = self.cash / (paid * (1.0 + self.commission))
        quantity = min(wanted, affordable)
        if self.lot > 0.0:
            lots = math.floor(quantity / self.lot * (1.0 + 1e-12))
            cost = lots * self.lot * paid * (1.0 + self.commission)
            if cost > self.cash * (1.0 + 1e-12):
                lots -= 1
            quantity = lots * self.lot
        if quantity <= 0.0:
            self.rejected += 1
            return
        before = self.cash
        self.turnover += quantity * paid / before
        self.buy(side * quantity, price)
        self.stop = stop
        self.entry = {"bar": t, "side": side, "quantity": quantity, "price": paid, "before": before}

    def close(self, t: int, price: float, reason: str) -> None:
        """Leave the position, and write down the trade."""
        quantity = self.quantity
        got = self.buy(-quantity, price)
        self.quantity = 0.0
        self.turnover += abs(quantity) * got / self.cash
        gained = quantity * (got - self.entry["price"])
        value = abs(quantity) * (self.entry["price"] + got)
        pnl = gained - value * self.commission
        self.trades.append({**self.entry, "exit": t, "exit_price": got, "pnl": pnl, "why": reason})

    def worth(self, price: float) -> float:
        """Return cash plus what the position is worth."""
        return self.cash + self.quantity * price


def run(
    bars: Sequence[Bar],
    wanted: Sequence[int],
    *,
    account: dict[str, float],
    stops: Sequence[float] | None = None,
    flat: Sequence[bool] | None = None,
    is_optimistic: bool = False,
) -> Book:
    """Return the account after the last bar."""
    book = Book(
        account["initial_capital"],
        account["position_size"],
        account["commission"],
        account["slippage"],
        account["lot_size"],
    )
    plan = (bars, wanted, stops, flat)
    for t in range(len(bars)):
        if stops is None or not _is_ambiguous(copy.deepcopy(book), t, plan):
            _bar(book, t, plan, watches_stop=True)
            continue
        stopped, spared = copy.deepcopy(book), copy.deepcopy(book)
        _bar(stopped, t, plan, watches_stop=True)
        _bar(spared, t, plan, watches_stop=False)
        first, second = stopped.trades[-1]["pnl"], _outcome(copy.deepcopy(spared), t, plan)
        takes_second = second > first if is_optimistic else second < first
        book = spared if takes_second else stopped
        book.ambiguous += 1
    return book


def _outcome(book: Book, t: int, plan: Any) -> float:
    """Return what the position held after bar ``t`` makes in the end."""
    done = len(book.trades)
    bars = plan[0]
    if not book.quantity:
        return float(book.trades[-1]["pnl"])
    for later in range(t + 1, len(bars)):
        _bar(book, later, plan, watches_stop=True)
        if len(book.trades) > done:
            return float(book.trades[done]["pnl"])
    gained = book.quantity * (bars[-1][3] - book.entry["price"])  # no difference of two accounts
    return float(gained - abs(book.quantity) * book.entry["price"] * book.commission)


def _is_ambiguous(book: Book, t: int, plan: Any) -> bool:
    """Whether bar ``t`` holds both the fill of an entry and its stop, beyond which it opens not."""
    bars = plan[0]
    _at_open(book, t, plan)
    if not book.quantity or book.entry["bar"] != t or math.isnan(book.stop):
        return False
    return not _is_beyond(book, bars[t][0]) and _is_reached(book, bars[t])


def _is_beyond(book: Book, price: float) -> bool:
    return price <= book.stop if book.quantity > 0 else price >= book.stop


def _is_reached(book: Book, bar: Bar) -> bool:
    return bar[2] <= book.stop if book.quantity > 0 else bar[1] >= book.stop


def _at_open(book: Book, t: int, plan: Any) -> None:
    """Fill what was ordered at the close before."""
    bars, wanted, stops, flat = plan
    if t == 0 or book.is_ruined:
        return
    before = wanted[t - 2] if t > 1 else 0
    if wanted[t - 1] == before or (flat is not None and flat[t - 1]):
        return
    if book.quantity:
        book.close(t, bars[t][0], "signal")
    if wanted[t - 1]:
        book.open(t, wanted[t - 1], bars[t][0], stops[t - 1] if stops is not None else math.nan)


def _bar(book: Book, t: int, plan: Any, *, watches_stop: bool) -> None:
    bars, _, _, flat = plan
    _at_open(book, t, plan)
    bar = bars[t]
    if book.quantity and watches_stop and not math.isnan(book.stop) and _is_reached(book, bar):
        price = bar[0] if _is_beyond(book, bar[0]) else book.stop
        book.close(t, price, "stop")
    if book.quantity and flat is not None and flat[t]:
        book.close(t, bar[3], "session_end")
    if book.quantity < 0 and book.worth(bar[3]) <= 0.0:
        book.close(t, bar[3], "ruin")
        book.is_ruined = True
    book.held_bars += bool(book.quantity)
    book.equity.append(book.worth(bar[3]))


def metrics(book: Book, *, capital: float, bars_per_year: float) -> dict[str, float]:
    """Return the figures from their definitions."""
    equity = book.equity
    n = len(equity)
    returns = [b / a - 1.0 for a, b in pairwise(equity)]
    out: dict[str, float] = {"total_return": equity[-1] / capital - 1.0}
    growth = equity[-1] / capital
    out["annualised_return"] = growth ** (bars_per_year / (n - 1)) - 1.0 if growth > 0 else -1.0
    peak, deepest = capital, 0.0
    for value in equity:
        peak = max(peak, value)
        deepest = min(deepest, value / peak - 1.0)
    out["max_drawdown"] = deepest
    out["calmar_ratio"] = out["annualised_return"] / -deepest if deepest < 0.0 else math.nan
    out |= _ratios(returns, bars_per_year)
    pnl = [t["pnl"] for t in book.trades]
    relative = [t["pnl"] / (t["quantity"] * t["price"]) for t in book.trades]
    wins, losses = [r for r in relative if r > 0], [r for r in relative if r < 0]
    won, lost = math.fsum(p for p in pnl if p > 0), -math.fsum(p for p in pnl if p < 0)
    out["total_trades"] = len(pnl)
    out["profitable_trades"], out["losing_trades"] = len(wins), len(losses)
    out["win_rate"] = len(wins) / len(pnl) if pnl else math.nan
    out["avg_win"] = math.fsum(wins) / len(wins) if wins else math.nan
    out["avg_loss"] = math.fsum(losses) / len(losses) if losses else math.nan
    out["profit_factor"] = won / lost if lost else (math.inf if won else math.nan)
    out["exposure"] = book.held_bars / n
    out["turnover"] = book.turnover
    out["ambiguous_trades"], out["rejected_orders"] = book.ambiguous, book.rejected
    return out


def _ratios(returns: Sequence[float], bars_per_year: float) -> dict[str, float]:
    n = len(returns)
    mean = math.fsum(returns) / n
    m2, m3, m4 = (math.fsum((r - mean) ** k for r in returns) / n for k in (2, 3, 4))
    below = math.fsum(min(r, 0.0) ** 2 for r in returns) / n
    sharpe = mean / math.sqrt(m2 * n / (n - 1)) if m2 > 1e-28 else math.nan
    skewness = m3 / m2**1.5 if m2 > 1e-28 else math.nan
    kurtosis = m4 / m2**2 if m2 > 1e-28 else math.nan
    spread = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    z = sharpe * math.sqrt(n - 1) / math.sqrt(spread) if spread > 0.0 else math.nan
    return {
        "sharpe_per_bar": sharpe,
        "sharpe_ratio": sharpe * math.sqrt(bars_per_year),
        "sortino_ratio": mean / math.sqrt(below) * math.sqrt(bars_per_year)
        if below > 0.0 and not math.isnan(sharpe)
        else math.nan,
        "skewness": skewness,
        "kurtosis": kurtosis,
        "probabilistic_sharpe": (1.0 + math.erf(z / math.sqrt(2.0))) / 2.0,
    }
