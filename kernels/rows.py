"""One indicator of many symbols, a row each: the very bits of one symbol at a time.

Belongs here: the loop over rows for those that are asked for by the thousand, where calling from
Python costs more than 250 bars do (three indicators of 1,000 symbols: 3 ms in place of 13), and for
every recursion: ``StatefulKernel.run_rows`` lays windows side by side without one. Keep out:
arithmetic, and any sharing between symbols (``panel`` shares, and agrees to 1e-12).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from kernels import engine
from kernels.averages import _ema, _sma, _vwap, _wma
from kernels.channels import _keltner
from kernels.gate import Matrix, Series
from kernels.jit import compiled
from kernels.momentum import _macd, _rsi
from kernels.states import NO_STATE
from kernels.stops import _psar, _supertrend
from kernels.trend import _adx
from kernels.volatility import _atr, _bollinger
from kernels.volume import _mfi, _obv


@dataclass(frozen=True, slots=True)
class Rows:
    """How many symbols are run: by which of Mojo's loops or numba's, into how many lines."""

    kernel: str
    loop: Callable[..., None]
    lines: int


def rows(name: str, columns: tuple[Matrix, ...], *parameters: float) -> tuple[Matrix, ...] | None:
    """Return an indicator's lines for every row of ``columns``, or None where it has no loop here.

    Causal as the indicator is. A row has the bits that it has alone, whichever engine runs either.

    Parameters
    ----------
    name : str
        Of an indicator in ``registry``.
    columns : tuple of ndarray of float64, shape (symbols, n)
        Its columns, in the order of ``registry``. NaN as the indicator takes it.
    *parameters : float
        Every parameter, in the order of ``registry``, checked.

    Returns
    -------
    tuple of ndarray of float64, shape (symbols, n), or None
        Its lines, in the order of ``registry``; warm-up and NaN as the indicator's.

    Raises
    ------
    ValueError
        If a column is not a matrix, or the columns' shapes differ.

    References
    ----------
    The indicators' own.

    Examples
    --------
    >>> rows("sma", (np.array([[1.0, 2.0, 4.0], [3.0, 3.0, 3.0]]),), 2)[0]
    array([[nan, 1.5, 3. ],
           [nan, 3. , 3. ]])
    """
    known = ROWS.get(name)
    if known is None:
        return None
    given = tuple(_matrix(x, columns[0].shape) for x in columns)
    out = np.empty((known.lines, *given[0].shape))
    engine.run(known.kernel, known.loop, *given, *parameters, NO_STATE, out)
    return tuple(out)


def _matrix(x: Matrix, shape: tuple[int, ...]) -> Matrix:
    given = np.ascontiguousarray(x, dtype=np.float64).view()
    if given.ndim != 2 or given.shape != shape:  # noqa: PLR2004 - of a matrix
        raise ValueError(f"columns: expected matrices of one shape, was {given.shape}")
    given.flags.writeable = False
    return given


@compiled
def _sma_rows(x: Matrix, period: int, state: Series, out: Any) -> None:  # noqa: ANN401 - a cube
    for i in range(x.shape[0]):
        _sma(x[i], period, state, out[0, i])


@compiled
def _ema_rows(x: Matrix, period: int, state: Series, out: Any) -> None:  # noqa: ANN401 - a cube
    for i in range(x.shape[0]):
        _ema(x[i], period, state, out[0, i])


@compiled
def _wma_rows(x: Matrix, period: int, state: Series, out: Any) -> None:  # noqa: ANN401 - a cube
    for i in range(x.shape[0]):
        _wma(x[i], period, state, out[0, i])


@compiled
def _rsi_rows(x: Matrix, period: int, state: Series, out: Any) -> None:  # noqa: ANN401 - a cube
    for i in range(x.shape[0]):
        _rsi(x[i], period, state, out[0, i])


@compiled
def _macd_rows(
    x: Matrix,
    fast: int,
    slow: int,
    signal: int,
    state: Series,
    out: Any,  # noqa: ANN401 - a cube
) -> None:
    for i in range(x.shape[0]):
        _macd(x[i], fast, slow, signal, state, out[0, i], out[1, i], out[2, i])


@compiled
def _bands_rows(x: Matrix, period: int, width: float, none: Series, out: Any) -> None:  # noqa: ANN401 - a cube
    for i in range(x.shape[0]):
        _bollinger(x[i], period, width, none, out[0, i], out[1, i], out[2, i], none, none, none)


@compiled
def _bollinger_rows(x: Matrix, period: int, width: float, none: Series, out: Any) -> None:  # noqa: ANN401 - a cube
    for i in range(x.shape[0]):
        _bollinger(
            x[i], period, width, none,
            out[0, i], out[1, i], out[2, i], out[3, i], out[4, i], out[5, i],
        )  # fmt: skip


@compiled
def _atr_rows(
    high: Matrix,
    low: Matrix,
    close: Matrix,
    period: int,
    state: Series,
    out: Any,  # noqa: ANN401 - a cube
) -> None:
    for i in range(high.shape[0]):
        _atr(high[i], low[i], close[i], period, state, out[0, i])


@compiled
def _obv_rows(close: Matrix, volume: Matrix, state: Series, out: Any) -> None:  # noqa: ANN401 - a cube
    for i in range(close.shape[0]):
        _obv(close[i], volume[i], state, out[0, i])


@compiled
def _mfi_rows(  # noqa: PLR0913, PLR0917 - as the kernel
    high: Matrix, low: Matrix, close: Matrix, volume: Matrix,
    period: int, state: Series, out: Any,  # noqa: ANN401 - a cube
) -> None:  # fmt: skip
    for i in range(high.shape[0]):
        _mfi(high[i], low[i], close[i], volume[i], period, state, out[0, i])


@compiled
def _vwap_rows(  # noqa: PLR0913, PLR0917 - as the kernel
    high: Matrix, low: Matrix, close: Matrix, volume: Matrix, session: Matrix,
    state: Series, out: Any,  # noqa: ANN401 - a cube
) -> None:  # fmt: skip
    for i in range(high.shape[0]):
        _vwap(high[i], low[i], close[i], volume[i], session[i], state, out[0, i])


@compiled
def _adx_rows(
    high: Matrix,
    low: Matrix,
    close: Matrix,
    period: int,
    state: Series,
    out: Any,  # noqa: ANN401 - a cube
) -> None:
    for i in range(high.shape[0]):
        _adx(high[i], low[i], close[i], period, state, out[0, i], out[1, i], out[2, i])


@compiled
def _keltner_rows(  # noqa: PLR0913, PLR0917 - as the kernel
    high: Matrix, low: Matrix, close: Matrix, period: int, atr_period: int, width: float,
    state: Series, out: Any,  # noqa: ANN401 - a cube
) -> None:  # fmt: skip
    for i in range(high.shape[0]):
        _keltner(
            high[i], low[i], close[i], period, atr_period, width, state,
            out[0, i], out[1, i], out[2, i],
        )  # fmt: skip


@compiled
def _supertrend_rows(  # noqa: PLR0913, PLR0917 - as the kernel
    high: Matrix, low: Matrix, close: Matrix, period: int, width: float,
    state: Series, out: Any,  # noqa: ANN401 - a cube
) -> None:  # fmt: skip
    for i in range(high.shape[0]):
        _supertrend(high[i], low[i], close[i], period, width, state, out[0, i], out[1, i])


@compiled
def _psar_rows(
    high: Matrix,
    low: Matrix,
    step: float,
    most: float,
    state: Series,
    out: Any,  # noqa: ANN401 - a cube
) -> None:
    for i in range(high.shape[0]):
        _psar(high[i], low[i], step, most, state, out[0, i])


ROWS: Final[Mapping[str, Rows]] = {
    "sma": Rows("sma_rows", _sma_rows, 1),
    "ema": Rows("ema_rows", _ema_rows, 1),
    "wma": Rows("wma_rows", _wma_rows, 1),
    "rsi": Rows("rsi_rows", _rsi_rows, 1),
    "macd": Rows("macd_rows", _macd_rows, 3),
    "bollinger": Rows("bollinger_rows", _bollinger_rows, 6),
    "bollinger_bands": Rows("bollinger_rows", _bands_rows, 3),
    "atr": Rows("atr_rows", _atr_rows, 1),
    "obv": Rows("obv_rows", _obv_rows, 1),
    "mfi": Rows("mfi_rows", _mfi_rows, 1),
    "vwap": Rows("vwap_rows", _vwap_rows, 1),
    "adx": Rows("adx_rows", _adx_rows, 3),
    "keltner": Rows("keltner_rows", _keltner_rows, 3),
    "supertrend": Rows("supertrend_rows", _supertrend_rows, 2),
    "psar": Rows("psar_rows", _psar_rows, 1),
}
