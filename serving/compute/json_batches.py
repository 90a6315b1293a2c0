"""A batch as JSON: read, and written."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kernels.gate import Series
from market.errors import InputError
from serving.compute import checks
from serving.compute.batches import Batch, Block, Group, Outcome, stacked
from serving.compute.contracts import PRICES, malformed
from serving.compute.json_answers import Members
from serving.compute.json_bodies import (
    Body,
    fields,
    is_array,
    is_plain,
    listed,
    parsed,
    raw,
    read_columns,
)
from serving.compute.plans import COLUMNS, MAX_FAULTS, Plan, plan_of
from serving.compute.questions import field_names, missing, unknown_fields
from serving.errors import MAX_DETAILS, Detail, described

Alike = list[tuple[int, Mapping[str, Series]]]
"""Symbols of one plan and one length: their places in the batch, and their columns."""

_KNOWN: Final = ("symbol", PRICES, *COLUMNS, "indicators")
_NAMES: Final = frozenset(_KNOWN)


def read(body: Body, *, max_symbols: int, max_points: int) -> Batch:
    """Return a batch; what cannot be read of a symbol is its failure.

    Raise ``MalformedRequestError`` for a body that is no batch.
    """
    given = fields(parsed(body), "body")
    wrong = unknown_fields(given, ("requests",))
    requests: Any = given.get("requests", ())
    if "requests" not in given:
        wrong.append(missing("requests"))
    elif not is_array(requests):
        wrong.append(Detail("requests", "expected an array", "LIST_TYPE"))
    elif not 1 <= len(requests) <= max_symbols:
        expected = f"expected 1 to {max_symbols} symbols, was {len(requests)}"
        wrong.append(Detail("requests", expected, "LIST_LENGTH"))
    if wrong:
        raise malformed(wrong[:MAX_DETAILS])
    reader = _Reader(max_points, is_flat=is_plain(body))
    arrays = reader.read(requests) + 1
    if is_plain(body) and arrays != body.count(b"["):  # an array holds another
        reader = _Reader(max_points, is_flat=False)
        reader.read(requests)
    return reader.batch()


class _Reader:
    """Reads symbols; ``is_flat`` says that no array of theirs holds another."""

    def __init__(self, max_points: int, *, is_flat: bool) -> None:
        self._max_points = max_points
        self._is_flat = is_flat
        self._plans: dict[bytes, tuple[int, Plan | InputError]] = {}
        self._symbols: list[str | None] = []
        self._failed: dict[int, InputError] = {}
        self._alike: dict[tuple[int, int, bool], Alike] = defaultdict(list)

    def read(self, requests: Any) -> int:  # noqa: ANN401 - whatever JSON holds
        """Read every symbol; return how many ``[`` they should have, if no column holds one."""
        brackets = 0
        for i, request in enumerate(requests):
            self._symbols.append(None)
            try:
                brackets += self._read(i, fields(request, "request"))
            except InputError as e:
                self._failed[i] = e
                brackets += raw(request).count(b"[")
        return brackets

    def batch(self) -> Batch:
        """Return what was read."""
        plans = {id(plan): plan for _, plan in self._plans.values() if isinstance(plan, Plan)}
        groups = [
            Group(
                plans[plan],
                [i for i, _ in members],
                stacked([columns for _, columns in members], plans[plan].columns),
                {"close": PRICES} if has_prices else {},
            )
            for (plan, _, has_prices), members in self._alike.items()
        ]
        return Batch(self._symbols, groups, self._failed)

    def _read(self, i: int, given: dict[str, Any]) -> int:
        wrong = [] if given.keys() <= _NAMES else unknown_fields(given, _KNOWN, MAX_FAULTS)
        wrong += [missing(name) for name in ("symbol", "indicators") if name not in given]
        fault = checks.symbol_fault(given["symbol"]) if "symbol" in given else None
        if fault is not None:
            wrong.append(fault)
        elif "symbol" in given:
            self._symbols[i] = given["symbol"]
        if wrong:
            raise malformed(wrong)
        arrays, plan = self._plan(given["indicators"])
        if isinstance(plan, InputError):
            raise plan
        columns = read_columns(
            given, plan.columns, self._max_points, is_flat=self._is_flat, wrong=wrong
        )
        if wrong:
            raise malformed(wrong[:MAX_DETAILS])
        if len(columns) > 1:
            checks.check_lengths(columns, field_names(given))
        points = columns[plan.columns[0]].size
        self._alike[id(plan), points, PRICES in given].append((i, columns))
        return arrays + sum(map(is_array, given.values())) - 1 + str(given["symbol"]).count("[")

    def _plan(self, indicators: Any) -> tuple[int, Plan | InputError]:  # noqa: ANN401 - as ``read``
        text = raw(indicators)
        if text not in self._plans:
            self._plans[text] = text.count(b"["), _plan_or_error(indicators)
        return self._plans[text]


def _plan_or_error(indicators: Any) -> Plan | InputError:  # noqa: ANN401 - whatever JSON holds
    try:
        return plan_of(listed(indicators))
    except InputError as e:
        return e


def answer(batch: Batch, outcome: Outcome) -> dict[str, Any]:
    """Return what is answered; arrays are float64 in C order."""
    return {
        "results": Members(_results(batch, outcome)),
        "total_computation_time_ms": outcome.milliseconds,
        "symbols_processed": outcome.served,
        "symbols_failed": len(outcome.failed),
        "indicators_computed": outcome.computed,
        "mojo_used": outcome.mojo_used,
    }


def _results(batch: Batch, outcome: Outcome) -> Iterator[tuple[int, Any]]:
    """Return every symbol's result in the batch's order, and how many numbers it has."""
    places = {i: (block, row) for block in outcome.blocks for row, i in enumerate(block.rows)}
    for i, symbol in enumerate(batch.symbols):
        if i in places:
            block, row = places[i]
            numbers = block.points * block.plan.width
            yield numbers, {"symbol": symbol, "indicators": _indicators(block, row)}
        else:
            yield 0, {"symbol": symbol, "error": described(outcome.failed[i])}


def _indicators(block: Block, row: int) -> dict[str, Any]:
    return {
        wish.key: {
            **wish.parameters,
            **{name: line[row] for name, line in result.lines.items()},
            "computation_time_ms": result.milliseconds,
        }
        for wish, result in zip(block.plan.wishes, block.results, strict=True)
    }
