"""The sample file's form: a header, UTC opens to the second, tick counts as volume."""

import polars as pl

from market.tables import INSTANT
from providers.conventions import BAR_SCHEMA


def parse_sample(data: bytes) -> pl.DataFrame:
    """Return the file's bars (its hash is known, so its form is too)."""
    schema = dict(BAR_SCHEMA) | {"ts": pl.String()}
    frame = pl.read_csv(data, has_header=False, skip_rows=1, schema=schema)
    opens = pl.col("ts").str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", time_zone="UTC")
    return frame.with_columns(opens.cast(INSTANT))
