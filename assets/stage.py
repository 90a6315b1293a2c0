"""A stage: one table of the line, computed a partition at a time, with what it read.

A stage reads the stages to its left through the lake, computes with ``pipeline`` or ``learning``,
and says which of its checks passed. It knows nothing of Dagster: ``assets.build`` makes an asset of
it, ``assets.freshness`` asks it which partitions are out of date. Add a stage by subclassing; keep
out writing, events and pictures.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl

from assets.code_versions import code_version
from assets.line import Line
from market.errors import NotMaterializedError
from market.ports import PartitionKey, PartitionRef, State
from market.tables import Table
from market.timeframes import Timeframe

Plot = Callable[[], bytes]
"""Draws a partition as SVG."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The versions that a partition is made from, resolved once."""

    rows: Mapping[str, Sequence[PartitionRef]] = field(default_factory=dict)
    states: Mapping[str, PartitionRef] = field(default_factory=dict)

    @property
    def versions(self) -> dict[str, str]:
        """Return path → version of all that was read (``path#state`` for a state alone)."""
        read = {ref.key.path: ref.version for refs in self.rows.values() for ref in refs}
        kept = {f"{ref.key.path}#state": ref.state_version for ref in self.states.values()}
        return dict(sorted({**read, **kept}.items()))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check found: passed or not, why, and what a person would look at."""

    passed: bool
    description: str
    metadata: Mapping[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """A partition's rows and state before they are published, and the closures that check them."""

    rows: pl.DataFrame
    state: State | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    checks: Mapping[str, Callable[[], Outcome]] = field(default_factory=dict)
    plot: Plot | None = None


class Stage(ABC):
    """One table in one timeframe; ``None`` where the instrument's base decides."""

    table: ClassVar[Table]
    group: ClassVar[str]
    kinds: ClassVar[frozenset[str]]
    check_names: ClassVar[tuple[str, ...]]

    def __init__(self, timeframe: Timeframe | None = None) -> None:
        self.timeframe = timeframe

    @property
    def asset_path(self) -> list[str]:
        """Key of the asset: layer, table."""
        return [self.group, self.timeframe.lower()] if self.timeframe else [self.group]

    @property
    def table_name(self) -> str:
        """Folder of the stage's partitions in the lake."""
        return self.table.name

    @property
    @abstractmethod
    def description(self) -> str:
        """Say what one row is."""

    @property
    def code_version(self) -> str:
        """Return what moves when the output can change."""
        return code_version(type(self).__module__)

    def key(self, line: Line, instrument_id: str, month: str) -> PartitionKey:
        """Name the partition of this stage."""
        timeframe = self.timeframe or line.book[instrument_id].base_timeframe
        return PartitionKey(self.table_name, timeframe.value, instrument_id, month)

    def applies_to(self, line: Line, instrument_id: str) -> bool:
        """Whether the instrument has bars fine enough for this stage."""
        return self.timeframe is None or self.timeframe in line.book[instrument_id].timeframes

    @abstractmethod
    def inputs(self, line: Line, key: PartitionKey) -> Inputs:
        """Resolve what the partition is made from; raise ``NotMaterializedError``."""

    @abstractmethod
    def compute(self, line: Line, key: PartitionKey, inputs: Inputs) -> Result:
        """Make the partition's rows, and what is carried to the next month."""

    def is_fresh(self, line: Line, key: PartitionKey) -> bool:
        """Whether the partition was made by this code from what lies to its left now."""
        ref = line.lake.find(key)
        if ref is None or ref.code_version != self.code_version:
            return False
        try:
            return dict(ref.inputs) == self.inputs(line, key).versions
        except NotMaterializedError:
            return False
