"""The gate that every public kernel passes its arrays through.

Belongs here: making inputs contiguous, typed and read-only, so that each compiled function is
compiled once. Keep out: arithmetic, and rules of the market (order, high >= low).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Series = np.ndarray[tuple[int], np.dtype[np.float64]]
"""One number a bar: shape (n,), float64."""

Instants = np.ndarray[tuple[int], np.dtype[np.int64]]
"""One instant a bar: shape (n,), int64 microseconds UTC."""

Matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]
"""Bars by column: shape (n, k), float64, C order."""


def series(x: npt.ArrayLike, name: str) -> Series:
    """Return ``x`` as a contiguous, read-only float64 view of shape (n,).

    Copies only what is not float64 or not contiguous; the caller's array stays writeable.

    Parameters
    ----------
    x : array_like, shape (n,)
        Any numbers; NaN passes.
    name : str
        How error messages call it.

    Returns
    -------
    ndarray of float64, shape (n,), read-only

    Raises
    ------
    ValueError
        If ``x`` is not one-dimensional.

    Examples
    --------
    >>> series([1, 2], "close")
    array([1., 2.])
    """
    given = np.asarray(x, dtype=np.float64)
    return _frozen(given, name)


def instants(x: npt.ArrayLike, name: str) -> Instants:
    """Return ``x`` as a contiguous, read-only int64 view of shape (n,): microseconds UTC.

    Parameters
    ----------
    x : array_like, shape (n,)
        Integers; ``datetime64`` is refused (which unit it holds is the caller's to say).
    name : str
        How error messages call it.

    Returns
    -------
    ndarray of int64, shape (n,), read-only

    Raises
    ------
    TypeError
        If ``x`` does not hold integers: a float instant has lost microseconds already.
    ValueError
        If ``x`` is not one-dimensional.

    Examples
    --------
    >>> instants([0, 60_000_000], "ts")
    array([       0, 60000000])
    """
    given = np.asarray(x)
    if given.size and not np.issubdtype(given.dtype, np.integer):
        raise TypeError(f"{name}: expected integers (microseconds UTC), was {given.dtype}")
    return _frozen(given.astype(np.int64, copy=False), name)


def _frozen(
    given: np.ndarray[Any, np.dtype[Any]], name: str
) -> np.ndarray[tuple[int], np.dtype[Any]]:
    # looked at before ascontiguousarray, which lifts a scalar to (1,)
    if given.ndim != 1:
        raise ValueError(f"{name}: expected shape (n,), was {given.shape}")
    out = np.ascontiguousarray(given).view()
    out.flags.writeable = False  # one specialisation; mutation will not compile
    return out
