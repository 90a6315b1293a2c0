"""What the OpenAPI page says about ``/compute``: each indicator's own request and answer.

Belongs here: schemas made from the contracts. Keep out: what is checked (``questions``).
"""

from collections.abc import Mapping
from typing import Any, Final

from kernels.indicator import Parameter
from serving.compute.checks import MAX_SESSION, MAX_SYMBOL
from serving.compute.content import ARROW, JSON
from serving.compute.contracts import CONTRACTS, PRICES, Contract
from serving.compute.plans import COLUMNS, MAX_WISHES
from serving.compute.questions import column_names

Schema = dict[str, Any]

MAX_POINTS: Final = 1_000_000
MAX_SYMBOLS: Final = 1000

_SYMBOL: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": MAX_SYMBOL}
_BINARY: Final[Schema] = {"schema": {"type": "string", "format": "binary"}}
_NUMBER_OR_NULL: Final[Schema] = {"type": ["number", "null"]}
_MILLISECONDS: Final[Schema] = {"type": "number", "minimum": 0}
_FLAG: Final[Schema] = {"type": "boolean"}
_CLOSES: Final = (44.34, 44.09, 44.15, 43.61, 44.33, 44.83, 45.1, 45.42, 45.84, 46.08)


def indicator_request(contract: Contract) -> Schema:
    """Return the body of ``POST /compute/{indicator}``, and its query for Arrow."""
    columns = column_names(contract)
    required = list(contract.columns)
    schema: Schema = {
        "type": "object",
        "title": f"{_title(contract)}Request",
        "properties": {
            "symbol": _SYMBOL,
            **{name: _column(name) for name in columns},
            **_parameters(contract),
        },
        "required": ["symbol", *([] if contract.takes_prices else required)],
        "additionalProperties": False,
    }
    if contract.takes_prices:
        schema["oneOf"] = [{"required": [PRICES]}, {"required": ["close"]}]
    return {
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": schema, "example": _example(contract)}, ARROW: _BINARY},
        },
        "parameters": [
            _in_query("symbol", _SYMBOL),
            *(_in_query(name, _parameter(p)) for name, p in contract.parameters.items()),
        ],
    }


def indicator_answer(contract: Contract) -> Schema:
    """Return the answer to ``POST /compute/{indicator}``."""
    properties = {
        "symbol": _SYMBOL,
        "indicator": {"const": contract.label, "type": "string"},
        **_echoes(contract),
        **_lines(contract),
        "computation_time_ms": _MILLISECONDS,
        "mojo_used": _FLAG,
    }
    return _answered(_closed(properties, f"{_title(contract)}Response"), "null where no value is.")


def batch_request() -> Schema:
    """Return the body of ``POST /compute/batch``, and its query for Arrow."""
    item: Schema = {
        "type": "object",
        "properties": {
            "symbol": _SYMBOL,
            **{name: _column(name) for name in (PRICES, *COLUMNS)},
            "indicators": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_WISHES,
                "items": {"anyOf": [_wish(contract) for contract in CONTRACTS.values()]},
            },
        },
        "required": ["symbol", "indicators"],
        "additionalProperties": False,
    }
    requests: Schema = {
        "type": "array", "minItems": 1, "maxItems": MAX_SYMBOLS, "items": item,
    }  # fmt: skip
    schema: Schema = {
        "type": "object",
        "title": "BatchRequest",
        "properties": {"requests": requests},
        "required": ["requests"],
        "additionalProperties": False,
    }
    indicators = {"type": "string", "description": "For Arrow: the list as JSON."}
    return {
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": schema, "example": _batch_example()}, ARROW: _BINARY},
        },
        "parameters": [_in_query("indicators", indicators)],
    }


def batch_answer() -> Schema:
    """Return the answer to ``POST /compute/batch``."""
    values: Schema = {
        "type": "object",
        "properties": {"computation_time_ms": _MILLISECONDS},
        "required": ["computation_time_ms"],
        "additionalProperties": {
            "anyOf": [
                {"type": "number"},
                {"type": "array", "items": _NUMBER_OR_NULL},
                {"type": "array", "items": {"type": "array", "items": _NUMBER_OR_NULL}},
            ]
        },
    }
    indicators = {"type": "object", "additionalProperties": values}
    detail = _closed({name: {"type": "string"} for name in ("field", "message", "code")})
    error = _closed(
        {
            "code": {"type": "string"},
            "message": {"type": "string"},
            "details": {"type": "array", "items": detail},
        }
    )
    properties: Schema = {
        "results": {
            "type": "array",
            "items": {
                "anyOf": [
                    _closed({"symbol": _SYMBOL, "indicators": indicators}),
                    _closed({"symbol": {"type": ["string", "null"]}, "error": error}),
                ]
            },
        },
        "total_computation_time_ms": _MILLISECONDS,
        **{
            name: {"type": "integer", "minimum": 0}
            for name in ("symbols_processed", "symbols_failed", "indicators_computed")
        },
        "mojo_used": _FLAG,
    }
    said = "One result a symbol, in order; one that cannot be served says why in its own."
    return _answered(_closed(properties, "BatchResponse"), said)


def _answered(schema: Schema, said: str) -> Schema:
    headers = {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in {
            "X-Cache-Hit": "Whether these very bytes were answered before.",
            "X-RateLimit-Limit": "Requests that an address has.",
            "X-RateLimit-Remaining": "Those that are left.",
            "X-RateLimit-Reset": "Seconds until there are more.",
        }.items()
    }
    return {
        "description": said,
        "headers": headers,
        "content": {JSON: {"schema": schema}, ARROW: _BINARY},
    }


def _closed(properties: Mapping[str, Any], title: str = "") -> Schema:
    named: Schema = {"title": title} if title else {}
    return {
        "type": "object",
        **named,
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _wish(contract: Contract) -> Schema:
    parameters = {
        "type": "object",
        "properties": _parameters(contract),
        "additionalProperties": False,
    }
    kind = {"const": contract.name, "type": "string"}
    return {
        "type": "object",
        "title": _title(contract),
        "properties": {"type": kind, "params": parameters},
        "required": ["type"],
        "additionalProperties": False,
    }


def _column(name: str) -> Schema:
    items: Schema = {"type": "number", "exclusiveMinimum": 0}
    if name == "volume":
        items = {"type": "number", "minimum": 0}
    if name == "session":
        items = {"type": "integer", "minimum": 1 - MAX_SESSION, "maximum": MAX_SESSION - 1}
    return {"type": "array", "minItems": 1, "maxItems": MAX_POINTS, "items": items}


def _parameter(parameter: Parameter) -> Schema:
    return {
        "type": "integer" if parameter.is_integer else "number",
        "minimum": parameter.least,
        "maximum": parameter.most,
    }


def _parameters(contract: Contract) -> Schema:
    return {n: {**_parameter(p), "default": p.default} for n, p in contract.parameters.items()}


def _echoes(contract: Contract) -> Schema:
    return {name: _parameter(p) for name, p in contract.parameters.items()}


def _lines(contract: Contract) -> Schema:
    line: Schema = {"type": "array", "items": _NUMBER_OR_NULL}
    matrix: Schema = {"type": "array", "items": line}
    return {name: matrix if name in contract.matrices else line for name in contract.lines}


def _in_query(name: str, schema: Schema) -> Schema:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": "For Arrow, whose body holds columns alone.",
        "schema": schema,
    }


def _title(contract: Contract) -> str:
    return "".join(word.capitalize() for word in contract.name.split("_"))


def _columns_example(contract: Contract) -> Schema:
    shown: dict[str, list[float]] = {
        "close": list(_CLOSES),
        "high": [round(x + 0.2, 2) for x in _CLOSES],
        "low": [round(x - 0.2, 2) for x in _CLOSES],
        "volume": [1000.0 + 10 * i for i in range(len(_CLOSES))],
        "session": [i // 5 for i in range(len(_CLOSES))],
    }
    if contract.takes_prices:
        return {PRICES: shown["close"]}
    return {name: shown[name] for name in contract.columns}


def _example(contract: Contract) -> Schema:
    few = {n: max(p.least, min(p.default, 3)) for n, p in contract.parameters.items()}
    if contract.name == "macd":
        few = {"fast_period": 2, "slow_period": 4, "signal_period": 2}
    return {"symbol": "TCS", **_columns_example(contract), **few}


def _batch_example() -> Schema:
    indicators = [
        {"type": "sma", "params": {"period": 3}},
        {"type": "roc", "params": {"period": 2}},
    ]
    return {"requests": [{"symbol": "TCS", PRICES: list(_CLOSES), "indicators": indicators}]}
