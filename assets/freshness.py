"""Which partitions are out of date, from the lake's pointers alone (no Dagster, no event log).

A partition is fresh if its pointer says that the stage's present code made it from the versions
that lie to its left now. The plan is the smallest range of months that holds all that is not;
inside the range every stage still leaves fresh partitions alone, so a restated month propagates no
further than its first unchanged result.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from assets.line import Line
from assets.stage import Stage
from market.errors import NotMaterializedError
from market.months import month_of, month_range, shift_month
from market.ports import PartitionKey

MONTHS_READ_AHEAD = 2
"""No stage reads further ahead (a weekly label: six weeks), so no earlier month can turn stale."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run has to look at: stages, and months from the first stale one to the last asked."""

    stages: tuple[Stage, ...]
    months: tuple[str, ...]
    stale: int
    total: int

    @property
    def is_empty(self) -> bool:
        """Whether everything is fresh."""
        return not self.stale


class Reason(StrEnum):
    """Why a partition is out of date; the first that holds."""

    MISSING = "missing"  # nobody has made it
    CODE = "code"  # other code made it
    DATA = "data"  # what it was made from has changed
    UPSTREAM = "upstream"  # what it is made from is itself out of date, or is not there


@dataclass(frozen=True, slots=True)
class Stale:
    """A partition that is out of date, and why."""

    key: PartitionKey
    reason: Reason


def available_months(line: Line, instrument_id: str) -> list[str]:
    """Return the months that the instrument's provider can deliver."""
    instrument = line.book[instrument_id]
    first_us, end_us = line.provider_for(instrument).span(instrument)
    return list(month_range(month_of(first_us), month_of(end_us - 1)))


def plan(line: Line, stages: Iterable[Stage], instrument_id: str, months: Sequence[str]) -> Plan:
    """Find the stale partitions of these stages and months."""
    chosen = tuple(s for s in stages if s.applies_to(line, instrument_id))
    total = len(chosen) * len(months)
    stale = [
        (i, month)
        for i, stage in enumerate(chosen)
        for month in months
        if not stage.is_fresh(line, stage.key(line, instrument_id, month))
    ]
    if not stale:
        return Plan(chosen, (), 0, total)
    leftmost = min(i for i, _ in stale)
    first = shift_month(min(month for _, month in stale), -MONTHS_READ_AHEAD)
    return Plan(chosen[leftmost:], tuple(m for m in months if m >= first), len(stale), total)


def explain(
    line: Line,
    stages: Iterable[Stage],
    instrument_id: str,
    months: Sequence[str],
    known: Iterable[Stale] = (),
) -> tuple[Stale, ...]:
    """Say which partitions a run would look at in earnest, and why; stages from left to right.

    More than ``plan`` counts: what lies right of a stale partition is stale once that has changed,
    and stays as it is where that has not. ``known`` are those found further left.
    """
    found: list[Stale] = []
    paths = {stale.key.path for stale in known}
    for stage in stages:
        if not stage.applies_to(line, instrument_id):
            continue
        for month in months:
            key = stage.key(line, instrument_id, month)
            reason = _reason(line, stage, key, paths)
            if reason is not None:
                paths.add(key.path)
                found.append(Stale(key, reason))
    return tuple(found)


def _reason(line: Line, stage: Stage, key: PartitionKey, stale: set[str]) -> Reason | None:
    ref = line.lake.find(key)
    if ref is None:
        return Reason.MISSING
    if ref.code_version != stage.code_version:
        return Reason.CODE
    try:
        read = {path.removesuffix("#state") for path in stage.inputs(line, key).versions}
    except NotMaterializedError:
        return Reason.UPSTREAM
    if not stage.is_fresh(line, key):
        return Reason.DATA
    return Reason.UPSTREAM if read & stale else None
