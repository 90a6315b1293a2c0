"""What a partition says of itself in the event log: materialisations and check evaluations.

Belongs here: how a published partition looks on Dagster's pages. Keep out: what is computed and
when an event is yielded (``build``), and the tags of what was read (``provenance``).
"""

import base64
from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.stage import Outcome, Plot, Stage
from market.ports import PartitionRef

INSTANTS = ("watermark_us", "cutoff_us")
"""Attributes that are UTC microseconds; a person reads them as a time."""


def materialization(
    asset_key: dg.AssetKey,
    partition: str,
    ref: PartitionRef,
    *,
    tags: Mapping[str, str],
    plot: Plot | None = None,
) -> dg.AssetMaterialization:
    """Return the event of a published partition, with its picture where there is one."""
    attributes = {
        name: _without_instants(value)
        for name, value in ref.attributes.items()
        if name not in INSTANTS
    }
    metadata: dict[str, dg.MetadataValue] = {
        "dagster/partition_row_count": dg.MetadataValue.int(ref.rows),
        "data_version": dg.MetadataValue.text(ref.version),
        "code_version": dg.MetadataValue.text(ref.code_version),
        "inputs": dg.MetadataValue.json(dict(ref.inputs)),
        **_instants(ref.attributes),
    }
    if attributes:
        metadata["attributes"] = dg.MetadataValue.json(attributes)
    if ref.first_us is not None and ref.last_us is not None:
        metadata["first"] = _instant(ref.first_us)
        metadata["last"] = _instant(ref.last_us)
    if plot is not None:
        image = base64.b64encode(plot()).decode()
        metadata["plot"] = dg.MetadataValue.md(f"![plot](data:image/svg+xml;base64,{image})")
    return dg.AssetMaterialization(
        asset_key, partition=partition, metadata=metadata, tags=dict(tags)
    )


def nothing_to_make(
    asset_key: dg.AssetKey, partition: str, reason: str, *, tags: Mapping[str, str]
) -> dg.AssetMaterialization:
    """Return the event of a partition that has no rows, and says why."""
    return dg.AssetMaterialization(
        asset_key,
        partition=partition,
        metadata={"dagster/partition_row_count": 0, "reason": reason},
        tags=dict(tags),
    )


def evaluation(
    asset_key: dg.AssetKey, partition: str, name: str, outcome: Outcome
) -> dg.AssetCheckEvaluation:
    """Return what a check found in a partition."""
    return dg.AssetCheckEvaluation(
        asset_key=asset_key,
        check_name=name,
        passed=outcome.passed,
        partition=partition,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={k: _number_or_text(v) for k, v in outcome.metadata.items()},
        description=outcome.description,
        blocking=True,
    )


def columns(stage: Stage) -> dg.TableSchema:
    """Return the stage's columns and their types."""
    return dg.TableSchema(
        columns=[dg.TableColumn(name=c, type=str(t)) for c, t in stage.table.schema.items()]
    )


def _number_or_text(value: float | str) -> dg.MetadataValue:
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    if isinstance(value, float):
        return dg.MetadataValue.float(value)
    return dg.MetadataValue.text(value)


def _instant(us: int) -> dg.MetadataValue:
    return dg.MetadataValue.timestamp(us / 1e6)


def _instants(attributes: Mapping[str, Any]) -> dict[str, dg.MetadataValue]:
    """Return ``watermark`` and ``cutoff`` as times, from the attributes or one mapping in them."""
    found: dict[str, dg.MetadataValue] = {}
    for value in (attributes, *attributes.values()):
        if isinstance(value, Mapping):
            for name in INSTANTS:
                if name in value:
                    found[name.removesuffix("_us")] = _instant(int(value[name]))
    return found


def _without_instants(value: object) -> object:
    if isinstance(value, Mapping):
        return {k: v for k, v in value.items() if k not in INSTANTS}
    return value
