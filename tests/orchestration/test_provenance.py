"""What Dagster itself says of freshness: our events name what each partition was made from."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from assets.candles import Candles
from assets.line import Line
from assets.provenance import Provenance
from assets.stage import Inputs, Result, Stage
from market.errors import MalformedBarsError
from market.months import month_start
from market.ports import PartitionKey
from orchestration.automation import HOURLY_LATEST
from orchestration.dependencies import wiring
from orchestration.graph import data_stages, learning_stages
from orchestration.partitions import partition_key
from tests.fakes.line import (
    BTC,
    MONTHS,
    FrameProvider,
    Workshop,
    hourly,
    line_of,
    pointers,
    stages_of,
)

pytestmark = pytest.mark.slow

STAGES = stages_of("H4")
RAW, CANDLES, LEVELS, LABELS, FEATURES = STAGES
ROW = 1044  # an hour of 13 April


def causes(made: Workshop, stages: Sequence[Stage], months: Sequence[str]) -> dict[str, list[str]]:
    """Return "asset month" → why Dagster calls the partition stale, for those it does."""
    resolver = CachingStaleStatusResolver(
        made.instance,
        made.definitions.resolve_asset_graph(),
        LoadingContextForTest(made.instance),
    )
    found = {}
    for stage in stages:
        asset_key = dg.AssetKey(stage.asset_path)
        for month in months:
            key = partition_key("BTC", month)
            status = resolver.get_status(asset_key, key)
            assert status is not StaleStatus.MISSING, (asset_key, key)
            if status is StaleStatus.STALE:
                found[f"{stage.group} {month}"] = sorted(
                    f"{cause.reason}: {cause.dependency_asset_key.path[0]} "
                    f"{str(cause.dependency_partition_key).rsplit('|', 1)[-1][:7]}"
                    for cause in resolver.get_stale_causes(asset_key, key)
                    if cause.dependency_asset_key
                )
    return found


def workshop(root: Path) -> Workshop:
    return Workshop(line_of(root, FrameProvider(hourly(BTC))))


def provider_of(made: Workshop) -> FrameProvider:
    provider = made.line.provider_for(BTC)
    assert isinstance(provider, FrameProvider)
    return provider


@pytest.fixture
def made(tmp_path: Path) -> Workshop:
    made = workshop(tmp_path)
    made.run(STAGES, MONTHS)
    return made


@pytest.mark.slow
def test_a_range_made_in_one_run_is_fresh_and_stays_so_when_made_again(made: Workshop) -> None:
    assert causes(made, STAGES, MONTHS) == {}
    made.run(STAGES, MONTHS)
    assert causes(made, STAGES, MONTHS) == {}
    made.run([RAW], ["2017-04"])  # the same version again, in a run of its own
    made.run([CANDLES, LEVELS], MONTHS)
    assert causes(made, STAGES, MONTHS) == {}


@pytest.mark.slow
def test_a_range_that_is_left_as_it_is_is_fresh_in_an_empty_event_log(made: Workshop) -> None:
    again = Workshop(made.line)
    again.run(STAGES, MONTHS, stale_only=True)
    assert causes(again, STAGES, MONTHS) == {}


@pytest.mark.slow
def test_months_made_a_run_each_are_fresh(tmp_path: Path) -> None:
    made = workshop(tmp_path)
    for stage in STAGES:
        for month in MONTHS:
            made.run([stage], [month])
    assert causes(made, STAGES, MONTHS) == {}


@pytest.mark.slow
def test_a_new_version_upstream_makes_its_readers_stale_and_no_others(made: Workshop) -> None:
    provider_of(made).restate(ROW, high=999.0)
    made.run([RAW], ["2017-04"])
    new = "has a new dependency data version"
    assert causes(made, STAGES, MONTHS) == {
        # March reads April's raw bars: a week, a horizon may end there
        "candles 2017-03": [f"{new}: raw_candles 2017-04"],
        "candles 2017-04": [f"{new}: raw_candles 2017-04"],
        "labels 2017-03": [f"{new}: raw_candles 2017-04"],
        "labels 2017-04": [f"{new}: raw_candles 2017-04"],
    }
    made.run([CANDLES], ["2017-03", "2017-04"])
    assert set(causes(made, STAGES, MONTHS)) == {
        "labels 2017-03", "labels 2017-04", "levels 2017-04", "features 2017-04",
    }  # fmt: skip
    made.run(STAGES, MONTHS, stale_only=True)
    assert causes(made, STAGES, MONTHS) == {}


@pytest.mark.slow
def test_a_month_that_arrives_makes_the_labels_before_it_stale(tmp_path: Path) -> None:
    made = workshop(tmp_path)
    provider_of(made).until_us = month_start("2017-06")
    made.run(STAGES, MONTHS[:3])
    assert causes(made, STAGES, MONTHS[:3]) == {}
    provider_of(made).until_us = None
    made.run([RAW], ["2017-06"])
    assert set(causes(made, STAGES, MONTHS[:3])) == {"candles 2017-05", "labels 2017-05"}


def test_a_run_that_dies_leaves_what_it_finished_fresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = workshop(tmp_path)
    made.run([RAW], MONTHS)
    real = Candles.compute

    def compute(self: Candles, line: Line, key: PartitionKey, inputs: Inputs) -> Result:
        if key.month == "2017-05":
            raise MalformedBarsError("no bar of May can be placed")
        return real(self, line, key, inputs)

    monkeypatch.setattr(Candles, "compute", compute)
    made.run([CANDLES], MONTHS, succeeds=False)
    done = [path.rsplit("/", 1)[1] for path in pointers(made.line, [CANDLES])]
    assert done == ["2017-03", "2017-04"]
    assert causes(made, [RAW, CANDLES], done) == {}


def test_every_partition_has_its_asset() -> None:
    stages = (*data_stages(), *learning_stages())
    asset_of = wiring(stages[0], HOURLY_LATEST).asset_of
    for stage in stages:
        timeframe = stage.timeframe or BTC.base_timeframe
        key = PartitionKey(stage.table_name, timeframe.value, "BTC", "2017-04")
        assert asset_of(key) == dg.AssetKey(stage.asset_path)


@pytest.mark.slow
def test_a_timeframe_with_nothing_to_make_is_fresh_until_its_reason_may_change(
    made: Workshop,
) -> None:
    finer = stages_of("M5", groups=["candles"])
    made.run(finer, MONTHS)
    assert causes(made, finer, MONTHS) == {}
    made.run([RAW], MONTHS)
    assert causes(made, finer, MONTHS) == {}


@pytest.mark.slow
def test_versions_of_inputs_are_those_that_dagster_would_have_written(made: Workshop) -> None:
    """In a run over one partition, the automatic event is of that partition alone."""
    for stage in STAGES:
        made.run([stage], ["2017-05"])
        records = made.instance.fetch_materializations(
            dg.AssetRecordsFilter(
                asset_key=dg.AssetKey(stage.asset_path),
                asset_partitions=[partition_key("BTC", "2017-05")],
            ),
            limit=3,
        ).records
        events = [r.asset_materialization for r in records if r.asset_materialization]
        ours, automatic, first = (_versions(event) for event in events)
        assert ours == first
        if stage in (LABELS, FEATURES):
            # told of the month's own levels, they read no more than the state before
            name = "dagster/input_data_version/levels/h4"
            key = LEVELS.key(made.line, "BTC", "2017-04")
            before = made.line.lake.resolve(key).version
            assert ours.pop(name) == hashlib.sha256(before.encode()).hexdigest()
            assert automatic.pop(name)
        assert ours == automatic


def _versions(event: dg.AssetMaterialization) -> dict[str, str]:
    tags = event.tags or {}
    return {k: v for k, v in tags.items() if k.startswith("dagster/input_data_version/")}


@pytest.mark.slow
def test_the_months_before_of_its_own_were_seen(made: Workshop) -> None:
    """Dagster looks at no asset's edge to itself that has 100 partitions; the pointer is right."""
    name = "dagster/input_event_pointer/levels/h4"
    for month, before in zip(MONTHS[1:], MONTHS[:-1], strict=True):
        event = made.last_event(LEVELS, partition_key("BTC", month))
        assert event is not None
        seen = made.instance.get_latest_data_version_record(
            dg.AssetKey(LEVELS.asset_path),
            is_source=False,
            partition_key=partition_key("BTC", before),
            before_cursor=int((event.tags or {})[name]) + 1,
        )
        assert seen is not None
        was = seen.event_log_entry.asset_materialization
        key = LEVELS.key(made.line, "BTC", before)
        assert was is not None
        assert (was.tags or {})["dagster/data_version"] == made.line.lake.resolve(key).version


@pytest.mark.slow
def test_the_event_log_is_asked_as_often_for_a_month_as_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = Provenance._newest

    def newest(self: Provenance) -> str:
        asked.append(real(self))
        return asked[-1]

    monkeypatch.setattr(Provenance, "_newest", newest)
    made = workshop(tmp_path)
    counts = []
    for months in (MONTHS[:1], MONTHS):
        asked.clear()
        made.run(STAGES, months)
        counts.append(len(asked))
    assert counts == [len(STAGES) + 3] * 2  # levels, labels and features read themselves
