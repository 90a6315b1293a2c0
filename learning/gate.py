"""Who may be champion: decided by figures on the same judged rows, with the reason in words."""

from dataclasses import dataclass
from typing import Final

from learning.baseline import KIND as BASELINE
from learning.evaluation import Evaluation
from learning.verdict import Difference, at_look, is_better
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
        With the champion among its references (``against["champion"]``) where there is one, and
        with the baseline if it is another kind.

    Returns
    -------
    Decision
        No champion: the baseline takes the alias, others wait for it. Another kind: only with a
        difference in log loss that lies below zero with the confidence which its look needs
        (``looks.confidence``). Back to the baseline: with 90 %, because that claims no edge. The
        same kind: the newer version, unless it is significantly worse. Nothing that is
        significantly worse than the baseline, or at direction than baseline or champion: better
        volatility does not pay for a worse side. Significantly worse is a 90 % interval above
        zero; a refusal claims nothing, so looks are not counted.

    Raises
    ------
    LearningError
        If the candidate was not compared with those above.
    """
    if incumbent is None:
        return _first(candidate)
    champion = _compared(candidate, CHAMPION)
    compared = "identical to" if champion.is_identical else f"{champion.total.text()} against"
    facts = (
        f"log loss {candidate.metrics['log_loss'].value:.4f}, {compared} "
        f"champion version {incumbent.version} ({incumbent.kind}) on {candidate.rows} rows"
    )
    worse = _worse(incumbent, candidate)
    if worse:
        return Decision(promote=False, reason=f"{worse}; {facts}")
    if candidate.kind == incumbent.kind:
        return Decision(promote=True, reason=f"newer and not significantly worse: {facts}")
    return _challenger(candidate, champion, facts)


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


def _worse(incumbent: Incumbent, candidate: Evaluation) -> str | None:
    """Say at what the candidate is significantly worse than one that it must not be worse than."""
    names = {CHAMPION: f"champion version {incumbent.version} ({incumbent.kind})"}
    if candidate.kind != BASELINE:
        names = {BASELINE: "the first-passage baseline", **names}
    for reference, name in names.items():
        against = _compared(candidate, reference)
        if against.total.is_above_zero:
            return f"significantly worse than {name} ({against.total.text()})"
        if against.direction.is_above_zero:
            return f"significantly worse at direction than {name} ({against.direction.text()})"
    return None


def _challenger(candidate: Evaluation, champion: Difference, facts: str) -> Decision:
    kind = candidate.kind
    if champion.is_identical:
        return Decision(promote=False, reason=f"{kind} adds nothing: {facts}")
    if kind == BASELINE:
        if champion.total.is_below_zero:
            return Decision(promote=True, reason=f"the first-passage baseline is better: {facts}")
        return Decision(
            promote=False,
            reason=f"the first-passage baseline is not significantly better (the 90 % interval "
            f"must lie below zero): {facts}",
        )
    if candidate.look is None:
        return Decision(
            promote=False,
            reason=f"{kind} is identical to the first-passage baseline of its cutoff: {facts}",
        )
    bound = at_look(champion.total, candidate.look)
    if is_better(champion.total, candidate.look):
        return Decision(
            promote=True,
            reason=f"{kind} is significantly better, {bound}; {candidate.edge.words}: {facts}",
        )
    return Decision(
        promote=False,
        reason=f"{kind} is not significantly better (it must be below zero, was {bound}): {facts}",
    )


def _compared(candidate: Evaluation, reference: str) -> Difference:
    if reference not in candidate.against:
        compared = ", ".join(candidate.against)
        raise LearningError(f"evaluation.against: expected {reference}, was {compared}")
    return candidate.against[reference]
