"""What ``POST /v1/labels/compute`` takes and answers: names, types, bounds. No logic."""

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field

from serving.schemas import Answer, Body, Instant, InstrumentId, LabelSet, Number, TimeframeName

Price = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


class LabelCandle(Body):
    """The entry candle; it need not lie on our grid."""

    ts: Instant = Field(description="Open of the candle (ISO 8601; UTC if it says none).")
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Annotated[Number, Field(ge=0)] | None = None
    atr_14: Price | None = Field(
        None, description="Wilder's ATR 14, price units; from materialised bars if absent."
    )


class LabelOptions(Body):
    """How to compute."""

    horizon_periods: int = Field(6, ge=1, le=100, description="Bars of the granularity.")
    use_cache: bool = True
    force_recompute: bool = False


class GivenLevel(Body):
    """An active level, in place of those that are materialised."""

    price: Price
    type: Literal["support", "resistance"]


class GivenPath(Body):
    """The bars after the candle's close, as columns, in place of those that are materialised."""

    timeframe: TimeframeName
    ts: list[Instant]
    open: list[Price]
    high: list[Price]
    low: list[Price]
    close: list[Price]


class ComputeLabelsRequest(Body):
    """A candle to label."""

    instrument_id: InstrumentId
    granularity: TimeframeName = Field(description="Timeframe of the candle.")
    candle: LabelCandle
    label_types: list[Annotated[str, Field(max_length=64)]] | None = Field(
        None, max_length=100, description="Names or numbers (11.a); all if absent."
    )
    options: LabelOptions = LabelOptions()
    levels: list[GivenLevel] | None = None
    path: GivenPath | None = None


class BarrierReason(Answer):
    """Why a barrier lies where it does."""

    barrier: float | None
    unadjusted: float | None
    level_price: float | None = Field(description="Nearest active level on that side.")
    level_id: str | None
    reason: Literal["moved", "no level", "beyond reach", "too near", "outside the band", "no atr"]


class TouchBar(Answer):
    """A bar of the path near the touch."""

    ts: dt.datetime
    high: float
    low: float
    close: float
    is_touch: bool


class Explanation(Answer):
    """Which level moved which barrier, the label without levels, the bars around the touch."""

    upper: BarrierReason
    lower: BarrierReason
    label_unadjusted: int | None
    bars_around_touch: list[TouchBar]


class ComputedLabels(Answer):
    """The labels of the candle; null is not known (yet), never zero."""

    instrument_id: str
    granularity: str
    ts: dt.datetime
    labels: LabelSet
    status: Literal["pending", "final", "censored"]
    known_at: dt.datetime
    matured_at: dt.datetime | None
    label_version: str
    horizon_periods: int
    entry_price: float
    atr: float | None
    unavailable: dict[str, str] = Field(
        description="Labels that are null and will stay so as the question was put, and why."
    )
    data_versions: dict[str, str] = Field(description="Partition versions that were read.")
    explain: Explanation | None = None
    version: str
    computation_time_ms: float
    cache_hit: bool
