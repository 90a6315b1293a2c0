"""What an indicator is: columns, parameters and their limits, outputs, warm-up, state, batch, step.

Belongs here: what a caller may ask of every indicator alike. Keep out: which there are
(``registry``), and arithmetic.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from kernels.gate import Series

Output = np.ndarray[Any, np.dtype[np.float64]]
StateFactory = Callable[..., Series]
Batch = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter, and the limits within which the service takes it; a kernel takes wider ones."""

    name: str
    default: float
    least: float
    most: float
    is_integer: bool = True

    def checked(self, value: float) -> float:
        """Return ``value``, an ``int`` where whole numbers are wanted; raise beyond the limits."""
        if not self.least <= value <= self.most or (self.is_integer and value != int(value)):
            kind = "a whole number " if self.is_integer else ""
            limits = f"{self.least} to {self.most}"
            raise ValueError(f"{self.name}: expected {kind}from {limits}, was {value}")
        return int(value) if self.is_integer else float(value)


@dataclass(frozen=True, slots=True)
class StatefulKernel:
    """One indicator.

    ``inputs`` are its columns and ``outputs`` its lines, in order (one of ``haar``'s is a matrix,
    a row a level). ``state`` and ``first`` take the parameters that they need, and return the state
    before the first bar, and the index of the first bar at which every output has a value.
    """

    name: str
    inputs: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    outputs: tuple[str, ...]
    is_recursive: bool
    first: Callable[..., int]
    state: StateFactory
    batch: Batch

    @property
    def title(self) -> str:
        """What it is, in one line: the first of its docstring."""
        return str(self.batch.__doc__).partition("\n")[0].removeprefix("Return ").rstrip(".")

    @property
    def references(self) -> str:
        """Where it comes from: that section of its docstring, or nothing."""
        section = inspect.cleandoc(str(self.batch.__doc__)).partition("References\n----------\n")
        return " ".join(section[2].partition("\n\n")[0].split())

    def resolved(self, given: Mapping[str, float]) -> dict[str, float]:
        """Return every parameter by name, the default where none is given.

        Raise ``ValueError`` for a name that is none of them, a value beyond its limits, and values
        that do not go together.
        """
        names = [parameter.name for parameter in self.parameters]
        for name in given:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f" (did you mean {near[0]}?)" if near else ""
                raise ValueError(f"{self.name}: expected parameters {names}, was {name}{hint}")
        out = {p.name: p.checked(given.get(p.name, p.default)) for p in self.parameters}
        self.init(**out)
        return out

    def init(self, **parameters: float) -> Series:
        """Return the state before the first bar."""
        return self.state(**_taken(self.state, parameters))

    def warmup(self, **parameters: float) -> int:
        """Return the index of the first bar at which every output has a value."""
        return self.first(**_taken(self.first, parameters))

    def run(
        self, bars: Mapping[str, Output], state: Series | None = None, **parameters: float
    ) -> tuple[Output, ...]:
        """Return every output over ``bars``, continuing from ``state`` (changed in place)."""
        given = {name: bars[name] for name in self.inputs}
        session = {"session": given.pop("session")} if "session" in given else {}
        out = self.batch(*given.values(), **session, **parameters, state=state)
        return out if isinstance(out, tuple) else (out,)

    def step(
        self, state: Series, bar: Mapping[str, float], **parameters: float
    ) -> tuple[float, ...]:
        """Return every output at one more bar (a matrix by its rows); ``state`` moves to it.

        The bits of a batch over all bars, in a time that does not depend on how many there were.
        """
        bars = {name: np.array([bar[name]]) for name in self.inputs}
        out = self.run(bars, state, **parameters)
        return tuple(float(value) for x in out for value in x[..., 0].flat)


def _taken(function: Callable[..., object], parameters: Mapping[str, float]) -> dict[str, Any]:
    known = _names(function)
    return {name: value for name, value in parameters.items() if name in known}


@cache
def _names(function: Callable[..., object]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)
