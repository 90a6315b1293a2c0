"""The pointer of a partition and the journal of its moves.

Belongs here: what ``current.json`` and ``history.jsonl`` say. Keep out: rows.

The journal's line is written before the pointer is replaced, so that a full disk stops the move
before it is made. A line that the pointer did not follow (a kill between the two) is not a move:
readers leave it out and the next writer cuts it off. The journal alone holds a clock.
"""

import datetime as dt
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from market.errors import CorruptPartitionError, InputError
from market.ports import PartitionKey, PartitionRef
from storage.durable import fsync_folder, write_from, write_temp

POINTER: Final = "current.json"
JOURNAL: Final = "history.jsonl"

_POINTER_OPTIONS: Final = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_INDENT_2
    | orjson.OPT_APPEND_NEWLINE
    | orjson.OPT_SERIALIZE_NUMPY
)
_LINE_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
_WRITTEN_AT: Final = "written_at"

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Move:
    """A version that the pointer has named, and since when."""

    ref: PartitionRef
    written_at: dt.datetime


@dataclass(frozen=True, slots=True)
class _Line:
    record: Record | None  # None: the pointer was taken away
    written_at: str
    end: int  # offset in the journal behind this line


def encode(ref: PartitionRef) -> bytes:
    """Return the pointer's bytes: the same facts give the same bytes."""
    record = {
        "version": ref.version,
        "state_version": ref.state_version,
        "rows": ref.rows,
        "first_us": ref.first_us,
        "last_us": ref.last_us,
        "code_version": ref.code_version,
        "inputs": dict(ref.inputs),
        "attributes": dict(ref.attributes),
    }
    try:
        return orjson.dumps(record, option=_POINTER_OPTIONS)
    except TypeError as e:
        raise InputError(f"{ref.key.path}: expected JSON in inputs and attributes, was {e}") from e


def decode(key: PartitionKey, data: bytes, path: Path) -> PartitionRef:
    """Return what a pointer's bytes say; raise ``CorruptPartitionError`` that names the file."""
    try:
        return _ref(key, orjson.loads(data))
    except (ValueError, KeyError, TypeError) as e:
        raise CorruptPartitionError(f"{path}: expected a pointer, was {_excerpt(data)!r}") from e


def read_pointer(folder: Path) -> bytes | None:
    """Return the pointer's bytes, or ``None`` where there is none."""
    try:
        return (folder / POINTER).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def move_pointer(folder: Path, data: bytes | None, *, fsync: bool) -> None:
    """Make the pointer say ``data`` (``None``: take it away) and the journal say when.

    Old or new, never between; if the disk fills up, pointer and journal stay as they were.
    """
    pointer, journal = folder / POINTER, folder / JOURNAL
    moves = _moves(folder)
    end = moves[-1].end if moves else 0
    temp = write_temp(pointer, data, fsync=fsync) if data is not None else None
    try:
        write_from(journal, _line(data), at=end, fsync=fsync)
        if fsync:
            fsync_folder(folder)  # versions and journal have their names before the pointer says so
        if temp is None:
            pointer.unlink(missing_ok=True)
        else:
            temp.replace(pointer)
    except OSError:
        with suppress(OSError):
            os.truncate(journal, end)
        if temp is not None:
            temp.unlink(missing_ok=True)
        raise
    if fsync:
        fsync_folder(folder)


def history(key: PartitionKey, folder: Path) -> tuple[Move, ...]:
    """Return every version that the pointer has named, oldest first."""
    return tuple(
        Move(_ref(key, line.record), dt.datetime.fromisoformat(line.written_at))
        for line in _moves(folder)
        if line.record is not None
    )


def kept_versions(folder: Path, old: int) -> set[str]:
    """Return the version that the pointer names and the ``old`` that it named before that."""
    named = [line.record["version"] for line in reversed(_moves(folder)) if line.record is not None]
    return set(list(dict.fromkeys(named))[: old + 1])


def _moves(folder: Path) -> list[_Line]:
    """Return the journal's lines without the last one if the pointer has not followed it."""
    pointer = read_pointer(folder)  # first: a line is always written before its pointer
    lines = _lines(folder / JOURNAL)
    try:
        current: Record | None = None if pointer is None else orjson.loads(pointer)
    except ValueError:
        return lines  # a spoilt pointer says nothing against the journal
    behind = [None, *(line.record for line in lines[:-1])]  # what the last line was to follow
    if lines and lines[-1].record != current and behind[-1] == current:
        lines.pop()
    return lines


def _lines(path: Path) -> list[_Line]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    lines: list[_Line] = []
    end = 0
    for text in data.splitlines(keepends=True):
        end += len(text)
        try:
            record = orjson.loads(text)
            written_at = str(record.pop(_WRITTEN_AT))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # torn by a kill: no move
        lines.append(_Line(record or None, written_at, end))
    return lines


def _line(data: bytes | None) -> bytes:
    record: dict[str, Any] = {} if data is None else orjson.loads(data)
    record[_WRITTEN_AT] = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")
    return orjson.dumps(record, option=_LINE_OPTIONS)


def _ref(key: PartitionKey, record: Record) -> PartitionRef:
    return PartitionRef(
        key=key,
        version=str(record["version"]),
        state_version=str(record["state_version"]),
        rows=int(record["rows"]),
        first_us=record["first_us"],
        last_us=record["last_us"],
        code_version=str(record["code_version"]),
        inputs=dict(record["inputs"]),
        attributes=dict(record["attributes"]),
    )


def _excerpt(data: bytes) -> str:
    return data[:80].decode(errors="replace")
