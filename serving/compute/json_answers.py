"""JSON answers: whole where they are small, and else in pieces of bounded size.

Belongs here: writing. Keep out: what an answer says.

NaN and infinity leave as ``null``. ``b"".join(pieces(x))`` is ``whole(x)``, byte for byte.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

PIECE_VALUES: Final = 1 << 14  # numbers that are written at once: some 300 kB, half a millisecond
PIECE_BYTES: Final = 1 << 17

Piece = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Members:
    """A list whose members are made as they are written: how many numbers each has, and it."""

    made: Iterable[tuple[int, Any]]


def whole(answer: Any) -> bytes:  # noqa: ANN401 - whatever JSON holds
    """Return an answer in one piece; arrays are float64 in C order."""
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def pieces(answer: Any) -> Iterator[Piece]:  # noqa: ANN401 - as ``whole``
    """Return the same bytes piece by piece, in a memory that does not grow with the answer."""
    held: list[Piece] = []
    size = 0
    for part in _parts(answer):
        held.append(part)
        size += len(part)
        if size >= PIECE_BYTES:
            yield held[0] if len(held) == 1 else b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _parts(value: Any) -> Iterator[Piece]:  # noqa: ANN401 - as ``whole``
    if isinstance(value, Members):
        yield from _list(value.made)
    elif _weight(value, PIECE_VALUES) <= PIECE_VALUES:
        yield whole(value)
    elif isinstance(value, np.ndarray) and value.ndim == 1:
        cuts = range(0, value.size, PIECE_VALUES)
        yield from _enclosed(b"[", ([_inside(value[i : i + PIECE_VALUES])] for i in cuts), b"]")
    elif isinstance(value, dict):
        yield from _enclosed(b"{", (_member(name, x) for name, x in value.items()), b"}")
    else:
        yield from _list((_weight(x, PIECE_VALUES), x) for x in value)


def _member(name: str, value: Any) -> Iterator[Piece]:  # noqa: ANN401 - as ``whole``
    yield whole(name) + b":"
    yield from _parts(value)


def _list(members: Iterable[tuple[int, Any]]) -> Iterator[Piece]:
    """Return a list of members and their weights, those that are small several at once."""
    held: list[Any] = []
    total, owes_comma = 0, False
    yield b"["
    for weight, value in members:
        if owes_comma:
            yield b","
            owes_comma = False
        if held and total + weight > PIECE_VALUES:
            yield _inside([*held, 0])[:-1]  # and the comma before the 0
            held, total = [], 0
        if weight > PIECE_VALUES:
            yield from _parts(value)
            owes_comma = True
        else:
            held.append(value)
            total += weight + 1  # so that a list of small things is cut too
    if held:
        yield _inside(held)
    yield b"]"


def _inside(values: Any) -> memoryview:  # noqa: ANN401 - as ``whole``
    return memoryview(whole(values))[1:-1]


def _enclosed(
    opening: bytes, members: Iterable[Iterable[Piece]], closing: bytes
) -> Iterator[Piece]:
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
    if isinstance(value, Members):
        return most + 1
    members = value.values() if isinstance(value, dict) else value
    total = 0
    if isinstance(value, dict | list):
        for member in members:
            if isinstance(member, np.ndarray | dict | list | Members):
                total += _weight(member, most - total)
                if total > most:
                    break
    return total
