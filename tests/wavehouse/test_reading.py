"""``import wavehouse as wh``: frames of what is materialised, by year, month or span."""

import datetime as dt
from pathlib import Path

import polars as pl
import pytest

import wavehouse as wh
from market.errors import (
    InputError,
    NotMaterializedError,
    UnknownInstrumentError,
    UnknownTimeframeError,
)
from market.tables import CANDLES, FEATURES, LABELS, LEVEL_EVENTS
from storage.lake import ParquetLake

pytestmark = [pytest.mark.usefixtures("full_home"), pytest.mark.slow]


def months_in(frame: pl.DataFrame) -> list[int]:
    return sorted(frame["ts"].dt.month().unique().to_list())


@pytest.mark.parametrize(
    ("read", "table"),
    [
        (wh.candles, CANDLES),
        (wh.level_events, LEVEL_EVENTS),
        (wh.labels, LABELS),
        (wh.features, FEATURES),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_a_year_a_month_and_a_span(read: object, table: object) -> None:
    assert callable(read)
    assert dict(read("SYN", "H4", "2017").schema) == dict(table.schema)  # type: ignore[attr-defined]
    assert months_in(read("SYN", "H4", "2017")) == [3, 4, 5]
    assert months_in(read("SYN", "h4", "2017-04")) == [4]
    assert months_in(read("SYN", "H4", "2017-04", "2017-05")) == [4, 5]
    assert months_in(read("SYN", "H4", "2016", "2017-03")) == [3]
    assert months_in(read("SYN", "H4", "2017-05", "2018")) == [5]
    assert read("SYN", "H4", "2017")["ts"].is_sorted()


@pytest.mark.parametrize("first", ["2018", "2018-01", "2016-01"])
def test_what_is_not_there_says_what_to_run(first: str) -> None:
    with pytest.raises(NotMaterializedError, match="run `wavehouse materialize labels --inst"):
        wh.labels("SYN", "H4", first)
    with pytest.raises(NotMaterializedError, match="--instrument SYN"):
        wh.candles("SYN", "M1", "2017")


def test_bad_words_are_named() -> None:
    with pytest.raises(UnknownInstrumentError, match="expected one of SYN"):
        wh.candles("NOPE", "H4", "2017")
    with pytest.raises(UnknownTimeframeError, match="H3"):
        wh.candles("SYN", "H3", "2017")
    for text in ("May", "2017-13", "2017-5", "17"):
        with pytest.raises(InputError, match="month: expected YYYY-MM"):
            wh.candles("SYN", "H4", text)


def test_levels_as_of_an_instant_are_a_fold_over_what_was_known_by_then() -> None:
    early = dt.datetime(2017, 4, 10, tzinfo=dt.UTC)
    late = dt.datetime(2017, 5, 20, tzinfo=dt.UTC)
    events = wh.level_events("SYN", "H4", "2017")
    for as_of in (early, late):
        there = wh.levels("SYN", "H4", as_of)
        assert 0 < there.height <= 64 + 64
        made = events.filter(pl.col("event").str.starts_with("NEW") & (pl.col("known_at") <= as_of))
        gone = events.filter(
            pl.col("event").str.starts_with("DEACTIVATE") & (pl.col("known_at") <= as_of)
        )
        assert set(there["level_id"]) == set(made["level_id"]) - set(gone["level_id"])
    with pytest.raises(InputError, match="as_of: expected an instant with a time zone"):
        wh.levels("SYN", "H4", dt.datetime(2017, 4, 10))  # noqa: DTZ001 - the point


def test_versions_name_the_partitions_that_a_frame_came_from(full_home: Path) -> None:
    found = wh.versions("labels", "SYN", "H4", "2017-04", "2017-05")
    assert list(found) == ["labels/H4/SYN/2017-04", "labels/H4/SYN/2017-05"]
    for path, version in found.items():
        assert (full_home / "data" / "lake" / path / f"{version}.parquet").exists()
    with pytest.raises(InputError, match="table: expected one of"):
        wh.versions("label", "SYN", "H4", "2017")


def test_the_instruments_are_those_of_the_file() -> None:
    assert wh.instruments() == ["SYN"]


def test_a_frame_is_the_rows_of_its_partitions(full_home: Path) -> None:
    lake = ParquetLake(full_home / "data" / "lake")
    newest = lake.newest("features", "D", "SYN", rows=10)
    assert wh.features("SYN", "D", "2017").tail(10).equals(newest)
