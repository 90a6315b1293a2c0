"""The causal Haar transform: its slow twin, PyWavelets, exact sums, and what a window says."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import pywt
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.wavelets import haar, haar_window
from tests.naive import wavelets as naive


def walk(n: int, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    out: np.ndarray[Any, np.dtype[np.float64]] = np.random.default_rng(seed).normal(0.0, 1e-3, n)
    out[:1] += np.log(100.0)
    return out.cumsum()


SERIES = st.builds(walk, st.integers(0, 150), st.integers(0, 2**32 - 1))


@settings(max_examples=50, deadline=None)
@given(x=SERIES, levels=st.integers(1, 6))
def test_equals_its_slow_twin(x: Any, levels: int) -> None:
    details, rest = naive.haar(x.tolist(), levels)
    out = haar(x, levels)
    np.testing.assert_allclose(out.details, np.reshape(details, (levels, x.size)), atol=1e-14)
    np.testing.assert_allclose(out.approximation, rest, rtol=1e-14)


@settings(max_examples=50, deadline=None)
@given(x=SERIES, levels=st.integers(1, 6))
def test_details_and_approximation_add_up_to_the_series(x: Any, levels: int) -> None:
    out = haar(x, levels)
    known = ~np.isnan(out.approximation)
    assert known.sum() == max(0, x.size - (2**levels - 1))
    np.testing.assert_allclose(
        (out.approximation + out.details.sum(axis=0))[known], x[known], rtol=1e-14
    )


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_equals_pywavelets_shifted_into_the_past(level: int) -> None:
    x = walk(256, level)
    theirs = pywt.swt(x, "haar", level=4, norm=True, trim_approx=True)[1:][::-1]
    ours = haar(x, 4).details
    shift = 2**level - 1  # how far theirs looks ahead
    inside = slice(2**level, 256 - shift)
    np.testing.assert_allclose(
        -np.roll(ours[level - 1], -shift)[inside], theirs[level - 1][inside], atol=1e-13
    )


def test_no_value_changes_when_tomorrow_arrives_where_pywavelets_does() -> None:
    x = walk(256, 5)
    altered = np.where(np.arange(256) < 200, x, x + 1.0)
    before, after = haar_window(x), haar_window(altered)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one[..., :200], other[..., :200])
    theirs = [pywt.swt(s, "haar", level=4, norm=True)[0][1] for s in (x, altered)]
    assert np.abs(theirs[0] - theirs[1])[:200].max() > 0.1


@settings(max_examples=30, deadline=None)
@given(x=SERIES, levels=st.integers(2, 5), window=st.integers(2, 40))
def test_a_window_equals_its_slow_twin(x: Any, levels: int, window: int) -> None:
    out = haar_window(x, levels=levels, window=window)
    for t, expected in enumerate(naive.haar_window(x.tolist(), levels, window)):
        got = {
            "entropy": out.entropy[t],
            "dominant": out.dominant[t],
            "fast_slow": out.fast_slow[t],
            "slope": out.slope[t],
            **{f"share_{j}": out.shares[j - 1, t] for j in range(1, levels + 1)},
        }
        if not expected:
            assert all(np.isnan(v) for v in got.values())
        else:
            assert got == pytest.approx(expected, rel=1e-9, abs=1e-14)


@settings(max_examples=30, deadline=None)
@given(x=SERIES)
def test_shares_add_up_to_one_and_entropy_stays_in_its_scale(x: Any) -> None:
    out = haar_window(x)
    known = ~np.isnan(out.entropy)
    np.testing.assert_allclose(out.shares.sum(axis=0)[known], 1.0, rtol=1e-12)
    assert (out.entropy[known] >= 0.0).all()
    assert (out.entropy[known] <= 1.0 + 1e-12).all()


def test_a_window_reads_the_details_that_the_transform_gives() -> None:
    x = walk(120, 6)
    np.testing.assert_array_equal(haar_window(x).details, haar(x).details)


def test_a_line_has_its_slope_and_an_alternation_only_the_finest_detail() -> None:
    line = haar_window(0.25 * np.arange(100.0))
    assert line.slope[-1] == pytest.approx(0.25, rel=1e-12)
    assert line.dominant[-1] == 4.0
    alternating = haar_window(np.arange(100) % 2 * 1.0)
    np.testing.assert_array_equal(alternating.shares[:, -1], [1.0, 0.0, 0.0, 0.0])
    assert alternating.entropy[-1] == 0.0
    assert np.isnan(alternating.fast_slow).all()  # its slow half has no energy


def test_a_constant_series_has_no_details_and_nothing_to_share() -> None:
    out = haar_window(np.full(100, np.log(1.1)))
    assert not out.details[:, 15:].any()
    assert np.isnan(out.shares).all()
    assert np.isnan(out.entropy).all()
    assert np.isnan(out.dominant).all()
    np.testing.assert_allclose(out.slope[46:], 0.0, atol=1e-17)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: haar([1.0], 0), "levels: expected >= 1, was 0"),
        (lambda: haar_window([1.0], levels=1), "levels: expected >= 2, was 1"),
        (lambda: haar_window([1.0], window=1), "window: expected >= 2, was 1"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
