"""Which partitions are out of date, from the lake's pointers alone (no Dagster, no event log).

A partition is fresh if its pointer says that the stage's present code made it from the versions
that lie to its left now. The plan is the smallest range of months that holds all that is not;
inside the range every stage still leaves fresh partitions alone, so a restated month propagates no
further than its first unchanged result.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from assets.line import Line
from assets.stage import Stage
from market.months import month_of, month_range, shift_month

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
