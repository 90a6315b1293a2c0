"""What goes over the wire. Belongs here: names, types, bounds, one description each. No logic."""

import datetime as dt
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
)
from typing_extensions import TypedDict

from market.timeframes import Timeframe
from storage.cache import CacheMode

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A finite number; JSON has no NaN, and a text or a boolean is not one."""


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _iso(value: object) -> object:
    """Refuse bare numbers: pydantic would read "2024" as 2,024 seconds after 1970."""
    if not isinstance(value, str | dt.datetime):
        raise ValueError("expected an ISO 8601 instant")  # noqa: TRY004 - pydantic wants ValueError
    if isinstance(value, str) and value.strip().lstrip("+-").replace(".", "", 1).isdigit():
        raise ValueError("expected an ISO 8601 instant, was a number")
    return value


def _utc(value: dt.datetime) -> dt.datetime:
    """Return the instant in UTC; one without an offset is taken as UTC."""
    if value.tzinfo is None:
        return value.replace(tzinfo=dt.UTC)
    try:
        return value.astimezone(dt.UTC)
    except OverflowError as e:
        raise ValueError("expected a year from 1 to 9999 in UTC") from e


def _end_of_day(value: object) -> object:
    """Return the last microsecond of a day that is given without a time."""
    if isinstance(value, str) and len(value) == len("2017-05-31"):
        try:
            return dt.datetime.combine(dt.date.fromisoformat(value), dt.time.max, dt.UTC)
        except ValueError:
            return value  # not a date: the instant's own message says what was expected
    return value


_DATE_OR_INSTANT = WithJsonSchema(
    {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}
)

Instant = Annotated[dt.datetime, BeforeValidator(_iso), AfterValidator(_utc)]
FirstInstant = Annotated[Instant, _DATE_OR_INSTANT]
LastInstant = Annotated[Instant, BeforeValidator(_end_of_day), _DATE_OR_INSTANT]
InstrumentId = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=64, examples=["EURUSD"])
]
TimeframeName = Annotated[Timeframe, BeforeValidator(_upper)]
ModelName = Annotated[str, Field(min_length=1, max_length=256)]


class Body(BaseModel):
    """A request body: an unknown field is refused, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# ---------------------------------------------------------------- errors


class ErrorDetail(Answer):
    """One field and what is wrong with it."""

    field: str
    message: str
    code: str


class ErrorBody(Answer):
    """What went wrong."""

    code: str
    message: str
    details: list[ErrorDetail]
    trace_id: str


class ErrorResponse(Answer):
    """The one shape of every refusal."""

    error: ErrorBody
    timestamp: dt.datetime


# ---------------------------------------------------------------- predictions


def _features_branch(value: object) -> str | None:
    if isinstance(value, dict):
        return "{mapping}"
    return "{list}" if isinstance(value, list) else None


FeatureMap = Annotated[dict[str, Number | None], Field(min_length=1)]
FeatureRow = Annotated[list[Number | None], Field(min_length=1)]
Features = Annotated[
    Annotated[FeatureMap, Tag("{mapping}")] | Annotated[FeatureRow, Tag("{list}")],
    Discriminator(
        _features_branch,
        custom_error_type="features_type",
        custom_error_message="Input should be an object of name: number, or an ordered list",
    ),
]


class ModelChoice(Body):
    """Which model to ask; without one, the best kind that is served."""

    model: ModelName | None = Field(None, description="Registered name.")
    model_type: ModelName | None = Field(
        None, description="Kind: ensemble, xgboost, transformer, lstm, first_passage."
    )


class PredictFromFeatures(ModelChoice):
    """Predict from a feature vector that the caller has."""

    features: Features = Field(
        description="By name, or ordered as `GET /models` lists them; null where unknown."
    )


class PredictFromSeries(ModelChoice):
    """Predict from a feature row of the lake."""

    instrument: InstrumentId
    timeframe: TimeframeName
    ts: Instant | None = Field(
        None, description="Open of the bar (ISO 8601, UTC); newest if absent."
    )


def _predict_branch(value: object) -> str:
    return "{features}" if isinstance(value, dict) and "features" in value else "{series}"


PredictRequest = Annotated[
    Annotated[PredictFromFeatures, Tag("{features}")]
    | Annotated[PredictFromSeries, Tag("{series}")],
    Discriminator(_predict_branch),
]

Direction = Literal["bearish", "neutral", "bullish"]


class Probabilities(Answer):
    """Of the classes -1, 0 and +1 of the enhanced triple barrier."""

    bearish: float
    neutral: float
    bullish: float


class FeatureData(Answer):
    """The partition version that the feature vector was read from."""

    path: str
    version: str
    code_version: str


class Prediction(Answer):
    """One prediction, with all that it takes to make it again."""

    prediction_id: str = Field(description="Hash of model version and feature vector.")
    model: str
    version: int
    alias: str
    kind: str
    run_id: str
    edge: str | None = Field(
        description="What the version's evaluation shows over the first-passage baseline: none, "
        "volatility, direction, both or unresolved; null before it was judged."
    )
    prediction: Direction
    label: Literal[-1, 0, 1]
    confidence: float = Field(description="Probability of the predicted class.")
    probabilities: Probabilities
    prediction_set: list[Direction] = Field(description="Conformal set; may be empty or hold all.")
    instrument: str | None
    timeframe: str | None
    ts: dt.datetime | None
    known_at: dt.datetime | None = Field(
        description="When the vector was known; null where the caller gave it."
    )
    features: dict[str, float | None]
    feature_data: FeatureData | None


# ---------------------------------------------------------------- labels

Sort = Literal["ts_asc", "ts_desc", "forward_return_asc", "forward_return_desc"]
Sign = Literal[-1, 0, 1]


class LabelParameters(Body):
    """Which labels: a series, a range with both ends included, a page of it."""

    instrument_id: InstrumentId
    granularity: TimeframeName = Field(description="Timeframe of the candles.")
    start_date: FirstInstant = Field(description="First bar open (ISO 8601; UTC if it says none).")
    end_date: LastInstant = Field(description="Last bar open; a date alone is all its day.")
    label_types: str | None = Field(None, description="Comma-separated names; all if absent.")
    enhanced_triple_barrier_label: Annotated[int, Field(ge=-1, le=1)] | None = None
    return_quantile_min: Annotated[int, Field(ge=0, le=100)] | None = Field(
        None, description="Of deciles 1 to 10; rows without one are left out."
    )
    return_quantile_max: Annotated[int, Field(ge=0, le=100)] | None = None
    forward_return_min: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        None, description="A fraction; rows without one are left out."
    )
    forward_return_max: Annotated[float, Field(allow_inf_nan=False)] | None = None
    status: Literal["pending", "final", "censored"] | None = None
    page: int = Field(1, ge=1, le=1_000_000)
    per_page: int = Field(100, ge=1, le=1000)
    cursor: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="`next_cursor` of the page before; then `page` is not given."
    )
    sort: Sort = "ts_asc"


class OneLabelParameters(Body):
    """Which labels of one candle."""

    label_types: str | None = Field(None, description="Comma-separated names; all if absent.")


class EnhancedTripleBarrier(Answer):
    """Label 11.a of one candle; outcomes are null while pending."""

    label: Sign | None
    barrier_hit: Literal["upper", "lower", "none", "ambiguous"] | None
    time_to_barrier: int | None = Field(description="1-based, in bars of the granularity.")
    time_to_barrier_path_bars: int | None
    barrier_price: float | None = Field(description="Price of the barrier that was hit.")
    level_adjusted: bool | None
    upper_adjusted: bool | None
    lower_adjusted: bool | None
    nearest_support: float | None
    nearest_resistance: float | None
    support_level_id: str | None
    resistance_level_id: str | None
    upper_barrier: float | None
    lower_barrier: float | None
    t1: dt.datetime | None
    is_ambiguous: bool | None
    label_if_long: Sign | None
    label_if_short: Sign | None
    label_unadjusted: Sign | None
    path_timeframe: str | None
    path_bars: int | None
    path_bars_missing: int | None


class LabelSet(TypedDict, total=False):
    """The labels that were asked for; null is not known (yet), never zero."""

    enhanced_triple_barrier: EnhancedTripleBarrier
    time_to_barrier: int | None
    forward_return: float | None
    return_sign: int | None
    vol_scaled_return: float | None
    return_quantile: int | None
    triple_barrier: int | None
    mfe: float | None
    mae: float | None
    profit_factor: float | None
    retouch_count: int | None
    touch_run: int | None
    breakout_occurred: bool | None
    nearest_breakout_occurred: bool | None
    flip_occurred: bool | None
    range_expansion: float | None
    event_burst: bool | None
    drawdown_depth: float | None
    end_vs_extremum_gap: float | None
    max_penetration: float | None
    time_underwater: float | None
    path_skewness: float | None
    nearest_level_distance: float | None
    next_touch_time: int | None
    trend_scan_sign: int | None
    trend_scan_t: float | None
    meta_label: int | None


class LabelRow(Answer):
    """The labels of one candle."""

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


class OneLabel(LabelRow):
    """The labels of one candle, and the partition version that they were read from."""

    data_versions: dict[str, str]


class CacheHeaders(BaseModel):
    """What a caller has already, and what it wants of the cache."""

    if_none_match: str | None = None
    x_cache_strategy: CacheMode = CacheMode.PREFER


class Pagination(Answer):
    """Where this page lies in the whole."""

    page: int
    per_page: int
    total: int
    total_pages: int
    has_next: bool
    has_prev: bool


class LabelPagination(Answer):
    """Where this page lies; after a cursor nobody counted, so numbers are null."""

    page: int | None
    per_page: int
    total: int | None
    total_pages: int | None
    has_next: bool
    has_prev: bool
    next_cursor: str | None = Field(description="Of the page after; null on the last one.")


class LabelPage(Answer):
    """A page of labels and the partition versions that it was read from."""

    data: list[LabelRow]
    pagination: LabelPagination
    data_versions: dict[str, str]
