"""The mirror law over every column: prices turned upside down, levels and paths made of them."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_series_equal

from market.tables import LABELS
from pipeline.labels import LabelConfig
from tests.pipeline.label_cases import random_raw
from tests.pipeline.test_label_columns import FEW, LEVELS, built, labelled

AXIS = 128.0
GRID = 2.0**20  # prices are whole multiples of its inverse: the mirror rounds nothing
PRICES = ("open", "high", "low", "close")
NARROW = LabelConfig(k=0.4, min_distance=0.05)  # so narrow that one hour may reach both barriers

NEGATED = (
    "enhanced_triple_barrier", "label_unadjusted", "return_sign", "vol_scaled_return",
    "trend_scan_sign", "trend_scan_t",
)  # fmt: skip
SAME = (
    "ts", "known_at", "status", "matured_at", "t1", "is_ambiguous", "horizon_bars", "atr",
    "time_to_barrier_bars", "time_to_barrier_path_bars", "path_bars", "path_bars_missing",
    "retouch_count", "touch_run", "next_touch_time", "breakout_occurred",
    "nearest_breakout_occurred", "flip_occurred", "max_penetration", "event_burst",
    "nearest_level_distance", "range_expansion", "end_vs_extremum_gap", "meta_label",
)  # fmt: skip
SWAPPED = (
    ("is_upper_adjusted", "is_lower_adjusted"), ("support_level_id", "resistance_level_id"),
)  # fmt: skip
ABOUT_THE_AXIS = (
    ("upper_barrier", "lower_barrier"), ("nearest_support", "nearest_resistance"),
    ("entry_price", "entry_price"),
)  # fmt: skip
OF_THE_PRICE = {  # shares of a price are others at another price: a law of their own, or none
    "label_if_long", "label_if_short", "barrier_hit", "forward_return", "mfe", "mae",
    "profit_factor", "time_underwater",
}  # fmt: skip
WITHOUT_A_MIRROR = {
    "instrument", "timeframe", "label_version", "path_timeframe",
    "triple_barrier",  # 1 % above and below P, and ranks of returns on P
    "return_quantile",
    "drawdown_depth",  # its mirror is a rise from the lowest close
    "path_skewness",  # of log returns
}  # fmt: skip


def mirrored(bars: pl.DataFrame) -> pl.DataFrame:
    """Reflect prices at the axis."""
    return bars.with_columns(
        open=2 * AXIS - pl.col("open"), high=2 * AXIS - pl.col("low"),
        low=2 * AXIS - pl.col("high"), close=2 * AXIS - pl.col("close"),
    )  # fmt: skip


def test_every_column_has_its_law_or_a_reason() -> None:
    told = {*NEGATED, *SAME, *(c for pair in (*SWAPPED, *ABOUT_THE_AXIS) for c in pair)}
    assert told | OF_THE_PRICE | WITHOUT_A_MIRROR == set(LABELS.schema)


@pytest.mark.parametrize("rules", [LEVELS, FEW])
@pytest.mark.parametrize("seed", [3, 17])
def test_mirrored_prices_swap_up_and_down(seed: int, rules: object) -> None:
    raw = random_raw(1600, seed, holes=0.01)
    off = pl.Series(np.random.default_rng(seed).uniform(-4e-4, 4e-4, raw.height))  # no two equal
    raw = raw.with_columns(((pl.col(c) + off) * GRID).round() / GRID for c in PRICES)
    here, there = (
        labelled(*built(bars), NARROW, rules=rules)  # type: ignore[arg-type]
        for bars in (raw, mirrored(raw))
    )
    told = {*NEGATED, *SAME, *OF_THE_PRICE} - {"horizon_bars"}
    assert not [c for c in told if here[c].drop_nulls().n_unique() < 2]
    for name in NEGATED:
        same(there[name], -here[name])
    for name in SAME:
        same(there[name], here[name])
    for one, other in SWAPPED:
        same(there[one], here[other])
        same(there[other], here[one])
    for one, other in ABOUT_THE_AXIS:
        same(there[one], 2 * AXIS - here[other])
        same(there[other], 2 * AXIS - here[one])
    same(there["label_if_long"], -here["label_if_short"])
    same(there["barrier_hit"].replace({"upper": "lower", "lower": "upper"}), here["barrier_hit"])
    ratio = here["entry_price"] / there["entry_price"]
    same(there["forward_return"], -here["forward_return"] * ratio)
    same(there["mfe"], -here["mae"] * ratio)
    same(there["mae"], -here["mfe"] * ratio)
    is_finite = (here["mfe"] > 0.0) & (here["mae"] < 0.0)
    same(there["profit_factor"].filter(is_finite), 1 / here["profit_factor"].filter(is_finite))
    same(there["time_underwater"], 1.0 - here["time_underwater"])  # no close is the entry's


def same(left: pl.Series, right: pl.Series) -> None:
    """Compare values and nulls."""
    assert_series_equal(left, right, check_names=False, rel_tol=1e-9, abs_tol=1e-12)
