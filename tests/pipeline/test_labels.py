"""Labels: the golden example, maturity and gaps, and the origin's bugs."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from market.calendars import calendar_for
from market.errors import InputError, MalformedBarsError
from market.tables import INSTANT, LABELS
from market.timeframes import MICROSECONDS_PER_DAY, Timeframe
from pipeline import candles, labels, levels
from pipeline.label_outcomes import SERIES_COLUMNS
from pipeline.labels import LabelConfig
from tests.pipeline.label_cases import (
    END,
    HOUR,
    OUTCOMES,
    PATH,
    RAW_START,
    START_US,
    T_C,
    candle,
    context,
    flat_path,
    instrument,
    one,
    random_raw,
    us,
    with_bar,
)

# --- the golden example -------------------------------------------------------------------------


def test_golden_example_has_its_barriers() -> None:
    row = one(PATH)
    assert row["upper_barrier"] == pytest.approx(1.09875, abs=1e-12)
    assert row["lower_barrier"] == pytest.approx(1.09225, abs=1e-12)
    assert (row["is_upper_adjusted"], row["is_lower_adjusted"]) == (True, True)
    assert (row["support_level_id"], row["resistance_level_id"]) == ("S", "R")
    assert row["nearest_level_distance"] == pytest.approx(1.0)
    assert (row["entry_price"], row["atr"]) == (1.0965, 0.0025)


def test_golden_example_without_a_path_is_pending_with_barriers() -> None:
    row = one(PATH[:0], watermark_us=T_C)
    assert row["status"] == "pending"
    assert row["upper_barrier"] == pytest.approx(1.09875)
    assert all(row[name] is None for name in OUTCOMES)
    assert (row["path_bars"], row["path_bars_missing"]) == (0, 0)


def test_the_upper_barrier_touched_is_plus_one_at_the_end_of_its_path_bar() -> None:
    row = one(with_bar(PATH, 9, high=1.0990))
    assert (row["enhanced_triple_barrier"], row["barrier_hit"]) == (1, "upper")
    assert us(row["t1"]) == T_C + 10 * HOUR
    assert (row["time_to_barrier_bars"], row["time_to_barrier_path_bars"]) == (3, 10)
    assert row["label_unadjusted"] == 0  # 1.0990 does not reach 1.1015
    assert (row["label_if_long"], row["label_if_short"], row["is_ambiguous"]) == (1, 1, False)


def test_the_lower_barrier_touched_is_minus_one() -> None:
    row = one(with_bar(PATH, 0, low=1.0900))
    assert (row["enhanced_triple_barrier"], row["label_unadjusted"]) == (-1, -1)
    assert (row["time_to_barrier_bars"], row["time_to_barrier_path_bars"]) == (1, 1)


def test_no_touch_is_zero_at_the_end_of_the_horizon() -> None:
    row = one(PATH)
    assert (row["enhanced_triple_barrier"], row["barrier_hit"]) == (0, "none")
    assert (us(row["t1"]), us(row["known_at"]), us(row["matured_at"])) == (END, END, END)
    assert (row["time_to_barrier_bars"], row["time_to_barrier_path_bars"]) == (6, 24)
    assert (row["path_bars"], row["path_bars_missing"]) == (24, 0)


def test_returns_are_fractions_of_the_entry_and_scaled_by_atr_in_price_units() -> None:
    path = with_bar(with_bar(PATH, 23, close=1.0975), 5, high=1.0976, low=1.0960)
    row = one(path)
    assert row["forward_return"] == pytest.approx(0.0010 / 1.0965)
    assert row["return_sign"] == 1
    assert row["vol_scaled_return"] == pytest.approx(0.4)
    assert row["mfe"] == pytest.approx(0.0011 / 1.0965)
    assert row["mae"] == pytest.approx(-0.0005 / 1.0965)
    assert row["profit_factor"] == pytest.approx(2.2)
    far = one(with_bar(PATH, 23, close=1.3, high=1.3))
    assert far["vol_scaled_return"] == 10.0


def test_without_a_series_what_only_a_series_can_tell_is_null() -> None:
    row = one(with_bar(PATH, 9, high=1.0990))
    assert all(row[name] is None for name in (*SERIES_COLUMNS, "meta_label"))
    assert set(row) == set(LABELS.schema)


# --- maturity -------------------------------------------------------------------------------------


@pytest.mark.parametrize("touched", [True, False])
def test_a_row_is_pending_to_the_last_microsecond_even_when_touched(*, touched: bool) -> None:
    path = with_bar(PATH, 0, high=1.2) if touched else PATH
    pending, final = one(path, watermark_us=END - 1), one(path, watermark_us=END)
    assert pending["status"] == "pending"
    assert all(pending[name] is None for name in OUTCOMES)
    assert (us(pending["known_at"]), final["status"]) == (END, "final")
    assert us(final["matured_at"]) == END
    assert final["enhanced_triple_barrier"] == int(touched)


def test_missing_bars_of_a_pending_row_are_those_whose_time_has_come() -> None:
    row = one(PATH[:2], watermark_us=T_C + 5 * HOUR)
    assert (row["status"], row["path_bars"], row["path_bars_missing"]) == ("pending", 2, 3)


def test_a_bar_without_any_path_before_the_touch_censors() -> None:
    hole = pl.concat([PATH[:4], PATH[8:]])  # the second H4 bar
    touched = with_bar(hole, 10, high=1.2)
    for path in (hole, touched):
        row = one(path)
        assert row["status"] == "censored"
        assert all(row[name] is None for name in OUTCOMES)
        assert (row["path_bars"], row["path_bars_missing"]) == (20, 4)


def test_a_bar_without_any_path_after_the_touch_does_not_censor() -> None:
    row = one(with_bar(pl.concat([PATH[:4], PATH[8:]]), 2, high=1.2))
    assert (row["status"], row["enhanced_triple_barrier"]) == ("final", 1)
    assert row["forward_return"] == pytest.approx(0.0)
    assert row["mfe"] is None  # the extreme of a path that was not all seen is not known
    early = with_bar(pl.concat([PATH[:8], PATH[12:]]), 2, high=1.0990)
    assert one(early)["enhanced_triple_barrier"] == 1
    assert one(early)["label_unadjusted"] is None  # untouched until a bar that nobody saw


def test_some_missing_path_bars_are_counted_and_do_not_censor() -> None:
    row = one(PATH.filter(pl.int_range(pl.len()) % 4 != 1))
    assert (row["status"], row["path_bars"], row["path_bars_missing"]) == ("final", 18, 6)
    assert row["enhanced_triple_barrier"] == 0
    assert row["time_to_barrier_path_bars"] == 18


def test_an_instrument_that_ceased_to_trade_censors_what_was_untouched() -> None:
    ended = T_C + 6 * HOUR
    path = PATH[:6]
    for watermark in (ended, END):
        row = one(path, ended_us=ended, watermark_us=watermark)
        assert (row["status"], row["enhanced_triple_barrier"]) == ("censored", None)
    touched = with_bar(path, 1, low=1.0)
    assert one(touched, ended_us=ended, watermark_us=ended)["status"] == "pending"
    row = one(touched, ended_us=ended, watermark_us=END)
    assert (row["status"], row["enhanced_triple_barrier"]) == ("final", -1)
    assert row["forward_return"] is None


def test_an_end_inside_the_last_bar_censors_too() -> None:
    ended = END - HOUR
    assert one(PATH[:23], ended_us=ended, watermark_us=END)["status"] == "censored"
    assert one(PATH[:23], watermark_us=END)["status"] == "final"


def test_without_atr_there_is_no_barrier_and_still_a_return() -> None:
    frame = candle()
    row = one(PATH, candles=frame, context=context(frame, atr=None))
    assert (row["status"], row["forward_return"]) == ("final", 0.0)
    for name in (
        "upper_barrier", "is_upper_adjusted", "enhanced_triple_barrier", "barrier_hit", "t1",
        "vol_scaled_return", "label_unadjusted", "time_to_barrier_bars", "nearest_level_distance",
    ):  # fmt: skip
        assert row[name] is None, name
    hole = pl.concat([PATH[:4], PATH[8:]])
    assert one(hole, candles=frame, context=context(frame, atr=None))["status"] == "censored"


# --- calendars and windows ------------------------------------------------------------------------


def test_an_fx_horizon_skips_the_weekend() -> None:
    friday = START_US + 3 * MICROSECONDS_PER_DAY + 20 * HOUR  # 13:00 New York, the week's last H4
    frame = candle(ts=friday)
    t_c = friday + 4 * HOUR
    path = flat_path(t_c, 24 * 4)
    row = one(path, candles=frame, context=context(frame))
    assert us(row["known_at"]) == t_c + 48 * HOUR + 24 * HOUR
    assert (row["path_bars"], row["path_bars_missing"], row["status"]) == (24, 0, "final")
    monday = with_bar(path, 1, high=1.2)
    touched = one(monday, candles=frame, context=context(frame))
    assert (touched["time_to_barrier_bars"], touched["time_to_barrier_path_bars"]) == (1, 2)
    assert us(touched["t1"]) == t_c + 50 * HOUR


def test_a_week_on_an_hourly_path_looks_two_months_ahead() -> None:
    sunday = START_US - MICROSECONDS_PER_DAY
    frame = candle(ts=sunday, timeframe=Timeframe.W)
    t_c = us(frame["known_at"][0])
    path = flat_path(t_c, 24 * 7 * 8)
    row = one(
        path, candles=frame, context=context(frame), timeframe=Timeframe.W,
        watermark_us=t_c + 60 * MICROSECONDS_PER_DAY,
    )  # fmt: skip
    assert (row["path_bars"], row["path_bars_missing"], row["status"]) == (6 * 120, 0, "final")
    assert labels.months_ahead(Timeframe.W, 6) == 2


@pytest.mark.slow
@pytest.mark.parametrize("calendar", ["crypto", "fx", "us_equity"])
@pytest.mark.parametrize("timeframe", list(Timeframe))
@pytest.mark.parametrize("horizon", [1, 6, 100])
def test_months_ahead_are_enough(calendar: str, timeframe: Timeframe, horizon: int) -> None:
    keeper = calendar_for(instrument(calendar))
    start = 1_451_606_400_000_000  # 2016
    grid = keeper.grid(timeframe, start, start + 4 * 366 * MICROSECONDS_PER_DAY)
    month = pl.Series(grid.open_us).cast(INSTANT).dt.month_start()
    last = pl.DataFrame({"m": month, "end": grid.end_us}).group_by("m").agg(pl.col("end").max())
    ends = keeper.horizon_ends(timeframe, last["end"].to_numpy(), horizon)
    ahead = f"{labels.months_ahead(timeframe, horizon) + 1}mo"
    limit = last["m"].dt.offset_by(ahead).dt.truncate("1mo")
    assert (limit >= pl.Series(ends).cast(INSTANT)).all()


def test_months_ahead_of_the_default_horizon_are_few() -> None:
    ahead = [labels.months_ahead(timeframe, 6) for timeframe in Timeframe]
    assert ahead == [1] * 7 + [2]


def test_the_path_may_be_the_labels_own_timeframe() -> None:
    path = pl.DataFrame(
        {"ts": pl.Series(T_C + 4 * HOUR * np.arange(6)).cast(INSTANT)}
    ).with_columns(pl.lit(1.0965).alias(c) for c in ("open", "high", "low", "close"))
    row = one(path, instrument=instrument(base=Timeframe.H4))
    assert (row["path_timeframe"], row["path_bars"], row["enhanced_triple_barrier"]) == ("H4", 6, 0)


# --- the origin's bugs (each was found in the system that this one replaces) ----------------------


def test_the_entry_candles_own_bars_are_no_part_of_the_path() -> None:
    own = flat_path(START_US, 28)
    wild = with_bar(with_bar(own, 1, high=9.0), 3, low=0.1)
    assert one(wild) == one(PATH)


def test_levels_are_those_of_the_context_as_of_the_close_not_of_today() -> None:
    frame = candles.build(
        random_raw(600, 3), instrument=instrument("crypto"), timeframe=Timeframe.H4,
        watermark_us=RAW_START + 600 * HOUR,
    ).rows  # fmt: skip
    known = levels.extend(
        levels.initial(), frame, instrument="TEST", timeframe=Timeframe.H4
    ).context
    part = levels.extend(
        levels.initial(), frame[:100], instrument="TEST", timeframe=Timeframe.H4
    ).context
    assert_frame_equal(known[:100], part)


def test_a_bar_that_touches_both_barriers_is_ambiguous_not_upper() -> None:
    row = one(with_bar(PATH, 9, high=1.2, low=1.0))
    assert (row["enhanced_triple_barrier"], row["barrier_hit"]) == (None, "ambiguous")
    assert (row["is_ambiguous"], row["label_if_long"], row["label_if_short"]) == (True, -1, 1)
    assert (row["status"], row["label_unadjusted"]) == ("final", None)
    assert (row["time_to_barrier_bars"], us(row["t1"])) == (3, T_C + 10 * HOUR)


def test_a_short_path_is_not_a_zero() -> None:
    row = one(PATH[:10])
    assert (row["status"], row["enhanced_triple_barrier"]) == ("censored", None)
    assert one(PATH[:10], watermark_us=T_C + 10 * HOUR)["status"] == "pending"


def test_the_last_close_at_hand_is_not_the_close_at_the_horizon() -> None:
    touched = with_bar(PATH[:20], 0, high=1.2)
    row = one(touched)  # final: touched before the path broke off
    assert (row["status"], row["enhanced_triple_barrier"]) == ("final", 1)
    assert row["forward_return"] is None
    assert row["vol_scaled_return"] is None


def test_atr_is_never_a_fraction_of_the_price() -> None:
    frame = candle(close=20_000.0)
    known = context(frame, atr=250.0, support=None, resistance=None)
    row = one(flat_path(T_C, 24, at=20_000.0), candles=frame, context=known)
    assert (row["upper_barrier"], row["lower_barrier"]) == (20_500.0, 19_500.0)


def test_the_horizon_is_part_of_the_version() -> None:
    versions = {LabelConfig(horizon=h).label_version for h in range(1, 101)}
    versions |= {LabelConfig(k=3.0).label_version, LabelConfig(buffer=0.2).label_version}
    assert len(versions) == 102
    assert LabelConfig().label_version == LabelConfig().label_version


def test_a_loss_may_be_larger_than_the_gain() -> None:
    path = with_bar(PATH, 3, high=1.0976, low=1.0746)
    row = one(path)
    assert row["mfe"] < -row["mae"]
    assert row["profit_factor"] == pytest.approx(0.0011 / 0.0219)


def test_excursions_are_fractions_clamped_at_zero() -> None:
    up = one(PATH.with_columns(pl.col("high", "low") + 0.001))
    assert up["mfe"] == pytest.approx(0.001 / 1.0965)
    assert up["mae"] == 0.0
    assert up["profit_factor"] is None
    down = one(PATH.with_columns(pl.col("high", "low") - 0.001))
    assert (down["mfe"], down["profit_factor"]) == (0.0, 0.0)


def test_a_level_that_hugs_the_close_is_not_an_instant_plus_one() -> None:
    frame = candle()
    row = one(PATH, candles=frame, context=context(frame, resistance=1.0966))
    assert row["upper_barrier"] == pytest.approx(1.1015)
    assert row["enhanced_triple_barrier"] == 0


# --- bad input ------------------------------------------------------------------------------------


def test_bad_input_is_named() -> None:
    with pytest.raises(MalformedBarsError, match=r"path ts .*expected ascending"):
        one(PATH.reverse())
    off = PATH.with_columns(pl.col("ts") + pl.duration(minutes=7))
    with pytest.raises(MalformedBarsError, match="H1"):
        one(off)
    with pytest.raises(InputError, match="horizon: expected 1 to 100 bars, was 101"):
        one(PATH, config=LabelConfig(horizon=101))
    with pytest.raises(InputError, match="context: expected one row for each of 1"):
        one(PATH, context=context(candle())[:0])


def test_no_complete_candles_no_rows() -> None:
    frame = candle().with_columns(complete=pl.lit(value=False))
    rows = labels.compute(
        frame, context(frame)[:0], PATH, instrument=instrument(), timeframe=Timeframe.H4,
        watermark_us=END,
    )  # fmt: skip
    assert_frame_equal(rows, LABELS.empty())
