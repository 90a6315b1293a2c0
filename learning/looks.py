"""How sure the k-th look must be, so that judging month after month finds no edge by chance.

A model without any edge that is judged every month at 95 % is found better sooner or later: about
every second one within a year. So the error that is allowed once is spent over all looks, the
k-th taking ``ERROR / (k (k + 1))``, whose sum over any number of looks is below ``ERROR``.
"""

from typing import Final

ERROR: Final = 0.05
"""Chance that a registered model without an edge is ever found better, however often judged."""


def confidence(look: int) -> float:
    """Return the confidence of the two-sided interval that the k-th look needs.

    The sum of the errors bounds the chance of any, whatever the looks have in common (Bonferroni):
    versions may be alike, months may be judged again, nobody need say beforehand how many follow.
    Both tails are paid for though one is read: what a bootstrap over few blocks says of a far tail
    is too good by up to a factor of two.

    Parameters
    ----------
    look : int
        1 for the first version that was judged under a registered name.

    Raises
    ------
    ValueError
        If ``look`` is below 1.

    References
    ----------
    Lan and DeMets, Discrete Sequential Boundaries for Clinical Trials (1983), for spending an
    error over looks whose number is not fixed; the sequence 1 / (k (k + 1)) sums to 1.

    Examples
    --------
    >>> [round(confidence(look), 4) for look in (1, 2, 12)]
    [0.975, 0.9917, 0.9997]
    """
    if look < 1:
        raise ValueError(f"look: expected >= 1, was {look}")
    return 1.0 - ERROR / (look * (look + 1))
