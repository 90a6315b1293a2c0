"""JSON answers: whole where they are small, and else in pieces of bounded size.

Belongs here: writing. Keep out: what an answer says.

NaN and infinity leave as ``null``. ``b"".join(pieces(x))`` is ``whole(x)``, byte for byte.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import orjson

PIECE_VALUES: Final = 1 << 14  # numbers that are written at once: some 300 kB, half a millisecond
PIECE_BYTES: Final = 1 << 17


def whole(answer: Any) -> bytes:  # noqa: ANN401 - whatever JSON holds
    """Return an answer in one piece; arrays are float64 in C order."""
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def pieces(answer: Any) -> Iterator[bytes]:  # noqa: ANN401 - as ``whole``
    """Return the same bytes piece by piece, in a memory that does not grow with the answer."""
    held: list[bytes] = []
    size = 0
    for part in _parts(answer):
        held.append(part)
        size += len(part)
        if size >= PIECE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _parts(value: Any) -> Iterator[bytes]:  # noqa: ANN401 - as ``whole``
    if _weight(value, PIECE_VALUES) <= PIECE_VALUES:
        yield whole(value)
    elif isinstance(value, np.ndarray) and value.ndim == 1:
        cuts = range(0, value.size, PIECE_VALUES)
        yield from _enclosed(b"[", ([whole(value[i : i + PIECE_VALUES])[1:-1]] for i in cuts), b"]")
    elif isinstance(value, dict):
        yield from _enclosed(b"{", (_member(name, x) for name, x in value.items()), b"}")
    else:
        yield from _enclosed(b"[", _runs(value), b"]")


def _member(name: str, value: Any) -> Iterator[bytes]:  # noqa: ANN401 - as ``whole``
    yield whole(name) + b":"
    yield from _parts(value)


def _runs(values: Iterable[Any]) -> Iterator[Iterable[bytes]]:
    """Return the members of a list, those that are small several at once."""
    held: list[Any] = []
    total = 0
    for value in values:
        weight = _weight(value, PIECE_VALUES)
        if held and total + weight > PIECE_VALUES:
            yield [whole(held)[1:-1]]
            held, total = [], 0
        if weight > PIECE_VALUES:
            yield _parts(value)
        else:
            held.append(value)
            total += weight + 1  # so that a list of small things is cut too
    if held:
        yield [whole(held)[1:-1]]


def _enclosed(
    opening: bytes, members: Iterable[Iterable[bytes]], closing: bytes
) -> Iterator[bytes]:
    yield opening
    for i, member in enumerate(members):
        if i:
            yield b","
        yield from member
    yield closing


def _weight(value: Any, most: int) -> int:  # noqa: ANN401 - as ``whole``
    """Return how many numbers of arrays there are in a value; more than ``most`` once there are."""
    if isinstance(value, np.ndarray):
        return value.size
    members = value.values() if isinstance(value, dict) else value
    total = 0
    if isinstance(value, dict | list):
        for member in members:
            if isinstance(member, np.ndarray | dict | list):
                total += _weight(member, most - total)
                if total > most:
                    break
    return total
