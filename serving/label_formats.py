"""Label rows as CSV, Arrow and Parquet: the table's own columns, those that were asked for.

Belongs here: which form an ``Accept`` header means, and the bytes. Keep out: JSON (``labels``),
which has the shape of the source.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import polars as pl

from serving import accepts
from serving.errors import NotAcceptableError
from serving.label_types import BARRIER, TIME_TO_BARRIER

JSON: Final = "application/json"
CSV: Final = "text/csv"
ARROW: Final = "application/vnd.apache.arrow.stream"
PARQUET: Final = "application/vnd.apache.parquet"

_ABOUT: Final = (
    "instrument", "timeframe", "ts", "status", "known_at", "matured_at", "label_version",
    "horizon_bars", "entry_price", "atr",
)  # fmt: skip
_OF_BARRIER: Final = (
    BARRIER, "barrier_hit", "is_ambiguous", "label_if_long", "label_if_short", "label_unadjusted",
    "t1", "time_to_barrier_bars", "time_to_barrier_path_bars", "upper_barrier", "lower_barrier",
    "is_upper_adjusted", "is_lower_adjusted", "nearest_support", "nearest_resistance",
    "support_level_id", "resistance_level_id", "path_timeframe", "path_bars", "path_bars_missing",
)  # fmt: skip
_INSTANT: Final = "%Y-%m-%dT%H:%M:%S%.6fZ"


def chosen(accept: str) -> str:
    """Return the media type to answer in; raise ``NotAcceptableError`` where none is taken."""
    found = accepts.best(accept, (JSON, *WRITERS))
    if found is None:
        raise NotAcceptableError(
            f"Accept: expected one of {', '.join((JSON, *WRITERS))}, was {accept[:200]!r}"
        )
    return found


def columns(types: Sequence[str]) -> list[str]:
    """Return the columns of the table that these label types are, in the table's order."""
    found = [*_ABOUT]
    if BARRIER in types:
        found += _OF_BARRIER
    elif TIME_TO_BARRIER in types:
        found.append("time_to_barrier_bars")
    return found + [name for name in types if name not in (BARRIER, TIME_TO_BARRIER)]


def _csv(frame: pl.DataFrame) -> bytes:
    return frame.write_csv(datetime_format=_INSTANT).encode()


def _arrow(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    # without string views, which readers of some years ago do not know
    frame.write_ipc_stream(out, compat_level=pl.CompatLevel.oldest())
    return out.getvalue()


def _parquet(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_parquet(out, compression="zstd")
    return out.getvalue()


WRITERS: Final[Mapping[str, Callable[[pl.DataFrame], bytes]]] = MappingProxyType(
    {CSV: _csv, ARROW: _arrow, PARQUET: _parquet}
)
