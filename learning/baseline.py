"""The first-passage baseline: what barrier distances and volatility predict without any edge."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from learning.bundle import Bundle
from learning.calibration import fit_conformal, fit_vector_scaling, one_hot
from learning.first_passage import PASSAGE_FEATURES, FirstPassage
from learning.provenance import code_version, provenance
from learning.training_set import TrainingSet

KIND: Final = "first_passage"
VERSION: Final = 1  # moves when the same rows would give another model

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FirstPassageModel:
    """Driftless Brownian motion between two barriers, its volatility fitted, then calibrated.

    Parameters
    ----------
    alpha : float
        Conformal sets miss the truth this often.
    exponent_prior : float
        Standard deviation of the Gaussian prior on the volatility exponent.
    """

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
        """Fit the volatility on ``train``, the scaling and the sets on the later blocks.

        The blocks are disjoint, in time order and purged (``splitter.blocks``). Deterministic.
        """
        passage = fit_passage(train, exponent_prior=self.exponent_prior)
        scaling = fit_vector_scaling(
            starting_point(passage, calibration), calibration.y, calibration.weight
        )
        sets = fit_conformal(
            scaling.apply(starting_point(passage, conformal)), conformal.y, alpha=self.alpha
        )
        return Bundle(
            kind=KIND,
            features=PASSAGE_FEATURES,
            passage=passage,
            calibration=scaling,
            conformal=sets,
            prior=class_prior(train),
            provenance=provenance(self.code_version, train, calibration, conformal),
            parameters={"alpha": self.alpha, "exponent_prior": self.exponent_prior},
        )


def fit_passage(train: TrainingSet, *, exponent_prior: float) -> FirstPassage:
    """Fit scale and exponent of the volatility by weighted maximum likelihood.

    Parameters
    ----------
    train : TrainingSet
    exponent_prior : float
        Standard deviation of the Gaussian prior on the exponent.

    Returns
    -------
    FirstPassage
    """
    from scipy.optimize import minimize  # noqa: PLC0415 - heavy, and only fits need it

    upper, lower, volatility = train.columns(PASSAGE_FEATURES).T
    centre = float(np.log(volatility).mean())
    truth = one_hot(train.y)

    def at(theta: Floats) -> FirstPassage:
        return FirstPassage(float(theta[0]), float(theta[1]), centre, train.horizon_bars)

    def loss(theta: Floats) -> float:
        log_p = at(theta).log_probabilities(upper, lower, volatility)
        nll = -float((train.weight * (log_p * truth).sum(axis=1)).sum())
        return nll + 0.5 * float((theta[1] / exponent_prior) ** 2)

    simplex = np.array([[-0.5, 0.0], [0.0, 0.0], [-0.5, 0.3]])  # a bar moves about 0.6 ATR
    found = minimize(
        loss,
        simplex[0],
        method="Nelder-Mead",
        bounds=((-4.0, 3.0), (-2.0, 2.0)),
        options={"initial_simplex": simplex, "xatol": 1e-5, "fatol": 1e-7},
    )
    return at(found.x)


def starting_point(passage: FirstPassage, rows: TrainingSet) -> Floats:
    """Return the baseline's log probabilities of ``rows``, shape (n, 3)."""
    return passage.log_probabilities(*rows.columns(PASSAGE_FEATURES).T)


def class_prior(train: TrainingSet) -> tuple[float, ...]:
    """Return weighted class shares with one row added to each class: none is ever 0."""
    share = (one_hot(train.y) * train.weight[:, np.newaxis]).sum(axis=0) + 1.0
    return tuple(float(v) for v in share / share.sum())
