"""What an instrument may ask of the synthetic market."""

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field, model_validator

from providers.options import Options


class SyntheticOptions(Options):
    """Seed and extent of a made-up market; ``price`` and volatility default by calendar."""

    seed: int = 0
    start: dt.date = dt.date(2015, 1, 1)
    end: dt.date = dt.date(2025, 1, 1)
    missing_rate: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    volume: Literal["reported", "none"] = "reported"
    price: Annotated[float, Field(gt=0)] | None = None
    annual_volatility: Annotated[float, Field(gt=0, le=2)] | None = None

    @model_validator(mode="after")
    def _check_extent(self) -> "SyntheticOptions":
        if not dt.date(1970, 1, 1) <= self.start < self.end <= dt.date(2200, 1, 1):
            raise ValueError("start and end are days of 1970 to 2200, start before end")
        return self
