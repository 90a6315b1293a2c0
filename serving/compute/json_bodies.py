"""JSON bodies: arrays of numbers go from the text into memory, and never become Python objects.

Belongs here: reading. Keep out: what the numbers must be (``checks``).

simdjson reads; what it has no word for (a whole number beyond 64 bits, which is how a browser
prints 1e20), and what it refuses, orjson reads again: to take it, or to say what is wrong.
"""

import codecs
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import numpy as np
import orjson

from kernels.gate import Series
from serving.compute import checks
from serving.compute.contracts import PRICES, Contract, malformed
from serving.compute.questions import (
    MAX_FIELDS,
    Question,
    asked,
    column_names,
    given_twice,
    missing,
    unknown_fields,
)
from serving.errors import MAX_DETAILS, Detail, InvalidJsonError

try:
    import simdjson
except ImportError:  # no wheels for this Python: slower, and the same answers
    simdjson = None  # type: ignore[assignment]

Body = bytes | bytearray

_LITERAL: Final = re.compile(r"-?(?:Infinity|NaN|inf|nan)\b")
_FIELD: Final = re.compile(r'"([a-z_]{1,40})"\s*:\s*\[[^\[\]"]*\Z')
_CONTEXT: Final = 1 << 22  # characters before a mistake where its field's name is looked for


def parsed(body: Body) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return a document: simdjson's object, or what orjson makes of it.

    Raise ``InvalidJsonError`` for what is not JSON.
    """
    if simdjson is not None:
        try:
            return simdjson.Parser().parse(body)
        except (ValueError, RuntimeError):  # refused, or a number that it has no word for
            pass
    try:
        return orjson.loads(body.removeprefix(codecs.BOM_UTF8))  # which simdjson passes over
    except orjson.JSONDecodeError as e:
        raise _not_json(e) from e


def question(contract: Contract, body: Body, max_points: int) -> Question:
    """Return what ``body`` asks of an indicator; raise ``MalformedRequestError`` by field."""
    given = fields(parsed(body), "body")
    names = column_names(contract)
    known = ("symbol", *names, *contract.parameters)
    wrong = unknown_fields(given, known)
    given = {name: x for name, x in given.items() if name in known}
    arrays = sum(1 for name in names if is_array(given.get(name)))
    arrays += str(given.get("symbol")).count("[")
    is_flat = is_plain(body) and _has_at_most(body, b"[", arrays)
    read = read_columns(given, contract.columns, max_points, is_flat=is_flat, wrong=wrong)
    return asked(contract, given, read, wrong)


def fields(given: Any, what: str) -> dict[str, Any]:  # noqa: ANN401 - as ``parsed``
    """Return an object's fields, their arrays unread; raise if it is none, or names one twice."""
    if isinstance(given, dict):
        return given
    if simdjson is None or not isinstance(given, simdjson.Object):
        raise malformed([Detail(what, "expected an object", "DICT_TYPE")])
    if len(given) > MAX_FIELDS:  # each is looked for among all
        message = f"expected at most {MAX_FIELDS} fields, was {len(given)}"
        raise malformed([Detail(what, message, "DICT_LENGTH")])
    names = list(given.keys())
    found: dict[str, Any]
    if any("\0" in name for name in names):  # a name is looked up as far as its first NUL
        found = given.as_dict()
    else:  # which, as ``items``, would make lists of the arrays
        found = {name: given[name] for name in names}
    if len(found) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise malformed([Detail(twice, "expected one value, was given twice", "DUPLICATE")])
    return found


def read_columns(
    given: Mapping[str, Any],
    columns: Sequence[str],
    max_points: int,
    *,
    is_flat: bool,
    wrong: list[Detail],
) -> dict[str, Series]:
    """Return the columns that are given as numbers; add the faults of the others to ``wrong``.

    ``is_flat`` says that no array of the body holds another.
    """
    out = {}
    wrong += given_twice(given)
    for column in columns:
        field = PRICES if column == "close" and PRICES in given else column
        if field not in given:
            wrong.append(missing(PRICES if columns == ("close",) else field))
            continue
        read = _numbers(given[field], field, max_points, is_flat=is_flat)
        if isinstance(read, list):
            wrong += read
        else:
            out[column] = read
    return out


def is_plain(body: Body) -> bool:
    """Say whether text stands in a body as it reads: no bracket of it is written as an escape."""
    return b"\\" not in body


def is_array(value: object) -> bool:
    """Say whether a value is an array, read or not."""
    return isinstance(value, list if simdjson is None else (list, simdjson.Array))


def listed(value: Any) -> Any:  # noqa: ANN401 - as ``parsed``
    """Return a small value as Python's own."""
    if simdjson is None:
        return value
    if isinstance(value, simdjson.Array):
        return value.as_list()
    return value.as_dict() if isinstance(value, simdjson.Object) else value


def raw(value: Any) -> bytes:  # noqa: ANN401 - as ``parsed``
    """Return a small value as JSON without spaces."""
    if simdjson is not None and isinstance(value, simdjson.Array | simdjson.Object):
        return cast("bytes", value.mini)
    return orjson.dumps(value)


def _numbers(value: Any, field: str, max_points: int, *, is_flat: bool) -> Series | list[Detail]:  # noqa: ANN401 - as ``parsed``
    if not is_array(value):
        return [Detail(field, "expected an array of numbers", "LIST_TYPE")]
    fault = checks.length_fault(field, len(value), max_points)
    if fault is not None:
        return [fault]
    if is_flat and not isinstance(value, list):
        try:
            return np.frombuffer(value.as_buffer(of_type="d"))
        except TypeError:
            pass  # a value that is no number: found below
    values = listed(value)
    faults = checks.list_faults(field, values, MAX_DETAILS)
    return faults or np.array(values, dtype=np.float64)


def _has_at_most(body: Body, mark: bytes, count: int) -> bool:
    at = -1
    for _ in range(count + 1):
        at = body.find(mark, at + 1)
        if at < 0:
            return True
    return False


def _not_json(error: orjson.JSONDecodeError) -> InvalidJsonError:
    field = _FIELD.search(error.doc, max(0, error.pos - _CONTEXT), error.pos)
    name = field[1] if field else "body"
    word = _LITERAL.match(error.doc, error.pos)
    what = f"a finite number, was {word[0]}" if word else f"JSON: {error.msg}"
    message = f"expected {what} at character {error.pos}"
    return InvalidJsonError(f"{name}: {message}", [Detail(name, message, "INVALID_JSON")])
