"""What every stateful kernel shares: checks of periods, columns and states, and the NaN policy.

Belongs here: plumbing that is not arithmetic. The policy itself is written in ``registry``.
"""

import operator
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from kernels.gate import Series, series

NO_STATE: Final[Series] = np.empty(0)
"""What a compiled kernel gets for no state: it begins at the first bar and keeps nothing."""


def at_least(value: int, least: int, name: str) -> int:
    """Return ``value``; raise ``ValueError`` below ``least``, ``TypeError`` for a fraction."""
    if value < least:
        raise ValueError(f"{name}: expected >= {least}, was {value}")
    return operator.index(value)


def column(x: npt.ArrayLike, name: str) -> Series:
    """Return ``x`` through the gate, with NaN for what is infinite."""
    gated = series(x, name)
    infinite = np.isinf(gated)
    return series(np.where(infinite, np.nan, gated), name) if infinite.any() else gated


def columns(**given: npt.ArrayLike) -> tuple[Series, ...]:
    """Return each column through the gate; raise ``ValueError`` if their lengths differ."""
    gated = tuple(column(x, name) for name, x in given.items())
    same_length(tuple(given), *gated)
    return gated


def same_length(names: Sequence[str], *gated: Series) -> None:
    """Raise ``ValueError`` if the columns, of these names, differ in length."""
    n = gated[0].size
    for name, x in zip(names, gated, strict=True):
        if x.size != n:
            raise ValueError(f"{name}: expected {n} values as the first, was {x.size}")


def carried(state: Series | None, fresh: Series) -> Series:
    """Return the state to continue from: ``fresh``, or ``state`` if it has its form."""
    return fresh if state is None else kept(state, fresh.size)


def kept(state: Series | None, size: int) -> Series:
    """Return the state to continue from, or none; raise ``ValueError`` if it has another form."""
    if state is None:
        return NO_STATE
    if state.shape != (size,) or state.dtype != np.float64 or not state.flags.carray:
        raise ValueError(
            f"state: expected writeable float64 of shape {(size,)}, "
            f"was {state.dtype} of shape {state.shape}, writeable {state.flags.writeable}"
        )
    return state


def ratio(numerator: Series, denominator: Series, *, otherwise: float) -> Series:
    """Return the quotient: ``otherwise`` where the denominator is 0, NaN where an input is NaN."""
    out: Series = np.where(np.isnan(numerator), np.nan, otherwise)
    with np.errstate(over="ignore"):
        np.divide(numerator, denominator, out=out, where=denominator != 0.0)
    return out
