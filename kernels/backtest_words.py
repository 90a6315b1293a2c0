"""Eight bars in one machine word: where a byte differs from the byte before it.

Belongs here: arithmetic on bytes packed into words. Keep out: what the bytes mean.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kernels.jit import compiled

Words = npt.NDArray[np.uint64]
"""A byte a bar, zeros behind the last bar up to a multiple of eight: shape (n // 8 + 1,)."""

NOTHING: Final = np.uint64(0)
_BIAS: Final = 1023  # of a float's exponent
EVERY_BYTE: Final = np.uint64(0x0101010101010101)


def words(n: int) -> Words:
    """Return room for ``n`` bars, all zero."""
    return np.zeros(n // 8 + 1, dtype=np.uint64)


@compiled
def eventful(packed: Words, ignored: np.uint64, places: npt.NDArray[np.int64]) -> int:
    """Write which words hold a change, or a bit that ``changed`` ignores; return how many.

    Without a branch, which could not be predicted.
    """
    count = 0
    before = NOTHING
    for place in range(packed.size):
        word = packed[place]
        places[count] = place
        count += (changed(word, before, ignored) | (word & ignored)) != NOTHING
        before = word
    return count


@compiled
def changed(word: np.uint64, before: np.uint64, ignored: np.uint64) -> np.uint64:
    """Return what is not 0 in the bytes that differ from the byte before, but for ignored bits."""
    shifted = (word << np.uint64(8)) | (before >> np.uint64(56))
    return (word ^ shifted) & ~ignored


@compiled
def first_byte(word: np.uint64) -> int:
    """Return which byte of a word is its first that is not 0: by the exponent of its lowest bit."""
    lowest = word & (~word + np.uint64(1))
    exponent = int(np.float64(lowest).view(np.int64)) >> 52
    return (exponent - _BIAS) >> 3


@compiled
def after_byte(place: int) -> np.uint64:
    """Return a mask of the bytes after this one; a shift by all 64 bits at once is undefined."""
    return (~NOTHING << np.uint64(8 * place)) << np.uint64(8)


@compiled
def changes(packed: Words, n: int, bars: npt.NDArray[np.int64]) -> int:
    """Write the bars whose byte is another than that of the bar before; return how many."""
    places = np.empty(packed.size, dtype=np.int64)
    count = 0
    for k in range(eventful(packed, NOTHING, places)):
        place = places[k]
        rest = changed(packed[place], packed[place - 1] if place else NOTHING, NOTHING)
        while rest != NOTHING:
            within = first_byte(rest)
            rest &= after_byte(within)
            if 8 * place + within < n:
                bars[count] = 8 * place + within
                count += 1
    return count


def packed_bytes(values: np.ndarray[Any, np.dtype[np.int8]]) -> Words:
    """Return one byte a bar in words."""
    out = words(values.size)
    out.view(np.int8)[: values.size] = values
    return out
