"""The artefact that is served: a folder with ``bundle.json`` and, for XGBoost, ``booster.ubj``.

JSON and XGBoost's own binary format, never pickle. Serving imports this module, so it needs NumPy
alone; trees are asked through XGBoost's library, not through its package (``trees``).
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from learning.calibration import CLASSES, Conformal, VectorScaling
from learning.first_passage import PASSAGE_FEATURES, FirstPassage
from learning.trees import Trees
from market.errors import FeatureMismatchError, ModelArtefactError

FORMAT: Final = 1
BUNDLE_FILE: Final = "bundle.json"
BOOSTER_FILE: Final = "booster.ubj"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Predictions:
    """Calibrated probabilities, shape (n, 3), and 90 % sets, shape (n, 3), of -1, 0, +1."""

    probabilities: Floats
    sets: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a model was made from: enough to find every row and make the same bytes again."""

    cutoff_us: int
    code_version: str
    data_version: str
    label_version: str
    timeframe: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)  # by block, after purging
    dropped: Mapping[str, int] = field(default_factory=dict)  # label rows left out, by reason
    dropped_features: Mapping[str, str] = field(default_factory=dict)  # name to reason


@dataclass(frozen=True)
class Bundle:
    """A fitted, calibrated model with everything that it takes to ask it.

    Parameters
    ----------
    kind : str
        ``first_passage`` or ``xgboost``.
    features : tuple of str
        Columns of the matrix that ``predict`` takes, in order.
    passage : FirstPassage
        The baseline's fit; XGBoost's trees start from its log probabilities.
    calibration : VectorScaling
    conformal : Conformal
    prior : tuple of float
        Weighted class shares of the training block, in the order -1, 0, +1.
    provenance : Provenance
    parameters : mapping
        Hyperparameters and what fitting chose (rounds).
    booster : bytes, optional
        The trees in XGBoost's UBJSON.
    """

    kind: str
    features: tuple[str, ...]
    passage: FirstPassage
    calibration: VectorScaling
    conformal: Conformal
    prior: tuple[float, ...]
    provenance: Provenance
    parameters: Mapping[str, float | int | str] = field(default_factory=dict)
    booster: bytes | None = field(default=None, repr=False)

    def predict(self, x: npt.ArrayLike) -> Predictions:
        """Return calibrated probabilities and conformal sets.

        Parameters
        ----------
        x : array_like of float, shape (n, n_features)
            In the order of ``features``. NaN where a feature is null; the barrier distances and
            the ATR ratio may not be.

        Returns
        -------
        Predictions

        Raises
        ------
        FeatureMismatchError
            If the shape is not the model's, or a feature that may not be null is.
        """
        rows = np.asarray(x, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.features):  # noqa: PLR2004 - a matrix
            raise FeatureMismatchError(
                f"x: expected shape (n, {len(self.features)}) of {', '.join(self.features)}, "
                f"was {rows.shape}"
            )
        for column, name in zip(self._passage_columns, PASSAGE_FEATURES, strict=True):
            value = rows[:, column]
            if not bool((np.isfinite(value) & (value > 0)).all()):
                raise FeatureMismatchError(f"{name}: expected numbers > 0, was null or not > 0")
        p = self.calibration.apply(self._log_probabilities(rows))
        return Predictions(p, self.conformal.sets(p))

    def _log_probabilities(self, rows: Floats) -> Floats:
        upper, lower, volatility = (rows[:, column] for column in self._passage_columns)
        start = self.passage.log_probabilities(upper, lower, volatility)
        if self.booster is None:
            return start
        return self._trees.margins(rows, start).astype(np.float64)

    @cached_property
    def _passage_columns(self) -> tuple[int, ...]:
        missing = [name for name in PASSAGE_FEATURES if name not in self.features]
        if missing:
            raise FeatureMismatchError(f"features: expected {', '.join(missing)}, was missing")
        return tuple(self.features.index(name) for name in PASSAGE_FEATURES)

    @cached_property
    def _trees(self) -> Trees:
        return Trees(self.booster or b"")

    def document(self) -> dict[str, Any]:
        """Return what ``bundle.json`` holds."""
        booster = None
        if self.booster is not None:
            booster = {"file": BOOSTER_FILE, "sha256": hashlib.sha256(self.booster).hexdigest()}
        return {
            "format": FORMAT,
            "kind": self.kind,
            "features": list(self.features),
            "classes": list(CLASSES),
            "passage": asdict(self.passage),
            "calibration": asdict(self.calibration),
            "conformal": asdict(self.conformal),
            "prior": list(self.prior),
            "provenance": asdict(self.provenance),
            "parameters": dict(self.parameters),
            "booster": booster,
        }

    def save(self, path: Path) -> None:
        """Write the folder ``path``; the same model is the same bytes.

        ``bundle.json`` comes last: what a crash leaves behind does not load.
        """
        path.mkdir(parents=True, exist_ok=True)
        if self.booster is not None:
            _replace(path / BOOSTER_FILE, self.booster)
        text = json.dumps(self.document(), indent=1, sort_keys=True, allow_nan=False)
        _replace(path / BUNDLE_FILE, f"{text}\n".encode())

    @classmethod
    def load(cls, path: Path) -> "Bundle":
        """Read the folder ``path``.

        Raises
        ------
        ModelArtefactError
            If there is no bundle, it is not one that this code reads, or the trees do not hash to
            what it says.
        """
        try:
            document = json.loads(_content(path, BUNDLE_FILE))
        except ValueError as e:
            raise ModelArtefactError(f"bundle {path}: expected JSON, was: {e}") from e
        try:
            return cls._of(document, path)
        except (KeyError, TypeError, AttributeError) as e:
            raise ModelArtefactError(
                f"bundle {path}: expected the fields of format {FORMAT}, was: {e!r}"
            ) from e

    @classmethod
    def _of(cls, document: Mapping[str, Any], path: Path) -> "Bundle":
        if document["format"] != FORMAT or document["classes"] != list(CLASSES):
            raise ModelArtefactError(
                f"bundle {path}: expected format {FORMAT} with classes {CLASSES}, "
                f"was {document['format']} with {document['classes']}"
            )
        calibration = document["calibration"]
        return cls(
            kind=document["kind"],
            features=tuple(document["features"]),
            passage=FirstPassage(**document["passage"]),
            calibration=VectorScaling(tuple(calibration["slope"]), tuple(calibration["bias"])),
            conformal=Conformal(**document["conformal"]),
            prior=tuple(document["prior"]),
            provenance=Provenance(**document["provenance"]),
            parameters=document["parameters"],
            booster=_booster(document["booster"], path),
        )


def _booster(entry: Mapping[str, str] | None, path: Path) -> bytes | None:
    if entry is None:
        return None
    data = _content(path, entry["file"])
    found = hashlib.sha256(data).hexdigest()
    if found != entry["sha256"]:
        raise ModelArtefactError(f"bundle {path}: expected trees {entry['sha256']}, was {found}")
    return data


def _content(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except OSError as e:
        was = "nothing" if isinstance(e, (FileNotFoundError, NotADirectoryError)) else e.strerror
        raise ModelArtefactError(f"bundle {path}: expected {name}, was {was}") from e


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(data)
    partial.replace(path)
