"""State from month to month: months in a chain are one run over all of them; labels mature late."""

from pathlib import Path

import polars as pl
import pytest

from assets.stage import Stage
from market.calendars import calendar_for
from market.instruments import Instrument
from market.months import month_bounds, month_start
from market.ports import PartitionKey
from market.timeframes import Timeframe
from pipeline import candles, features, labels, levels
from storage.lake import ParquetLake
from tests.fakes.line import (
    BTC,
    EUR,
    MONTHS,
    FrameProvider,
    Workshop,
    hourly,
    line_of,
    pointers,
    rows,
    stages_of,
)


def stage(group: str, timeframe: str = "H4") -> Stage:
    (found,) = (s for s in stages_of(timeframe, groups=[group]) if s.timeframe or group[0] == "r")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("instrument", [BTC, EUR], ids=["crypto", "fx"])
@pytest.mark.parametrize("timeframe", [Timeframe.H4, Timeframe.D, Timeframe.W])
def test_months_in_a_chain_are_one_run_over_all_of_them(
    tmp_path: Path, instrument: Instrument, timeframe: Timeframe
) -> None:
    provider = FrameProvider(hourly(instrument, seed=11))
    made = Workshop(line_of(tmp_path, provider, instrument))
    made.run(stages_of(timeframe), MONTHS, instrument=instrument.id)

    watermark_us = min(provider.span(instrument)[1], month_start("2017-07"))
    raw = provider.frame.with_columns(source=pl.lit("frame"))
    kwargs = {"instrument": instrument, "timeframe": timeframe}
    built = candles.build(raw, watermark_us=watermark_us, **kwargs).rows  # type: ignore[arg-type]
    built = built.filter(pl.col("ts").dt.timestamp("us") >= month_bounds(MONTHS[0])[0])
    base = candles.build(
        raw, instrument=instrument, timeframe=Timeframe.H1, watermark_us=watermark_us
    ).rows
    once = levels.extend(levels.initial(), built, **kwargs)  # type: ignore[arg-type]
    seen = features.extend(features.initial(), built, once.context, **kwargs)  # type: ignore[arg-type]
    labelled = labels.of_series(built, once, base, watermark_us=watermark_us, **kwargs)  # type: ignore[arg-type]

    for group, whole in (
        ("candles", built),
        ("levels", once.events),
        ("features", seen.rows),
        ("labels", labelled),
    ):
        part = rows(made.line, stage(group, timeframe), instrument.id)
        assert part.equals(whole), group
    assert len(once.events) > 0
    last = PartitionKey("level_events", timeframe.value, instrument.id, "2017-06")
    carried = made.line.lake.state(made.line.lake.resolve(last))
    assert {k: v.tobytes() for k, v in carried.items()} == {
        k: v.tobytes() for k, v in once.state.items()
    }


def arrive(made: Workshop, provider: FrameProvider, until: str, months: list[str]) -> None:
    provider.until_us = month_start(until)
    made.run(stages_of("H4"), months, stale_only=True)


@pytest.mark.slow
def test_labels_are_rewritten_when_the_month_after_arrives_and_only_then(tmp_path: Path) -> None:
    provider = FrameProvider(hourly(BTC))
    made = Workshop(line_of(tmp_path, provider))
    lake, key = made.line.lake, PartitionKey("labels", "H4", "BTC", "2017-03")
    assert isinstance(lake, ParquetLake)

    arrive(made, provider, "2017-04", ["2017-03"])
    first = lake.resolve(key)
    status = lake.read([first]).get_column("status")
    assert status.to_list() == ["final"] * (len(status) - 6) + ["pending"] * 6

    arrive(made, provider, "2017-05", ["2017-03", "2017-04"])
    second = lake.resolve(key)
    assert second.version != first.version
    rewritten = lake.read([second])
    assert rewritten.get_column("status").unique().to_list() == ["final"]
    was = lake.read([first])
    assert rewritten.head(-6).equals(was.head(-6))  # what had matured stays as it was
    assert was.tail(6)["enhanced_triple_barrier"].null_count() == 6
    assert rewritten.tail(6)["forward_return"].null_count() == 0

    arrive(made, provider, "2017-06", ["2017-03", "2017-04", "2017-05"])
    assert lake.resolve(key).version == second.version
    assert [move.ref.version for move in lake.versions(key)] == [first.version, second.version]


@pytest.mark.slow
def test_a_month_that_grows_by_a_day_moves_only_itself_and_what_looked_into_it(
    tmp_path: Path,
) -> None:
    provider = FrameProvider(hourly(BTC))
    made = Workshop(line_of(tmp_path, provider))
    stages = stages_of("H4")
    day = 24 * 3_600_000_000
    provider.until_us = month_start("2017-05") + 10 * day
    made.run(stages, MONTHS[:3], stale_only=True)
    before = pointers(made.line, stages)
    provider.until_us += day
    made.run(stages, MONTHS[:3], stale_only=True)
    after = pointers(made.line, stages)
    moved = {path for path in after if after[path] != before[path]}
    assert moved == {path for path in after if path.endswith("2017-05")}


@pytest.mark.slow
def test_an_unchanged_result_of_changed_inputs_moves_no_version(tmp_path: Path) -> None:
    """A volume restated inside an H4 bar changes neither levels nor labels."""
    provider = FrameProvider(hourly(BTC))
    made = Workshop(line_of(tmp_path, provider))
    stages = stages_of("H4")
    made.run(stages, MONTHS)
    before = pointers(made.line, stages)
    was = provider.frame.row(1000, named=True)
    provider.restate(1000, volume=was["volume"] + 1.0)
    made.run(stages, MONTHS)
    after = pointers(made.line, stages)
    moved = {path.split("/")[0] for path in after if after[path] != before[path]}
    assert moved == {"raw_candles", "candles", "features"}
    assert isinstance(made.line.lake, ParquetLake)
    key = PartitionKey("labels", "H4", "BTC", "2017-04")
    files = list((tmp_path / key.path).glob("*.parquet"))
    assert len(files) == 1  # the pointer names new inputs, the file is the old one
    newest = made.line.lake.resolve(key)
    raw = newest.inputs["raw_candles/H1/BTC/2017-04"]
    assert raw == after["raw_candles/H1/BTC/2017-04"] != before["raw_candles/H1/BTC/2017-04"]


@pytest.mark.slow
def test_the_first_month_of_a_series_starts_from_nothing_and_a_hole_does_too(
    tmp_path: Path,
) -> None:
    provider = FrameProvider(hourly(BTC))
    made = Workshop(line_of(tmp_path, provider))
    made.run(stages_of("H4"), ["2017-04"])
    ref = made.line.lake.resolve(PartitionKey("level_events", "H4", "BTC", "2017-04"))
    assert set(ref.inputs) == {"candles/H4/BTC/2017-04"}
    made.run(stages_of("H4"), ["2017-03", "2017-04"], stale_only=True)
    chained = made.line.lake.resolve(ref.key)
    assert "level_events/H4/BTC/2017-03#state" in chained.inputs
    assert chained.version != ref.version


@pytest.mark.slow
def test_a_week_that_straddles_two_months_is_whole_and_the_running_one_is_not_complete(
    tmp_path: Path,
) -> None:
    made = Workshop(line_of(tmp_path, FrameProvider(hourly(BTC))))
    made.run(stages_of("W", groups=["raw_candles", "candles"]), MONTHS)
    weeks = rows(made.line, stage("candles", "W"))
    grid = calendar_for(BTC).grid(Timeframe.W, month_start("2017-03"), month_start("2017-07"))
    assert weeks["ts"].dt.timestamp("us").to_list() == grid.open_us.tolist()
    assert weeks["complete"].to_list() == [True] * (len(weeks) - 1) + [False]
