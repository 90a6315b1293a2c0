"""Features: what a model may know at a bar's close, one row a complete candle.

A state machine: ``extend`` continues from the state that the candles before have left, and gives
the same bits however the candles are cut. Belongs here: frames, nulls and their reasons. Keep out:
what a feature is (``feature_columns``), and where rows rest.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from kernels.gate import Instants, Series
from market.calendars import calendar_for
from market.errors import InputError, MalformedBarsError, SchemaError
from market.instruments import Instrument
from market.ports import State
from market.tables import FEATURE_LIST, FEATURES, Feature
from market.timeframes import Timeframe
from pipeline.candles import complete
from pipeline.feature_columns import BarColumns, compute, kernel_states

CONTEXT_COLUMNS: Final = (
    "atr",
    "resistance",
    "resistance_strength",
    "resistance_touches",
    "resistance_age",
    "support",
    "support_strength",
    "support_touches",
    "support_age",
)
"""What features read of the levels' context, as of each close."""

Mask = npt.NDArray[np.bool_]


class NullReasons(Mapping[str, str]):
    """Why a column has nulls, by its name; looked into when somebody asks."""

    def __init__(self, look: Callable[[], Mapping[str, str]]) -> None:
        self._look = functools.cache(look)

    def __getitem__(self, column: str) -> str:
        return self._look()[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self._look())

    def __len__(self) -> int:
        return len(self._look())


@dataclass(frozen=True, slots=True)
class Extended:
    """Rows (``tables.FEATURES``), the state after them, and why a column has nulls, by its name."""

    rows: pl.DataFrame
    state: dict[str, npt.NDArray[Any]]
    null_reasons: Mapping[str, str]


def initial() -> dict[str, npt.NDArray[Any]]:
    """Return the state before the first candle."""
    return {
        "bars": np.zeros(1, dtype=np.int64),
        "last_us": np.full(1, np.iinfo(np.int64).min),
        **kernel_states(),
    }


def extend(
    state: State,
    candles: pl.DataFrame,
    context: pl.DataFrame,
    *,
    instrument: Instrument,
    timeframe: Timeframe | str,
) -> Extended:
    """Return the features of the complete candles, which come after those that made ``state``.

    ``context`` has one row a complete candle: ``ts`` and ``CONTEXT_COLUMNS``. ``state`` is left
    as it was. A value is null in warm-up, where the source has no volume, where there is no level
    on that side, and where it would divide by nothing.
    """
    bars = complete(candles)
    carried = _carried(state)
    _check(bars, context, carried, instrument=instrument, timeframe=timeframe)
    ts = _instants(bars["ts"])
    arrays = BarColumns(
        **_floats(bars, ("high", "low", "close", "volume")),
        session=_sessions(ts, instrument),
        known_us=_instants(bars["known_at"]),
        context=_floats(context, CONTEXT_COLUMNS),
    )
    n_before = int(carried["bars"][0])
    values = {name: _finite(x) for name, x in compute(arrays, carried).items()}
    columns = [
        *(bars[name] for name in ("instrument", "timeframe", "ts", "known_at")),
        *(pl.Series(f.name, values[f.name], nan_to_null=True) for f in FEATURE_LIST),
    ]
    if ts.size:
        carried["bars"] += ts.size
        carried["last_us"][0] = ts[-1]
    rows = FEATURES.conform(pl.DataFrame(columns))
    why = NullReasons(functools.partial(_null_reasons, values, arrays, n_before))
    return Extended(rows, carried, why)


def _carried(state: State) -> dict[str, npt.NDArray[Any]]:
    """Return a writeable copy of the state, having seen that it is one of ours."""
    fresh = initial()
    if set(state) != set(fresh):
        odd = ", ".join(sorted(set(state) ^ set(fresh)))
        raise InputError(f"state: expected a state of features, was one that differs in {odd}")
    for name, array in fresh.items():
        if state[name].shape != array.shape or state[name].dtype != array.dtype:
            raise InputError(
                f"state {name}: expected {array.dtype} of shape {array.shape}, "
                f"was {state[name].dtype} of shape {state[name].shape}"
            )
    return {name: np.array(state[name]) for name in fresh}


def _check(
    bars: pl.DataFrame,
    context: pl.DataFrame,
    state: State,
    *,
    instrument: Instrument,
    timeframe: Timeframe | str,
) -> None:
    for name, expected in (("instrument", instrument.id), ("timeframe", str(timeframe))):
        if not (bars[name] == expected).all():
            others = bars[name].unique().drop_nulls().to_list()
            raise InputError(f"candles.{name}: expected {expected}, was {', '.join(others)}")
    ts = _instants(bars["ts"])
    last_us = int(state["last_us"][0])
    is_late = ts <= np.concatenate(([last_us], ts))[: ts.size]
    if is_late.any():
        raise MalformedBarsError(
            f"candles.ts: expected after the bar before it, was {bars['ts'][int(is_late.argmax())]}"
        )
    missing = [name for name in ("ts", *CONTEXT_COLUMNS) if name not in context.columns]
    if missing:
        raise SchemaError(f"context.{missing[0]}: expected a column, was missing")
    if not np.array_equal(_instants(context["ts"]), ts):
        raise InputError(
            f"context: expected one row for each of {ts.size} complete candles, "
            f"was {context.height} rows, or other instants"
        )


def _sessions(ts: Instants, instrument: Instrument) -> Instants:
    """Return the open of the session that each bar lies in: VWAP begins anew with it."""
    if not ts.size:
        return ts
    opens = calendar_for(instrument).sessions(int(ts[0]), int(ts[-1]) + 1).open_us
    index = np.searchsorted(opens, ts, side="right") - 1
    if index[0] < 0:
        raise MalformedBarsError(f"candles.ts: expected a bar in session, was {ts[0]} us")
    return opens[index]


def _null_reasons(values: Mapping[str, Series], bars: BarColumns, n_before: int) -> dict[str, str]:
    """Return for each column with nulls why, and how many bars each reason explains."""
    n = bars.close.size
    n_without = int(np.isnan(bars.volume).sum())
    reasons = {}
    for feature in FEATURE_LIST:
        left = np.isnan(values[feature.name])
        said: list[str] = []
        if not left.any():
            continue
        if feature.needs_volume and n_without:
            said.append(f"volume is null in the source: {n_without} of {n} bars")
            left &= ~_sees(np.isnan(bars.volume), feature.lookback_bars)
        for is_so, reason in _explanations(feature, bars, n_before):
            count = int((left & is_so).sum())
            if count:
                said.append(f"{reason}: {count} of {n} bars")
                left &= ~is_so
        reasons[feature.name] = "; ".join(said)
    return reasons


def _sees(is_null: Mask, lookback: int) -> Mask:
    """Return whether any of the last ``lookback + 1`` bars is null."""
    count: Instants = np.concatenate((np.zeros(lookback + 1, dtype=np.int64), is_null.cumsum()))
    return count[lookback + 1 :] > count[: is_null.size]


def _explanations(feature: Feature, bars: BarColumns, n_before: int) -> Iterator[tuple[Mask, str]]:
    """Yield reasons for a null, the more telling first, with the bars to which each applies."""
    index = n_before + np.arange(bars.close.size)
    yield index < feature.lookback_bars, f"warm-up, {feature.lookback_bars} bars"
    if feature.kernel == "levels":
        side = feature.name.split("_")[0]
        yield np.isnan(bars.context[side]), f"no active {side} level"
    everywhere = np.ones(index.size, dtype=np.bool_)
    if feature.needs_volume:
        yield everywhere, "nothing traded, or volume null in bars before these"
    else:
        yield everywhere, "nothing moved"


def _finite(values: Series) -> Series:
    return np.where(np.isfinite(values), values, np.nan)


def _floats(frame: pl.DataFrame, names: tuple[str, ...]) -> dict[str, Series]:
    """Return the columns as float64, NaN for null."""
    return {name: frame[name].cast(pl.Float64).to_numpy() for name in names}


def _instants(column: pl.Series) -> Instants:
    return column.cast(pl.Int64).to_numpy()
