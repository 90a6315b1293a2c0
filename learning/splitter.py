"""Blocks in time order that do not know each other: purged by label spans, embargoed by bars.

Every earlier block ends so early that its last label had matured, and ``embargo_bars`` more bars
had passed, before the next block's first decision.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from learning.training_set import TrainingSet
from market.errors import NotEnoughDataError

SHARES: Final = (0.6, 0.2, 0.2)
MINIMUM_ROWS: Final = 30


@dataclass(frozen=True, slots=True)
class Blocks:
    """What a fit needs, in time order: to train on, to calibrate on, to size the sets on."""

    train: TrainingSet
    calibration: TrainingSet
    conformal: TrainingSet


def purged(
    rows: TrainingSet, test: npt.NDArray[np.bool_], *, embargo_bars: int
) -> npt.NDArray[np.bool_]:
    """Return which rows may train a model that is judged on the rows of ``test``.

    A row stays out if its span [t_c, matured_at] meets the test window, from the first test
    row's t_c to the **last** test label's maturity, or if fewer than ``embargo_bars`` bars of its
    own instrument lie between its span and that window, on either side.

    Parameters
    ----------
    rows : TrainingSet
        n rows.
    test : ndarray of bool, shape (n,)
        The judged rows; the window is their hull.
    embargo_bars : int
        Bars of the row's own instrument, >= 0.

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    ValueError
        If ``embargo_bars`` is negative.

    References
    ----------
    Lopez de Prado, Advances in Financial Machine Learning, 7.4.1-7.4.2. Several ports build the
    window from the first test label's end instead, and leak: mlfinlab #295.
    """
    if embargo_bars < 0:
        raise ValueError(f"embargo_bars: expected >= 0, was {embargo_bars}")
    if not test.any():
        return np.ones(len(rows), dtype=np.bool_)
    start, end = rows.t_c[test].min(), rows.matured_at[test].max()
    keep = np.zeros(len(rows), dtype=np.bool_)
    for name in np.unique(rows.instrument):
        own = rows.instrument == name
        bars = np.sort(rows.t_c[own])
        t_c, matured_at = rows.t_c[own], rows.matured_at[own]
        bars_before = np.searchsorted(bars, start) - np.searchsorted(bars, matured_at, side="right")
        bars_after = np.searchsorted(bars, t_c) - np.searchsorted(bars, end, side="right")
        before = (matured_at < start) & (bars_before >= embargo_bars)
        after = (t_c > end) & (bars_after >= embargo_bars)
        keep[own] = before | after
    return keep & ~test


def blocks(
    rows: TrainingSet,
    *,
    shares: tuple[float, float, float] = SHARES,
    embargo_bars: int | None = None,
    minimum_rows: int = MINIMUM_ROWS,
) -> Blocks:
    """Cut the rows in time into train, calibration and conformal blocks.

    Parameters
    ----------
    rows : TrainingSet
        In the order of t_c.
    shares : tuple of float
        Of the rows, before purging; they add up to 1. Rows of one instant stay together.
    embargo_bars : int, optional
        The label horizon by default.
    minimum_rows : int
        Of each block, after purging.

    Raises
    ------
    NotEnoughDataError
        If a block is smaller than ``minimum_rows``.
    """
    train, calibration, conformal = parts(rows, shares, embargo_bars=embargo_bars)
    for name, block in (("train", train), ("calibration", calibration), ("conformal", conformal)):
        if len(block) < minimum_rows:
            raise NotEnoughDataError(
                f"{name} block: expected at least {minimum_rows} rows, was {len(block)} "
                f"of {len(rows)} matured"
            )
    return Blocks(train, calibration, conformal)


def parts(
    rows: TrainingSet, shares: tuple[float, ...], *, embargo_bars: int | None = None
) -> tuple[TrainingSet, ...]:
    """Cut the rows in time by ``shares``, each part purged and embargoed from the next."""
    if not np.isclose(sum(shares), 1.0):
        raise ValueError(f"shares: expected a sum of 1, was {sum(shares)}")
    embargo = rows.horizon_bars if embargo_bars is None else embargo_bars
    at = np.minimum(np.round(np.cumsum(shares[:-1]) * len(rows)).astype(int), len(rows) - 1)
    part = np.searchsorted(rows.t_c[at], rows.t_c, side="right")
    out = []
    for i in range(len(shares)):
        mine, later = part == i, part > i
        out.append(rows.take(mine & purged(rows, later, embargo_bars=embargo)))
    return tuple(out)
