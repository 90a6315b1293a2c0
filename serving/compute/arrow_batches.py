"""A batch as Arrow: one row a symbol, its columns and lines as lists.

Belongs here: reading and writing that table. Every symbol is asked for the same indicators, which
stand in the query string. A symbol that cannot be served has nulls for its lines, and says why in
``error_code`` and ``error_message``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from market.errors import InputError
from serving.compute import arrow_answers, arrow_bodies, checks
from serving.compute.arrow_bodies import Body
from serving.compute.batches import Failed, Item, Outcome
from serving.compute.computing import Line
from serving.compute.contracts import PRICES, VALUES, malformed
from serving.compute.plans import Plan, plan_of
from serving.compute.questions import field_names, given_twice, missing, unknown_fields
from serving.errors import Detail, described


def plan_of_query(query: Mapping[str, str]) -> Plan:
    """Return the plan in a query's ``indicators``; raise ``MalformedRequestError`` by field."""
    wrong = unknown_fields(query, ("indicators",))
    if "indicators" not in query:
        wrong.append(missing("indicators"))
    if wrong:
        raise malformed(wrong)
    try:
        indicators = orjson.loads(query["indicators"])
    except orjson.JSONDecodeError as e:
        raise malformed([Detail("indicators", f"expected JSON: {e.msg}", "INVALID_JSON")]) from e
    return plan_of(indicators)


def read(body: Body, plan: Plan, *, max_symbols: int, max_points: int) -> list[Item | Failed]:
    """Return a batch's symbols, and those that cannot be read with the reason.

    Raise ``MalformedRequestError`` for a body that is no batch.
    """
    known = (PRICES, *plan.columns) if "close" in plan.columns else plan.columns
    symbols, lists = arrow_bodies.lists(body, known, max_symbols)
    names = {c: n for n, c in ((n, n) for n in plan.columns)} | field_names(lists)
    wrong = [missing(names[c]) for c in plan.columns if names[c] not in lists]
    wrong += given_twice(lists)
    if wrong:
        raise malformed(wrong)
    return [
        _item(symbol, {c: lists[names[c]].row(i) for c in plan.columns}, plan, names, max_points)
        for i, symbol in enumerate(symbols)
    ]


def answer(items: Sequence[Item | Failed], plan: Plan, outcome: Outcome) -> arrow_answers.Stream:
    """Return the stream that is answered."""
    symbols = [item.symbol for item in items]
    errors: list[Mapping[str, Any]] = [{}] * len(items)
    for i, failed in outcome.failed.items():
        errors[i] = described(failed.error)
    columns = {
        "symbol": arrow_answers.text(symbols),
        **_lines(items, plan, outcome),
        "error_code": arrow_answers.text([e.get("code") for e in errors]),
        "error_message": arrow_answers.text([e.get("message") for e in errors]),
    }
    metadata = {
        "total_computation_time_ms": outcome.milliseconds,
        "symbols_processed": outcome.served,
        "symbols_failed": len(outcome.failed),
        "indicators_computed": outcome.computed,
        "mojo_used": outcome.mojo_used,
        "indicators": {w.key: {"indicator": w.contract.label, **w.parameters} for w in plan.wishes},
    }
    return arrow_answers.written(columns, metadata)


def _item(
    symbol: str,
    columns: dict[str, np.ndarray[Any, Any]],
    plan: Plan,
    names: Mapping[str, str],
    max_points: int,
) -> Item | Failed:
    faults = [checks.symbol_fault(symbol)]
    faults += [checks.length_fault(names[c], x.size, max_points) for c, x in columns.items()]
    wrong = [fault for fault in faults if fault is not None]
    try:
        if wrong:
            raise malformed(wrong)
        checks.check_lengths(columns, names)
    except InputError as e:
        return Failed(symbol, e)
    return Item(symbol, columns, columns[plan.columns[0]].size, plan, names)


def _lines(items: Sequence[Item | Failed], plan: Plan, outcome: Outcome) -> dict[str, pa.Array]:
    points = np.zeros(len(items), dtype=np.int64)
    for block in outcome.blocks:
        points[block.rows] = block.points
    offsets = np.concatenate(([0], np.cumsum(points)))
    out = {}
    for at, wish in enumerate(plan.wishes):
        for name, (line, level) in wish.contract.flat_lines(wish.parameters).items():
            values = _values(outcome, offsets, (at, line, level))
            key = wish.key if name == VALUES else f"{wish.key}.{name}"
            out[key] = arrow_answers.lists(values, offsets, points > 0)
    return out


def _values(
    outcome: Outcome, offsets: arrow_answers.Offsets, at: tuple[int, str, int | None]
) -> Line:
    """Return one line of every symbol, one after another, in the batch's order."""
    wish, line, level = at
    found = []
    for block in outcome.blocks:
        x = block.results[wish].lines[line]
        found.append(x if level is None else x[:, level])
    if len(found) == 1:  # one block has its symbols in that order already
        return np.ascontiguousarray(found[0]).ravel()
    out = np.empty(int(offsets[-1]))
    for block, rows in zip(outcome.blocks, found, strict=True):
        for i, row in zip(block.rows, rows, strict=True):
            out[offsets[i] : offsets[i + 1]] = row
    return out
