"""Vector scaling and conformal sets: what both models put on top of their raw probabilities.

Applying is NumPy alone (serving does it); fitting imports SciPy inside the function.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

CLASSES: Final = (-1, 0, 1)
CLASS_NAMES: Final = {-1: "bearish", 0: "neutral", 1: "bullish"}

Floats = npt.NDArray[np.float64]


def softmax(logits: Floats) -> Floats:
    """Return rows of probabilities, shape (n, k), without overflow."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    out: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return out


@dataclass(frozen=True, slots=True)
class VectorScaling:
    """A multinomial logistic on log probabilities with one slope and one bias a class.

    References
    ----------
    Guo et al., On Calibration of Modern Neural Networks (2017), 4.2.
    """

    slope: tuple[float, ...]
    bias: tuple[float, ...]

    def apply(self, log_probabilities: Floats) -> Floats:
        """Return calibrated probabilities, shape (n, 3)."""
        return softmax(log_probabilities * np.array(self.slope) + np.array(self.bias))


def fit_vector_scaling(
    log_probabilities: Floats, y: npt.NDArray[np.int8], weight: Floats
) -> VectorScaling:
    """Fit by weighted maximum likelihood with a unit Gaussian prior at "change nothing".

    Parameters
    ----------
    log_probabilities : ndarray of float64, shape (n, 3)
    y : ndarray of int8, shape (n,)
        Classes -1, 0, +1.
    weight : ndarray of float64, shape (n,)

    Raises
    ------
    ValueError
        If the optimiser does not converge.
    """
    from scipy.optimize import minimize  # noqa: PLC0415 - heavy, and only fits need it

    k = len(CLASSES)
    truth = one_hot(y)

    def loss(theta: Floats) -> tuple[float, Floats]:
        slope, bias = theta[:k], theta[k:]
        p = softmax(log_probabilities * slope + bias)
        nll = -(weight * np.log(np.maximum((p * truth).sum(axis=1), 1e-300))).sum()
        residual = weight[:, np.newaxis] * (p - truth)
        gradient = np.concatenate(
            ((residual * log_probabilities).sum(axis=0) + slope - 1.0, residual.sum(axis=0) + bias)
        )
        return float(nll + 0.5 * ((slope - 1.0) ** 2).sum() + 0.5 * (bias**2).sum()), gradient

    start = np.concatenate((np.ones(k), np.zeros(k)))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    if not np.isfinite(found.x).all():
        raise ValueError(f"calibration: expected a finite optimum, was {found.message}")
    return VectorScaling(tuple(float(v) for v in found.x[:k]), tuple(float(v) for v in found.x[k:]))


@dataclass(frozen=True, slots=True)
class Conformal:
    """Least ambiguous sets: the classes whose probability is at least 1 - quantile.

    Where no class is, the most probable one alone. ``rows`` is how many rows sized the quantile.

    References
    ----------
    Sadinle, Lei and Wasserman, Least Ambiguous Set-Valued Classifiers (2019).
    """

    alpha: float
    quantile: float
    rows: int

    def sets(self, p: Floats) -> npt.NDArray[np.bool_]:
        """Return which classes are in each row's set, shape (n, 3)."""
        out = 1.0 - p <= self.quantile
        out[np.arange(len(p)), p.argmax(axis=1)] = True
        return out


def fit_conformal(p: Floats, y: npt.NDArray[np.int8], *, alpha: float = 0.1) -> Conformal:
    """Take the ceil((n + 1)(1 - alpha))-th smallest score 1 - p(true class); all where n is small.

    Examples
    --------
    >>> p = np.tile([0.1, 0.2, 0.7], (20, 1))
    >>> fit_conformal(p, np.ones(20, dtype=np.int8)).quantile.__round__(6)
    0.3
    """
    score = np.sort(1.0 - (p * one_hot(y)).sum(axis=1))
    rank = int(np.ceil((score.size + 1) * (1.0 - alpha)))
    quantile = float(score[rank - 1]) if rank <= score.size else 1.0
    return Conformal(alpha=alpha, quantile=quantile, rows=int(score.size))


def one_hot(y: npt.NDArray[np.int8]) -> Floats:
    """Return classes -1, 0, +1 as rows of an indicator matrix, shape (n, 3)."""
    out: Floats = (np.asarray(y)[:, np.newaxis] == np.array(CLASSES)).astype(np.float64)
    return out
