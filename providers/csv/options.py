"""What an instrument says of its files: where they are, and what their columns and stamps mean."""

import zoneinfo
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field, field_validator, model_validator

from providers.conventions import BAR_SCHEMA, WallTimes
from providers.options import Options

Column = str | int
"""A column by name, or by position from 0 where the file has no header."""

_SAME_NAMES: Final[Mapping[str, Column]] = {name: name for name in BAR_SCHEMA}


class CsvOptions(Options):
    """Options of provider ``csv``; docs/providers.md says each in a sentence."""

    path: str | None = None
    bid_path: str | None = None
    ask_path: str | None = None
    price: Literal["trade", "bid", "ask", "mid"] = "trade"
    columns: Mapping[str, Column | list[Column]] = _SAME_NAMES
    has_header: bool = True
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    timestamp_format: str | None = None
    timestamp_unit: Literal["s", "ms", "us", "ns"] | None = None
    timezone: str = "UTC"
    wall_times: WallTimes = "raise"
    stamp: Literal["open", "close"] = "open"
    volume: Literal["reported", "none", "zero"] = "reported"
    complete_until: AwareDatetime | None = None

    @property
    def sides(self) -> Mapping[str, str]:
        """Paths to read, by side: two for a mid, one else."""
        if self.price == "mid":
            return {"bid": str(self.bid_path), "ask": str(self.ask_path)}
        by_side = {"bid": self.bid_path, "ask": self.ask_path}.get(self.price)
        return {self.price: str(by_side or self.path)}

    @field_validator("timezone")
    @classmethod
    def _check_zone(cls, zone: str) -> str:
        try:
            zoneinfo.ZoneInfo(zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError) as e:
            raise ValueError("a zone of the IANA database, such as America/New_York") from e
        return zone

    @model_validator(mode="after")
    def _check_together(self) -> "CsvOptions":
        problem = self._paths_problem() or self._columns_problem()
        if problem:
            raise ValueError(problem)
        return self

    def _paths_problem(self) -> str | None:
        given = {n for n in ("path", "bid_path", "ask_path") if getattr(self, n)}
        if self.price == "mid":
            return None if given == {"bid_path", "ask_path"} else "mid needs bid_path and ask_path"
        needed = {"path"} if self.price == "trade" else {"path", f"{self.price}_path"}
        if not given & needed:
            return f"price {self.price!r} needs {' or '.join(sorted(needed))}"
        if "path" in given and len(given) > 1:
            return "path, or bid_path and ask_path, but not both"
        return None

    def _columns_problem(self) -> str | None:
        unknown = [name for name in self.columns if name not in BAR_SCHEMA]
        missing = [n for n in BAR_SCHEMA if n not in self.columns and n != "volume"]
        if unknown or missing:
            return (
                f"columns maps {', '.join(BAR_SCHEMA)} (volume may be left out); "
                f"unknown: {', '.join(unknown) or 'none'}; missing: {', '.join(missing) or 'none'}"
            )
        if any(isinstance(c, list) for name, c in self.columns.items() if name != "ts"):
            return "only columns.ts may be several columns (a date and a time)"
        if self.volume == "reported" and "volume" not in self.columns:
            return "columns without volume needs volume = 'none'"
        if self.timestamp_format and self.timestamp_unit:
            return "timestamp_format (text) or timestamp_unit (numbers), but not both"
        return None
