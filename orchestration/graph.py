"""The line as a list: every stage in every timeframe, what it reads, and when it runs.

Add a stage here once it exists in ``assets``. Free of Dagster's execution: the command line asks
this list which partitions are out of date (``assets.freshness``) without importing Dagster.
"""

from assets.candles import Candles
from assets.evaluation import Evaluation
from assets.features import Features
from assets.labels import Labels
from assets.levels import Levels
from assets.models import KINDS, Model
from assets.raw import RawCandles
from assets.stage import Stage
from assets.training_sets import TrainingSets
from market.timeframes import Timeframe

LEARNING_TIMEFRAMES = (Timeframe.H1, Timeframe.H4)
"""Timeframes that have models: thousands of labels a year, and moves that exceed costs."""


def data_stages() -> list[Stage]:
    """Return the stages partitioned by instrument × month, left to right."""
    stages: list[Stage] = [RawCandles()]
    for kind in (Candles, Levels, Labels, Features):
        stages += [kind(timeframe) for timeframe in Timeframe]
    return stages


def learning_stages() -> list[Stage]:
    """Return the stages partitioned by cutoff month, left to right."""
    stages: list[Stage] = []
    for timeframe in LEARNING_TIMEFRAMES:
        stages.append(TrainingSets(timeframe))
        stages += [Model(kind, timeframe) for kind in KINDS]
        stages.append(Evaluation(timeframe))
    return stages


def asset_paths() -> dict[tuple[str, str | None], list[str]]:
    """Return (table, timeframe) → path of the asset that makes its partitions.

    The timeframe of ``raw_candles`` is ``None``: one asset for all.
    """
    stages = (*data_stages(), *learning_stages())
    return {(stage.table_name, stage.timeframe): stage.asset_path for stage in stages}
