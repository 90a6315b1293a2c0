"""Trading strategies as causal kernels: bars in, the position wanted at each close out.

Belongs here: which indicator is compared with what, by default as the source had it. Keep out:
fills and costs (``backtest_trades``). What is wanted at a bar is known at its close, and depends on
bars alone: on no account, and on nothing later. Each takes a side: ``long``, ``short`` (everything
mirrored) or ``both``.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from kernels.backtest_lines import (
    average_crossover,
    channel,
    deviation_score,
    opening,
    require_crossover,
    require_thresholds,
    require_width,
)
from kernels.backtest_orders import Bars, Signals
from kernels.backtest_signals import (
    DIRECTIONS,
    ENDS,
    breakout,
    opening_range,
    ordered,
    reversal,
    reversion,
)
from kernels.backtest_words import Words, words
from kernels.gate import series
from kernels.indicator import Parameter
from kernels.momentum import Smoothing, rsi


def sma_crossover(
    bars: Bars, *, fast: int = 20, slow: int = 50, direction: str = "long"
) -> Signals:
    """Return long from where the fast average crosses above the slow one, until it crosses back.

    The side on which the averages begin is no crossing, and equal ones keep the position.

    Parameters
    ----------
    bars : Bars
        n bars; ``close`` is read.
    fast, slow : int
        Bars of the simple averages; 1 <= fast < slow.
    direction : str
        ``long``; ``short``, mirrored; ``both``: always one of them from the first crossing on.

    Returns
    -------
    Signals
        Positions, int8, shape (n,); causal, 0 for the first ``slow`` bars at least.

    Raises
    ------
    ValueError
        If a period is out of range or the direction is none of the three.

    Examples
    --------
    >>> close = [4.0, 3.0, 2.0, 3.0, 5.0, 1.0]
    >>> sma_crossover(Bars(open=close, close=close), fast=1, slow=2).position
    array([0, 0, 0, 1, 1, 0], dtype=int8)
    """
    require_crossover(fast, slow)
    out = words(bars.size)
    average_crossover(bars.close, fast, slow, mask_of(direction), out.view(np.uint8))
    return _signals(bars, out)


def rsi_reversal(
    bars: Bars,
    *,
    period: int = 14,
    lower: float = 30.0,
    upper: float = 70.0,
    method: Smoothing = "cutler",
    direction: str = "long",
) -> Signals:
    """Return long from where the relative strength index is below ``lower``, until above ``upper``.

    Parameters
    ----------
    bars : Bars
        n bars; ``close`` is read.
    period : int
        Bars of the index, at least 1.
    lower, upper : float
        Thresholds, 0 <= lower < upper <= 100.
    method : str
        ``cutler``, simple averages of gains and losses, as the source has it; ``wilder``.
    direction : str
        ``long``; ``short``, mirrored; ``both``: always one of them from the first signal on.

    Returns
    -------
    Signals
        Positions, int8, shape (n,); causal, 0 for the first ``period`` bars at least.

    Raises
    ------
    ValueError
        If a parameter is out of range, or the method or direction is unknown.

    Examples
    --------
    >>> close = [3.0, 2.0, 1.0, 2.0, 3.0, 4.0]
    >>> rsi_reversal(Bars(open=close, close=close), period=2).position
    array([0, 0, 1, 1, 0, 0], dtype=int8)
    """
    require_thresholds(lower, upper)
    out = words(bars.size)
    line = rsi(bars.close, period, method=method)
    reversal(line, lower, upper, mask_of(direction), out.view(np.uint8))
    return _signals(bars, out)


def bollinger_reversion(
    bars: Bars, *, period: int = 20, width: float = 2.0, direction: str = "long"
) -> Signals:
    """Return long from a close at or below the lower band, until at or above the upper one.

    A close at or above the middle ends it too where it is above the open at which the position was
    filled: in profit before costs, so that what is wanted does not depend on an account. Bands of
    no width say nothing.

    Parameters
    ----------
    bars : Bars
        n bars; ``open`` and ``close`` are read.
    period : int
        Bars of mean and population standard deviation, at least 2.
    width : float
        Standard deviations from the middle to a band, above 0.
    direction : str
        ``long``; ``short``, mirrored; ``both``: a close at the other band turns the position.

    Returns
    -------
    Signals
        Positions, int8, shape (n,); causal, 0 for the first ``period - 1`` bars.

    Raises
    ------
    ValueError
        If a parameter is out of range or the direction is none of the three.

    Examples
    --------
    >>> close = [3.0, 3.0, 2.0, 2.0, 2.5, 4.0]
    >>> bollinger_reversion(Bars(open=close, close=close), period=3, width=1.0).position
    array([0, 0, 1, 1, 0, 0], dtype=int8)
    """
    require_width(width)
    out = words(bars.size)
    reversion(deviation_score(bars.close, period), width, mask_of(direction), out.view(np.uint8))
    return _signals(bars, out)


def donchian_breakout(
    bars: Bars, *, entry: int = 20, leave: int = 10, direction: str = "long"
) -> Signals:
    """Return long from a close above the highest high of the bars before, until below a low.

    The channels are of the ``entry`` and ``leave`` bars before this one, which is not among them
    (the source took one bar too few).

    Parameters
    ----------
    bars : Bars
        n bars; ``high``, ``low`` and ``close`` are read.
    entry, leave : int
        Bars of the channel that is entered and of the one that is left, each at least 1.
    direction : str
        ``long``; ``short``, mirrored; ``both``: a breakout on the other side turns the position.

    Returns
    -------
    Signals
        Positions, int8, shape (n,); causal, 0 for the first ``entry`` bars.

    Raises
    ------
    ValueError
        If a parameter is out of range, or high and low are missing.

    Examples
    --------
    >>> close = [1.0, 2.0, 3.0, 2.5, 1.5]
    >>> flat = Bars(open=close, close=close, high=close, low=close)
    >>> donchian_breakout(flat, entry=2, leave=1).position
    array([0, 0, 1, 0, 0], dtype=int8)
    """
    bars.require_range("a channel")
    out = words(bars.size)
    wide, near = (channel(bars, period) for period in (entry, leave))
    breakout(bars.close, wide, near, mask_of(direction), out.view(np.uint8))
    return _signals(bars, out)


def opening_range_breakout(
    bars: Bars,
    *,
    session: npt.ArrayLike,
    last: npt.ArrayLike | None = None,
    range_bars: int = 15,
    direction: str = "long",
) -> Signals:
    """Return long from a close above the session's opening range, with a stop at the range's low.

    The range is that of the session's first ``range_bars`` bars. A position ends at the close of
    its session's last bar, or at its stop; what was stopped is not entered again unless the other
    side was wanted in between. When a session ends is in its calendar, so it is known beforehand:
    ``last``. Where bars are missing there, the position leaves at the next session's first open.

    Parameters
    ----------
    bars : Bars
        n bars; ``high``, ``low`` and ``close`` are read.
    session : array_like, int64, shape (n,)
        Which session a bar belongs to: bars of one session are neighbours and have the same number.
    last : array_like, bool, shape (n,), optional
        Bars that end their session by the calendar. By default those before another session's: that
        is as good only where no session lacks its last bar; the last session is then left open.
    range_bars : int
        Bars of the opening range, at least 1.
    direction : str
        ``long``; ``short``, mirrored; ``both``: a breakout on the other side turns the position.

    Returns
    -------
    Signals
        Positions, stops and the bars that end a session, shape (n,); causal but for the calendar.

    Raises
    ------
    ValueError
        If a parameter is out of range, shapes differ, or high and low are missing.
    TypeError
        If ``session`` does not hold integers.

    Examples
    --------
    >>> close = [2.0, 3.0, 2.5, 2.0, 2.0]
    >>> flat = Bars(open=close, close=close, high=close, low=close)
    >>> opening_range_breakout(flat, session=[1, 1, 1, 1, 2], range_bars=1).position
    array([0, 1, 1, 0, 0], dtype=int8)
    """
    low, high, end = opening(bars, session, range_bars, last)
    out = words(bars.size)
    mask = mask_of(direction)
    opening_range(bars.close, low, high, end, mask, out.view(np.uint8))
    position = _signals(bars, out).position
    stop = np.where(position > 0, low, np.where(position < 0, high, np.nan))
    return Signals(position, series(stop, "stop"), end == ENDS)


@dataclass(frozen=True, slots=True)
class Strategy:
    """A strategy by name: its kernel, and the numbers that it takes with the service's limits."""

    name: str
    kernel: Callable[..., Signals]
    parameters: tuple[Parameter, ...]


def _whole(name: str, default: int, least: int = 1, most: int = 500) -> Parameter:
    return Parameter(name, default, least, most)


STRATEGIES: Final[Mapping[str, Strategy]] = {
    s.name: s
    for s in (
        Strategy("sma_crossover", sma_crossover, (_whole("fast", 20), _whole("slow", 50, 2))),
        Strategy(
            "rsi_reversal",
            rsi_reversal,
            (
                _whole("period", 14, 2, 100),
                Parameter("lower", 30.0, 0.0, 100.0, is_integer=False),
                Parameter("upper", 70.0, 0.0, 100.0, is_integer=False),
            ),
        ),
        Strategy(
            "bollinger_reversion",
            bollinger_reversion,
            (_whole("period", 20, 2, 200), Parameter("width", 2.0, 0.1, 5.0, is_integer=False)),
        ),
        Strategy(
            "donchian_breakout", donchian_breakout, (_whole("entry", 20), _whole("leave", 10))
        ),
        Strategy("opening_range_breakout", opening_range_breakout, (_whole("range_bars", 15),)),
    )
}
"""Every strategy, by name."""


def strategy_named(name: str) -> Strategy:
    """Return the strategy of this name; raise ``ValueError`` that says which name was near."""
    if name not in STRATEGIES:
        near = difflib.get_close_matches(name, STRATEGIES, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"strategy: expected one of {sorted(STRATEGIES)}, was {name!r}{hint}")
    return STRATEGIES[name]


def mask_of(direction: str) -> int:
    """Return the conditions that count; raise ``ValueError`` for an unknown direction."""
    if direction not in DIRECTIONS:
        raise ValueError(f"direction: expected one of {sorted(DIRECTIONS)}, was {direction!r}")
    return DIRECTIONS[direction]


def _signals(bars: Bars, conditions: Words) -> Signals:
    at = np.empty(bars.size, dtype=np.int64)
    targets = np.empty(bars.size, dtype=np.int8)
    count = ordered(conditions, bars.open, bars.close, at, targets)
    return Signals.following((at[:count].copy(), targets[:count].copy()), bars.size)
