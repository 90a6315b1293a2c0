"""How a bundle becomes a logged model that anybody with MLflow can ask, without Wavehouse.

Belongs here: signature, requirements, and the few source files that go with the bundle.
"""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import learning.bundle
import learning.calibration
import learning.first_passage
import learning.trees
import market.errors
from learning.bundle import Bundle
from learning.provenance import library_versions

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_SHIPPED: Final = (
    learning.bundle,
    learning.calibration,
    learning.first_passage,
    learning.trees,
    market.errors,
)
_PYFUNC: Final = Path(__file__).with_name("served_pyfunc.py")


def log_model(
    mlflow: Any,  # noqa: ANN401 - MLflow is untyped
    bundle: Bundle,
    example: "npt.NDArray[np.float64]",
) -> str:
    """Log a bundle in the run that is active and return the logged model's id.

    Parameters
    ----------
    mlflow : module
        Imported and pointed at its store by the caller.
    bundle : Bundle
    example : ndarray of float64, shape (1, n_features)
        A row to show how the model is asked.
    """
    import pandas as pd  # noqa: PLC0415 - heavy
    from mlflow.models import ModelSignature  # noqa: PLC0415 - heavy
    from mlflow.types import ColSpec, Schema  # noqa: PLC0415 - heavy

    outputs = ("p_bearish", "p_neutral", "p_bullish")
    signature = ModelSignature(
        inputs=Schema([ColSpec("double", name) for name in bundle.features]),
        outputs=Schema([ColSpec("double", name) for name in outputs]),
    )
    with tempfile.TemporaryDirectory(prefix="wavehouse-model-") as folder:
        bundle.save(Path(folder) / "bundle")
        _ship_source(Path(folder) / "source")
        info = mlflow.pyfunc.log_model(
            name=bundle.kind,
            python_model=str(_PYFUNC),
            artifacts={part: str(Path(folder) / part) for part in ("bundle", "source")},
            signature=signature,
            input_example=pd.DataFrame(example, columns=list(bundle.features)),
            pip_requirements=_requirements(bundle),
        )
    return str(info.model_id)


def _requirements(bundle: Bundle) -> list[str]:
    names = ["mlflow", "numpy", "pandas"]
    if bundle.booster is not None:
        names.append("xgboost-cpu|xgboost")
    return [f"{name}=={version}" for name, version in library_versions(*names).items()]


def _ship_source(folder: Path) -> None:
    """Copy the few modules that a bundle needs, for those who have MLflow and not Wavehouse."""
    for module in _SHIPPED:
        source = Path(str(module.__file__))
        package = folder / module.__name__.split(".")[0]
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
        shutil.copyfile(source, package / source.name)
