"""The label source's mistakes, by their number in its list: none of them is ours.

2, 6, 15 and 16 are about caches and keys, and are tested where those are.
"""

import datetime as dt
from typing import Any

import polars as pl
import pytest

from kernels.forward_labels import vol_scaled_return
from market.calendars import calendar_for
from market.errors import InputError
from market.tables import LABELS
from market.timeframes import Timeframe
from pipeline import label_series, labels, levels
from pipeline.labels import LabelConfig
from tests.pipeline.label_cases import (
    HOUR,
    PATH,
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
from tests.pipeline.test_label_columns import LEVELS, built, labelled


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Labels of a random walk of H4 bars, with levels and history."""
    return labelled(*built(random_raw(900, 8)), LabelConfig())


def values(frame: pl.DataFrame, name: str) -> list[Any]:
    """Return what is not null."""
    found = frame[name].drop_nulls().to_list()
    assert found, name
    return found


def test_1_the_path_starts_at_the_close_not_at_the_open() -> None:
    early = with_bar(flat_path(T_C - 4 * HOUR, 28), 2, high=2.0)  # inside the entry candle
    row = one(early)
    assert (row["enhanced_triple_barrier"], row["triple_barrier"], row["mfe"]) == (0, 0, 0.0)


def test_1_also_where_the_entrys_bars_are_the_path_of_others(rows: pl.DataFrame) -> None:
    _, path = built(random_raw(900, 8))
    seen = 0
    for row in rows.filter(pl.col("status") == "final")[50:150].iter_rows(named=True):
        end = row["known_at"]
        after = path.filter(
            (pl.col("ts") >= row["ts"] + dt.timedelta(hours=4)) & (pl.col("ts") < end)
        )
        assert row["path_bars"] == after.height == 24
        highest, lowest = max(after["high"]), min(after["low"])
        assert row["mfe"] == pytest.approx(max(highest / row["entry_price"] - 1.0, 0.0))
        assert row["mae"] == pytest.approx(min(lowest / row["entry_price"] - 1.0, 0.0))
        seen += 1
    assert seen == 100


def test_3_a_bar_that_hits_both_is_ambiguous_not_upper() -> None:
    row = one(with_bar(PATH, 5, high=1.2, low=1.0))
    assert (row["enhanced_triple_barrier"], row["triple_barrier"]) == (None, None)
    assert (row["is_ambiguous"], row["label_if_long"], row["label_if_short"]) == (True, -1, 1)


def test_4_a_missing_or_short_path_is_null_not_0() -> None:
    forward = LABELS.schema.keys() - {
        "instrument", "timeframe", "ts", "known_at", "status", "label_version", "horizon_bars",
        "entry_price", "atr", "upper_barrier", "lower_barrier", "is_upper_adjusted",
        "is_lower_adjusted", "nearest_support", "nearest_resistance", "support_level_id",
        "resistance_level_id", "path_timeframe", "path_bars", "path_bars_missing",
        "nearest_level_distance",
    }  # fmt: skip
    short = one(PATH[:20], watermark_us=T_C + 20 * HOUR)
    assert short["status"] == "pending"
    empty = one(PATH[:0])
    assert empty["status"] == "censored"
    assert all(row[name] is None for row in (short, empty) for name in forward)


def test_4_what_is_pending_is_null_in_every_column_of_a_series(rows: pl.DataFrame) -> None:
    pending = rows.filter(pl.col("status") == "pending")
    assert pending.height == 6
    at = rows.columns.index("forward_return")
    for name in set(rows.columns[at:]) - {"nearest_level_distance"}:
        assert pending[name].null_count() == 6, name


def test_5_without_an_atr_there_is_no_barrier_not_a_fraction_of_the_price() -> None:
    row = one(with_bar(PATH, 5, high=1.3), context=context(candle(), atr=None))
    assert row["upper_barrier"] is None
    assert row["enhanced_triple_barrier"] is None
    assert row["vol_scaled_return"] is None
    assert row["triple_barrier"] == 1  # it is of the price alone


def test_7_a_path_may_fall_far_and_rise_a_little() -> None:
    row = one(with_bar(with_bar(PATH, 1, low=1.0965 * 0.98), 2, high=1.0965 * 1.001))
    assert row["mfe"] == pytest.approx(0.001)
    assert row["mae"] == pytest.approx(-0.02)
    assert row["mfe"] < -row["mae"]


def test_8_mfe_and_mae_are_fractions(rows: pl.DataFrame) -> None:
    assert 0.0 < max(values(rows, "mfe")) < 0.2
    assert -0.2 < min(values(rows, "mae")) < 0.0


def test_9_label_2_has_no_unit_but_atr() -> None:
    prices, ends, atr = [100.0], [103.0], [2.0]
    scaled = [[x * 1000.0 for x in values_] for values_ in (prices, ends, atr)]
    assert vol_scaled_return(prices, ends, atr)[0] == 1.5 == vol_scaled_return(*scaled)[0]
    row = one(with_bar(PATH, 23, close=1.0990, high=1.0990))
    assert row["vol_scaled_return"] == pytest.approx((1.0990 - 1.0965) / 0.0025)


def test_10_label_31_is_over_the_move_to_the_extreme() -> None:
    path = with_bar(with_bar(PATH, 3, high=1.1065), 23, close=1.0990)
    row = one(path, context=context(candle(), support=None, resistance=None))
    assert row["end_vs_extremum_gap"] == pytest.approx((1.1065 - 1.0990) / (1.1065 - 1.0965))


def test_10_and_11_bounds_and_signs(rows: pl.DataFrame) -> None:
    assert max(values(rows, "drawdown_depth")) <= 0.0
    assert min(values(rows, "drawdown_depth")) < 0.0
    gaps = values(rows, "end_vs_extremum_gap")
    assert min(gaps) >= 0.0
    assert max(gaps) <= 2.0
    assert 0.0 <= min(values(rows, "time_underwater")) < max(values(rows, "time_underwater")) <= 1.0


def test_12_deciles_are_1_to_10_among_what_had_matured(rows: pl.DataFrame) -> None:
    assert set(values(rows, "return_quantile")) == set(range(1, 11))
    assert rows["return_quantile"][:105].null_count() == 105  # t' + H <= t, 100 of them
    assert rows["return_quantile"][105] is not None
    raw = random_raw(900, 8)
    cut = us(rows["known_at"][150])
    other = raw.with_columns(
        pl.when(pl.col("ts").dt.timestamp("us") >= cut)
        .then(pl.col(c) * 2.0)
        .otherwise(pl.col(c))
        .alias(c)
        for c in ("open", "high", "low", "close")
    )
    again = labelled(*built(other), LabelConfig())
    assert again["return_quantile"][:151].equals(rows["return_quantile"][:151])
    assert not again["return_quantile"].equals(rows["return_quantile"])


def test_13_a_stay_in_the_band_is_one_touch(rows: pl.DataFrame) -> None:
    # the longest stay counts its bars; what is counted in all is how often one began
    some = rows.filter((pl.col("retouch_count") == 1) & (pl.col("touch_run") > 1))
    assert some.height
    none = rows.filter(pl.col("retouch_count") == 0)
    assert set(none["next_touch_time"]) == {7}


def test_14_any_level_and_the_nearest_are_two_columns(rows: pl.DataFrame) -> None:
    both = rows.filter(pl.col("breakout_occurred").is_not_null())
    nearest, anyone = both["nearest_breakout_occurred"], both["breakout_occurred"]
    assert (anyone | ~nearest).all()
    assert (anyone & ~nearest).any()
    assert nearest.any()


def test_golden_barriers_come_of_levels_that_the_line_made() -> None:
    """P 1.0965, ATR 0.0025, S 1.0920, R 1.0990 with ids of the log: U 1.09875, L 1.09225."""
    row = one(with_bar(PATH, 9, high=1.0990))
    assert (row["upper_barrier"], row["lower_barrier"]) == pytest.approx((1.09875, 1.09225))
    frame, path = built(random_raw(900, 8))
    of_line = labelled(frame, path, LabelConfig())
    played = levels.extend(
        levels.initial(LEVELS), frame, config=LEVELS, instrument="TEST", timeframe=Timeframe.H4
    )
    made = set(played.events["level_id"])
    adjusted = of_line.filter(pl.col("is_upper_adjusted"))
    assert adjusted.height > 10
    assert set(adjusted["resistance_level_id"]) <= made
    expected = adjusted["nearest_resistance"] - 0.1 * adjusted["atr"]
    assert (adjusted["upper_barrier"] - expected).abs().max() < 1e-12  # type: ignore[operator]


def test_a_series_of_other_candles_is_refused() -> None:
    frame, path = built(random_raw(200, 8))
    known = _played(frame).context
    options: dict[str, Any] = {"instrument": instrument("crypto"), "timeframe": Timeframe.H4}
    with pytest.raises(InputError, match="series: expected a bar at"):
        labels.compute(
            frame, known, path, watermark_us=us(path["ts"][-1]), series=_series(frame[10:]),
            **options,
        )  # fmt: skip


def _played(frame: pl.DataFrame) -> levels.Extended:
    return levels.extend(levels.initial(), frame, instrument="T", timeframe=Timeframe.H4)


def _series(frame: pl.DataFrame) -> label_series.LabelSeries:
    return label_series.follow(
        label_series.initial(), _played(frame), levels.initial(), horizon=6, timeframe=Timeframe.H4,
        calendar=calendar_for(instrument("crypto")),
    )  # fmt: skip
