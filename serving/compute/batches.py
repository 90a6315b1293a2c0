"""A batch: many symbols by their indicators, the work shared, one bad symbol its own failure.

Belongs here: grouping, checking and computing. Keep out: how a batch is read and written.

Symbols of one plan and one length lie below each other in matrices, so that what can be done for
all of them at once is.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from kernels.gate import Matrix
from market.errors import InputError
from serving.compute import checks
from serving.compute.computing import Computed, computed_rows
from serving.compute.contracts import malformed
from serving.compute.plans import Plan
from serving.errors import TimeLimitError


@dataclass(frozen=True, slots=True)
class Group:
    """Symbols of one plan and one length: ``rows`` are their places in the batch.

    ``columns`` are by the kernels' names, shape (symbols, bars), in the order of ``rows``;
    ``names`` is what the request calls them.
    """

    plan: Plan
    rows: list[int]
    columns: Mapping[str, Matrix]
    names: Mapping[str, str]

    @property
    def points(self) -> int:
        """How many bars a symbol has."""
        return self.columns[self.plan.columns[0]].shape[1]

    def only(self, kept: Sequence[int]) -> "Group":
        """Return the group of some of its symbols, by their places in it."""
        columns = {name: x[list(kept)] for name, x in self.columns.items()}
        return Group(self.plan, [self.rows[i] for i in kept], columns, self.names)


@dataclass(frozen=True, slots=True)
class Batch:
    """What was read: every symbol is in one group, or failed, and then may have no name."""

    symbols: Sequence[str | None]
    groups: Sequence[Group]
    failed: Mapping[int, InputError]

    @property
    def points(self) -> int:
        """How many bars there are."""
        return sum(len(group.rows) * group.points for group in self.groups)

    @property
    def values(self) -> int:
        """How many numbers would be answered."""
        return sum(len(x.rows) * x.points * x.plan.width for x in self.groups)

    def common_plan(self) -> Plan:
        """Return the plan that every symbol has; raise ``InputError`` if they differ."""
        plans = {id(group.plan): group.plan for group in self.groups}
        if len(plans) != 1:
            raise InputError(
                f"indicators: expected the same of every symbol for Arrow, was {len(plans)} lists"
            )
        return next(iter(plans.values()))


@dataclass(frozen=True, slots=True)
class Block:
    """What came of a group: ``results`` are in the plan's order.

    Their lines have shape (symbols, bars), or (symbols, levels, bars), and their milliseconds are
    a symbol's.
    """

    plan: Plan
    rows: list[int]
    points: int
    results: tuple[Computed, ...]


@dataclass(slots=True)
class Outcome:
    """What came of a batch."""

    blocks: list[Block] = field(default_factory=list)
    failed: dict[int, InputError] = field(default_factory=dict)

    @property
    def served(self) -> int:
        """How many symbols were served."""
        return sum(len(block.rows) for block in self.blocks)

    @property
    def computed(self) -> int:
        """How many indicators were computed, a symbol each."""
        return sum(len(block.rows) * len(block.results) for block in self.blocks)

    @property
    def milliseconds(self) -> float:
        """How long the kernels took."""
        spent = (len(b.rows) * r.milliseconds for b in self.blocks for r in b.results)
        return round(sum(spent), 4)

    @property
    def mojo_used(self) -> bool:
        """Whether Mojo ran any of it."""
        return any(r.mojo_used for b in self.blocks for r in b.results)


def outcome_of(batch: Batch, *, deadline: float) -> Outcome:
    """Return what comes of a batch.

    Raise ``TimeLimitError`` when ``deadline`` (of ``time.monotonic``) has passed.
    """
    out = Outcome(failed=dict(batch.failed))
    for group in batch.groups:
        good = _good(group, out)
        if good.rows:
            _compute(good, out, deadline)
    return out


def _good(group: Group, out: Outcome) -> Group:
    """Return the group without those whose numbers cannot be, which have failed."""
    faults = (checks.column_fault(c, c, x.ravel()) for c, x in group.columns.items())
    if all(fault is None for fault in faults) and not checks.is_crossed(group.columns):
        return group
    kept = []
    for i, row in enumerate(group.rows):
        error = _fault(group, i)
        if error is None:
            kept.append(i)
        else:
            out.failed[row] = error
    return group.only(kept)


def _fault(group: Group, i: int) -> InputError | None:
    columns = {name: x[i] for name, x in group.columns.items()}
    faults = (checks.column_fault(c, group.names.get(c, c), x) for c, x in columns.items())
    found = [fault for fault in faults if fault is not None]
    if found:
        return malformed(found)
    try:
        checks.check_range(columns)
    except InputError as e:
        return e
    return None


def _compute(group: Group, out: Outcome, deadline: float) -> None:
    results = []
    try:
        for wish in group.plan.wishes:
            wish.contract.check_length(wish.parameters, group.points)
        for wish in group.plan.wishes:
            if time.monotonic() > deadline:
                raise TimeLimitError("computation: expected an answer in time, was none")
            results.append(computed_rows(wish.contract, wish.parameters, group.columns))
    except InputError as e:  # of what all of them share: the length and the parameters
        out.failed |= dict.fromkeys(group.rows, e)
        return
    out.blocks.append(Block(group.plan, group.rows, group.points, tuple(results)))


def stacked(rows: Sequence[Mapping[str, np.ndarray]], columns: Sequence[str]) -> dict[str, Matrix]:
    """Return the columns of symbols of one length below each other."""
    return {name: np.array([row[name] for row in rows], ndmin=2) for name in columns}
