"""The sample: read out of an installed package that is never imported."""

import hashlib
import importlib.metadata
import importlib.util
import sys
from pathlib import Path

import polars as pl
import pytest

from market.errors import InputError, ProviderDataError
from market.instruments import Instrument
from market.timeframes import Timeframe
from providers.sample.client import SHA256, read_sample
from providers.sample.provider import SampleProvider

EURUSD = Instrument("EURUSD", "fx", "fx", "sample", "EURUSD", Timeframe.H1, 0.00001, 100_000)

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("backtesting") is None,
    reason="the sample's package is not installed: pip install wavehouse[demo]",
)


class _Distribution(importlib.metadata.Distribution):
    """A package in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read_text(self, filename: str) -> str | None:
        return "Metadata-Version: 2.1\nVersion: 0.6.5\n" if filename == "METADATA" else None

    def locate_file(self, path: object) -> Path:
        return self._folder / str(path)


@needs_package
def test_it_equals_the_recorded_bars(shared_data: Path) -> None:
    provider = SampleProvider()
    bars = provider.fetch(EURUSD, *provider.span(EURUSD))
    recorded = pl.read_parquet(shared_data / "ohlcv" / "EURUSD_1h_backtestingpy_2017-2018.parquet")
    assert bars.frame.equals(recorded.drop("instrument"))
    assert bars.watermark_us == recorded["ts"].to_physical()[-1] + 3_600_000_000


@needs_package
def test_the_package_is_not_imported() -> None:
    read_sample()
    assert "backtesting" not in sys.modules


def _absent(name: str) -> importlib.metadata.Distribution:
    raise importlib.metadata.PackageNotFoundError(name)


def test_a_package_that_is_absent_says_what_to_install() -> None:
    with pytest.raises(
        ProviderDataError, match=r"was not installed: run `make install`, or .*demo"
    ):
        read_sample(_absent)


def test_another_file_is_refused_by_both_hashes(tmp_path: Path) -> None:
    file = tmp_path / "backtesting" / "test" / "EURUSD.csv"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"another")
    digest = hashlib.sha256(b"another").hexdigest()
    with pytest.raises(ProviderDataError, match=rf"{SHA256}.*was {digest} \(backtesting 0\.6\.5"):
        read_sample(lambda _: _Distribution(tmp_path))


def test_a_package_without_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProviderDataError, match=r"was not in backtesting 0\.6\.5"):
        read_sample(lambda _: _Distribution(tmp_path))


@pytest.mark.parametrize(
    ("symbol", "timeframe"), [("GBPUSD", Timeframe.H1), ("EURUSD", Timeframe.M1)]
)
def test_it_has_one_series_only(symbol: str, timeframe: Timeframe) -> None:
    other = Instrument("X", "fx", "fx", "sample", symbol, timeframe, 0.00001, 1.0)
    with pytest.raises(InputError, match="expected symbol EURUSD and base_timeframe H1"):
        SampleProvider().span(other)
