"""The lake: immutable Parquet files by data version, and a pointer that says which one counts.

::

    {root}/{table}/{timeframe}/{instrument}/.lock             one writer a series
    {root}/{table}/{timeframe}/{instrument}/{month}/
        {version}.parquet    rows: sorted by ts, lz4, statistics, row groups of 4,096
        {version}.state      state of the machine at the month's end, where there is one
        current.json         the pointer
        history.jsonl        where it pointed before, and since when

A reader resolves a pointer once and then reads files that never change. A writer makes the files
first and moves the pointer last, so a reader sees the old version or the new one, and a writer that
dies leaves nothing but a temporary file which the next one removes.
Belongs here: what the ``Lake`` port asks for. Keep out: what tables mean; SQL (``queries``).
"""

import io
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt
import polars as pl

from market.errors import (
    CorruptPartitionError,
    InputError,
    NotMaterializedError,
    SchemaError,
    StorageError,
)
from market.ports import PartitionKey, PartitionRef, State
from storage import canonical, durable, pointers
from storage.names import check_names

ROW_GROUP_ROWS: Final = 4096  # last 500 rows of 44,640: 0.7 ms, one row group for all: 2.4 ms
COMPRESSION: Final = "lz4"
"""Of new files; a reader asks the file. Beside zstd at level 3, a month of M5, processor time:
labels 14.9 ms to write for 22.7 and 3.5 to read for 6.0, level events 12.9 for 20.0 and 3.7 for
4.9; files are 18 and 36 % larger, those of candles by half."""

_LOCK: Final = ".lock"
_ATTEMPTS: Final = 4  # to read the newest rows while retention takes resolved versions away


class ParquetLake:
    """Partitions as Parquet files below one folder; implements ``market.ports.Lake``.

    Any number of processes may read while one a series writes. An object may be shared by threads.
    Order: rows of a partition are sorted by ``ts`` (stable: what happened in one bar keeps its
    order), a series by month. NaN policy: one NaN, one zero; nulls stay nulls.

    Parameters
    ----------
    root : Path
        Folder of the lake; made by the first write.
    retention_versions : int
        Old versions kept a partition beside the one that counts; 0 keeps all. A reader that holds a
        reference for longer than so many rewrites gets ``NotMaterializedError``.
    fsync : bool
        Off only where losing the last seconds at a power cut is fine; a kill never harms.
    is_near : bool
        Off where the folder is on a network (``market.ports.Lake.is_near``).

    Raises
    ------
    InputError
        Retention is negative; later: a name that cannot be a folder, rows outside their month.

    Examples
    --------
    >>> import datetime as dt, tempfile
    >>> lake = ParquetLake(Path(tempfile.mkdtemp()))
    >>> key = PartitionKey("candles", "H4", "EURUSD", "2017-05")
    >>> ts = pl.Series([dt.datetime(2017, 5, 1, 21)], dtype=pl.Datetime("us", "UTC"))
    >>> rows = pl.DataFrame({"ts": ts, "close": [1.09]})
    >>> ref = lake.write(key, rows, code_version="1", inputs={})
    >>> lake.resolve(key) == ref, lake.months("candles", "H4", "EURUSD")
    (True, ('2017-05',))
    >>> lake.newest("candles", "H4", "EURUSD", rows=1)["close"].to_list()
    [1.09]
    """

    def __init__(
        self, root: Path, *, retention_versions: int = 0, fsync: bool = True, is_near: bool = True
    ) -> None:
        if retention_versions < 0:
            raise InputError(f"retention_versions: expected >= 0, was {retention_versions}")
        self.root = root
        self._retention_versions = retention_versions
        self._fsync = fsync
        self.is_near = is_near
        self._mine = threading.local()

    def __repr__(self) -> str:
        return f"ParquetLake({str(self.root)!r})"

    @contextmanager
    def writing(self, table: str, timeframe: str, instrument: str) -> Iterator[None]:
        """Hold the one writer's place of a series; the thread that has it may take it again.

        Raises ``PartitionBusyError`` at once if another process or thread has it.
        """
        folder = self._series(table, timeframe, instrument)
        mine: set[Path] = self._mine.__dict__.setdefault("series", set())
        if folder in mine:
            yield
            return
        name = f"{table}/{timeframe}/{instrument}"
        with ExitStack() as held:
            with durable.storage_errors(name, folder):
                durable.make_folder(folder, fsync=self._fsync)
                held.enter_context(durable.exclusive(folder / _LOCK, name))
            mine.add(folder)
            held.callback(mine.discard, folder)
            yield

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
        """Write a version and move the pointer.

        A result that is there already writes no file; if code version, inputs and attributes are
        the same too, nothing at all is written. A version's file that is damaged is written anew.

        Raises ``StorageFullError``, with the pointer where it was; ``PartitionBusyError``;
        ``InputError`` and ``SchemaError`` for rows and states that have no canonical form.
        """
        folder = self._folder(key)
        content = canonical.content(rows, state, month=key.month, name=key.path)
        ref = PartitionRef(
            key=key,
            version=content.version,
            state_version=content.state_version,
            rows=content.rows.height,
            first_us=content.first_us,
            last_us=content.last_us,
            code_version=code_version,
            inputs=inputs,
            attributes=attributes or {},
        )
        pointer = pointers.encode(ref)
        series = (key.table, key.timeframe, key.instrument)
        with self.writing(*series), durable.storage_errors(key.path, folder):
            durable.make_folder(folder, fsync=self._fsync)
            durable.remove_temps(folder)
            self._keep(folder, content)
            if pointers.read_pointer(folder) != pointer:
                pointers.move_pointer(folder, pointer, fsync=self._fsync)
                self._retire(folder)
        return pointers.decode(key, pointer, folder / pointers.POINTER)

    def drop(self, key: PartitionKey) -> None:
        """Take the pointer away; the versions and their history stay until retention takes them."""
        folder = self._folder(key)
        series = (key.table, key.timeframe, key.instrument)
        with self.writing(*series), durable.storage_errors(key.path, folder):
            if pointers.read_pointer(folder) is not None:
                pointers.move_pointer(folder, None, fsync=self._fsync)

    def find(self, key: PartitionKey) -> PartitionRef | None:
        """Return what the pointer names, or ``None`` where nothing was materialised.

        Raises ``CorruptPartitionError`` where the pointer makes no sense, ``StorageError`` (as all
        that reads) where the operating system refuses.
        """
        check_names(key.table, key.timeframe, key.instrument, key.month)
        path = f"{self.root}/{key.path}/{pointers.POINTER}"
        with durable.read_errors(key.path):
            data = pointers.read_at(path)
        return None if data is None else pointers.decode(key, data, path)

    def resolve(self, key: PartitionKey) -> PartitionRef:
        """Return what the pointer names; raise ``NotMaterializedError`` that says what to run."""
        ref = self.find(key)
        if ref is None:
            raise NotMaterializedError(f"{key.path}: {_run(key.table, key.instrument, key.month)}")
        return ref

    def months(self, table: str, timeframe: str, instrument: str) -> Sequence[str]:
        """Return the months of a series that are materialised, in order."""
        folder = self._series(table, timeframe, instrument)
        with durable.read_errors(f"{table}/{timeframe}/{instrument}"):
            return tuple(
                m for m in pointers.month_folders(folder) if pointers.has_pointer(folder / m)
            )

    def versions(self, key: PartitionKey) -> tuple[pointers.Move, ...]:
        """Return every version that the pointer has named and since when, oldest first."""
        with durable.read_errors(key.path):
            return pointers.history(key, self._folder(key))

    def files(self, refs: Iterable[PartitionRef]) -> list[Path]:
        """Return the exact paths of these versions' rows."""
        return [self._folder(ref.key) / f"{ref.version}.parquet" for ref in refs]

    def read(self, refs: Iterable[PartitionRef]) -> pl.DataFrame:
        """Return the rows of these versions, in the order given.

        Raises ``InputError`` without a version to read; ``CorruptPartitionError`` that names a
        file; ``SchemaError`` where versions do not have the same columns.
        """
        return self._read(list(refs), offset=0)

    def row(self, ref: PartitionRef, ts_us: int | None = None) -> pl.DataFrame:
        """Return the rows of the bar that opens at ``ts_us``, or a version's last row.

        Empty where there is none. Reads the row groups that may hold it, by their statistics.
        """
        if ts_us is None:
            return self._read([ref], offset=max(0, ref.rows - 1))
        instant = pl.lit(ts_us, dtype=pl.Datetime("us", "UTC"))
        return self._collect([ref], lambda scan: scan.filter(pl.col("ts") == instant))

    def state(self, ref: PartitionRef) -> dict[str, npt.NDArray[np.generic]]:
        """Return the state saved with this version: fresh, writable arrays ({} if there is none).

        Raises ``CorruptPartitionError`` where the bytes do not hash to ``ref.state_version``.
        """
        if not ref.state_version:
            return {}
        path = self._folder(ref.key) / f"{ref.version}.state"
        with durable.read_errors(ref.key.path):
            try:
                encoded = path.read_bytes()
            except FileNotFoundError as e:
                raise self._gone(ref, path) from e
        if canonical.state_version(encoded) != ref.state_version:
            raise CorruptPartitionError(f"{path}: expected a state that hashes to its name")
        return canonical.decode_state(encoded)

    def newest(self, table: str, timeframe: str, instrument: str, *, rows: int) -> pl.DataFrame:
        """Return the last ``rows`` rows of a series, or all there are if there are fewer.

        Reads pointers from the newest month back until they hold enough, then the row groups of
        those files that hold the tail; nothing is listed but the names of the months.
        """
        if rows < 1:
            raise InputError(f"rows: expected >= 1, was {rows}")
        attempts = 0
        while True:
            attempts += 1
            refs = self._newest_refs(table, timeframe, instrument, rows=rows)
            try:
                return self._read(refs, offset=max(0, sum(ref.rows for ref in refs) - rows))
            except NotMaterializedError:  # retired since it was resolved
                if attempts == _ATTEMPTS:
                    raise

    def verify(self, ref: PartitionRef) -> None:
        """Read a version whole; raise ``CorruptPartitionError`` unless it hashes to its name."""
        self.state(ref)
        (path,) = self.files([ref])
        rows = canonical.canonical_rows(self.read([ref]), ref.key.path)
        was = canonical.rows_version(rows, ref.state_version)
        if was != ref.version:
            raise CorruptPartitionError(f"{path}: expected rows that hash to its name, was {was}")

    def _series(self, table: str, timeframe: str, instrument: str) -> Path:
        check_names(table, timeframe, instrument)
        return self.root / table / timeframe / instrument

    def _newest_refs(
        self, table: str, timeframe: str, instrument: str, *, rows: int
    ) -> list[PartitionRef]:
        refs: list[PartitionRef] = []
        found = 0
        path = f"{table}/{timeframe}/{instrument}"
        with durable.read_errors(path):
            months = pointers.month_folders(self._series(table, timeframe, instrument))
        for month in reversed(months):
            ref = self.find(PartitionKey(table, timeframe, instrument, month))
            if ref is None:
                continue
            if ref.rows or not refs:
                refs.append(ref)
            found += ref.rows
            if found >= rows:
                break
        if not refs:
            raise NotMaterializedError(f"{path}: {_run(table, instrument, 'YYYY-MM')}")
        return refs[::-1]

    def _folder(self, key: PartitionKey) -> Path:
        check_names(key.table, key.timeframe, key.instrument, key.month)
        return self.root / key.path

    def _keep(self, folder: Path, content: canonical.Content) -> None:
        """Make the version's files be there; the rows last, so that they vouch for the state."""
        rows_path = folder / f"{content.version}.parquet"
        state_path = folder / f"{content.version}.state"
        if content.state and not _holds(state_path, content.state):
            durable.write_whole(state_path, content.state, fsync=self._fsync)
        if rows_path.exists() and _hashes_to_its_name(rows_path, content):
            return
        buffer = io.BytesIO()
        content.rows.write_parquet(
            buffer,
            compression=COMPRESSION,
            statistics=True,
            row_group_size=ROW_GROUP_ROWS,
        )
        durable.write_whole(rows_path, buffer.getvalue(), fsync=self._fsync)

    def _retire(self, folder: Path) -> None:
        if not self._retention_versions:
            return
        kept = pointers.kept_versions(folder, self._retention_versions)
        for path in folder.iterdir():
            if path.suffix in (".parquet", ".state") and path.stem not in kept:
                path.unlink(missing_ok=True)

    def _read(self, refs: Sequence[PartitionRef], *, offset: int) -> pl.DataFrame:
        if not refs:
            raise InputError("refs: expected at least one version, was none")
        frame = self._collect(refs, lambda scan: scan.slice(offset) if offset else scan)
        if frame.height != sum(ref.rows for ref in refs) - offset:
            self._diagnose(refs, None)
        return frame

    def _collect(
        self, refs: Sequence[PartitionRef], pick: Callable[[pl.LazyFrame], pl.LazyFrame]
    ) -> pl.DataFrame:
        try:
            scan = pl.scan_parquet(self.files(refs), glob=False, hive_partitioning=False)
            return pick(scan).collect()
        except (pl.exceptions.PolarsError, OSError) as e:
            self._diagnose(refs, e)

    def _diagnose(self, refs: Sequence[PartitionRef], cause: Exception | None) -> NoReturn:
        """Raise the error that names the file which could not be read with the others."""
        schema: pl.Schema | None = None
        for ref, path in zip(refs, self.files(refs), strict=True):
            try:
                with durable.read_errors(ref.key.path):
                    frame = self._whole(ref, path)
            except pl.exceptions.PolarsError as e:
                raise CorruptPartitionError(f"{path}: expected a Parquet file, was {e}") from e
            if frame.height != ref.rows:
                raise CorruptPartitionError(
                    f"{path}: expected {ref.rows} rows, was {frame.height}"
                ) from cause
            if frame.schema != (schema or frame.schema):
                raise SchemaError(f"{path}: expected {schema}, was {frame.schema}") from cause
            schema = frame.schema
        raise StorageError(f"{refs[0].key.path}: expected rows, was {cause}") from cause

    def _whole(self, ref: PartitionRef, path: Path) -> pl.DataFrame:
        try:
            return pl.read_parquet(path, glob=False, hive_partitioning=False)
        except FileNotFoundError as e:
            raise self._gone(ref, path) from e

    def _gone(self, ref: PartitionRef, path: Path) -> StorageError:
        current = self.find(ref.key)
        if current is not None and current.version == ref.version:
            return CorruptPartitionError(f"{path}: expected the file the pointer names, was none")
        return NotMaterializedError(
            f"{path}: expected a version that is kept, was retired (retention_versions="
            f"{self._retention_versions}); resolve {ref.key.path} again"
        )


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except FileNotFoundError:
        return False


def _hashes_to_its_name(path: Path, content: canonical.Content) -> bool:
    try:
        rows = pl.read_parquet(path, glob=False, hive_partitioning=False)
    except (pl.exceptions.PolarsError, OSError):
        return False
    if rows.schema != content.rows.schema:
        return False
    return canonical.rows_version(rows.rechunk(), content.state_version) == content.version


def _run(table: str, instrument: str, month: str) -> str:
    command = f"wavehouse materialize {table} --instrument {instrument} --from {month} --to {month}"
    return f"expected a materialised partition, was none; run `{command}`"
