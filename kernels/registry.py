"""Every indicator kernel with state, by name: the laws are tested over this list.

Add a kernel here when it is written; a test looks for kernels that are missing. The laws:

*Equal however it is cut.* A batch over chunks, each continuing from the state that the one before
left, gives the very bits of a batch over all. A step is a batch of one bar.

*No future.* What comes after a bar changes nothing at it or before it.

*Warm-up.* The first ``warmup`` bars of a series are NaN, and no bar after them.

*One policy for what is missing* (NaN; an infinity counts as missing too):

- A kernel with a window gives NaN, or a value that does not read the missing bar, until that bar
  has left the window; after ``warmup`` further bars nothing tells that it was there.
- A recursive kernel gives NaN at that bar and passes it over: its state, and so every later value,
  is as if the bar had never been.

*Constant series* give the middle of the scale: RSI, MFI and %K 50, %R -50, %b 0.5, CCI, CMF, ADX,
DI and the changes 0; both Aroon lines 100; wavelet shares and entropy have no value.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from kernels.averages import ema, ema_state, hma, hma_state, sma, sma_state, wma, wma_state
from kernels.gate import Series
from kernels.momentum import (
    cci,
    cci_state,
    macd,
    macd_state,
    rsi,
    rsi_state,
    stochastic,
    stochastic_state,
    williams_r,
    williams_r_state,
)
from kernels.returns import log_return, log_return_state, roc, roc_state
from kernels.trend import adx, adx_state, aroon, aroon_state
from kernels.volatility import atr, atr_state, bollinger, bollinger_state
from kernels.volume import (
    cmf,
    cmf_state,
    mfi,
    mfi_state,
    obv,
    obv_change,
    obv_change_state,
    obv_state,
    vwap,
    vwap_state,
)
from kernels.wavelets import haar, haar_state, haar_window, haar_window_state

Output = np.ndarray[Any, np.dtype[np.float64]]
StateFactory = Callable[[], Series]
Batch = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class StatefulKernel:
    """One kernel: its columns in order, its state before the first bar, and its batch form.

    ``warmup`` is the index of the first bar at which every output has a value.
    """

    name: str
    inputs: tuple[str, ...]
    warmup: int
    is_recursive: bool
    state: StateFactory
    batch: Batch

    def run(self, bars: Mapping[str, Output], state: Series | None = None) -> tuple[Output, ...]:
        """Return every output over ``bars``, continuing from ``state`` (changed in place)."""
        given = {name: bars[name] for name in self.inputs}
        session = {"session": given.pop("session")} if "session" in given else {}
        out = self.batch(*given.values(), **session, state=state)
        return out if isinstance(out, tuple) else (out,)


_RANGE = ("high", "low", "close")
_MONEY = (*_RANGE, "volume")


def _windowed(
    name: str, inputs: tuple[str, ...], warmup: int, state: StateFactory, batch: Batch
) -> StatefulKernel:
    return StatefulKernel(name, inputs, warmup, is_recursive=False, state=state, batch=batch)


def _recursive(
    name: str, inputs: tuple[str, ...], warmup: int, state: StateFactory, batch: Batch
) -> StatefulKernel:
    return StatefulKernel(name, inputs, warmup, is_recursive=True, state=state, batch=batch)


STATEFUL_KERNELS: Final = (
    _windowed("sma", ("close",), 19, sma_state, sma),
    _recursive("ema", ("close",), 19, ema_state, ema),
    _windowed("wma", ("close",), 19, wma_state, wma),
    _windowed("hma", ("close",), 22, hma_state, hma),
    _windowed("log_return", ("close",), 1, log_return_state, log_return),
    _windowed("roc", ("close",), 10, roc_state, roc),
    _recursive("rsi", ("close",), 14, rsi_state, rsi),
    _recursive("macd", ("close",), 33, macd_state, macd),
    _windowed("stochastic", _RANGE, 17, stochastic_state, stochastic),
    _windowed("williams_r", _RANGE, 13, williams_r_state, williams_r),
    _windowed("cci", _RANGE, 19, cci_state, cci),
    _recursive("atr", _RANGE, 14, atr_state, atr),
    _windowed("bollinger", ("close",), 19, bollinger_state, bollinger),
    _windowed("mfi", _MONEY, 14, mfi_state, mfi),
    _recursive("obv", ("close", "volume"), 0, obv_state, obv),
    _windowed("obv_change", ("close", "volume"), 20, obv_change_state, obv_change),
    _windowed("cmf", _MONEY, 19, cmf_state, cmf),
    _recursive("vwap", (*_MONEY, "session"), 0, vwap_state, vwap),
    _recursive("adx", _RANGE, 27, adx_state, adx),
    _windowed("aroon", ("high", "low"), 25, aroon_state, aroon),
    _windowed("haar", ("close",), 15, haar_state, haar),
    _windowed("haar_window", ("close",), 46, haar_window_state, haar_window),
)
