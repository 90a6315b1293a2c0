"""A backfill from Dagster's pages: it makes what was asked, and what it adds fails nobody."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from assets.stage import Stage
from market.months import month_start
from orchestration.partitions import INSTRUMENTS, partition_key, split_key
from tests.fakes.line import (
    BTC,
    MONTHS,
    FrameProvider,
    Workshop,
    drop,
    failure,
    hourly,
    line_of,
    metadata_of,
    stages_of,
)

# what Dagster 1.13.27 calls of its own when a backfill is launched
pytestmark = pytest.mark.filterwarnings("ignore:Function `AssetSelection.sources`")
STAGES = stages_of("H4")
RAW, CANDLES, LEVELS, LABELS, FEATURES = STAGES
MARCH, APRIL, MAY, JUNE = MONTHS


class Backfill:
    """A backfill as the pages launch it: the daemon's part is played by ``run``.

    Which months Dagster adds may differ from process to process (it goes through a set).
    """

    def __init__(self, made: Workshop, stages: Sequence[Stage], months: Sequence[str]) -> None:
        self.made, self.id = made, "asked"
        made.instance.add_dynamic_partitions(str(INSTRUMENTS.name), ["BTC"])
        record = PartitionBackfill.from_asset_partitions(
            backfill_id=self.id,
            asset_graph=made.definitions.resolve_asset_graph(),
            partition_names=[partition_key("BTC", month) for month in months],
            asset_selection=[dg.AssetKey(stage.asset_path) for stage in stages],
            backfill_timestamp=month_start("2017-07") / 1e6,
            tags={},
            dynamic_partitions_store=made.instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
        made.instance.add_backfill(record)
        assert record.status is BulkActionStatus.REQUESTED
        data = record.asset_backfill_data
        assert data is not None
        self.targets = {
            key.path[0]: sorted(split_key(k)[1] for k in subset.get_partition_keys())
            for key, subset in data.target_subset.partitions_subsets_by_asset_key.items()
        }

    def run(self, stage: Stage, months: Sequence[str]) -> dg.ExecuteInProcessResult:
        """Make consecutive months of a stage in a run of this backfill."""
        return self.made.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.made.instance,
            asset_selection=[dg.AssetKey(stage.asset_path)],
            tags={
                "dagster/backfill": self.id,
                "dagster/asset_partition_range_start": partition_key("BTC", months[0]),
                "dagster/asset_partition_range_end": partition_key("BTC", months[-1]),
            },
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )


@pytest.fixture
def made(tmp_path: Path) -> Workshop:
    """Return a line with bars of all months, and candles of March and April."""
    workshop = Workshop(line_of(tmp_path, FrameProvider(hourly(BTC))))
    workshop.run([RAW], MONTHS)
    workshop.run([CANDLES], [MARCH, APRIL])
    return workshop


@pytest.mark.slow
@pytest.mark.parametrize(
    "stages",
    [
        [CANDLES, LEVELS, LABELS, FEATURES],
        [LEVELS, LABELS, FEATURES],
        [LEVELS, LABELS],
        [LABELS],
        [FEATURES],
    ],
    ids=lambda stages: "+".join(s.group for s in stages),
)
def test_every_month_asked_is_targeted_in_every_asset(made: Workshop, stages: list[Stage]) -> None:
    targets = Backfill(made, stages, [MARCH, APRIL]).targets
    assert set(targets) == {stage.group for stage in stages}
    for months in targets.values():
        assert months[:2] == [MARCH, APRIL]
        assert set(months) <= {MARCH, APRIL, MAY}


@pytest.mark.slow
def test_the_month_that_dagster_adds_is_left_where_it_cannot_be_made(made: Workshop) -> None:
    backfill = Backfill(made, [CANDLES, LEVELS, LABELS, FEATURES], [MARCH, APRIL])
    for stage in (CANDLES, LEVELS, FEATURES):
        assert backfill.run(stage, [MARCH, APRIL]).success
    assert backfill.run(LABELS, [MARCH, APRIL, MAY]).success
    assert made.line.lake.months("labels", "H4", "BTC") == (MARCH, APRIL)
    event = made.last_event(LABELS, partition_key("BTC", MAY))
    assert event is not None
    said = metadata_of(event)
    assert said["dagster/partition_row_count"] == 0
    assert said["reason"].startswith("not asked for; ")
    assert "candles/H4/BTC/2017-05: expected a materialised partition" in said["reason"]
    own = made.last_event(LABELS, partition_key("BTC", APRIL))
    assert own is not None
    assert metadata_of(own)["dagster/partition_row_count"] > 0


@pytest.mark.slow
def test_a_month_that_dagster_adds_is_made_where_it_can_be(made: Workshop) -> None:
    made.run([CANDLES], MONTHS)
    backfill = Backfill(made, [LEVELS, LABELS], [MARCH, APRIL])
    assert backfill.targets["labels"] == [MARCH, APRIL, MAY]
    for stage in (LEVELS, LABELS):
        assert backfill.run(stage, backfill.targets[stage.group]).success
    assert made.line.lake.months("labels", "H4", "BTC") == (MARCH, APRIL, MAY)


@pytest.mark.slow
def test_a_month_that_was_asked_fails_by_name(made: Workshop) -> None:
    backfill = Backfill(made, [LABELS], [MAY])
    result = backfill.run(LABELS, [MAY])
    assert not result.success
    assert failure(result).startswith("labels/H4/BTC/2017-05: candles/H4/BTC/2017-05: expected")


@pytest.mark.slow
def test_a_month_that_was_added_and_had_been_made_is_not_called_nothing(made: Workshop) -> None:
    made.run([CANDLES, LEVELS, LABELS], MONTHS)
    drop(made.line, CANDLES.key(made.line, "BTC", MAY))
    backfill = Backfill(made, [CANDLES, LEVELS, LABELS], [MARCH, APRIL])
    result = backfill.run(LABELS, [MAY])
    assert not result.success
    assert "candles/H4/BTC/2017-05: expected" in failure(result)


@pytest.mark.slow
def test_a_hole_between_months_of_bars_stops_no_month_that_was_asked(tmp_path: Path) -> None:
    """Candles read the month after their own: of bars asked for June, May's candles are made."""
    made = Workshop(line_of(tmp_path, FrameProvider(hourly(BTC))))
    made.run([RAW], [MARCH])
    made.run([RAW], [JUNE])
    backfill = Backfill(made, [RAW, CANDLES], [MARCH, JUNE])
    assert backfill.targets["candles"] == ["2017-02", MARCH, MAY, JUNE]
    for months in ([MARCH], [JUNE]):
        assert backfill.run(RAW, months).success
    for months in (["2017-02", MARCH], [MAY, JUNE]):
        assert backfill.run(CANDLES, months).success
    assert made.line.lake.months("candles", "H4", "BTC") == (MARCH, JUNE)
