"""What the lake on disk promises beyond the port: bytes, history, retention, damage."""

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from market.errors import CorruptPartitionError, InputError, NotMaterializedError, StorageError
from market.ports import PartitionKey, PartitionRef, State
from storage.lake import ROW_GROUP_ROWS, ParquetLake
from tests.fakes.bars import candles

KEY = PartitionKey("candles", "H1", "EURUSD", "2017-05")
SERIES = ("candles", "H1", "EURUSD")
STATE = {"watermark": np.array([7], dtype=np.int64)}


@pytest.fixture
def lake(tmp_path: Path) -> ParquetLake:
    return ParquetLake(tmp_path / "lake")


def write(
    lake: ParquetLake,
    shift: float = 0.0,
    *,
    month: str = "2017-05",
    state: State | None = None,
    code_version: str = "1",
) -> PartitionRef:
    rows = candles(month, 10, shift=shift)
    return lake.write(KEY.at(month), rows, state=state, code_version=code_version, inputs={})


def tree(root: Path) -> dict[str, tuple[bytes, int]]:
    files = (p for p in root.rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(root)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def names(lake: ParquetLake) -> set[str]:
    return {p.name for p in (lake.root / KEY.path).iterdir()}


def spoil(path: Path) -> None:
    """Turn the bits of a quarter of a file."""
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 4, len(data) // 2):
        data[at] ^= 0xFF
    path.write_bytes(data)


def test_a_partition_is_four_files_at_exact_paths(lake: ParquetLake) -> None:
    ref = write(lake, state=STATE)
    files = {f"{ref.version}.parquet", f"{ref.version}.state", "current.json", "history.jsonl"}
    assert names(lake) == files
    write(lake, month="2017-06")
    june = {p.suffix for p in (lake.root / KEY.at("2017-06").path).iterdir()}
    assert june == {".parquet", ".json", ".jsonl"}


def test_a_rerun_writes_nothing_at_all(lake: ParquetLake) -> None:
    first = write(lake, state=STATE)
    before = tree(lake.root)
    assert write(lake, state=STATE) == first
    assert tree(lake.root) == before


def test_two_lakes_of_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    lakes = [ParquetLake(tmp_path / name) for name in "ab"]
    for lake in lakes:
        write(lake, state=STATE)
        write(lake, month="2017-06")
    left, right = (
        {k: v[0] for k, v in tree(lake.root).items() if "history" not in k} for lake in lakes
    )
    assert left == right


def test_chunks_and_flags_of_the_frame_do_not_reach_the_file(tmp_path: Path) -> None:
    rows = pl.concat([candles("2017-05", 700)] * 20).sort("ts")  # several row groups
    chunked = pl.concat([rows[:999], rows[999:]], rechunk=False).with_columns(
        pl.col("ts").set_sorted()
    )
    shuffled = rows.sample(fraction=1, shuffle=True, seed=3)
    data = set()
    for name, frame in {"a": rows, "b": chunked, "c": shuffled}.items():
        lake = ParquetLake(tmp_path / name)
        ref = lake.write(KEY, frame, code_version="", inputs={})
        data.add(lake.files([ref])[0].read_bytes())
    assert len(data) == 1


def test_the_file_is_sorted_compressed_and_has_statistics(lake: ParquetLake) -> None:
    rows = pl.concat([candles("2017-05", 700)] * 20)
    (path,) = lake.files([lake.write(KEY, rows, code_version="", inputs={})])
    metadata: Any = pq.read_metadata(path)
    assert metadata.num_row_groups == -(-rows.height // ROW_GROUP_ROWS)
    column = metadata.row_group(1).column(rows.columns.index("ts"))
    assert column.compression == "LZ4"
    assert column.is_stats_set
    assert metadata.row_group(0).column(2).statistics.max <= column.statistics.min


@pytest.mark.parametrize("compression", ["zstd", "uncompressed"])
def test_files_of_another_compression_stay_and_are_the_same_version(
    lake: ParquetLake, compression: Literal["zstd", "uncompressed"]
) -> None:
    ref = write(lake)
    (path,) = lake.files([ref])
    rows = lake.read([ref])
    rows.write_parquet(path, compression=compression, row_group_size=ROW_GROUP_ROWS)
    before = tree(lake.root)
    assert write(lake) == ref
    assert tree(lake.root) == before
    lake.verify(ref)
    assert_frame_equal(lake.read([ref]), rows)


def test_other_provenance_moves_only_the_pointer(lake: ParquetLake) -> None:
    write(lake)
    before = tree(lake.root)
    write(lake, code_version="2")
    after = tree(lake.root)
    changed = {Path(name).name for name in after if after[name] != before.get(name)}
    assert changed == {"current.json", "history.jsonl"}


def test_the_pointer_holds_no_clock(lake: ParquetLake) -> None:
    write(lake)
    pointer = orjson.loads((lake.root / KEY.path / "current.json").read_bytes())
    facts = {"version", "state_version", "rows", "first_us", "last_us"}
    assert set(pointer) == facts | {"code_version", "inputs", "attributes"}


def test_history_names_every_version_and_when(lake: ParquetLake) -> None:
    refs = [write(lake), write(lake, 1.0), write(lake), write(lake, code_version="2")]
    write(lake, code_version="2")
    moves = lake.versions(KEY)
    assert [move.ref for move in moves] == refs
    times = [move.written_at for move in moves]
    assert times == sorted(times)
    assert all(time.utcoffset() is not None for time in times)
    assert len({ref.version for ref in refs}) == 2
    assert lake.versions(KEY.at("2017-06")) == ()


def test_drop_takes_the_pointer_and_leaves_the_versions(lake: ParquetLake) -> None:
    ref = write(lake, state=STATE)
    write(lake, month="2017-06")
    lake.drop(KEY)
    lake.drop(KEY)
    assert lake.find(KEY) is None
    assert lake.months(*SERIES) == ("2017-06",)
    assert_frame_equal(lake.read([ref]), candles("2017-05", 10))
    assert [move.ref for move in lake.versions(KEY)] == [ref]
    assert write(lake, state=STATE) == ref
    assert [move.ref for move in lake.versions(KEY)] == [ref, ref]


def test_retention_keeps_so_many_old_versions(tmp_path: Path) -> None:
    lake = ParquetLake(tmp_path, retention_versions=2)
    refs = [write(lake, float(i), state={"i": np.array([i])}) for i in range(5)]
    kept = {f"{r.version}.{kind}" for r in refs[2:] for kind in ("parquet", "state")}
    assert names(lake) == kept | {"current.json", "history.jsonl"}
    assert lake.read([refs[2]]).height == 10
    with pytest.raises(NotMaterializedError, match=r"retention_versions=2.*resolve"):
        lake.read([refs[1]])
    with pytest.raises(NotMaterializedError, match="retired"):
        lake.state(refs[1])
    assert [move.ref for move in lake.versions(KEY)] == refs


def test_retention_counts_versions_not_moves(tmp_path: Path) -> None:
    lake = ParquetLake(tmp_path, retention_versions=1)
    old, _ = write(lake), write(lake, 1.0)
    for code_version in "23456":
        write(lake, 1.0, code_version=code_version)
    assert lake.read([old]).height == 10


def test_newest_resolves_again_when_retention_was_faster(tmp_path: Path) -> None:
    class Overtaken(ParquetLake):
        times = 0

        def _read(self, refs: Sequence[PartitionRef], *, offset: int) -> pl.DataFrame:
            if self.times < 2:
                self.times += 1
                write(self, 10.0 * self.times)
                write(self, 10.0 * self.times + 1)
            return super()._read(refs, offset=offset)

    lake = Overtaken(tmp_path, retention_versions=1)
    write(lake)
    assert lake.newest(*SERIES, rows=1)["close"].item() == pytest.approx(21.0 + 1.1009)
    assert lake.times == 2


def test_retention_cannot_be_negative(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="retention_versions: expected >= 0, was -1"):
        ParquetLake(tmp_path, retention_versions=-1)


def test_verify_finds_a_bit_that_turned(lake: ParquetLake) -> None:
    ref = write(lake, state=STATE)
    lake.verify(ref)
    (path,) = lake.files([ref])
    good = path.read_bytes()
    found = 0
    for at in range(4, len(good) - 8, 97):  # pages, statistics and the footer alike
        path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
        try:
            lake.verify(ref)
        except CorruptPartitionError as e:
            assert path.name in str(e)  # noqa: PT017 - some bits mean nothing, and pass
            found += 1
    assert found > 10
    path.write_bytes(good)
    lake.verify(ref)


def test_a_truncated_file_is_named(lake: ParquetLake) -> None:
    may, june = write(lake), write(lake, month="2017-06")
    path = lake.files([june])[0]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptPartitionError, match=path.name):
        lake.read([may, june])
    with pytest.raises(CorruptPartitionError, match=path.name):
        lake.newest(*SERIES, rows=15)


def test_a_file_of_another_version_is_found_by_its_rows(lake: ParquetLake) -> None:
    ref = write(lake)
    (path,) = lake.files([ref])
    candles("2017-05", 9).write_parquet(path)
    with pytest.raises(CorruptPartitionError, match="expected 10 rows, was 9"):
        lake.read([ref])
    candles("2017-05", 10, shift=1.0).write_parquet(path)
    with pytest.raises(CorruptPartitionError, match="hash to its name"):
        lake.verify(ref)


def test_a_missing_file_is_damage_while_the_pointer_names_it(lake: ParquetLake) -> None:
    ref = write(lake, state=STATE)
    (path,) = lake.files([ref])
    path.unlink()
    path.with_suffix(".state").unlink()
    with pytest.raises(CorruptPartitionError, match=path.name):
        lake.read([ref])
    with pytest.raises(CorruptPartitionError, match=path.stem):
        lake.state(ref)


def test_a_spoilt_state_is_named(lake: ParquetLake) -> None:
    ref = write(lake, state=STATE)
    path = lake.files([ref])[0].with_suffix(".state")
    spoil(path)
    with pytest.raises(CorruptPartitionError, match=path.name):
        lake.state(ref)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'{"version": "a"}', b"\xff"])
def test_a_spoilt_pointer_is_named_and_repaired(lake: ParquetLake, data: bytes) -> None:
    ref = write(lake)
    pointer = lake.root / KEY.path / "current.json"
    pointer.write_bytes(data)
    for ask in (lambda: lake.find(KEY), lambda: lake.newest(*SERIES, rows=1)):
        with pytest.raises(CorruptPartitionError) as e:
            ask()
        assert str(pointer) in str(e.value)
    assert write(lake) == ref == lake.resolve(KEY)
    assert [move.ref for move in lake.versions(KEY)] == [ref, ref]


def test_the_next_run_repairs_what_was_damaged(lake: ParquetLake) -> None:
    ref = write(lake, state=STATE)
    before = {k: v[0] for k, v in tree(lake.root).items()}
    (path,) = lake.files([ref])
    spoil(path)
    with pytest.raises(CorruptPartitionError):
        lake.verify(ref)
    spoil(path.with_suffix(".state"))
    write(lake, state=STATE)
    assert {k: v[0] for k, v in tree(lake.root).items()} == before
    path.write_bytes(b"")
    path.with_suffix(".state").unlink()
    write(lake, state=STATE)
    assert {k: v[0] for k, v in tree(lake.root).items()} == before
    lake.verify(ref)


def test_newest_opens_no_file_that_it_does_not_need(lake: ParquetLake) -> None:
    for month in ("2017-03", "2017-04", "2017-05", "2017-06"):
        write(lake, month=month)
    for month in ("2017-03", "2017-04"):
        for path in (lake.root / KEY.at(month).path).iterdir():
            path.write_bytes(b"spoilt")
    assert lake.newest(*SERIES, rows=20).height == 20
    with pytest.raises(CorruptPartitionError):
        lake.newest(*SERIES, rows=21)


def test_newest_reads_the_tail_of_a_big_month(lake: ParquetLake) -> None:
    rows = pl.concat([candles("2017-05", 700)] * 20).sort("ts")
    lake.write(KEY, rows, code_version="", inputs={})
    write(lake, month="2017-06")
    whole = pl.concat([rows, candles("2017-06", 10)])
    for n in (1, 10, 11, 500, ROW_GROUP_ROWS + 9, rows.height):
        assert_frame_equal(lake.newest(*SERIES, rows=n), whole.tail(n))


def test_a_row_of_a_big_month_is_read_without_the_others(lake: ParquetLake) -> None:
    rows = pl.concat([candles("2017-05", 700)] * 20).sort("ts")
    ref = lake.write(KEY, rows, code_version="", inputs={})
    times = rows["ts"].to_physical()
    astride = int(times[ROW_GROUP_ROWS])  # a bar whose rows lie in two groups
    assert times[ROW_GROUP_ROWS - 1] == astride
    (path,) = lake.files([ref])
    whole = path.read_bytes()
    groups = range(pq.read_metadata(path).num_row_groups)
    for ts_us, needed in ((astride, {0, 1}), (int(times[0]), {0}), (None, {max(groups)})):
        spoil_groups(path, set(groups) - needed)
        found = lake.row(ref, ts_us)
        assert_frame_equal(found, rows.tail(1) if ts_us is None else rows.filter(times == ts_us))
        with pytest.raises(CorruptPartitionError, match=path.name):
            lake.read([ref])
        path.write_bytes(whole)


def spoil_groups(path: Path, groups: set[int]) -> None:
    """Turn the bits of all columns of these row groups."""
    metadata: Any = pq.read_metadata(path)
    data = bytearray(path.read_bytes())
    for group in groups:
        for i in range(metadata.num_columns):
            column = metadata.row_group(group).column(i)
            start = column.dictionary_page_offset or column.data_page_offset
            for at in range(start, start + column.total_compressed_size):
                data[at] ^= 0xFF
    path.write_bytes(data)


def make_loop(path: Path) -> None:
    """Put what nobody can open in a path's place: a link to itself."""
    if path.is_dir():
        path.rename(path.with_name("moved"))
    else:
        path.unlink()
    path.symlink_to(path)


READS: dict[str, Callable[[ParquetLake, PartitionRef], object]] = {
    "find": lambda lake, _: lake.find(KEY),
    "resolve": lambda lake, _: lake.resolve(KEY),
    "months": lambda lake, _: lake.months(*SERIES),
    "versions": lambda lake, _: lake.versions(KEY),
    "newest": lambda lake, _: lake.newest(*SERIES, rows=1),
    "read": lambda lake, ref: lake.read([ref]),
    "row": lambda lake, ref: lake.row(ref),
    "row at": lambda lake, ref: lake.row(ref, ref.first_us),
    "state": lambda lake, ref: lake.state(ref),
    "verify": lambda lake, ref: lake.verify(ref),
    "write": lambda lake, _: write(lake, 1.0, state=STATE),
    "drop": lambda lake, _: lake.drop(KEY),
}
OF_A_POINTER = {"find", "resolve", "months", "versions", "newest", "write", "drop"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "refused"),
    [
        ("", set(READS)),
        ("2017-05", set(READS)),
        ("2017-05/current.json", OF_A_POINTER),
        ("2017-05/history.jsonl", {"versions", "write", "drop"}),
        ("2017-05/{version}.parquet", {"newest", "read", "row", "row at", "verify"}),
        ("2017-05/{version}.state", {"state", "verify"}),
    ],
)
@pytest.mark.parametrize("name", READS)
def test_what_the_system_refuses_is_a_storage_error(
    lake: ParquetLake, place: str, refused: set[str], name: str
) -> None:
    ref = write(lake, state=STATE)
    make_loop(lake.root / "candles/H1/EURUSD" / place.format(version=ref.version))
    if name not in refused:
        READS[name](lake, ref)
        return
    with pytest.raises(StorageError, match="candles/H1/EURUSD") as e:
        READS[name](lake, ref)
    assert type(e.value) is StorageError  # not damage: what lies there may be whole
    assert "symbolic links" in str(e.value)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EMFILE])
def test_a_disk_that_fails_while_months_are_listed_is_a_storage_error(
    lake: ParquetLake, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    write(lake)

    def fail(path: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(os, "scandir", fail)
    for name in ("months", "newest"):
        with pytest.raises(StorageError, match=os.strerror(number)) as e:
            READS[name](lake, lake.resolve(KEY))
        assert isinstance(e.value.__cause__, OSError)


def test_only_months_with_a_pointer_are_months(lake: ParquetLake) -> None:
    write(lake)
    series = lake.root / "candles/H1/EURUSD"
    (series / "2017-06").mkdir()
    (series / "2017-07").mkdir()
    (series / "2017-07" / ".tmp-current.json").write_bytes(b"{}")
    (series / "notes").mkdir()
    (series / "notes" / "current.json").write_bytes(b"{}")
    assert lake.months(*SERIES) == ("2017-05",)
    assert lake.newest(*SERIES, rows=100).height == 10


def test_a_stray_temporary_file_is_removed_by_the_next_writer(lake: ParquetLake) -> None:
    ref = write(lake)
    stray = lake.root / KEY.path / f".tmp-{ref.version}.parquet"
    stray.write_bytes(b"half")
    assert lake.read([lake.resolve(KEY)]).height == 10
    write(lake)
    assert not stray.exists()


def test_a_torn_line_of_the_journal_is_no_move(lake: ParquetLake) -> None:
    first = write(lake)
    journal = lake.root / KEY.path / "history.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole[: len(whole) // 2])
    assert [move.ref for move in lake.versions(KEY)] == [first]
    second = write(lake, 1.0)
    assert [move.ref for move in lake.versions(KEY)] == [first, second]
    assert len(journal.read_bytes().splitlines()) == 2


def test_a_line_that_the_pointer_did_not_follow_is_no_move(lake: ParquetLake) -> None:
    first = write(lake)
    pointer = lake.root / KEY.path / "current.json"
    before = pointer.read_bytes()
    write(lake, 1.0)
    pointer.write_bytes(before)  # as if killed between the journal and the pointer
    assert [move.ref for move in lake.versions(KEY)] == [first]
    third = write(lake, 2.0)
    assert [move.ref for move in lake.versions(KEY)] == [first, third]


def test_a_pointer_that_somebody_deleted_costs_no_history(lake: ParquetLake) -> None:
    refs = [write(lake), write(lake, 1.0)]
    (lake.root / KEY.path / "current.json").unlink()
    assert [move.ref for move in lake.versions(KEY)] == refs
    assert write(lake, 1.0) == refs[1]
    assert [move.ref for move in lake.versions(KEY)] == [*refs, refs[1]]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "candles").write_text("a file where a folder belongs")
    with pytest.raises(StorageError, match="candles/H1/EURUSD"):
        write(ParquetLake(tmp_path))


def test_everything_is_on_disk_before_the_pointer_says_so(tmp_path: Path) -> None:
    """A kill cannot show this: what the kernel holds survives it, and not a power cut."""
    said: list[str] = []
    paths: dict[int, str] = {}
    real_open, real_fsync, real_replace = os.open, os.fsync, os.replace

    def traced_open(path: Any, *arguments: Any, **more: Any) -> int:
        descriptor = real_open(path, *arguments, **more)
        paths[descriptor] = Path(path).name
        return descriptor

    def traced_fsync(descriptor: int) -> None:
        said.append(f"fsync {paths[descriptor]}")
        real_fsync(descriptor)

    def traced_replace(source: Path, target: Path) -> None:
        said.append(f"replace {Path(target).name}")
        real_replace(source, target)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "open", traced_open)
        patched.setattr(os, "fsync", traced_fsync)
        patched.setattr(os, "replace", traced_replace)
        version = write(ParquetLake(tmp_path / "safe"), state=STATE).version
        safe = said.copy()
        said.clear()
        write(ParquetLake(tmp_path / "fast", fsync=False), state=STATE)
    assert safe[-9:] == [
        f"fsync .tmp-{version}.state",
        f"replace {version}.state",
        f"fsync .tmp-{version}.parquet",
        f"replace {version}.parquet",
        "fsync .tmp-current.json",
        "fsync history.jsonl",
        "fsync 2017-05",
        "replace current.json",
        "fsync 2017-05",
    ]
    assert safe[:-9] == ["fsync " + n for n in (tmp_path.name, "safe", "candles", "H1", "EURUSD")]
    assert [word for word in said if "fsync" in word] == []
