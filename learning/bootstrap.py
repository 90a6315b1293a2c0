"""Stationary block bootstrap over instants: intervals for whatever is a function of sums."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ROUNDING: Final = 1e-6
"""Two models that are the same (XGBoost that chose no tree) differ by float32's rounding, 1e-8."""
MINIMUM_BLOCKS: Final = 4  # fewer say nothing about how far a mean can wander


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and where it lies with 90 % confidence; no bounds where rows are too few.

    ``error`` is the figure's standard error, ``freedom`` how many blocks less one it was estimated
    from: what an interval of another confidence is made of.
    """

    value: float
    low: float | None
    high: float | None
    error: float | None = None
    freedom: float | None = None

    @property
    def is_below_zero(self) -> bool:
        """Whether all of the interval is below zero, by more than rounding."""
        return self.high is not None and self.high < -ROUNDING

    @property
    def is_above_zero(self) -> bool:
        """Whether all of the interval is above zero, by more than rounding."""
        return self.low is not None and self.low > ROUNDING

    def at_most(self, confidence: float) -> float | None:
        """Return the upper end of the two-sided interval of this confidence, by Student's t.

        ``None`` where rows are too few. A mean's far tails are beyond what 1,000 replicates show:
        the standard error and the number of blocks say more about them.
        """
        from scipy.special import stdtrit  # noqa: PLC0415 - heavy, and only evaluation needs it

        if self.error is None or self.freedom is None:
            return None
        return self.value + float(stdtrit(self.freedom, 0.5 + confidence / 2.0)) * self.error

    def text(self) -> str:
        """Return it as a person reads it: ``-0.0123 [-0.0200, -0.0045]``."""
        if self.low is None or self.high is None:
            return f"{self.value:+z.4f} [too few rows for an interval]"
        return f"{self.value:+z.4f} [{self.low:+z.4f}, {self.high:+z.4f}]"


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How intervals are made: replicates, coverage, seed, blocks in multiples of the horizon."""

    replicates: int = 1000
    coverage: float = 0.9
    seed: int = 20_170
    blocks_per_horizon: int = 4


def block_length(n: int, horizon_bars: int, settings: Bootstrap) -> int:
    """Return the mean block in bars: several horizons, never less than one.

    Labels that overlap by a horizon make losses correlate that long; a block of one horizon would
    cut half of each such pair. Where rows are few, blocks shrink to keep ``MINIMUM_BLOCKS``.
    """
    longest = max(settings.blocks_per_horizon * horizon_bars, round(n ** (1 / 3)))
    return int(max(horizon_bars, min(longest, n // MINIMUM_BLOCKS)))


def resampled_counts(n: int, block: int, settings: Bootstrap) -> npt.NDArray[np.float64]:
    """Return how often each of ``n`` instants comes in each replicate, shape (replicates, n).

    Blocks start anywhere, have geometric lengths of mean ``block`` and wrap around the end.

    References
    ----------
    Politis and Romano, The Stationary Bootstrap (1994).

    Examples
    --------
    >>> counts = resampled_counts(10, 3, Bootstrap(replicates=2))
    >>> counts.shape, counts.sum(axis=1).tolist()
    ((2, 10), [10.0, 10.0])
    """
    rng = np.random.default_rng(settings.seed)
    size = (settings.replicates, n)
    starts = rng.random(size) < 1.0 / block
    starts[:, 0] = True
    origin = rng.integers(0, n, size)
    column = np.arange(n)
    since = np.maximum.accumulate(np.where(starts, column, 0), axis=1)
    index = (np.take_along_axis(origin, since, axis=1) + column - since) % n
    flat = index + n * np.arange(settings.replicates)[:, np.newaxis]
    counts = np.bincount(flat.ravel(), minlength=settings.replicates * n)
    return counts.reshape(size).astype(np.float64)


def intervals(
    sums: Floats,
    figures: Callable[[Floats], dict[str, Floats]],
    *,
    horizon_bars: int,
    settings: Bootstrap,
) -> dict[str, Interval]:
    """Return every figure with its interval.

    Parameters
    ----------
    sums : ndarray of float64, shape (n_instants, m)
        Sufficient statistics a distinct instant, in time order: instruments are resampled together.
    figures : callable
        From sums, shape (k, m), to figures by name, each of shape (k,).
    horizon_bars : int
    settings : Bootstrap

    Returns
    -------
    dict of str to Interval
        Percentile intervals, widened for few blocks; no bounds below ``MINIMUM_BLOCKS`` blocks.
    """
    point = {name: float(v[0]) for name, v in figures(sums.sum(axis=0)[np.newaxis]).items()}
    n = len(sums)
    block = block_length(n, horizon_bars, settings)
    if n < MINIMUM_BLOCKS * block:
        return {name: Interval(value, None, None) for name, value in point.items()}
    drawn = figures(resampled_counts(n, block, settings) @ sums)
    tail = 50.0 * (1.0 - settings.coverage)
    freedom = n / block - 1.0
    wider = _few_blocks(freedom, 1.0 - tail / 100.0)
    unbiased = np.sqrt((freedom + 1.0) / freedom)
    out = {}
    for name, value in point.items():
        low, high = np.percentile(drawn[name], [tail, 100.0 - tail])
        out[name] = Interval(
            value,
            float(value + (low - value) * wider),
            float(value + (high - value) * wider),
            error=float(drawn[name].std() * unbiased),
            freedom=freedom,
        )
    return out


def _few_blocks(freedom: float, level: float) -> float:
    """Return how much wider an interval must be because its spread is estimated from few blocks.

    Student's quantile over the normal one, and n - 1 for n. On losses of labels that overlap by 6
    bars it lifts the coverage of a nominal 90 % from 0.74 to 0.88 on 120 rows, from 0.83 to 0.85
    on 600 (400 replicates, blocks of 24 bars, 600 draws).
    """
    from scipy.special import ndtri, stdtrit  # noqa: PLC0415 - heavy, and only evaluation needs it

    return float(stdtrit(freedom, level) / ndtri(level) * np.sqrt((freedom + 1.0) / freedom))
