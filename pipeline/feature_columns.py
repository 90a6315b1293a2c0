"""The arithmetic of each feature: kernels over bars, made free of scale.

Add a feature here and in ``tables.FEATURE_LIST``; a test compares the two. Belongs here: which
kernel with which parameters, and what its output is divided by. Keep out: frames and nulls.
Everything is causal: row i reads bars up to i, and the levels as of its close.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

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
from kernels.barriers import barriers
from kernels.gate import Instants, Series
from kernels.momentum import macd, macd_state, rsi, rsi_state
from kernels.oscillators import (
    cci,
    cci_state,
    stochastic,
    stochastic_state,
    williams_r,
    williams_r_state,
)
from kernels.returns import log_return, log_return_state, roc, roc_state
from kernels.states import ratio
from kernels.trend import adx, adx_state, aroon, aroon_state
from kernels.volatility import bollinger, bollinger_state
from kernels.volume import (
    cmf,
    cmf_state,
    mfi,
    mfi_state,
    obv_change,
    obv_change_state,
)
from kernels.wavelets import haar_window, haar_window_state
from kernels.windows import logarithm
from market.timeframes import MICROSECONDS_PER_DAY, MICROSECONDS_PER_MINUTE

KernelStates = dict[str, Series]

LEVELS_OF_HAAR = 4
WINDOW_OF_HAAR = 32
MINUTES_PER_DAY = 1440
DAYS_PER_WEEK = 7
_THURSDAY = 3  # 1970-01-01, with Monday as 0


@dataclass(frozen=True, slots=True)
class BarColumns:
    """Complete bars as arrays, NaN where a value is missing; ``context`` is as of each close."""

    high: Series
    low: Series
    close: Series
    volume: Series
    session: Instants
    known_us: Instants
    context: Mapping[str, Series]


def kernel_states() -> KernelStates:
    """Return every kernel's state before the first bar, by the kernel's name."""
    return {
        "adx": adx_state(14),
        "aroon": aroon_state(25),
        "bollinger": bollinger_state(20),
        "cci": cci_state(20),
        "cmf": cmf_state(20),
        "ema": ema_state(50),
        "haar": haar_window_state(LEVELS_OF_HAAR, WINDOW_OF_HAAR),
        "hma": hma_state(20),
        "log_return": log_return_state(),
        "macd": macd_state(12, 26, 9),
        "mfi": mfi_state(14),
        "obv": obv_change_state(20),
        "roc": roc_state(10),
        "rsi": rsi_state(14),
        "sma": sma_state(20),
        "stochastic": stochastic_state(14, 3, 1),
        "vwap": vwap_state(),
        "williams_r": williams_r_state(14),
        "wma": wma_state(20),
    }


def compute(bars: BarColumns, states: KernelStates) -> dict[str, Series]:
    """Return every feature by name, NaN where it has no value; ``states`` change in place."""
    recurring = {name: x for part in KERNELS for name, x in part(bars, states).items()}
    return {**recurring, **_geometry(bars), **_clock(bars.known_us)}


def _averages(bars: BarColumns, states: KernelStates) -> dict[str, Series]:
    close = bars.close
    bands = bollinger(close, 20, state=states["bollinger"])
    return {
        "log_return_1": log_return(close, state=states["log_return"]),
        "sma_ratio_20": _above(close, sma(close, 20, state=states["sma"])),
        "ema_ratio_50": _above(close, ema(close, 50, state=states["ema"])),
        "wma_ratio_20": _above(close, wma(close, 20, state=states["wma"])),
        "hma_ratio_20": _above(close, hma(close, 20, state=states["hma"])),
        "bollinger_percent_b_20": bands.percent_b,
        "bollinger_width_20": bands.width,
        "atr_ratio_14": _over(bars.context["atr"], close),
    }


def _oscillators(bars: BarColumns, states: KernelStates) -> dict[str, Series]:
    high, low, close = bars.high, bars.low, bars.close
    trend = adx(high, low, close, period=14, state=states["adx"])
    lines = macd(close, 12, 26, 9, state=states["macd"])
    # with d_period 1, %D is %K, known from its own first bar on
    slow = stochastic(
        high, low, close, k_period=14, k_slowing=3, d_period=1, state=states["stochastic"]
    )
    return {
        "rsi_14": rsi(close, 14, state=states["rsi"]),
        "macd_histogram_atr": _over(lines.histogram, bars.context["atr"]),
        "stochastic_k_14_3": slow.k,
        "williams_r_14": williams_r(high, low, close, period=14, state=states["williams_r"]),
        "roc_10": roc(close, 10, state=states["roc"]),
        "cci_20": cci(high, low, close, period=20, state=states["cci"]),
        "adx_14": trend.adx,
        "di_difference_14": trend.plus_di - trend.minus_di,
        "aroon_oscillator_25": aroon(high, low, 25, state=states["aroon"]).oscillator,
    }


def _volume(bars: BarColumns, states: KernelStates) -> dict[str, Series]:
    money = bars.high, bars.low, bars.close, bars.volume
    average = vwap(*money, session=bars.session, state=states["vwap"])
    return {
        "mfi_14": mfi(*money, period=14, state=states["mfi"]),
        "obv_change_20": obv_change(bars.close, bars.volume, 20, state=states["obv"]),
        "cmf_20": cmf(*money, period=20, state=states["cmf"]),
        "vwap_ratio": _above(bars.close, average),
    }


def _haar(bars: BarColumns, states: KernelStates) -> dict[str, Series]:
    out = haar_window(
        logarithm(bars.close),
        levels=LEVELS_OF_HAAR,
        window=WINDOW_OF_HAAR,
        state=states["haar"],
    )
    unit = _over(bars.context["atr"], bars.close)
    levels = range(1, LEVELS_OF_HAAR + 1)
    return {
        **{f"haar_detail_{j}": _over(out.details[j - 1], unit) for j in levels},
        **{f"haar_share_{j}": out.shares[j - 1] for j in levels},
        "haar_entropy": out.entropy,
        "haar_trend_slope": _over(out.slope, unit),
    }


KERNELS: Final = (_averages, _oscillators, _volume, _haar)
"""What has to be compiled, in parts that need nothing of one another."""


def _geometry(bars: BarColumns) -> dict[str, Series]:
    close, context = bars.close, bars.context
    atr = context["atr"]
    out = {}
    around = barriers(close, atr, context["support"], context["resistance"])
    out["upper_barrier_distance_atr"] = _over(around.upper - close, atr)
    out["lower_barrier_distance_atr"] = _over(close - around.lower, atr)
    out["resistance_distance_atr"] = _over(context["resistance"] - close, atr)
    out["support_distance_atr"] = _over(close - context["support"], atr)
    for side in ("resistance", "support"):
        out[f"{side}_strength"] = context[f"{side}_strength"]
        out[f"{side}_touches"] = context[f"{side}_touches"]
        out[f"{side}_age_bars"] = context[f"{side}_age"]
    return out


def _clock(known_us: Instants) -> dict[str, Series]:
    minute = known_us // MICROSECONDS_PER_MINUTE % MINUTES_PER_DAY
    weekday = (known_us // MICROSECONDS_PER_DAY + _THURSDAY) % DAYS_PER_WEEK
    hour_sin, hour_cos = _circle(MINUTES_PER_DAY)
    weekday_sin, weekday_cos = _circle(DAYS_PER_WEEK)
    return {
        "hour_sin": hour_sin[minute],
        "hour_cos": hour_cos[minute],
        "weekday_sin": weekday_sin[weekday],
        "weekday_cos": weekday_cos[weekday],
    }


@functools.cache
def _circle(parts: int) -> tuple[Series, Series]:
    """Return sine and cosine of each part of a turn (a table: NumPy's last bit varies by CPU)."""
    turns = [2.0 * math.pi * k / parts for k in range(parts)]
    return np.array([math.sin(a) for a in turns]), np.array([math.cos(a) for a in turns])


def _above(close: Series, average: Series) -> Series:
    return _over(close, average) - 1.0


def _over(numerator: Series, denominator: Series) -> Series:
    return ratio(numerator, denominator, otherwise=np.nan)
