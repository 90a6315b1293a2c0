"""Six indicators of many symbols at once: SMA, RSI, MACD, Bollinger, OBV, MFI.

Belongs here: what a whole market is asked for at every bar, fused into one pass over its columns.
One indicator of one symbol has its own function elsewhere; the numbers agree to 1e-12 of the
largest input, and NaN stands where it stands there. Keep out: other indicators, unless they join
the pass.

Two layouts. ``panel`` takes a row a symbol and gives a row a symbol. ``panel_tiles`` takes and
gives tiles ``[tile, bar, column, lane]``, eight symbols side by side: what a processor reads and
writes in one stream, so it costs about as much as copying the same bytes.
"""

from dataclasses import astuple, dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels import engine
from kernels.gate import Matrix, Series
from kernels.panel_lanes import (
    BOLLINGER,
    COLUMNS,
    LINES,
    MACD,
    MFI,
    OBV,
    RINGS,
    RSI,
    SEEN,
    TILE,
    _panel_rows,
    _panel_tiles,
)
from kernels.states import at_least

Tiles = np.ndarray[Any, np.dtype[np.float64]]
"""``[tile, bar, column, lane]``: shape (m, n, k, 8), float64, C order, eight symbols a tile."""

_LINE_BYTES: Final = 64  # of a cache line: results that begin on one are written past the cache


@dataclass(frozen=True, slots=True)
class PanelSettings:
    """The six indicators' parameters; periods in bars, ``width`` in standard deviations."""

    sma: int = 20
    rsi: int = 14
    fast: int = 12
    slow: int = 26
    signal: int = 9
    bollinger: int = 20
    width: float = 2.0
    mfi: int = 14

    def __post_init__(self) -> None:
        for name in ("sma", "rsi", "fast", "signal", "bollinger", "mfi"):
            at_least(getattr(self, name), 1, name)
        at_least(self.slow, self.fast + 1, "slow")
        if not self.width > 0.0:
            raise ValueError(f"width: expected > 0, was {self.width}")

    def values(self) -> Series:
        """Return the parameters as the compiled functions take them."""
        return np.array(astuple(self), dtype=np.float64)


class Panel(NamedTuple):
    """Ten lines, each of shape (symbols, bars), in the order in which tiles have them."""

    sma: Matrix
    rsi: Matrix
    macd: Matrix
    macd_signal: Matrix
    macd_histogram: Matrix
    bollinger_lower: Matrix
    bollinger_middle: Matrix
    bollinger_upper: Matrix
    obv: Matrix
    mfi: Matrix


DEFAULTS: Final = PanelSettings()


def panel_state(n_symbols: int, settings: PanelSettings = DEFAULTS) -> Tiles:
    """Return the state of ``n_symbols`` before the first bar: shape (tiles, rows, 8), opaque."""
    at_least(n_symbols, 0, "n_symbols")
    windows = (settings.sma, *[settings.bollinger] * 2, *[settings.mfi] * 2)
    state = aligned((-(-n_symbols // TILE), RINGS + sum(windows) + len(windows), TILE))
    state[:] = np.nan
    state[:, SEEN : SEEN + 2] = 0.0
    state[:, RSI + 1 : BOLLINGER] = 0.0
    state[:, MACD] = settings.fast - settings.slow
    state[:, [BOLLINGER + 1, BOLLINGER + 2, OBV + 1, MFI + 1, MFI + 2]] = 0.0
    state[:, RINGS + np.cumsum(np.array(windows) + 1) - 1] = 0.0  # a ring's last row stays 0
    return state


def panel(  # noqa: PLR0913 - four columns, and what every kernel takes
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    close: npt.ArrayLike,
    volume: npt.ArrayLike,
    *,
    settings: PanelSettings = DEFAULTS,
    state: Tiles | None = None,
    out: Tiles | None = None,
) -> Panel:
    """Return the six indicators of every symbol, a row a symbol.

    Causal. Warm-up, seeding and the policy for what is missing are those of ``sma``, ``rsi``,
    ``macd``, ``bollinger``, ``obv`` and ``mfi``. Symbols of different lengths are padded with NaN
    in front.

    Parameters
    ----------
    high, low, close, volume : array_like, float64, shape (symbols, bars)
        Prices and quantity, all of one shape. What is infinite counts as missing.
    settings : PanelSettings
        Periods and the bands' width.
    state : ndarray of float64, optional
        From ``panel_state(symbols, settings)`` or an earlier call, which this one continues:
        changed in place.
    out : ndarray of float64, shape (10, symbols, bars), C order, optional
        Where the lines are written. Without it they are padded to whole cache lines, which is
        faster.

    Returns
    -------
    Panel
        Ten arrays of shape (symbols, bars).

    Raises
    ------
    ValueError
        If shapes differ, or ``state`` or ``out`` has another shape.

    References
    ----------
    TA-Lib ``SMA``, ``RSI``, ``MACD``, ``BBANDS``, ``OBV``, ``MFI``.

    Examples
    --------
    >>> x = [[1.0, 2.0, 4.0], [3.0, 3.0, 3.0]]
    >>> panel(x, x, x, x, settings=PanelSettings(sma=2)).sma
    array([[nan, 1.5, 3. ],
           [nan, 3. , 3. ]])
    """
    columns = tuple(
        _matrix(x, name) for x, name in zip((high, low, close, volume), _NAMES, strict=True)
    )
    n_symbols, n = columns[0].shape
    for name, x in zip(_NAMES, columns, strict=True):
        if x.shape != (n_symbols, n):
            raise ValueError(f"{name}: expected shape {(n_symbols, n)} as high, was {x.shape}")
    own = _carried(state, panel_state(n_symbols, settings))
    padded = -(-n // TILE) * TILE
    lines = (
        aligned((LINES, n_symbols, padded))
        if out is None
        else _shaped(out, (LINES, n_symbols, n), "out")
    )
    engine.run("panel_rows", _panel_rows, columns, lines, settings.values(), own)
    return Panel(*lines[:, :, :n])


def panel_tiles(
    bars: Tiles,
    *,
    settings: PanelSettings = DEFAULTS,
    state: Tiles | None = None,
    out: Tiles | None = None,
) -> Tiles:
    """Return the six indicators of every symbol, eight symbols a tile.

    As ``panel``, in and out of the layout that costs least.

    Parameters
    ----------
    bars : ndarray of float64, shape (tiles, bars, 4, 8), C order
        High, low, close, volume of eight symbols side by side (``tiled`` makes it).
    settings : PanelSettings
        Periods and the bands' width.
    state : ndarray of float64, optional
        From ``panel_state(8 * tiles, settings)`` or an earlier call: changed in place.
    out : ndarray of float64, shape (tiles, bars, 10, 8), C order, optional
        Where the lines are written; aligned to 64 bytes (``aligned`` makes it).

    Returns
    -------
    ndarray of float64, shape (tiles, bars, 10, 8)
        The lines of ``Panel`` in order.

    Raises
    ------
    ValueError
        If an array has another shape, order or alignment.

    Examples
    --------
    >>> x = np.arange(24.0).reshape(8, 3)
    >>> panel_tiles(tiled(x, x, x, x), settings=PanelSettings(sma=2))[0, 2, 0]
    array([ 1.5,  4.5,  7.5, 10.5, 13.5, 16.5, 19.5, 22.5])
    """
    n_tiles, n = (*bars.shape, 0, 0)[:2]
    given = _shaped(bars, (n_tiles, n, COLUMNS, TILE), "bars", is_written=False)
    own = _carried(state, panel_state(TILE * n_tiles, settings))
    shape = (n_tiles, n, LINES, TILE)
    lines = aligned(shape) if out is None else _shaped(out, shape, "out")
    if lines.ctypes.data % _LINE_BYTES:
        raise ValueError("out: expected an array aligned to 64 bytes")
    engine.run("panel_tiles", _panel_tiles, given, lines, settings.values(), own)
    return lines


def tiled(*columns: npt.ArrayLike) -> Tiles:
    """Return matrices of a row a symbol as tiles, the last one filled up with its last symbol.

    Examples
    --------
    >>> tiled([[1.0, 2.0]], [[3.0, 4.0]]).shape
    (1, 2, 2, 8)
    """
    rows = np.stack([_matrix(x, "columns") for x in columns])
    n_symbols, n = rows.shape[1:]
    n_tiles = -(-n_symbols // TILE)
    symbols = np.minimum(np.arange(n_tiles * TILE), n_symbols - 1)
    out = aligned((n_tiles, n, len(columns), TILE))
    out[:] = rows[:, symbols].reshape(len(columns), n_tiles, TILE, n).transpose(1, 3, 0, 2)
    return out


def untiled(tiles: Tiles, n_symbols: int) -> Tiles:
    """Return the lines of tiles as matrices: shape (lines, ``n_symbols``, bars).

    Examples
    --------
    >>> untiled(tiled([[1.0, 2.0]]), 1)
    array([[[1., 2.]]])
    """
    n_tiles, n, k = tiles.shape[:3]
    return tiles.transpose(2, 0, 3, 1).reshape(k, n_tiles * TILE, n)[:, :n_symbols]


def aligned(shape: tuple[int, ...]) -> Tiles:
    """Return an array of float64 that begins on a cache line, its values not set."""
    size = int(np.prod(shape))
    spare = _LINE_BYTES // 8
    store = np.empty(size + spare)
    first = (-store.ctypes.data % _LINE_BYTES) // 8
    return store[first : first + size].reshape(shape)


_NAMES: Final = ("high", "low", "close", "volume")


def _matrix(x: npt.ArrayLike, name: str) -> Matrix:
    given = np.asarray(x, dtype=np.float64)
    if given.ndim != 2:  # noqa: PLR2004 - a row a symbol
        raise ValueError(f"{name}: expected shape (symbols, bars), was {given.shape}")
    out = np.ascontiguousarray(given).view()
    out.flags.writeable = False
    return out


def _shaped(x: Tiles, shape: tuple[int, ...], name: str, *, is_written: bool = True) -> Tiles:
    is_fit = x.shape == shape and x.dtype == np.float64 and x.flags.c_contiguous
    if not is_fit or (is_written and not x.flags.writeable):
        kind = "writeable float64" if is_written else "float64"
        raise ValueError(
            f"{name}: expected {kind} of shape {shape} in C order, was {x.dtype} of {x.shape}"
        )
    return x


def _carried(state: Tiles | None, fresh: Tiles) -> Tiles:
    return fresh if state is None else _shaped(state, fresh.shape, "state")
