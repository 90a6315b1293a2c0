"""Tables name their columns, and a frame conforms or is told where it does not."""

import polars as pl
import pytest

from market.errors import SchemaError
from market.tables import CANDLES, FEATURE_LIST, FEATURES, INSTANT, TABLES, Table

EVERY_TABLE = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)


@EVERY_TABLE
def test_an_empty_frame_conforms(table: Table) -> None:
    frame = table.empty()
    assert frame.is_empty()
    assert frame.schema == pl.Schema(table.schema)
    assert table.conform(frame).equals(frame)


@EVERY_TABLE
def test_keys_and_required_columns_exist(table: Table) -> None:
    assert set(table.key) <= set(table.required) <= set(table.schema)
    assert len(set(table.required)) == len(table.required)


@EVERY_TABLE
def test_every_instant_is_in_utc_microseconds(table: Table) -> None:
    for dtype in table.schema.values():
        assert not isinstance(dtype, pl.Datetime) or dtype == INSTANT


def test_columns_are_put_in_order_and_strangers_left_out() -> None:
    frame = CANDLES.empty().select(reversed(list(CANDLES.schema))).with_columns(extra=pl.lit(1))
    assert CANDLES.conform(frame).columns == list(CANDLES.schema)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(SchemaError, match=r"^candles\.volume: expected Float64, was missing$"):
        CANDLES.conform(CANDLES.empty().drop("volume"))


def test_a_column_of_another_type_is_named() -> None:
    wrong = CANDLES.empty().with_columns(pl.col("close").cast(pl.Float32))
    with pytest.raises(SchemaError, match=r"^candles\.close: expected Float64, was Float32$"):
        CANDLES.conform(wrong)


def test_features_have_one_column_each() -> None:
    names = [feature.name for feature in FEATURE_LIST]
    assert len(set(names)) == len(names)
    assert list(FEATURES.schema)[4:] == names
