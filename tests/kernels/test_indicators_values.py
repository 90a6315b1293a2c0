"""Indicator values: against slow twins, against TA-Lib, on real bars, and on awkward ones."""

import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from kernels import averages, momentum, oscillators, returns, trend, volatility, volume
from kernels.registry import STATEFUL_KERNELS
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
    "cutler_rsi": (
        1,
        lambda b, p: momentum.rsi(b["close"], p, method="cutler"),
        lambda b, p: naive.cutler_rsi(b["close"], p),
    ),
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
    "bollinger_bands": (
        1,
        lambda b, p: volatility.bollinger_bands(b["close"], p, width=1.5),
        lambda b, p: naive.bollinger(b["close"], p, 1.5)[:3],
    ),
    "atr": (
        1,
        lambda b, p: volatility.atr(*hlc(b), period=p),
        lambda b, p: naive.atr(*hlc(b), p),
    ),
    "stochastic": (
        1,
        lambda b, p: oscillators.stochastic(*hlc(b), k_period=p, k_slowing=3, d_period=2),
        lambda b, p: naive.stochastic(*hlc(b), (p, 3, 2)),
    ),
    "williams_r": (
        1,
        lambda b, p: oscillators.williams_r(*hlc(b), period=p),
        lambda b, p: naive.williams_r(*hlc(b), p),
    ),
    "cci": (1, lambda b, p: oscillators.cci(*hlc(b), period=p), lambda b, p: naive.cci(*hlc(b), p)),
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
        lambda b, p: averages.vwap(*hlc(b), b["volume"], session=ids(b, p)),
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
        lambda b, p: tuple(oscillators.stochastic(*hlc(b), k_period=p, k_slowing=3, d_period=5)),
        lambda b, p: talib.STOCH(*hlc(b), p, 3, 0, 5, 0),
    ),
    "WILLR": (
        lambda b, p: oscillators.williams_r(*hlc(b), period=p),
        lambda b, p: talib.WILLR(*hlc(b), p),
    ),
    "CCI": (
        lambda b, p: oscillators.cci(*hlc(b), period=p),
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


HOT: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[str, ...]]] = {
    "sma": (averages.sma, talib.SMA, ("close",)),
    "ema": (averages.ema, talib.EMA, ("close",)),
    "rsi": (momentum.rsi, talib.RSI, ("close",)),
    "macd": (
        lambda x, p, **k: momentum.macd(x, p, 2 * p, p, **k),
        lambda x, p: talib.MACD(x, p, 2 * p, p),
        ("close",),
    ),
    "bollinger_bands": (
        volatility.bollinger_bands,
        lambda x, p: talib.BBANDS(x, p)[::-1],
        ("close",),
    ),
    "atr": (
        lambda h, lo, c, p, **k: volatility.atr(h, lo, c, period=p, **k),
        talib.ATR,
        ("high", "low", "close"),
    ),
    "obv": (
        lambda c, v, _, **k: volume.obv(c, v, **k),
        lambda c, v, _: talib.OBV(c, v),
        ("close", "volume"),
    ),
    "mfi": (
        lambda h, lo, c, v, p, **k: volume.mfi(h, lo, c, v, period=p, **k),
        talib.MFI,
        ("high", "low", "close", "volume"),
    ),
}


@pytest.mark.parametrize("name", HOT)
@pytest.mark.parametrize("period", [2, 3, 7, 14, 20, 33, 200, 499])
def test_equals_talib_over_many_blocks(name: str, period: int) -> None:
    ours, theirs, columns = HOT[name]
    bars = made_bars(10_000, period)
    given = [bars[c] for c in columns]
    scale = max(np.abs(x).max() for x in given)
    for g, e in zip(lines(ours(*given, period)), lines(theirs(*given, period)), strict=True):
        np.testing.assert_array_equal(np.isnan(g), np.isnan(e))
        assert (np.abs(g - e) <= 1e-12 * np.maximum(np.abs(e), scale))[~np.isnan(e)].all()


@pytest.mark.parametrize("name", HOT)
def test_writes_where_it_is_told(name: str) -> None:
    ours, _, columns = HOT[name]
    given = [made_bars(3_000, 1)[c] for c in columns]
    expected = lines(ours(*given, 14))
    mine = tuple(np.full(3_000, 7.0) for _ in expected)
    got = lines(ours(*given, 14, out=mine if len(mine) > 1 else mine[0]))
    assert all(g is m for g, m in zip(got, mine, strict=True))
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_array_equal(g, e)


def test_refuses_to_write_where_it_cannot() -> None:
    x = made_bars(50, 2)["close"]
    frozen = np.empty(50)
    frozen.flags.writeable = False
    for out, message in (
        (np.empty(49), r"out: expected writeable, contiguous float64 of shape \(50,\)"),
        (np.empty(50, np.float32), "out: expected writeable, contiguous float64"),
        (np.empty(100)[::2], "out: expected writeable, contiguous float64"),
        (frozen, "out: expected writeable, contiguous float64"),
        (x, "out: expected memory of its own"),
        (np.concatenate([x, x])[:50], None),
    ):
        if message is None:
            averages.sma(x, 20, out=out)
            continue
        with pytest.raises(ValueError, match=message):
            averages.sma(x, 20, out=out)
    with pytest.raises(ValueError, match="out: expected 3 arrays, was 2"):
        momentum.macd(x, out=(np.empty(50), np.empty(50)))
    same = np.empty(50)
    with pytest.raises(ValueError, match="out: expected memory of its own"):
        momentum.macd(x, out=(same, np.empty(50), same))


@pytest.mark.parametrize("kernel", STATEFUL_KERNELS, ids=lambda k: k.name)
def test_any_numbers_give_what_their_float64_gives(kernel: Any) -> None:
    whole = {**made_bars(400, 3), "session": np.arange(400) // 50}
    whole = {
        k: np.round(v * 1000) if k in {"high", "low", "close"} else v for k, v in whole.items()
    }
    whole["open"] = whole["close"]
    expected = kernel.run(whole)
    read_only = {k: v.copy() for k, v in whole.items()}
    for v in read_only.values():
        v.flags.writeable = False
    for given in (
        {k: v.astype(np.float32) for k, v in whole.items()},
        {k: v.astype(np.int64) for k, v in whole.items()},
        {k: v.astype(">f8") for k, v in whole.items()},
        {k: np.repeat(v, 3)[::3] for k, v in whole.items()},
        {k: v[::-1].copy()[::-1] for k, v in whole.items()},
        {k: v.tolist() for k, v in whole.items()},
        read_only,
    ):
        for g, e in zip(kernel.run(given), expected, strict=True):
            np.testing.assert_array_equal(g, e)


@pytest.mark.parametrize(("price", "step"), [(1e2, 0.5), (1e5, 0.5), (1e5, 0.01), (1e6, 0.01)])
@pytest.mark.parametrize("period", [5, 14, 20, 33, 200])
def test_bollinger_keeps_its_digits_where_the_price_is_large(
    price: float, step: float, period: int
) -> None:
    close = price + np.cumsum(np.random.default_rng(9).normal(0.0, step, 2_500))
    bands = volatility.bollinger(close, period)
    for i in (period - 1, 1_024 + period, 2_499):
        window = [Fraction(float(v)) for v in close[i + 1 - period : i + 1]]
        mean = sum(window) / period
        sigma = float(sum((v - mean) ** 2 for v in window) / period) ** 0.5
        assert bands.sigma[i] == pytest.approx(sigma, rel=1e-12)
        assert bands.width[i] == pytest.approx(4 * sigma / float(mean), rel=1e-12)
        percent = 0.5 + float(window[-1] - mean) / (4 * sigma)
        assert bands.percent_b[i] == pytest.approx(percent, rel=1e-12, abs=1e-12)
        assert bands.middle[i] == pytest.approx(float(mean), rel=1e-15)


def test_a_spike_leaves_no_trace_once_it_is_out() -> None:
    close = 1.0 + np.random.default_rng(10).random(300)
    spiked = close.copy()
    spiked[50] = 1e12
    for kernel in (averages.sma, averages.wma, averages.hma):
        np.testing.assert_array_equal(kernel(spiked, 20)[80:], kernel(close, 20)[80:])
    exact = float(sum(Fraction(float(v)) for v in close[270:290]) / 20)
    assert averages.sma(spiked, 20)[289] == pytest.approx(exact, rel=1e-15)
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
        "stochastic": (oscillators.stochastic(x, x, x).d, pytest.approx(50.0, rel=1e-15)),
        "williams_r": (oscillators.williams_r(x, x, x), -50.0),
        "cci": (oscillators.cci(x, x, x), 0.0),
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


def test_a_constant_series_stays_in_the_middle_after_it_has_moved() -> None:
    x = np.concatenate([made_bars(60, 12)["close"], np.full(60, 1.25)])
    v = np.full(120, 7.0)
    bands = volatility.bollinger(x)
    assert (bands.sigma[80:] == 0.0).all()
    assert (bands.percent_b[80:] == 0.5).all()
    assert (momentum.rsi(x, method="cutler")[75:] == 50.0).all()
    assert (volume.mfi(x, x, x, v)[75:] == 50.0).all()
    assert (volume.obv(x, v)[60:] == volume.obv(x, v)[60]).all()


def test_volume_without_a_move_leaves_the_balance_to_the_bit() -> None:
    rng = np.random.default_rng(13)
    close, amount = np.round(rng.normal(100.0, 0.1, 5_000), 1), rng.random(5_000)
    balance = volume.obv(close, amount)
    still = np.flatnonzero(np.diff(close) == 0.0)
    assert still.size > 500
    np.testing.assert_array_equal(balance[still], balance[still + 1])


WITH_PERIOD = [k for k in STATEFUL_KERNELS if "period" in {p.name for p in k.parameters}]


@pytest.mark.parametrize("kernel", WITH_PERIOD, ids=lambda k: k.name)
def test_a_period_longer_than_the_series_gives_nothing(kernel: Any) -> None:
    bars = {**made_bars(30, 4), "open": made_bars(30, 4)["close"]}
    out = kernel.run(bars, period=100)
    assert all(np.isnan(x).all() for x in out)


@pytest.mark.parametrize("period", [5_000, 9_999])
def test_a_window_may_be_longer_than_a_block(period: int) -> None:
    bars = made_bars(10_100, 5)
    x = bars["close"]
    for i in (period - 1, period, 10_099):
        window = x[i + 1 - period : i + 1]
        assert averages.sma(x, period)[i] == pytest.approx(window.mean(), rel=1e-13)
        assert volatility.bollinger(x, period).sigma[i] == pytest.approx(window.std(), rel=1e-11)
        weights = np.arange(1.0, period + 1)
        assert averages.wma(x, period)[i] == pytest.approx(np.average(window, weights=weights))
    assert_close(
        volume.mfi(*hlc(bars), bars["volume"], period=period),
        talib.MFI(*hlc(bars), bars["volume"], period),
    )


def test_nothing_traded_is_neutral_and_has_no_vwap() -> None:
    bars = made_bars(60, 11)
    none = np.zeros(60)
    assert volume.mfi(*hlc(bars), none)[-1] == 50.0
    assert volume.cmf(*hlc(bars), none)[-1] == 0.0
    assert volume.obv_change(bars["close"], none)[-1] == 0.0
    assert np.isnan(averages.vwap(*hlc(bars), none, session=np.zeros(60, dtype=np.int64))).all()


def test_typical_prices_that_differ_by_rounding_alone_are_equal() -> None:
    high, low = np.array([1.11809, 1.11832, 1.2]), np.array([1.1173, 1.11715, 1.2])
    close = np.array([1.11783, 1.11775, 1.2])
    assert (high[0] + low[0] + close[0]) != (high[1] + low[1] + close[1])
    out = volume.mfi(high, low, close, np.array([1.0, 1.0, 0.0]), period=1)
    np.testing.assert_array_equal(out, [np.nan, 50.0, 50.0])


def test_vwap_begins_anew_with_the_session_even_if_its_first_bar_is_missing() -> None:
    x = np.array([1.0, 3.0, np.nan, 7.0, 9.0])
    out = averages.vwap(x, x, x, np.ones(5), session=[1, 1, 2, 2, 2])
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
        (lambda x: oscillators.stochastic(x, x, x, k_period=0), "k_period: expected >= 1, was 0"),
        (lambda x: oscillators.stochastic(x, x, x, d_period=0), "d_period: expected >= 1, was 0"),
        (lambda x: oscillators.williams_r(x, x, x, period=0), "period: expected >= 1, was 0"),
        (lambda x: oscillators.cci(x, x, x, period=0), "period: expected >= 1, was 0"),
        (lambda x: volatility.atr(x, x, x, period=0), "period: expected >= 1, was 0"),
        (lambda x: volatility.bollinger(x, 0), "period: expected >= 1, was 0"),
        (lambda x: volatility.bollinger(x, 5, width=0.0), "width: expected > 0, was 0.0"),
        (lambda x: volume.mfi(x, x, x, x, period=0), "period: expected >= 1, was 0"),
        (lambda x: volume.obv_change(x, x, 0), "period: expected >= 1, was 0"),
        (lambda x: volume.cmf(x, x, x, x, period=0), "period: expected >= 1, was 0"),
        (lambda x: trend.adx(x, x, x, period=0), "period: expected >= 1, was 0"),
        (lambda x: trend.aroon(x, x, 0), "period: expected >= 1, was 0"),
        (lambda x: averages.sma([x, x], 2), r"x: expected shape \(n,\)"),
        (lambda x: momentum.rsi(x, 2, method="simple"), 'method: expected "wilder" or "cutler"'),
        (lambda x: momentum.rsi(x, 0, method="cutler"), "period: expected >= 1, was 0"),
        (lambda x: volatility.bollinger_bands(x, 5, width=float("inf")), "width: expected > 0"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call([1.0, 2.0, 3.0])
