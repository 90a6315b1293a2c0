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

_END: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # of a stream


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

    def pieces(self) -> Iterator[memoryview]:
        """Return it piece by piece, without copying."""
        for part in self.parts:
            for i in range(0, part.nbytes, PIECE_BYTES):
                yield part[i : i + PIECE_BYTES]


def written(columns: Mapping[str, pa.Array], metadata: Mapping[str, Any]) -> Stream:
    """Return columns as a stream; metadata that is not text is written as JSON."""
    text = {k: v if isinstance(v, str) else orjson.dumps(v) for k, v in metadata.items()}
    fields = [pa.field(name, x.type) for name, x in columns.items()]
    schema = pa.schema(fields, metadata=text)
    batch = pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)
    messages = (memoryview(schema.serialize()), memoryview(batch.serialize()))
    return Stream((*(m.cast("B") for m in messages), memoryview(_END)))


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
    encoded = [b"" if value is None else value.encode() for value in values]
    offsets = np.concatenate(([0], np.cumsum([len(x) for x in encoded], dtype=np.int64)))
    is_there = np.array([value is not None for value in values], dtype=np.bool_)
    validity = pa.py_buffer(np.packbits(is_there, bitorder="little"))
    buffers = [validity, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(b"".join(encoded))]
    nulls = len(values) - int(np.count_nonzero(is_there))
    return pa.Array.from_buffers(pa.string(), len(values), buffers, null_count=nulls)
