"""XGBoost's trees, asked through its C library alone: a prediction needs no package but NumPy.

``import xgboost`` takes seconds, for it imports scikit-learn, pandas and SciPy. The library beside
it has a documented C interface of its own, the one that ``Booster.inplace_predict`` calls.
Belongs here: loading trees and asking them. Keep out: growing them (``xgboost_model``).

References
----------
XGBoost C API, "Prediction": XGBoosterPredictFromDense, XGProxyDMatrixCreate,
XGDMatrixSetInfoFromInterface.
"""

import ctypes
import functools
import importlib.util
import json
import weakref
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from market.errors import LearningError, ModelArtefactError

_MARGIN: Final = 1
_OPTIONS: Final = json.dumps(
    {
        "type": _MARGIN,
        "training": False,
        "iteration_begin": 0,
        "iteration_end": 0,  # all of them
        "missing": float("nan"),
        "strict_shape": True,
        "cache_id": 0,
    }
).encode()

Singles = npt.NDArray[np.float32]


class Trees:
    """Fitted trees; threads may ask them at the same time, each call uses one core.

    Parameters
    ----------
    model : bytes
        What ``Booster.save_raw`` gave, in UBJSON or JSON.

    Raises
    ------
    ModelArtefactError
        If XGBoost does not read these bytes.
    LearningError
        If XGBoost is not installed.
    """

    def __init__(self, model: bytes) -> None:
        if not model:  # XGBoost 3.2 ends the process
            raise ModelArtefactError("trees: expected a model, was no byte")
        library = _library()
        handle = ctypes.c_void_p()
        _check(library.XGBoosterCreate(None, ctypes.c_uint64(0), ctypes.byref(handle)))
        weakref.finalize(self, library.XGBoosterFree, handle)
        _check(library.XGBoosterSetParam(handle, b"nthread", b"1"))
        try:
            _check(library.XGBoosterLoadModelFromBuffer(handle, model, ctypes.c_uint64(len(model))))
        except LearningError as e:
            raise ModelArtefactError(str(e)) from e
        self._handle = handle

    def margins(self, x: npt.ArrayLike, start: npt.ArrayLike) -> Singles:
        """Return ``start`` plus what each tree adds, in the order of the trees.

        Parameters
        ----------
        x : array_like of float, shape (n, n_features)
            Rounded to float32, as trees are grown on. NaN where a feature is missing.
        start : array_like of float, shape (n, n_classes)
            The margins that the trees were grown from.

        Returns
        -------
        ndarray of float32, shape (n, n_classes)
            Bit for bit what ``Booster.inplace_predict`` returns.

        Raises
        ------
        LearningError
            If a shape is not the model's.
        """
        rows = np.ascontiguousarray(x, dtype=np.float32)
        margin = np.ascontiguousarray(start, dtype=np.float32)
        if not len(rows):
            return margin
        library = _library()
        proxy = ctypes.c_void_p()
        _check(library.XGProxyDMatrixCreate(ctypes.byref(proxy)))
        try:
            _check(library.XGDMatrixSetInfoFromInterface(proxy, b"base_margin", _view(margin)))
            return self._ask(rows, proxy, margin.shape)
        finally:
            _check(library.XGDMatrixFree(proxy))

    def _ask(self, rows: Singles, proxy: ctypes.c_void_p, expected: tuple[int, ...]) -> Singles:
        shape, values = ctypes.POINTER(ctypes.c_uint64)(), ctypes.POINTER(ctypes.c_float)()
        dimensions = ctypes.c_uint64()
        _check(
            _library().XGBoosterPredictFromDense(
                self._handle,
                _view(rows),
                _OPTIONS,
                proxy,
                ctypes.byref(shape),
                ctypes.byref(dimensions),
                ctypes.byref(values),
            )
        )
        was = tuple(shape[i] for i in range(dimensions.value))
        if was != expected:
            raise LearningError(f"trees: expected margins of shape {expected}, was {was}")
        return np.ctypeslib.as_array(values, was).copy()  # XGBoost's own memory, this thread's


@functools.cache
def _library() -> Any:  # noqa: ANN401 - what a C library is to ctypes
    spec = importlib.util.find_spec("xgboost")
    if spec is None or spec.origin is None:
        raise LearningError("xgboost: expected an installed package, was none")
    # where it lies on each system is XGBoost's own knowledge, in a module that imports nothing
    finder = importlib.util.spec_from_file_location(
        "_xgboost_libpath", Path(spec.origin).with_name("libpath.py")
    )
    assert finder is not None  # noqa: S101 - the name ends with .py
    assert finder.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(finder)
    finder.loader.exec_module(module)
    library = ctypes.CDLL(module.find_lib_path()[0])
    library.XGBGetLastError.restype = ctypes.c_char_p
    return library


def _check(status: int) -> None:
    """Raise what XGBoost says of this thread's last call, in one line."""
    if status:
        said = _library().XGBGetLastError().decode(errors="replace").splitlines()
        raise LearningError(f"trees: expected an answer, was: {said[0] if said else status}")


def _view(array: Singles) -> bytes:
    """Describe an array to XGBoost, which reads it where it lies."""
    return json.dumps(array.__array_interface__).encode()
