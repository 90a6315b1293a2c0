"""What the OpenAPI page says about ``/backtest``: each strategy's own request, and the answers.

Belongs here: schemas made from the contracts. Keep out: what is checked (``questions``).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from kernels.backtest_trades import REASONS
from kernels.indicator import Parameter
from market.instruments import CALENDAR_NAMES
from market.timeframes import Timeframe
from serving.backtests.answers import COUNTS, FIGURES
from serving.backtests.contracts import ACCOUNT, CONTRACTS, StrategyContract
from serving.backtests.questions import GRID, MOST_A_YEAR, PRICE_COLUMNS, VOLUME
from serving.compute.checks import MAX_SYMBOL
from serving.compute.content import JSON
from serving.compute.description import MAX_POINTS

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_NUMBER: Final[Schema] = {"type": "number"}
_MAYBE: Final[Schema] = {"type": ["number", "null"]}
_MAYBE_TEXT: Final[Schema] = {"type": ["string", "null"]}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_INSTANT: Final[Schema] = {"type": ["string", "null"], "format": "date-time"}
_SYMBOL: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": MAX_SYMBOL}
_CLOSES: Final = (10.0, 9.0, 8.0, 9.0, 11.0, 12.0, 10.0, 7.0)
MAX_VALUES: Final = 10_000


def run_request() -> Schema:
    """Return the body of ``POST /backtest/run``."""
    return _asked(_branches(_run_properties), _example({"fast_period": 1, "slow_period": 2}))


def sweep_request() -> Schema:
    """Return the body of ``POST /backtest/sweep``."""
    example = _example({}) | {GRID: {"fast_period": [1, 2], "slow_period": [2, 3]}}
    return _asked(_branches(_sweep_properties, GRID), example)


def run_answer() -> Schema:
    """Return the answer to a backtest."""
    return _answered(_run(), "The backtest.")


def sweep_answer() -> Schema:
    """Return the answer to a sweep."""
    return _answered(_sweep(), "Every combination that the strategy takes, in the grid's order.")


def accepted() -> Schema:
    """Return what says that a run will be computed."""
    schema = _closed({"run_id": _TEXT, "status": {"const": "pending", "type": "string"}})
    said = "It will be computed; `Location` says where its answer will be."
    headers = {"Location": {"description": "Where to ask.", "schema": _TEXT}}
    return {"description": said, "headers": headers, "content": {JSON: {"schema": schema}}}


def results_answer() -> Schema:
    """Return what became of a run: its answer, or how far it is."""
    error = _closed({"code": _TEXT, "message": _TEXT})
    progress = _closed(
        {
            "run_id": _TEXT,
            "status": {"enum": ["pending", "running", "failed"]},
            "strategy_id": _TEXT,
            "symbol": _SYMBOL,
            "data_version": _TEXT,
            **dict.fromkeys(("submitted_at", "started_at", "finished_at"), _INSTANT),
            "error": {"anyOf": [error, {"type": "null"}]},
        },
        "BacktestProgress",
    )
    schema = {"anyOf": [_run(), _sweep(), progress]}
    return {"description": "What became of it.", "content": {JSON: {"schema": schema}}}


def _run() -> Schema:
    fill = {
        "date": _TEXT,
        "type": {"enum": ["buy", "sell"]},
        "side": {"enum": ["long", "short"]},
        "price": _MAYBE,
        "quantity": _MAYBE,
        "pnl": _MAYBE,
        "trade_return": _MAYBE,
        "reason": {"enum": [*REASONS, None]},
    }
    held = {name: fill[name] for name in ("date", "side", "price", "quantity", "pnl")}
    return _closed(
        {
            **_head(),
            "parameters": {"type": "object"},
            "results": _results(),
            "buy_and_hold": _figures(),
            "cash": _figures(),
            "equity_curve": {"type": "array", "items": _MAYBE},
            "trades": {"type": "array", "items": _closed(fill)},
            "open_position": {"anyOf": [_closed(held), {"type": "null"}]},
            **_tail(),
        },
        "BacktestResponse",
    )


def _sweep() -> Schema:
    combination = _closed({"parameters": {"type": "object"}, "results": _results()})
    return _closed(
        {
            **_head(),
            "parameters": {"type": "object"},
            "combinations": {"type": "array", "items": combination},
            "best": {"type": ["integer", "null"], "minimum": 0},
            **_trials(),
            "buy_and_hold": _figures(),
            "cash": _figures(),
            **_tail(),
        },
        "SweepResponse",
    )


def _head() -> Schema:
    return {
        "run_id": _TEXT,
        "status": {"const": "completed", "type": "string"},
        "strategy_id": _TEXT,
        "symbol": _SYMBOL,
        "bars": _COUNT,
        "timeframe": _MAYBE_TEXT,
        "calendar": _MAYBE_TEXT,
        "bars_per_year": _NUMBER,
        "data_version": _TEXT,
    }


def _tail() -> Schema:
    return {"computation_time_ms": _NUMBER | {"minimum": 0}, "mojo_used": {"type": "boolean"}}


def _trials() -> Schema:
    return {"trials": _COUNT, "trial_variance": _NUMBER | {"minimum": 0}}


def _figures() -> Schema:
    return _closed(_figure_properties())


def _results() -> Schema:
    return _closed(_figure_properties() | {"deflated_sharpe": _MAYBE} | _trials())


def _figure_properties() -> Schema:
    pair = {"type": "array", "items": _MAYBE, "minItems": 2, "maxItems": 2}
    figures = {name: _COUNT if name in COUNTS else _MAYBE for name in FIGURES}
    return {**figures, "total_return_range": pair}


def _branches(properties: Any, *also: str) -> Schema:  # noqa: ANN401 - a function of a contract
    branches = []
    for contract in CONTRACTS.values():
        required = ["strategy_id", "symbol", "prices", *also]
        title = "".join(word.capitalize() for word in contract.name.split("_"))
        branches.append(
            {
                "type": "object",
                "title": title,
                "properties": properties(contract),
                "required": required,
                "additionalProperties": False,
            }
        )
    return {"oneOf": branches}


def _run_properties(contract: StrategyContract) -> Schema:
    parameters = {name: _parameter(p) for name, p in {**contract.numbers, **ACCOUNT}.items()}
    words = {name: {"enum": list(x), "default": x[0]} for name, x in contract.words.items()}
    return {
        "strategy_id": {"const": contract.name, "type": "string"},
        "symbol": _SYMBOL,
        "prices": _prices(),
        "parameters": _open(parameters | words),
        "timeframe": {"enum": [t.value for t in Timeframe]},
        "calendar": {"enum": list(CALENDAR_NAMES)},
        "bars_per_year": {"type": "number", "exclusiveMinimum": 0, "maximum": MOST_A_YEAR},
    }


def _sweep_properties(contract: StrategyContract) -> Schema:
    axes = {
        name: {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_VALUES,
            "uniqueItems": True,
            "items": _limits(parameter),
        }
        for name, parameter in contract.numbers.items()
    }
    return _run_properties(contract) | {GRID: _open(axes) | {"minProperties": 1}}


def _prices() -> Schema:
    positive = {"type": "number", "exclusiveMinimum": 0}
    columns = {name: _column(positive) for name in PRICE_COLUMNS}
    dates = {"anyOf": [_TEXT | {"format": "date"}, _TEXT | {"format": "date-time"}]}
    return {
        "type": "object",
        "properties": {
            "dates": _column(dates),
            **columns,
            VOLUME: _column({"type": "number", "minimum": 0}),
        },
        "required": ["dates", *PRICE_COLUMNS],
        "additionalProperties": False,
    }


def _column(items: Schema) -> Schema:
    return {"type": "array", "minItems": 1, "maxItems": MAX_POINTS, "items": items}


def _limits(parameter: Parameter) -> Schema:
    kind = "integer" if parameter.is_integer else "number"
    return {"type": kind, "minimum": parameter.least, "maximum": parameter.most}


def _parameter(parameter: Parameter) -> Schema:
    return _limits(parameter) | {"default": parameter.default}


def _asked(schema: Schema, example: Schema) -> Schema:
    text = "Answer at once with a run_id, and compute it later."
    later = {"name": "async", "in": "query", "required": False, "description": text}
    content = {JSON: {"schema": schema, "example": example}}
    return {
        "requestBody": {"required": True, "content": content},
        "parameters": [later | {"schema": {"type": "boolean", "default": False}}],
    }


def _answered(schema: Schema, said: str) -> Schema:
    headers = {
        name: {"description": text, "schema": _TEXT}
        for name, text in {
            "X-RateLimit-Limit": "Requests that an address has.",
            "X-RateLimit-Remaining": "Those that are left.",
            "X-RateLimit-Reset": "Seconds until there are more.",
        }.items()
    }
    return {"description": said, "headers": headers, "content": {JSON: {"schema": schema}}}


def _open(properties: Mapping[str, Any]) -> Schema:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False}


def _closed(properties: Mapping[str, Any], title: str = "") -> Schema:
    named: Schema = {"title": title} if title else {}
    return named | _open(properties) | {"required": list(properties)}


def _example(parameters: Schema) -> Schema:
    return {
        "strategy_id": "sma_crossover",
        "symbol": "TCS",
        "prices": {
            "dates": _days(len(_CLOSES)),
            "open": list(_CLOSES),
            "high": [x + 0.5 for x in _CLOSES],
            "low": [x - 0.5 for x in _CLOSES],
            "close": list(_CLOSES),
        },
        "parameters": parameters | {"initial_capital": 100000, "position_size": 0.1},
    }


def _days(count: int) -> list[str]:
    days: Iterable[int] = range(2, 2 + count)
    return [f"2023-01-{day:02}" for day in days]
