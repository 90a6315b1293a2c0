"""The few read functions that a notebook wants; frames come from the lake's present pointers."""

import datetime as dt
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import polars as pl

from assets.models import KINDS, registered_name
from assets.training_sets import POOLED
from market.errors import InputError
from market.instruments import InstrumentBook
from market.months import parse_month
from market.ports import Lake, PartitionKey, PartitionRef
from market.settings import HomeSettings, LearningSettings, StorageSettings
from market.tables import (
    CANDLES,
    EVALUATIONS,
    FEATURES,
    LABELS,
    LEVEL_EVENTS,
    MODELS,
    TABLES,
    TRAINING_SETS,
)
from market.timeframes import Timeframe
from orchestration.line import tracking_places
from orchestration.resources import open_book, open_lake

if TYPE_CHECKING:
    from learning.predict import ServedModel


@cache
def _lake() -> Lake:
    return open_lake(HomeSettings(), StorageSettings())


@cache
def _book() -> InstrumentBook:
    return open_book(HomeSettings())


def candles(instrument: str, timeframe: str, first: str, last: str | None = None) -> pl.DataFrame:
    """Return candles, one row a bar."""
    return _read(CANDLES.name, instrument, timeframe, (first, last))


def level_events(
    instrument: str, timeframe: str, first: str, last: str | None = None
) -> pl.DataFrame:
    """Return the log of level events, one row an event."""
    return _read(LEVEL_EVENTS.name, instrument, timeframe, (first, last))


def labels(instrument: str, timeframe: str, first: str, last: str | None = None) -> pl.DataFrame:
    """Return labels, one row a candle; outcomes are null until matured."""
    return _read(LABELS.name, instrument, timeframe, (first, last))


def features(instrument: str, timeframe: str, first: str, last: str | None = None) -> pl.DataFrame:
    """Return features, one row a bar, known at its close."""
    return _read(FEATURES.name, instrument, timeframe, (first, last))


def levels(instrument: str, timeframe: str, as_of: dt.datetime) -> pl.DataFrame:
    """Return the levels that were there as of an instant: a fold over the event log."""
    from pipeline.level_fold import fold  # noqa: PLC0415 - numba is imported by its kernels

    if as_of.tzinfo is None:
        raise InputError(f"as_of: expected an instant with a time zone, was {as_of}")
    refs = _refs(LEVEL_EVENTS.name, instrument, timeframe, ("0000-01", f"{as_of:%Y-%m}"))
    return fold(_lake().read(refs), round(as_of.timestamp() * 1e6))


def instruments() -> list[str]:
    """Return the instruments of the instruments file."""
    return [instrument.id for instrument in _book()]


def evaluations(timeframe: str, first: str, last: str | None = None) -> pl.DataFrame:
    """Return judged bars of the cutoffs from ``first`` to ``last``, one row a bar and kind."""
    return _read(EVALUATIONS.name, POOLED, timeframe, (first, last))


def training_set(timeframe: str, cutoff: str) -> pl.DataFrame:
    """Return what the models of a cutoff month learnt from, one row a matured label."""
    return _read(TRAINING_SETS.name, POOLED, timeframe, (parse_month(cutoff), None))


def model(timeframe: str, alias: str = "champion") -> "ServedModel":
    """Return the model version that an alias names now: what serving answers with."""
    from learning.predict import ServedModel  # noqa: PLC0415 - the registry loads SQLAlchemy
    from learning.registry import open_registry  # noqa: PLC0415

    uri, _ = tracking_places(HomeSettings(), LearningSettings())
    return ServedModel.load(open_registry(uri), registered_name(timeframe), alias)


def versions(
    table: str, instrument: str, timeframe: str, first: str, last: str | None = None
) -> dict[str, str]:
    """Return partition → data version of what the other functions would read now.

    Training sets, models and evaluations are of the instrument ``"pooled"``, by cutoff month.
    """
    refs = _refs(table, instrument, timeframe, _span(first, last))
    return {ref.key.path: ref.version for ref in refs}


def attributes(
    table: str, instrument: str, timeframe: str, first: str, last: str | None = None
) -> dict[str, Mapping[str, Any]]:
    """Return partition → what was recorded beside its rows: null reasons, verdicts, decisions."""
    refs = _refs(table, instrument, timeframe, _span(first, last))
    return {ref.key.path: ref.attributes for ref in refs}


def _read(
    table: str, instrument: str, timeframe: str, span: tuple[str, str | None]
) -> pl.DataFrame:
    return _lake().read(_refs(table, instrument, timeframe, _span(*span)))


def _span(first: str, last: str | None) -> tuple[str, str]:
    return _month(first, "01"), _month(last or first, "12")


def _month(text: str, in_a_year: str) -> str:
    is_year = text.isdigit() and len(text) == len("2017")
    return f"{text}-{in_a_year}" if is_year else parse_month(text)


def _refs(table: str, instrument: str, timeframe: str, span: tuple[str, str]) -> list[PartitionRef]:
    known = [*(set(TABLES) - {MODELS.name}), *(f"{MODELS.name}_{kind}" for kind in KINDS)]
    if table not in known:
        raise InputError(f"table: expected one of {', '.join(sorted(known))}, was {table!r}")
    name = Timeframe.parse(timeframe).value
    if instrument != POOLED:
        _ = _book()[instrument]
    months = [m for m in _lake().months(table, name, instrument) if span[0] <= m <= span[1]]
    keys = [PartitionKey(table, name, instrument, month) for month in months]
    if not keys:
        keys = [PartitionKey(table, name, instrument, span[1])]  # says what to run
    return [_lake().resolve(key) for key in keys]
