"""The causal Haar transform: each bar's value from this bar and earlier ones alone.

The maximal overlap discrete wavelet transform, one-sided (a trous): nothing is mirrored or wrapped
at the end, so no coefficient changes when tomorrow arrives. With x the series and s = 2**(j - 1)::

    a_0 = x      d_j[t] = (a_{j-1}[t] - a_{j-1}[t - s]) / 2
                 a_j[t] = (a_{j-1}[t] + a_{j-1}[t - s]) / 2

and x = a_J + d_1 + ... + d_J to rounding. Detail j spans the last 2**j bars and lags by half of it.
All is computed afresh from the kept inputs, so it is equal bit by bit however the input is cut.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.gate import Matrix, Series
from kernels.states import at_least, carried, column, ratio
from kernels.windows import continued, logarithm, total, weighted_sum, window_state


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


def haar_state(levels: int = 4) -> Series:
    """Return the state of ``haar`` before the first bar."""
    return window_state(2 ** at_least(levels, 1, "levels"))


def haar(x: npt.ArrayLike, levels: int = 4, *, state: Series | None = None) -> Haar:
    """Return the causal Haar details and approximation of a series.

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
    state = carried(state, haar_state(levels))
    given = column(x, "x")
    details, approximation = _transform(continued(given, state), levels)
    return Haar(_newest(details, given.size), approximation)


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
    details, approximation = _transform(continued(given, state), levels)
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
        slope=_slope(approximation, window),
    )


def _transform(padded: Series, levels: int) -> tuple[Matrix, Series]:
    """Return details of every bar of ``padded`` (NaN at its first ones), and what is left."""
    details = np.full((levels, padded.size), np.nan)
    rest = padded
    for j in range(levels):
        span = 2**j
        earlier, later = rest[:-span], rest[span:]
        details[j, padded.size - later.size :] = 0.5 * (later - earlier)
        rest = 0.5 * (later + earlier)
    return details, rest


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
