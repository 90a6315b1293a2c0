"""Files that are there whole or not at all, also after a kill or a power cut.

Belongs here: temporary files, fsync, locks, and what the operating system's errors mean.
Keep out: what the files hold.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from market.errors import PartitionBusyError, StorageError, StorageFullError

TEMP_PREFIX: Final = ".tmp-"

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_MODE: Final = 0o644


@contextmanager
def storage_errors(name: str, folder: Path) -> Iterator[None]:
    """Translate what the operating system refuses while ``name`` is written below ``folder``."""
    try:
        yield
    except OSError as e:
        if e.errno in _FULL:
            raise StorageFullError(
                f"{name}: expected room on the disk, was full ({_free_bytes(folder)} bytes free)"
            ) from e
        raise StorageError(f"{name}: expected a folder that can be written, was {_why(e)}") from e


@contextmanager
def read_errors(name: str) -> Iterator[None]:
    """Translate what the operating system refuses while ``name`` is read."""
    try:
        yield
    except OSError as e:
        raise StorageError(f"{name}: expected files that can be read, was {_why(e)}") from e


def make_folder(folder: Path, *, fsync: bool) -> None:
    """Create ``folder`` and the folders above it, each one's name on disk before its content."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        with suppress(FileExistsError):  # another series' writer came first
            new.mkdir()
        if fsync:
            with folder_fsync(new.parent) as put_names_on_disk:
                put_names_on_disk()


def write_temp(path: Path, data: bytes, *, fsync: bool) -> Path:
    """Write ``data`` beside ``path`` under a temporary name; nothing stays if that fails."""
    temp = path.with_name(TEMP_PREFIX + path.name)
    try:
        _write(temp, data, at=0, fsync=fsync)
    except OSError:
        temp.unlink(missing_ok=True)
        raise
    return temp


def write_whole(path: Path, data: bytes, *, fsync: bool) -> None:
    """Make ``path`` hold ``data``: whoever opens it sees all of the old file or of the new one."""
    temp = write_temp(path, data, fsync=fsync)
    try:
        temp.replace(path)
    except OSError:
        temp.unlink(missing_ok=True)
        raise


def write_from(path: Path, data: bytes, *, at: int, fsync: bool) -> None:
    """Make ``path`` end with ``data`` from byte ``at`` on: in place, a failure leaves a part."""
    _write(path, data, at=at, fsync=fsync)


def remove_temps(folder: Path) -> None:
    """Remove what a killed writer left in ``folder``; only for the one who holds its lock."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(TEMP_PREFIX):
                Path(entry.path).unlink(missing_ok=True)


@contextmanager
def folder_fsync(folder: Path) -> Iterator[Callable[[], None]]:
    """Give a function that puts the names in ``folder`` on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield lambda: os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def exclusive(path: Path, name: str) -> Iterator[None]:
    """Hold the lock file ``path``; the kernel lets go of it when the process ends in any way.

    Raises ``PartitionBusyError`` at once, with the holder's process id, if somebody has it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            holder = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
            raise PartitionBusyError(
                f"{name}: expected no other writer, was held by process {holder}"
            ) from e
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, data: bytes, *, at: int, fsync: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, _MODE)
    try:
        os.ftruncate(descriptor, at)
        os.lseek(descriptor, at, os.SEEK_SET)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if fsync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _why(error: OSError) -> str:
    return f"{error.strerror}: {error.filename}" if error.filename else str(error)


def _free_bytes(folder: Path) -> int:
    while not folder.is_dir():
        folder = folder.parent
    usage = os.statvfs(folder)
    return usage.f_bavail * usage.f_frsize
