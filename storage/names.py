"""Names of partitions that may become folders."""

import functools
import re
from typing import Final

from market.errors import InputError
from market.months import parse_month

_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=^+-]*")


@functools.lru_cache(maxsize=4096)  # asked for every pointer
def check_names(table: str, timeframe: str, instrument: str, month: str = "2000-01") -> None:
    """Raise ``InputError`` unless these name folders inside the root, whoever asked for them."""
    for name, part in (("table", table), ("timeframe", timeframe), ("instrument", instrument)):
        if not _PART.fullmatch(part):
            raise InputError(f"{name}: expected a name of letters and digits, was {part!r}")
    if parse_month(month) != month:
        raise InputError(f"month: expected YYYY-MM, was {month!r}")
