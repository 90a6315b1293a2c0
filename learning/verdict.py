"""What the figures say, in words: which part of the log loss an edge is in, and how sure that is.

The three-class log loss splits exactly (chain rule): was a barrier touched at all, and, where one
was, which. The first is a question about volatility; the second alone could be traded.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from learning.baseline import KIND as BASELINE
from learning.bootstrap import Interval
from learning.edge import Edge
from learning.looks import confidence

PRIOR: Final = "prior"


@dataclass(frozen=True, slots=True)
class Difference:
    """A model's log loss less a reference's on the same rows, below zero is better.

    ``total`` is the sum of ``touch`` (was a barrier touched) and ``direction`` (which one, 0 on
    rows where none was). ``is_identical``: both gave every row the same probabilities.
    """

    total: Interval
    touch: Interval
    direction: Interval
    is_identical: bool = False


def is_better(difference: Interval, look: int) -> bool:
    """Tell whether a difference is below zero with the confidence that this look needs."""
    high = difference.at_most(confidence(look))
    return high is not None and high < 0.0 and difference.is_below_zero


def edge_of(against: Difference, look: int) -> Edge:
    """Return which part of the log loss is better than the reference's."""
    touch, direction = is_better(against.touch, look), is_better(against.direction, look)
    if touch and direction:
        return Edge.BOTH
    if touch or direction:
        return Edge.VOLATILITY if touch else Edge.DIRECTION
    return Edge.UNRESOLVED if is_better(against.total, look) else Edge.NONE


def verdict(
    kind: str, loss: Interval, against: Mapping[str, Difference], *, rows: int, look: int
) -> str:
    """Say in one sentence what was found, whatever it is."""
    facts = f"log loss {loss.value:.4f}"
    if kind == BASELINE or BASELINE not in against:
        return (
            f"{kind}: {facts}, {against[PRIOR].total.text()} against the class prior "
            f"({rows} rows); no edge is claimed, barriers and volatility alone do this"
        )
    difference = against[BASELINE]
    if difference.is_identical:
        return f"identical to the first-passage baseline: {facts} ({rows} rows)"
    no_edge = "no edge over the first-passage baseline"
    if edge_of(difference, look) is not Edge.NONE:
        no_edge += " in total"
    found = {
        "better": "edge over the first-passage baseline",
        "worse": "worse than the first-passage baseline",
    }.get(_found(difference.total, look), no_edge)
    return (
        f"{found}: {facts}, difference {difference.total.text()} (90 % interval, {rows} rows; "
        f"{at_look(difference.total, look)}); "
        f"{_found(difference.touch, look)} at whether a barrier is touched "
        f"({difference.touch.text()}), {_found(difference.direction, look)} at which "
        f"({difference.direction.text()})"
    )


def at_look(difference: Interval, look: int) -> str:
    """Say where the interval that a look needs ends: ``at look 1 below -0.0012 with 97.5 %``."""
    high = difference.at_most(confidence(look))
    if high is None:
        return f"at look {look} too few rows to say"
    return f"at look {look} below {high:+z.4f} with {_percent(look)}"


def _found(difference: Interval, look: int) -> str:
    if is_better(difference, look):
        return "better"
    if difference.is_above_zero:
        return "worse"
    if difference.is_below_zero:
        return f"better at 90 %, not at {_percent(look)},"
    return "no different"


def _percent(look: int) -> str:
    error = 100.0 * (1.0 - confidence(look))
    decimals = 1 + max(0, math.ceil(-math.log10(error)))  # never "100 %"
    return f"{100.0 - error:.{decimals}f} %"
