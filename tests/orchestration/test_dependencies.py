"""The windows that Dagster sees are those that stages read."""

import dagster as dg
import pytest

from market.ports import PartitionKey
from orchestration.partitions import INSTRUMENTS, partition_key, split_key, window
from tests.fakes.line import (
    BTC,
    MONTHS,
    FrameProvider,
    Workshop,
    hourly,
    line_of,
    stages_of,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    workshop = Workshop(line_of(tmp_path_factory.mktemp("lake"), FrameProvider(hourly(BTC))))
    workshop.run(stages_of("H4", "W"), MONTHS)
    return workshop


def upstream(made: Workshop, child: list[str], parent: list[str], month: str) -> list[str]:
    """Return the months of a parent that Dagster says a partition reads."""
    graph = made.definitions.resolve_asset_graph()
    key, parent_key = dg.AssetKey(child), dg.AssetKey(parent)
    mapping = graph.get_partition_mapping(key, parent_key)
    child_def, parent_def = graph.get(key).partitions_def, graph.get(parent_key).partitions_def
    assert child_def is not None
    assert parent_def is not None
    subset = child_def.empty_subset().with_partition_keys([partition_key("BTC", month)])
    with dg.partition_loading_context(dynamic_partitions_store=made.instance):
        found = mapping.get_upstream_mapped_partitions_result_for_partitions(
            subset, child_def, parent_def
        ).partitions_subset.get_partition_keys()
    assert all(split_key(k)[0] == "BTC" for k in found)
    return sorted(split_key(k)[1] for k in found)


WINDOWS = [
    (["candles", "h4"], ["raw_candles"], ["2017-04", "2017-05"]),
    (["candles", "w"], ["raw_candles"], ["2017-04", "2017-05"]),
    (["levels", "h4"], ["candles", "h4"], ["2017-04"]),
    (["levels", "h4"], ["levels", "h4"], ["2017-03"]),
    (["labels", "h4"], ["raw_candles"], ["2017-04", "2017-05"]),
    (["labels", "w"], ["raw_candles"], ["2017-04", "2017-05", "2017-06"]),
    (["labels", "h4"], ["levels", "h4"], ["2017-03", "2017-04"]),
    (["labels", "w"], ["candles", "w"], ["2017-04"]),
    (["features", "h4"], ["candles", "h4"], ["2017-04"]),
    (["features", "h4"], ["levels", "h4"], ["2017-03", "2017-04"]),
    (["features", "h4"], ["features", "h4"], ["2017-03"]),
]


@pytest.mark.parametrize(("child", "parent", "months"), WINDOWS, ids="/".join)
def test_dagster_maps_a_month_to_what_it_reads(
    made: Workshop, child: list[str], parent: list[str], months: list[str]
) -> None:
    assert upstream(made, child, parent, "2017-04") == months


@pytest.mark.parametrize("timeframe", ["H4", "W"])
@pytest.mark.parametrize("group", ["candles", "levels", "labels", "features"])
def test_what_a_partition_read_in_fact_is_what_dagster_was_told(
    made: Workshop, group: str, timeframe: str
) -> None:
    (stage,) = (s for s in stages_of(timeframe, groups=[group]) if s.timeframe)
    ref = made.line.lake.resolve(stage.key(made.line, "BTC", "2017-04"))
    read = {path.split("#")[0] for path in ref.inputs}
    tables = {"raw_candles": "raw_candles/H1", "levels": f"level_events/{timeframe}"}
    graph = made.definitions.resolve_asset_graph()
    told = {
        f"{tables.get(p.path[0], f'{p.path[0]}/{timeframe}')}/BTC/{month}"
        for p in graph.get(dg.AssetKey(stage.asset_path)).parent_keys
        for month in upstream(made, stage.asset_path, list(p.path), "2017-04")
    }
    if group in ("labels", "features"):
        # the month's own levels are told and not read: they come of the same state and candles
        own = f"level_events/{timeframe}/BTC/2017-04"
        told.remove(own)
        levels = stages_of(timeframe, groups=["levels"])[-1]
        made_of = made.line.lake.resolve(levels.key(made.line, "BTC", "2017-04")).inputs
        assert made_of.items() <= ref.inputs.items()
    assert read == told


def test_a_window_past_the_edge_of_the_calendar_is_no_error() -> None:
    mapping = window(-1, -1)
    assert isinstance(mapping, dg.MultiPartitionMapping)


def test_keys_go_there_and_back() -> None:
    assert partition_key("BTC", "2017-04") == "BTC|2017-04-01"
    assert split_key("A_B-1|2017-04-01") == ("A_B-1", "2017-04")
    assert PartitionKey("labels", "H4", "BTC", "2017-04").path == "labels/H4/BTC/2017-04"
    assert INSTRUMENTS.name == "instrument"
