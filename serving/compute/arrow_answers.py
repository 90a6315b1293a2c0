"""Arrow IPC streams out: one record batch, nulls where there is no value, the rest as metadata.

Belongs here: writing. Keep out: what an answer says.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa

from serving.compute.computing import Computed, Line
from serving.compute.contracts import Contract

Offsets = np.ndarray[Any, np.dtype[np.int64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

PIECE_BYTES: Final = 1 << 20
SMALL_BYTES: Final = 1 << 16  # parts of fewer bytes leave together


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream of one record batch, in the parts that it was written in."""

    parts: tuple[memoryview, ...]

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return sum(part.nbytes for part in self.parts)

    def whole(self) -> bytes:
        """Return it in one piece."""
        return b"".join(self.parts)

    def pieces(self) -> Iterator[bytes | memoryview]:
        """Return it piece by piece, without copying what is large."""
        held: list[memoryview] = []
        for part in self.parts:
            if part.nbytes < SMALL_BYTES:
                held.append(part)
                continue
            if held:
                yield b"".join(held)
                held = []
            for i in range(0, part.nbytes, PIECE_BYTES):
                yield part[i : i + PIECE_BYTES]
        if held:
            yield b"".join(held)


class _Parts:
    """A file that keeps what is written to it: Arrow hands over a column's memory as it is."""

    closed = False

    def __init__(self) -> None:
        self.kept: list[memoryview] = []
        self._bytes = 0

    def write(self, part: bytes | pa.Buffer) -> int:
        """Keep a part."""
        view = memoryview(part).cast("B")
        self.kept.append(view)
        self._bytes += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._bytes

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing: what is kept is read afterwards."""


def written(columns: Mapping[str, pa.Array], metadata: Mapping[str, Any]) -> Stream:
    """Return columns as a stream; metadata that is not text is written as JSON."""
    text = {k: v if isinstance(v, str) else orjson.dumps(v) for k, v in metadata.items()}
    fields = [pa.field(name, x.type) for name, x in columns.items()]
    schema = pa.schema(fields, metadata=text)
    batch = pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)
    parts = _Parts()
    with pa.ipc.new_stream(parts, schema) as stream:
        stream.write_batch(batch)
    return Stream(tuple(parts.kept))


def single(
    contract: Contract, found: Computed, parameters: Mapping[str, float]
) -> dict[str, pa.Array]:
    """Return an indicator's lines as columns."""
    out = {}
    for name, (line, level) in contract.flat_lines(parameters).items():
        x = found.lines[line]
        out[name] = array(x if level is None else x[level])
    return out


def array(x: Line) -> pa.Array:
    """Return a line as an array: null where it is not finite, as JSON has it."""
    is_there = np.isfinite(x)
    nulls = x.size - int(np.count_nonzero(is_there))
    if not nulls:
        return pa.Array.from_buffers(pa.float64(), x.size, [None, pa.py_buffer(x)], null_count=0)
    bitmap = pa.py_buffer(np.packbits(is_there, bitorder="little"))
    return pa.Array.from_buffers(pa.float64(), x.size, [bitmap, pa.py_buffer(x)], null_count=nulls)


def lists(x: Line, offsets: Offsets, is_there: Flags) -> pa.Array:
    """Return lists of a line's values as an array of lists: null where there is none."""
    n = is_there.size
    validity = pa.py_buffer(np.packbits(is_there, bitorder="little"))
    return pa.Array.from_buffers(
        pa.large_list(pa.float64()), n, [validity, pa.py_buffer(offsets)],
        null_count=n - int(np.count_nonzero(is_there)), children=[array(x)],
    )  # fmt: skip


def text(values: Sequence[str | None]) -> pa.Array:
    """Return text as an array of strings (``pyarrow.array`` would import pandas to look at it)."""
    n = len(values)
    encoded = [b"" if value is None else value.encode() for value in values]
    offsets = np.zeros(n + 1, dtype=np.int32)
    np.cumsum(np.fromiter(map(len, encoded), np.int32, n), out=offsets[1:])
    is_there = np.fromiter((value is not None for value in values), np.bool_, n)
    validity = pa.py_buffer(np.packbits(is_there, bitorder="little"))
    buffers = [validity, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    nulls = n - int(np.count_nonzero(is_there))
    return pa.Array.from_buffers(pa.string(), n, buffers, null_count=nulls)
