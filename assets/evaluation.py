"""``evaluation/<timeframe>``: a cutoff's models, judged on the month after it, and the gate."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from assets import checks, plots
from assets.line import Line
from assets.models import KINDS, registered_name
from assets.stage import Inputs, Outcome, Result
from assets.training_sets import POOLED, LearningStage, months_before, rows_of
from learning.baseline import KIND as BASELINE
from learning.bundle import Bundle
from learning.edge import EDGE_TAG
from learning.evaluation import Evaluation as Judgement
from learning.evaluation import evaluate, is_identical
from learning.gate import CHAMPION, Decision, Incumbent, decide
from learning.training_set import TrainingSet
from market.months import month_start, shift_month
from market.ports import ModelVersion, PartitionKey, PartitionRef
from market.tables import EVALUATIONS, INSTANT

if TYPE_CHECKING:
    from learning.tracking import ModelStore

WAITING = "not judged yet: the labels of the month after the cutoff have not all matured"


class Evaluation(LearningStage):
    """Out-of-sample figures of every kind, its difference to the baseline, and who is champion.

    The gate runs here: the champion is the artefact that was judged, not a refit. A cutoff older
    than the champion's is judged and moves no alias.
    """

    table = EVALUATIONS
    group = "evaluation"
    kinds = frozenset({"mlflow", "polars"})
    check_names = ("schema", "out_of_sample")

    @property
    def description(self) -> str:
        """Say what one row is."""
        return (
            f"One row per judged {self.timeframe} bar and kind of model: calibrated probabilities "
            "against what happened in the month after the cutoff; with it the gate's decision."
        )

    def inputs(self, line: Line, key: PartitionKey) -> Inputs:
        """Resolve the cutoff's models, and features and labels of the month that judges them."""
        models = {
            kind: [
                line.lake.resolve(PartitionKey(f"models_{kind}", key.timeframe, POOLED, key.month))
            ]
            for kind in KINDS
        }
        judging = {
            table: [ref for ref in refs if ref.key.month == key.month]
            for table, refs in months_before(line, key, shift_month(key.month, 1)).items()
        }
        return Inputs(rows={**models, **judging})

    def compute(self, line: Line, key: PartitionKey, inputs: Inputs) -> Result:
        """Judge every kind on the same rows, record the figures, decide."""
        cutoff_us, end_us = month_start(key.month), month_start(shift_month(key.month, 1))
        if not _is_matured(line, inputs):
            rows = EVALUATIONS.empty()
            return Result(
                rows, attributes={"verdict": WAITING}, checks=self._checks(rows, cutoff_us)
            )
        judged = rows_of(line, inputs, month_start(shift_month(key.month, 4)))
        judged = judged.between(cutoff_us, end_us)
        bundles = {kind: _bundle(inputs.rows[kind][0]) for kind in KINDS}
        judgements, decisions = _gate(line, key, inputs, judged, bundles)
        rows = pl.concat([_rows(bundles[kind], judged) for kind in KINDS])
        best = min(judgements.values(), key=lambda j: j.metrics["log_loss"].value)
        return Result(
            rows=rows,
            attributes={
                "verdict": {kind: j.verdict for kind, j in judgements.items()},
                "decisions": decisions,
                "edge": {kind: j.edge.value for kind, j in judgements.items()},
                "look": {kind: j.look for kind, j in judgements.items()},
                "metrics": {kind: _plain(j.flat_metrics()) for kind, j in judgements.items()},
            },
            checks=self._checks(rows, cutoff_us),
            plot=lambda: _reliability(best, key),
        )

    @staticmethod
    def _checks(rows: pl.DataFrame, cutoff_us: int) -> dict[str, Any]:
        return {
            "schema": lambda: checks.schema(EVALUATIONS, rows),
            "out_of_sample": lambda: out_of_sample(rows, cutoff_us),
        }


def _gate(
    line: Line,
    key: PartitionKey,
    inputs: Inputs,
    judged: TrainingSet,
    bundles: Mapping[str, Bundle],
) -> tuple[dict[str, Judgement], dict[str, str]]:
    """Judge each kind beside the champion, tag its edge, move the alias where the gate says so."""
    store, name = line.model_store(), registered_name(key.timeframe)
    baseline = bundles[BASELINE]
    judgements, decisions = {}, {}
    for kind, bundle in bundles.items():
        made = inputs.rows[kind][0].attributes
        version = int(made["version"])
        opponent = _opponent(store, name, version, int(judged.t_c.min()))
        references = {} if kind == BASELINE else {BASELINE: baseline}
        if opponent.bundle is not None:
            references[CHAMPION] = opponent.bundle
        is_claim = not is_identical(bundle, baseline, judged)
        look = store.look(name, version) if is_claim else 1
        judgement = evaluate(bundle, judged, references=references, look=look)
        store.log_metrics(str(made["run_id"]), judgement.flat_metrics())
        store.tag(name, version, {EDGE_TAG: judgement.edge.value})
        store.describe(name, version, bundle, judgement.verdict)
        decision = opponent.decision(judgement)
        if decision.promote and not opponent.has_been_met:
            store.promote(name, version, who=f"evaluation {key.month}", reason=decision.reason)
        judgements[kind], decisions[kind] = judgement, decision.reason
    return judgements, decisions


@dataclass(frozen=True, slots=True)
class _Opponent:
    """Whom a version is judged against: a champion, or nobody."""

    version: ModelVersion | None
    bundle: Bundle | None
    has_been_met: bool = False  # the version took the alias from it

    def decision(self, judgement: Judgement) -> Decision:
        """Ask the gate, unless the champion was trained on what would judge it."""
        if self.version is None:
            return decide(None, judgement)
        if self.bundle is None:
            reason = f"version {self.version.version} was trained later: nothing moves"
            return Decision(promote=False, reason=reason)
        return decide(Incumbent(self.bundle.kind, self.version.version), judgement)


def _opponent(store: "ModelStore", name: str, version: int, first_us: int) -> _Opponent:
    """Return the champion, or, where the version took the alias before, the one it took it from.

    So judging again says what was said before, and moves nothing.
    """
    met = [m.from_version for m in store.journal(name, CHAMPION) if m.to_version == version]
    chosen = [store.champion(name)]
    if met:
        chosen.append(None if met[0] is None else store.version(name, met[0]))
    champion, bundle = None, None
    for champion in chosen:
        bundle = None if champion is None else Bundle.load(Path(champion.artifact_path))
        if bundle is not None and bundle.provenance.cutoff_us > first_us:
            return _Opponent(champion, None)
    return _Opponent(champion, bundle, has_been_met=bool(met))


def _is_matured(line: Line, inputs: Inputs) -> bool:
    """Whether every label of the judging month has been decided, and there are any."""
    refs = inputs.rows["labels"]
    if not refs:
        return False
    status = line.lake.read(refs)["status"]
    return bool(status.len() and not (status == "pending").any()) and _is_over(refs)


def _is_over(refs: Sequence[PartitionRef]) -> bool:
    return all(
        int(ref.attributes["watermark_us"]) > month_start(shift_month(ref.key.month, 1))
        for ref in refs
    )


def _bundle(ref: PartitionRef) -> Bundle:
    return Bundle.load(Path(str(ref.attributes["artifact_path"])))


def _rows(bundle: Bundle, judged: TrainingSet) -> pl.DataFrame:
    predictions = bundle.predict(judged.columns(bundle.features))
    column = judged.y.astype(np.int64) + 1
    at = np.arange(len(judged))
    p = predictions.probabilities
    return EVALUATIONS.conform(
        pl.DataFrame(
            {
                "instrument": pl.Series(judged.instrument.tolist(), dtype=pl.String),
                "timeframe": pl.Series([judged.timeframe] * len(judged), dtype=pl.String),
                "ts": pl.Series(judged.t_c).cast(INSTANT),
                "kind": pl.Series([bundle.kind] * len(judged), dtype=pl.String),
                "label": pl.Series(judged.y),
                "p_bearish": p[:, 0],
                "p_neutral": p[:, 1],
                "p_bullish": p[:, 2],
                "is_in_set": predictions.sets[at, column],
                "log_loss": -np.log(p[at, column]),
            }
        )
    )


def out_of_sample(rows: pl.DataFrame, cutoff_us: int) -> Outcome:
    """Every judged row was decided at or after the cutoff."""
    early = int((rows["ts"].dt.timestamp("us") < cutoff_us).sum())
    return Outcome(
        passed=early == 0,
        description=f"{early} rows before the cutoff" if early else "all decided after the cutoff",
        metadata={"rows": rows.height},
    )


def _reliability(judgement: Judgement, key: PartitionKey) -> bytes:
    dots: dict[str, list[tuple[float, float, int]]] = {}
    for b in judgement.reliability:
        dots.setdefault(b.answer, []).append((b.mean_probability, b.frequency, b.rows))
    return plots.reliability(
        dots, title=f"{judgement.kind} {key.timeframe}, cutoff {key.month}: {judgement.rows} rows"
    )


def _plain(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {k: (None if math.isnan(v) else v) for k, v in metrics.items()}
