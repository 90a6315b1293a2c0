"""Binance's answers: checked field by field, then ours. Pure; the client does the talking."""

from collections.abc import Sequence
from typing import Annotated, Final

import polars as pl
from pydantic import BaseModel, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from market.errors import ProviderDataError, ProviderUnavailableError
from market.tables import INSTANT
from market.timeframes import Timeframe
from providers.conventions import BAR_SCHEMA, empty_bars

INTERVALS: Final = {
    Timeframe.M1: "1m",
    Timeframe.M5: "5m",
    Timeframe.M15: "15m",
    Timeframe.M30: "30m",
    Timeframe.H1: "1h",
    Timeframe.H4: "4h",
    Timeframe.D: "1d",
    Timeframe.W: "1w",
}

FIELDS: Final = (
    "openTime",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "closeTime",
    "quoteAssetVolume",
    "numberOfTrades",
    "takerBuyBaseAssetVolume",
    "takerBuyQuoteAssetVolume",
    "ignore",
)

_Decimal = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)?$", max_length=40)]

Kline = tuple[
    int,
    _Decimal,
    _Decimal,
    _Decimal,
    _Decimal,
    _Decimal,
    int,
    _Decimal,
    int,
    _Decimal,
    _Decimal,
    str,
]
"""One bar as Binance sends it: twelve fields, prices as decimal text, times in milliseconds."""

_OPEN_TIME: Final = 0
_CLOSE_TIME: Final = 6
_KLINES: Final = TypeAdapter(list[Kline])
_FIRST_MONDAY_MS: Final = 4 * 86_400_000  # weeks open on Mondays; 1970 began on a Thursday


class ServerTime(BaseModel):
    """Answer of ``/api/v3/time``."""

    serverTime: int  # noqa: N815 - Binance's name


class Refusal(BaseModel):
    """What Binance says when it will not answer."""

    code: int
    msg: str


def parse_server_time(body: bytes) -> int:
    """Return the exchange's clock in milliseconds."""
    try:
        return ServerTime.model_validate_json(body, strict=True).serverTime
    except ValidationError as e:
        raise _translated(e, "server time") from e


def parse_klines(body: bytes) -> list[Kline]:
    """Return the bars of an answer, in its order.

    Raises ``ProviderUnavailableError`` where the text breaks off (asking again may help) and
    ``ProviderDataError`` naming row and field where it is whole and wrong.
    """
    try:
        return _KLINES.validate_json(body, strict=True)
    except ValidationError as e:
        raise _translated(e, "klines") from e


def parse_refusal(body: bytes) -> str:
    """Return the reason in a refusal, or nothing where there is none to read."""
    try:
        refusal = Refusal.model_validate_json(body)
    except ValidationError:
        return ""
    return f": {refusal.msg[:200]} (code {refusal.code})"


def check_page(page: Sequence[Kline], *, after_ms: int, before_ms: int) -> None:
    """Raise ``ProviderDataError`` naming the row that is a duplicate, disordered or unasked for."""
    newest = after_ms - 1
    for row, kline in enumerate(page, start=1):
        opened, closed = kline[_OPEN_TIME], kline[_CLOSE_TIME]
        if not newest < opened < before_ms:
            raise ProviderDataError(
                f"row {row}, openTime: expected > {newest} and < {before_ms}, was {opened}"
            )
        if closed <= opened:
            raise ProviderDataError(
                f"row {row}, closeTime: expected > openTime {opened}, was {closed}"
            )
        newest = opened


def to_bars(klines: Sequence[Kline], *, server_ms: int) -> pl.DataFrame:
    """Return the bars that had closed by the exchange's clock; the running one never leaves."""
    closed = [k for k in klines if k[_CLOSE_TIME] < server_ms]
    if not closed:
        return empty_bars()
    columns = list(zip(*closed, strict=True))
    opens = pl.Series("ts", columns[_OPEN_TIME], dtype=pl.Int64) * 1_000
    numbers = [
        pl.Series(name, columns[FIELDS.index(name)], dtype=pl.String).cast(pl.Float64)
        for name in BAR_SCHEMA
        if name != "ts"
    ]
    return pl.DataFrame([opens.cast(INSTANT), *numbers])


def interval_open(instant_ms: int, timeframe: Timeframe) -> int:
    """Return the open of the exchange's interval that holds an instant (days UTC, Monday weeks)."""
    length = timeframe.microseconds // 1_000
    origin = _FIRST_MONDAY_MS if timeframe is Timeframe.W else 0
    return (instant_ms - origin) // length * length + origin


def _translated(error: ValidationError, what: str) -> ProviderDataError | ProviderUnavailableError:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return ProviderUnavailableError(f"{what}: expected JSON, was broken off: {first['msg']}")
    return ProviderDataError(f"{what}{_place(first)}: expected {first['msg']}, {_was(first)}")


def _place(error: ErrorDetails) -> str:
    """Return ``, row 3, field high`` for pydantic's ``(2, 2)``."""
    place = error["loc"]
    row = f" row {int(place[0]) + 1}" if place and isinstance(place[0], int) else ""
    if len(place) > 1 and isinstance(place[1], int):
        name = FIELDS[place[1]] if place[1] < len(FIELDS) else f"number {place[1] + 1}"
        return f"{row}, {name}"
    return row


def _was(error: ErrorDetails) -> str:
    shown = repr(error["input"])
    return f"was {shown[:80]}"
