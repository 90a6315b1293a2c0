"""A stage as a Dagster asset: events, versions and checks a partition, and the same bytes again."""

import base64
import datetime as dt
import shutil
from pathlib import Path

import dagster as dg
import pytest

from assets.events import materialization
from assets.stage import Stage
from market.months import month_start, shift_month
from market.ports import PartitionKey, PartitionRef
from orchestration.graph import data_stages
from orchestration.partitions import partition_key
from storage.lake import ParquetLake
from tests.fakes.line import (
    BTC,
    MONTHS,
    FrameProvider,
    Workshop,
    contents,
    hourly,
    line_of,
    metadata_of,
    pointers,
    stages_of,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("build")]  # one line, made once

STAGES = stages_of("H4", "W")


def workshop(root: Path) -> Workshop:
    return Workshop(line_of(root, FrameProvider(hourly(BTC))))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    made = workshop(tmp_path_factory.mktemp("lake"))
    made.run(STAGES, MONTHS)
    return made


def version_of(made: Workshop, stage: Stage, month: str) -> str:
    return made.line.lake.resolve(stage.key(made.line, "BTC", month)).version


@pytest.mark.parametrize("stage", STAGES, ids=lambda s: "/".join(s.asset_path))
def test_the_last_event_of_each_partition_carries_its_own_version(
    done: Workshop, stage: Stage
) -> None:
    versions = []
    for month in MONTHS:
        event = done.last_event(stage, partition_key("BTC", month))
        assert event is not None
        assert event.tags is not None
        version = version_of(done, stage, month)
        assert event.tags["dagster/data_version"] == version
        assert event.tags["dagster/code_version"] == stage.code_version
        versions.append(version)
    assert len(set(versions)) == len(MONTHS)  # one version for the whole range would pass above


@pytest.mark.parametrize("stage", STAGES, ids=lambda s: "/".join(s.asset_path))
def test_every_partition_has_its_own_evaluation_of_every_check(
    done: Workshop, stage: Stage
) -> None:
    found = {
        (e.check_name, e.partition)
        for e in done.evaluations()
        if list(e.asset_key.path) == stage.asset_path and e.passed
    }
    keys = [partition_key("BTC", month) for month in MONTHS]
    assert found >= {(name, key) for name in stage.check_names for key in keys}


def test_an_event_says_rows_span_inputs_and_shows_a_picture(done: Workshop) -> None:
    (levels,) = stages_of("H4", groups=["levels"])
    event = done.last_event(levels, "BTC|2017-04-01")
    assert event is not None
    said = metadata_of(event)
    ref = done.line.lake.resolve(levels.key(done.line, "BTC", "2017-04"))
    assert said["dagster/partition_row_count"] == ref.rows > 0
    assert (said["first"], said["last"]) == ((ref.first_us or 0) / 1e6, (ref.last_us or 0) / 1e6)
    assert said["inputs"] == dict(ref.inputs)
    assert set(said["inputs"]) == {"candles/H4/BTC/2017-04", "level_events/H4/BTC/2017-03#state"}
    image = base64.b64decode(said["plot"].split("base64,")[1].rstrip(")"))
    assert image.startswith(b"<svg")
    assert b"BTC H4 2017-04" in image


def test_instants_are_shown_as_times_and_not_as_a_count_of_microseconds(done: Workshop) -> None:
    for group in ("raw_candles", "candles", "labels"):
        (stage,) = stages_of("H4", groups=[group])
        event = done.last_event(stage, "BTC|2017-04-01")
        assert event is not None
        ref = done.line.lake.resolve(stage.key(done.line, "BTC", "2017-04"))
        shown = event.metadata["watermark"]
        assert isinstance(shown, dg.TimestampMetadataValue)
        assert shown.value == ref.attributes["watermark_us"] / 1e6
        said = metadata_of(event)
        assert said["attributes"] == {
            name: value for name, value in ref.attributes.items() if name != "watermark_us"
        }


def test_an_instant_inside_an_attribute_is_shown_as_a_time_too() -> None:
    key = PartitionKey("training_sets", "H4", "pooled", "2017-06")
    facts = {"cutoff_us": month_start("2017-06"), "horizon_bars": 6}
    ref = PartitionRef(key, "v", "", 1, None, None, "c", attributes={"facts": facts})
    event = materialization(dg.AssetKey("x"), "2017-06-01", ref, tags={})
    said = metadata_of(event)
    assert said["cutoff"] == dt.datetime(2017, 6, 1, tzinfo=dt.UTC).timestamp()
    assert said["attributes"] == {"facts": {"horizon_bars": 6}}


def test_what_a_check_counts_is_a_number(done: Workshop) -> None:
    found = {(e.check_name, n): v for e in done.evaluations() for n, v in e.metadata.items()}
    assert isinstance(found["order", "duplicates"], dg.IntMetadataValue)
    assert isinstance(found["causality", "instants"], dg.IntMetadataValue)
    assert isinstance(found["gaps", "missing_share"], dg.FloatMetadataValue)
    assert not any(isinstance(v, dg.TextMetadataValue) for v in found.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("months", "stale_only", "words"),
    [
        (MONTHS[:1], False, "passed in 1 partition"),
        (MONTHS, False, "passed in 4 partitions"),
        (MONTHS, True, "passed in 0 partitions, 4 left as they are"),
    ],
)
def test_a_run_says_in_how_many_partitions_its_checks_passed(
    done: Workshop, months: list[str], words: str, *, stale_only: bool
) -> None:
    made = Workshop(done.line)  # an event log of its own
    made.run([next(s for s in STAGES if s.group == "levels")], months, stale_only=stale_only)
    said = {e.description for e in made.evaluations() if e.check_name == "causality"}
    assert words in said


@pytest.mark.slow
@pytest.mark.parametrize("group", ["candles", "levels", "labels"])
def test_what_can_be_drawn_is_drawn(done: Workshop, group: str) -> None:
    (stage,) = stages_of("H4", groups=[group])
    event = done.last_event(stage, "BTC|2017-05-01")
    assert event is not None
    assert "plot" in event.metadata


@pytest.mark.slow
def test_a_run_again_leaves_every_byte_and_writes_no_file(done: Workshop, tmp_path: Path) -> None:
    assert isinstance(done.line.lake, ParquetLake)
    shutil.copytree(done.line.lake.root, tmp_path / "lake")
    before = contents(tmp_path / "lake")
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.name != ".lock"}
    workshop(tmp_path / "lake").run(STAGES, MONTHS)
    assert contents(tmp_path / "lake") == before
    files = [p for p in tmp_path.rglob("*") if p.is_file() and p.name != ".lock"]
    assert all(p.stat().st_mtime_ns == stamps[p] for p in files)


@pytest.mark.slow
def test_a_backfill_of_a_part_gives_the_bytes_of_the_whole(done: Workshop, tmp_path: Path) -> None:
    assert isinstance(done.line.lake, ParquetLake)
    root = tmp_path / "lake"
    shutil.copytree(done.line.lake.root, root)
    whole = contents(root)
    for stage in STAGES:
        for month in ("2017-04", "2017-05"):
            shutil.rmtree(root / stage.key(done.line, "BTC", month).path)
    assert contents(root) != whole
    workshop(root).run(STAGES, ("2017-04", "2017-05"))
    assert contents(root) == whole


@pytest.mark.slow
def test_months_made_one_run_at_a_time_end_in_the_same_bytes(
    done: Workshop, tmp_path: Path
) -> None:
    made = workshop(tmp_path)
    for stage in STAGES:
        for month in MONTHS:
            made.run([stage], [month])
    assert contents(tmp_path) == contents(done.line.lake.root)  # type: ignore[attr-defined]


def test_one_partition_can_be_made_by_its_key_alone(tmp_path: Path) -> None:
    made = workshop(tmp_path)
    made.instance.add_dynamic_partitions("instrument", ["BTC"])
    raw = stages_of("H4", groups=["raw_candles"])
    job = made.definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=made.instance,
        asset_selection=[dg.AssetKey(raw[0].asset_path)],
        partition_key="BTC|2017-04-01",
    )
    assert result.success
    assert list(pointers(made.line, raw)) == ["raw_candles/H1/BTC/2017-04"]
    event = made.last_event(raw[0], "BTC|2017-04-01")
    assert event is not None
    assert event.tags is not None
    assert event.tags["dagster/data_version"] == version_of(made, raw[0], "2017-04")


def test_a_timeframe_finer_than_the_bars_has_nothing_to_make_and_says_so(tmp_path: Path) -> None:
    made = workshop(tmp_path)
    finer = stages_of("M5")[1:]
    made.run(stages_of("M5"), MONTHS[:1])
    for stage in finer:
        event = made.last_event(stage, "BTC|2017-03-01")
        assert event is not None
        said = metadata_of(event)
        assert said["reason"] == "the instrument's bars are coarser than M5: nothing to make"
        assert said["dagster/partition_row_count"] == 0
    assert list(pointers(made.line, [data_stages()[0]])) == ["raw_candles/H1/BTC/2017-03"]
    assert {p.name for p in tmp_path.iterdir()} == {"raw_candles"}


@pytest.mark.slow
def test_a_run_that_leaves_fresh_partitions_alone_still_stamps_their_version(
    tmp_path: Path,
) -> None:
    first = workshop(tmp_path)
    first.run(STAGES, MONTHS)
    again = Workshop(first.line)  # an empty event log, the same lake
    again.run(STAGES, MONTHS, stale_only=True)
    assert isinstance(first.line.lake, ParquetLake)
    for stage in STAGES:
        event = again.last_event(stage, "BTC|2017-05-01")
        assert event is not None
        assert event.tags is not None
        assert event.tags["dagster/data_version"] == version_of(first, stage, "2017-05")
        key = stage.key(first.line, "BTC", "2017-05")
        assert len(first.line.lake.versions(key)) == 1


def test_a_month_outside_the_series_has_nothing_to_make(done: Workshop) -> None:
    """The daemon's backfill asks for the months beside those requested: they must not fail it."""
    stage = next(s for s in STAGES if s.group == "candles")
    before = shift_month(MONTHS[0], -1)
    done.run([stage], [before])
    event = done.last_event(stage, f"BTC|{before}-01")
    assert event is not None
    assert "nothing to make" in str(event.metadata["reason"].value)
    assert done.line.lake.find(stage.key(done.line, "BTC", before)) is None
