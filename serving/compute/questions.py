"""What is asked of one indicator, whatever form it came in.

Belongs here: which fields there are, and putting them together. Keep out: reading a form.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from kernels.gate import Series
from serving.compute import checks
from serving.compute.contracts import PRICES, Contract, malformed, unknown
from serving.errors import MAX_DETAILS, Detail, MalformedRequestError

MAX_FIELDS: Final = 100  # of an object or a table: they have ten or so


@dataclass(frozen=True, slots=True)
class Question:
    """One symbol's columns by the kernels' names, and one indicator's parameters by the API's."""

    symbol: str
    columns: Mapping[str, Series]
    parameters: Mapping[str, float]

    @property
    def points(self) -> int:
        """How many bars there are."""
        return next(iter(self.columns.values())).size


def asked(
    contract: Contract,
    given: Mapping[str, Any],
    columns: Mapping[str, Series],
    wrong: Sequence[Detail],
) -> Question:
    """Return what is asked; ``given`` has the symbol, the parameters, and names every column.

    Raise ``MalformedRequestError`` for ``wrong`` and whatever else is, field by field; and
    ``InputError`` for columns or parameters that do not go together.
    """
    faults = list(wrong)
    symbol = given.get("symbol")
    fault = checks.symbol_fault(symbol) if "symbol" in given else missing("symbol")
    faults += [fault] if fault else []
    names = field_names(given)
    found = (checks.column_fault(c, names[c], x) for c, x in columns.items())
    faults += [fault for fault in found if fault is not None]
    try:
        parameters = contract.resolved({n: given[n] for n in contract.parameters if n in given})
    except MalformedRequestError as e:
        faults += e.details
    if faults:
        raise malformed(faults[:MAX_DETAILS])
    checks.check_lengths(columns, names)
    checks.check_range(columns)
    return Question(str(symbol), columns, parameters)


def column_names(contract: Contract) -> tuple[str, ...]:
    """Return what a request may call the columns of one indicator."""
    return (PRICES, *contract.columns) if contract.takes_prices else contract.columns


def field_names(given: Mapping[str, Any]) -> dict[str, str]:
    """Return what a request calls each of its columns, by the kernels' names."""
    names = {name: name for name in given}
    return names | {"close": PRICES} if PRICES in given else names


def given_twice(given: Collection[str]) -> list[Detail]:
    """Return that the close is given by both of its names."""
    if PRICES in given and "close" in given:
        return [Detail("close", "expected prices or close, was both", "DUPLICATE")]
    return []


def missing(field: str) -> Detail:
    """Return that a field is not there."""
    return Detail(field, "expected a value, was none", "MISSING")


def unknown_fields(
    given: Iterable[str], known: Sequence[str], most: int = MAX_DETAILS
) -> list[Detail]:
    """Return the fields that are none of those that are known, or as many as are told."""
    found = islice((name for name in given if name not in known), most)
    return [Detail(name, unknown(name, known), "EXTRA_FORBIDDEN") for name in found]
