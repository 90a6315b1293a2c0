"""Turns a stage into a Dagster asset: what it reads and what fires it, and one run of it.

Belongs here: definitions. Keep out: how a partition is made and what it says (``step``).
"""

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg

from assets import checks, events
from assets.backfills import asked_by
from assets.line import Line
from assets.provenance import AssetOf, Provenance
from assets.reading import raw_months
from assets.stage import Stage
from assets.step import Event, Step
from market.months import parse_month
from market.ports import PartitionKey
from orchestration.partitions import INSTRUMENT_MONTHS, split_key

STALE_ONLY = "wavehouse/stale_only"
"""Run tag: leave partitions alone that their own code made from their present inputs."""

OWNERS = ["team:research"]
POOL = "lake"
RANGE_IN_ONE_RUN = dg.BackfillPolicy.single_run()  # a run an instrument, not a run a month
NOTHING: Any = dg.Nothing  # its own type says type[None], which the decorator's refuses

Condition = dg.AutomationCondition[Any]
KeyOf = Callable[[str], PartitionKey | str]
"""From Dagster's key to the partition's, or to words that say why there is none; for one step."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """How a stage hangs in the graph: what it reads, what fires it, whose partitions are whose."""

    deps: Sequence[dg.AssetDep]
    condition: Condition
    asset_of: AssetOf
    left_to_right: Sequence[dg.AssetKey]


def data_asset(stage: Stage, wiring: Wiring) -> dg.AssetsDefinition:
    """Make an asset of a stage that is partitioned by instrument × month."""

    def keys_of(line: Line) -> KeyOf:
        months_of = functools.cache(lambda instrument: raw_months(line, instrument))

        def key_of(partition: str) -> PartitionKey | str:
            instrument, month = split_key(partition)
            if not stage.applies_to(line, instrument):
                return f"the instrument's bars are coarser than {stage.timeframe}: nothing to make"
            months = months_of(instrument) if stage.timeframe else ()
            if months and not months[0] <= month <= months[-1]:
                return f"the series has bars from {months[0]} to {months[-1]}: nothing to make"
            return stage.key(line, instrument, month)

        return key_of

    with _pinned_beta():
        return _asset(stage, INSTRUMENT_MONTHS, wiring, keys_of)


def cutoff_asset(
    stage: Stage, cutoffs: dg.PartitionsDefinition, wiring: Wiring
) -> dg.AssetsDefinition:
    """Make an asset of a stage that is partitioned by the month of its training cutoff."""

    def keys_of(line: Line) -> KeyOf:
        return lambda partition: stage.key(line, "pooled", parse_month(partition))

    with _pinned_beta():
        return _asset(stage, cutoffs, wiring, keys_of)


@contextmanager
def _pinned_beta() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # backfill_policy is, in 1.13
        yield


def _asset(
    stage: Stage,
    partitions: dg.PartitionsDefinition,
    wiring: Wiring,
    keys_of: Callable[[Line], KeyOf],
) -> dg.AssetsDefinition:
    asset_key = dg.AssetKey(stage.asset_path)
    parents = [dep.asset_key for dep in wiring.deps]

    @dg.asset(
        key=asset_key,
        group_name=stage.group,
        kinds=set(stage.kinds),
        owners=OWNERS,
        description=stage.description,
        dagster_type=NOTHING,
        partitions_def=partitions,
        deps=list(wiring.deps),
        code_version=stage.code_version,
        pool=POOL,
        backfill_policy=RANGE_IN_ONE_RUN,
        automation_condition=wiring.condition,
        check_specs=_check_specs(stage, asset_key),
        metadata={"columns": dg.MetadataValue.table_schema(events.columns(stage))},
    )
    def asset(
        context: dg.AssetExecutionContext, line: dg.ResourceParam[Line]
    ) -> Iterator[Event | dg.AssetCheckResult | dg.Output[None]]:
        instance, run = context.instance, context.run
        step = Step(
            stage,
            line,
            Provenance(instance, parents, stage.code_version, wiring.asset_of),
            is_asked=asked_by(instance, run, wiring.left_to_right),
            stale_only=run.tags.get(STALE_ONLY) == "true",
        )
        key_of = keys_of(line)
        for partition in sorted(context.partition_keys, key=lambda p: p.rsplit("|", 1)):
            yield from step.make(str(partition), key_of(partition))
        final = step.final_events()
        yield dg.Output(None)
        yield from step.check_results()
        yield from final

    return asset


def _check_specs(stage: Stage, asset_key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(
            name, asset=asset_key, blocking=True, description=checks.DESCRIPTIONS[name]
        )
        for name in stage.check_names
    ]
