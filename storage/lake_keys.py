"""Every partition of a lake, by walking its folders: for what handles a lake whole."""

from pathlib import Path

from market.ports import PartitionKey
from storage import pointers
from storage.durable import read_errors


def lake_keys(root: Path) -> list[PartitionKey]:
    """Return every partition below ``root`` that has a pointer, in order."""
    with read_errors(str(root)):
        return sorted(
            PartitionKey(table.name, timeframe.name, series.name, month)
            for table in _folders(root)
            for timeframe in _folders(table)
            for series in _folders(timeframe)
            for month in pointers.month_folders(series)
            if pointers.has_pointer(series / month)
        )


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []
