"""The lines that strategies compare, each from a series and as few parameters as it needs.

Belongs here: what many combinations of parameters share, so that a sweep computes it once. Keep
out: comparisons (``backtest_signals``).
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from kernels.averages import _sma
from kernels.backtest_orders import Bars
from kernels.backtest_signals import BREAKS_OFF, ENDS, Codes, forget_first, sides
from kernels.blocks import aligned
from kernels.channels import donchian
from kernels.gate import Instants, Series, instants
from kernels.jit import compiled
from kernels.states import at_least
from kernels.volatility import bollinger

_TOP: Final = 100.0  # of the relative strength index
_PIECE: Final = 8192  # bars of a line that is used up at once: two of them stay in the cache


def deviation_score(close: Series, period: int) -> Series:
    """Return how many population standard deviations the close lies above its mean.

    NaN where nothing deviates: a band of no width is touched by everything and says nothing.
    """
    bands = bollinger(close, at_least(period, 2, "period"), width=1.0)
    return np.where(bands.width > 0.0, 2.0 * bands.percent_b - 1.0, np.nan)


def channel(bars: Bars, period: int) -> tuple[Series, Series]:
    """Return the lowest low and the highest high of the last ``period`` bars, this one included."""
    lines = donchian(bars.high, bars.low, period)
    return lines.lower, lines.upper


def opening(
    bars: Bars, session: npt.ArrayLike, range_bars: int, last: npt.ArrayLike | None = None
) -> tuple[Series, Series, Series]:
    """Return low and high of each session's first bars, and where a session ends.

    Low and high are NaN until the range is whole. ``last`` tells the bars that end a session by
    their calendar, ``ENDS``; where another session's bar follows one that does not, nobody knew,
    ``BREAKS_OFF``. Without it the bar before another session's is taken for one that the calendar
    ends. The last bar given then ends nothing that is known.
    """
    bars.require_range("an opening range")
    days = instants(session, "session")
    if days.size != bars.size:
        raise ValueError(f"session: expected {bars.size} bars, was {days.size}")
    low, high = np.full(bars.size, np.nan), np.full(bars.size, np.nan)
    at_least(range_bars, 1, "range_bars")
    _opening_range((bars.low, bars.high), days, range_bars, low, high)
    is_left = np.append(np.diff(days) != 0, np.zeros(min(days.size, 1), dtype=np.bool_))
    if last is None:
        return low, high, np.where(is_left, ENDS, 0.0)
    is_last = np.asarray(last, dtype=np.bool_)
    if is_last.shape != days.shape:
        raise ValueError(f"last: expected {bars.size} bars, was {is_last.size}")
    return low, high, np.where(is_last, ENDS, np.where(is_left, BREAKS_OFF, 0.0))


def require_crossover(fast: int, slow: int) -> None:
    """Raise ``ValueError`` unless 1 <= fast < slow."""
    at_least(fast, 1, "fast")
    at_least(slow, fast + 1, "slow")


def are_thresholds(lower: float, upper: float) -> bool:
    """Whether 0 <= lower < upper <= 100."""
    return 0.0 <= lower < upper <= _TOP


def require_thresholds(lower: float, upper: float) -> None:
    """Raise ``ValueError`` unless 0 <= lower < upper <= 100."""
    if not are_thresholds(lower, upper):
        raise ValueError(f"lower, upper: expected 0 <= lower < upper <= 100, was {lower}, {upper}")


def require_width(width: float) -> None:
    """Raise ``ValueError`` unless ``width`` is above 0."""
    if not 0.0 < width < np.inf:
        raise ValueError(f"width: expected > 0, was {width}")


@compiled
def average_crossover(close: Series, fast: int, slow: int, mask: int, codes: Codes) -> None:
    """Write the conditions of two simple averages without keeping either.

    A piece at a time, each behind the bars that its windows see: an average reads its own bars and
    no others, so it is the same bits as over the whole.
    """
    none = np.empty(0)
    room = min(_PIECE, close.size) + slow - 1
    quick, steady = aligned(room), aligned(room)
    for start in range(0, close.size, _PIECE):
        seen = min(slow - 1, start)
        end = min(start + _PIECE, close.size)
        size = seen + end - start
        _sma(close[start - seen : end], fast, none, quick[:size])
        _sma(close[start - seen : end], slow, none, steady[:size])
        sides(quick[seen:size], steady[seen:size], mask, codes[start:end])
    forget_first(codes[: close.size])


@compiled
def _opening_range(
    ranges: tuple[Series, Series], session: Instants, bars: int, low: Series, high: Series
) -> None:
    lows, highs = ranges
    start = 0
    lowest = highest = 0.0
    for i in range(session.size):
        if i == 0 or session[i] != session[i - 1]:
            start, lowest, highest = i, lows[i], highs[i]
        elif i - start < bars:
            lowest, highest = min(lowest, lows[i]), max(highest, highs[i])
        if i - start + 1 >= bars:
            low[i], high[i] = lowest, highest
