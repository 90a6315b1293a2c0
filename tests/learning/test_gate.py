"""The gate's outcomes, and that each says why."""

import pytest

from learning.bootstrap import Interval
from learning.evaluation import Evaluation
from learning.gate import Incumbent, decide
from market.errors import LearningError

BETTER, EVEN, WORSE = (
    Interval(-0.02, -0.03, -0.01),
    Interval(-0.02, -0.05, 0.01),
    Interval(0.02, 0.01, 0.03),
)
UNKNOWN = Interval(-0.5, None, None)
BASELINE, TREES = Incumbent("first_passage", 1), Incumbent("xgboost", 2)


def evaluation(kind: str, **against: Interval) -> Evaluation:
    return Evaluation(
        kind=kind,
        rows=120,
        first_us=0,
        last_us=1,
        block_bars=24,
        classes={},
        metrics={"log_loss": Interval(0.87, 0.8, 0.9)},
        against=against,
        months={},
        instruments={},
        reliability=(),
        verdict="",
    )


def test_without_a_champion_the_baseline_goes_first() -> None:
    first = decide(None, evaluation("first_passage"))
    assert first.promote
    assert "no champion yet" in first.reason
    assert "0.8700 on 120 rows" in first.reason
    other = decide(None, evaluation("xgboost", first_passage=BETTER))
    assert not other.promote
    assert "baseline goes first" in other.reason


@pytest.mark.parametrize(
    ("difference", "promoted"), [(BETTER, True), (EVEN, False), (WORSE, False), (UNKNOWN, False)]
)
def test_another_kind_must_be_significantly_better(difference: Interval, promoted: bool) -> None:  # noqa: FBT001
    for incumbent, kind in ((BASELINE, "xgboost"), (TREES, "first_passage")):
        decision = decide(incumbent, evaluation(kind, champion=difference))
        assert decision.promote is promoted
        assert difference.text() in decision.reason
        assert f"champion version {incumbent.version} ({incumbent.kind})" in decision.reason


@pytest.mark.parametrize(
    ("difference", "promoted"), [(BETTER, True), (EVEN, True), (WORSE, False), (UNKNOWN, True)]
)
def test_a_newer_version_replaces_its_kind_unless_significantly_worse(
    difference: Interval,
    promoted: bool,  # noqa: FBT001
) -> None:
    decision = decide(TREES, evaluation("xgboost", champion=difference, first_passage=EVEN))
    assert decision.promote is promoted


def test_nothing_significantly_worse_than_the_baseline_is_promoted() -> None:
    decision = decide(TREES, evaluation("xgboost", champion=EVEN, first_passage=WORSE))
    assert not decision.promote
    assert decision.reason.startswith("significantly worse than the first-passage baseline")


def test_a_candidate_that_was_not_compared_is_no_candidate() -> None:
    with pytest.raises(LearningError, match="expected champion, was first_passage"):
        decide(TREES, evaluation("xgboost", first_passage=BETTER))
