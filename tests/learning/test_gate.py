"""The gate's outcomes, that each says why, and that judging every month finds no edge by chance."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from learning.bootstrap import Bootstrap, Interval, intervals
from learning.edge import Edge
from learning.evaluation import Evaluation
from learning.gate import Incumbent, decide
from learning.looks import ERROR, confidence
from learning.verdict import Difference, edge_of, verdict
from market.errors import LearningError

BETTER, EVEN, WORSE = (
    Interval(-0.02, -0.03, -0.01, 0.006, 20.0),
    Interval(-0.02, -0.05, 0.01, 0.018, 20.0),
    Interval(0.02, 0.01, 0.03, 0.006, 20.0),
)
ONCE = Interval(-0.02, -0.036, -0.004, 0.009, 20.0)  # below zero at 90 %, not at the first look
UNKNOWN = Interval(-0.5, None, None)
BASELINE, TREES = Incumbent("first_passage", 1), Incumbent("xgboost", 2)
SAME = Difference(Interval(3e-8, 2e-8, 4e-8), EVEN, EVEN, is_identical=True)


def in_volatility(total: Interval) -> Difference:
    """Return a difference that lies in the touch part alone."""
    return Difference(total, total, EVEN)


def evaluation(
    kind: str,
    champion: Difference | None = None,
    *,
    baseline: Difference | None = None,
    look: int = 1,
) -> Evaluation:
    against = {"champion": champion, "first_passage": baseline}
    if kind != "first_passage" and baseline is None:
        against["first_passage"] = in_volatility(EVEN)
    claimed = None if kind == "first_passage" else against["first_passage"]
    is_claim = claimed is not None and not claimed.is_identical
    return Evaluation(
        kind=kind,
        rows=120,
        first_us=0,
        last_us=1,
        block_bars=24,
        classes={},
        metrics={"log_loss": Interval(0.87, 0.8, 0.9)},
        against={name: found for name, found in against.items() if found is not None},
        months={},
        instruments={},
        reliability=(),
        look=look if is_claim else None,
        edge=edge_of(claimed, look) if claimed and is_claim else Edge.NONE,
        verdict="",
    )


def test_without_a_champion_the_baseline_goes_first() -> None:
    first = decide(None, evaluation("first_passage"))
    assert first.promote
    assert "no champion yet" in first.reason
    assert "0.8700 on 120 rows" in first.reason
    other = decide(None, evaluation("xgboost", baseline=in_volatility(BETTER)))
    assert not other.promote
    assert "baseline goes first" in other.reason


@pytest.mark.parametrize(
    ("difference", "promoted"),
    [(BETTER, True), (EVEN, False), (WORSE, False), (UNKNOWN, False), (ONCE, False)],
)
def test_another_kind_must_be_better_with_the_confidence_of_its_look(
    difference: Interval,
    promoted: bool,  # noqa: FBT001
) -> None:
    decision = decide(BASELINE, evaluation("xgboost", in_volatility(difference)))
    assert decision.promote is promoted
    assert difference.text() in decision.reason
    assert "champion version 1 (first_passage)" in decision.reason


def test_the_same_figures_do_at_a_first_look_and_not_at_a_fourth() -> None:
    first, fourth = (
        decide(BASELINE, evaluation("xgboost", in_volatility(BETTER), look=look)) for look in (1, 4)
    )
    assert first.promote
    assert "significantly better, at look 1 below -0.0055 with 97.5 %" in first.reason
    assert not fourth.promote
    assert "was at look 4 below +0.0007 with 99.75 %" in fourth.reason


@pytest.mark.parametrize(
    ("difference", "promoted"), [(BETTER, True), (ONCE, True), (EVEN, False), (UNKNOWN, False)]
)
def test_the_way_back_to_the_baseline_claims_nothing_and_spends_no_look(
    difference: Interval,
    promoted: bool,  # noqa: FBT001
) -> None:
    decision = decide(TREES, evaluation("first_passage", in_volatility(difference)))
    assert decision.promote is promoted
    assert "champion version 2 (xgboost)" in decision.reason


@pytest.mark.parametrize(
    ("difference", "promoted"), [(BETTER, True), (EVEN, True), (WORSE, False), (UNKNOWN, True)]
)
def test_a_newer_version_replaces_its_kind_unless_significantly_worse(
    difference: Interval,
    promoted: bool,  # noqa: FBT001
) -> None:
    for incumbent in (BASELINE, TREES):
        candidate = evaluation(incumbent.kind, in_volatility(difference))
        assert decide(incumbent, candidate).promote is promoted


def test_nothing_significantly_worse_than_the_baseline_is_promoted() -> None:
    candidate = evaluation("xgboost", in_volatility(EVEN), baseline=in_volatility(WORSE))
    decision = decide(TREES, candidate)
    assert not decision.promote
    assert decision.reason.startswith("significantly worse than the first-passage baseline")


@pytest.mark.parametrize("incumbent", [BASELINE, TREES])
def test_better_volatility_does_not_pay_for_a_worse_side(incumbent: Incumbent) -> None:
    worse_side = Difference(BETTER, BETTER, WORSE)
    good = in_volatility(BETTER)
    for champion, baseline, name in (
        (worse_side, good, f"champion version {incumbent.version}"),
        (good, worse_side, "the first-passage baseline"),
    ):
        decision = decide(incumbent, evaluation("xgboost", champion, baseline=baseline))
        assert not decision.promote
        assert decision.reason.startswith(f"significantly worse at direction than {name}")
        assert WORSE.text() in decision.reason


def test_what_is_identical_is_called_so_and_promoted_over_nobody() -> None:
    decision = decide(BASELINE, evaluation("xgboost", SAME, baseline=SAME))
    assert not decision.promote
    assert decision.reason == (
        "xgboost adds nothing: log loss 0.8700, identical to champion version 1 (first_passage) "
        "on 120 rows"
    )
    # an older baseline is champion: better than that one is no edge of the trees
    decision = decide(BASELINE, evaluation("xgboost", in_volatility(BETTER), baseline=SAME))
    assert not decision.promote
    assert "identical to the first-passage baseline of its cutoff" in decision.reason


def test_a_candidate_that_was_not_compared_is_no_candidate() -> None:
    candidate = evaluation("xgboost", baseline=in_volatility(BETTER))
    with pytest.raises(LearningError, match="expected champion, was first_passage"):
        decide(TREES, candidate)
    alone = evaluation("xgboost", in_volatility(BETTER))
    with pytest.raises(LearningError, match="expected first_passage, was champion"):
        decide(BASELINE, replace_against(alone, "first_passage"))


def replace_against(candidate: Evaluation, left_out: str) -> Evaluation:
    kept = {name: found for name, found in candidate.against.items() if name != left_out}
    return replace(candidate, against=kept)


@pytest.mark.parametrize(
    ("against", "edge", "words"),
    [
        (Difference(BETTER, BETTER, EVEN), Edge.VOLATILITY, "edge over the first-passage baseline"),
        (Difference(BETTER, EVEN, BETTER), Edge.DIRECTION, "edge over the first-passage baseline"),
        (Difference(BETTER, BETTER, BETTER), Edge.BOTH, "edge over the first-passage baseline"),
        (Difference(BETTER, EVEN, EVEN), Edge.UNRESOLVED, "edge over the first-passage baseline"),
        (
            Difference(EVEN, BETTER, WORSE),
            Edge.VOLATILITY,
            "no edge over the first-passage baseline in total",
        ),
        (Difference(ONCE, ONCE, ONCE), Edge.NONE, "no edge over the first-passage baseline"),
        (Difference(WORSE, EVEN, WORSE), Edge.NONE, "worse than the first-passage baseline"),
        (
            Difference(UNKNOWN, UNKNOWN, UNKNOWN),
            Edge.NONE,
            "no edge over the first-passage baseline",
        ),
    ],
)
def test_the_verdict_names_the_part_that_the_edge_is_in(
    against: Difference, edge: Edge, words: str
) -> None:
    assert edge_of(against, 1) is edge
    loss = Interval(0.87, 0.8, 0.9)
    said = verdict("xgboost", loss, {"first_passage": against}, rows=120, look=1)
    assert said.startswith(f"{words}: log loss 0.8700, difference ")
    found = {
        BETTER: "better", EVEN: "no different", WORSE: "worse", UNKNOWN: "no different",
        ONCE: "better at 90 %, not at 97.5 %,",
    }  # fmt: skip
    touch, direction = found[against.touch], found[against.direction]
    assert f"; {touch} at whether a barrier is touched ({against.touch.text()})" in said
    assert f", {direction} at which ({against.direction.text()})" in said


def test_errors_of_all_looks_add_up_to_what_is_allowed_once() -> None:
    spent = [1.0 - confidence(look) for look in range(1, 5000)]
    assert spent == sorted(spent, reverse=True)
    assert 0.99 * ERROR < sum(spent) < ERROR
    with pytest.raises(ValueError, match="look: expected >= 1, was 0"):
        confidence(0)


HORIZON, LOOKS, YEARS = 6, 12, 600


def months_without_an_edge(bars: int, shape: str) -> Iterator[Interval]:
    """Yield a difference a month: losses of labels that overlap by a horizon, truly even."""
    rng = np.random.default_rng(11)
    size = (YEARS * LOOKS, bars + HORIZON - 1)
    draw = {
        "normal": lambda: rng.normal(size=size),
        "heavy tails": lambda: rng.standard_t(4, size=size),
        # a model that is a little better most of the time, and now and then much worse
        "skewed": lambda: rng.exponential(size=size) - 1.0,
    }[shape]()
    loss: npt.NDArray[np.float64] = np.lib.stride_tricks.sliding_window_view(
        draw, HORIZON, axis=1
    ).sum(axis=2)
    for some in np.split(loss, 6):
        sums = np.column_stack([np.ones(bars), *some])
        yield from intervals(
            sums,
            lambda drawn: {str(i): drawn[:, i] / drawn[:, 0] for i in range(1, drawn.shape[1])},
            horizon_bars=HORIZON,
            settings=Bootstrap(replicates=300),
        ).values()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bars", "shape"),  # a month of H4 and of H1
    [(120, "normal"), (120, "heavy tails"), (120, "skewed"), (520, "normal")],
)
def test_a_year_of_looks_promotes_by_chance_in_one_of_twenty_at_most(bars: int, shape: str) -> None:
    corrected = by_chance = 0
    months = months_without_an_edge(bars, shape)
    for year in zip(*[months] * LOOKS, strict=True):
        found = [
            decide(BASELINE, evaluation("xgboost", in_volatility(difference), look=look)).promote
            for look, difference in enumerate(year, 1)
        ]
        corrected += any(found)
        by_chance += any(difference.is_below_zero for difference in year)
    assert corrected / YEARS <= ERROR
    assert by_chance / YEARS > 0.35  # each month's 90 % interval by itself, as if there were one
