"""Indicator values: against slow twins, against TA-Lib, on real bars, and on awkward ones."""

import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from kernels import averages, momentum, returns, trend, volatility, volume
from tests.naive import indicators as naive

talib = pytest.importorskip("talib", reason="TA-Lib is a test extra")

PERIODS = (1, 2, 3, 7, 14, 33)
SIZES = (1, 2, 3, 13, 14, 15, 16, 40, 300)
Bars = dict[str, Any]


def made_bars(n: int, seed: int, gaps: float = 0.0, tick: float = 0.0) -> Bars:
    rng = np.random.default_rng(seed)
    path = 1.1 + np.cumsum(rng.normal(0.0, 2e-4, (n, 4)).ravel()).reshape(n, 4)
    if tick:
        path = np.round(path / tick) * tick
    out = {
        "high": path.max(axis=1),
        "low": path.min(axis=1),
        "close": path[:, -1].copy(),
        "volume": np.round(rng.exponential(300.0, n)) + 1.0,
    }
    for column in out.values():
        column[rng.random(n) < gaps] = np.nan
    return out


def lines(out: Any) -> tuple[Any, ...]:
    """Return an output as a tuple of lines."""
    return out if isinstance(out, tuple) else (out,)


def assert_close(got: Any, expected: Any, rtol: float = 1e-10) -> None:
    """Compare lines: the same NaNs, and values to ``rtol`` of the larger of each and the scale."""
    for g, e in zip(lines(got), lines(expected), strict=True):
        wanted = np.asarray(e, dtype=np.float64)
        np.testing.assert_array_equal(np.isnan(g), np.isnan(wanted))
        scale = np.nanmax(np.abs(wanted)) if np.isfinite(wanted).any() else 1.0
        np.testing.assert_allclose(g, wanted, rtol=rtol, atol=rtol * scale)


TWINS: dict[str, tuple[int, Callable[[Bars, int], Any], Callable[[Bars, int], Any]]] = {
    "sma": (1, lambda b, p: averages.sma(b["close"], p), lambda b, p: naive.sma(b["close"], p)),
    "ema": (1, lambda b, p: averages.ema(b["close"], p), lambda b, p: naive.ema(b["close"], p)),
    "wma": (1, lambda b, p: averages.wma(b["close"], p), lambda b, p: naive.wma(b["close"], p)),
    "hma": (2, lambda b, p: averages.hma(b["close"], p), lambda b, p: naive.hma(b["close"], p)),
    "rsi": (1, lambda b, p: momentum.rsi(b["close"], p), lambda b, p: naive.rsi(b["close"], p)),
    "roc": (1, lambda b, p: returns.roc(b["close"], p), lambda b, p: naive.roc(b["close"], p)),
    "macd": (
        1,
        lambda b, p: momentum.macd(b["close"], p, 2 * p + 1, 3),
        lambda b, p: naive.macd(b["close"], p, 2 * p + 1, 3),
    ),
    "bollinger": (
        1,
        lambda b, p: volatility.bollinger(b["close"], p, width=1.5),
        lambda b, p: naive.bollinger(b["close"], p, 1.5),
    ),
    "atr": (
        1,
        lambda b, p: volatility.atr(*hlc(b), period=p),
        lambda b, p: naive.atr(*hlc(b), p),
    ),
    "stochastic": (
        1,
        lambda b, p: momentum.stochastic(*hlc(b), k_period=p, k_slowing=3, d_period=2),
        lambda b, p: naive.stochastic(*hlc(b), (p, 3, 2)),
    ),
    "williams_r": (
        1,
        lambda b, p: momentum.williams_r(*hlc(b), period=p),
        lambda b, p: naive.williams_r(*hlc(b), p),
    ),
    "cci": (1, lambda b, p: momentum.cci(*hlc(b), period=p), lambda b, p: naive.cci(*hlc(b), p)),
    "mfi": (
        1,
        lambda b, p: volume.mfi(*hlc(b), b["volume"], period=p),
        lambda b, p: naive.mfi(*hlc(b), b["volume"], p),
    ),
    "obv": (
        1,
        lambda b, _: volume.obv(b["close"], b["volume"]),
        lambda b, _: naive.obv(b["close"], b["volume"]),
    ),
    "obv_change": (
        1,
        lambda b, p: volume.obv_change(b["close"], b["volume"], p),
        lambda b, p: naive.obv_change(b["close"], b["volume"], p),
    ),
    "cmf": (
        1,
        lambda b, p: volume.cmf(*hlc(b), b["volume"], period=p),
        lambda b, p: naive.cmf(*hlc(b), b["volume"], p),
    ),
    "vwap": (
        1,
        lambda b, p: volume.vwap(*hlc(b), b["volume"], session=ids(b, p)),
        lambda b, p: naive.vwap(*hlc(b), b["volume"], ids(b, p)),
    ),
    "adx": (1, lambda b, p: trend.adx(*hlc(b), period=p), lambda b, p: naive.adx(*hlc(b), p)),
    "aroon": (
        1,
        lambda b, p: trend.aroon(b["high"], b["low"], p),
        lambda b, p: naive.aroon(b["high"], b["low"], p),
    ),
}


def hlc(bars: Bars) -> tuple[Any, Any, Any]:
    return bars["high"], bars["low"], bars["close"]


def ids(bars: Bars, length: int) -> list[int]:
    return [i // length for i in range(len(bars["close"]))]


def as_lists(bars: Bars) -> Bars:
    return {name: column.tolist() for name, column in bars.items()}


@pytest.mark.parametrize(
    ("name", "period"), [(n, p) for n, twin in TWINS.items() for p in PERIODS if p >= twin[0]]
)
@pytest.mark.parametrize(("gaps", "tick"), [(0.0, 0.0), (0.05, 0.0), (0.0, 5e-4), (0.05, 5e-4)])
def test_equals_its_slow_twin(name: str, period: int, gaps: float, tick: float) -> None:
    _, ours, twin = TWINS[name]
    for size in (0, 1, 2, 5, 160):
        bars = made_bars(size, size + period, gaps, tick)
        expected = twin(as_lists(bars), period)
        # a tick makes whole windows flat but for rounding: there the twins' scale is the tick's
        assert_close(ours(bars, period), expected, rtol=1e-9)


TALIB: dict[str, tuple[Callable[[Bars, int], Any], Callable[[Bars, int], Any]]] = {
    "SMA": (lambda b, p: averages.sma(b["close"], p), lambda b, p: talib.SMA(b["close"], p)),
    "EMA": (lambda b, p: averages.ema(b["close"], p), lambda b, p: talib.EMA(b["close"], p)),
    "WMA": (lambda b, p: averages.wma(b["close"], p), lambda b, p: talib.WMA(b["close"], p)),
    "RSI": (lambda b, p: momentum.rsi(b["close"], p), lambda b, p: talib.RSI(b["close"], p)),
    "ROC": (lambda b, p: returns.roc(b["close"], p), lambda b, p: talib.ROC(b["close"], p)),
    "ATR": (
        lambda b, p: volatility.atr(*hlc(b), period=p),
        lambda b, p: talib.ATR(*hlc(b), p),
    ),
    "BBANDS": (
        lambda b, p: volatility.bollinger(b["close"], p, width=1.5)[:3],
        lambda b, p: talib.BBANDS(b["close"], p, 1.5, 1.5)[::-1],
    ),
    "MACD": (
        lambda b, p: tuple(momentum.macd(b["close"], p, 2 * p + 1, 9)),
        lambda b, p: talib.MACD(b["close"], p, 2 * p + 1, 9),
    ),
    "STOCH": (
        lambda b, p: tuple(momentum.stochastic(*hlc(b), k_period=p, k_slowing=3, d_period=5)),
        lambda b, p: talib.STOCH(*hlc(b), p, 3, 0, 5, 0),
    ),
    "WILLR": (
        lambda b, p: momentum.williams_r(*hlc(b), period=p),
        lambda b, p: talib.WILLR(*hlc(b), p),
    ),
    "CCI": (
        lambda b, p: momentum.cci(*hlc(b), period=p),
        lambda b, p: talib.CCI(*hlc(b), p),
    ),
    "MFI": (
        lambda b, p: volume.mfi(*hlc(b), b["volume"], period=p),
        lambda b, p: talib.MFI(*hlc(b), b["volume"], p),
    ),
    "OBV": (
        lambda b, _: volume.obv(b["close"], b["volume"]),
        lambda b, _: talib.OBV(b["close"], b["volume"]),
    ),
    "ADX": (lambda b, p: trend.adx(*hlc(b), period=p)[0], lambda b, p: talib.ADX(*hlc(b), p)),
    "DI": (
        lambda b, p: trend.adx(*hlc(b), period=p)[1:],
        lambda b, p: (talib.PLUS_DI(*hlc(b), p), talib.MINUS_DI(*hlc(b), p)),
    ),
    "AROON": (
        lambda b, p: tuple(trend.aroon(b["high"], b["low"], p)),
        lambda b, p: (
            *talib.AROON(b["high"], b["low"], p)[::-1],
            talib.AROONOSC(b["high"], b["low"], p),
        ),
    ),
}


@pytest.mark.parametrize("name", TALIB)
@pytest.mark.parametrize("period", [p for p in PERIODS if p > 1])
@pytest.mark.parametrize("size", SIZES)
def test_equals_talib(name: str, period: int, size: int) -> None:
    ours, theirs = TALIB[name]
    bars = made_bars(size, 100 * period + size)
    # two bars have CCI +-66.67 whatever they are; TA-Lib is 1.3e-7 off where they are close
    assert_close(ours(bars, period), theirs(bars, period), rtol=1e-8 if name == "CCI" else 1e-10)


COLUMNS: dict[str, Callable[[Bars], Any]] = {
    "SMA_20": lambda b: averages.sma(b["close"], 20),
    "EMA_20": lambda b: averages.ema(b["close"], 20),
    "WMA_20": lambda b: averages.wma(b["close"], 20),
    "RSI_14": lambda b: momentum.rsi(b["close"], 14),
    "ATR_14": lambda b: volatility.atr(*hlc(b)),
    "BB_U": lambda b: volatility.bollinger(b["close"], 20).upper,
    "BB_M": lambda b: volatility.bollinger(b["close"], 20).middle,
    "BB_L": lambda b: volatility.bollinger(b["close"], 20).lower,
    "MACD": lambda b: momentum.macd(b["close"]).line,
    "MACD_SIG": lambda b: momentum.macd(b["close"]).signal,
    "MACD_HIST": lambda b: momentum.macd(b["close"]).histogram,
    "ADX_14": lambda b: trend.adx(*hlc(b)).adx,
    "PLUS_DI_14": lambda b: trend.adx(*hlc(b)).plus_di,
    "MINUS_DI_14": lambda b: trend.adx(*hlc(b)).minus_di,
    "STOCH_K": lambda b: momentum.stochastic(*hlc(b)).k,
    "STOCH_D": lambda b: momentum.stochastic(*hlc(b)).d,
    "CCI_20": lambda b: momentum.cci(*hlc(b)),
    "WILLR_14": lambda b: momentum.williams_r(*hlc(b)),
    "ROC_10": lambda b: returns.roc(b["close"]),
    "OBV": lambda b: volume.obv(b["close"], b["volume"]),
    "MFI_14": lambda b: volume.mfi(*hlc(b), b["volume"]),
}


@pytest.mark.parametrize(
    ("bars_file", "reference"),
    [
        ("EURUSD_1h_backtestingpy_2017-2018", "talib082_EURUSD_1h"),
        ("BTCUSDT_5m_binance_202104-202105", "talib082_BTCUSDT_5m_202104-202105"),
    ],
)
def test_equals_talib_on_real_bars(shared_data: Path, bars_file: str, reference: str) -> None:
    frame = pl.read_parquet(shared_data / "ohlcv" / f"{bars_file}.parquet")
    expected = pl.read_parquet(shared_data / "refs" / "talib" / f"{reference}.parquet")
    bars = {c: frame[c].to_numpy() for c in ("high", "low", "close", "volume")}
    np.testing.assert_array_equal(frame["close"], expected["close"])
    for name, kernel in COLUMNS.items():
        assert_close(kernel(bars), expected[name].fill_null(np.nan).to_numpy())


def test_percent_b_keeps_its_digits_where_the_price_is_large() -> None:
    close = 1e6 + 0.01 * np.random.default_rng(9).normal(size=200)
    bands = volatility.bollinger(close, 20)
    for i in (19, 60, 199):
        window = [Fraction(float(v)) for v in close[i - 19 : i + 1]]
        mean = sum(window) / 20
        deviation = float(sum((v - mean) ** 2 for v in window) / 20) ** 0.5
        percent = 0.5 + float(window[-1] - mean) / (4 * deviation)
        assert bands.percent_b[i] == pytest.approx(percent, rel=1e-9)
        assert bands.width[i] == pytest.approx(4 * deviation / float(mean), rel=1e-9)


def test_a_spike_leaves_no_trace_once_it_is_out() -> None:
    close = 1.0 + np.random.default_rng(10).random(300)
    spiked = close.copy()
    spiked[50] = 1e12
    for kernel in (averages.sma, averages.wma, averages.hma):
        np.testing.assert_array_equal(kernel(spiked, 20)[80:], kernel(close, 20)[80:])
    bands, clean = volatility.bollinger(spiked, 20), volatility.bollinger(close, 20)
    np.testing.assert_array_equal(bands.width[80:], clean.width[80:])


@pytest.mark.parametrize("price", [1.1, 3.0, 1e-5, 61234.56])
def test_a_constant_series_gives_the_middle_of_each_scale(price: float) -> None:
    x = np.full(80, price)
    v = np.full(80, 7.0)
    bands, strength, recency = volatility.bollinger(x), trend.adx(x, x, x), trend.aroon(x, x)
    last = {
        "log_return": (returns.log_return(x), 0.0),
        "roc": (returns.roc(x), 0.0),
        "rsi": (momentum.rsi(x), 50.0),
        "macd": (momentum.macd(x).histogram, pytest.approx(0.0, abs=1e-12 * price)),
        "stochastic": (momentum.stochastic(x, x, x).d, pytest.approx(50.0, rel=1e-15)),
        "williams_r": (momentum.williams_r(x, x, x), -50.0),
        "cci": (momentum.cci(x, x, x), 0.0),
        "percent_b": (bands.percent_b, 0.5),
        "width": (bands.width, 0.0),
        "atr": (volatility.atr(x, x, x), 0.0),
        "mfi": (volume.mfi(x, x, x, v), 50.0),
        "obv_change": (volume.obv_change(x, v), 0.0),
        "cmf": (volume.cmf(x, x, x, v), 0.0),
        "adx": (strength.adx, 0.0),
        "plus_di": (strength.plus_di, 0.0),
        "minus_di": (strength.minus_di, 0.0),
        "aroon_up": (recency.up, 100.0),
        "aroon_down": (recency.down, 100.0),
        "aroon": (recency.oscillator, 0.0),
        "sma": (averages.sma(x), pytest.approx(price, rel=1e-15)),
    }
    assert {k: float(out[-1]) for k, (out, _) in last.items()} == {
        k: expected for k, (_, expected) in last.items()
    }


def test_nothing_traded_is_neutral_and_has_no_vwap() -> None:
    bars = made_bars(60, 11)
    none = np.zeros(60)
    assert volume.mfi(*hlc(bars), none)[-1] == 50.0
    assert volume.cmf(*hlc(bars), none)[-1] == 0.0
    assert volume.obv_change(bars["close"], none)[-1] == 0.0
    assert np.isnan(volume.vwap(*hlc(bars), none, session=np.zeros(60, dtype=np.int64))).all()


def test_typical_prices_that_differ_by_rounding_alone_are_equal() -> None:
    high, low = np.array([1.11809, 1.11832, 1.2]), np.array([1.1173, 1.11715, 1.2])
    close = np.array([1.11783, 1.11775, 1.2])
    assert (high[0] + low[0] + close[0]) != (high[1] + low[1] + close[1])
    out = volume.mfi(high, low, close, np.array([1.0, 1.0, 0.0]), period=1)
    np.testing.assert_array_equal(out, [np.nan, 50.0, 50.0])


def test_vwap_begins_anew_with_the_session_even_if_its_first_bar_is_missing() -> None:
    x = np.array([1.0, 3.0, np.nan, 7.0, 9.0])
    out = volume.vwap(x, x, x, np.ones(5), session=[1, 1, 2, 2, 2])
    np.testing.assert_array_equal(out, [1.0, 2.0, np.nan, 7.0, 8.0])


def test_a_price_of_zero_warns_of_nothing() -> None:
    x = np.zeros(40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(returns.roc(x, 3)).all()
        assert np.isnan(volatility.bollinger(x).width).all()
        assert np.isnan(returns.log_return(x)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: averages.sma(x, 0), "period: expected >= 1, was 0"),
        (lambda x: averages.ema(x, -3), "period: expected >= 1, was -3"),
        (lambda x: averages.wma(x, 0), "period: expected >= 1, was 0"),
        (lambda x: averages.hma(x, 1), "period: expected >= 2, was 1"),
        (lambda x: returns.roc(x, 0), "period: expected >= 1, was 0"),
        (lambda x: momentum.rsi(x, 0), "period: expected >= 1, was 0"),
        (lambda x: momentum.macd(x, 0), "fast: expected >= 1, was 0"),
        (lambda x: momentum.macd(x, 26, 26), "slow: expected >= 27, was 26"),
        (lambda x: momentum.macd(x, 3, 5, 0), "signal: expected >= 1, was 0"),
        (lambda x: momentum.stochastic(x, x, x, k_period=0), "k_period: expected >= 1, was 0"),
        (lambda x: momentum.stochastic(x, x, x, d_period=0), "d_period: expected >= 1, was 0"),
        (lambda x: momentum.williams_r(x, x, x, period=0), "period: expected >= 1, was 0"),
        (lambda x: momentum.cci(x, x, x, period=0), "period: expected >= 1, was 0"),
        (lambda x: volatility.atr(x, x, x, period=0), "period: expected >= 1, was 0"),
        (lambda x: volatility.bollinger(x, 0), "period: expected >= 1, was 0"),
        (lambda x: volatility.bollinger(x, 5, width=0.0), "width: expected > 0, was 0.0"),
        (lambda x: volume.mfi(x, x, x, x, period=0), "period: expected >= 1, was 0"),
        (lambda x: volume.obv_change(x, x, 0), "period: expected >= 1, was 0"),
        (lambda x: volume.cmf(x, x, x, x, period=0), "period: expected >= 1, was 0"),
        (lambda x: trend.adx(x, x, x, period=0), "period: expected >= 1, was 0"),
        (lambda x: trend.aroon(x, x, 0), "period: expected >= 1, was 0"),
        (lambda x: averages.sma([x, x], 2), r"x: expected shape \(n,\)"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call([1.0, 2.0, 3.0])
