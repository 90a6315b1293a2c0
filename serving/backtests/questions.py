"""What is asked of a backtest: a body in, checked bars and parameters out.

Belongs here: which fields there are, and what they must be. Keep out: computing.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Final

import numpy as np
import orjson

from kernels.backtest_orders import Bars
from kernels.gate import Series
from market.errors import InputError
from market.instruments import CALENDAR_NAMES
from market.timeframes import Timeframe
from serving.backtests.contracts import SESSIONED, StrategyContract, strategy_of
from serving.backtests.dates import Instants, check_order, instants
from serving.backtests.timing import Timing, timing_of
from serving.compute import checks, json_bodies
from serving.compute.contracts import malformed, unknown
from serving.compute.questions import missing, unknown_fields
from serving.errors import MAX_DETAILS, Detail

PRICE_COLUMNS: Final = ("open", "high", "low", "close")
VOLUME: Final = "volume"
TIMING: Final = ("timeframe", "calendar", "bars_per_year")
FIELDS: Final = ("strategy_id", "symbol", "prices", "parameters", *TIMING)
GRID: Final = "grid"
MOST_A_YEAR: Final = 366 * 24 * 60 * 60

Parameters = Mapping[str, float | str]


@dataclass(frozen=True, slots=True)
class Market:
    """The bars of one symbol, when they are, and the hash of all that."""

    symbol: str
    ts: Instants
    bars: Bars
    timing: Timing
    data_version: str


@dataclass(frozen=True, slots=True)
class RunQuestion:
    """One strategy with resolved parameters, over some bars."""

    contract: StrategyContract
    market: Market
    parameters: Parameters

    def trial_key(self, changed: Parameters | None = None) -> tuple[str, str]:
        """Return the hash of strategy and parameters, and what was hashed."""
        told: dict[str, object] = {"strategy_id": self.contract.name, **self.parameters}
        told |= changed or {}
        if self.contract.name in SESSIONED:  # where a session ends is in the calendar
            told["calendar"] = self.market.timing.calendar
        text = orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(text).hexdigest(), text.decode()


@dataclass(frozen=True, slots=True)
class SweepQuestion:
    """A run, and the values of some of its parameters that are to be combined."""

    run: RunQuestion
    axes: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class SweepLimits:
    """How much a sweep may ask for; ``lines`` are averages, indices, channels, a bar each."""

    combinations: int
    work: int
    lines: int


def run_question(body: json_bodies.Body, max_points: int) -> RunQuestion:
    """Return what ``body`` asks for; raise ``InputError`` and its kin, field by field."""
    given = json_bodies.fields(json_bodies.parsed(body), "body")
    wrong = unknown_fields(given, FIELDS)
    return _asked(given, {}, wrong, max_points, brackets=body.count(b"[")).run


def sweep_question(body: json_bodies.Body, max_points: int, limits: SweepLimits) -> SweepQuestion:
    """Return which combinations ``body`` asks for; raise as ``run_question``."""
    given = json_bodies.fields(json_bodies.parsed(body), "body")
    wrong = unknown_fields(given, (*FIELDS, GRID))
    grid: dict[str, Any] = {}
    if GRID not in given:
        wrong.append(missing(GRID))
    else:
        grid = _object(given, GRID)
        wrong += _grid_faults(grid, limits)
    asked = _asked(given, grid, wrong, max_points, brackets=body.count(b"["))
    _check_size(asked, limits)
    return asked


def _asked(
    given: Mapping[str, Any],
    grid: Mapping[str, Any],
    wrong: list[Detail],
    max_points: int,
    *,
    brackets: int,
) -> SweepQuestion:
    """Return what is asked, with no axes where there is no grid.

    ``brackets``: how many arrays begin in the body, at most.
    """
    wrong += [missing(name) for name in ("strategy_id", "symbol", "prices") if name not in given]
    if "symbol" in given:
        fault = checks.symbol_fault(given["symbol"])
        wrong += [fault] if fault else []
    told_timing = {name: _timing_field(given, name, wrong) for name in TIMING}
    if wrong:
        raise malformed(wrong[:MAX_DETAILS])
    contract = strategy_of(given["strategy_id"])
    parameters, axes = _parameters(given, grid, contract)
    prices = _object(given, "prices")
    # no array can hold another where there are no more brackets than arrays
    is_flat = brackets <= len(grid) + sum(map(json_bodies.is_array, prices.values()))
    columns, ts = _columns(prices, max_points, is_flat=is_flat)
    _check_bars(columns, ts)
    fixed = {name: x for name, x in parameters.items() if name not in axes}
    contract.check_length(fixed, ts.size, "parameters.")
    bars = Bars(*(columns[name] for name in ("open", "close", "high", "low")))
    timing = timing_of(ts, **told_timing)
    market = Market(str(given["symbol"]), ts, bars, timing, data_version(ts, bars))
    return SweepQuestion(RunQuestion(contract, market, parameters), axes)


def _parameters(
    given: Mapping[str, Any], grid: Mapping[str, Any], contract: StrategyContract
) -> tuple[Parameters, dict[str, list[float]]]:
    told = _object(given, "parameters") if "parameters" in given else {}
    parameters = contract.resolved({name: json_bodies.listed(x) for name, x in told.items()})
    axes = {
        name: contract.checked_axis(name, json_bodies.listed(values), f"{GRID}.")
        for name, values in grid.items()
    }
    for name in axes:
        if name in told:
            raise InputError(f"{GRID}.{name}: expected in parameters or in {GRID}, was in both")
    return parameters, axes


def data_version(ts: Instants, bars: Bars) -> str:
    """Return the hash of what a strategy can read: when bars are, and their four prices."""
    digest = hashlib.sha256(b"bars-1\0")
    digest.update(ts.astype("<i8").tobytes())
    for column in bars.all:
        digest.update(column.astype("<f8").tobytes())
    return digest.hexdigest()


def _columns(
    prices: Mapping[str, Any], max_points: int, *, is_flat: bool
) -> tuple[dict[str, Series], Instants]:
    known = ("dates", *PRICE_COLUMNS, VOLUME)
    wrong = unknown_fields(prices, known)
    names = PRICE_COLUMNS + ((VOLUME,) if VOLUME in prices else ())
    columns = json_bodies.read_columns(prices, names, max_points, is_flat=is_flat, wrong=wrong)
    faults = (checks.column_fault(name, name, x) for name, x in columns.items())
    wrong += [fault for fault in faults if fault is not None]
    if "dates" not in prices:
        wrong.append(missing("dates"))
    elif not json_bodies.is_array(prices["dates"]):
        wrong.append(Detail("dates", "expected an array of dates", "LIST_TYPE"))
    elif not 0 < len(prices["dates"]) <= max_points:
        count = len(prices["dates"])
        wrong.append(Detail("dates", f"expected 1 to {max_points} dates, was {count}", "LENGTH"))
    if wrong:
        inside = (replace(fault, field=f"prices.{fault.field}") for fault in wrong[:MAX_DETAILS])
        raise malformed(inside)
    texts = json_bodies.listed(prices["dates"])
    return columns, instants(texts, "prices.dates")


def _check_bars(columns: Mapping[str, Series], ts: Instants) -> None:
    for name, column in columns.items():
        if column.size != ts.size:
            raise InputError(
                f"prices.{name}: expected as many numbers as prices.dates ({ts.size}), "
                f"was {column.size}"
            )
    check_order(ts, "prices.dates")
    high, low = columns["high"], columns["low"]
    tests = {
        "high": (high < low, "low"),
        **{name: (columns[name] > high, "high") for name in ("open", "close")},
    }
    for name, (is_wrong, other) in tests.items():
        _refuse_first(is_wrong, columns, name, ("least" if name == "high" else "most", other))
    for name in ("open", "close"):
        _refuse_first(columns[name] < low, columns, name, ("least", "low"))


def _refuse_first(
    is_wrong: np.ndarray[Any, np.dtype[np.bool_]],
    columns: Mapping[str, Series],
    name: str,
    bound: tuple[str, str],
) -> None:
    if is_wrong.any():
        i = int(is_wrong.argmax())
        word, other = bound
        raise InputError(
            f"prices.{name}.{i}: expected at {word} prices.{other}.{i} "
            f"({columns[other][i]:.17g}), was {columns[name][i]:.17g}"
        )


def _timing_field(given: Mapping[str, Any], name: str, wrong: list[Detail]) -> Any:  # noqa: ANN401 - a timeframe, a name or a number
    if name not in given:
        return None
    value = given[name]
    if name == "bars_per_year":
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and 0.0 < value <= MOST_A_YEAR:
            return float(value)
        wrong.append(Detail(name, f"expected a number above 0, at most {MOST_A_YEAR}", "RANGE"))
        return None
    known = tuple(Timeframe) if name == "timeframe" else CALENDAR_NAMES
    text = value.upper() if name == "timeframe" and isinstance(value, str) else value
    if not isinstance(text, str):
        wrong.append(Detail(name, "expected a string", "STRING_TYPE"))
    elif text not in known:
        wrong.append(Detail(name, unknown(text, known), "ENUM"))
    else:
        return Timeframe(text) if name == "timeframe" else text
    return None


def _object(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    return json_bodies.fields(given[name], name)


def _grid_faults(grid: Mapping[str, Any], limits: SweepLimits) -> list[Detail]:
    if not grid:
        return [Detail(GRID, "expected lists of values by parameter, was empty", "TOO_SHORT")]
    faults = []
    for name, values in grid.items():
        if not json_bodies.is_array(values) or not len(values):
            faults.append(Detail(f"{GRID}.{name}", "expected a list of values", "LIST_TYPE"))
        elif len(values) > limits.combinations:
            faults.append(_too_many(f"{GRID}.{name}", limits, len(values)))
    return faults


def _too_many(field: str, limits: SweepLimits, count: int) -> Detail:
    message = f"expected at most {limits.combinations} combinations, was {count}"
    return Detail(field, message, "TOO_LONG")


def _check_size(asked: SweepQuestion, limits: SweepLimits) -> None:
    bars, numbers = asked.run.market.ts.size, asked.run.contract.numbers
    combinations = prod(len(values) for values in asked.axes.values())
    if combinations > limits.combinations:
        raise malformed([_too_many(GRID, limits, combinations)])
    if combinations * bars > limits.work:
        raise InputError(
            f"{GRID}: expected at most {limits.work} combinations times bars, "
            f"was {combinations * bars}"
        )
    periods = {name: values for name, values in asked.axes.items() if numbers[name].is_integer}
    count = sum(len(values) for values in periods.values())
    if 2 * count * bars > limits.lines:
        raise InputError(
            f"{GRID}: expected at most {limits.lines // (2 * bars)} periods over {bars} bars, "
            f"was {count}"
        )
    for name, values in periods.items():
        for i, value in enumerate(values):
            if value > bars:
                raise InputError(
                    f"{GRID}.{name}.{i}: expected at most the number of bars ({bars}), was {value}"
                )
