"""A training set as a frame that rests in the lake, and back: the same rows, to the bit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from learning.training_set import TrainingSet
from market.tables import FEATURE_LIST, INSTANT, TRAINING_SETS

FACTS = (
    "features", "cutoff_us", "horizon_bars", "timeframe", "label_version", "data_version",
    "dropped", "dropped_features", "inputs",
)  # fmt: skip


def to_frame(rows: TrainingSet) -> pl.DataFrame:
    """Return the rows in the columns of ``training_sets``; a feature unknown to them is null."""
    position = {name: i for i, name in enumerate(rows.features)}
    columns = {
        "instrument": pl.Series(rows.instrument.tolist(), dtype=pl.String),
        "timeframe": pl.Series([rows.timeframe] * len(rows), dtype=pl.String),
        "decided_at": pl.Series(rows.t_c).cast(INSTANT),
        "matured_at": pl.Series(rows.matured_at).cast(INSTANT),
        "label": pl.Series(rows.y),
        "weight": pl.Series(rows.weight),
    }
    for feature in FEATURE_LIST:
        at = position.get(feature.name)
        values = np.full(len(rows), np.nan) if at is None else rows.x[:, at]
        columns[feature.name] = pl.Series(values, dtype=pl.Float64).fill_nan(None)
    return TRAINING_SETS.conform(pl.DataFrame(columns))


def facts(rows: TrainingSet) -> dict[str, Any]:
    """Return what of a training set is no row, ready for JSON."""
    return {
        name: list(value) if isinstance(value := getattr(rows, name), tuple) else value
        for name in FACTS
    }


def from_frame(frame: pl.DataFrame, facts: Mapping[str, Any]) -> TrainingSet:
    """Return the training set that ``to_frame`` and ``facts`` described."""
    names = tuple(facts["features"])
    x = frame.select(names).fill_null(float("nan")).to_numpy()
    return TrainingSet(
        **{**facts, "features": names},
        x=np.ascontiguousarray(x, dtype=np.float64),
        y=frame["label"].to_numpy().astype(np.int8),
        t_c=frame["decided_at"].to_physical().to_numpy().astype(np.int64),
        matured_at=frame["matured_at"].to_physical().to_numpy().astype(np.int64),
        instrument=frame["instrument"].to_numpy().astype(np.str_),
        weight=frame["weight"].to_numpy(),
    )
