"""Instruments are data: ``instruments.toml`` names them, this module reads it.

A new market is an edit of that file (and a dynamic partition), never code.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from market.errors import InputError, UnknownInstrumentError
from market.timeframes import Timeframe

CALENDAR_NAMES = ("crypto", "fx", "us_equity")


@dataclass(frozen=True, slots=True)
class Instrument:
    """One tradable series: which calendar it keeps and where its bars come from.

    ``anchor`` overrides where the calendar's day opens (``"21:00 UTC"``); ``options`` goes to
    the provider untouched (paths, column maps, time zones, seeds).
    """

    id: str
    asset_class: str
    calendar: str
    provider: str
    symbol: str
    base_timeframe: Timeframe
    tick_size: float
    lot_size: float
    anchor: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """Timeframes that can be built for it: its base and everything coarser."""
        return self.base_timeframe.and_coarser()


class InstrumentBook:
    """The instruments by id, in the order of the file."""

    def __init__(self, instruments: Mapping[str, Instrument]) -> None:
        self._instruments = dict(instruments)

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._instruments.values())

    def __contains__(self, instrument_id: str) -> bool:
        return instrument_id in self._instruments

    def __getitem__(self, instrument_id: str) -> Instrument:
        try:
            return self._instruments[instrument_id]
        except KeyError as e:
            known = ", ".join(self._instruments) or "none"
            raise UnknownInstrumentError(
                f"instrument: expected one of {known} (instruments.toml), was {instrument_id!r}"
            ) from e


def load_instruments(path: Path) -> InstrumentBook:
    """Read ``instruments.toml``; raise ``InputError`` that names the entry and the field."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise InputError(f"instruments file: expected a TOML file, was nothing at {path}") from e
    except tomllib.TOMLDecodeError as e:
        raise InputError(f"instruments file {path}: expected TOML, was: {e}") from e
    return InstrumentBook({i: _instrument(i, entry) for i, entry in document.items()})


def _instrument(instrument_id: str, entry: object) -> Instrument:
    if not isinstance(entry, dict):
        raise InputError(f"instrument {instrument_id}: expected a table, was {entry!r}")
    if not instrument_id.replace("-", "").replace("_", "").isalnum():
        raise InputError(
            f"instrument {instrument_id!r}: expected letters, digits, '-', '_' (it names folders)"
        )
    fields = dict(entry)
    try:
        instrument = Instrument(
            id=instrument_id,
            asset_class=str(fields.pop("asset_class")),
            calendar=str(fields.pop("calendar")),
            provider=str(fields.pop("provider")),
            symbol=str(fields.pop("symbol", instrument_id)),
            base_timeframe=Timeframe.parse(str(fields.pop("base_timeframe"))),
            tick_size=float(fields.pop("tick_size")),
            lot_size=float(fields.pop("lot_size", 1.0)),
            anchor=fields.pop("anchor", None),
            options=fields.pop("options", {}),
        )
    except KeyError as e:
        raise InputError(f"instrument {instrument_id}: expected a field {e}, was missing") from e
    if fields:
        raise InputError(f"instrument {instrument_id}: unknown fields {', '.join(sorted(fields))}")
    if instrument.calendar not in CALENDAR_NAMES:
        raise InputError(
            f"instrument {instrument_id}.calendar: expected one of {', '.join(CALENDAR_NAMES)}, "
            f"was {instrument.calendar!r}"
        )
    return instrument
