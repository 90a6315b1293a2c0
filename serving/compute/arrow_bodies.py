"""Arrow IPC streams in: columns by name, read where they lie.

Belongs here: reading a stream from whoever sends one. Keep out: what the numbers must be
(``checks``).

A stream is refused for its schema before a batch of it is read: it holds numbers, and in a batch of
symbols also text and lists of numbers. Buffers compressed inside the stream are refused too, since
what they say that they unpack to would be allocated unseen: ``Content-Encoding`` packs the whole,
within a bound.
"""

import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from kernels.gate import Series
from serving.compute.contracts import PRICES, Contract, malformed, unknown
from serving.compute.questions import (
    MAX_FIELDS,
    Question,
    asked,
    column_names,
    field_names,
    given_twice,
    missing,
    unknown_fields,
)
from serving.errors import Detail, MalformedRequestError

Body = bytes | bytearray
Offsets = np.ndarray[tuple[int], np.dtype[np.int64]]

_NUMBER: Final = re.compile(r"[+-]?\d{1,30}(\.\d{0,30})?([eE][+-]?\d{1,3})?", re.ASCII)

# not ``to_pandas_dtype``, which imports pandas
_DTYPES: Final[Mapping[pa.DataType, Any]] = {
    pa.int8(): np.int8, pa.int16(): np.int16, pa.int32(): np.int32, pa.int64(): np.int64,
    pa.uint8(): np.uint8, pa.uint16(): np.uint16, pa.uint32(): np.uint32, pa.uint64(): np.uint64,
    pa.float32(): np.float32, pa.float64(): np.float64,
}  # fmt: skip
_TEXT: Final = (pa.string(), pa.large_string(), pa.string_view())

_COMPRESSION: Final = 3  # the place of that field in the format's RecordBatch table
_HEADER: Final = 2  # and of the header in its Message table


@dataclass(frozen=True, slots=True)
class Lists:
    """One list of numbers a row: ``values[offsets[i] : offsets[i + 1]]`` is row i's."""

    values: Series
    offsets: Offsets

    def row(self, i: int) -> Series:
        """Return row i's numbers, where they lie."""
        return self.values[self.offsets[i] : self.offsets[i + 1]]


def columns(body: Body, known: Sequence[str], max_rows: int) -> dict[str, Series]:
    """Return a stream's columns of numbers; raise ``MalformedRequestError`` by column."""
    batch = _read(body, known, max_rows, _number_fault)
    return {name: _numbers(name, x) for name, x in _named(batch)}


def question(contract: Contract, body: Body, query: Mapping[str, str], max_points: int) -> Question:
    """Return what a stream of columns asks, with the symbol and the parameters from the query.

    Raise ``MalformedRequestError`` by field.
    """
    read = columns(body, column_names(contract), max_points)
    wrong = unknown_fields(query, ("symbol", *contract.parameters))
    given: dict[str, Any] = {n: x if n == "symbol" else _number(x) for n, x in query.items()}
    given |= read
    names = field_names(given)
    wrong += given_twice(read)
    found = {}
    for column in contract.columns:
        name = names.get(column, column)
        if name in read:
            found[column] = read[name]
        else:
            wrong.append(missing(PRICES if contract.takes_prices else column))
    return asked(contract, given, found, wrong)


def lists(body: Body, known: Sequence[str], max_rows: int) -> tuple[list[str], dict[str, Lists]]:
    """Return a stream's column ``symbol``, and its columns of lists of numbers."""
    batch = _read(body, ["symbol", *known], max_rows, _list_fault)
    if "symbol" not in batch.schema.names:
        raise malformed([Detail("symbol", "expected a column, was none", "MISSING")])
    symbols = batch.column("symbol")
    _refuse_nulls("symbol", symbols)
    return symbols.to_pylist(), {name: _lists(name, x) for name, x in _named(batch)}


def _named(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.Array]]:
    for name, x in zip(batch.schema.names, batch.columns, strict=True):
        if name != "symbol":
            _refuse_nulls(name, x)
            yield name, x


def _read(
    body: Body, known: Sequence[str], max_rows: int, fault: Callable[[pa.Field], str]
) -> pa.RecordBatch:
    try:
        messages = pa.ipc.MessageReader.open_stream(pa.py_buffer(body))
        schema = _schema(messages.read_next_message())
        _check_schema(schema, known, fault)
        batches, rows = [], 0
        for message in messages:
            _check_message(message)
            batch = pa.ipc.read_record_batch(message, schema)
            rows += batch.num_rows
            if rows > max_rows:
                expected = f"expected at most {max_rows} rows, was more"
                raise malformed([Detail("body", expected, "TOO_LONG")])
            batch.validate(full=True)
            batches.append(batch)
    except (pa.ArrowException, OSError, ValueError, StopIteration, struct.error) as e:
        raise _not_arrow("expected an Arrow IPC stream, was damaged or cut short") from e
    if len(batches) == 1:
        return batches[0]
    if not rows:
        raise malformed([Detail("body", "expected at least 1 row, was 0", "TOO_SHORT")])
    return pa.Table.from_batches(batches, schema).combine_chunks().to_batches()[0]


def _schema(message: pa.Message) -> pa.Schema:
    if message.type != "schema":  # Arrow would read whatever it is as one, and crash
        raise _not_arrow(f"expected a schema first, was {message.type}")
    return pa.ipc.read_schema(message)


def _check_schema(
    schema: pa.Schema, known: Sequence[str], fault: Callable[[pa.Field], str]
) -> None:
    if len(schema) > MAX_FIELDS:  # each is looked for among all
        message = f"expected at most {MAX_FIELDS} columns, was {len(schema)}"
        raise malformed([Detail("body", message, "TOO_MANY_COLUMNS")])
    wrong = []
    for i, field in enumerate(schema):
        if field.name not in known:
            wrong.append(Detail(field.name, unknown(field.name, known), "EXTRA_FORBIDDEN"))
        elif field.name in schema.names[:i]:
            wrong.append(Detail(field.name, "expected one column, was given twice", "DUPLICATE"))
        elif expected := fault(field):
            message = f"expected {expected}, was {field.type}"
            wrong.append(Detail(field.name, message, "COLUMN_TYPE"))
    if wrong:
        raise malformed(wrong)


def _check_message(message: pa.Message) -> None:
    if message.type != "record batch":
        raise _not_arrow(f"expected record batches, was {message.type}")
    metadata = memoryview(message.metadata)
    root = _unsigned(metadata, 0)
    header = _place(metadata, root, _HEADER)
    if _place(metadata, header + _unsigned(metadata, header), _COMPRESSION):
        raise _not_arrow("expected uncompressed buffers (Content-Encoding packs the whole)")


def _place(metadata: memoryview, table: int, field: int) -> int:
    """Return where a flatbuffer table keeps a field, or 0 where it does not have it."""
    fields = table - struct.unpack_from("<i", metadata, table)[0]
    size = struct.unpack_from("<H", metadata, fields)[0]
    at = 4 + 2 * field
    offset = struct.unpack_from("<H", metadata, fields + at)[0] if at < size else 0
    return table + int(offset) if offset else 0


def _unsigned(metadata: memoryview, at: int) -> int:
    return int(struct.unpack_from("<I", metadata, at)[0])


def _number_fault(field: pa.Field) -> str:
    return "" if _is_number(field.type) else "numbers"


def _list_fault(field: pa.Field) -> str:
    kind = field.type
    if field.name == "symbol":
        return "" if kind in _TEXT else "text"
    is_list = (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )
    return "" if is_list and _is_number(kind.value_type) else "lists of numbers"


def _is_number(kind: pa.DataType) -> bool:
    return kind in _DTYPES


def _numbers(name: str, x: pa.Array) -> Series:
    _refuse_nulls(name, x)
    dtype = _DTYPES[x.type]
    if not len(x):
        return np.empty(0)
    read = np.frombuffer(x.buffers()[1], dtype, x.offset + len(x))[x.offset :]
    found = read.astype(np.float64, copy=False)
    return found if found.flags.aligned else found.copy()  # kernels are compiled for aligned ones


def _number(text: str) -> float | str:
    """Return the number that a query's text is; the text where it is none."""
    if not _NUMBER.fullmatch(text):
        return text
    return float(text) if set(text) & set(".eE") else int(text)


def _lists(name: str, x: pa.Array) -> Lists:
    if pa.types.is_fixed_size_list(x.type):
        offsets = np.arange(len(x) + 1, dtype=np.int64) * x.type.list_size
        inner = x.values.slice(x.offset * x.type.list_size, len(x) * x.type.list_size)
        return Lists(_numbers(name, inner), offsets)
    width = np.int64 if pa.types.is_large_list(x.type) else np.int32
    read = np.frombuffer(x.buffers()[1], width, x.offset + len(x) + 1)[x.offset :]
    offsets = read.astype(np.int64)
    inner = x.values.slice(offsets[0], offsets[-1] - offsets[0])
    return Lists(_numbers(name, inner), offsets - offsets[0])


def _refuse_nulls(name: str, x: pa.Array) -> None:
    if x.null_count:
        raise malformed([Detail(name, f"expected no null, was {x.null_count}", "NULL")])


def _not_arrow(message: str) -> MalformedRequestError:
    return MalformedRequestError(f"body: {message}", [Detail("body", message, "INVALID_ARROW")])
