"""Turns a stage into a Dagster asset: one loop that publishes partitions, for every stage alike.

Write, audit, publish: rows are computed, every blocking check runs on them, and only then does the
pointer move. Each partition ends with its own event and data version: one as soon as it is
published (a run that dies keeps what it finished) and another after ``Output`` (with its picture),
because the events which Dagster makes at ``Output`` stamp a whole range with one version, and the
last counts.
"""

import base64
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from assets.checks import run as run_checks
from assets.line import Line
from assets.reading import raw_months
from assets.stage import Outcome, Stage
from market.errors import WavehouseError
from market.months import parse_month
from market.ports import PartitionKey, PartitionRef
from orchestration.partitions import INSTRUMENT_MONTHS, split_key

STALE_ONLY = "wavehouse/stale_only"
"""Run tag: leave partitions alone that their own code made from their present inputs."""

OWNERS = ["team:research"]
POOL = "lake"
RANGE_IN_ONE_RUN = dg.BackfillPolicy.single_run()  # a run an instrument, not a run a month
NOTHING: Any = dg.Nothing  # its own type says type[None], which the decorator's refuses

Condition = dg.AutomationCondition[Any]
Event = dg.AssetMaterialization | dg.AssetCheckEvaluation


def data_asset(
    stage: Stage, deps: Sequence[dg.AssetDep], condition: Condition
) -> dg.AssetsDefinition:
    """Make an asset of a stage that is partitioned by instrument × month."""

    def key_of(line: Line, partition: str) -> PartitionKey | str:
        instrument, month = split_key(partition)
        if not stage.applies_to(line, instrument):
            return f"the instrument's bars are coarser than {stage.timeframe}: nothing to make"
        months = raw_months(line, instrument)
        if stage.timeframe and months and not months[0] <= month <= months[-1]:
            return f"the series has bars from {months[0]} to {months[-1]}: nothing to make"
        return stage.key(line, instrument, month)

    with _pinned_beta():
        return _asset(stage, INSTRUMENT_MONTHS, deps, condition, key_of)


def cutoff_asset(
    stage: Stage,
    cutoffs: dg.PartitionsDefinition,
    deps: Sequence[dg.AssetDep],
    condition: Condition,
) -> dg.AssetsDefinition:
    """Make an asset of a stage that is partitioned by the month of its training cutoff."""

    def key_of(line: Line, partition: str) -> PartitionKey:
        return stage.key(line, "pooled", parse_month(partition))

    with _pinned_beta():
        return _asset(stage, cutoffs, deps, condition, key_of)


@contextmanager
def _pinned_beta() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # backfill_policy is, in 1.13
        yield


def _asset(
    stage: Stage,
    partitions: dg.PartitionsDefinition,
    deps: Sequence[dg.AssetDep],
    condition: Condition,
    key_of: Callable[[Line, str], PartitionKey | str],
) -> dg.AssetsDefinition:
    asset_key = dg.AssetKey(stage.asset_path)

    @dg.asset(
        key=asset_key,
        group_name=stage.group,
        kinds=set(stage.kinds),
        owners=OWNERS,
        description=stage.description,
        dagster_type=NOTHING,
        partitions_def=partitions,
        deps=list(deps),
        code_version=stage.code_version,
        pool=POOL,
        backfill_policy=RANGE_IN_ONE_RUN,
        automation_condition=condition,
        check_specs=[
            dg.AssetCheckSpec(name, asset=asset_key, blocking=True) for name in stage.check_names
        ],
        metadata={"columns": dg.MetadataValue.table_schema(_columns(stage))},
    )
    def asset(
        context: dg.AssetExecutionContext, line: dg.ResourceParam[Line]
    ) -> Iterator[
        dg.AssetMaterialization | dg.AssetCheckEvaluation | dg.AssetCheckResult | dg.Output[None]
    ]:
        stale_only = context.run.tags.get(STALE_ONLY) == "true"
        finished: list[dg.AssetMaterialization] = []
        for partition in sorted(context.partition_keys, key=lambda p: p.rsplit("|", 1)):
            key = key_of(line, partition)
            if isinstance(key, str):
                finished.append(_nothing_to_make(stage, str(partition), key))
            else:
                work = _publish(stage, line, key, str(partition), stale_only=stale_only)
                finished.append((yield from work))
        yield dg.Output(None)
        for name in stage.check_names:
            yield dg.AssetCheckResult(
                asset_key=asset_key, check_name=name, passed=True,
                description=f"passed in each of {len(finished)} partitions",
            )  # fmt: skip
        yield from finished

    return asset


def _nothing_to_make(stage: Stage, partition: str, reason: str) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        dg.AssetKey(stage.asset_path),
        partition=partition,
        metadata={"rows": 0, "reason": reason},
        tags={"dagster/data_version": "not-applicable"},
    )


def _publish(
    stage: Stage, line: Line, key: PartitionKey, partition: str, *, stale_only: bool
) -> Generator[Event, None, dg.AssetMaterialization]:
    """Compute, audit, publish; yield what happened and return the event that counts in the end."""
    asset_key = dg.AssetKey(stage.asset_path)
    try:
        with line.lake.writing(key.table, key.timeframe, key.instrument):
            if stale_only and stage.is_fresh(line, key):
                line.on_published(key)
                return _event(asset_key, partition, line.lake.resolve(key), None)
            inputs = stage.inputs(line, key)
            result = stage.compute(line, key, inputs)
            outcomes = run_checks(result.checks)
            for name, outcome in outcomes.items():
                yield _evaluation(asset_key, partition, name, outcome)
            _refuse_if_failed(key, outcomes)
            ref = line.lake.write(
                key,
                result.rows,
                state=result.state,
                code_version=stage.code_version,
                inputs=inputs.versions,
                attributes=result.attributes,
            )
        yield _event(asset_key, partition, ref, None)
        line.on_published(key)
        return _event(asset_key, partition, ref, result.plot)
    except WavehouseError as e:
        raise dg.Failure(
            description=f"{key.path}: {e}", metadata={"code": e.code}, allow_retries=False
        ) from e


def _refuse_if_failed(key: PartitionKey, outcomes: dict[str, Outcome]) -> None:
    failed = {name: o for name, o in outcomes.items() if not o.passed}
    if failed:
        words = "; ".join(f"{name}: {o.description}" for name, o in failed.items())
        raise dg.Failure(description=f"{key.path}: not published, {words}", allow_retries=False)


def _evaluation(
    asset_key: dg.AssetKey, partition: str, name: str, outcome: Outcome
) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=asset_key,
        check_name=name,
        passed=outcome.passed,
        partition=partition,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={k: dg.MetadataValue.text(str(v)) for k, v in outcome.metadata.items()},
        description=outcome.description,
        blocking=True,
    )


def _event(
    asset_key: dg.AssetKey,
    partition: str,
    ref: PartitionRef,
    plot: Callable[[], bytes] | None,
) -> dg.AssetMaterialization:
    metadata: dict[str, dg.MetadataValue] = {
        "dagster/partition_row_count": dg.MetadataValue.int(ref.rows),
        "data_version": dg.MetadataValue.text(ref.version),
        "code_version": dg.MetadataValue.text(ref.code_version),
        "inputs": dg.MetadataValue.json(dict(ref.inputs)),
        "attributes": dg.MetadataValue.json(dict(ref.attributes)),
    }
    if ref.first_us is not None and ref.last_us is not None:
        metadata["first"] = dg.MetadataValue.timestamp(ref.first_us / 1e6)
        metadata["last"] = dg.MetadataValue.timestamp(ref.last_us / 1e6)
    if plot is not None:
        image = base64.b64encode(plot()).decode()
        metadata["plot"] = dg.MetadataValue.md(f"![plot](data:image/svg+xml;base64,{image})")
    tags = {"dagster/data_version": ref.version, "dagster/code_version": ref.code_version}
    return dg.AssetMaterialization(asset_key, partition=partition, metadata=metadata, tags=tags)


def _columns(stage: Stage) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[dg.TableColumn(name=c, type=str(t)) for c, t in stage.table.schema.items()]
    )
