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

from kernels.gate import Matrix
from market.errors import InputError
from serving.compute import arrow_answers, arrow_bodies, checks
from serving.compute.arrow_bodies import Body, Lists
from serving.compute.batches import Batch, Group, Outcome
from serving.compute.computing import Line
from serving.compute.contracts import PRICES, VALUES, malformed
from serving.compute.plans import Plan, plan_of
from serving.compute.questions import field_names, given_twice, missing, unknown_fields
from serving.errors import Detail, described

Columns = Mapping[str, Lists]


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


def read(body: Body, plan: Plan, *, max_symbols: int, max_points: int) -> Batch:
    """Return a batch; what cannot be taken of a symbol is its failure.

    Raise ``MalformedRequestError`` for a body that is no batch.
    """
    known = (PRICES, *plan.columns) if "close" in plan.columns else plan.columns
    symbols, lists = arrow_bodies.lists(body, known, max_symbols)
    names = {name: name for name in plan.columns} | field_names(lists)
    wrong = [missing(names[c]) for c in plan.columns if names[c] not in lists]
    wrong += given_twice(lists)
    if wrong:
        raise malformed(wrong)
    columns = {c: lists[names[c]] for c in plan.columns}
    lengths = np.stack([np.diff(x.offsets) for x in columns.values()])
    points = lengths[0]
    is_good = (points >= 1) & (points <= max_points) & (lengths == points).all(axis=0)
    characters = np.fromiter(map(len, symbols), np.int64, len(symbols))
    is_good &= (characters >= 1) & (characters <= checks.MAX_SYMBOL)
    failed = {
        i: _fault(symbols[i], {c: x.row(i) for c, x in columns.items()}, names, max_points)
        for i in np.flatnonzero(~is_good).tolist()
    }
    groups = []
    for size in np.unique(points[is_good]).tolist():
        rows = np.flatnonzero(is_good & (points == size)).tolist()
        stacked = {c: _stacked(x, rows, size) for c, x in columns.items()}
        groups.append(Group(plan, rows, stacked, names))
    return Batch(symbols, groups, failed)


def answer(batch: Batch, plan: Plan, outcome: Outcome) -> arrow_answers.Stream:
    """Return the stream that is answered."""
    codes: list[str | None] = [None] * len(batch.symbols)
    messages = codes.copy()
    for i, error in outcome.failed.items():
        said = described(error)
        codes[i], messages[i] = said["code"], said["message"]
    columns = {
        "symbol": arrow_answers.text(batch.symbols),
        **_lines(len(batch.symbols), plan, outcome),
        "error_code": arrow_answers.text(codes),
        "error_message": arrow_answers.text(messages),
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


def _fault(
    symbol: str, columns: Mapping[str, Any], names: Mapping[str, str], max_points: int
) -> InputError:
    faults = [checks.symbol_fault(symbol)]
    faults += [checks.length_fault(names[c], x.size, max_points) for c, x in columns.items()]
    wrong = [fault for fault in faults if fault is not None]
    if wrong:
        return malformed(wrong)
    try:
        checks.check_lengths(columns, names)
    except InputError as e:
        return e
    raise AssertionError("a symbol without a fault")


def _stacked(x: Lists, rows: Sequence[int], points: int) -> Matrix:
    """Return lists of one length below each other, where they lie if they are all there are."""
    if len(rows) * points == x.values.size:
        return x.values.reshape(len(rows), points)
    return np.array([x.row(i) for i in rows], ndmin=2)


def _lines(symbols: int, plan: Plan, outcome: Outcome) -> dict[str, pa.Array]:
    points = np.zeros(symbols, dtype=np.int64)
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
