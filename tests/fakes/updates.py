"""``wavehouse.updating`` without a terminal and Dagster's databases, and what it computed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from assets.candles import Candles
from assets.features import Features
from assets.labels import Labels
from assets.levels import Levels
from assets.line import Line
from assets.raw import RawCandles
from assets.stage import Inputs, Result, Stage
from market.ports import PartitionKey
from orchestration.runs import Run, RunFailedError, _first_failure
from tests.fakes.line import Workshop
from wavehouse.updating import Request, Summary, update

DATA_STAGES: tuple[type[Stage], ...] = (RawCandles, Candles, Levels, Labels, Features)


@dataclass(slots=True)
class QuietWatch:
    """Stands where progress bars are."""

    expected: list[tuple[list[str], int]] = field(default_factory=list)

    def expect(self, stages: Sequence[Stage], partitions: int) -> None:
        """Remember what a run is about to look at."""
        self.expected.append((["/".join(s.asset_path) for s in stages], partitions))


class WorkshopRunner:
    """``orchestration.runs.Runner`` over a workshop whose definitions are there already."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop

    def run_months(
        self, stages: Sequence[Stage], instrument: str, months: Sequence[str], *, stale_only: bool
    ) -> Run:
        """Materialise a range, or raise with the first failure."""
        result = self.workshop.run(
            stages, months, instrument=instrument, stale_only=stale_only, succeeds=None
        )
        if not result.success:
            raise RunFailedError(*_first_failure(result))  # type: ignore[arg-type]
        return Run(result.run_id, len(stages) * len(months))


def updated(workshop: Workshop, request: Request, patch: pytest.MonkeyPatch) -> Summary:
    """Bring a request up to date as ``wavehouse materialize`` does."""
    patch.setattr("orchestration.runs.Runner", lambda _line, _home: WorkshopRunner(workshop))
    return update(workshop.line, request, QuietWatch())  # type: ignore[arg-type]


def spy(patch: pytest.MonkeyPatch) -> list[str]:
    """Return the list to which every computed partition is added from now on."""
    computed: list[str] = []
    for kind in DATA_STAGES:
        real = kind.compute

        def compute(
            self: Stage,
            line: Line,
            key: PartitionKey,
            inputs: Inputs,
            real: object = real,
        ) -> Result:
            computed.append(key.path)
            return real(self, line, key, inputs)  # type: ignore[operator, no-any-return]

        patch.setattr(kind, "compute", compute)
    return computed
