"""Jobs: the selections that a person runs by name."""

from typing import Any

import dagster as dg

INGEST_GROUPS = ("raw_candles", "candles")
DATA_GROUPS = (*INGEST_GROUPS, "levels", "labels", "features")
LEARNING_GROUPS = ("training_sets", "models", "evaluation")


def build_jobs() -> list[Any]:  # their type has no public name
    """Return ``ingest``, ``backfill`` and ``train``."""
    return [
        dg.define_asset_job(
            "ingest",
            selection=dg.AssetSelection.groups(*INGEST_GROUPS),
            description="Fetch a month from the provider and build its candles.",
            tags={"team": "research"},
        ),
        dg.define_asset_job(
            "backfill",
            selection=dg.AssetSelection.groups(*DATA_GROUPS),
            description="Make months of an instrument from bars to labels and features.",
            tags={"team": "research"},
        ),
        dg.define_asset_job(
            "train",
            selection=dg.AssetSelection.groups(*LEARNING_GROUPS),
            description="Train, register, judge and gate the models of a cutoff.",
            tags={"team": "research"},
        ),
    ]
