"""Jobs: the selections that a person runs by name."""

from collections.abc import Iterable
from typing import Any

import dagster as dg

INGEST_GROUPS = ("raw_candles", "candles")
DATA_GROUPS = (*INGEST_GROUPS, "levels", "labels", "features")
LEARNING_GROUPS = ("training_sets", "models", "evaluation")

_JOBS = {
    "ingest": (INGEST_GROUPS, "Fetch a month from the provider and build its candles."),
    "backfill": (DATA_GROUPS, "Make months of an instrument from bars to labels and features."),
    "train": (LEARNING_GROUPS, "Train, register, judge and gate the models of a cutoff."),
}
"""Name → groups and description, the smallest selection first."""


def build_jobs() -> list[Any]:  # their type has no public name
    """Return ``ingest``, ``backfill`` and ``train``."""
    return [
        dg.define_asset_job(
            name,
            selection=dg.AssetSelection.groups(*groups),
            description=description,
            tags={"team": "research"},
        )
        for name, (groups, description) in _JOBS.items()
    ]


def job_of(groups: Iterable[str]) -> str:
    """Return the smallest job that makes all of these groups."""
    wanted = set(groups)
    return next(name for name, (held, _) in _JOBS.items() if wanted <= set(held))
