"""What serving imports stays light, also through what it imports itself."""

import subprocess
import sys

import pytest

HEAVY = ("mlflow", "dagster", "sklearn", "pandas", "xgboost", "scipy", "matplotlib")


@pytest.mark.parametrize("module", ["bundle", "registry", "predict"])
def test_serving_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, learning.{module}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", ["training_set", "splitter", "models", "evaluation", "gate", "tracking"]
)
def test_training_modules_import_their_libraries_when_they_run(module: str) -> None:
    code = f"import sys, learning.{module}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_asking_a_baseline_imports_nothing_heavy() -> None:
    code = f"""
import sys
import numpy as np
from learning.bundle import Bundle, Provenance
from learning.calibration import Conformal, VectorScaling
from learning.first_passage import PASSAGE_FEATURES, FirstPassage
bundle = Bundle(
    kind="first_passage", features=PASSAGE_FEATURES, passage=FirstPassage(-0.5, -0.2, -6.0, 6),
    calibration=VectorScaling((1.0,) * 3, (0.0,) * 3), conformal=Conformal(0.1, 0.8, 50),
    prior=(0.3, 0.3, 0.4), provenance=Provenance(0, "", "", "", "H4"),
)
assert bundle.predict(np.array([[1.0, 1.0, 0.002]])).probabilities.shape == (1, 3)
print([m for m in {HEAVY} if m in sys.modules])
"""
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
