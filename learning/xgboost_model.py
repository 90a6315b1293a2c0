"""Gradient-boosted trees on top of the first-passage baseline.

The trees start from the baseline's log probabilities, so all that they can add is what barrier
distances and volatility do not already say: on few rows they need not learn gambler's ruin first.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from learning.baseline import class_prior, fit_passage, starting_point
from learning.bundle import Bundle
from learning.calibration import CLASSES, fit_conformal, fit_vector_scaling
from learning.first_passage import FirstPassage
from learning.provenance import code_version, library_versions, provenance
from learning.splitter import parts
from learning.training_set import TrainingSet

KIND: Final = "xgboost"
VERSION: Final = 1  # moves when the same rows would give another model

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class XGBoostModel:
    """Multi-class trees with sample weights and early stopping, calibrated, one thread, seeded.

    Parameters
    ----------
    rounds : int
        At most this many; early stopping chooses (0 where no tree helps).
    patience : int
        Rounds without a better log loss on the tail.
    tail_share : float
        Newest share of the training block that early stopping looks at, purged from the rest.
    learning_rate, depth, min_child_weight, row_share, column_share, l2, seed
        XGBoost's eta, max_depth, min_child_weight, subsample, colsample_bytree, lambda, seed.
    alpha : float
        Conformal sets miss the truth this often.
    exponent_prior : float
        Of the baseline underneath.
    """

    rounds: int = 300
    patience: int = 25
    tail_share: float = 0.25
    learning_rate: float = 0.05
    depth: int = 3
    min_child_weight: float = 5.0
    row_share: float = 0.8
    column_share: float = 0.5
    l2: float = 5.0
    seed: int = 7
    alpha: float = 0.1
    exponent_prior: float = 0.5

    @property
    def kind(self) -> str:
        """Name of this kind of model in the registry."""
        return KIND

    @property
    def code_version(self) -> str:
        """Version of the code and its configuration."""
        return code_version(KIND, VERSION, self)

    def fit(self, train: TrainingSet, calibration: TrainingSet, conformal: TrainingSet) -> Bundle:
        """Choose the rounds on a purged tail of ``train``, boost on all of it, then calibrate.

        The blocks are disjoint, in time order and purged (``splitter.blocks``). Deterministic:
        the same rows give the same bytes.

        Raises
        ------
        NotEnoughDataError
            Never by itself; ``splitter.blocks`` has checked the sizes.
        """
        rounds = self._choose_rounds(train)
        passage = fit_passage(train, exponent_prior=self.exponent_prior)
        booster = self._boost(train, passage, rounds)
        scaling = fit_vector_scaling(
            _margins(booster, passage, calibration), calibration.y, calibration.weight
        )
        sets = fit_conformal(
            scaling.apply(_margins(booster, passage, conformal)), conformal.y, alpha=self.alpha
        )
        return Bundle(
            kind=KIND,
            features=train.features,
            passage=passage,
            calibration=scaling,
            conformal=sets,
            prior=class_prior(train),
            provenance=provenance(self.code_version, train, calibration, conformal),
            parameters={
                **self._settings(),
                "chosen_rounds": rounds,
                "tail_share": self.tail_share,
                "patience": self.patience,
                "alpha": self.alpha,
                **library_versions("xgboost-cpu|xgboost"),
            },
            booster=bytes(booster.save_raw("ubj")),
        )

    def _choose_rounds(self, train: TrainingSet) -> int:
        head, tail = parts(train, (1.0 - self.tail_share, self.tail_share))
        if not len(head) or not len(tail):
            return 0
        import xgboost as xgb  # noqa: PLC0415 - three seconds of imports

        passage = fit_passage(head, exponent_prior=self.exponent_prior)
        history: dict[str, dict[str, list[float]]] = {}
        watched = _matrix(tail, passage)
        xgb.train(
            self._settings(),
            _matrix(head, passage),
            num_boost_round=self.rounds,
            evals=[(watched, "tail")],
            early_stopping_rounds=self.patience,
            evals_result=history,
            verbose_eval=False,
        )
        losses = history["tail"]["mlogloss"]
        log_p = starting_point(passage, tail)
        chosen = log_p[np.arange(len(tail)), np.searchsorted(CLASSES, tail.y)]
        without_trees = -float(np.average(chosen, weights=tail.weight))
        best = int(np.argmin(losses))
        return best + 1 if losses[best] < without_trees else 0

    def _boost(self, train: TrainingSet, passage: FirstPassage, rounds: int) -> Any:  # noqa: ANN401
        import xgboost as xgb  # noqa: PLC0415 - three seconds of imports

        return xgb.train(self._settings(), _matrix(train, passage), num_boost_round=rounds)

    def _settings(self) -> dict[str, float | int | str]:
        return {
            "objective": "multi:softprob",
            "eval_metric": "mlogloss",
            "num_class": len(CLASSES),
            "base_score": 0.0,
            "tree_method": "hist",
            "nthread": 1,
            "seed": self.seed,
            "eta": self.learning_rate,
            "max_depth": self.depth,
            "min_child_weight": self.min_child_weight,
            "subsample": self.row_share,
            "colsample_bytree": self.column_share,
            "lambda": self.l2,
        }


def _matrix(rows: TrainingSet, passage: FirstPassage) -> Any:  # noqa: ANN401 - XGBoost's own
    import xgboost as xgb  # noqa: PLC0415 - three seconds of imports

    return xgb.DMatrix(
        rows.x.astype(np.float32),
        label=rows.y.astype(np.float32) + 1.0,
        weight=rows.weight,
        base_margin=starting_point(passage, rows).astype(np.float32),
        feature_names=list(rows.features),
        nthread=1,
    )


def _margins(booster: Any, passage: FirstPassage, rows: TrainingSet) -> Floats:  # noqa: ANN401
    margins = booster.predict(_matrix(rows, passage), output_margin=True)
    return np.asarray(margins, dtype=np.float64).reshape(len(rows), len(CLASSES))
