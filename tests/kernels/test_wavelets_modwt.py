"""The causal MODWT of Daubechies' filters: its slow twin, PyWavelets, MATLAB, energy, no future."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pywt
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.wavelets import haar, modwt, modwt_delays, modwt_state
from kernels.wavelets_cascade import BLOCK
from kernels.wavelets_filters import DAUBECHIES, MOST, filters
from tests.naive import wavelets as naive

Floats = np.ndarray[Any, np.dtype[np.float64]]

MOMENTS = st.integers(1, MOST)
EVERY_FILTER = pytest.mark.parametrize("moments", range(1, MOST + 1))


def walk(n: int, seed: int) -> Floats:
    steps: Floats = np.random.default_rng(seed).normal(0.0, 1e-3, n)
    return 4.6 + steps.cumsum()


def peer(moments: int) -> tuple[Floats, Floats]:
    """Return PyWavelets' filters for the transform that keeps every bar, the newest bar's first."""
    theirs = pywt.Wavelet(f"db{moments}")
    return np.array(theirs.dec_lo) / np.sqrt(2.0), np.array(theirs.dec_hi) / np.sqrt(2.0)


def same_bits(got: tuple[Floats, ...], expected: tuple[Floats, ...]) -> None:
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert np.where(np.isnan(ours), np.nan, ours).tobytes() == (
            np.where(np.isnan(theirs), np.nan, theirs).tobytes()
        )


@EVERY_FILTER
def test_the_filters_are_pywavelets(moments: int) -> None:
    assert list(DAUBECHIES[moments - 1]) == pywt.Wavelet(f"db{moments}").dec_lo
    low, high = peer(moments)
    np.testing.assert_allclose(filters(moments)[::2], low[::-1], rtol=1e-15)
    np.testing.assert_allclose(filters(moments)[1::2], high[::-1], rtol=1e-15)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    n=st.one_of(st.integers(0, 260), st.integers(BLOCK, BLOCK + 300)),
    seed=st.integers(0, 2**32 - 1),
    moments=MOMENTS,
    levels=st.integers(1, 4),
)
def test_equals_its_slow_twin(n: int, seed: int, moments: int, levels: int) -> None:
    x = walk(n, seed)
    expected = naive.modwt(x.tolist(), *(f.tolist() for f in peer(moments)), levels)
    for ours, theirs in zip(modwt(x, moments, levels), expected, strict=True):
        np.testing.assert_allclose(ours, np.reshape(theirs, (levels, n)), rtol=0, atol=1e-13)


@EVERY_FILTER
def test_equals_pywavelets_shifted_into_the_past(moments: int) -> None:
    n, levels = 2048, 4
    x = walk(n, moments)
    theirs = pywt.swt(x, f"db{moments}", level=levels, norm=True)[::-1]
    ours = modwt(x, moments, levels)
    for j, (smooth, detail) in enumerate(theirs):
        ahead = moments * (2 ** (j + 1) - 1)  # of db4: 4, 12, 28, 60 bars
        first = (2 ** (j + 1) - 1) * (2 * moments - 1)
        inside, then = slice(first, n - ahead), slice(first + ahead, n)
        np.testing.assert_allclose(ours.details[j, then], detail[inside], rtol=0, atol=1e-13)
        np.testing.assert_allclose(ours.smooths[j, then], smooth[inside], rtol=0, atol=1e-13)


def test_equals_what_matlab_printed(shared_data: Path) -> None:
    theirs = np.load(shared_data / "refs" / "pywavelets" / "dwt_matlabR2012a_result.npz")
    random = np.random.RandomState(1234)
    compared = 0
    for moments in range(1, MOST + 1):
        taps = 2 * moments
        for n in (taps, taps + 1):
            padded = np.zeros(n + 2 * (taps - 1))
            padded[taps - 1 : taps - 1 + n] = random.randn(n)
            ours = modwt(padded, moments, 1)
            every_other = slice(taps, taps + n + taps - 2, 2)  # their transform keeps these bars
            for kind, line in (("ma", ours.smooths[0]), ("md", ours.details[0])):
                got = np.sqrt(2.0) * line[every_other]
                key = f"zpd_db{moments}_{n}_{kind}"
                with_our_filters = theirs[f"{key}_pywtCoeffs"].ravel()
                np.testing.assert_allclose(got, with_our_filters, rtol=0, atol=2e-15)
                # their own filters have fewer digits
                np.testing.assert_allclose(got, theirs[key].ravel(), rtol=0, atol=2e-10)
                compared += got.size
    assert compared == 420


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 200), seed=st.integers(0, 2**32 - 1), moments=MOMENTS, levels=st.integers(1, 5)
)
def test_energy_is_kept(n: int, seed: int, moments: int, levels: int) -> None:
    span = (2**levels - 1) * (2 * moments - 1)
    x = np.random.default_rng(seed).normal(0.0, 1.0, n)
    out = modwt(np.concatenate((np.zeros(span), x, np.zeros(span))), moments, levels)
    energy = np.nansum(out.details**2) + np.nansum(out.smooths[-1] ** 2)
    assert energy == pytest.approx(np.sum(x**2), rel=1e-11)


@EVERY_FILTER
def test_details_are_blind_to_a_polynomial_of_a_lower_degree(moments: int) -> None:
    t = np.linspace(-1.0, 1.0, 1000)
    for degree in range(moments):
        details = modwt(t**degree, moments, 3).details
        assert np.nanmax(np.abs(details)) < 1e-11
    assert np.nanmax(np.abs(modwt(t**moments, moments, 3).details)) > 1e-13 * 10.0 ** (-moments)


def test_haar_is_the_filter_of_one_moment_with_the_other_sign() -> None:
    x = walk(3 * BLOCK, 3)
    ours, of_haar = modwt(x, moments=1, levels=5), haar(x, 5)
    np.testing.assert_array_equal(-ours.details, of_haar.details)
    np.testing.assert_array_equal(ours.smooths[-1], of_haar.approximation)


@EVERY_FILTER
def test_the_delay_is_where_an_impulse_has_its_energy(moments: int) -> None:
    levels, n = 4, 2000
    impulse = np.zeros(n)
    impulse[500] = 1.0
    delays = modwt_delays(moments, levels)
    for lines, expected in zip(modwt(impulse, moments, levels), delays, strict=True):
        energy = np.nan_to_num(lines) ** 2
        centre = (energy * (np.arange(n) - 500.0)).sum(axis=1) / energy.sum(axis=1)
        np.testing.assert_allclose(centre, expected, rtol=1e-12)


def test_the_delay_of_haar_is_half_its_span() -> None:
    np.testing.assert_array_equal(modwt_delays(1, 4).details, [0.5, 1.5, 3.5, 7.5])
    np.testing.assert_array_equal(modwt_delays(1, 4).smooths, [0.5, 1.5, 3.5, 7.5])


@EVERY_FILTER
def test_no_value_changes_when_tomorrow_arrives_where_pywavelets_does(moments: int) -> None:
    n, cut = BLOCK + 2048, BLOCK + 1000
    x = walk(n, 5)
    altered = np.where(np.arange(n) < cut, x, x + 1.0)
    before, after = modwt(x, moments), modwt(altered, moments)
    same_bits(tuple(v[:, :cut] for v in after), tuple(v[:, :cut] for v in before))
    assert before.details[0, cut] != after.details[0, cut]
    theirs = [pywt.swt(s, f"db{moments}", level=4, norm=True)[0][1] for s in (x, altered)]
    assert np.abs(theirs[0] - theirs[1])[:cut].max() > 0.02


@settings(max_examples=80, deadline=None)
@given(
    n=st.integers(0, 3 * BLOCK),
    seed=st.integers(0, 2**32 - 1),
    moments=MOMENTS,
    levels=st.integers(1, 9),
    holes=st.sampled_from([0.0, 0.0005]),
    data=st.data(),
)
def test_equal_bit_by_bit_however_a_long_series_is_cut(
    n: int, seed: int, moments: int, levels: int, holes: float, data: st.DataObject
) -> None:
    x = walk(n, seed)
    rng = np.random.default_rng(seed)
    x[rng.random(n) < holes] = rng.choice([np.nan, np.inf, -np.inf])
    whole, state = modwt_state(moments, levels), modwt_state(moments, levels)
    expected = modwt(x, moments, levels, state=whole)
    cuts = data.draw(st.lists(st.integers(0, n), max_size=6))
    parts = [
        modwt(x[a:b], moments, levels, state=state) for a, b in pairwise([0, *sorted(cuts), n])
    ]
    same_bits(tuple(np.concatenate(v, axis=1) for v in zip(*parts, strict=True)), expected)
    same_bits((state,), (whole,))
    same_bits(modwt(x, moments, levels), expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [50, 200, BLOCK + 700, BLOCK + 2048 - 1])
def test_a_missing_bar_is_missing_in_its_span_alone(bad: float, at: int) -> None:
    x = walk(BLOCK + 2048, 9)
    clean = modwt(x)
    x[at] = bad
    holed = modwt(x)
    for j in range(4):
        last = at + (2 ** (j + 1) - 1) * 7
        for ours, expected in zip(holed, clean, strict=True):
            missing = slice(at, last + 1)
            assert np.isnan(ours[j, missing]).all()
            same_bits((np.delete(ours[j], missing),), (np.delete(expected[j], missing),))


def test_results_go_where_they_are_wanted() -> None:
    x = walk(700, 2)
    out = np.full((3, 700), -1.0), np.full((3, 700), -1.0)
    found = modwt(x, 2, 3, out=out)
    assert found.details is out[0]
    assert found.smooths is out[1]
    same_bits(out, modwt(x, 2, 3))


def test_any_numbers_any_order_read_only() -> None:
    x = np.rint(1e3 * walk(600, 4))
    expected = modwt(x)
    frozen = x.copy()
    frozen.flags.writeable = False
    for given_ in (x.astype(np.int32), x.astype(np.float32), frozen, np.repeat(x, 2)[::2]):
        same_bits(modwt(given_), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: modwt([1.0], 0), "moments: expected >= 1, was 0"),
        (lambda: modwt([1.0], 11), "moments: expected <= 10, was 11"),
        (lambda: modwt([1.0], levels=0), "levels: expected >= 1, was 0"),
        (lambda: modwt([[1.0]]), r"x: expected shape \(n,\)"),
        (lambda: modwt_delays(4, 0), "levels: expected >= 1, was 0"),
        (lambda: modwt([1.0], state=modwt_state(3)), r"state: expected .* \(106,\)"),
        (
            lambda: modwt([1.0], out=(np.empty((4, 2)), np.empty((4, 1)))),
            r"out: expected .* \(4, 1\)",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_memory_that_is_read_or_written_twice_is_refused() -> None:
    room = np.zeros((9, 8))
    for x, out in (
        (room[0], (room[:4], room[4:8])),
        (np.zeros(8), (room[:4], room[3:7])),
    ):
        with pytest.raises(ValueError, match="out: expected memory of its own"):
            modwt(x, out=out)
