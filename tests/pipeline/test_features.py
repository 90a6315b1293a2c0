"""Features as a stage: the same however candles are cut, blind to the future, and never NaN."""

import datetime as dt
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.volatility import atr
from market.errors import InputError, MalformedBarsError, SchemaError
from market.instruments import Instrument
from market.tables import CANDLES, FEATURE_LIST, FEATURES, INSTANT
from market.timeframes import Timeframe
from pipeline import candles as candle_stage
from pipeline import features, levels
from tests.naive import indicators as naive

HOUR = 3_600_000_000
START = int(dt.datetime(2017, 3, 6, tzinfo=dt.UTC).timestamp()) * 1_000_000  # a Monday
COIN = Instrument("COIN", "crypto", "crypto", "none", "COIN", Timeframe.H1, 0.01, 1.0)
PAIR = Instrument("PAIR", "fx", "fx", "none", "PAIR", Timeframe.H1, 1e-5, 1.0)
NAMES = [f.name for f in FEATURE_LIST]
Extend = Callable[[pl.DataFrame], pl.DataFrame]


def made_candles(n: int, seed: int, no_volume: float = 0.0, step: float = 0.002) -> pl.DataFrame:
    """Return hourly candles of a random walk, some without volume."""
    rng = np.random.default_rng(seed)
    path = 100.0 * np.exp(np.cumsum(rng.normal(0.0, step, (n, 4)).ravel())).reshape(n, 4)
    volume = np.where(rng.random(n) < no_volume, np.nan, np.round(rng.exponential(50.0, n)) + 1.0)
    ts = pl.Series(START + HOUR * np.arange(n)).cast(INSTANT)
    frame = pl.DataFrame(
        {
            "ts": ts,
            "open": path[:, 0],
            "high": path.max(axis=1, initial=0.0),
            "low": path.min(axis=1, initial=np.inf),
            "close": path[:, -1],
            "volume": pl.Series(volume, nan_to_null=True, dtype=pl.Float64),
        }
    ).with_columns(
        instrument=pl.lit("COIN"),
        timeframe=pl.lit("H1"),
        n_missing=pl.lit(0, dtype=pl.Int32),
        complete=pl.lit(value=True),
        source=pl.lit("made"),
        known_at=pl.col("ts").dt.offset_by("1h"),
    )
    return CANDLES.conform(frame)


def context_of(candles: pl.DataFrame) -> pl.DataFrame:
    out = levels.extend(levels.initial(), candles, instrument=COIN, timeframe=Timeframe.H1)
    return out.context


def run(
    candles: pl.DataFrame, context: pl.DataFrame | None = None, state: Any = None
) -> features.Extended:
    return features.extend(
        features.initial() if state is None else state,
        candles,
        context_of(candles) if context is None else context,
        instrument=COIN,
        timeframe=Timeframe.H1,
    )


def rows_of(candles: pl.DataFrame) -> pl.DataFrame:
    return run(candles).rows


def column(rows: pl.DataFrame, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return rows[name].fill_null(np.nan).to_numpy()


def bits(state: Any) -> dict[str, bytes]:
    return {k: np.where(np.isnan(v), np.nan, v).tobytes() for k, v in state.items()}


CANDLES_OF_ANY_KIND = st.builds(
    made_candles,
    st.integers(0, 130),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.sampled_from([0.002, 0.0]),
)


def test_every_feature_of_the_list_is_computed_and_no_other() -> None:
    rows = rows_of(made_candles(60, 0))
    assert rows.schema == FEATURES.schema
    assert rows.columns == list(FEATURES.schema)


@settings(max_examples=30, deadline=None)
@given(candles=CANDLES_OF_ANY_KIND, data=st.data())
def test_equal_bit_by_bit_however_candles_are_cut(
    candles: pl.DataFrame, data: st.DataObject
) -> None:
    context = context_of(candles)
    whole = run(candles, context)
    cuts = sorted(data.draw(st.lists(st.integers(0, candles.height), max_size=6)))
    state: Any = features.initial()
    parts = []
    for start, end in zip([0, *cuts], [*cuts, candles.height], strict=True):
        before = bits(state)
        piece = run(candles[start:end], context[start:end], state)
        assert bits(state) == before  # the caller's state is left alone
        state = piece.state
        parts.append(piece.rows)
    assert pl.concat(parts).equals(whole.rows, null_equal=True)
    assert bits(state) == bits(whole.state)


def future_matters(extend: Extend, candles: pl.DataFrame, other: pl.DataFrame) -> bool:
    """Return whether rows known by a cut differ once what follows is removed, or replaced."""
    whole = extend(candles)
    for cut in range(60, candles.height - 1, 17):
        replaced = pl.concat([candles[:cut], other[cut:]])
        for given_candles in (candles[:cut], replaced):
            if not extend(given_candles)[:cut].equals(whole[:cut], null_equal=True):
                return True
    return False


@pytest.mark.parametrize("seed", range(3))
def test_the_future_changes_nothing(seed: int) -> None:
    candles, other = made_candles(150, seed, 0.05), made_candles(150, seed + 100)
    assert not future_matters(rows_of, candles, other)


def shifted_close(candles: pl.DataFrame) -> pl.DataFrame:
    ahead = pl.col("close").shift(-1).fill_null(pl.col("close"))
    return run(candles.with_columns(close=ahead), context_of(candles)).rows


def context_of_the_next_bar(candles: pl.DataFrame) -> pl.DataFrame:
    context = context_of(candles)
    ahead = context.drop("ts").shift(-1).with_columns(context["ts"])
    return run(candles, ahead).rows


def scaled_over_everything(candles: pl.DataFrame) -> pl.DataFrame:
    rows = rows_of(candles)
    x = pl.col("rsi_14")
    return rows.with_columns((x - x.mean()) / x.std())


def centred_average(candles: pl.DataFrame) -> pl.DataFrame:
    centred = pl.col("sma_ratio_20").rolling_mean(5, center=True)
    return rows_of(candles).with_columns(centred)


@pytest.mark.parametrize(
    "leak", [shifted_close, context_of_the_next_bar, scaled_over_everything, centred_average]
)
def test_a_planted_leak_is_caught(leak: Extend) -> None:
    assert future_matters(leak, made_candles(150, 0), made_candles(150, 100))


@settings(max_examples=30, deadline=None)
@given(candles=CANDLES_OF_ANY_KIND)
def test_no_column_holds_nan_or_infinity_and_every_null_has_a_reason(
    candles: pl.DataFrame,
) -> None:
    out = run(candles)
    for name in NAMES:
        values = out.rows[name]
        assert values.dtype == pl.Float64
        assert values.drop_nulls().is_finite().all()
        assert (values.null_count() > 0) == (name in out.null_reasons)


def test_warm_up_is_as_long_as_the_list_says() -> None:
    candles = made_candles(200, 1)
    out = run(candles)
    for feature in FEATURE_LIST:
        known = np.flatnonzero(out.rows[feature.name].is_not_null())
        if feature.kernel == "levels":  # there may be none
            assert known[0] >= feature.lookback_bars
            continue
        assert known[0] == feature.lookback_bars, feature.name
        assert known.size == 200 - feature.lookback_bars, feature.name
        if (n := feature.lookback_bars) > 0:
            assert out.null_reasons[feature.name] == f"warm-up, {n} bars: {n} of 200 bars"


def test_warm_up_is_not_repeated_in_the_next_month() -> None:
    candles = made_candles(400, 2)
    context = context_of(candles)
    second = run(candles[200:], context[200:], run(candles[:200], context[:200]).state)
    known = [f.name for f in FEATURE_LIST if f.kernel != "levels"]
    assert second.rows.select(known).null_count().row(0) == (0,) * len(known)
    assert not set(known) & set(second.null_reasons)


def test_a_source_without_volume_has_no_volume_features_and_says_why() -> None:
    out = run(made_candles(80, 3, no_volume=1.0))
    rows = rows_of(made_candles(80, 3))
    for feature in FEATURE_LIST:
        if feature.needs_volume:
            assert out.rows[feature.name].null_count() == 80
            reason = "volume is null in the source: 80 of 80 bars"
            assert out.null_reasons[feature.name] == reason
        else:
            assert out.rows[feature.name].equals(rows[feature.name], null_equal=True)
            assert "volume" not in out.null_reasons.get(feature.name, "")


def test_one_bar_without_volume_is_null_while_a_window_sees_it() -> None:
    candles = made_candles(120, 4)
    holed = candles.with_columns(
        volume=pl.when(pl.int_range(pl.len()) == 60).then(None).otherwise(pl.col("volume"))
    )
    out = run(holed)
    assert out.rows["mfi_14"].is_null().arg_true().to_list() == [*range(14), *range(60, 74)]
    assert out.rows["vwap_ratio"].is_null().arg_true().to_list() == [60]
    assert out.null_reasons["vwap_ratio"] == "volume is null in the source: 1 of 120 bars"
    assert out.null_reasons["cmf_20"] == (
        "volume is null in the source: 1 of 120 bars; warm-up, 19 bars: 19 of 120 bars"
    )
    context = context_of(holed)
    second = run(holed[61:], context[61:], run(holed[:61], context[:61]).state)
    assert second.null_reasons["cmf_20"] == (
        "nothing traded, or volume null in bars before these: 19 of 59 bars"
    )


def test_a_market_that_does_not_move_has_nulls_with_a_reason() -> None:
    out = run(made_candles(100, 5, step=0.0))
    assert out.rows["rsi_14"][-1] == 50.0
    assert out.rows["bollinger_percent_b_20"][-1] == 0.5
    for name in ("haar_detail_1", "haar_share_1", "haar_entropy", "macd_histogram_atr"):
        assert out.rows[name].null_count() == 100
        assert "nothing moved" in out.null_reasons[name]


def test_incomplete_candles_feed_nothing() -> None:
    candles = made_candles(100, 6)
    out = run(candles.with_columns(complete=pl.int_range(pl.len()) < 90))
    assert out.rows.equals(rows_of(candles[:90]), null_equal=True)
    assert bits(out.state) == bits(run(candles[:90]).state)


def test_no_candles_leave_the_state_as_it_was() -> None:
    out = run(made_candles(0, 0))
    assert out.rows.equals(FEATURES.empty())
    assert bits(out.state) == bits(features.initial())
    assert not out.null_reasons


def test_values_are_the_indicators_made_free_of_scale() -> None:
    candles = made_candles(120, 7)
    rows, context = rows_of(candles), context_of(candles)
    close = candles["close"].to_numpy()
    average_range = column(context, "atr")
    hist = np.array(naive.macd(close.tolist(), 12, 26, 9)[2])
    x = np.log(close)
    high, low, last, volume = (candles[c].to_list() for c in ("high", "low", "close", "volume"))
    days = [i // 24 for i in range(120)]
    expected = {
        "log_return_1": np.diff(x, prepend=np.nan),
        "sma_ratio_20": close / naive.sma(close.tolist(), 20) - 1,
        "ema_ratio_50": close / naive.ema(close.tolist(), 50) - 1,
        "hma_ratio_20": close / naive.hma(close.tolist(), 20) - 1,
        "atr_ratio_14": np.array(naive.atr(high, low, last, 14)) / close,
        "macd_histogram_atr": hist / average_range,
        "haar_detail_1": np.diff(x, prepend=np.nan) / 2 / (average_range / close),
        "resistance_distance_atr": (column(context, "resistance") - close) / average_range,
        "support_distance_atr": (close - column(context, "support")) / average_range,
        "resistance_age_bars": column(context, "resistance_age"),
        "support_touches": column(context, "support_touches"),
        "mfi_14": naive.mfi(high, low, last, volume, 14),
        "vwap_ratio": close / naive.vwap(high, low, last, volume, days) - 1,
    }
    for name, wanted in expected.items():
        np.testing.assert_allclose(column(rows, name), wanted, rtol=1e-9, atol=1e-12, err_msg=name)
    fit = np.polyfit(np.arange(32), [x[t - 15 : t + 1].mean() for t in range(88, 120)], 1)
    assert rows["haar_trend_slope"][-1] == pytest.approx(
        fit[0] / (average_range[-1] / close[-1]), rel=1e-6
    )


def test_the_levels_atr_is_the_indicator() -> None:
    candles = made_candles(120, 7)
    high, low, close = (candles[c].to_numpy() for c in ("high", "low", "close"))
    np.testing.assert_array_equal(column(context_of(candles), "atr"), atr(high, low, close))


def test_barrier_distances_lie_between_the_least_distance_and_the_band() -> None:
    rows = rows_of(made_candles(300, 8))
    for side in ("upper", "lower"):
        distance = rows[f"{side}_barrier_distance_atr"].drop_nulls().to_numpy()
        assert distance.min() >= 0.25 - 1e-9
        assert distance.max() <= 2.0 + 1e-9
        assert (distance < 1.99).any()


def test_clock_features_are_of_the_close_in_utc() -> None:
    rows = rows_of(made_candles(200, 9))
    names = ("known_at", "hour_sin", "hour_cos", "weekday_sin", "weekday_cos")
    for ts, *got in rows.select(names).iter_rows():
        hour, day = 2 * math.pi * ts.hour / 24, 2 * math.pi * ts.weekday() / 7
        expected = [math.sin(hour), math.cos(hour), math.sin(day), math.cos(day)]
        assert got == pytest.approx(expected, abs=1e-12)
    assert rows["known_at"][0] == dt.datetime(2017, 3, 6, 1, tzinfo=dt.UTC)


def test_vwap_begins_anew_with_the_session_across_daylight_saving() -> None:
    candles = made_candles(24 * 4, 10).with_columns(
        ts=pl.col("ts") + pl.duration(days=3),  # Thursday to Monday: the clocks change on Sunday
        known_at=pl.col("known_at") + pl.duration(days=3),
        instrument=pl.lit("PAIR"),
    )
    closes = dt.datetime(2017, 3, 10, 22, tzinfo=dt.UTC)
    opens = dt.datetime(2017, 3, 12, 21, tzinfo=dt.UTC)
    candles = candles.filter((pl.col("ts") < closes) | (pl.col("ts") >= opens))
    out = levels.extend(levels.initial(), candles, instrument=PAIR, timeframe="H1")
    rows = features.extend(
        features.initial(), candles, out.context, instrument=PAIR, timeframe="H1"
    ).rows
    typical = ((candles["high"] + candles["low"] + candles["close"]) / 3).to_numpy()
    at_typical = candles["close"].to_numpy() / typical - 1
    begins = np.isclose(column(rows, "vwap_ratio"), at_typical, rtol=0, atol=1e-15)
    assert candles["ts"].filter(begins).dt.strftime("%a %H").to_list() == [
        "Thu 00",  # the first bar there is
        "Thu 22",  # 17:00 in New York in winter
        "Sun 21",  # and in summer
    ]


def test_scaled_prices_keep_every_feature() -> None:
    candles = made_candles(150, 11)
    scaled = candles.with_columns(pl.col("open", "high", "low", "close") * 1000.0)
    wanted, got = rows_of(candles), rows_of(scaled)
    for n in NAMES:
        np.testing.assert_allclose(column(got, n), column(wanted, n), 1e-7, 1e-9, err_msg=n)


def test_the_state_is_small_and_of_plain_arrays() -> None:
    state = run(made_candles(100, 12)).state
    assert sum(v.nbytes for v in state.values()) < 8_000
    assert {v.dtype for v in state.values()} <= {np.dtype(np.float64), np.dtype(np.int64)}


def test_a_state_that_is_not_ours_is_refused() -> None:
    candles = made_candles(5, 13)
    with pytest.raises(InputError, match=r"state: expected a state of features, .* differs in rsi"):
        run(candles, state={k: v for k, v in features.initial().items() if k != "rsi"})
    with pytest.raises(InputError, match="state sma: expected float64 of shape"):
        run(candles, state={**features.initial(), "sma": np.zeros(3)})


def test_candles_that_do_not_come_after_the_state_are_refused() -> None:
    candles = made_candles(30, 14)
    context = context_of(candles)
    state = run(candles[:20], context[:20]).state
    with pytest.raises(MalformedBarsError, match=r"candles.ts: expected after the bar before it"):
        run(candles[19:], context[19:], state)
    with pytest.raises(MalformedBarsError, match="2017-03-06 05:00"):
        run(pl.concat([candles[:6], candles[5:]]), context)


def test_candles_and_context_must_be_of_the_same_bars() -> None:
    candles = made_candles(30, 15)
    context = context_of(candles)
    with pytest.raises(InputError, match=r"context: expected one row for each of 30"):
        run(candles, context[1:])
    with pytest.raises(SchemaError, match=r"context.support_age: expected a column, was missing"):
        run(candles, context.drop("support_age"))
    with pytest.raises(InputError, match=r"candles.instrument: expected COIN, was OTHER"):
        run(candles.with_columns(instrument=pl.lit("OTHER")), context)
    with pytest.raises(InputError, match=r"candles.timeframe: expected H1, was H4"):
        run(candles.with_columns(timeframe=pl.lit("H4")), context)


def test_a_year_of_real_euros(shared_data: Path) -> None:
    path = shared_data / "ohlcv" / "EURUSD_1h_backtestingpy_2017-2018.parquet"
    raw = pl.read_parquet(path).with_columns(source=pl.lit("sample"))
    euro = Instrument("EURUSD", "fx", "fx", "sample", "EURUSD", Timeframe.H1, 1e-5, 1.0)
    for timeframe in (Timeframe.H1, Timeframe.H4, Timeframe.D, Timeframe.W):
        built = candle_stage.build(raw, instrument=euro, timeframe=timeframe, watermark_us=2**60)
        near = levels.extend(levels.initial(), built.rows, instrument=euro, timeframe=timeframe)
        out = features.extend(
            features.initial(), built.rows, near.context, instrument=euro, timeframe=timeframe
        )
        assert out.rows.height == built.rows.height
        for feature in FEATURE_LIST:
            known = out.rows[feature.name].is_not_null()
            if feature.kernel != "levels":
                wanted = max(0, out.rows.height - feature.lookback_bars)
                assert known.sum() == wanted, (timeframe, feature.name)
