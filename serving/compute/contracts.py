"""What each indicator is called over the wire: its path, parameters, columns and lines.

Belongs here: names, and the parameters that a request gives. Keep out: arithmetic, and how a body
is read. All of it is made from the registry of kernels; where the API's older names differ they
stand in ``_RENAMED``, and a new kernel needs a line there only if two of its names collide.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from kernels.indicator import Parameter, StatefulKernel
from kernels.registry import STATEFUL_KERNELS
from market.errors import InputError
from serving.errors import MAX_DETAILS, Detail, MalformedRequestError

PRICES: Final = "prices"  # what a request calls the close where that is the only column
VALUES: Final = "values"  # what an answer calls the only line
RESERVED: Final = frozenset({"symbol", "indicator", "computation_time_ms", "mojo_used"})


@dataclass(frozen=True, slots=True)
class Renamed:
    """What the API calls parts of an indicator that the kernel calls otherwise."""

    label: str = ""
    parameters: Mapping[str, str] | None = None
    lines: Mapping[str, str] | None = None
    first: tuple[str, ...] = ()  # lines that come before the others


_BANDS: Final = Renamed(
    label="bollinger_bands",
    parameters={"width": "std_dev"},
    lines={
        "upper": "upper_band",
        "middle": "middle_band",
        "lower": "lower_band",
        "width": "bandwidth",
    },
    first=("upper_band", "middle_band", "lower_band"),
)

_RENAMED: Final[Mapping[str, Renamed]] = {
    "macd": Renamed(
        parameters={"fast": "fast_period", "slow": "slow_period", "signal": "signal_period"},
        lines={"line": "macd_line", "signal": "signal_line"},
    ),
    "bollinger": _BANDS,
    "bollinger_bands": _BANDS,
    "ichimoku": Renamed(
        parameters={"conversion": "conversion_period", "base": "base_period", "span": "span_period"}
    ),
}
_COUNTS_NO_BARS: Final = frozenset({"levels", "moments"})
_BY_LEVEL: Final[Mapping[str, frozenset[str]]] = {
    "modwt": frozenset({"details", "smooths"}),
    "haar": frozenset({"details"}),
    "haar_window": frozenset({"details", "energies", "shares"}),
}


@dataclass(frozen=True, slots=True)
class Contract:
    """One indicator as the API speaks of it.

    ``parameters`` go from the API's names to the kernel's, ``lines`` to their place among the
    kernel's outputs, in the API's order. ``matrices`` are the lines that have a row a level.
    """

    kernel: StatefulKernel
    label: str
    parameters: Mapping[str, Parameter]
    lines: Mapping[str, int]
    matrices: frozenset[str]

    @property
    def name(self) -> str:
        """The last part of its path, and its type in a batch."""
        return self.kernel.name

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it needs, by the kernel's names."""
        return self.kernel.inputs

    @property
    def takes_prices(self) -> bool:
        """Whether the close is its only column, which may then be called ``prices``."""
        return self.kernel.inputs == ("close",)

    def rows(self, line: str, parameters: Mapping[str, float]) -> int:
        """Return how many numbers a line has a bar."""
        return int(parameters["levels"]) if line in self.matrices else 1

    def width(self, parameters: Mapping[str, float]) -> int:
        """Return how many numbers a bar is answered with."""
        return sum(self.rows(line, parameters) for line in self.lines)

    def flat_lines(self, parameters: Mapping[str, float]) -> dict[str, tuple[str, int | None]]:
        """Return every line and every row of a matrix by a name of its own: ``details_1``."""
        out: dict[str, tuple[str, int | None]] = {}
        for line in self.lines:
            if line in self.matrices:
                levels = range(self.rows(line, parameters))
                out |= {f"{line}_{level + 1}": (line, level) for level in levels}
            else:
                out[line] = (line, None)
        return out

    def resolved(self, given: Mapping[str, Any], inside: str = "") -> dict[str, float]:
        """Return every parameter by the API's name, the default where none is given.

        Raise ``MalformedRequestError`` for an unknown name, another type or a value beyond the
        limits, field by field; and ``InputError`` for values that do not go together.
        """
        strange = islice((name for name in given if name not in self.parameters), MAX_DETAILS)
        wrong = [
            Detail(f"{inside}{name}", unknown(name, self.parameters), "EXTRA_FORBIDDEN")
            for name in strange
        ]
        out: dict[str, float] = {}
        for name, parameter in self.parameters.items():
            value = given.get(name, parameter.default)
            fault = _fault(parameter, value)
            if fault is not None:
                wrong.append(Detail(f"{inside}{name}", *fault))
            else:
                out[name] = int(value) if parameter.is_integer else float(value)
        if wrong:
            raise malformed(wrong)
        self._check_together(out)
        return out

    def for_kernel(self, parameters: Mapping[str, float]) -> dict[str, float]:
        """Return resolved parameters by the kernel's names."""
        return {self.parameters[name].name: value for name, value in parameters.items()}

    def check_length(self, parameters: Mapping[str, float], points: int) -> None:
        """Raise ``InputError`` if a parameter asks for more bars than there are."""
        for name, value in parameters.items():
            parameter = self.parameters[name]
            counts_bars = parameter.is_integer and parameter.name not in _COUNTS_NO_BARS
            if counts_bars and value > points:
                raise InputError(
                    f"{name}: expected at most the data's length ({points}), was {value}"
                )

    def refusal(self, error: ValueError) -> InputError:
        """Return a kernel's refusal of its parameters, by the API's names."""
        name, colon, rest = str(error).partition(": ")
        names = {parameter.name: api for api, parameter in self.parameters.items()}
        return InputError(f"{names.get(name, name)}{colon}{rest}")

    def _check_together(self, parameters: Mapping[str, float]) -> None:
        try:
            self.kernel.init(**self.for_kernel(parameters))
        except ValueError as e:
            raise self.refusal(e) from e


def unknown(name: str, known: Iterable[str]) -> str:
    """Say that ``name`` is none of ``known``, and which it may have been meant to be."""
    names = list(known)
    near = difflib.get_close_matches(name[:50], names, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"expected one of {', '.join(names) or 'none'}{hint}"


def malformed(details: Iterable[Detail]) -> MalformedRequestError:
    """Return the error of these fields."""
    found = tuple(details)
    if len(found) == 1:
        return MalformedRequestError(f"{found[0].field}: {found[0].message}", found)
    return MalformedRequestError(f"request: expected no invalid field, was {len(found)}", found)


def contract_of(name: object, field: str) -> Contract:
    """Return the contract of an indicator; raise ``MalformedRequestError`` if there is none."""
    if isinstance(name, str) and name in CONTRACTS:
        return CONTRACTS[name]
    if not isinstance(name, str):
        raise malformed([Detail(field, "expected a string", "STRING_TYPE")])
    raise malformed([Detail(field, unknown(name, CONTRACTS), "UNKNOWN_INDICATOR")])


def _fault(parameter: Parameter, value: object) -> tuple[str, str] | None:
    kind = "a whole number" if parameter.is_integer else "a number"
    limits = f"expected {kind} from {parameter.least} to {parameter.most}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return limits, "INT_TYPE" if parameter.is_integer else "FLOAT_TYPE"
    if not parameter.least <= value <= parameter.most:
        return f"{limits}, was {value:.17g}", "OUT_OF_RANGE"
    if parameter.is_integer and value != int(value):
        return f"{limits}, was {value}", "INT_TYPE"
    return None


def _contract(kernel: StatefulKernel) -> Contract:
    renamed = _RENAMED.get(kernel.name, Renamed())
    parameters, lines = renamed.parameters or {}, renamed.lines or {}
    named = (
        {VALUES: 0}
        if len(kernel.outputs) == 1
        else {lines.get(line, line): i for i, line in enumerate(kernel.outputs)}
    )
    return Contract(
        kernel=kernel,
        label=renamed.label or kernel.name,
        parameters={parameters.get(p.name, p.name): p for p in kernel.parameters},
        lines={name: named[name] for name in (*renamed.first, *named)},
        matrices=_BY_LEVEL.get(kernel.name, frozenset()),
    )


CONTRACTS: Final[Mapping[str, Contract]] = {
    kernel.name: _contract(kernel) for kernel in STATEFUL_KERNELS
}
