"""What each asset reads, as Dagster sees it: windows by partition mapping.

Labels and features replay a month's levels from the state before it, and read no more of them. The
month's own levels are told too: made of the same state and candles, they move when it does, and
Dagster takes a backfill's months through the graph. Told of the state alone, a backfill of levels
and labels in May would make the labels of June and none of May.
"""

from collections.abc import Callable

import dagster as dg

from assets.build import Condition, Wiring
from assets.labels import CONFIG
from assets.stage import Stage
from market.ports import PartitionKey
from market.timeframes import Timeframe
from orchestration.graph import asset_paths
from orchestration.partitions import window
from pipeline.labels import months_ahead


def dependencies(stage: Stage) -> list[dg.AssetDep]:
    """Return the stage's upstream assets with the months that a partition reads of each."""
    rule = _RULES.get(stage.group)
    return rule(stage) if rule else []


def wiring(stage: Stage, condition: Condition) -> Wiring:
    """Return how the stage hangs in the graph."""
    keys = {table: dg.AssetKey(path) for table, path in asset_paths().items()}

    def asset_of(key: PartitionKey) -> dg.AssetKey:
        return keys.get((key.table, key.timeframe)) or keys[key.table, None]

    return Wiring(dependencies(stage), condition, asset_of, tuple(keys.values()))


def _key(group: str, stage: Stage) -> dg.AssetKey:
    assert stage.timeframe is not None  # noqa: S101 - every stage but raw_candles has one
    return dg.AssetKey([group, stage.timeframe.lower()])


def _own(stage: Stage) -> dg.AssetDep:
    return dg.AssetDep(dg.AssetKey(stage.asset_path), partition_mapping=window(-1, -1))


def _candles(_stage: Stage) -> list[dg.AssetDep]:
    return [dg.AssetDep("raw_candles", partition_mapping=window(0, 1))]


def _levels(stage: Stage) -> list[dg.AssetDep]:
    return [dg.AssetDep(_key("candles", stage)), _own(stage)]


def _labels(stage: Stage) -> list[dg.AssetDep]:
    ahead = months_ahead(stage.timeframe or Timeframe.W, CONFIG.horizon)
    return [
        dg.AssetDep("raw_candles", partition_mapping=window(0, ahead)),
        dg.AssetDep(_key("candles", stage)),
        dg.AssetDep(_key("levels", stage), partition_mapping=window(-1, 0)),
        _own(stage),
    ]


def _features(stage: Stage) -> list[dg.AssetDep]:
    return [
        dg.AssetDep(_key("candles", stage)),
        dg.AssetDep(_key("levels", stage), partition_mapping=window(-1, 0)),
        _own(stage),
    ]


def _training_sets(stage: Stage) -> list[dg.AssetDep]:
    # an expanding window over all instruments: Dagster has no mapping for it and sees all months;
    # what was read in fact stands in the partition's inputs
    everything = dg.AllPartitionMapping()
    return [
        dg.AssetDep(_key("features", stage), partition_mapping=everything),
        dg.AssetDep(_key("labels", stage), partition_mapping=everything),
    ]


def _models(stage: Stage) -> list[dg.AssetDep]:
    return [dg.AssetDep(_key("training_sets", stage))]


def _evaluation(stage: Stage) -> list[dg.AssetDep]:
    from assets.models import KINDS  # noqa: PLC0415 - a list of names, read where it is used

    models = [dg.AssetDep(dg.AssetKey(_model_path(kind, stage))) for kind in KINDS]
    everything = dg.AllPartitionMapping()
    return [
        *models,
        dg.AssetDep(_key("labels", stage), partition_mapping=everything),
        dg.AssetDep(_key("features", stage), partition_mapping=everything),
    ]


def _model_path(kind: str, stage: Stage) -> list[str]:
    assert stage.timeframe is not None  # noqa: S101
    return ["models", f"{kind}_{stage.timeframe.lower()}"]


_RULES: dict[str, Callable[[Stage], list[dg.AssetDep]]] = {
    "candles": _candles,
    "levels": _levels,
    "labels": _labels,
    "features": _features,
    "training_sets": _training_sets,
    "models": _models,
    "evaluation": _evaluation,
}
