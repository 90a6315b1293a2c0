"""Brings a request up to date: plan from the lake, then as few Dagster runs as it takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from assets.freshness import MONTHS_READ_AHEAD, Plan, Stale, available_months, explain, plan
from assets.line import Line
from assets.stage import Stage
from market.errors import InputError
from market.months import month_range, shift_month
from market.ports import PartitionKey
from market.settings import HomeSettings
from market.timeframes import Timeframe
from orchestration.graph import data_stages, learning_stages

if TYPE_CHECKING:
    from orchestration.runs import Run, Runner

LEFT_OF = {
    "raw_candles": ("raw_candles",),
    "candles": ("raw_candles", "candles"),
    "levels": ("raw_candles", "candles", "levels"),
    "labels": ("raw_candles", "candles", "levels", "labels"),
    "features": ("raw_candles", "candles", "levels", "features"),
    "models": ("raw_candles", "candles", "levels", "labels", "features"),
}
MIN_TRAINING_MONTHS = 8
"""Months of labels before the first cutoff that is trained by default."""


class Watch(Protocol):
    """Whoever wants to know what a run is about to look at."""

    def expect(self, stages: Sequence[Stage], partitions: int) -> None:
        """Be told of a run: its stages, and the partitions of each."""
        ...


class Engine(Protocol):
    """What makes runs: Dagster in this process, or a Dagster server."""

    def run_months(
        self, stages: Sequence[Stage], instrument: str, months: Sequence[str], *, stale_only: bool
    ) -> "Run":
        """Materialise these stages over consecutive months of one instrument."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: tables, an instrument, months, timeframes; empty means all.

    ``made``: paths that were made by force before, and are not again.
    """

    targets: tuple[str, ...] = ()
    instrument: str | None = None
    first: str | None = None
    last: str | None = None
    timeframes: tuple[str, ...] = ()
    is_forced: bool = False
    made: frozenset[str] = frozenset()


@dataclass(slots=True)
class Summary:
    """What an update looked at and made."""

    looked_at: int = 0
    out_of_date: int = 0
    runs: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "partitions": self.looked_at,
            "out_of_date": self.out_of_date,
            "runs": self.runs,
        }

    def as_text(self) -> str:
        """Return it for people."""
        if not self.out_of_date:
            return f"[green]Everything is fresh:[/green] {self.looked_at} partitions."
        made = f"{self.out_of_date} of {self.looked_at} partitions were out of date"
        runs = "1 run" if len(self.runs) == 1 else f"{len(self.runs)} runs"
        return f"{made}; made in {runs}."


class Update:
    """One update: the runner is built on the first run, so a fresh lake never waits for Dagster."""

    def __init__(
        self,
        line: Line,
        request: Request,
        watch: Watch,
        engine: "Callable[[Line], Engine] | None" = None,
    ) -> None:
        self.line, self.request, self.watch = line, request, watch
        self.summary = Summary()
        self._engine = engine
        self._runner: Engine | None = None
        self._dagster: Runner | None = None

    def data(self) -> None:
        """Bring the data stages of every instrument asked up to date."""
        ids = (
            [self.request.instrument] if self.request.instrument else [i.id for i in self.line.book]
        )
        for instrument in ids:
            self._instrument(instrument)

    def models(self, first: str, last: str) -> None:
        """Bring the learning stages of these cutoffs up to date."""
        stages = [s for s in learning_stages() if is_wanted(self.request, s)]
        months = list(month_range(first, last))
        found = self._plan(stages, "pooled", months)
        if self.request.is_forced:
            found = Plan(tuple(stages), tuple(months), found.total, found.total)
        if not found.is_empty:
            self.watch.expect(found.stages, len(found.months))
            run = self.dagster.run_cutoffs(
                found.stages, found.months, stale_only=not self.request.is_forced
            )
            self.summary.runs.append(run.run_id)

    @property
    def runner(self) -> Engine:
        """Return what makes months; this process's Dagster unless another was handed in."""
        if self._runner is None:
            self._runner = self.dagster if self._engine is None else self._engine(self.line)
        return self._runner

    @property
    def dagster(self) -> "Runner":
        """Dagster, imported when the first run needs it."""
        if self._dagster is None:
            from orchestration.runs import Runner  # noqa: PLC0415 - 2 s of imports

            self._dagster = Runner(self.line, HomeSettings().dagster_home)
        return self._dagster

    def _instrument(self, instrument: str) -> None:
        months, first, last = asked_months(self.line, self.request, instrument)
        stages = wanted_stages(self.request)
        if self.request.is_forced:
            self._force(instrument, stages, [m for m in months if first <= m <= last])
            last = months[-1]  # what that changed reaches as far as it reaches
        for batch, span in batches(stages, months, last):
            self._run(instrument, batch, span)

    def _force(self, instrument: str, stages: Sequence[Stage], months: Sequence[str]) -> None:
        """Make the months asked whether fresh or not; what they change is stale afterwards."""
        for batch, span in _not_made(self.line, self.request, instrument, stages, months):
            self.watch.expect(batch, len(span))
            run = self.runner.run_months(batch, instrument, span, stale_only=False)
            self.summary.out_of_date += run.partitions
            self.summary.runs.append(run.run_id)

    def _run(self, instrument: str, stages: Sequence[Stage], months: Sequence[str]) -> None:
        found = self._plan(stages, instrument, months)
        if found.is_empty:
            return
        self.watch.expect(found.stages, len(found.months))
        run = self.runner.run_months(found.stages, instrument, found.months, stale_only=True)
        self.summary.runs.append(run.run_id)

    def _plan(self, stages: Sequence[Stage], instrument: str, months: Sequence[str]) -> Plan:
        found = plan(self.line, stages, instrument, months)
        self.summary.looked_at += found.total
        self.summary.out_of_date += found.stale
        return found


def asked_months(line: Line, request: Request, instrument: str) -> tuple[list[str], str, str]:
    """Return the months that there are, and the first and last that were asked."""
    months = available_months(line, instrument)
    first, last = request.first or months[0], request.last or months[-1]
    if not any(first <= m <= last for m in months):
        raise InputError(
            f"{instrument}: expected months from {months[0]} to {months[-1]}, was {first} to {last}"
        )
    return months, first, last


def wanted_stages(request: Request) -> list[Stage]:
    """Return the data stages that were asked, and those that they read."""
    targets = request.targets or ("labels", "features")
    wanted = {left for t in targets for left in LEFT_OF[t.split("/")[0]]}
    return [s for s in data_stages() if s.group in wanted and is_wanted(request, s)]


def is_wanted(request: Request, stage: Stage) -> bool:
    """Whether the stage's timeframe was asked."""
    asked = request.timeframes
    return not asked or stage.timeframe is None or stage.timeframe in asked


def stale(line: Line, request: Request) -> tuple[Stale, ...]:
    """Say what is out of date of the request, and why; nothing is made and Dagster is not asked."""
    if "models" in request.targets:
        raise InputError("target: expected a table of one instrument for a dry run, was 'models'")
    if request.is_forced:
        raise InputError("force: expected none in a dry run, which says what is out of date")
    for name in request.timeframes:
        Timeframe.parse(name)
    found: list[Stale] = []
    for instrument in [request.instrument] if request.instrument else [i.id for i in line.book]:
        found += _stale(line, request, instrument)
    return tuple(found)


def outstanding(line: Line, request: Request, instrument: str) -> tuple[PartitionKey, ...]:
    """Return what an update of the request still has to look at in earnest, left to right."""
    found: dict[PartitionKey, None] = {}
    if request.is_forced:
        months, first, last = asked_months(line, request, instrument)
        asked = [m for m in months if first <= m <= last]
        left = _not_made(line, request, instrument, wanted_stages(request), asked)
        found |= {
            s.key(line, instrument, m): None for some, span in left for s in some for m in span
        }
    found |= {stale.key: None for stale in _stale(line, request, instrument)}
    return tuple(found)


def _stale(line: Line, request: Request, instrument: str) -> list[Stale]:
    months, _, last = asked_months(line, request, instrument)
    if request.is_forced:
        last = months[-1]
    found: list[Stale] = []
    for batch, span in batches(wanted_stages(request), months, last):
        found += explain(line, batch, instrument, span, found)
    return found


def _not_made(
    line: Line, request: Request, instrument: str, stages: Sequence[Stage], months: Sequence[str]
) -> list[tuple[list[Stage], list[str]]]:
    """Pair stages with the months that are still to be made by force; gaps are made again."""
    found: list[tuple[list[Stage], list[str]]] = []
    for stage in stages:
        if not stage.applies_to(line, instrument):
            continue
        left = [m for m in months if stage.key(line, instrument, m).path not in request.made]
        span = [m for m in months if left and left[0] <= m <= left[-1]]
        if found and found[-1][1] == span:
            found[-1][0].append(stage)
        elif span:
            found.append(([stage], span))
    return found


def batches(
    stages: Sequence[Stage], months: Sequence[str], last: str
) -> list[tuple[list[Stage], list[str]]]:
    """Pair stages with the months that a request up to ``last`` needs of each, left to right.

    Raw bars as far ahead as a label looks; the rest from the series' first month on, as each month
    goes on from the state of the one before.
    """
    found: list[tuple[list[Stage], list[str]]] = []
    for stage in stages:
        end = shift_month(last, MONTHS_READ_AHEAD) if stage.group == "raw_candles" else last
        wanted = [m for m in months if m <= end]
        if found and found[-1][1] == wanted:
            found[-1][0].append(stage)
        else:
            found.append(([stage], wanted))
    return found


def update(line: Line, request: Request, watch: Watch) -> Summary:
    """Bring the request up to date: data first, then models where they are asked."""
    for name in request.timeframes:
        Timeframe.parse(name)
    work = Update(line, request, watch)
    work.data()
    if not request.targets or "models" in request.targets:
        first, last = cutoffs(line, request)
        work.models(first, last)
    return work.summary


def cutoffs(line: Line, request: Request) -> tuple[str, str]:
    """Return the cutoffs asked; by default all that have enough labels before and bars at them."""
    spans = [available_months(line, instrument.id) for instrument in line.book]
    start, end = min(s[0] for s in spans), max(s[-1] for s in spans)
    return request.first or shift_month(start, MIN_TRAINING_MONTHS), request.last or end
