"""The models by kind: what each must be able to do, and where a new one is added."""

from typing import Final, Protocol

from learning.baseline import FirstPassageModel
from learning.bundle import Bundle
from learning.splitter import MINIMUM_ROWS, SHARES, blocks
from learning.training_set import TrainingSet
from learning.xgboost_model import XGBoostModel
from market.errors import ModelNotFoundError


class Model(Protocol):
    """Turns three purged blocks into a bundle; the same blocks give the same bytes."""

    @property
    def kind(self) -> str:
        """Name of this kind of model in the registry."""
        ...

    @property
    def code_version(self) -> str:
        """Version of the code and its configuration."""
        ...

    def fit(self, train: TrainingSet, calibration: TrainingSet, conformal: TrainingSet) -> Bundle:
        """Fit on ``train``, calibrate on ``calibration``, size the sets on ``conformal``."""
        ...


MODELS: Final[dict[str, Model]] = {
    model.kind: model for model in (FirstPassageModel(), XGBoostModel())
}
"""The baseline first: the others are judged against it."""


def model_of(kind: str) -> Model:
    """Return the model of a kind; raise ``ModelNotFoundError`` that names those there are."""
    try:
        return MODELS[kind]
    except KeyError as e:
        raise ModelNotFoundError(f"kind: expected one of {', '.join(MODELS)}, was {kind!r}") from e


def train(
    model: Model,
    rows: TrainingSet,
    *,
    shares: tuple[float, float, float] = SHARES,
    minimum_rows: int = MINIMUM_ROWS,
) -> Bundle:
    """Cut ``rows`` into purged blocks in time order and fit ``model`` on them."""
    cut = blocks(rows, shares=shares, minimum_rows=minimum_rows)
    return model.fit(cut.train, cut.calibration, cut.conformal)
