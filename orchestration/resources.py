"""Builds the plain objects that assets are given; none of them knows Dagster.

Vocabulary: it lies below ``assets``. Add a store or a source here; keep out the environment
(settings arrive as values).
"""

from collections.abc import Callable
from functools import cache

from market.instruments import Instrument, InstrumentBook, load_instruments
from market.ports import Lake, Provider
from market.settings import HomeSettings, ProviderSettings, StorageSettings
from providers import registry
from storage.lake import ParquetLake


def open_lake(home: HomeSettings, storage: StorageSettings) -> Lake:
    """Open the Parquet lake below the home folder."""
    return ParquetLake(
        home.lake_root, retention_versions=storage.retention_versions, fsync=storage.fsync
    )


def open_book(home: HomeSettings) -> InstrumentBook:
    """Read the instruments file."""
    return load_instruments(home.instruments)


def provider_factory(settings: ProviderSettings) -> Callable[[Instrument], Provider]:
    """Return what finds an instrument's provider; each is built once."""

    @cache
    def build(name: str) -> Provider:
        return registry.build(name, settings)

    return lambda instrument: build(instrument.provider)
