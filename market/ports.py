"""The ports: what the line needs from the outside, as protocols and plain values.

``storage`` and ``providers`` implement them; assets, serving and tests take them as arguments.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from market.instruments import Instrument

State = Mapping[str, npt.NDArray[np.generic]]
"""What a state machine carries from month to month: named arrays, written canonically."""


@dataclass(frozen=True, slots=True, order=True)
class PartitionKey:
    """Names one partition: a month of one instrument in one timeframe of one table."""

    table: str
    timeframe: str
    instrument: str
    month: str

    @property
    def path(self) -> str:
        """Folder of the partition below the lake's root."""
        return f"{self.table}/{self.timeframe}/{self.instrument}/{self.month}"

    def at(self, month: str) -> "PartitionKey":
        """Return the same series' partition of another month."""
        return PartitionKey(self.table, self.timeframe, self.instrument, month)


@dataclass(frozen=True, slots=True)
class PartitionRef:
    """One immutable version of a partition, as its pointer names it.

    ``version`` hashes rows and state; ``state_version`` the state alone ("" where there is none);
    ``inputs`` maps each partition that was read (``key.path``, ``key.path#state``) to its version.
    """

    key: PartitionKey
    version: str
    state_version: str
    rows: int
    first_us: int | None
    last_us: int | None
    code_version: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)


class Lake(Protocol):
    """Where partitions rest: immutable versions behind an atomically replaced pointer."""

    @property
    def is_near(self) -> bool:
        """Whether ``find`` takes microseconds, so that an event loop need not hand it over."""
        ...

    def writing(self, table: str, timeframe: str, instrument: str) -> AbstractContextManager[None]:
        """Hold the one writer's place of a series; raise ``PartitionBusyError`` if taken."""
        ...

    def write(
        self,
        key: PartitionKey,
        rows: pl.DataFrame,
        *,
        state: State | None = None,
        code_version: str,
        inputs: Mapping[str, str],
        attributes: Mapping[str, Any] | None = None,
    ) -> PartitionRef:
        """Write a version and move the pointer; an unchanged result writes no new file."""
        ...

    def find(self, key: PartitionKey) -> PartitionRef | None:
        """Return what the pointer names, or ``None`` where nothing was materialised."""
        ...

    def resolve(self, key: PartitionKey) -> PartitionRef:
        """Return what the pointer names; raise ``NotMaterializedError`` that says what to run."""
        ...

    def months(self, table: str, timeframe: str, instrument: str) -> Sequence[str]:
        """Return the months of a series that are materialised, in order."""
        ...

    def read(self, refs: Iterable[PartitionRef]) -> pl.DataFrame:
        """Return the rows of these versions, in the order given."""
        ...

    def row(self, ref: PartitionRef, ts_us: int | None = None) -> pl.DataFrame:
        """Return the rows of the bar that opens at ``ts_us``, or a version's last row."""
        ...

    def state(self, ref: PartitionRef) -> dict[str, npt.NDArray[np.generic]]:
        """Return the state saved with this version ({} where there is none)."""
        ...

    def newest(self, table: str, timeframe: str, instrument: str, *, rows: int) -> pl.DataFrame:
        """Return the last ``rows`` rows of a series, reading no more partitions than it takes."""
        ...


@dataclass(frozen=True, slots=True)
class Bars:
    """What a provider delivered for an interval.

    ``frame`` has ts (bar open, UTC), open, high, low, close, volume (null where unknown);
    all bars that open before ``watermark_us`` and have not come never will.
    """

    frame: pl.DataFrame
    watermark_us: int


class Provider(Protocol):
    """Where market data comes from. Every convention of a source ends here."""

    @property
    def name(self) -> str:
        """Name in the registry and in ``candles.source``."""
        ...

    def fetch(self, instrument: Instrument, start_us: int, end_us: int) -> Bars:
        """Return the base bars that open in [start, end), all of them or an error."""
        ...

    def span(self, instrument: Instrument) -> tuple[int, int]:
        """Return the half-open interval of bar opens that the source can deliver."""
        ...

    def fingerprint(self, instrument: Instrument, start_us: int, end_us: int) -> str | None:
        """Return what moves when ``fetch`` of the window would answer otherwise.

        ``None`` where only fetching would tell (a remote source): what was ingested then counts
        until it is asked for by force.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One registered model version and where its native artefact lies."""

    name: str
    version: int
    run_id: str
    artifact_path: str
    tags: Mapping[str, str] = field(default_factory=dict)


class ModelRegistry(Protocol):
    """Model versions and aliases, read without importing MLflow."""

    def names(self) -> Sequence[str]:
        """Return the registered models' names."""
        ...

    def by_alias(self, name: str, alias: str) -> ModelVersion:
        """Return the version that an alias names.

        Raises ``ModelNotFoundError``; ``ModelArtefactError`` where the version has no files.
        """
        ...

    def by_version(self, name: str, version: int) -> ModelVersion:
        """Return one version; raise as ``by_alias`` does."""
        ...
