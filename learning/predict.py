"""Asking a served model: rows of features in, named answers out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from learning.bundle import Bundle
from learning.calibration import CLASS_NAMES, CLASSES
from market.errors import FeatureMismatchError
from market.ports import ModelRegistry, ModelVersion
from market.tables import FEATURE_LIST

KEYS: Final = ("instrument", "timeframe", "ts", "known_at")
ANSWERS: Final = tuple(CLASS_NAMES[c] for c in CLASSES)


@dataclass(frozen=True)
class ServedModel:
    """A bundle and the registered version that it is."""

    bundle: Bundle
    version: ModelVersion

    @classmethod
    def of(cls, version: ModelVersion) -> "ServedModel":
        """Load the bundle of a registered version."""
        return cls(Bundle.load(Path(version.artifact_path)), version)

    @classmethod
    def load(cls, registry: ModelRegistry, name: str, alias: str) -> "ServedModel":
        """Load what an alias names now."""
        return cls.of(registry.by_alias(name, alias))


def predict_rows(model: ServedModel, frame: pl.DataFrame) -> pl.DataFrame:
    """Answer every row of a frame of features.

    Parameters
    ----------
    model : ServedModel
    frame : DataFrame
        With the model's features; ``instrument``, ``timeframe``, ``ts`` and ``known_at`` are
        carried over where they are there. Null where a feature is unknown.

    Returns
    -------
    DataFrame
        The carried columns, ``answer`` (the most probable of bearish, neutral, bullish),
        ``p_bearish``, ``p_neutral``, ``p_bullish``, ``set`` (list of answers that the 90 % set
        holds), ``model``, ``model_version``. One row a row, in order.

    Raises
    ------
    FeatureMismatchError
        If a feature of the model is missing, or null where it may not be.

    Examples
    --------
    See ``docs/adding-a-model.md``.
    """
    missing = [name for name in model.bundle.features if name not in frame.columns]
    if missing:
        raise FeatureMismatchError(f"features: expected {', '.join(missing)}, was missing")
    columns = [pl.col(name).cast(pl.Float64).fill_null(math.nan) for name in model.bundle.features]
    made = model.bundle.predict(frame.select(columns).to_numpy())
    p = made.probabilities
    best = np.array(ANSWERS)[p.argmax(axis=1)] if len(p) else np.array([], dtype=np.str_)
    sets = [[a for a, inside in zip(ANSWERS, row, strict=True) if inside] for row in made.sets]
    return pl.DataFrame(
        [
            *(frame[name] for name in KEYS if name in frame.columns),
            pl.Series("answer", best, dtype=pl.String),
            *(pl.Series(f"p_{name}", p[:, i]) for i, name in enumerate(ANSWERS)),
            pl.Series("set", sets, dtype=pl.List(pl.String)),
            pl.Series("model", [model.version.name] * len(p), dtype=pl.String),
            pl.Series("model_version", [model.version.version] * len(p), dtype=pl.Int32),
        ]
    )


def feature_row(bundle: Bundle, values: Mapping[str, float | None]) -> npt.NDArray[np.float64]:
    """Return named values as the model's row, shape (1, n_features); ``None`` becomes NaN.

    Features of the list that the model does not use are let through, so that one body asks any
    model; a feature that it uses and is not named, or a name that is no feature, is an error.
    """
    known = {feature.name for feature in FEATURE_LIST}
    unknown = [name for name in values if name not in known]
    missing = [name for name in bundle.features if name not in values]
    if unknown or missing:
        problems = [f"{', '.join(missing)} missing"] if missing else []
        problems += [f"{', '.join(unknown)} unknown"] if unknown else []
        raise FeatureMismatchError(
            f"features: expected the {len(bundle.features)} of the model, was {'; '.join(problems)}"
        )
    given = (values[name] for name in bundle.features)
    return np.array([[math.nan if value is None else float(value) for value in given]])
