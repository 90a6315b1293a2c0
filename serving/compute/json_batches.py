"""A batch as JSON: read, and written."""

from collections.abc import Sequence
from typing import Any

from market.errors import InputError
from serving.compute import checks
from serving.compute.batches import Block, Failed, Item, Outcome
from serving.compute.contracts import PRICES, malformed
from serving.compute.json_bodies import (
    Body,
    fields,
    is_array,
    listed,
    parsed,
    raw,
    read_columns,
)
from serving.compute.plans import COLUMNS, Plan, plan_of
from serving.compute.questions import field_names, missing, unknown_fields
from serving.errors import MAX_DETAILS, Detail, described

_KNOWN = ("symbol", PRICES, *COLUMNS, "indicators")


def read(body: Body, *, max_symbols: int, max_points: int) -> list[Item | Failed]:
    """Return a batch's symbols, and those that cannot be read with the reason.

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
    flat = _Reader(max_points, is_flat=True)
    items = [flat.item(request) for request in requests]
    if flat.arrays + 1 == body.count(b"["):
        return items
    careful = _Reader(max_points, is_flat=False)  # an array within an array, or a mistake
    return [careful.item(request) for request in requests]


class _Reader:
    """Reads symbols; ``arrays`` counts the brackets that it knows to open one, or to be text."""

    def __init__(self, max_points: int, *, is_flat: bool) -> None:
        self._max_points = max_points
        self._is_flat = is_flat
        self._plans: dict[bytes, Plan | InputError] = {}
        self.arrays = 0

    def item(self, request: Any) -> Item | Failed:  # noqa: ANN401 - whatever JSON holds
        symbol = None
        try:
            given = fields(request, "request")
            fault = checks.symbol_fault(given.get("symbol"))
            symbol = None if fault else given["symbol"]
            return self._item(given)
        except InputError as e:
            return Failed(symbol, e)

    def _item(self, given: dict[str, Any]) -> Item:
        wrong = unknown_fields(given, _KNOWN)
        wrong += [missing(name) for name in ("symbol", "indicators") if name not in given]
        fault = checks.symbol_fault(given["symbol"]) if "symbol" in given else None
        wrong += [fault] if fault else []
        if wrong:
            raise malformed(wrong)
        plan = self._plan(given["indicators"])
        self.arrays += sum(map(is_array, given.values())) - 1 + given["symbol"].count("[")
        columns = read_columns(
            given, plan.columns, self._max_points, is_flat=self._is_flat, wrong=wrong
        )
        if wrong:
            raise malformed(wrong[:MAX_DETAILS])
        names = field_names(given)
        checks.check_lengths(columns, names)
        return Item(given["symbol"], columns, columns[plan.columns[0]].size, plan, names)

    def _plan(self, indicators: Any) -> Plan:  # noqa: ANN401 - as ``item``
        text = raw(indicators)
        self.arrays += text.count(b"[")
        plan = self._plans.get(text)
        if plan is None:
            try:
                plan = plan_of(listed(indicators))
            except InputError as e:
                plan = e
            self._plans[text] = plan
        if isinstance(plan, InputError):
            raise plan
        return plan


def answer(items: Sequence[Item | Failed], outcome: Outcome) -> dict[str, Any]:
    """Return what is answered; arrays are float64 in C order."""
    results: list[Any] = [None] * len(items)
    for i, failed in outcome.failed.items():
        results[i] = {"symbol": failed.symbol, "error": described(failed.error)}
    for block in outcome.blocks:
        _fill(results, items, block)
    return {
        "results": results,
        "total_computation_time_ms": outcome.milliseconds,
        "symbols_processed": outcome.served,
        "symbols_failed": len(outcome.failed),
        "indicators_computed": outcome.computed,
        "mojo_used": outcome.mojo_used,
    }


def _fill(results: list[Any], items: Sequence[Item | Failed], block: Block) -> None:
    pairs = list(zip(block.plan.wishes, block.results, strict=True))
    for row, i in enumerate(block.rows):
        results[i] = {
            "symbol": items[i].symbol,
            "indicators": {
                wish.key: {
                    **wish.parameters,
                    **{name: line[row] for name, line in result.lines.items()},
                    "computation_time_ms": result.milliseconds,
                }
                for wish, result in pairs
            },
        }
