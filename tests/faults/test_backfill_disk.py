"""A disk that fills while a backfill makes labels, or writes down how far it is."""

import errno
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from market.errors import StorageError
from market.ports import PartitionKey
from storage import durable
from storage.database import Database
from tests.fakes.line import BTC, FrameProvider, contents, hourly
from tests.wavehouse.test_backfill_job import ASKED, World

pytestmark = pytest.mark.slow

PARTITIONS = 13
DISK = "size=2m"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the bytes that the lake has when nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed")
    made = World(folder, FrameProvider(hourly(BTC)), Database.in_memory())
    made.jobs().submit(ASKED)
    assert made.work() == "completed"
    made.database.close()
    return dict(contents(folder / "lake"))


def test_a_disk_that_fills_while_labels_are_written_fails_the_job_by_name(
    tmp_path: Path, undisturbed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database.at(tmp_path / "wavehouse.db")
    world = World(tmp_path, FrameProvider(hourly(BTC)), database)
    real = durable._write

    def write(file: Path, data: bytes, *, at: int, fsync: bool) -> None:
        if "/labels/" in file.as_posix() and "2017-04" in file.as_posix():
            real(file, data[: len(data) // 2], at=at, fsync=fsync)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        real(file, data, at=at, fsync=fsync)

    world.jobs().submit(ASKED)
    with monkeypatch.context() as patch:
        patch.setattr(durable, "_write", write)
        assert world.work() == "failed"
    job = world.jobs().read("bf_1")
    assert job.error_code == "STORAGE_FULL"
    assert "labels/H4/BTC/2017-04" in (job.error_message or "")
    assert not list((tmp_path / "lake").rglob(".tmp-*"))
    there = world.pointers()
    assert "labels/H4/BTC/2017-03" in there
    assert "labels/H4/BTC/2017-04" not in there
    assert job.progress.completed == len(there)

    world.jobs().submit(replace(ASKED, job_id="bf_2"))
    assert world.work("bf_2") == "completed"
    assert world.jobs().read("bf_2").progress.completed == PARTITIONS - len(there)
    assert contents(tmp_path / "lake") == undisturbed
    assert set(world.times_moved().values()) == {1}
    database.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk that a test can fill, or skip."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", DISK, "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, check=False, capture_output=True, text=True)  # noqa: S603
    except FileNotFoundError:
        pytest.skip("there is no mount command: no small disk to fill")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)  # noqa: S603, S607


def fill(disk: Path) -> None:
    """Leave no byte free."""
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        while os.statvfs(disk).f_bavail:
            ballast.write(bytes(4096))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        (disk / "more").write_bytes(b"1")


def until(is_it: Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + 60.0
    while not is_it():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("after", [1, 9])
def test_a_disk_that_fills_under_the_jobs_own_rows_ends_the_worker_and_the_next_goes_on(
    tmp_path: Path, small_disk: Path, undisturbed: dict[str, str], after: int
) -> None:
    database = Database.at(small_disk / "wavehouse.db")
    world = World(tmp_path, FrameProvider(hourly(BTC)), database, lease_s=1.0)
    seen: list[str] = []

    def fill_up(key: PartitionKey) -> None:
        seen.append(key.path)
        if len(seen) == after:
            fill(small_disk)

    world.on = fill_up
    world.jobs().submit(ASKED)
    with pytest.raises(StorageError, match="full"):
        world.work()
    assert len(seen) == after  # the worker went no further than it could tell
    assert set(world.pointers()) == set(seen)
    (small_disk / "ballast").unlink()
    job = world.jobs().read("bf_1")
    assert (job.status, job.progress.completed) == ("running", after - 1)

    world.on = lambda _key: None
    until(lambda: world.jobs().start_next(most=9, most_starts=9) == "bf_1")
    assert world.work(owner="another") == "completed"
    done = world.jobs().read("bf_1").progress
    assert (done.completed, done.total) == (PARTITIONS - 1, PARTITIONS - 1)  # one lost its note
    assert contents(tmp_path / "lake") == undisturbed
    assert set(world.times_moved().values()) == {1}
    database.close()
