"""Builds the plain objects that assets are given; none of them knows Dagster.

Vocabulary: it lies below ``assets``. Add a store or a source here; keep out the environment
(settings arrive as values).
"""

from collections.abc import Callable
from functools import cache

from market.instruments import Instrument, InstrumentBook, load_instruments
from market.ports import Lake, Provider
from market.settings import (
    HomeSettings,
    ProviderSettings,
    StorageSettings,
    WarehouseSettings,
)
from providers import registry
from storage.opening import open_store


def open_lake(
    home: HomeSettings, storage: StorageSettings, warehouse: WarehouseSettings | None = None
) -> Lake:
    """Open the store of the settings; the warehouse's come from the environment if left out."""
    return open_store(home, storage, warehouse or WarehouseSettings())


def open_book(home: HomeSettings) -> InstrumentBook:
    """Read the instruments file."""
    return load_instruments(home.instruments)


def provider_factory(settings: ProviderSettings) -> Callable[[Instrument], Provider]:
    """Return what finds an instrument's provider; each is built once."""

    @cache
    def build(name: str) -> Provider:
        return registry.build(name, settings)

    return lambda instrument: build(instrument.provider)
