"""Barriers: the golden example, the minimum distance, and the laws of mirror and scale."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.barriers import Barriers, barriers

NAN = float("nan")
POSITIVE = st.floats(0.01, 100.0)


def one(price: float, atr: float, support: float, resistance: float, **k: float) -> Barriers:
    return barriers([price], [atr], [support], [resistance], **k)


def test_golden_example() -> None:
    b = one(1.0965, 0.0025, 1.0920, 1.0990)
    assert b.upper[0] == pytest.approx(1.09875, abs=1e-12)
    assert b.lower[0] == pytest.approx(1.09225, abs=1e-12)
    assert (b.is_upper_adjusted[0], b.is_lower_adjusted[0]) == (True, True)


def test_without_levels_the_barriers_are_the_volatility_bands() -> None:
    b = one(100.0, 1.0, NAN, NAN)
    assert (b.upper[0], b.lower[0]) == (102.0, 98.0)
    assert not b.is_upper_adjusted[0]
    assert not b.is_lower_adjusted[0]


@pytest.mark.parametrize(("resistance", "upper"), [
    (100.3, 102.0),  # 0.2 ATR away after the buffer: nearer than the minimum of 0.25
    (100.35, 100.25),  # the minimum itself
    (102.0, 101.9),
    (102.1, 102.0),  # not below the band
    (103.0, 102.0),
])  # fmt: skip
def test_a_level_counts_from_the_minimum_distance_to_the_band(
    resistance: float, upper: float
) -> None:
    assert one(100.0, 1.0, NAN, resistance).upper[0] == pytest.approx(upper, abs=1e-9)
    mirrored = one(-100.0, 1.0, -resistance, NAN)
    assert mirrored.lower[0] == pytest.approx(-upper, abs=1e-9)


def test_a_level_out_of_reach_does_not_count() -> None:
    assert one(100.0, 1.0, NAN, 101.5, reach=1.5).upper[0] == 102.0
    assert one(100.0, 1.0, NAN, 101.5, reach=1.6).upper[0] == 101.4


def test_a_level_that_hugs_the_price_never_puts_a_barrier_on_the_wrong_side() -> None:
    # the origin's rule gave an upper barrier below the entry, and so an instant +1
    b = one(1.1000, 0.0025, 1.0999, 1.1001)
    assert b.lower[0] < 1.1000 < b.upper[0]


def test_no_atr_no_barriers() -> None:
    for atr in (NAN, 0.0, -1.0):
        b = one(100.0, atr, 99.0, 101.0)
        assert np.isnan([b.upper[0], b.lower[0]]).all()
        assert not b.is_upper_adjusted[0]
        assert not b.is_lower_adjusted[0]


@given(
    price=st.floats(-1e4, 1e4), atr=POSITIVE, below=POSITIVE, above=POSITIVE,
    power=st.integers(-30, 30),
)  # fmt: skip
def test_mirror_and_scale(price: float, atr: float, below: float, above: float, power: int) -> None:
    here = one(price, atr, price - below, price + above)
    there = one(-price, atr, -(price + above), -(price - below))
    assert (there.upper[0], there.lower[0]) == (-here.lower[0], -here.upper[0])
    assert there.is_upper_adjusted[0] == here.is_lower_adjusted[0]
    c = 2.0**power
    scaled = one(price * c, atr * c, (price - below) * c, (price + above) * c)
    assert (scaled.upper[0], scaled.lower[0]) == (here.upper[0] * c, here.lower[0] * c)


@given(atr=POSITIVE, below=POSITIVE, above=POSITIVE, k=st.floats(0.3, 5.0))
def test_barriers_lie_between_the_minimum_distance_and_the_band(
    atr: float, below: float, above: float, k: float
) -> None:
    b = one(0.0, atr, -below, above, k=k)
    least, most = 0.25 * atr * (1 - 1e-12), k * atr
    assert least <= b.upper[0] <= most
    assert least <= -b.lower[0] <= most


def test_constants_and_shapes_are_checked() -> None:
    for bad in ({"k": 0.0}, {"buffer": -0.1}, {"reach": NAN}, {"min_distance": -1.0}):
        with pytest.raises(ValueError, match=f"{next(iter(bad))}: expected"):
            one(1.0, 1.0, NAN, NAN, **bad)
    with pytest.raises(ValueError, match="support: expected shape"):
        barriers([1.0, 2.0], [1.0, 1.0], [1.0], [1.0, 2.0])
