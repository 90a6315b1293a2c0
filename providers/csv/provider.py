"""``csv``: bars from CSV or Parquet files, by path and column map."""

from pathlib import Path

import polars as pl

from market.errors import ProviderDataError
from market.instruments import Instrument
from market.ports import Bars, Provider
from market.settings import ProviderSettings
from market.timeframes import MICROSECONDS_PER_SECOND
from providers import conventions
from providers.csv import client
from providers.csv.options import CsvOptions
from providers.csv.parsing import parse_bars
from providers.options import parse


class CsvProvider:
    """Deliver what lies in files; the last instrument's bars are kept until its files change."""

    name = "csv"

    def __init__(self) -> None:
        self._kept: tuple[tuple[str, ...], pl.DataFrame] | None = None

    def fetch(self, instrument: Instrument, start_us: int, end_us: int) -> Bars:
        """Return the files' bars that open in [start, end)."""
        conventions.check_window(start_us, end_us)
        options = parse(CsvOptions, instrument)
        bars = self._bars(instrument, options)
        watermark = conventions.scheduled_end(instrument, _newest(bars))
        if options.complete_until is not None:
            watermark = round(options.complete_until.timestamp() * MICROSECONDS_PER_SECOND)
        return Bars(conventions.between(bars, start_us, end_us), watermark)

    def span(self, instrument: Instrument) -> tuple[int, int]:
        """Return from the first open to just after the last one."""
        bars = self._bars(instrument, parse(CsvOptions, instrument))
        return int(bars["ts"].to_physical().min() or 0), _newest(bars) + 1  # type: ignore[arg-type]

    def fingerprint(self, instrument: Instrument, start_us: int, end_us: int) -> str:
        """Return the hash of what the files, read as the options say, have of the window."""
        return conventions.fingerprint(self.fetch(instrument, start_us, end_us), end_us)

    def _bars(self, instrument: Instrument, options: CsvOptions) -> pl.DataFrame:
        where = f"instrument {instrument.id}"
        files = {side: client.find(p, where=where) for side, p in options.sides.items()}
        stamps = (_stamp(file) for side in files.values() for file in side)
        key = (repr(instrument), *stamps)
        if self._kept is not None and self._kept[0] == key:
            return self._kept[1]
        sides = [_side(paths, instrument, options) for paths in files.values()]
        bars = sides[0] if len(sides) == 1 else conventions.mid(*sides)
        if bars.is_empty():
            raise ProviderDataError(f"{where}: expected bars, was none in its files")
        if options.volume == "reported" and conventions.has_only_zero_volume(bars):
            raise ProviderDataError(
                f"{where}: expected some volume above 0, was 0 throughout: set "
                "options.volume to 'none' (the source has none) or 'zero' (nothing was traded)"
            )
        self._kept = (key, bars)
        return bars


def build(_settings: ProviderSettings) -> Provider:
    """Return the provider; it needs no settings."""
    return CsvProvider()


def _side(paths: list[Path], instrument: Instrument, options: CsvOptions) -> pl.DataFrame:
    frames = [_file(path, instrument, options) for path in paths]
    frames = [frame for frame in frames if len(frame)]
    frames.sort(key=lambda frame: frame["ts"][0])
    return pl.concat(frames) if frames else conventions.empty_bars()


def _file(path: Path, instrument: Instrument, options: CsvOptions) -> pl.DataFrame:
    raw = client.read(path, separator=options.separator, has_header=options.has_header)
    where = f"instrument {instrument.id}: {path}"
    bars = parse_bars(raw.frame, options, locate=raw.locate, where=where)
    if options.stamp == "close":
        bars = bars.with_columns(conventions.open_stamps(bars["ts"], instrument))
    return bars


def _newest(bars: pl.DataFrame) -> int:
    return int(bars["ts"].to_physical().max())  # type: ignore[arg-type]


def _stamp(file: Path) -> str:
    try:
        facts = file.stat()
    except OSError as e:
        raise ProviderDataError(f"{file}: expected a readable file, was: {e}") from e
    return f"{file}|{facts.st_mtime_ns}|{facts.st_size}"
