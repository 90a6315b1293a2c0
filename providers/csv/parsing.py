"""From a file's columns to bars: pure, and every refusal names the row."""

from typing import Final

import polars as pl

from market.errors import ProviderDataError
from market.tables import INSTANT
from providers.conventions import BAR_SCHEMA, PRICES, Locate, take_columns, to_utc, without_volume
from providers.csv.options import Column, CsvOptions

# tried in this order where the options give no format; the first that reads every row is taken
_FORMATS: Final = (
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
)
_PER_UNIT: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}
_NANOSECONDS_PER_MICROSECOND: Final = 1_000


def parse_bars(
    frame: pl.DataFrame, options: CsvOptions, *, locate: Locate, where: str
) -> pl.DataFrame:
    """Return bars with the file's own stamps as UTC instants (still at open or close, as they are).

    Raises ``ProviderDataError`` that names the first row whose stamp or number does not read.
    """
    columns = {ours: _named(theirs, frame) for ours, theirs in options.columns.items()}
    stamp_parts = columns.pop("ts")
    ts = _stamp_column(frame, stamp_parts, where=where)
    single = {ours: theirs[0] for ours, theirs in columns.items()}
    values = take_columns(frame, single, where=where)
    numbers = [_numbers(values[c], locate, is_required=c in PRICES) for c in values.columns]
    bars = pl.DataFrame([_instants(ts, options, locate), *numbers])
    if options.volume == "none" or "volume" not in bars.columns:
        bars = without_volume(bars)
    return bars.select(list(BAR_SCHEMA))


def _named(column: Column | list[Column], frame: pl.DataFrame) -> list[str]:
    """Return a column's names: positions are looked up, a name stays."""
    parts = column if isinstance(column, list) else [column]
    width = frame.width
    return [
        frame.columns[part] if isinstance(part, int) and 0 <= part < width else str(part)
        for part in parts
    ]


def _stamp_column(frame: pl.DataFrame, parts: list[str], *, where: str) -> pl.Series:
    taken = take_columns(frame, {f"ts {i}": part for i, part in enumerate(parts)}, where=where)
    if taken.width == 1:
        return taken.to_series().alias("ts")
    return taken.select(pl.concat_str(pl.all(), separator=" ").alias("ts")).to_series()


def _numbers(column: pl.Series, locate: Locate, *, is_required: bool) -> pl.Series:
    """Return a column as finite float64; an empty field is null where that is allowed."""
    text = column.str.strip_chars() if column.dtype == pl.String else column
    numbers = text.cast(pl.Float64, strict=False)
    absent = (text == "") if text.dtype == pl.String else text.is_null()
    bad = numbers.is_null() | ~numbers.is_finite().fill_null(value=False)
    if not is_required:
        bad &= ~absent.fill_null(value=True)
    _raise_at(bad, column, locate, "a finite number")
    return numbers


def _instants(column: pl.Series, options: CsvOptions, locate: Locate) -> pl.Series:
    """Return stamps of any kind as UTC microseconds."""
    if column.dtype == pl.String and options.timestamp_unit is None:
        column = _from_text(column.str.strip_chars(), options.timestamp_format, locate)
    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone is not None:
        instants = column.dt.convert_time_zone("UTC").cast(INSTANT)
    elif column.dtype in (pl.Datetime, pl.Date):
        wall = column.cast(pl.Datetime("us"))
        instants = to_utc(wall, options.timezone, wall_times=options.wall_times, locate=locate)
    else:
        instants = _from_numbers(column, options.timestamp_unit, locate)
    _raise_at(instants.is_null(), column, locate, "a time stamp")
    return instants.alias("ts")


def _from_text(column: pl.Series, given: str | None, locate: Locate) -> pl.Series:
    """Return stamps read by the given format, or by the first of the known ones that reads all."""
    readings = []
    for text_format in (given,) if given else _FORMATS:
        reading = column.str.to_datetime(text_format, time_unit="us", strict=False)
        if not reading.has_nulls():
            return reading
        readings.append(reading)
    nearest = min(readings, key=pl.Series.null_count)
    wanted = f"a time stamp of format {given!r}" if given else "a time stamp (set timestamp_format)"
    _raise_at(nearest.is_null(), column, locate, wanted)
    return nearest


def _from_numbers(column: pl.Series, unit: str | None, locate: Locate) -> pl.Series:
    if unit is None:
        raise ProviderDataError(
            f"{locate(0) if len(column) else 'ts'}: expected a time stamp, was the number "
            f"{column[0] if len(column) else ''}: set timestamp_unit to s, ms, us or ns"
        )
    numbers = column.cast(pl.Int64, strict=False)
    _raise_at(numbers.is_null(), column, locate, f"a whole number of {unit}")
    if unit == "ns":
        return (numbers // _NANOSECONDS_PER_MICROSECOND).cast(INSTANT)
    return (numbers * _PER_UNIT[unit]).cast(INSTANT)


def _raise_at(bad: pl.Series, column: pl.Series, locate: Locate, expected: str) -> None:
    rows = bad.arg_true()
    if len(rows):
        row = int(rows[0])
        raise ProviderDataError(
            f"{locate(row)}, {column.name}: expected {expected}, was {column[row]!r}"
        )
