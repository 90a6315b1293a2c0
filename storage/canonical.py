"""What a partition says, as bytes: the form that is hashed into a data version.

Belongs here: the canonical form of rows and of states, and the hashes of both. Keep out: files.

A version depends on what the rows say and on nothing else: not on the machine, the process, the
Parquet writer, how a frame is chunked, which column happens to carry a sorted flag, or the clock.

- **Rows** are in order of ``ts`` (stable), negative zero is zero, every NaN is one NaN. Each column
  gives its name, its type, its null mask and its values: little-endian, zeros under nulls; strings
  are UTF-8 after their lengths in bytes.
- **State** is a list of named arrays in order of name: little-endian, C order, every NaN one NaN.
  The sign of zero is kept, so that a machine which continues from it continues bit for bit.
"""

import functools
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from market.errors import InputError, SchemaError
from market.months import month_bounds
from market.ports import State

DIGEST_BYTES: Final = 16
TIME_COLUMN: Final = "ts"

_ROWS_FORMAT: Final = b"wavehouse rows 1"
_STATE_FORMAT: Final = b"wavehouse state 1\n"
_STATE_KINDS: Final = "biufSU"
_MAX_ITEM_BYTES: Final = 8

_UNDER_NULL: Final[dict[type[pl.DataType], object]] = {pl.String: "", pl.Boolean: False}
Bytes = bytes | memoryview

_CODES: Final[dict[type[pl.DataType], str]] = {
    pl.Boolean: "bool",
    pl.Int8: "i1",
    pl.Int16: "i2",
    pl.Int32: "i4",
    pl.Int64: "i8",
    pl.UInt8: "u1",
    pl.UInt16: "u2",
    pl.UInt32: "u4",
    pl.UInt64: "u8",
    pl.Float32: "f4",
    pl.Float64: "f8",
    pl.Date: "date",
    pl.String: "utf8",
}


@dataclass(frozen=True, slots=True)
class Content:
    """What a version holds, ready to be written, with the hashes that name it.

    ``rows`` are canonical; ``state`` is empty where there is none.
    """

    rows: pl.DataFrame
    state: bytes
    version: str
    state_version: str
    first_us: int | None
    last_us: int | None


def content(rows: pl.DataFrame, state: State | None, *, month: str, name: str) -> Content:
    """Bring rows and state of one month into their canonical form and hash them.

    Parameters
    ----------
    rows : polars.DataFrame
        Flat columns. Where there is a ``ts`` it is ``Datetime("us")`` with no nulls, and every row
        lies in ``month``.
    state : mapping of str to ndarray, or None
        Booleans, integers, floats up to 64 bits, fixed-width strings; any shape.
    month : str
        ``YYYY-MM``, UTC.
    name : str
        What messages call the partition.

    Returns
    -------
    Content
        Canonical rows and state bytes, and their versions.

    Raises
    ------
    SchemaError
        A column has a type that has no canonical form, or ``ts`` is not in microseconds.
    InputError
        A row is outside the month or has no ``ts``; a state array has no canonical form.

    Examples
    --------
    >>> frame = pl.DataFrame({"price": [1.0, -0.0]})
    >>> same = pl.DataFrame({"price": [1.0, 0.0]})
    >>> a = content(frame, None, month="2017-05", name="a")
    >>> b = content(same, None, month="2017-05", name="b")
    >>> a.version == b.version, len(a.version)
    (True, 32)
    """
    canonical = canonical_rows(rows, name)
    first_us, last_us = _span(canonical, month, name)
    encoded = encode_state(state) if state else b""
    state_version = _hash(encoded) if encoded else ""
    version = rows_version(canonical, state_version)
    return Content(canonical, encoded, version, state_version, first_us, last_us)


def canonical_rows(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return ``rows`` in order of ``ts``, in one chunk, with one zero and one NaN."""
    clean = rows.with_columns(
        _one_zero_one_nan(column, dtype)
        for column, dtype in rows.schema.items()
        if dtype.is_float()
    )
    if TIME_COLUMN in clean.columns:
        ts = clean[TIME_COLUMN]
        if not isinstance(ts.dtype, pl.Datetime) or ts.dtype.time_unit != "us":
            raise SchemaError(f"{name}.ts: expected Datetime in us, was {ts.dtype}")
        if ts.null_count():
            raise InputError(f"{name}.ts: expected no null, was {ts.null_count()} nulls")
        if not ts.is_sorted():
            clean = clean.sort(TIME_COLUMN, maintain_order=True)
    return clean.rechunk()


def rows_version(rows: pl.DataFrame, state_version: str) -> str:
    """Hash canonical rows and the version of the state that goes with them; 32 hex digits."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    _feed(digest, _ROWS_FORMAT)
    _feed(digest, f"{rows.height},{rows.width}".encode())
    for column in rows.get_columns():
        _feed(digest, column.name.encode())
        _feed(digest, _code(column).encode())
        mask, *values = _column_bytes(column)
        _feed(digest, mask)
        for part in values:
            _feed(digest, part)
    _feed(digest, state_version.encode())
    return digest.hexdigest()


def state_version(encoded: bytes) -> str:
    """Hash a state's canonical bytes; empty where there is no state."""
    return _hash(encoded) if encoded else ""


def encode_state(state: State) -> bytes:
    """Return the canonical bytes of named arrays.

    Raises ``InputError`` that names an array of objects, times, complex or long double numbers.
    """
    parts = [_STATE_FORMAT]
    for name in sorted(state):
        array = np.asarray(state[name])
        dtype = array.dtype
        is_wide = dtype.kind in "iuf" and dtype.itemsize > _MAX_ITEM_BYTES
        if dtype.kind not in _STATE_KINDS or is_wide:
            raise InputError(f"state.{name}: expected numbers or fixed strings, was {dtype}")
        little = array.astype(dtype.newbyteorder("<"), order="C", copy=True)
        if dtype.kind == "f":
            little[np.isnan(little)] = np.nan
        shape = "x".join(str(n) for n in little.shape) or "-"
        header = f"{little.dtype.str} {shape} {little.nbytes} {len(name.encode())}\n"
        parts += [header.encode(), name.encode(), little.tobytes()]
    return b"".join(parts)


def decode_state(encoded: bytes) -> dict[str, npt.NDArray[np.generic]]:
    """Return the arrays of ``encode_state``, writable and the caller's own.

    Raises ``ValueError`` where the bytes are not a whole state.
    """
    if not encoded.startswith(_STATE_FORMAT):
        raise ValueError("state: expected canonical bytes, was another format")
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    at = len(_STATE_FORMAT)
    while at < len(encoded):
        line_end = encoded.index(b"\n", at)
        dtype, shape, n_bytes, n_name = encoded[at:line_end].decode().split(" ")
        name_end = line_end + 1 + int(n_name)
        at = name_end + int(n_bytes)
        if at > len(encoded):
            raise ValueError(f"state: expected {at} bytes, was {len(encoded)}")
        dimensions = () if shape == "-" else tuple(int(n) for n in shape.split("x"))
        flat = np.frombuffer(encoded[name_end:at], dtype=np.dtype(dtype))
        native = flat.astype(flat.dtype.newbyteorder("="), copy=True)
        arrays[encoded[line_end + 1 : name_end].decode()] = native.reshape(dimensions)
    return arrays


def _span(rows: pl.DataFrame, month: str, name: str) -> tuple[int | None, int | None]:
    if TIME_COLUMN not in rows.columns or rows.is_empty():
        return None, None
    ts = rows[TIME_COLUMN].to_physical()
    first_us, last_us = int(ts[0]), int(ts[-1])
    start_us, end_us = month_bounds(month)
    if first_us < start_us or last_us >= end_us:
        spans = f"{rows[TIME_COLUMN][0]} to {rows[TIME_COLUMN][-1]}"
        raise InputError(f"{name}.ts: expected instants of {month}, was {spans}")
    return first_us, last_us


@functools.cache
def _one_zero_one_nan(column: str, dtype: pl.DataType) -> pl.Expr:
    # Polars drops `+ 0.0` as doing nothing, and with it what IEEE 754 says of a negative zero
    zero, nan = pl.lit(0.0, dtype), pl.lit(float("nan"), dtype)
    values = pl.col(column)
    return pl.when(values == zero).then(zero).otherwise(values.fill_nan(nan)).alias(column)


def _code(column: pl.Series) -> str:
    dtype = column.dtype
    if isinstance(dtype, pl.Datetime):
        return f"datetime {dtype.time_unit} {dtype.time_zone or 'naive'}"
    if isinstance(dtype, pl.Duration):
        return f"duration {dtype.time_unit}"
    try:
        return _CODES[type(dtype)]
    except KeyError as e:
        raise SchemaError(f"{column.name}: expected a flat column, was {dtype}") from e


def _column_bytes(column: pl.Series) -> tuple[Bytes, ...]:
    """Return the null mask (empty where there is no null) and the values of a column."""
    mask: Bytes = b""
    column = column.to_physical()
    if column.null_count():
        mask = np.packbits(column.is_null().to_numpy(), bitorder="little").tobytes()
        column = column.fill_null(_UNDER_NULL.get(type(column.dtype), 0))
    if column.dtype == pl.String:
        return mask, *_text(column)
    if column.dtype == pl.Boolean:
        return mask, _little(column.cast(pl.UInt8).to_numpy())
    return mask, _little(column.to_numpy())


def _text(column: pl.Series) -> tuple[Bytes, Bytes]:
    """Return the lengths of texts in bytes, and the texts one after another."""
    if column.is_empty():
        return b"", b""
    # Arrow has them so already; a Python string of them all is ten times slower
    array = column.to_arrow(compat_level=pl.CompatLevel.oldest())
    _, ends, texts = array.buffers()
    offsets = np.frombuffer(ends, dtype=np.int64, count=len(array) + 1, offset=8 * array.offset)
    first, last = int(offsets[0]), int(offsets[-1])
    return _little(np.diff(offsets).astype(np.uint32)), memoryview(texts)[first:last]


def _little(values: npt.NDArray[np.generic]) -> Bytes:
    little: Any = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return memoryview(little.view(np.uint8))


def _feed(digest: blake2b, part: Bytes) -> None:
    digest.update(len(part).to_bytes(8, "little"))
    digest.update(part)


def _hash(encoded: bytes) -> str:
    return blake2b(encoded, digest_size=DIGEST_BYTES).hexdigest()
