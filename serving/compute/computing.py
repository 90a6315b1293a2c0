"""Running a kernel for a request: timed, and which engine ran it.

Belongs here: the one place where the service calls a kernel. Keep out: bodies in and out.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels import engine
from kernels.gate import Matrix, Series
from serving.compute.contracts import Contract

Line = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Computed:
    """The lines of one indicator by the API's names: shape (n,), or (levels, n)."""

    lines: Mapping[str, Line]
    milliseconds: float
    mojo_used: bool


def computed(
    contract: Contract, parameters: Mapping[str, float], columns: Mapping[str, Series]
) -> Computed:
    """Return one indicator's lines over ``columns``; ``parameters`` are resolved.

    Raise ``InputError`` if a parameter asks for more bars than there are, or the kernel refuses
    parameters that do not go together.
    """
    points = columns[contract.columns[0]].size
    contract.check_length(parameters, points)
    given = contract.for_kernel(parameters)
    began = time.perf_counter()
    with np.errstate(all="ignore"), engine.recorded() as ran:  # what overflows has no value
        try:
            out = contract.kernel.run(columns, None, **given)
        except ValueError as e:
            raise contract.refusal(e) from e
    milliseconds = (time.perf_counter() - began) * 1e3
    lines = {name: np.ascontiguousarray(out[i]) for name, i in contract.lines.items()}
    return Computed(lines, round(milliseconds, 4), "mojo" in ran.values())


def computed_rows(
    contract: Contract, parameters: Mapping[str, float], columns: Mapping[str, Matrix]
) -> Computed:
    """Return one indicator's lines over many symbols, a row each; milliseconds are a symbol's.

    Raise ``InputError`` as ``computed``; the length is the caller's to check.
    """
    n_symbols = columns[contract.columns[0]].shape[0]
    given = contract.for_kernel(parameters)
    began = time.perf_counter()
    with np.errstate(all="ignore"), engine.recorded() as ran:
        try:
            out = contract.kernel.run_rows(columns, None, **given)
        except ValueError as e:
            raise contract.refusal(e) from e
    milliseconds = (time.perf_counter() - began) * 1e3 / n_symbols
    lines = {name: out[i] for name, i in contract.lines.items()}
    return Computed(lines, round(milliseconds, 6), "mojo" in ran.values())
