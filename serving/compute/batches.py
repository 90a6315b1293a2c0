"""A batch: many symbols by their indicators, the work shared, one bad symbol its own failure.

Belongs here: grouping, checking and computing. Keep out: how a batch is read and written.

Symbols of one plan and one length lie below each other in matrices, so that what can be done for
all of them at once is.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kernels.gate import Matrix, Series
from market.errors import InputError, WavehouseError
from serving.compute import checks
from serving.compute.computing import Computed, computed_rows
from serving.compute.contracts import malformed
from serving.compute.plans import Plan
from serving.errors import TimeLimitError


@dataclass(frozen=True, slots=True)
class Item:
    """One symbol of a batch: columns of ``points`` bars by the kernels' names, and what is asked.

    ``names`` is what the request calls the columns.
    """

    symbol: str
    columns: Mapping[str, Series]
    points: int
    plan: Plan
    names: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Failed:
    """A symbol that cannot be served, and why."""

    symbol: str | None
    error: WavehouseError


@dataclass(frozen=True, slots=True)
class Block:
    """Symbols of one plan and one length: ``rows`` are their places in the batch.

    ``results`` are in the plan's order; their lines have shape (symbols, n), or
    (symbols, levels, n), and their milliseconds are a symbol's.
    """

    plan: Plan
    rows: list[int]
    points: int
    results: tuple[Computed, ...]


@dataclass(slots=True)
class Outcome:
    """What came of a batch."""

    blocks: list[Block] = field(default_factory=list)
    failed: dict[int, Failed] = field(default_factory=dict)

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


def common_plan(items: Sequence[Item | Failed]) -> Plan:
    """Return the plan that every symbol has; raise ``InputError`` if they differ."""
    plans = {id(x.plan): x.plan for x in items if isinstance(x, Item)}
    if len(plans) != 1:
        raise InputError(
            f"indicators: expected the same of every symbol for Arrow, was {len(plans)} different"
        )
    return next(iter(plans.values()))


def outcome_of(items: Sequence[Item | Failed], *, deadline: float) -> Outcome:
    """Return what comes of a batch.

    Raise ``TimeLimitError`` when ``deadline`` (of ``time.monotonic``) has passed.
    """
    out = Outcome()
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, item in enumerate(items):
        if isinstance(item, Failed):
            out.failed[i] = item
        else:
            groups[id(item.plan), item.points].append(i)
    for rows in groups.values():
        members = [x for x in (items[i] for i in rows) if isinstance(x, Item)]
        _add(out, rows, members, deadline)
    return out


def _add(out: Outcome, rows: list[int], members: list[Item], deadline: float) -> None:
    plan = members[0].plan
    stacked = _stacked(plan, members)
    if _is_bad(stacked):
        kept = []
        for i, item in zip(rows, members, strict=True):
            fault = _fault(item)
            if fault is None:
                kept.append((i, item))
            else:
                out.failed[i] = Failed(item.symbol, fault)
        rows, members = [i for i, _ in kept], [item for _, item in kept]
        stacked = _stacked(plan, members)
    if not rows:
        return
    results = []
    try:
        for wish in plan.wishes:
            wish.contract.check_length(wish.parameters, members[0].points)
        for wish in plan.wishes:
            if time.monotonic() > deadline:
                raise TimeLimitError("computation: expected an answer in time, was none")
            results.append(computed_rows(wish.contract, wish.parameters, stacked))
    except InputError as e:  # of the length, which all of them share
        out.failed |= {i: Failed(x.symbol, e) for i, x in zip(rows, members, strict=True)}
        return
    out.blocks.append(Block(plan, rows, members[0].points, tuple(results)))


def _stacked(plan: Plan, members: Iterable[Item]) -> dict[str, Matrix]:
    found = list(members)
    return {c: np.array([x.columns[c] for x in found], ndmin=2) for c in plan.columns}


def _is_bad(stacked: Mapping[str, np.ndarray[Any, Any]]) -> bool:
    if any(checks.column_fault(c, c, x.ravel()) is not None for c, x in stacked.items()):
        return True
    return checks.is_crossed(stacked)


def _fault(item: Item) -> InputError | None:
    names = item.names
    faults = (checks.column_fault(c, names.get(c, c), x) for c, x in item.columns.items())
    found = [fault for fault in faults if fault is not None]
    if found:
        return malformed(found)
    try:
        checks.check_range(item.columns)
    except InputError as e:
        return e
    return None
