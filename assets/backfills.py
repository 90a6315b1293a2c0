"""What a backfill was asked for, and what Dagster added to it.

Dagster takes the partitions of a backfill for those of its leftmost asset, and adds whatever they
map to in the others: through a window that looks back, a month behind the last that was asked
(Dagster 1.13.27, ``AssetBackfillData.from_asset_partitions``).
"""

from collections.abc import Callable, Sequence

import dagster as dg

BACKFILL = "dagster/backfill"
"""Tag of a run that a backfill made: the backfill's id."""


def asked_by(
    instance: dg.DagsterInstance, run: dg.DagsterRun, left_to_right: Sequence[dg.AssetKey]
) -> Callable[[str], bool]:
    """Return whether a partition of the run was asked for; without a backfill, all were."""
    backfill = instance.get_backfill(run.tags[BACKFILL]) if BACKFILL in run.tags else None
    data = backfill.asset_backfill_data if backfill else None
    if data is None:  # a job's backfill asks for what it names
        return lambda _partition: True
    leftmost = next(key for key in left_to_right if key in data.target_subset.asset_keys)
    asked = frozenset(data.target_subset.get_partitions_subset(leftmost).get_partition_keys())
    return lambda partition: partition in asked
