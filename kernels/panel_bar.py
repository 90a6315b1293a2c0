"""One new bar of many symbols: eight indicators, a quantity a row and a symbol a place in it.

Belongs here: what a whole market is asked for when a bar arrives (a structure of arrays, which a
processor takes eight symbols at a time). A history of many symbols is ``panel``'s; one symbol has
each indicator's own function. The numbers agree with those to 1e-12 of the largest input, and NaN
stands where it stands there.

A window's sums are begun anew once in its length, as ``panel`` does: an outlier leaves no trace
once it is out. Not every symbol's at the same bar, so that one bar takes as long as another.
"""

from dataclasses import astuple, dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.gate import Matrix, Series, series
from kernels.panel import PanelSettings
from kernels.panel_bar_lanes import (
    ATR_BEFORE,
    BEFORE,
    CHUNK,
    LINES,
    MFI,
    OBV_BEFORE,
    PIVOT,
    RINGS,
    SMA,
    TYPICAL,
    panel_bar_lanes,
    place_of,
)
from kernels.states import at_least, same_length

BarState = np.ndarray[Any, np.dtype[np.float64]]
"""``[chunk, row, symbol]``: opaque, and what a copy of it holds can be gone on from."""


@dataclass(frozen=True, slots=True)
class BarSettings(PanelSettings):
    """``PanelSettings``, and the periods of the two indicators that ``panel`` does not have."""

    ema: int = 20
    atr: int = 14

    def __post_init__(self) -> None:
        PanelSettings.__post_init__(self)
        for name in ("ema", "atr"):
            at_least(getattr(self, name), 1, name)

    def values(self) -> Series:
        """Return the parameters as the compiled functions take them."""
        return np.array(astuple(self), dtype=np.float64)


class Bar(NamedTuple):
    """Twelve lines, each of shape (symbols,)."""

    sma: Series
    ema: Series
    rsi: Series
    macd: Series
    macd_signal: Series
    macd_histogram: Series
    bollinger_lower: Series
    bollinger_middle: Series
    bollinger_upper: Series
    atr: Series
    obv: Series
    mfi: Series


DEFAULTS: Final = BarSettings()


def panel_bar_state(n_symbols: int, settings: BarSettings = DEFAULTS) -> BarState:
    """Return the state of ``n_symbols`` before the first bar: opaque, float64."""
    chunks = -(-at_least(n_symbols, 0, "n_symbols") // CHUNK)
    rings = np.cumsum([settings.sma, *[settings.bollinger] * 2, *[settings.mfi] * 2]) + range(1, 6)
    state = np.zeros((max(chunks, 1), RINGS + int(rings[-1]), CHUNK))
    state[:, RINGS:] = state[:, PIVOT] = np.nan
    state[:, [BEFORE, ATR_BEFORE, OBV_BEFORE, TYPICAL]] = np.nan
    state[:, RINGS + rings - 1] = 0.0  # a ring's last row stays 0
    for chunk in range(chunks):  # a turn that does not begin with the series has no sum yet
        if place_of.py_func(0, chunk, settings.sma):
            state[chunk, SMA] = np.nan
        if place_of.py_func(0, chunk, settings.mfi):
            state[chunk, MFI : MFI + 2] = np.nan
    return state


def panel_bar(  # noqa: PLR0913 - four columns, and what every kernel takes
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    close: npt.ArrayLike,
    volume: npt.ArrayLike,
    *,
    state: BarState,
    settings: BarSettings = DEFAULTS,
    out: Matrix | None = None,
) -> Bar:
    """Return SMA, EMA, RSI, MACD, Bollinger bands, ATR, OBV and MFI of every symbol at a new bar.

    Causal. Warm-up, seeding and the policy for what is missing are those of ``sma``, ``ema``,
    ``rsi``, ``macd``, ``bollinger``, ``atr``, ``obv`` and ``mfi``. The time does not depend on how
    many bars came before.

    Parameters
    ----------
    high, low, close, volume : array_like, float64, shape (symbols,)
        The bar's prices and quantity. What is infinite counts as missing.
    state : ndarray of float64
        From ``panel_bar_state(symbols, settings)``; it moves to this bar.
    settings : BarSettings
        Periods and the bands' width.
    out : ndarray of float64, shape (12, symbols), C order, optional
        Where the lines are written.

    Returns
    -------
    Bar
        Twelve arrays of shape (symbols,).

    Raises
    ------
    ValueError
        If lengths differ, or ``state`` or ``out`` has another form.

    References
    ----------
    TA-Lib ``SMA``, ``EMA``, ``RSI``, ``MACD``, ``BBANDS``, ``ATR``, ``OBV``, ``MFI``.

    Examples
    --------
    >>> settings = BarSettings(sma=2)
    >>> state = panel_bar_state(3, settings)
    >>> for close in ([1.0, 5.0, 2.0], [2.0, 5.0, 4.0]):
    ...     bar = panel_bar(close, close, close, close, state=state, settings=settings)
    >>> bar.sma
    array([1.5, 5. , 3. ])
    """
    bars = (
        series(high, "high"),
        series(low, "low"),
        series(close, "close"),
        series(volume, "volume"),
    )
    same_length(("high", "low", "close", "volume"), *bars)
    n = bars[0].size
    fresh = (max(-(-n // CHUNK), 1), RINGS + _ring_rows(settings), CHUNK)
    own, lines = _fit(state, fresh, "state"), np.empty((LINES, n)) if out is None else out
    _fit(lines, (LINES, n), "out")
    panel_bar_lanes(bars, settings.values(), own, lines)
    return Bar(*lines)


def _ring_rows(settings: BarSettings) -> int:
    return settings.sma + 2 * settings.bollinger + 2 * settings.mfi + 5


def _fit(x: BarState, shape: tuple[int, ...], name: str) -> BarState:
    if x.shape != shape or x.dtype != np.float64 or not x.flags.carray:
        raise ValueError(
            f"{name}: expected writeable float64 of shape {shape} in C order, "
            f"was {x.dtype} of shape {x.shape}"
        )
    return x
