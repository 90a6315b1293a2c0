"""Every combination of a strategy's parameters over one series, in one pass each.

Belongs here: what combinations share, and how they are spread over threads. Keep out: strategies
and rules of filling, which are those of a single run.

Each line that several combinations compare (a simple average of one period, a channel) is computed
once and kept: 8 bytes a bar. A combination then costs a pass over two lines, a walk over its
orders, and a pass over the bars on which it holds something.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, pairwise, product
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kernels.averages import sma
from kernels.backtest import besides, evaluated, require_year, settings_of
from kernels.backtest_equity import PIECE, SUMS
from kernels.backtest_lines import (
    are_thresholds,
    channel,
    deviation_score,
    opening,
)
from kernels.backtest_orders import Account, Bars
from kernels.backtest_signals import (
    BREAKOUT,
    CROSSOVER,
    OPENING_RANGE,
    REVERSAL,
    REVERSION,
    conditions,
    ordered,
)
from kernels.backtest_trades import COLUMNS, Prices
from kernels.gate import Matrix, Series
from kernels.jit import compiled_ieee
from kernels.momentum import Smoothing, rsi
from kernels.performance_metrics import (
    DEFLATED_SHARPE,
    KURTOSIS,
    SHARPE_PER_BAR,
    SKEWNESS,
    WIDTH,
    Metrics,
    expected_best_sharpe,
    probabilistic_sharpe,
)
from kernels.strategies import mask_of, strategy_named

Columns = dict[str, npt.NDArray[Any]]
Plan = tuple[int, Matrix, npt.NDArray[np.int64], Matrix]
"""Kind of conditions, lines (a row each, the close last), and a combination's rows and levels."""

_DEFAULT_ACCOUNT: Final = Account()


@dataclass(frozen=True, slots=True)
class Grid:
    """A strategy and the values to combine; a parameter without any takes its default.

    ``axes`` maps a parameter of ``STRATEGIES[strategy]`` to its values. Combinations that the
    strategy refuses because two values do not go together (a fast average that is not the faster
    one, a lower threshold that is not the lower one) are left out. ``direction``, ``method`` (of
    ``rsi_reversal``), ``session`` and ``last`` (of ``opening_range_breakout``) are as in the
    strategy.
    """

    strategy: str
    axes: Mapping[str, Sequence[float]]
    direction: str = "long"
    method: Smoothing = "cutler"
    session: npt.ArrayLike = field(default=())
    last: npt.ArrayLike | None = None

    @property
    def combinations(self) -> Columns:
        """Every combination: one array a parameter, shape (m,), the last one varying fastest.

        Raise ``ValueError`` for an unknown strategy or parameter, or a value out of range.
        """
        parameters = {p.name: p for p in strategy_named(self.strategy).parameters}
        if unknown := sorted(set(self.axes) - set(parameters)):
            raise ValueError(f"axes: expected some of {sorted(parameters)}, was {unknown}")
        values = [
            [p.checked(v) for v in self.axes.get(name, [p.default])]
            for name, p in parameters.items()
        ]
        fits = _FITS.get(self.strategy)
        kept = [c for c in product(*values) if fits is None or fits(*c)]
        dtypes = [np.int64 if p.is_integer else np.float64 for p in parameters.values()]
        return {
            name: np.array([c[i] for c in kept], dtype=dtypes[i])
            for i, name in enumerate(parameters)
        }


@dataclass(frozen=True, slots=True)
class Sweep:
    """Every figure of every combination.

    ``parameters`` one array a parameter, shape (m,); ``metrics`` float64, shape (m, k), the fields
    of ``Metrics`` in order; ``trials`` and ``trial_variance`` what the deflated Sharpe ratios were
    computed with.
    """

    parameters: Columns
    metrics: Matrix
    buy_and_hold: Metrics
    cash: Metrics
    trials: int
    trial_variance: float

    def column(self, name: str) -> Series:
        """Return one figure of every combination, shape (m,)."""
        out: Series = self.metrics[:, Metrics._fields.index(name)]
        return out

    def of(self, combination: int) -> Metrics:
        """Return the figures of one combination."""
        return Metrics(*self.metrics[combination].tolist())


def sweep(
    bars: Bars,
    grid: Grid,
    *,
    bars_per_year: float,
    account: Account = _DEFAULT_ACCOUNT,
    trials: int | None = None,
    threads: int = 1,
) -> Sweep:
    """Backtest every combination of ``grid``: the figures that ``backtest`` gives for each.

    Parameters
    ----------
    bars : Bars
        n bars.
    grid : Grid
        Which combinations; at least one has to be left.
    bars_per_year : float
        As in ``backtest``.
    account : Account
        As in ``backtest``.
    trials : int, optional
        How many combinations were tried on this data, those of earlier sweeps included; at least
        as many as there are here, which is the default.
    threads : int
        How many share the combinations, at least 1; the figures do not depend on it.

    Returns
    -------
    Sweep

    Raises
    ------
    ValueError
        If no combination is left, or an input is out of range.

    References
    ----------
    As ``backtest``. The variance of trials is that of the combinations which have a Sharpe ratio.

    Examples
    --------
    >>> close = [4.0, 3.0, 2.0, 3.0, 5.0, 6.0]
    >>> bars = Bars(open=close, close=close)
    >>> tried = sweep(bars, Grid("sma_crossover", {"fast": [1], "slow": [2, 3]}), bars_per_year=1)
    >>> tried.parameters["slow"], tried.column("exposure").round(3)
    (array([2, 3]), array([0.333, 0.333]))
    """
    require_year(bars_per_year)
    combinations = grid.combinations
    count = next(iter(combinations.values())).size
    if not count:
        raise ValueError("grid: expected a combination that the strategy takes, was none")
    if trials is not None and trials < count:
        raise ValueError(f"trials: expected at least the {count} of this sweep, was {trials}")
    if threads < 1:
        raise ValueError(f"threads: expected >= 1, was {threads}")
    plan = _PLANS[grid.strategy](bars, grid, combinations)
    settings = settings_of(bars, account)
    metrics = np.empty((count, WIDTH))

    def run(first: int, last: int) -> None:
        _sweep(
            plan,
            bars.all,
            settings,
            (mask_of(grid.direction), bars_per_year),
            (first, last),
            metrics,
        )

    _spread(run, count, threads)
    variance = _deflate(metrics, bars.size - 1, count if trials is None else trials)
    hold, cash = besides(bars, settings, bars_per_year)
    return Sweep(combinations, metrics, hold, cash, trials or count, variance)


def _spread(run: Callable[[int, int], None], count: int, threads: int) -> None:
    """Call ``run`` over parts of the combinations, small ones where threads share them."""
    if threads == 1:
        run(0, count)
        return
    edges = np.linspace(0, count, min(count, 8 * threads) + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda part: run(*part), pairwise(edges)):
            pass


def _deflate(metrics: Matrix, returns: int, trials: int) -> float:
    """Write the deflated Sharpe ratios; return the variance of those per bar."""
    sharpe = metrics[:, SHARPE_PER_BAR]
    known = sharpe[np.isfinite(sharpe)]
    variance = float(known.var(ddof=1)) if known.size > 1 else 0.0
    metrics[:, DEFLATED_SHARPE] = probabilistic_sharpe(
        sharpe,
        expected_best_sharpe(trials, variance),
        returns=returns,
        skewness=metrics[:, SKEWNESS],
        kurtosis=metrics[:, KURTOSIS],
    )
    return variance


@compiled_ieee
def _sweep(
    plan: Plan,
    prices: Prices,
    settings: Series,
    how: tuple[int, float],
    part: tuple[int, int],
    metrics: Matrix,
) -> None:
    kind, rows, index, levels = plan
    mask, bars_per_year = how
    n = prices[3].size
    codes = np.zeros(n // 8 + 1, dtype=np.uint64)
    bars, targets = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int8)
    room = np.empty((n, COLUMNS)), np.empty(PIECE), np.empty(SUMS)
    stops = np.empty(0), np.empty(0)
    for k in range(part[0], part[1]):
        conditions(kind, rows, index[k], levels[k], mask, codes)
        count = ordered(codes, prices[0], prices[3], bars, targets)
        if kind == OPENING_RANGE:
            stops = rows[index[k, 0]], rows[index[k, 0] + 1]
        orders = count, bars, targets
        evaluated(prices, orders, stops, settings, room, bars_per_year, metrics[k])


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines of each distinct period, made one after the other as they are read.

    ``count`` of them; ``place`` says where those of each combination begin, shape (m,).
    """

    periods: npt.NDArray[Any]
    make: Callable[[int], Sequence[Series]]
    each: int
    place: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        return self.periods.size * self.each

    def __iter__(self) -> Iterator[Series]:
        for period in self.periods:
            yield from self.make(int(period))


def _lines(
    periods: npt.NDArray[Any], make: Callable[[int], Sequence[Series]], each: int = 1
) -> _Lines:
    distinct, place = np.unique(periods, return_inverse=True)
    return _Lines(distinct, make, each, place * each)


def _plan(
    kind: int, lines: _Lines, last: Sequence[npt.ArrayLike], index: Sequence[Any], *levels: Series
) -> Plan:
    """Return what the compiled loop takes: two rows and two levels a combination.

    Rows are ``lines`` and then ``last``, and are held once.
    """
    rows = np.empty((lines.count + len(last), np.size(last[-1])))
    for row, line in zip(rows, chain(lines, last), strict=True):
        row[:] = line
    pair = [index[0], index[-1]]
    level = [*levels, np.zeros(pair[0].size), np.zeros(pair[0].size)][:2]
    return (
        kind,
        rows,
        np.stack(pair, axis=1).astype(np.int64),
        np.stack(level, axis=1).astype(np.float64),
    )


def _crossovers(bars: Bars, _: Grid, at: Columns) -> Plan:
    both = np.concatenate([at["fast"], at["slow"]])
    lines = _lines(both, lambda period: [sma(bars.close, period)])
    return _plan(CROSSOVER, lines, [bars.close], np.split(lines.place, 2))


def _reversals(bars: Bars, grid: Grid, at: Columns) -> Plan:
    lines = _lines(at["period"], lambda p: [rsi(bars.close, p, method=grid.method)])
    return _plan(REVERSAL, lines, [bars.close], [lines.place], at["lower"], at["upper"])


def _reversions(bars: Bars, _: Grid, at: Columns) -> Plan:
    lines = _lines(at["period"], lambda period: [deviation_score(bars.close, period)])
    return _plan(REVERSION, lines, [bars.close], [lines.place], at["width"])


def _breakouts(bars: Bars, _: Grid, at: Columns) -> Plan:
    bars.require_range("a channel")
    both = np.concatenate([at["entry"], at["leave"]])
    lines = _lines(both, lambda period: channel(bars, period), each=2)
    return _plan(BREAKOUT, lines, [bars.close], np.split(lines.place, 2))


def _openings(bars: Bars, grid: Grid, at: Columns) -> Plan:
    lines = _lines(at["range_bars"], lambda p: opening(bars, grid.session, p)[:2], each=2)
    end = opening(bars, grid.session, 1, grid.last)[2]
    return _plan(OPENING_RANGE, lines, [end, bars.close], [lines.place])


_PLANS: Final[Mapping[str, Callable[[Bars, Grid, Columns], Plan]]] = {
    "sma_crossover": _crossovers,
    "rsi_reversal": _reversals,
    "bollinger_reversion": _reversions,
    "donchian_breakout": _breakouts,
    "opening_range_breakout": _openings,
}


_FITS: Final[Mapping[str, Callable[..., bool]]] = {
    "sma_crossover": lambda fast, slow: 1 <= fast < slow,
    "rsi_reversal": lambda _, lower, upper: are_thresholds(lower, upper),
}
