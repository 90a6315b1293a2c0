"""The evaluation asset and the gate: a version is promoted once, and judged again says the same."""

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from assets.evaluation import _gate
from assets.stage import Inputs
from learning.alias_journal import AliasMove
from learning.bundle import Bundle
from learning.models import model_of, train
from learning.training_set import TrainingSet
from market.ports import ModelVersion, PartitionKey, PartitionRef

if TYPE_CHECKING:
    from assets.line import Line

PastAndFuture = Callable[..., tuple[TrainingSet, TrainingSet]]
KEY = PartitionKey("evaluations", "H4", "pooled", "2018-01")
VERSION_OF = {"first_passage": 1, "xgboost": 2}


@dataclass
class FakeStore:
    """A model store in memory."""

    folder: Path
    moves: list[AliasMove] = field(default_factory=list)
    tags: dict[int, dict[str, str]] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    looks: dict[int, int] = field(default_factory=dict)
    verdicts: dict[int, str] = field(default_factory=dict)

    def add(self, version: int, bundle: Bundle) -> None:
        """Keep a version's artefact."""
        bundle.save(self.folder / str(version))

    def version(self, name: str, version: int) -> ModelVersion:
        """Return one version."""
        return ModelVersion(name, version, f"run {version}", str(self.folder / str(version)))

    def champion(self, name: str) -> ModelVersion | None:
        """Return where the alias points."""
        return self.version(name, self.moves[-1].to_version) if self.moves else None

    def journal(self, name: str, alias: str) -> list[AliasMove]:
        """Return the moves of the alias."""
        assert (name, alias) == ("barrier_h4", "champion")
        return self.moves

    def look(self, _name: str, version: int) -> int:
        """Give a version its number."""
        return self.looks.setdefault(version, 1 + len(self.looks))

    def tag(self, _name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        self.tags.setdefault(version, {}).update(tags)

    def describe(self, _name: str, version: int, _bundle: Bundle, verdict: str) -> None:
        """Keep what was found of a version."""
        self.verdicts[version] = verdict

    def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Add figures to a run."""
        self.metrics.setdefault(run_id, {}).update(metrics)

    def promote(self, name: str, version: int, *, who: str, reason: str) -> None:
        """Move the alias."""
        before = self.moves[-1].to_version if self.moves else None
        now = dt.datetime(2018, 2, 1, tzinfo=dt.UTC)
        self.moves.append(AliasMove(now, name, "champion", before, version, who, reason))


@dataclass
class Case:
    """Bundles of a cutoff, the rows that judge them, and where they are registered."""

    store: FakeStore
    bundles: dict[str, Bundle]
    judged: TrainingSet

    def judge(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Judge both kinds and return figures and decisions."""
        refs = {
            kind: [_ref(kind, {"version": VERSION_OF[kind], "run_id": f"run {VERSION_OF[kind]}"})]
            for kind in self.bundles
        }
        line = cast("Line", SimpleNamespace(model_store=lambda: self.store))
        found, decisions = _gate(line, KEY, Inputs(rows=refs), self.judged, self.bundles)
        return {kind: judgement.to_dict() for kind, judgement in found.items()}, decisions


def _ref(kind: str, attributes: Mapping[str, Any]) -> PartitionRef:
    key = PartitionKey(f"models_{kind}", "H4", "pooled", "2018-01")
    return PartitionRef(key, "v", "", 1, None, None, "c", attributes=attributes)


def case(tmp_path: Path, past_and_future: PastAndFuture, *, signal: float) -> Case:
    past, future = past_and_future(1500, 700, seed=0, signal=signal)
    bundles = {kind: train(model_of(kind), past) for kind in VERSION_OF}
    store = FakeStore(tmp_path)
    for kind, version in VERSION_OF.items():
        store.add(version, bundles[kind])
    return Case(store, bundles, future)


@pytest.mark.slow
def test_an_edge_is_promoted_tagged_and_said_the_same_again(
    tmp_path: Path, past_and_future: PastAndFuture
) -> None:
    made = case(tmp_path, past_and_future, signal=0.5)
    first = made.judge()
    assert [move.to_version for move in made.store.moves] == [1, 2]
    assert made.store.moves[-1].reason == first[1]["xgboost"]
    assert "the edge is direction" in first[1]["xgboost"]
    assert made.store.tags == {1: {"wavehouse.edge": "none"}, 2: {"wavehouse.edge": "direction"}}
    assert made.store.looks == {2: 1}
    assert made.store.verdicts == {VERSION_OF[kind]: first[0][kind]["verdict"] for kind in first[0]}
    assert made.store.metrics["run 2"]["log_loss_direction_against_first_passage_high"] < 0
    again = made.judge()
    assert again == first
    assert len(made.store.moves) == 2
    assert made.store.looks == {2: 1}


@pytest.mark.slow
def test_what_a_person_took_back_is_not_promoted_again(
    tmp_path: Path, past_and_future: PastAndFuture
) -> None:
    made = case(tmp_path, past_and_future, signal=0.5)
    made.judge()
    made.store.promote("barrier_h4", 1, who="a person", reason="no")
    made.judge()
    assert [move.to_version for move in made.store.moves] == [1, 2, 1]


@pytest.mark.slow
def test_a_champion_trained_on_what_would_judge_it_is_not_asked(
    tmp_path: Path, past_and_future: PastAndFuture
) -> None:
    made = case(tmp_path, past_and_future, signal=0.5)
    bundle = made.bundles["first_passage"]
    late = replace(bundle.provenance, cutoff_us=int(made.judged.t_c[5]))
    made.store.add(9, replace(bundle, provenance=late))
    made.store.promote("barrier_h4", 9, who="a later cutoff", reason="better")
    _, decisions = made.judge()
    assert set(decisions.values()) == {"version 9 was trained later: nothing moves"}
    assert [move.to_version for move in made.store.moves] == [9]
    assert made.store.tags[2] == {"wavehouse.edge": "direction"}


def test_trees_that_are_the_baseline_spend_no_look(
    tmp_path: Path, past_and_future: PastAndFuture
) -> None:
    made = case(tmp_path, past_and_future, signal=0.0)
    made.bundles["xgboost"] = replace(made.bundles["first_passage"], kind="xgboost")
    _, decisions = made.judge()
    assert made.store.looks == {}
    assert decisions["xgboost"].startswith("xgboost adds nothing")
    assert "identical to champion version 1" in decisions["xgboost"]
    assert made.store.tags[2] == {"wavehouse.edge": "none"}
    assert [move.to_version for move in made.store.moves] == [1]


@pytest.mark.slow
@pytest.mark.parametrize(("looks", "sure"), [(0, "97.5 %"), (400, "99.999969 %")])
def test_many_looks_before_ask_for_more(
    tmp_path: Path, past_and_future: PastAndFuture, looks: int, sure: str
) -> None:
    made = case(tmp_path, past_and_future, signal=0.2)
    made.store.looks = {100 + n: n + 1 for n in range(looks)}
    _, decisions = made.judge()
    assert re.search(rf"at look {looks + 1} below \S+ with {sure}", decisions["xgboost"])
    promoted = made.store.moves[-1].to_version == VERSION_OF["xgboost"]
    assert promoted is (looks == 0)
