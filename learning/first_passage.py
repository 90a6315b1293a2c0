"""Which barrier a driftless Brownian motion meets first: mathematics alone, NumPy alone.

This is what the enhanced triple barrier predicts without any edge. Serving evaluates it, so
nothing heavy is imported here.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

UPPER: Final = "upper_barrier_distance_atr"
LOWER: Final = "lower_barrier_distance_atr"
VOLATILITY: Final = "atr_ratio_14"
PASSAGE_FEATURES: Final = (UPPER, LOWER, VOLATILITY)

SMOOTHING: Final = 1e-4  # added to each probability: bars are not Brownian, and log 0 is final
_SMALLEST_TIME: Final = 1e-5  # of the squared width; keeps the series under 1,000 terms
_LARGEST_EXPONENT: Final = 40.0  # exp(-40) is below a double's resolution of 1

Floats = npt.NDArray[np.float64]


def probabilities(
    upper: npt.ArrayLike, lower: npt.ArrayLike, scale: npt.ArrayLike, horizon: float
) -> Floats:
    r"""Return the chances of meeting the lower barrier first, neither, and the upper first.

    With w = upper + lower, z = lower / w and s = scale² · horizon / w², the eigenfunctions of the
    heat equation on [0, w] with absorbing ends give

        P(upper) = z + Σ (2 / nπ) (-1)^n sin(nπz) exp(-n²π²s / 2),

    P(lower) by z → 1 - z, and P(neither) as what is left.

    Parameters
    ----------
    upper, lower : array_like of float, shape (n,)
        Distances from the start to the barriers, > 0, in any one unit (here ATR).
    scale : array_like of float, shape (n,)
        Standard deviation of one bar's change, in that unit, > 0.
    horizon : float
        Bars until the clock stops; ``inf`` gives the gambler's ruin.

    Returns
    -------
    ndarray of float64, shape (n, 3)
        In the order of the classes -1, 0, +1; rows add up to 1. NaN where an input is NaN.

    Raises
    ------
    ValueError
        If a distance, a scale or the horizon is not positive.

    References
    ----------
    Borodin and Salminen, Handbook of Brownian Motion, II.1.3 (two-sided exit times).

    Examples
    --------
    >>> probabilities([2.0], [1.0], [1.0], np.inf).round(4)
    array([[0.6667, 0.    , 0.3333]])
    """
    up, down, sigma = np.broadcast_arrays(
        np.atleast_1d(np.asarray(upper, np.float64)),
        np.atleast_1d(np.asarray(lower, np.float64)),
        np.atleast_1d(np.asarray(scale, np.float64)),
    )
    for name, value in (("upper", up), ("lower", down), ("scale", sigma)):
        if bool((value <= 0).any()):
            raise ValueError(f"{name}: expected > 0, was {np.nanmin(value)}")
    if not horizon > 0:
        raise ValueError(f"horizon: expected > 0, was {horizon}")
    width = up + down
    time = np.maximum(sigma * sigma * horizon / (width * width), _SMALLEST_TIME)
    out = np.empty((up.size, 3))
    out[:, 2], out[:, 0] = _exits(down / width, time)
    out[:, 1] = 1.0 - out[:, 0] - out[:, 2]
    return np.clip(out, 0.0, 1.0)


def _exits(z: Floats, time: Floats) -> tuple[Floats, Floats]:
    shortest = float(np.nanmin(time)) if bool(np.isfinite(time).any()) else 1.0
    terms = int(np.ceil(np.sqrt(2.0 * _LARGEST_EXPONENT / shortest) / np.pi)) + 1
    upper, lower = z.copy(), 1.0 - z
    for start in range(1, terms + 1, 64):  # in slices: a million rows need not be a wide matrix
        n = np.arange(start, min(start + 64, terms + 1))[:, np.newaxis]
        decay = np.exp(-0.5 * (n * np.pi) ** 2 * time) * (2.0 / (n * np.pi))
        wave = np.sin(n * np.pi * z) * decay
        lower -= wave.sum(axis=0)
        upper += np.where(n % 2 == 0, wave, -wave).sum(axis=0)
    return upper, lower


@dataclass(frozen=True, slots=True)
class FirstPassage:
    """The fitted volatility: scale = exp(log_scale + exponent · (ln atr_ratio - centre)) ATR.

    ``exponent`` says how a bar's standard deviation in ATR moves with the level of volatility
    (below 0 where volatility reverts); ``centre`` is the training rows' mean of ln atr_ratio.
    """

    log_scale: float
    exponent: float
    centre: float
    horizon_bars: int

    def log_probabilities(self, upper: Floats, lower: Floats, volatility: Floats) -> Floats:
        """Return smoothed log probabilities, shape (n, 3), in the order of the classes."""
        scale = np.exp(self.log_scale + self.exponent * (np.log(volatility) - self.centre))
        p = probabilities(upper, lower, scale, self.horizon_bars)
        out: Floats = np.log((p + SMOOTHING) / (1.0 + 3.0 * SMOOTHING))
        return out
