"""The lake in memory: the same promises as on disk, for tests that are not about files."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from market.errors import InputError, NotMaterializedError, PartitionBusyError, SchemaError
from market.ports import PartitionKey, PartitionRef, State
from storage import canonical
from storage.names import check_names


class MemoryLake:
    """Implements ``market.ports.Lake`` in dictionaries; versions are those of the real one."""

    is_near = True

    def __init__(self) -> None:
        self._pointers: dict[PartitionKey, PartitionRef] = {}
        self._versions: dict[tuple[PartitionKey, str], canonical.Content] = {}
        self._writers: dict[tuple[str, str, str], int] = {}
        self._mutex = threading.Lock()

    @contextmanager
    def writing(self, table: str, timeframe: str, instrument: str) -> Iterator[None]:
        """Hold the one writer's place of a series."""
        series, me = (table, timeframe, instrument), threading.get_ident()
        with self._mutex:
            holder = self._writers.get(series)
            if holder not in (None, me):
                raise PartitionBusyError(f"{'/'.join(series)}: expected no other writer")
            self._writers[series] = me
        try:
            yield
        finally:
            if holder is None:
                del self._writers[series]

    def write(
        self,
        key: PartitionKey,
        rows: pl.DataFrame,
        *,
        state: State | None = None,
        code_version: str,
        inputs: Mapping[str, str],
        attributes: Mapping[str, Any] | None = None,
    ) -> PartitionRef:
        """Keep a version and point to it."""
        check_names(key.table, key.timeframe, key.instrument, key.month)
        content = canonical.content(rows, state, month=key.month, name=key.path)
        with self.writing(key.table, key.timeframe, key.instrument):
            self._versions[key, content.version] = content
            self._pointers[key] = PartitionRef(
                key=key,
                version=content.version,
                state_version=content.state_version,
                rows=content.rows.height,
                first_us=content.first_us,
                last_us=content.last_us,
                code_version=code_version,
                inputs=dict(inputs),
                attributes=_json(attributes or {}),
            )
        return self.resolve(key)

    def drop(self, key: PartitionKey) -> None:
        """Forget what the pointer names."""
        self._pointers.pop(key, None)

    def find(self, key: PartitionKey) -> PartitionRef | None:
        """Return what the pointer names."""
        check_names(key.table, key.timeframe, key.instrument, key.month)
        ref = self._pointers.get(key)
        return None if ref is None else replace(ref)

    def resolve(self, key: PartitionKey) -> PartitionRef:
        """Return what the pointer names, or raise."""
        ref = self.find(key)
        if ref is None:
            raise _missing(key.table, key.instrument, key.month)
        return ref

    def months(self, table: str, timeframe: str, instrument: str) -> Sequence[str]:
        """Return the months of a series, in order."""
        check_names(table, timeframe, instrument)
        series = (table, timeframe, instrument)
        keys = sorted(self._pointers)
        return tuple(k.month for k in keys if (k.table, k.timeframe, k.instrument) == series)

    def read(self, refs: Iterable[PartitionRef]) -> pl.DataFrame:
        """Return the rows of these versions."""
        frames = [self._content(ref).rows for ref in refs]
        if not frames:
            raise InputError("refs: expected at least one version, was none")
        if any(frame.schema != frames[0].schema for frame in frames):
            raise SchemaError("refs: expected the same columns in all versions")
        return pl.concat(frames, rechunk=True)

    def row(self, ref: PartitionRef, ts_us: int | None = None) -> pl.DataFrame:
        """Return the rows at an instant, or the last one."""
        rows = self._content(ref).rows
        return rows.tail(1) if ts_us is None else rows.filter(pl.col("ts").to_physical() == ts_us)

    def state(self, ref: PartitionRef) -> dict[str, npt.NDArray[np.generic]]:
        """Return the state saved with this version."""
        encoded = self._content(ref).state
        return canonical.decode_state(encoded) if encoded else {}

    def newest(self, table: str, timeframe: str, instrument: str, *, rows: int) -> pl.DataFrame:
        """Return the last rows of a series."""
        if rows < 1:
            raise InputError(f"rows: expected >= 1, was {rows}")
        months = self.months(table, timeframe, instrument)
        if not months:
            raise _missing(table, instrument, "YYYY-MM")
        keys = [PartitionKey(table, timeframe, instrument, month) for month in months]
        return self.read(self.resolve(key) for key in keys).tail(rows)

    def _content(self, ref: PartitionRef) -> canonical.Content:
        try:
            return self._versions[ref.key, ref.version]
        except KeyError as e:
            raise _missing(ref.key.table, ref.key.instrument, ref.key.month) from e


def _json(attributes: Mapping[str, Any]) -> dict[str, Any]:
    try:
        decoded: dict[str, Any] = orjson.loads(
            orjson.dumps(dict(attributes), option=orjson.OPT_SERIALIZE_NUMPY)
        )
    except TypeError as e:
        raise InputError(f"attributes: expected JSON, was {e}") from e
    return decoded


def _missing(table: str, instrument: str, month: str) -> NotMaterializedError:
    return NotMaterializedError(
        f"{table}: expected a materialised partition, was none; run `wavehouse materialize {table} "
        f"--instrument {instrument} --from {month} --to {month}`"
    )
