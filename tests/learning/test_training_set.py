"""The training set holds what had matured by its cutoff, and says what it left out."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from learning.training_set import TrainingSet, build
from market.errors import FeatureMismatchError, LearningError, NotEnoughDataError
from market.tables import FEATURE_LIST

Market = Callable[..., tuple[pl.DataFrame, pl.DataFrame]]
Simulate = Callable[..., TrainingSet]

BAR_US = 4 * 3_600_000_000
HORIZON = 6


def micros(frame: pl.DataFrame, column: str, row: int) -> int:
    return int(frame[column].to_physical()[row])


def at_row(frame: pl.DataFrame, row: int, **values: object) -> pl.DataFrame:
    where = pl.int_range(pl.len()) == row
    return frame.with_columns(
        pl.when(where).then(pl.lit(v, frame.schema[c])).otherwise(pl.col(c)).alias(c)
        for c, v in values.items()
    )


def test_rows_end_where_labels_had_matured_by_the_cutoff(make_market: Market) -> None:
    features, labels = make_market(40)
    cutoff = micros(labels, "matured_at", 20)
    rows = build(features, labels, cutoff_us=cutoff, inputs={})
    assert len(rows) == 21
    assert rows.matured_at.max() == cutoff
    assert rows.dropped["immature"] == 19
    assert build(features, labels, cutoff_us=cutoff - 1, inputs={}).t_c.size == 20


def test_early_touches_wait_for_maturity_like_the_slow_ones(make_market: Market) -> None:
    features, labels = make_market(40)
    labels = labels.with_columns(t1=pl.col("ts") + pl.duration(hours=5))  # all touched at once
    rows = build(features, labels, cutoff_us=micros(labels, "matured_at", 20), inputs={})
    assert len(rows) == 21


def test_a_set_of_a_cutoff_does_not_change_when_later_bars_arrive(make_market: Market) -> None:
    features, labels = make_market(60)
    cutoff = micros(labels, "matured_at", 30)
    waiting = pl.col("known_at").to_physical() > cutoff
    then = labels.with_columns(
        status=pl.when(waiting).then(pl.lit("pending")).otherwise("status"),
        matured_at=pl.when(waiting).then(None).otherwise("matured_at"),
        t1=pl.when(waiting).then(None).otherwise("t1"),
        enhanced_triple_barrier=pl.when(waiting).then(None).otherwise("enhanced_triple_barrier"),
    )
    now = build(features, labels, cutoff_us=cutoff, inputs={})
    before = build(features, then, cutoff_us=cutoff, inputs={})
    assert before.data_version == now.data_version
    assert before.dropped == now.dropped


def test_what_was_left_out_is_counted_by_reason(make_market: Market) -> None:
    features, labels = make_market(40)
    nothing = {"matured_at": None, "enhanced_triple_barrier": None}
    labels = at_row(labels, 10, status="pending", **nothing)
    labels = at_row(labels, 11, status="censored", **nothing)
    labels = at_row(labels, 12, is_ambiguous=True, enhanced_triple_barrier=None)
    features = at_row(features, 0, adx_14=None)
    features = at_row(features, 1, adx_14=None)
    features = features.filter(pl.int_range(pl.len()) != 30)
    rows = build(features, labels, cutoff_us=micros(labels, "matured_at", 35), inputs={})
    assert rows.dropped == {
        "without_features": 1,
        "immature": 4,
        "pending": 1,
        "censored": 1,
        "ambiguous": 1,
        "warm_up": 2,
    }
    assert len(rows) == 40 - sum(rows.dropped.values())


def test_a_null_after_warm_up_is_nan_and_stays(make_market: Market) -> None:
    features, labels = make_market(40)
    features = at_row(features, 20, cci_20=None, resistance_distance_atr=None)
    rows = build(features, labels, cutoff_us=micros(labels, "matured_at", 39), inputs={})
    assert len(rows) == 40
    assert np.isnan(rows.x[20]).sum() == 2
    assert np.isnan(rows.x).sum() == 2


def test_volume_features_of_a_source_without_volume_are_dropped_by_name(
    simulate: Simulate,
) -> None:
    rows = simulate(50)
    needing = {f.name for f in FEATURE_LIST if f.needs_volume}
    assert set(rows.dropped_features) == needing
    assert set(rows.dropped_features.values()) == {"no volume"}
    assert rows.features == tuple(f.name for f in FEATURE_LIST if f.name not in needing)
    assert np.isnan(rows.columns(("obv_change_20",))).all()
    with pytest.raises(FeatureMismatchError, match="no_such"):
        rows.columns(("no_such",))


@pytest.mark.parametrize("hours", [8, 24 * 9])
def test_a_feature_known_after_its_entry_is_refused(make_market: Market, hours: int) -> None:
    features, labels = make_market(40)
    later = features["ts"][20] + pl.duration(hours=hours)
    features = features.with_columns(
        known_at=pl.when(pl.int_range(pl.len()) == 20).then(later).otherwise("known_at")
    )
    with pytest.raises(LearningError, match=r"features\.known_at of EURUSD H4"):
        build(features, labels, cutoff_us=micros(labels, "matured_at", 39), inputs={})


def test_mixed_label_versions_and_repeated_keys_are_refused(make_market: Market) -> None:
    features, labels = make_market(40)
    end = micros(labels, "matured_at", 39)
    mixed = at_row(labels, 3, label_version="v2")
    with pytest.raises(LearningError, match="label_version: expected one value, was v1, v2"):
        build(features, mixed, cutoff_us=end, inputs={})
    with pytest.raises(LearningError, match="labels: expected one row"):
        build(features, pl.concat([labels, labels]), cutoff_us=end, inputs={})


def test_nothing_matured_says_what_was_dropped(make_market: Market) -> None:
    features, labels = make_market(10)
    with pytest.raises(NotEnoughDataError, match="10 immature"):
        build(features, labels, cutoff_us=micros(labels, "matured_at", 0) - 1, inputs={})


def test_instruments_pool_in_time_order(make_market: Market) -> None:
    one, two = make_market(30, seed=1), make_market(30, seed=2, instrument="GBPUSD")
    features, labels = pl.concat([two[0], one[0]]), pl.concat([one[1], two[1]])
    rows = build(features, labels, cutoff_us=micros(one[1], "matured_at", 29), inputs={})
    assert len(rows) == 60
    assert (np.diff(rows.t_c) >= 0).all()
    assert rows.instrument[:2].tolist() == ["EURUSD", "GBPUSD"]
    alone = build(*one, cutoff_us=rows.cutoff_us, inputs={})
    np.testing.assert_array_equal(rows.x[rows.instrument == "EURUSD"], alone.x)
    np.testing.assert_allclose(rows.weight[rows.instrument == "EURUSD"], alone.weight)


def test_weights_are_average_uniqueness_of_this_cutoff(simulate: Simulate) -> None:
    rows = simulate(60)
    expected = np.empty(len(rows))
    for i in range(len(rows)):  # the slow, obvious way
        inside = [
            1.0 / np.sum((rows.t_c <= t) & (rows.matured_at > t))
            for t in rows.t_c
            if rows.t_c[i] <= t < rows.matured_at[i]
        ]
        expected[i] = np.mean(inside)
    np.testing.assert_allclose(rows.weight, expected / expected.mean())
    assert rows.weight[0] > rows.weight[30]  # the first shares less


def test_the_data_version_moves_with_a_value_and_not_with_provenance(make_market: Market) -> None:
    features, labels = make_market(40)
    end = micros(labels, "matured_at", 39)
    first = build(features, labels, cutoff_us=end, inputs={"a": "1"})
    again = build(features, labels, cutoff_us=end, inputs={"a": "2"})
    other = build(at_row(features, 20, rsi_14=1.5), labels, cutoff_us=end, inputs={"a": "1"})
    assert first.data_version == again.data_version
    assert first.data_version != other.data_version
    assert first.take(first.y == 1).data_version == first.data_version
