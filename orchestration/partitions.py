"""How the line is cut: instrument × month for data, month of the cutoff for models.

Vocabulary: it lies below ``assets``. Add a partition dimension here; keep out which asset has it.
"""

import warnings

import dagster as dg

from market.months import parse_month

INSTRUMENTS = dg.DynamicPartitionsDefinition(name="instrument")
MONTHS = dg.MonthlyPartitionsDefinition(start_date="2000-01-01", end_offset=1)
INSTRUMENT_MONTHS = dg.MultiPartitionsDefinition({"instrument": INSTRUMENTS, "month": MONTHS})
CUTOFFS = dg.MonthlyPartitionsDefinition(start_date="2000-01-01", end_offset=1)


def window(start_offset: int, end_offset: int) -> dg.MultiPartitionMapping:
    """Map a month of an instrument to that instrument's months [start_offset, end_offset]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # both are, in 1.13; pinned and tested
        months = dg.TimeWindowPartitionMapping(
            start_offset=start_offset,
            end_offset=end_offset,
            allow_nonexistent_upstream_partitions=True,
        )
        same = dg.IdentityPartitionMapping()
        return dg.MultiPartitionMapping(
            {
                "instrument": dg.DimensionPartitionMapping("instrument", same),
                "month": dg.DimensionPartitionMapping("month", months),
            }
        )


def partition_key(instrument: str, month: str) -> str:
    """Return Dagster's key of an instrument's month."""
    return f"{instrument}|{month}-01"


def split_key(key: str) -> tuple[str, str]:
    """Return (instrument, month) of Dagster's key."""
    instrument, month = key.rsplit("|", 1)
    return instrument, parse_month(month)
