"""The file that MLflow keeps with a model: loads the bundle and answers a frame of features.

MLflow runs it as a script (models from code), so nothing here is imported by the rest. Where
Wavehouse is not installed it uses the few source files that were logged beside the bundle.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
from mlflow.models import set_model

COLUMNS = ("p_bearish", "p_neutral", "p_bullish")


class BundleModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined] # MLflow is untyped
    """Answers ``p_bearish``, ``p_neutral``, ``p_bullish``, calibrated, one row a row."""

    def load_context(self, context: Any) -> None:  # noqa: ANN401 - MLflow's own
        """Load the bundle from the logged artefacts."""
        try:
            module = importlib.import_module("learning.bundle")
        except ImportError:
            sys.path.append(context.artifacts["source"])
            module = importlib.import_module("learning.bundle")
        self.bundle = module.Bundle.load(Path(context.artifacts["bundle"]))

    def predict(
        self,
        context: Any,  # noqa: ANN401, ARG002 - MLflow's signature
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002 - MLflow's signature
    ) -> pd.DataFrame:
        """Return calibrated probabilities of each row of features."""
        x = model_input[list(self.bundle.features)].to_numpy(dtype="float64")
        answer = self.bundle.predict(x).probabilities
        return pd.DataFrame(answer, columns=list(COLUMNS), index=model_input.index)


set_model(BundleModel())
