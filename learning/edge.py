"""Which part of the log loss a judged version is better at than the baseline."""

from enum import StrEnum
from typing import Final

EDGE_TAG: Final = "wavehouse.edge"
"""Tag of a judged model version: the value of its ``Edge``."""


class Edge(StrEnum):
    """Which part of the log loss is better than the first-passage baseline's, look counted."""

    NONE = "none"
    VOLATILITY = "volatility"
    DIRECTION = "direction"
    BOTH = "both"
    UNRESOLVED = "unresolved"

    @property
    def words(self) -> str:
        """Say it in a sentence."""
        return _WORDS[self]


_WORDS = {
    Edge.NONE: "no edge over the first-passage baseline is shown",
    Edge.VOLATILITY: "the edge is volatility: whether a barrier is touched, not which",
    Edge.DIRECTION: "the edge is direction: which barrier is touched, not whether",
    Edge.BOTH: "the edge is volatility and direction: whether a barrier is touched, and which",
    Edge.UNRESOLVED: "which part the edge is in is not shown",
}
