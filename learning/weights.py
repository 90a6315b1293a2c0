"""Sample weights from the concurrency of labels."""

import numpy as np
import numpy.typing as npt


def average_uniqueness(
    t_c: npt.NDArray[np.int64],
    matured_at: npt.NDArray[np.int64],
    instrument: npt.NDArray[np.str_],
) -> npt.NDArray[np.float64]:
    """Weight each label by how little of its span it shares, scaled to a mean of 1.

    At each decision time of an instrument, c is the number of its labels whose span
    [t_c, matured_at) holds it; a label's uniqueness is the mean of 1/c over its span.

    Parameters
    ----------
    t_c, matured_at : ndarray of int64, shape (n,)
        Microseconds UTC, any order, ``t_c < matured_at``.
    instrument : ndarray of str, shape (n,)
        Labels of different instruments do not share.

    Returns
    -------
    ndarray of float64, shape (n,)

    References
    ----------
    Lopez de Prado, Advances in Financial Machine Learning, 4.3-4.4.

    Examples
    --------
    Two labels that overlap in one of their two bars, and one alone:

    >>> spans = np.array([0, 1, 9]), np.array([2, 3, 11])
    >>> average_uniqueness(*spans, np.array(["A", "A", "A"])).round(3)
    array([1.   , 0.667, 1.333])
    """
    weight = np.empty(t_c.size)
    for name in np.unique(instrument):
        rows = instrument == name
        grid = np.sort(t_c[rows])
        first = np.searchsorted(grid, t_c[rows], side="left")
        end = np.searchsorted(grid, matured_at[rows], side="left")
        change = np.zeros(grid.size + 1)
        np.add.at(change, first, 1.0)
        np.add.at(change, end, -1.0)
        concurrency = np.cumsum(change)[:-1]
        share = np.concatenate(([0.0], np.cumsum(1.0 / concurrency)))
        weight[rows] = (share[end] - share[first]) / (end - first)
    out: npt.NDArray[np.float64] = weight / weight.mean()
    return out
