"""Columns of labels: what passes through a float comes out as it went in."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.tables import INSTANT, LABELS
from pipeline.label_outcomes import typed

LAST_US = 7_258_118_400_000_000  # 2200-01-01, where the calendars end


@given(instants=st.lists(st.integers(0, LAST_US), min_size=1, max_size=20))
def test_every_microsecond_of_the_calendars_is_kept_beside_nulls(instants: list[int]) -> None:
    values = np.concatenate([np.array(instants, dtype=np.int64), [np.nan]])
    column = typed("t1", values)
    assert column.dtype == INSTANT
    assert column.cast(pl.Int64).to_list() == [*instants, None]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("label_if_long", [-1.0, np.nan, 1.0], [-1, None, 1]),
        ("is_ambiguous", [0.0, np.nan, 1.0], [False, None, True]),
        ("time_to_barrier_path_bars", [0.0, np.nan, 2.0**32 - 1], [0, None, 2**32 - 1]),
        ("forward_return", [-0.0, np.nan, 0.1], [-0.0, None, 0.1]),
    ],
)
def test_nan_is_null_in_every_type(
    name: str, values: list[float], expected: list[int | bool | float | None]
) -> None:
    column = typed(name, np.array(values))
    assert (column.name, column.dtype) == (name, LABELS.schema[name])
    assert column.to_list() == expected
