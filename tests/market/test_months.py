"""Month keys and their bounds."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import InputError
from market.months import (
    month_bounds,
    month_of,
    month_range,
    month_start,
    parse_month,
    shift_month,
)

MONTHS = st.builds("{:04d}-{:02d}".format, st.integers(1971, 2199), st.integers(1, 12))


@pytest.mark.parametrize("text", ["2017-05", "2017-05-01"])
def test_a_month_is_read(text: str) -> None:
    assert parse_month(text) == "2017-05"


@pytest.mark.parametrize(
    "text", ["", "2017", "2017-5", "2017-13", "2017-00", "2017-05-02", "17-05", "2017-05x"]
)
def test_what_is_no_month_is_named(text: str) -> None:
    with pytest.raises(InputError, match=rf"^month: expected YYYY-MM, was '{text}'$"):
        parse_month(text)


def test_bounds_are_midnights_in_utc() -> None:
    start, end = month_bounds("2020-02")
    assert end - start == 29 * 86_400_000_000
    assert start == int(dt.datetime(2020, 2, 1, tzinfo=dt.UTC).timestamp()) * 1_000_000


@given(month=MONTHS)
def test_a_month_holds_its_bounds_half_open(month: str) -> None:
    start, end = month_bounds(month)
    assert month_of(start) == month_of(end - 1) == month
    assert month_of(end) == shift_month(month, 1)
    assert month_start(month) == start


@given(month=MONTHS, steps=st.integers(-5000, 500))
def test_shifting_back_undoes_shifting(month: str, steps: int) -> None:
    assert shift_month(shift_month(month, steps), -steps) == month


def test_a_range_has_both_ends_and_crosses_the_year() -> None:
    assert list(month_range("2019-11", "2020-02")) == ["2019-11", "2019-12", "2020-01", "2020-02"]
    assert list(month_range("2020-02", "2020-02")) == ["2020-02"]
    assert list(month_range("2020-03", "2020-02")) == []
