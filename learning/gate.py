"""Who may be champion: decided by figures on the same judged rows, with the reason in words."""

from dataclasses import dataclass
from typing import Final

from learning.baseline import KIND as BASELINE
from learning.bootstrap import Interval
from learning.evaluation import Evaluation
from market.errors import LearningError

CHAMPION: Final = "champion"


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The champion as it stands."""

    kind: str
    version: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the candidate takes the alias, and why."""

    promote: bool
    reason: str


def decide(incumbent: Incumbent | None, candidate: Evaluation) -> Decision:
    """Decide whether a judged candidate becomes champion.

    Parameters
    ----------
    incumbent : Incumbent or None
        ``None`` where there is no champion yet.
    candidate : Evaluation
        With the champion among its references (``against["champion"]``) where there is one.

    Returns
    -------
    Decision
        No champion: the baseline takes the alias, others wait for it. Another kind: only with a
        difference in log loss whose 90 % interval is below zero. The same kind: the newer version,
        unless it is significantly worse. Nothing that is significantly worse than the baseline.

    Raises
    ------
    LearningError
        If there is a champion and the candidate was not compared with it.
    """
    if incumbent is None:
        return _first(candidate)
    if CHAMPION not in candidate.against:
        compared = ", ".join(candidate.against)
        raise LearningError(f"evaluation.against: expected {CHAMPION}, was {compared}")
    difference = candidate.against[CHAMPION]
    facts = (
        f"log loss {candidate.metrics['log_loss'].value:.4f}, {difference.text()} against "
        f"champion version {incumbent.version} ({incumbent.kind}) on {candidate.rows} rows"
    )
    baseline = candidate.against.get(BASELINE)
    if candidate.kind != BASELINE and baseline is not None and baseline.is_above_zero:
        return Decision(
            promote=False,
            reason=f"significantly worse than the first-passage baseline ({baseline.text()}); "
            f"{facts}",
        )
    if candidate.kind == incumbent.kind:
        return _successor(difference, facts)
    return _challenger(candidate.kind, difference, facts)


def _first(candidate: Evaluation) -> Decision:
    loss = candidate.metrics["log_loss"].value
    if candidate.kind == BASELINE:
        return Decision(
            promote=True,
            reason=f"no champion yet: the first-passage baseline is the one to beat "
            f"(log loss {loss:.4f} on {candidate.rows} rows)",
        )
    return Decision(
        promote=False,
        reason=f"no champion yet: the first-passage baseline goes first, then {candidate.kind} "
        f"(log loss {loss:.4f} on {candidate.rows} rows) has someone to beat",
    )


def _successor(difference: Interval, facts: str) -> Decision:
    if difference.is_above_zero:
        return Decision(promote=False, reason=f"newer, but significantly worse: {facts}")
    return Decision(promote=True, reason=f"newer and not significantly worse: {facts}")


def _challenger(kind: str, difference: Interval, facts: str) -> Decision:
    if difference.is_below_zero:
        return Decision(promote=True, reason=f"{kind} is significantly better: {facts}")
    return Decision(
        promote=False,
        reason=f"{kind} is not significantly better (the interval must lie below zero): {facts}",
    )
