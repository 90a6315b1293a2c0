"""The few read functions that a notebook wants; frames come from the lake's present pointers."""

import datetime as dt
from functools import cache

import polars as pl

from market.errors import InputError
from market.instruments import InstrumentBook
from market.months import parse_month
from market.ports import Lake, PartitionKey, PartitionRef
from market.settings import HomeSettings, StorageSettings
from market.tables import CANDLES, FEATURES, LABELS, LEVEL_EVENTS, Table
from market.timeframes import Timeframe
from orchestration.resources import open_book, open_lake


@cache
def _lake() -> Lake:
    return open_lake(HomeSettings(), StorageSettings())


@cache
def _book() -> InstrumentBook:
    return open_book(HomeSettings())


def candles(instrument: str, timeframe: str, first: str, last: str | None = None) -> pl.DataFrame:
    """Return candles, one row a bar."""
    return _read(CANDLES, instrument, timeframe, (first, last))


def level_events(
    instrument: str, timeframe: str, first: str, last: str | None = None
) -> pl.DataFrame:
    """Return the log of level events, one row an event."""
    return _read(LEVEL_EVENTS, instrument, timeframe, (first, last))


def labels(instrument: str, timeframe: str, first: str, last: str | None = None) -> pl.DataFrame:
    """Return labels, one row a candle; outcomes are null until matured."""
    return _read(LABELS, instrument, timeframe, (first, last))


def features(instrument: str, timeframe: str, first: str, last: str | None = None) -> pl.DataFrame:
    """Return features, one row a bar, known at its close."""
    return _read(FEATURES, instrument, timeframe, (first, last))


def levels(instrument: str, timeframe: str, as_of: dt.datetime) -> pl.DataFrame:
    """Return the levels that were there as of an instant: a fold over the event log."""
    from pipeline.level_fold import fold  # noqa: PLC0415 - numba is imported by its kernels

    if as_of.tzinfo is None:
        raise InputError(f"as_of: expected an instant with a time zone, was {as_of}")
    refs = _refs(LEVEL_EVENTS, instrument, timeframe, ("0000-01", f"{as_of:%Y-%m}"))
    return fold(_lake().read(refs), round(as_of.timestamp() * 1e6))


def instruments() -> list[str]:
    """Return the instruments of the instruments file."""
    return [instrument.id for instrument in _book()]


def versions(
    table: str, instrument: str, timeframe: str, first: str, last: str | None = None
) -> dict[str, str]:
    """Return partition → data version of what the other functions would read now."""
    known = {t.name: t for t in (CANDLES, LEVEL_EVENTS, LABELS, FEATURES)}
    if table not in known:
        raise InputError(f"table: expected one of {', '.join(known)}, was {table!r}")
    refs = _refs(known[table], instrument, timeframe, _span(first, last))
    return {ref.key.path: ref.version for ref in refs}


def _read(
    table: Table, instrument: str, timeframe: str, span: tuple[str, str | None]
) -> pl.DataFrame:
    return _lake().read(_refs(table, instrument, timeframe, _span(*span)))


def _span(first: str, last: str | None) -> tuple[str, str]:
    return _month(first, "01"), _month(last or first, "12")


def _month(text: str, in_a_year: str) -> str:
    is_year = text.isdigit() and len(text) == len("2017")
    return f"{text}-{in_a_year}" if is_year else parse_month(text)


def _refs(
    table: Table, instrument: str, timeframe: str, span: tuple[str, str]
) -> list[PartitionRef]:
    name = Timeframe.parse(timeframe).value
    _ = _book()[instrument]
    months = [m for m in _lake().months(table.name, name, instrument) if span[0] <= m <= span[1]]
    keys = [PartitionKey(table.name, name, instrument, month) for month in months]
    if not keys:
        keys = [PartitionKey(table.name, name, instrument, span[1])]  # says what to run
    return [_lake().resolve(key) for key in keys]
