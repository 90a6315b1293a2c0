"""Causal wavelets: each bar's value from this bar and earlier ones alone.

The maximal overlap discrete wavelet transform, one-sided (a trous): nothing is mirrored or wrapped
at the end, so no coefficient changes when tomorrow arrives. With x the series, s = 2**(j - 1), and
g and h the smoothing and the detail filter of L = 2 * moments factors, the newest bar's first::

    v_0 = x      w_j[t] = sum over l of h[l] * v_{j-1}[t - l * s]
                 v_j[t] = sum over l of g[l] * v_{j-1}[t - l * s]

Detail j spans the last (2**j - 1) * (L - 1) + 1 bars. Haar's is the filter of one moment; its
details have the sign of a rise here (``haar``), the other one in ``modwt``. How it is computed is
in ``wavelets_cascade``; each value is made of its own span's bars, always in the same order.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.gate import Matrix, Series, series
from kernels.states import at_least, carried, column, kept, ratio
from kernels.wavelets_cascade import cascade, cascade_size, cascade_state
from kernels.wavelets_filters import filters, haar_filters
from kernels.windows import continued, logarithm, total, weighted_sum, window_state


class Modwt(NamedTuple):
    """Details and smooths, one row a level from the finest, each of shape (levels, n)."""

    details: Matrix
    smooths: Matrix


class Delays(NamedTuple):
    """By how many bars a level's details and smooths lag, from the finest: shape (levels,)."""

    details: Series
    smooths: Series


class Haar(NamedTuple):
    """Details, one row a level from the finest, shape (levels, n), and the smooth rest, (n,)."""

    details: Matrix
    approximation: Series


class HaarWindow(NamedTuple):
    """What a window of details says; by level where shape is (levels, n), else shape (n,)."""

    details: Matrix
    energies: Matrix
    shares: Matrix
    entropy: Series
    dominant: Series
    fast_slow: Series
    slope: Series


def modwt_state(moments: int = 4, levels: int = 4) -> Series:
    """Return the state of ``modwt`` before the first bar."""
    return cascade_state(filters(moments).size // 2, at_least(levels, 1, "levels"))


def modwt(
    x: npt.ArrayLike,
    moments: int = 4,
    levels: int = 4,
    *,
    state: Series | None = None,
    out: tuple[Matrix, Matrix] | None = None,
) -> Modwt:
    """Return the causal MODWT of a series by Daubechies' filter of ``moments`` vanishing moments.

    Parameters
    ----------
    x : array_like, float64, shape (n,)
        Any unit; of prices, take the logarithm. NaN gives NaN in each value whose span it is in,
        and what is infinite counts as NaN.
    moments : int
        N of ``dbN``, 1 to 10; ``db4`` by default.
    levels : int
        J, at least 1.
    state : ndarray of float64, optional
        From ``modwt_state(moments, levels)`` or an earlier call, which this one continues: changed
        in place.
    out : tuple of two ndarray of float64, shape (levels, n), C order, optional
        Where the details and the smooths are written.

    Returns
    -------
    Modwt
        ``details`` and ``smooths`` (float64, shape (levels, n), finest first; row j - 1 is NaN for
        the first ``(2**j - 1) * (2 * moments - 1)`` bars of the series), in the unit of ``x``. They
        lag by ``modwt_delays(moments, levels)`` bars. A polynomial of a lower degree than
        ``moments`` has details 0, to rounding.

    Raises
    ------
    ValueError
        If ``moments`` or ``levels`` is out of range, or an array has another shape or shares
        memory.

    References
    ----------
    D. B. Percival, A. T. Walden, Wavelet Methods for Time Series Analysis (2000), chapter 5, with
    the filters in PyWavelets' order: ``swt(x, "db4", norm=True)`` holds the same numbers, those of
    ``moments * (2**j - 1)`` bars later, and wraps around the end.

    Examples
    --------
    >>> out = modwt([1.0, 3.0, 3.0, 7.0], moments=1, levels=1)
    >>> out.details, out.smooths
    (array([[nan, -1.,  0., -2.]]), array([[nan,  2.,  3.,  5.]]))
    """
    return _transform(series(x, "x"), filters(moments), levels, state, out)


def modwt_delays(moments: int = 4, levels: int = 4) -> Delays:
    """Return how many bars ``modwt`` lags by level: where the energy of its filters has its centre.

    Of the bars in a value's span, each counts by its factor squared.

    Raises
    ------
    ValueError
        If ``moments`` or ``levels`` is out of range.

    Examples
    --------
    >>> modwt_delays(moments=1, levels=3).details
    array([0.5, 1.5, 3.5])
    """
    low, high = filters(moments).reshape(-1, 2)[::-1].T
    detail, smooth = [], []
    whole: Series = np.ones(1)
    for j in range(at_least(levels, 1, "levels")):
        spread = np.zeros((2, 2**j * (low.size - 1) + 1))
        spread[:, :: 2**j] = low, high
        detail.append(_centre(np.convolve(whole, spread[1])))
        whole = np.convolve(whole, spread[0])
        smooth.append(_centre(whole))
    return Delays(np.array(detail), np.array(smooth))


def haar_state(levels: int = 4) -> Series:
    """Return the state of ``haar`` before the first bar."""
    return modwt_state(1, levels)


def haar(x: npt.ArrayLike, levels: int = 4, *, state: Series | None = None) -> Haar:
    """Return the causal Haar details and approximation of a series.

    With s = 2**(j - 1), d_j[t] = (a_{j-1}[t] - a_{j-1}[t - s]) / 2 and a_j[t] the mean of the two;
    and x = a_J + d_1 + ... + d_J to rounding. Detail j lags by half of the 2**j bars that it spans.

    Parameters
    ----------
    x : array_like, float64, shape (n,)
        Any unit; of prices, take the logarithm. NaN gives NaN where it is among the ``2**j`` bars
        of a level-j value (and in the approximation for ``2**levels`` bars).
    levels : int
        J, at least 1.
    state : ndarray of float64, optional
        From ``haar_state(levels)`` or an earlier call, which this one continues: changed in place.

    Returns
    -------
    Haar
        ``details`` (float64, shape (levels, n), finest first; row j - 1 is NaN for the first
        ``2**j - 1`` bars of the series) and ``approximation`` (shape (n,), NaN for the first
        ``2**levels - 1``), in the unit of ``x``. A constant series has details 0.

    Raises
    ------
    ValueError
        If ``levels`` is below 1, or ``x`` or ``state`` has another shape.

    References
    ----------
    D. B. Percival, A. T. Walden, Wavelet Methods for Time Series Analysis (2000), chapter 5.
    PyWavelets ``swt(x, "haar", norm=True)`` holds the same details with the other sign, those of
    ``2**j - 1`` bars later, and wraps around the end.

    Examples
    --------
    >>> out = haar([1.0, 3.0, 3.0, 7.0], 1)
    >>> out.details, out.approximation
    (array([[nan,  1.,  0.,  2.]]), array([nan,  2.,  3.,  5.]))
    """
    details, smooths = _transform(series(x, "x"), haar_filters(), levels, state)
    return Haar(details, smooths[-1])


def haar_window_state(levels: int = 4, window: int = 32) -> Series:
    """Return the state of ``haar_window`` before the first bar."""
    at_least(window, 2, "window")
    return window_state(2 ** at_least(levels, 2, "levels") + window - 1)


def haar_window(
    x: npt.ArrayLike, *, levels: int = 4, window: int = 32, state: Series | None = None
) -> HaarWindow:
    """Return energies, shares, entropy and trend of the causal Haar transform over a window.

    Over the last ``window`` bars, with E_j the sum of d_j squared and p_j = E_j / (E_1 + ... + E_J)
    the entropy is -sum(p_j ln p_j) / ln J, the dominant level is the j of the largest p_j (the
    finest of equal ones), fast over slow is the energy of the finer half of the levels over that
    of the rest (the middle one of an odd number is slow), and the slope is that of the least
    squares line through the approximation.

    Parameters
    ----------
    x : array_like, float64, shape (n,)
        Any unit; of prices, take the logarithm. NaN gives NaN for the ``2**levels + window - 1``
        bars that see it (finer levels recover earlier).
    levels : int
        J, at least 2.
    window : int
        Bars, at least 2.
    state : ndarray of float64, optional
        From ``haar_window_state(...)`` or an earlier call, which this one continues: changed in
        place.

    Returns
    -------
    HaarWindow
        Float64. ``details`` as ``haar``; ``energies`` in squared units of ``x``; ``shares`` and
        ``entropy`` 0..1; ``dominant`` 1..levels; ``fast_slow`` >= 0, NaN where the slow half has
        no energy; ``slope`` in units of ``x`` a bar. Shares, and what is read off them, are NaN
        for the first ``2**levels + window - 2`` bars of the series (the slope too), and where the
        window is constant: nothing moved, so there is nothing to share.

    Raises
    ------
    ValueError
        If ``levels`` or ``window`` is below 2, or ``x`` or ``state`` has another shape.

    References
    ----------
    D. B. Percival, A. T. Walden, Wavelet Methods for Time Series Analysis (2000), chapter 8, for
    the decomposition of variance by scale.

    Examples
    --------
    >>> out = haar_window([0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0], levels=2, window=2)
    >>> out.shares[:, -1], float(out.entropy[-1]), float(out.dominant[-1])
    (array([1., 0.]), 0.0, 1.0)
    """
    state = carried(state, haar_window_state(levels, window))
    given = column(x, "x")
    n = given.size
    details, smooths = _transform(
        continued(given, state), haar_filters(), levels, haar_state(levels)
    )
    # the first value of each that a window can see, so that total() needs no memory of its own
    kept = details[:, details.shape[1] - (n + window - 1) :]
    energies = np.stack([_sums(row * row, window) for row in kept])
    whole = _added(energies)
    shares = np.stack([ratio(row, whole, otherwise=np.nan) for row in energies])
    half = levels // 2
    return HaarWindow(
        details=_newest(details, n),
        energies=energies,
        shares=shares,
        entropy=_entropy(shares),
        dominant=np.where(np.isnan(_added(shares)), np.nan, energies.argmax(axis=0) + 1.0),
        fast_slow=ratio(_added(energies[:half]), _added(energies[half:]), otherwise=np.nan),
        slope=_slope(smooths[-1, 2**levels - 1 :], window),
    )


def _transform(
    x: Series,
    factors: Series,
    levels: int,
    state: Series | None,
    out: tuple[Matrix, Matrix] | None = None,
) -> Modwt:
    taps = factors.size // 2
    if state is None:
        own = cascade_state(taps, at_least(levels, 1, "levels"))
    else:
        own = kept(state, cascade_size(taps, at_least(levels, 1, "levels")))
    shape = (levels, x.size)
    into = Modwt(np.empty(shape), np.empty(shape)) if out is None else _into(out, shape, x)
    cascade(x, factors, own, *into)
    return into


def _into(out: tuple[Matrix, Matrix], shape: tuple[int, int], x: Series) -> Modwt:
    """Return ``out``; raise ``ValueError`` if it cannot be written to while ``x`` is read."""
    into = Modwt(*out)
    for array in into:
        is_fit = type(array) is np.ndarray and array.dtype == np.float64 and array.shape == shape
        if not (is_fit and array.flags.carray):
            raise ValueError(f"out: expected writeable, contiguous float64 of shape {shape}")
    if np.may_share_memory(*into) or any(np.may_share_memory(x, array) for array in into):
        raise ValueError("out: expected memory of its own, was an input's or another output's")
    return into


def _centre(factors: Series) -> float:
    energy = factors * factors
    return float(np.dot(energy, np.arange(energy.size)) / energy.sum())


def _newest(details: Matrix, n: int) -> Matrix:
    return np.ascontiguousarray(details[:, details.shape[1] - n :])


def _sums(x: Series, window: int) -> Series:
    return total(x[window - 1 :], window, x[: window - 1].copy())


def _added(rows: Matrix) -> Series:
    """Return the sum over levels in their order (NumPy's own may take another by shape)."""
    out: Series = rows[0].copy()
    for row in rows[1:]:
        out += row
    return out


def _entropy(shares: Matrix) -> Series:
    terms = np.stack([p * logarithm(np.where(p > 0.0, p, 1.0)) for p in shares])
    return (0.0 - _added(terms)) / math.log(shares.shape[0])


def _slope(y: Series, window: int) -> Series:
    weights: Series = np.arange(1.0 - window, window + 1.0, 2.0) / 2.0
    return weighted_sum(y, weights) / float(np.dot(weights, weights))
