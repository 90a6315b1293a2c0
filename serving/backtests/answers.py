"""What a backtest answers: figures by the API's names, the curve, the fills.

Belongs here: putting an answer together. Keep out: computing it, and writing it as JSON.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from kernels.backtest import Backtest, Trades
from kernels.backtest_sweep import Sweep
from kernels.backtest_trades import REASONS
from kernels.performance_metrics import Metrics
from market.timeframes import MICROSECONDS_PER_DAY
from serving.backtests.computing import Spent, deflated
from serving.backtests.dates import Instants
from serving.backtests.questions import Market, RunQuestion, SweepQuestion
from serving.instants import from_us
from storage.backtest_runs import Run, TrialCount

Json = dict[str, Any]

COUNTS: Final = (
    "total_trades", "profitable_trades", "losing_trades", "ambiguous_trades", "rejected_orders",
)  # fmt: skip
_LEFT_OUT: Final = frozenset({"optimistic_return", "deflated_sharpe"})
FIGURES: Final = tuple(name for name in Metrics._fields if name not in _LEFT_OUT)
_Unit = Literal["D", "s", "us"]
_SECOND: Final = 1_000_000
_SIDES: Final = {1: "long", -1: "short"}
_FILLS: Final = {1: ("buy", "sell"), -1: ("sell", "buy")}


def figures(metrics: Metrics) -> Json:
    """Return what one account came to, and the range that ambiguous bars leave open."""
    found: Json = {name: getattr(metrics, name) for name in FIGURES}
    for name in COUNTS:
        found[name] = int(found[name])
    found["total_return_range"] = [metrics.total_return, metrics.optimistic_return]
    return found


def results(metrics: Metrics, deflated_sharpe: float, trials: TrialCount) -> Json:
    """Return figures that were chosen among ``trials``."""
    return figures(metrics) | {
        "deflated_sharpe": deflated_sharpe,
        "trials": trials.count,
        "trial_variance": trials.variance,
    }


def run_answer(
    run_id: str, asked: RunQuestion, made: Backtest, trials: TrialCount, spent: Spent
) -> Json:
    """Return the answer to one backtest."""
    metrics, market = made.metrics, asked.market
    moments = (metrics.sharpe_per_bar, metrics.skewness, metrics.kurtosis)
    chance = float(deflated(moments, market.ts.size - 1, trials)[0])
    dates = _Dates(market.ts)
    return {
        **_head(run_id, asked.contract.name, market),
        "parameters": dict(asked.parameters),
        "results": results(metrics, chance, trials),
        "buy_and_hold": figures(made.buy_and_hold),
        "cash": figures(made.cash),
        "equity_curve": made.equity,
        "trades": _fills(made, dates),
        "open_position": _open_position(made, dates),
        **_tail(spent),
    }


def sweep_answer(
    run_id: str, asked: SweepQuestion, made: Sweep, trials: TrialCount, spent: Spent
) -> Json:
    """Return the answer to a sweep: every combination in the grid's order, and the best of them."""
    market = asked.run.market
    chances = deflated(
        [made.column(name) for name in ("sharpe_per_bar", "skewness", "kurtosis")],
        market.ts.size - 1,
        trials,
    )
    combinations = [
        {"parameters": parameters, "results": results(made.of(i), float(chances[i]), trials)}
        for i, parameters in enumerate(combined(asked, made))
    ]
    sharpe = made.column("sharpe_per_bar")
    is_known = np.isfinite(sharpe)
    best = int(np.where(is_known, sharpe, -np.inf).argmax()) if is_known.any() else None
    return {
        **_head(run_id, asked.run.contract.name, market),
        "parameters": {n: x for n, x in asked.run.parameters.items() if n not in asked.axes},
        "combinations": combinations,
        "best": best,
        "trials": trials.count,
        "trial_variance": trials.variance,
        "buy_and_hold": figures(made.buy_and_hold),
        "cash": figures(made.cash),
        **_tail(spent),
    }


def combined(asked: SweepQuestion, made: Sweep) -> list[Json]:
    """Return the values of the grid's parameters of every combination."""
    numbers = asked.run.contract.numbers
    columns = {name: made.parameters[numbers[name].name].tolist() for name in asked.axes}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def progress(run: Run) -> Json:
    """Return what is known of a run that has no answer (yet)."""
    error = None
    if run.error_code is not None:
        error = {"code": run.error_code, "message": run.error_message}
    return {
        "run_id": run.info.run_id,
        "status": run.status,
        "strategy_id": run.info.strategy_id,
        "symbol": run.info.symbol,
        "data_version": run.info.data_version,
        "submitted_at": _instant(run.submitted_us),
        "started_at": _instant(run.started_us),
        "finished_at": _instant(run.finished_us),
        "error": error,
    }


def _head(run_id: str, strategy_id: str, market: Market) -> Json:
    timing = market.timing
    return {
        "run_id": run_id,
        "status": "completed",
        "strategy_id": strategy_id,
        "symbol": market.symbol,
        "bars": market.ts.size,
        "timeframe": timing.timeframe,
        "calendar": timing.calendar,
        "bars_per_year": timing.bars_per_year,
        "data_version": market.data_version,
    }


def _tail(spent: Spent) -> Json:
    return {"computation_time_ms": spent.milliseconds, "mojo_used": spent.mojo_used}


class _Dates:
    """Bars' dates as they are told: days where every bar opens at midnight, else instants."""

    def __init__(self, ts: Instants) -> None:
        self._ts = ts
        self._unit: _Unit = "D"
        if (ts % MICROSECONDS_PER_DAY).any():
            self._unit = "us" if (ts % _SECOND).any() else "s"

    def __getitem__(self, bar: int) -> str:
        return self.of(np.array([bar]))[0]

    def of(self, bars: npt.NDArray[np.int64]) -> list[str]:
        """Return the dates of several bars."""
        instants = self._ts[bars].astype("datetime64[us]")
        zone = "" if self._unit == "D" else "Z"
        told: list[str] = np.datetime_as_string(instants, unit=self._unit).tolist()
        return [f"{text}{zone}" for text in told]


def _fills(made: Backtest, dates: _Dates) -> list[Json]:
    trades = made.trades
    out: list[Json] = []
    rows = zip(
        dates.of(trades.entry_bar), dates.of(trades.exit_bar), *_columns(trades), strict=True
    )
    for begun, ended, side, quantity, price, left_at, pnl, share, reason in rows:
        enter, leave = _FILLS[side]
        out += (
            _fill(begun, enter, price, quantity, side),
            _fill(ended, leave, left_at, quantity, side)
            | {"pnl": pnl, "trade_return": share, "reason": REASONS[reason]},
        )
    held = made.open_position
    if held is not None:
        enter = _FILLS[held.side][0]
        begun = dates[held.entry_bar]
        out.append(_fill(begun, enter, held.entry_price, held.quantity, held.side))
    return out


def _columns(trades: Trades) -> list[list[Any]]:
    return [column.tolist() for column in trades[2:]]


def _fill(date: str, kind: str, price: float, quantity: float, side: int) -> Json:
    return {
        "date": date,
        "type": kind,
        "side": _SIDES[side],
        "price": price,
        "quantity": quantity,
        "pnl": None,
        "trade_return": None,
        "reason": None,
    }


def _open_position(made: Backtest, dates: _Dates) -> Json | None:
    held = made.open_position
    if held is None:
        return None
    return {
        "date": dates[held.entry_bar],
        "side": _SIDES[held.side],
        "price": held.entry_price,
        "quantity": held.quantity,
        "pnl": held.pnl,
    }


def _instant(us: int | None) -> dt.datetime | None:
    return None if us is None else from_us(us)


def told(asked: RunQuestion, spent: Spent) -> Mapping[str, Any]:
    """Return what the log says about a backtest."""
    return {
        "symbol": asked.market.symbol,
        "strategy_id": asked.contract.name,
        **asked.parameters,
        "data_points": asked.market.ts.size,
        "computation_time_ms": spent.milliseconds,
        "mojo_used": spent.mojo_used,
    }
