"""Running the backtest kernels for a request: timed, and which engine ran them.

Belongs here: the one place where the service calls them. Keep out: bodies in and out, and counting.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels import engine
from kernels.backtest import Backtest, backtest
from kernels.backtest_sweep import Grid, Sweep, sweep
from kernels.performance_metrics import expected_best_sharpe, probabilistic_sharpe
from serving.backtests.contracts import SESSIONED, account_of
from serving.backtests.questions import RunQuestion, SweepQuestion
from serving.backtests.timing import sessions_of
from storage.backtest_runs import TrialCount


@dataclass(slots=True)
class Spent:
    """How long the kernels took, and whether Mojo ran any of them; set when they have ended."""

    milliseconds: float = 0.0
    mojo_used: bool = False


def computed_run(asked: RunQuestion) -> tuple[Backtest, Spent]:
    """Return one backtest, as if nothing else had been tried.

    Raise ``InputError`` where the strategy refuses parameters that do not go together.
    """
    market, contract = asked.market, asked.contract
    given = contract.for_kernel(asked.parameters) | _session(asked)
    with _timed() as spent:
        try:
            signals = contract.strategy.kernel(market.bars, **given)
        except ValueError as e:
            raise contract.refusal(e) from e
        run = backtest(
            market.bars,
            signals,
            bars_per_year=market.timing.bars_per_year,
            account=account_of(asked.parameters),
        )
    return run, spent


def computed_sweep(asked: SweepQuestion) -> tuple[Sweep, Spent]:
    """Return every combination's figures; raise ``InputError`` if none is left."""
    run = asked.run
    contract, parameters = run.contract, run.parameters
    axes = {}
    for name, parameter in contract.numbers.items():
        fixed = [float(parameters[name])]
        axes[parameter.name] = asked.axes.get(name, fixed)
    words = {name: parameters[name] for name in contract.words}
    grid = Grid(contract.name, axes, **words, **_session(run))  # type: ignore[arg-type]
    with _timed() as spent:
        try:
            made = sweep(
                run.market.bars,
                grid,
                bars_per_year=run.market.timing.bars_per_year,
                account=account_of(parameters),
            )
        except ValueError as e:
            raise contract.refusal(e) from e
    return made, spent


def deflated(figures: Any, returns: int, trials: TrialCount) -> Any:  # noqa: ANN401 - arrays or floats, as they come
    """Return the deflated Sharpe ratios of (sharpe a bar, skewness, kurtosis) among ``trials``."""
    sharpe, skewness, kurtosis = (np.atleast_1d(np.asarray(x, dtype=np.float64)) for x in figures)
    return probabilistic_sharpe(
        sharpe,
        expected_best_sharpe(max(trials.count, 1), trials.variance),
        returns=returns,
        skewness=skewness,
        kurtosis=kurtosis,
    )


def _session(asked: RunQuestion) -> dict[str, Any]:
    if asked.contract.name not in SESSIONED:
        return {}
    session, last = sessions_of(asked.market.ts, asked.market.timing)
    return {"session": session, "last": last}


@contextmanager
def _timed() -> Iterator[Spent]:
    spent = Spent()
    began = time.perf_counter()
    with np.errstate(all="ignore"), engine.recorded() as ran:  # what overflows has no value
        yield spent
    spent.milliseconds = round((time.perf_counter() - began) * 1e3, 4)
    spent.mojo_used = "mojo" in ran.values()
