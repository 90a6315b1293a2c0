"""How good a model was on rows that matured after its cutoff, and against whom.

Every figure has a block-bootstrap interval. The one that counts is the paired difference in log
loss to the first-passage baseline: what barrier distances and volatility predict is not an edge.
It is split in two, exactly: was a barrier touched at all, and which, where one was.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from learning.baseline import KIND as BASELINE
from learning.bootstrap import Bootstrap, Interval, block_length, intervals
from learning.bundle import Bundle
from learning.calibration import CLASS_NAMES, CLASSES, one_hot
from learning.edge import Edge
from learning.training_set import TrainingSet
from learning.verdict import PRIOR, Difference, edge_of, verdict
from market.errors import LearningError, NotEnoughDataError
from market.months import month_of

BINS: Final = 10
SAME: Final = 1e-5
"""Log probabilities that are the same but for XGBoost's float32 margins: 5e-7 apart was seen."""
_K: Final = len(CLASSES)
_LOSSES: Final = ("log_loss", "log_loss_touch", "log_loss_direction")
_SUMS: Final = ("rows", *_LOSSES, "touched_share", "brier", "coverage", "set_size")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Rows whose probability of a class fell into one bin: what was said, what came."""

    answer: str
    low: float
    high: float
    rows: int
    mean_probability: float
    frequency: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model judged on rows decided after its cutoff.

    ``log_loss_touch`` and ``log_loss_direction`` among the ``metrics`` add up to ``log_loss``;
    the latter over ``touched_share`` is the log loss of touched rows alone (a coin's is ln 2).
    ``against`` holds paired differences in log loss (this model less the reference, below zero is
    better) by reference: ``prior``, ``first_passage``, ``champion``. ``months`` and
    ``instruments`` hold the same figures over their rows alone. ``look`` is how often the name
    had been judged (``looks.confidence``), ``None`` where no edge is claimed: the baseline, and
    what is identical to it.
    """

    kind: str
    rows: int
    first_us: int
    last_us: int
    block_bars: int
    classes: Mapping[str, int]
    metrics: Mapping[str, Interval]
    against: Mapping[str, Difference]
    months: Mapping[str, Mapping[str, Interval]]
    instruments: Mapping[str, Mapping[str, Interval]]
    reliability: tuple[ReliabilityBin, ...]
    look: int | None
    edge: Edge
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, ready for JSON."""
        return asdict(self)

    def flat_metrics(self) -> dict[str, float]:
        """Return name to number as MLflow logs it: the figure, and its bounds where it has any."""
        named = dict(self.metrics)
        for name, difference in self.against.items():
            parts = (difference.total, difference.touch, difference.direction)
            named.update(zip(_against(name), parts, strict=True))
        out = {"judged_rows": float(self.rows)}
        for name, interval in named.items():
            out[name] = interval.value
            if interval.low is not None and interval.high is not None:
                out[f"{name}_low"], out[f"{name}_high"] = interval.low, interval.high
        return out


def evaluate(
    model: Bundle,
    rows: TrainingSet,
    *,
    references: Mapping[str, Bundle],
    look: int = 1,
    settings: Bootstrap | None = None,
) -> Evaluation:
    """Judge a model on rows that no one of those compared has been trained on.

    Parameters
    ----------
    model : Bundle
    rows : TrainingSet
        Decided at or after the model's cutoff and every reference's.
    references : mapping of str to Bundle
        Whom to compare with on the same rows, e.g. ``first_passage`` and ``champion``. The class
        prior of the model's training block is always there as ``prior``.
    look : int
        How many versions of the registered name have been judged, this one included: the verdict
        claims an edge with the confidence that this look needs. Not read where none is claimed.
    settings : Bootstrap, optional

    Returns
    -------
    Evaluation

    Raises
    ------
    NotEnoughDataError
        If there are no rows.
    LearningError
        If a row was decided before one of the cutoffs.

    References
    ----------
    Naeini et al., Obtaining Well Calibrated Probabilities (2015), for the expected calibration
    error (of the most probable class, 10 bins); Gorodkin (2004) for the multi-class MCC.
    """
    settings = settings or Bootstrap()
    _check(model, rows, references)
    predictions = model.predict(rows.columns(model.features))
    log_p = np.log(predictions.probabilities)
    others = {PRIOR: np.log(np.tile(model.prior, (len(rows), 1)))}
    for name, bundle in references.items():
        others[name] = np.log(bundle.predict(rows.columns(bundle.features)).probabilities)
    statistics = _statistics(predictions.probabilities, predictions.sets, rows.y, others)
    names = tuple(others)

    def figures_of(mask: npt.NDArray[np.bool_]) -> dict[str, Interval]:
        return intervals(
            _by_instant(rows.t_c[mask], statistics[mask]),
            lambda sums: _figures(sums, names),
            horizon_bars=rows.horizon_bars,
            settings=settings,
        )

    everything = figures_of(np.ones(len(rows), dtype=np.bool_))
    months = np.array([month_of(int(t)) for t in rows.t_c])
    against = {
        name: _difference(everything, name, is_identical=_is_same(log_p, other))
        for name, other in others.items()
    }
    claimed = _claimed(model.kind, against)
    return Evaluation(
        kind=model.kind,
        rows=len(rows),
        first_us=int(rows.t_c.min()),
        last_us=int(rows.t_c.max()),
        block_bars=block_length(np.unique(rows.t_c).size, rows.horizon_bars, settings),
        classes={CLASS_NAMES[c]: int((rows.y == c).sum()) for c in CLASSES},
        metrics=everything,
        against=against,
        months={str(m): figures_of(months == m) for m in np.unique(months)},
        instruments={str(i): figures_of(rows.instrument == i) for i in np.unique(rows.instrument)},
        reliability=_reliability(predictions.probabilities, rows.y),
        look=None if claimed is None else look,
        edge=Edge.NONE if claimed is None else edge_of(claimed, look),
        verdict=verdict(model.kind, everything["log_loss"], against, rows=len(rows), look=look),
    )


def is_identical(model: Bundle, reference: Bundle, rows: TrainingSet) -> bool:
    """Tell whether both give every row the same probabilities, but for float32's rounding."""
    one, other = (
        np.log(bundle.predict(rows.columns(bundle.features)).probabilities)
        for bundle in (model, reference)
    )
    return _is_same(one, other)


def loss_parts(log_p: Floats, y: npt.NDArray[np.int8]) -> tuple[Floats, Floats]:
    """Split the log loss of rows into whether a barrier was touched, and which one.

    Parameters
    ----------
    log_p : ndarray of float64, shape (n, 3)
        Log probabilities of -1, 0, +1.
    y : ndarray of int8, shape (n,)
        What came.

    Returns
    -------
    touch, direction : ndarray of float64, shape (n,)
        In nats. ``touch`` is the log loss of the two-class answer "0 or not"; ``direction`` that
        of -1 against +1 given that one of them came, and 0 where 0 came. Their sum is the log loss
        of the three classes: P(y) = P(touched) P(y | touched). So the mean of ``direction`` is the
        share of touched rows times the log loss of direction on those.

    References
    ----------
    Cover and Thomas, Elements of Information Theory (2006), 2.5: the chain rule.

    Examples
    --------
    >>> touch, direction = loss_parts(np.log([[0.2, 0.5, 0.3]]), np.array([1], dtype=np.int8))
    >>> [round(float(np.exp(-part[0])), 6) for part in (touch, direction)]
    [0.5, 0.6]
    """
    truth, touched = one_hot(y), y != 0
    total = -(log_p * truth).sum(axis=1)
    log_touched = np.logaddexp(log_p[:, 0], log_p[:, 2])
    touch: Floats = np.where(touched, -log_touched, total)
    return touch, total - touch


def _check(model: Bundle, rows: TrainingSet, references: Mapping[str, Bundle]) -> None:
    if not len(rows):
        raise NotEnoughDataError("judged rows: expected at least one, was none")
    first = int(rows.t_c.min())
    for name, bundle in {"model": model, **references}.items():
        if first < bundle.provenance.cutoff_us:
            raise LearningError(
                f"judged rows: expected t_c >= the cutoff {bundle.provenance.cutoff_us} of the "
                f"{name}, was {first}"
            )


def _statistics(
    p: Floats, sets: npt.NDArray[np.bool_], y: npt.NDArray[np.int8], others: Mapping[str, Floats]
) -> Floats:
    """Return what the figures are sums of, shape (n, m), in the order that ``_figures`` reads."""
    truth = one_hot(y)
    answer = p.argmax(axis=1)
    said = one_hot((answer - 1).astype(np.int8))
    losses = _losses(np.log(p), y)
    columns = [
        np.ones((len(y), 1)),
        losses,
        (y != 0)[:, np.newaxis],
        ((p - truth) ** 2).sum(axis=1, keepdims=True),
        (sets * truth).sum(axis=1, keepdims=True),
        sets.sum(axis=1, keepdims=True),
        *(losses - _losses(log_p, y) for log_p in others.values()),
    ]
    confusion = (truth[:, :, np.newaxis] * said[:, np.newaxis, :]).reshape(len(y), _K * _K)
    confidence = p.max(axis=1)
    right = (truth * said).sum(axis=1)
    bins = np.eye(BINS)[np.minimum((confidence * BINS).astype(int), BINS - 1)]
    gap = bins * (confidence - right)[:, np.newaxis]
    return np.column_stack([*columns, confusion, gap]).astype(np.float64)


def _losses(log_p: Floats, y: npt.NDArray[np.int8]) -> Floats:
    """Return each row's log loss and its two parts, shape (n, 3), as ``_LOSSES`` names them."""
    touch, direction = loss_parts(log_p, y)
    return np.column_stack([touch + direction, touch, direction])


def _claimed(kind: str, against: Mapping[str, Difference]) -> Difference | None:
    """Return the difference that could be an edge, if there is one to speak of."""
    difference = against.get(BASELINE)
    is_claim = kind != BASELINE and difference is not None and not difference.is_identical
    return difference if is_claim else None


def _difference(figures: dict[str, Interval], reference: str, *, is_identical: bool) -> Difference:
    """Take the differences to a reference out of the figures."""
    total, touch, direction = (figures.pop(figure) for figure in _against(reference))
    return Difference(total, touch, direction, is_identical=is_identical)


def _is_same(log_p: Floats, other: Floats) -> bool:
    return bool(np.abs(log_p - other).max() <= SAME)


def _figures(sums: Floats, references: tuple[str, ...]) -> dict[str, Floats]:
    rows = sums[:, 0]
    out = {name: sums[:, i] / rows for i, name in enumerate(_SUMS) if name != "rows"}
    at = len(_SUMS)
    for name in references:
        for figure in _against(name):
            out[figure] = sums[:, at] / rows
            at += 1
    confusion = sums[:, at : at + _K * _K].reshape(-1, _K, _K)
    out["mcc"] = _mcc(confusion)
    out["ece"] = np.abs(sums[:, at + _K * _K :]).sum(axis=1) / rows
    return out


def _mcc(confusion: Floats) -> Floats:
    """Return Matthews' correlation of confusion matrices, shape (k, 3, 3); 0 where undefined."""
    total = confusion.sum(axis=(1, 2))
    correct = np.trace(confusion, axis1=1, axis2=2)
    true, said = confusion.sum(axis=2), confusion.sum(axis=1)
    above = correct * total - (true * said).sum(axis=1)
    below = (total**2 - (said**2).sum(axis=1)) * (total**2 - (true**2).sum(axis=1))
    out: Floats = np.divide(above, np.sqrt(below), out=np.zeros_like(above), where=below > 0)
    return out


def _by_instant(t_c: npt.NDArray[np.int64], statistics: Floats) -> Floats:
    instants, index = np.unique(t_c, return_inverse=True)
    out = np.zeros((instants.size, statistics.shape[1]))
    np.add.at(out, index, statistics)
    return out


def _against(name: str) -> tuple[str, ...]:
    return tuple(f"{loss}_against_{name}" for loss in _LOSSES)


def _reliability(p: Floats, y: npt.NDArray[np.int8]) -> tuple[ReliabilityBin, ...]:
    out = []
    for column, answer in enumerate(CLASSES):
        came = y == answer
        bins = np.minimum((p[:, column] * BINS).astype(int), BINS - 1)
        for b in np.unique(bins):
            rows = bins == b
            out.append(
                ReliabilityBin(
                    answer=CLASS_NAMES[answer],
                    low=float(b / BINS),
                    high=float((b + 1) / BINS),
                    rows=int(rows.sum()),
                    mean_probability=float(p[rows, column].mean()),
                    frequency=float(came[rows].mean()),
                )
            )
    return tuple(out)
