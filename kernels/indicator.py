"""What an indicator is: columns, parameters and their limits, outputs, warm-up, state, batch, step.

Belongs here: what a caller may ask of every indicator alike. Keep out: which there are
(``registry``), and arithmetic.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from kernels.gate import Series
from kernels.rows import rows

Output = np.ndarray[Any, np.dtype[np.float64]]
StateFactory = Callable[..., Series]
Batch = Callable[..., Any]

_MATRIX: Final = 2  # dimensions
_AT_ONCE: Final = 32_768  # bars that are worked on together: a quarter of a megabyte a column


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

    def run_rows(
        self, bars: Mapping[str, Output], states: Output | None = None, **parameters: float
    ) -> tuple[Output, ...]:
        """Return every output over many symbols, a row each: the bits of one symbol at a time.

        Columns have the shape (symbols, n), and so have lines; a matrix has (symbols, levels, n).
        ``states``, a row a symbol, are continued from and changed in place. Without them the rows
        go through compiled code together: in ``rows``, or a kernel with a window in one call.
        """
        given = {name: np.asarray(bars[name], dtype=np.float64) for name in self.inputs}
        shape = given[self.inputs[0]].shape
        for name, x in given.items():
            if x.ndim != _MATRIX or x.shape != shape:
                expected = "(symbols, n)" if x.ndim != _MATRIX else f"{shape} as the first"
                raise ValueError(f"{name}: expected shape {expected}, was {x.shape}")
        of_none = self.run(dict.fromkeys(self.inputs, np.empty(0)), None, **parameters)
        out = tuple(np.empty((shape[0], *line.shape[:-1], shape[1])) for line in of_none)
        if states is not None:
            self._one_by_one(given, states, parameters, out)
            return out
        values = {p.name: parameters.get(p.name, p.default) for p in self.parameters}
        together = rows(self.name, tuple(given.values()), *values.values())
        if together is not None:
            return together
        if self.is_recursive or self.warmup(**values) > shape[1]:
            self._one_by_one(given, None, values, out)
        else:
            self._side_by_side(given, values, out)
        return out

    def _side_by_side(
        self, given: Mapping[str, Output], values: Mapping[str, float], out: tuple[Output, ...]
    ) -> None:
        """Run a kernel with a window over rows as one series, a gap as long as it sees before each.

        After such a gap it is what it was before the first bar.
        """
        n_symbols, n = given[self.inputs[0]].shape
        gap = self.warmup(**values)
        at_once = max(1, _AT_ONCE // max(1, gap + n))
        whole = {name: np.full((at_once, gap + n), np.nan) for name in given}
        for first in range(0, n_symbols, at_once):
            count = min(at_once, n_symbols - first)
            for name, x in whole.items():
                x[:count, gap:] = given[name][first : first + count]
            lines = self.run(
                {name: x[:count].reshape(-1) for name, x in whole.items()}, None, **values
            )
            for line, x in zip(out, lines, strict=True):
                by_row = x.reshape(*x.shape[:-1], count, gap + n)[..., gap:]
                line[first : first + count] = np.moveaxis(by_row, -2, 0)

    def _one_by_one(
        self, given: Mapping[str, Output], states: Output | None, values: Mapping[str, float],
        out: tuple[Output, ...],
    ) -> None:  # fmt: skip
        n_symbols = out[0].shape[0]
        if states is not None and states.shape[:1] != (n_symbols,):
            raise ValueError(f"states: expected {n_symbols} rows, was {states.shape}")
        for i in range(n_symbols):
            state = None if states is None else states[i]
            lines = self.run({name: x[i] for name, x in given.items()}, state, **values)
            for line, x in zip(out, lines, strict=True):
                line[i] = x

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
