"""The catalogue of indicators: columns, parameters, outputs, warm-up, state, batch.

Whatever treats every indicator alike is made from this list: the laws, the service, benchmarks.
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

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from kernels.averages import (
    ema,
    ema_state,
    hma,
    hma_state,
    sma,
    sma_state,
    vwap,
    vwap_state,
    wma,
    wma_state,
)
from kernels.channels import (
    donchian,
    donchian_state,
    ichimoku,
    ichimoku_state,
    keltner,
    keltner_state,
)
from kernels.indicator import Parameter, StateFactory, StatefulKernel
from kernels.momentum import cutler_rsi, cutler_rsi_state, macd, macd_state, rsi, rsi_state
from kernels.oscillators import (
    cci,
    cci_state,
    stochastic,
    stochastic_state,
    williams_r,
    williams_r_state,
)
from kernels.returns import log_return, log_return_state, roc, roc_state
from kernels.stops import psar, psar_state, supertrend, supertrend_state
from kernels.trend import adx, adx_state, aroon, aroon_state
from kernels.volatility import (
    atr,
    atr_state,
    bollinger,
    bollinger_bands,
    bollinger_bands_state,
    bollinger_state,
)
from kernels.volume import (
    cmf,
    cmf_state,
    mfi,
    mfi_state,
    obv,
    obv_change,
    obv_change_state,
    obv_state,
)
from kernels.wavelets import (
    haar,
    haar_state,
    haar_window,
    haar_window_state,
    modwt,
    modwt_state,
)

_CLOSE = ("close",)
_RANGE = ("high", "low", "close")
_MONEY = (*_RANGE, "volume")


def _period(default: int, least: int = 2, most: int = 500) -> tuple[Parameter, ...]:
    return (Parameter("period", default, least, most),)


def _windowed(
    batch: Callable[..., Any],
    state: StateFactory,
    first: Callable[..., int],
    inputs: tuple[str, ...],
    parameters: tuple[Parameter, ...] = (),
    outputs: tuple[str, ...] = (),
) -> StatefulKernel:
    name = batch.__name__
    return StatefulKernel(
        name, inputs, parameters, outputs or (name,), is_recursive=False,
        first=first, state=state, batch=batch,
    )  # fmt: skip


def _recursive(*given: Any, **named: Any) -> StatefulKernel:  # noqa: ANN401 - as ``_windowed``
    return replace(_windowed(*given, **named), is_recursive=True)


_BOLLINGER = (*_period(20, most=200), Parameter("width", 2.0, 0.1, 5.0, is_integer=False))

STATEFUL_KERNELS: Final = (
    _windowed(sma, sma_state, lambda period=20: period - 1, _CLOSE, _period(20)),
    _recursive(ema, ema_state, lambda period=20: period - 1, _CLOSE, _period(20)),
    _windowed(wma, wma_state, lambda period=20: period - 1, _CLOSE, _period(20)),
    _windowed(
        hma, hma_state, lambda period=20: period + math.isqrt(period) - 2, _CLOSE, _period(20)
    ),
    _windowed(log_return, log_return_state, lambda: 1, _CLOSE),
    _windowed(roc, roc_state, lambda period=10: period, _CLOSE, _period(10, least=1)),
    _recursive(rsi, rsi_state, lambda period=14: period, _CLOSE, _period(14, most=100)),
    _windowed(
        cutler_rsi, cutler_rsi_state, lambda period=14: period, _CLOSE, _period(14, most=100)
    ),
    _recursive(
        macd,
        macd_state,
        lambda fast=12, slow=26, signal=9: max(fast, slow) + signal - 2,
        _CLOSE,
        (
            Parameter("fast", 12, 2, 100),
            Parameter("slow", 26, 2, 200),
            Parameter("signal", 9, 2, 50),
        ),
        outputs=("line", "signal", "histogram"),
    ),
    _windowed(
        stochastic,
        stochastic_state,
        lambda k_period=14, k_slowing=3, d_period=3: k_period + k_slowing + d_period - 3,
        _RANGE,
        (
            Parameter("k_period", 14, 2, 500),
            Parameter("k_slowing", 3, 1, 100),
            Parameter("d_period", 3, 1, 100),
        ),
        outputs=("k", "d"),
    ),
    _windowed(williams_r, williams_r_state, lambda period=14: period - 1, _RANGE, _period(14)),
    _windowed(cci, cci_state, lambda period=20: period - 1, _RANGE, _period(20)),
    _recursive(atr, atr_state, lambda period=14: period, _RANGE, _period(14, least=1)),
    _windowed(
        bollinger_bands,
        bollinger_bands_state,
        lambda period=20: period - 1,
        _CLOSE,
        _BOLLINGER,
        outputs=("lower", "middle", "upper"),
    ),
    _windowed(
        bollinger,
        bollinger_state,
        lambda period=20: period - 1,
        _CLOSE,
        _BOLLINGER,
        outputs=("lower", "middle", "upper", "percent_b", "width", "sigma"),
    ),
    _windowed(mfi, mfi_state, lambda period=14: period, _MONEY, _period(14)),
    _recursive(obv, obv_state, lambda: 0, ("close", "volume")),
    _windowed(
        obv_change,
        obv_change_state,
        lambda period=20: period,
        ("close", "volume"),
        _period(20, least=1),
    ),
    _windowed(cmf, cmf_state, lambda period=20: period - 1, _MONEY, _period(20)),
    _recursive(vwap, vwap_state, lambda: 0, (*_MONEY, "session")),
    _recursive(
        adx,
        adx_state,
        lambda period=14: 2 * period - 1,
        _RANGE,
        _period(14),
        outputs=("adx", "plus_di", "minus_di"),
    ),
    _windowed(
        aroon,
        aroon_state,
        lambda period=25: period,
        ("high", "low"),
        _period(25),
        outputs=("up", "down", "oscillator"),
    ),
    _windowed(
        donchian,
        donchian_state,
        lambda period=20: period - 1,
        ("high", "low"),
        _period(20),
        outputs=("lower", "middle", "upper"),
    ),
    _recursive(
        keltner,
        keltner_state,
        lambda period=20, atr_period=10: max(period - 1, atr_period),
        _RANGE,
        (
            *_period(20),
            Parameter("atr_period", 10, 1, 500),
            Parameter("width", 2.0, 0.1, 10.0, is_integer=False),
        ),
        outputs=("lower", "middle", "upper"),
    ),
    _windowed(
        ichimoku,
        ichimoku_state,
        lambda conversion=9, base=26, span=52: max(conversion, base, span) - 1,
        ("high", "low"),
        (
            Parameter("conversion", 9, 1, 500),
            Parameter("base", 26, 1, 500),
            Parameter("span", 52, 1, 500),
        ),
        outputs=("conversion", "base", "span_a", "span_b"),
    ),
    _recursive(
        supertrend,
        supertrend_state,
        lambda period=10: period,
        _RANGE,
        (
            Parameter("period", 10, 1, 500),
            Parameter("width", 3.0, 0.1, 10.0, is_integer=False),
        ),
        outputs=("line", "direction"),
    ),
    _recursive(
        psar,
        psar_state,
        lambda: 1,
        ("high", "low"),
        (
            Parameter("step", 0.02, 0.001, 1.0, is_integer=False),
            Parameter("most", 0.2, 0.001, 1.0, is_integer=False),
        ),
    ),
    _windowed(
        modwt,
        modwt_state,
        lambda moments=4, levels=4: (2**levels - 1) * (2 * moments - 1),
        _CLOSE,
        (Parameter("moments", 4, 1, 10), Parameter("levels", 4, 1, 8)),
        outputs=("details", "smooths"),
    ),
    _windowed(
        haar,
        haar_state,
        lambda levels=4: 2**levels - 1,
        _CLOSE,
        (Parameter("levels", 4, 1, 8),),
        outputs=("details", "approximation"),
    ),
    _windowed(
        haar_window,
        haar_window_state,
        lambda levels=4, window=32: 2**levels + window - 2,
        _CLOSE,
        (Parameter("levels", 4, 2, 8), Parameter("window", 32, 2, 500)),
        outputs=("details", "energies", "shares", "entropy", "dominant", "fast_slow", "slope"),
    ),
)

BY_NAME: Final = {kernel.name: kernel for kernel in STATEFUL_KERNELS}
