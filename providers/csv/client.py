"""Find and read files of bars: every failure names the file."""

import csv
import glob
import gzip
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from market.errors import ProviderDataError


@dataclass(frozen=True, slots=True)
class RawFile:
    """A file as it lies there: text columns (CSV) or typed ones (Parquet), and each row's place."""

    frame: pl.DataFrame
    name: str
    lines: pl.Series | None

    def locate(self, row: int) -> str:
        """Name a row: by line where the file has lines."""
        if self.lines is None:
            return f"{self.name} row {row + 1}"
        return f"{self.name} line {self.lines[row]}"


def find(pattern: str, *, where: str) -> list[Path]:
    """Return the files that a path or a glob names, by name; raise where there are none."""
    expanded = str(Path(pattern).expanduser())
    files = sorted(Path(found) for found in glob.glob(expanded, recursive=True))  # noqa: PTH207 - takes absolute patterns, Path.glob does not
    if not files:
        raise ProviderDataError(f"{where}: expected a file, was nothing at {pattern}")
    return files


def read(path: Path, *, separator: str, has_header: bool) -> RawFile:
    """Return one file's columns; CSV ones are text, and rows with too few fields are an error."""
    try:
        if path.suffix == ".parquet":
            return RawFile(pl.read_parquet(path), path.name, None)
        frame = pl.read_csv(
            path,
            separator=separator,
            has_header=has_header,
            infer_schema=False,
            empty_string_is_null=False,
            glob=False,
        )
    except OSError as e:
        raise ProviderDataError(f"{path}: expected a readable file, was: {e}") from e
    except pl.exceptions.PolarsError as e:
        _check_width(path, separator)
        raise ProviderDataError(
            f"{path}: expected {'Parquet' if path.suffix == '.parquet' else 'CSV'}, was: {e}"
        ) from e
    # a short row reads as empty fields, and so does a null volume: count only where one is seen
    if any((frame[c] == "").any() for c in frame.columns):
        _check_width(path, separator)
    first_line = 2 if has_header else 1
    frame = frame.with_row_index("", first_line)
    fields = pl.exclude("")
    frame = frame.filter(~pl.all_horizontal(fields == ""))  # blank lines
    return RawFile(frame.select(fields), path.name, frame[""])


def _check_width(path: Path, separator: str) -> None:
    """Raise ``ProviderDataError`` that names the first line with another count of fields."""
    if path.suffix == ".parquet":
        return
    opened = gzip.open if path.suffix == ".gz" else open
    width = 0
    with opened(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file, delimiter=separator)
        for fields in reader:
            width = width or len(fields)
            if fields and len(fields) != width:
                raise ProviderDataError(
                    f"{path.name} line {reader.line_num}: "
                    f"expected {width} fields, was {len(fields)}"
                )
