"""What every lake promises, whatever it is made of."""

import datetime as dt
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from market.errors import InputError, NotMaterializedError, PartitionBusyError, SchemaError
from market.ports import Lake, PartitionKey, PartitionRef
from storage.clickhouse.lake import ClickHouseLake, open_warehouse
from storage.lake import ParquetLake
from tests.fakes import warehouses
from tests.fakes.bars import candles
from tests.fakes.memory_lake import MemoryLake

KEY = PartitionKey("candles", "H1", "EURUSD", "2017-05")
SERIES = ("candles", "H1", "EURUSD")
STATE = {"watermark": np.array([7], dtype=np.int64), "atr": np.array([[0.5, np.nan], [-0.0, 1.0]])}

LAKES: dict[str, Callable[[Path], Lake]] = {
    "parquet": lambda folder: ParquetLake(folder / "lake", fsync=False),
    "parquet-durable": lambda folder: ParquetLake(folder / "lake", fsync=True),
    "memory": lambda _: MemoryLake(),
}


WAREHOUSES = [
    pytest.param("chdb", marks=pytest.mark.slow),
    pytest.param("http", marks=pytest.mark.slow),
]


@pytest.fixture(scope="session")
def chdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    warehouses.need_engine()  # one folder a process
    with warehouses.database(f"chdb://{tmp_path_factory.mktemp('chdb')}") as dsn:
        yield dsn


@pytest.fixture(scope="session")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    warehouses.need_engine()
    with (
        warehouses.gateway(tmp_path_factory.mktemp("gateway")) as port,
        warehouses.database(f"clickhouse://reader:secret@127.0.0.1:{port}") as dsn,
    ):
        yield dsn


@pytest.fixture(params=[*LAKES, *WAREHOUSES])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lake]:
    if request.param in LAKES:
        yield LAKES[request.param](tmp_path)
        return
    made = open_warehouse(warehouses.emptied(request.getfixturevalue(request.param)))
    yield made
    made.close()


def write(lake: Lake, month: str = "2017-05", n: int = 10, shift: float = 0.0) -> PartitionRef:
    rows = candles(month, n, shift=shift)
    return lake.write(KEY.at(month), rows, code_version="1", inputs={})


def test_rows_come_back_as_they_were_written(lake: Lake) -> None:
    rows = candles("2017-05", 100)
    ref = lake.write(KEY, rows, code_version="1", inputs={})
    assert_frame_equal(lake.read([ref]), rows, check_exact=True)


def test_a_warehouse_is_not_near(lake: Lake) -> None:
    assert lake.is_near is not isinstance(lake, ClickHouseLake)


def test_the_pointer_says_what_was_written(lake: Lake) -> None:
    rows = candles("2017-05", 3)
    inputs = {"raw_candles/H1/EURUSD/2017-05": "ab", "levels/H1/EURUSD/2017-04#state": "cd"}
    facts = {"n_out_of_session": np.int64(3), "reason": None, "share": 0.5, "names": ("a", "b")}
    written = lake.write(KEY, rows, state=STATE, code_version="7", inputs=inputs, attributes=facts)
    found = lake.resolve(KEY)
    assert found == written
    ts = rows["ts"].to_physical()
    assert (found.key, found.rows, found.code_version) == (KEY, 3, "7")
    assert (found.first_us, found.last_us) == (ts[0], ts[-1])
    assert found.inputs == inputs
    assert found.attributes == {
        "n_out_of_session": 3,
        "reason": None,
        "share": 0.5,
        "names": ["a", "b"],
    }
    assert len(found.version) == len(found.state_version) == 32


def test_the_same_rows_have_the_same_version_in_every_lake(lake: Lake) -> None:
    ref = lake.write(KEY, candles("2017-05", 5), state=STATE, code_version="1", inputs={})
    twin = MemoryLake().write(KEY, candles("2017-05", 5), state=STATE, code_version="2", inputs={})
    assert (ref.version, ref.state_version) == (twin.version, twin.state_version)


def test_state_comes_back_bit_for_bit_and_is_the_callers_own(lake: Lake) -> None:
    ref = lake.write(KEY, candles("2017-05", 5), state=STATE, code_version="1", inputs={})
    state = lake.state(ref)
    assert list(state) == sorted(STATE)
    for name, array in STATE.items():
        assert state[name].dtype == array.dtype
        assert state[name].shape == array.shape
        assert state[name].tobytes() == array.tobytes()
    state["watermark"][0] = -1
    assert lake.state(ref)["watermark"][0] == 7


def test_without_a_state_there_is_none(lake: Lake) -> None:
    ref = write(lake)
    assert (ref.state_version, lake.state(ref)) == ("", {})


def test_another_state_is_another_version_of_the_same_rows(lake: Lake) -> None:
    rows = candles("2017-05", 5)
    first = lake.write(KEY, rows, state=STATE, code_version="1", inputs={})
    changed = {**STATE, "watermark": np.array([8], dtype=np.int64)}
    second = lake.write(KEY, rows, state=changed, code_version="1", inputs={})
    assert first.version != second.version
    assert first.state_version != second.state_version
    assert lake.state(first)["watermark"][0] == 7
    assert lake.state(second)["watermark"][0] == 8


def test_an_old_version_can_be_read_after_a_rewrite(lake: Lake) -> None:
    old, new = write(lake), write(lake, shift=1.0)
    assert lake.resolve(KEY) == new
    assert lake.read([old])["close"][0] == pytest.approx(1.1)
    assert lake.read([new])["close"][0] == pytest.approx(2.1)


def awkward() -> pl.DataFrame:
    """Rows of a DST night to the microsecond: nulls beside NaN, infinities, other scripts."""
    instants = [
        dt.datetime(2017, 3, 26, 0, 59, 59, 999_999, tzinfo=dt.UTC),
        dt.datetime(2017, 3, 26, 1, 0, 0, 1, tzinfo=dt.UTC),
        dt.datetime(2017, 3, 26, 1, 0, 0, 1, tzinfo=dt.UTC),
        dt.datetime(2017, 3, 26, 2, 30, tzinfo=dt.UTC),  # in Europe an hour that is skipped
    ]
    rows = candles("2017-03", 4, instrument="ÜNÏ/日経 'x\\\n")
    return rows.with_columns(
        pl.Series("ts", instants, dtype=pl.Datetime("us", "UTC")),
        pl.Series("volume", [None, float("nan"), -0.0, float("-inf")]),
        pl.Series("source", ["", "'; DROP TABLE candles; --", "€", None]),
        pl.Series("complete", [True, None, False, True]),
        pl.Series("n_missing", [2**31 - 1, None, -(2**31), 0], dtype=pl.Int32),
    )


def test_awkward_values_come_back_with_the_same_version(lake: Lake) -> None:
    key = KEY.at("2017-03")
    ref = lake.write(key, awkward(), code_version="", inputs={})
    assert ref == MemoryLake().write(key, awkward(), code_version="", inputs={})
    read = lake.read([ref])
    assert_frame_equal(read, awkward(), check_exact=True)
    assert read["volume"].is_null().to_list() == [True, False, False, False]
    assert not np.signbit(read["volume"].to_numpy()[2])  # there is one zero
    assert read.schema["ts"] == read.schema["known_at"] == pl.Datetime("us", "UTC")
    assert_frame_equal(lake.row(ref, ref.last_us), awkward().tail(1), check_exact=True)


def test_the_same_rows_written_again_are_the_same_partition(lake: Lake) -> None:
    refs = {write(lake).version for _ in range(3)}
    assert len(refs) == 1
    assert lake.read([lake.resolve(KEY)]).height == 10
    assert lake.newest(*SERIES, rows=100).height == 10


def test_a_partition_can_become_empty_and_what_it_was_again(lake: Lake) -> None:
    full, empty, again = write(lake), write(lake, n=0), write(lake)
    assert full == again != empty
    assert lake.read([empty]).is_empty()
    assert_frame_equal(lake.read([lake.resolve(KEY)]), candles("2017-05", 10), check_exact=True)


def test_other_provenance_moves_the_pointer_and_keeps_the_version(lake: Lake) -> None:
    rows = candles("2017-05", 5)
    first = lake.write(KEY, rows, code_version="1", inputs={})
    second = lake.write(KEY, rows, code_version="2", inputs={"a": "b"})
    assert first.version == second.version
    assert lake.resolve(KEY).code_version == "2"
    assert lake.resolve(KEY).inputs == {"a": "b"}


def test_a_month_without_rows_is_materialised(lake: Lake) -> None:
    ref = write(lake, n=0)
    assert (ref.rows, ref.first_us, ref.last_us) == (0, None, None)
    assert lake.months(*SERIES) == ("2017-05",)
    assert lake.read([ref]).is_empty()
    assert lake.newest(*SERIES, rows=5).schema == candles("2017-05", 1).schema


def test_rows_in_disorder_are_kept_in_order_of_time(lake: Lake) -> None:
    rows = candles("2017-05", 20)
    ref = lake.write(KEY, rows.sample(fraction=1, shuffle=True, seed=1), code_version="", inputs={})
    assert_frame_equal(lake.read([ref]), rows)


def test_versions_are_read_in_the_order_given(lake: Lake) -> None:
    may, june = write(lake, "2017-05"), write(lake, "2017-06")
    ts = lake.read([june, may])["ts"].to_physical().to_list()
    assert ts[0] == june.first_us
    assert ts[-1] == may.last_us


def test_months_are_in_order_whatever_order_they_came_in(lake: Lake) -> None:
    for month in ("2017-11", "2016-12", "2017-02"):
        write(lake, month)
    lake.write(
        PartitionKey("candles", "H1", "GBPUSD", "2015-01"),
        candles("2015-01", 1),
        code_version="",
        inputs={},
    )
    assert lake.months(*SERIES) == ("2016-12", "2017-02", "2017-11")
    assert lake.months("candles", "H4", "EURUSD") == ()


@pytest.mark.parametrize("n", [1, 9, 10, 11, 25, 30, 31, 1000])
def test_newest_is_the_tail_of_the_whole_series(lake: Lake, n: int) -> None:
    refs = [write(lake, month) for month in ("2017-03", "2017-05", "2017-06")]
    write(lake, "2017-07", n=0)
    assert_frame_equal(lake.newest(*SERIES, rows=n), lake.read(refs).tail(n))


def test_a_row_is_found_by_its_instant(lake: Lake) -> None:
    rows = candles("2017-05", 30).gather([i for i in range(30) if i != 7])
    ref = lake.write(KEY, rows, code_version="", inputs={})
    for i, ts_us in enumerate(rows["ts"].to_physical().to_list()):
        assert_frame_equal(lake.row(ref, ts_us), rows.slice(i, 1), check_exact=True)
    gap_us = int(candles("2017-05", 8)["ts"].to_physical()[7])
    assert ref.first_us is not None
    for ts_us in (gap_us, ref.first_us - 1, ref.first_us + 1, 0, -1, 2**53):
        assert_frame_equal(lake.row(ref, ts_us), rows.clear())
    assert_frame_equal(lake.row(ref), rows.tail(1), check_exact=True)


def test_rows_of_one_bar_are_found_together(lake: Lake) -> None:
    rows = pl.concat([candles("2017-05", 3, shift=float(i)) for i in range(4)]).sort(
        "ts", maintain_order=True
    )
    ref = lake.write(KEY, rows, code_version="", inputs={})
    assert_frame_equal(lake.row(ref, ref.last_us), rows.tail(4))
    assert_frame_equal(lake.row(ref), rows.tail(1))


def test_a_month_without_rows_has_no_last_one(lake: Lake) -> None:
    ref = write(lake, n=0)
    for found in (lake.row(ref), lake.row(ref, 0)):
        assert_frame_equal(found, candles("2017-05", 1).clear())


def test_what_is_missing_says_what_to_run(lake: Lake) -> None:
    assert lake.find(KEY) is None
    with pytest.raises(NotMaterializedError) as e:
        lake.resolve(KEY)
    command = "wavehouse materialize candles --instrument EURUSD --from 2017-05 --to 2017-05"
    assert command in str(e.value)
    with pytest.raises(NotMaterializedError, match="wavehouse materialize candles --instrument"):
        lake.newest(*SERIES, rows=1)


def test_nothing_to_read_is_an_error(lake: Lake) -> None:
    with pytest.raises(InputError, match="refs"):
        lake.read([])
    write(lake)
    with pytest.raises(InputError, match="rows"):
        lake.newest(*SERIES, rows=0)


def test_versions_of_other_columns_are_not_read_together(lake: Lake) -> None:
    may = write(lake)
    other = candles("2017-06", 3).with_columns(pl.col("volume").cast(pl.Int64))

    def written_and_read() -> None:  # a warehouse, whose tables have types, refuses to write
        june = lake.write(KEY.at("2017-06"), other, code_version="", inputs={})
        lake.read([may, june])

    with pytest.raises(SchemaError):
        written_and_read()


def test_a_version_that_is_not_there_cannot_be_read(lake: Lake) -> None:
    ref = write(lake)
    never = PartitionRef(KEY, "0" * 32, "0" * 32, 1, None, None, "")
    with pytest.raises(NotMaterializedError):
        lake.read([ref, never])
    with pytest.raises(NotMaterializedError):
        lake.row(never)
    with pytest.raises(NotMaterializedError):
        lake.row(never, 0)
    with pytest.raises(NotMaterializedError):
        lake.state(never)


def test_rows_of_another_month_are_refused(lake: Lake) -> None:
    with pytest.raises(InputError, match="2017-05"):
        lake.write(KEY, candles("2017-05", 31 * 24 + 1), code_version="", inputs={})
    with pytest.raises(InputError, match="2017-05"):
        lake.write(KEY, candles("2017-04", 1), code_version="", inputs={})
    assert lake.find(KEY) is None


def test_what_has_no_canonical_form_is_refused(lake: Lake) -> None:
    rows = candles("2017-05", 2)
    nested = rows.with_columns(close=pl.concat_list("open", "close"))
    with pytest.raises(SchemaError, match="close"):
        lake.write(KEY, nested, code_version="", inputs={})
    with pytest.raises(SchemaError, match="ts"):
        lake.write(KEY, rows.with_columns(ts=pl.lit(1)), code_version="", inputs={})
    with pytest.raises(InputError, match="ts"):
        lake.write(KEY, rows.with_columns(ts=rows["ts"].shift(1)), code_version="", inputs={})
    objects = {"names": np.array([None, "a"], dtype=object)}
    with pytest.raises(InputError, match="names"):
        lake.write(KEY, rows, state=objects, code_version="", inputs={})
    with pytest.raises(InputError, match="JSON"):
        lake.write(KEY, rows, code_version="", inputs={}, attributes={"x": object()})
    assert lake.find(KEY) is None


@pytest.mark.parametrize("instrument", ["", "..", "../x", "a/b", "a\0b", ".hidden", "a b"])
def test_a_name_from_outside_stays_inside(lake: Lake, instrument: str) -> None:
    key = PartitionKey("candles", "H1", instrument, "2017-05")
    with pytest.raises(InputError, match="instrument"):
        lake.find(key)
    with pytest.raises(InputError, match="instrument"):
        lake.months("candles", "H1", instrument)
    with pytest.raises(InputError, match="instrument"):
        lake.write(key, candles("2017-05", 1), code_version="", inputs={})


def test_a_month_is_a_month(lake: Lake) -> None:
    for month in ("2017-13", "2017-05-01", "..", ""):
        with pytest.raises(InputError, match="month"):
            lake.find(KEY.at(month))


def test_one_writer_a_series(lake: Lake) -> None:
    def busy() -> None:
        with pytest.raises(PartitionBusyError, match="candles/H1/EURUSD"):
            write(lake, "2017-06")
        lake.write(
            PartitionKey("candles", "H1", "GBPUSD", "2017-05"),
            candles("2017-05", 1),
            code_version="",
            inputs={},
        )

    with ThreadPoolExecutor(1) as pool:
        with lake.writing(*SERIES):
            write(lake)  # the one who holds it may write
            with lake.writing(*SERIES):
                write(lake, "2017-07")
            pool.submit(busy).result()
        pool.submit(write, lake, "2017-06").result()
    assert lake.months(*SERIES) == ("2017-05", "2017-06", "2017-07")


def test_the_writers_place_is_free_again_after_an_error(lake: Lake) -> None:
    with pytest.raises(ZeroDivisionError), lake.writing(*SERIES):
        _ = 1 // 0
    with ThreadPoolExecutor(1) as pool:
        pool.submit(write, lake).result()


@pytest.mark.slow
def test_of_writers_at_the_same_time_one_counts_and_the_others_are_told(lake: Lake) -> None:
    start = threading.Barrier(4)

    def rewrite(shift: float) -> PartitionRef | None:
        start.wait()
        try:
            return write(lake, shift=shift)
        except PartitionBusyError:
            return None

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(rewrite, (1.0, 2.0, 3.0, 4.0)))
    written = [ref for ref in done if ref is not None]
    assert written
    assert lake.resolve(KEY) in written
    for ref in written:
        shift = float(1 + done.index(ref))
        assert_frame_equal(lake.read([ref]), candles("2017-05", 10, shift=shift))


@pytest.mark.slow
def test_readers_see_one_version_or_another_while_it_is_rewritten(lake: Lake) -> None:
    write(lake)
    steps = 5 if isinstance(lake, ClickHouseLake) else 50  # readers keep its one engine busy
    stop = threading.Event()

    def read_all_the_time() -> set[float]:
        seen: set[float] = set()
        while not stop.is_set():
            frame = lake.newest(*SERIES, rows=1000)
            assert frame.height == 10
            offsets = (frame["close"] - candles("2017-05", 10)["close"]).round(6).unique()
            assert offsets.len() == 1
            seen.add(float(offsets[0]))
        return seen

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read_all_the_time) for _ in range(2)]
        for step in range(1, steps + 1):
            write(lake, shift=float(step))
        stop.set()
        seen = set[float]().union(*(reader.result() for reader in readers))
    assert seen <= {float(step) for step in range(steps + 1)}
