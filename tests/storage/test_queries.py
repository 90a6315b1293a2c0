"""SQL over exact versions."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from market.errors import CorruptPartitionError, InputError, NotMaterializedError, SchemaError
from market.ports import PartitionKey, PartitionRef
from storage.lake import ParquetLake
from storage.queries import query
from tests.fakes.bars import candles

KEY = PartitionKey("candles", "H1", "EURUSD", "2017-05")
PAGE = """
    SELECT ts, close FROM lake
    WHERE ts >= $since AND close > $least
    ORDER BY ts DESC LIMIT $rows OFFSET $skip
"""


@pytest.fixture
def lake(tmp_path: Path) -> ParquetLake:
    return ParquetLake(tmp_path / "it's a lake")


@pytest.fixture
def refs(lake: ParquetLake) -> list[PartitionRef]:
    return [
        lake.write(KEY.at(month), candles(month, 50), code_version="", inputs={})
        for month in ("2017-05", "2017-06")
    ]


def test_a_page_is_what_polars_says(lake: ParquetLake, refs: list[PartitionRef]) -> None:
    rows = lake.read(refs)
    since = rows["ts"][20]
    params = {"since": since, "least": 1.1005, "rows": 7, "skip": 3}
    kept = rows.filter(pl.col("ts") >= since, pl.col("close") > 1.1005)
    expected = kept.sort("ts", descending=True).slice(3, 7).select("ts", "close")
    assert expected.height == 7
    assert_frame_equal(query(lake, refs, PAGE, params), expected, check_exact=True)


def test_every_column_keeps_its_type_and_its_nulls(
    lake: ParquetLake, refs: list[PartitionRef]
) -> None:
    assert_frame_equal(query(lake, refs, "FROM lake ORDER BY ts"), lake.read(refs))


def test_only_the_versions_named_are_read(lake: ParquetLake, refs: list[PartitionRef]) -> None:
    lake.write(KEY, candles("2017-05", 50, shift=9.0), code_version="", inputs={})
    count = "SELECT count(*) AS n, max(close) AS top FROM lake"
    assert query(lake, refs[:1], count).row(0) == (50, pytest.approx(1.1049))
    assert query(lake, refs, count)["n"].item() == 100


def test_threads_do_not_see_each_other(lake: ParquetLake, refs: list[PartitionRef]) -> None:
    def ask(i: int) -> bool:
        ref = refs[i % 2]
        return bool(
            query(
                lake,
                [ref],
                "SELECT min(ts) = $first AS ok FROM lake",
                {
                    "first": lake.read([ref])["ts"][0],
                },
            ).item()
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(40)))


def test_errors_name_what_is_wrong(lake: ParquetLake, refs: list[PartitionRef]) -> None:
    with pytest.raises(InputError, match="refs"):
        query(lake, [], "FROM lake")
    with pytest.raises(InputError, match="no_such_column"):
        query(lake, refs, "SELECT no_such_column FROM lake")
    with pytest.raises(InputError, match="sql"):
        query(lake, refs, PAGE, {"since": 1})
    june = candles("2017-06", 2).with_columns(close=pl.lit("x"))
    other = lake.write(KEY.at("2017-06"), june, code_version="", inputs={})
    with pytest.raises(SchemaError):
        query(lake, [refs[0], other], "SELECT sum(close) FROM lake")
    path = lake.files(refs)[0]
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CorruptPartitionError, match=path.name):
        query(lake, refs, "FROM lake")
    path.unlink()
    with pytest.raises(CorruptPartitionError, match=path.name):
        query(lake, refs, "FROM lake")
    never = PartitionRef(KEY, "0" * 32, "", 1, None, None, "")
    with pytest.raises(NotMaterializedError):
        query(lake, [never], "FROM lake")


def test_importing_the_room_imports_no_database() -> None:
    code = "import sys, storage.queries, storage.lake; sys.exit('duckdb' in sys.modules)"
    child = subprocess.run([sys.executable, "-c", code], check=False)  # noqa: S603 - our own words
    assert child.returncode == 0
