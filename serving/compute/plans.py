"""What a batch asks of a symbol: which indicators, and what their results are called.

Belongs here: the list ``indicators``. Keep out: columns, and computing.

A result is called by its type: ``sma``. What is asked for twice with the same parameters is
one result. Where one type has several, they are called by type and period: ``sma_20``, ``sma_50``;
and where there is no period or it does not tell them apart, by type and every parameter in order:
``bollinger_20_2``, ``macd_12_26_9``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from market.errors import InputError
from serving.compute.contracts import CONTRACTS, Contract, contract_of, malformed, unknown
from serving.errors import MAX_DETAILS, Detail, MalformedRequestError

MAX_WISHES: Final = 100  # indicators a symbol
MAX_FAULTS: Final = 10  # told of a symbol: a batch has a thousand, and each is looked up for a hint

_KNOWN: Final = ("type", "params")


@dataclass(frozen=True, slots=True)
class Wish:
    """One result: what it is called, and what it is made by."""

    key: str
    contract: Contract
    parameters: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Plan:
    """The results that a symbol is asked for, and the columns that they need."""

    wishes: tuple[Wish, ...]
    columns: tuple[str, ...]
    width: int  # numbers that are answered a bar

    @property
    def takes_prices(self) -> bool:
        """Whether the close is the only column."""
        return self.columns == ("close",)


def plan_of(indicators: Any) -> Plan:  # noqa: ANN401 - whatever JSON holds
    """Return the plan of a list of ``{"type": …, "params": {…}}``.

    Raise ``MalformedRequestError`` by field, ``InputError`` for parameters that do not go together.
    """
    if not isinstance(indicators, list):
        raise malformed([Detail("indicators", "expected an array", "LIST_TYPE")])
    if not 1 <= len(indicators) <= MAX_WISHES:
        message = f"expected 1 to {MAX_WISHES} indicators, was {len(indicators)}"
        raise malformed([Detail("indicators", message, "LIST_LENGTH")])
    wrong: list[Detail] = []
    asked: list[tuple[Contract, dict[str, float]]] = []
    for i, indicator in enumerate(indicators):
        try:
            one = _resolved(indicator, f"indicators.{i}")
        except MalformedRequestError as e:
            wrong += e.details
            if len(wrong) >= MAX_FAULTS:
                break
            continue
        if one not in asked:
            asked.append(one)
    if wrong:
        raise malformed(wrong)
    wishes = tuple(Wish(key, *one) for key, one in zip(_keys(asked), asked, strict=True))
    return Plan(
        wishes,
        columns=tuple(dict.fromkeys(c for w in wishes for c in w.contract.columns)),
        width=sum(wish.contract.width(wish.parameters) for wish in wishes),
    )


def _resolved(indicator: object, at: str) -> tuple[Contract, dict[str, float]]:
    if not isinstance(indicator, dict):
        raise malformed([Detail(at, "expected an object", "DICT_TYPE")])
    wrong = [
        Detail(f"{at}.{name}", unknown(name, _KNOWN), "EXTRA_FORBIDDEN")
        for name in islice((name for name in indicator if name not in _KNOWN), MAX_DETAILS)
    ]
    parameters = indicator.get("params", {})
    if not isinstance(parameters, dict):
        wrong.append(Detail(f"{at}.params", "expected an object", "DICT_TYPE"))
    if "type" not in indicator:
        wrong.append(Detail(f"{at}.type", "expected a value, was none", "MISSING"))
    if wrong:
        raise malformed(wrong)
    contract = contract_of(indicator["type"], f"{at}.type")
    try:
        return contract, contract.resolved(parameters, f"{at}.params.")
    except MalformedRequestError:
        raise
    except InputError as e:
        raise InputError(f"{at}.params.{e}") from e


def _keys(asked: Sequence[tuple[Contract, Mapping[str, float]]]) -> list[str]:
    keys = []
    for contract, parameters in asked:
        alike = [p for c, p in asked if c is contract]
        periods = {p.get("period") for p in alike}
        if len(alike) == 1:
            keys.append(contract.name)
        elif len(periods) == len(alike):
            keys.append(f"{contract.name}_{parameters['period']:g}")
        else:
            values = (f"{value:g}" for value in parameters.values())
            keys.append("_".join([contract.name, *values]))
    return keys


COLUMNS: Final = tuple(dict.fromkeys(c for x in CONTRACTS.values() for c in x.columns))
