"""Price barriers of the enhanced triple barrier: volatility bands, pulled in by levels.

Belongs here: where the two barriers lie. Keep out: which was touched (``first_touch``) and which
level is nearest (``levels``).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.gate import Series, series

Flags = npt.NDArray[np.bool_]


class Barriers(NamedTuple):
    """Upper and lower barrier, and whether a level moved each; arrays of shape (n,)."""

    upper: Series
    lower: Series
    is_upper_adjusted: Flags
    is_lower_adjusted: Flags


def barriers(  # noqa: PLR0913 - four series and the four constants of one formula
    price: npt.ArrayLike,
    atr: npt.ArrayLike,
    support: npt.ArrayLike,
    resistance: npt.ArrayLike,
    *,
    k: float = 2.0,
    buffer: float = 0.1,
    reach: float = 3.0,
    min_distance: float = 0.25,
) -> Barriers:
    """Return the barriers around ``price``, ``k`` ATR away unless a level stands nearer.

    With P the price, A its ATR, R the nearest resistance above and S the nearest support below::

        U0 = P + k*A            L0 = P - k*A
        U  = R - buffer*A   if R - P < reach*A and P + min_distance*A <= R - buffer*A < U0, else U0
        L  = S + buffer*A   if P - S < reach*A and L0 < S + buffer*A <= P - min_distance*A, else L0

    ``min_distance`` keeps a level that hugs the price from putting a barrier on the wrong side of
    it. Causal: row i reads row i alone. No warm-up of its own.

    Parameters
    ----------
    price, atr
        float64, shape (n,), price units. A row whose ATR is NaN or not above zero has no scale of
        volatility, so no barriers.
    support, resistance
        float64, shape (n,), price units: the nearest active level below and above the price,
        already chosen; NaN where there is none.
    k, buffer, reach, min_distance
        In multiples of ATR; ``k`` above zero, the others at least zero.

    Returns
    -------
    Barriers
        ``upper`` and ``lower`` (float64, price units, NaN where there is no ATR), and two bool
        arrays, False where the barrier is the volatility band or NaN.

    Raises
    ------
    ValueError
        If the shapes differ or a constant is out of range.

    References
    ----------
    M. Lopez de Prado, Advances in Financial Machine Learning (2018), 3.3, for the triple barrier.

    Examples
    --------
    >>> b = barriers([1.0965], [0.0025], [1.0920], [1.0990])
    >>> round(float(b.upper[0]), 5), round(float(b.lower[0]), 5)
    (1.09875, 1.09225)
    """
    p, a = series(price, "price"), series(atr, "atr")
    s, r = series(support, "support"), series(resistance, "resistance")
    for name, column in (("atr", a), ("support", s), ("resistance", r)):
        if column.shape != p.shape:
            raise ValueError(f"{name}: expected shape {p.shape} as price, was {column.shape}")
    if not k > 0.0:
        raise ValueError(f"k: expected > 0, was {k}")
    for name, value in (("buffer", buffer), ("reach", reach), ("min_distance", min_distance)):
        if not value >= 0.0:
            raise ValueError(f"{name}: expected >= 0, was {value}")
    a = np.where(a > 0.0, a, np.nan)
    far_upper, far_lower = p + k * a, p - k * a
    near_upper, near_lower = r - buffer * a, s + buffer * a
    is_upper = (r - p < reach * a) & (p + min_distance * a <= near_upper) & (near_upper < far_upper)
    is_lower = (p - s < reach * a) & (far_lower < near_lower) & (near_lower <= p - min_distance * a)
    return Barriers(
        np.where(is_upper, near_upper, far_upper),
        np.where(is_lower, near_lower, far_lower),
        is_upper,
        is_lower,
    )
