"""The pointer of a partition and the journal of its moves.

Belongs here: what ``current.json`` and ``history.jsonl`` say. Keep out: rows.

The journal's line is written before the pointer is replaced, so that a full disk stops the move
before it is made. A line that the pointer did not follow (a kill between the two) is not a move:
readers leave it out and the next writer cuts it off. The journal alone holds a clock.
"""

import datetime as dt
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from market.errors import CorruptPartitionError, InputError
from market.ports import PartitionKey, PartitionRef
from storage.durable import folder_fsync, write_from, write_temp

POINTER: Final = "current.json"
JOURNAL: Final = "history.jsonl"

_POINTER_OPTIONS: Final = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_INDENT_2
    | orjson.OPT_APPEND_NEWLINE
    | orjson.OPT_SERIALIZE_NUMPY
)
_LINE_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
_BLOCK_BYTES: Final = 16_384
_WRITTEN_AT: Final = "written_at"
_MONTH: Final = re.compile(r"\d{4}-(0[1-9]|1[0-2])")

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


def decode(key: PartitionKey, data: bytes, path: Path | str) -> PartitionRef:
    """Return what a pointer's bytes say; raise ``CorruptPartitionError`` that names the file."""
    try:
        return _ref(key, orjson.loads(data))
    except (ValueError, KeyError, TypeError) as e:
        raise CorruptPartitionError(f"{path}: expected a pointer, was {_excerpt(data)!r}") from e


def read_pointer(folder: Path) -> bytes | None:
    """Return the pointer's bytes, or ``None`` where there is none."""
    return read_at(f"{folder}/{POINTER}")


def read_at(path: str) -> bytes | None:
    """Return the same of a file by name: what every request does makes no ``Path``."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - half the time of Path's
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def month_folders(series: Path) -> list[str]:
    """Return the names of a series' months, oldest first, also of those without a pointer."""
    try:
        with os.scandir(series) as entries:
            return sorted(entry.name for entry in entries if _MONTH.fullmatch(entry.name))
    except (FileNotFoundError, NotADirectoryError):
        return []


def has_pointer(folder: Path) -> bool:
    """Tell whether there is a pointer; a folder that cannot be looked into is not one without."""
    try:
        (folder / POINTER).stat()  # not exists(): it takes what is unreadable for not there
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def move_pointer(folder: Path, data: bytes | None, *, fsync: bool) -> None:
    """Make the pointer say ``data`` (``None``: take it away) and the journal say when.

    Old or new, never between; if the disk fills up, pointer and journal stay as they were.
    """
    pointer, journal = folder / POINTER, folder / JOURNAL
    newest = next(_moves(folder), None)
    end = newest.end if newest else 0
    with folder_fsync(folder) as put_names_on_disk:
        temp = write_temp(pointer, data, fsync=fsync) if data is not None else None
        try:
            write_from(journal, _line(data), at=end, fsync=fsync)
            if fsync:
                put_names_on_disk()  # the version's and the journal's, before the pointer says so
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
            put_names_on_disk()


def history(key: PartitionKey, folder: Path) -> tuple[Move, ...]:
    """Return every version that the pointer has named, oldest first."""
    return tuple(
        Move(_ref(key, line.record), dt.datetime.fromisoformat(line.written_at))
        for line in reversed(list(_moves(folder)))
        if line.record is not None
    )


def kept_versions(folder: Path, old: int) -> set[str]:
    """Return the version that the pointer names and the ``old`` that it named before that."""
    kept: set[str] = set()
    for line in _moves(folder):
        if line.record is not None:
            kept.add(line.record["version"])
        if len(kept) > old:
            break
    return kept


def _moves(folder: Path) -> Iterator[_Line]:
    """Yield the journal's lines, newest first, without one that the pointer has not followed."""
    pointer = read_pointer(folder)  # first: a line is always written before its pointer
    lines = _backwards(folder / JOURNAL)
    newest, before = next(lines, None), next(lines, None)
    if newest is None:
        return
    try:
        current: Record | None = None if pointer is None else dict(orjson.loads(pointer))
        is_still_before = current == (before.record if before else None)
        is_followed = current == newest.record or not is_still_before
    except (ValueError, TypeError):
        is_followed = True  # a spoilt pointer says nothing against the journal
    if is_followed:
        yield newest
    if before is not None:
        yield before
    yield from lines


def _backwards(path: Path) -> Iterator[_Line]:
    """Yield a journal's lines from its end: a writer needs two of them, however many there are."""
    try:
        journal = path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        return
    with journal:
        at, rest = journal.seek(0, os.SEEK_END), b""
        while at:
            size = min(_BLOCK_BYTES, at)
            at = journal.seek(at - size)
            rest = journal.read(size) + rest
            end = at + len(rest)
            texts = rest.splitlines(keepends=True)
            rest = texts.pop(0) if at else b""  # may begin in the block before
            for text in reversed(texts):
                line = _parse(text, end)
                if line is not None:
                    yield line
                end -= len(text)


def _parse(text: bytes, end: int) -> _Line | None:
    """Return what a line says, or ``None`` where a kill tore it."""
    try:
        record = orjson.loads(text)
        return _Line(end=end, written_at=str(record.pop(_WRITTEN_AT)), record=record or None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


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
