"""Writers that are killed, disks that fill, two writers at once, readers in between."""

import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from market.errors import NotMaterializedError, PartitionBusyError, StorageFullError
from market.ports import PartitionRef
from storage.lake import ParquetLake
from tests.faults import lake_child
from tests.faults.lake_child import KEY, before_step, put, whole

PROGRAM = Path(lake_child.__file__)


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start children, none of which outlives the test."""
    children: list[subprocess.Popen[str]] = []

    def run(*arguments: object) -> subprocess.Popen[str]:
        words = [sys.executable, str(PROGRAM), *map(str, arguments)]
        pipe = subprocess.PIPE
        child = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True)  # noqa: S603 - our own program
        children.append(child)
        return child

    yield run
    for child in children:
        if child.returncode is None:
            kill(child)


def finish(child: subprocess.Popen[str]) -> str:
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    return out


def kill(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)


def files(lake: ParquetLake) -> dict[str, bytes]:
    """Return what a lake holds but for clocks and locks."""
    found = (p for p in lake.root.rglob("*") if p.is_file())
    clocks = (".lock", "history.jsonl")
    return {str(p.relative_to(lake.root)): p.read_bytes() for p in found if p.name not in clocks}


def journal_of(lake: ParquetLake) -> bytes:
    path = lake.root / KEY.path / "history.jsonl"
    return path.read_bytes() if path.exists() else b""


def temps(lake: ParquetLake) -> list[Path]:
    return [path for path in lake.root.rglob("*") if path.name.startswith(".tmp-")]


@pytest.fixture
def lake(tmp_path: Path) -> ParquetLake:
    return ParquetLake(tmp_path / "lake")


@pytest.mark.slow
@pytest.mark.parametrize("is_rewrite", [True, False], ids=["rewrite", "first"])
def test_kill_at_every_step_of_a_write(tmp_path: Path, start: Start, *, is_rewrite: bool) -> None:
    finish(start("kill-everywhere", tmp_path, "rewrite" if is_rewrite else "first"))
    undisturbed = ParquetLake(tmp_path / "undisturbed")
    refs = [put(undisturbed, shift) for shift in ([0, 1] if is_rewrite else [1])]
    roots = sorted(path for path in tmp_path.iterdir() if path.name != "undisturbed")
    assert len(roots) > 15
    seen: list[int | None] = []
    for root in roots:
        lake = ParquetLake(root)
        try:
            lake.verify(lake.resolve(KEY))
            seen.append(whole(lake))
        except NotMaterializedError:
            assert not is_rewrite
            assert lake.months(KEY.table, KEY.timeframe, KEY.instrument) == ()
            seen.append(None)
        moves = [move.ref for move in lake.versions(KEY)]
        assert moves == ([] if seen[-1] is None else refs[: moves.index(lake.resolve(KEY)) + 1])
        assert put(lake, 1) == refs[-1]  # the next run repairs it: the same bytes
        assert files(lake) == files(undisturbed)
        assert [move.ref for move in lake.versions(KEY)] == refs
    old = 0 if is_rewrite else None
    assert sorted(seen, key=lambda version: version == 1) == seen  # once new, never old again
    assert set(seen) == {old, 1}


@pytest.mark.slow
def test_kill_at_random_moments_under_a_reader(lake: ParquetLake, start: Start) -> None:
    put(lake, 0)
    rng = random.Random(2)  # noqa: S311 - not a secret
    for _ in range(3):
        child = start("write-for-ever", lake.root)
        last, moves, wanted = whole(lake), 0, rng.randrange(5, 40)
        while moves < wanted:
            assert child.poll() is None
            version = whole(lake)
            moves += version != last
            last = version
        kill(child)
        lake.verify(lake.resolve(KEY))
        moves_made = lake.versions(KEY)
        assert moves_made[-1].ref == lake.resolve(KEY)
        put(lake, 0)
        assert temps(lake) == []
        assert len(lake.versions(KEY)) > len(moves_made)
    for ref in {move.ref.version: move.ref for move in lake.versions(KEY)}.values():
        lake.verify(ref)


def test_a_second_process_is_turned_away_until_the_first_is_killed(
    lake: ParquetLake, start: Start
) -> None:
    child = start("hold", lake.root)
    assert child.stdout is not None
    pid = child.stdout.readline().strip()
    with pytest.raises(PartitionBusyError, match=rf"candles/H1/EURUSD: .*process {pid}$"):
        put(lake, 0)
    assert lake.find(KEY) is None
    kill(child)
    assert whole_after(lake, put(lake, 0)) == 0


def whole_after(lake: ParquetLake, ref: PartitionRef) -> int:
    assert lake.resolve(KEY) == ref
    return whole(lake)


@pytest.mark.slow
def test_two_processes_write_one_series(lake: ParquetLake, start: Start) -> None:
    children = [start("write-some", lake.root, first) for first in (100, 200)]
    waits = [int(finish(child)) for child in children]
    moves = [int(move.ref.code_version) for move in lake.versions(KEY)]
    assert sorted(moves) == [*range(100, 150), *range(200, 250)], waits
    assert moves[-1] == whole(lake)
    assert temps(lake) == []
    for move in lake.versions(KEY):
        lake.verify(move.ref)


@pytest.mark.slow
def test_readers_during_two_hundred_moves(tmp_path: Path, start: Start) -> None:
    retention = 3
    lake = ParquetLake(tmp_path, retention_versions=retention)
    put(lake, 0)
    readers = [start("watch", tmp_path, retention) for _ in range(2)]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "0\n"
    for shift in range(1, 201):
        put(lake, shift)
    for reader in readers:
        seen = [int(word) for word in finish(reader).split()]
        assert len(set(seen)) > 5
        assert seen == sorted(seen)


@pytest.fixture
def undisturbed(tmp_path: Path) -> ParquetLake:
    return ParquetLake(tmp_path / "undisturbed")


@pytest.mark.slow
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("is_rewrite", [True, False], ids=["rewrite", "first"])
def test_the_disk_is_full_at_every_step(
    tmp_path: Path, undisturbed: ParquetLake, code: int, *, is_rewrite: bool
) -> None:
    refs = [put(undisturbed, shift) for shift in ([0, 1] if is_rewrite else [1])]
    moved = 0
    for which in range(1, 200):
        lake = ParquetLake(tmp_path / str(which))
        before = put(lake, 0) if is_rewrite else None
        journal = journal_of(lake)

        def refuse(name: str, _: Any) -> NoReturn:
            raise OSError(code, os.strerror(code), name)

        with pytest.MonkeyPatch.context() as patched:
            for step in lake_child.STEPS:
                patched.setattr(os, step, getattr(os, step))
            steps = before_step(which, refuse)
            try:
                put(lake, 1)
            except StorageFullError as e:
                message = str(e)
            else:
                assert steps() < which
                break
        assert "candles/H1/EURUSD" in message
        assert "bytes free" in message
        assert temps(lake) == []
        moved += lake.find(KEY) != before
        assert moved or journal_of(lake) == journal
        if moved:  # the folder's fsync came after the move: its failure is told, the move stays
            assert lake.find(KEY) == refs[-1]
        assert put(lake, 1) == refs[-1]
        assert files(lake) == files(undisturbed)
        assert [move.ref for move in lake.versions(KEY)] == refs
    else:
        pytest.fail("expected the write to end")
    assert which > 15
    assert moved == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 64 pages, or skip."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, check=False, capture_output=True, text=True)  # noqa: S603
    except FileNotFoundError:
        pytest.skip("there is no mount command: no small disk to fill")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)  # noqa: S603, S607


def test_a_real_disk_fills_up(small_disk: Path, undisturbed: ParquetLake) -> None:
    lake = ParquetLake(small_disk / "lake")
    first, _ = put(undisturbed, 0), put(undisturbed, 1)
    put(lake, 0)
    ballast = small_disk / "ballast"
    page = 4096
    fullness = 0
    for free_pages in range(40):
        usage = os.statvfs(small_disk)
        ballast.write_bytes(bytes((usage.f_bavail - free_pages) * page))
        try:
            put(lake, 1)
            break
        except StorageFullError as e:
            fullness += 1
            assert KEY.path in str(e)  # noqa: PT017 - whether it is raised depends on the page
        finally:
            ballast.unlink()
        assert temps(lake) == []
        assert lake.resolve(KEY) == first
        assert whole(lake) == 0
        assert [move.ref for move in lake.versions(KEY)] == [first]
    else:
        pytest.fail("expected the write to fit in the end")
    assert fullness >= 2
    assert files(lake) == files(undisturbed)
    lake.verify(lake.resolve(KEY))
