"""Candles of any timeframe from base bars, by session calendar; base bars from trades.

Belongs here: what makes a bar well formed, complete, or missing a part. Keep out: where bars come
from, and which month a row is written to (the caller cuts).
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from kernels.gate import Instants, Series, instants, series
from kernels.resample import Bars, Bounds, Resampled, resample
from market.calendars import (
    SessionCalendar,
    Step,
    calendar_for,
    named_step,
    step_length,
    step_name,
)
from market.errors import InputError, MalformedBarsError, SchemaError
from market.instruments import Instrument
from market.tables import CANDLES, INSTANT
from market.timeframes import MICROSECONDS_PER_DAY, Timeframe

_PRICES = ("open", "high", "low", "close")
_OHLCV = (pl.col("ts").cast(INSTANT), *_PRICES, pl.col("volume").fill_nan(None))
_SHARE_ON_STEP = 0.9  # daylight saving moves two gaps a year off the step, thin trading none
_SHORTEST_DAY_US = 20 * MICROSECONDS_PER_DAY // 24
_SHORTEST_WEEK_US = 6 * MICROSECONDS_PER_DAY


@dataclass(frozen=True, slots=True)
class Built:
    """Candles (``tables.CANDLES``), and how many base bars were kept out of them."""

    rows: pl.DataFrame
    n_out_of_session: int


@dataclass(frozen=True, slots=True)
class _Base:
    """Base bars as arrays, in session and on the base grid."""

    bars: Bars
    source: pl.Series
    step: Step
    calendar: SessionCalendar


def build(
    raw: pl.DataFrame,
    *,
    instrument: Instrument,
    timeframe: Timeframe,
    watermark_us: int,
    base_step_us: int | None = None,
) -> Built:
    """Return the candles of one timeframe: every scheduled bar that holds at least one base bar.

    A candle is complete once the watermark has passed its scheduled end; ``n_missing`` counts the
    base bars scheduled inside it that are not in ``raw``; its volume is null if any of theirs is.
    Raises ``MalformedBarsError`` for bars that break a rule or lie off the base grid, and
    ``InputError`` where the base cannot make the timeframe.
    """
    built = build_all(
        raw,
        instrument=instrument,
        timeframes=(timeframe,),
        watermark_us=watermark_us,
        base_step_us=base_step_us,
    )
    return built[timeframe]


def build_all(
    raw: pl.DataFrame,
    *,
    instrument: Instrument,
    timeframes: Sequence[Timeframe],
    watermark_us: int,
    base_step_us: int | None = None,
) -> dict[Timeframe, Built]:
    """Return the candles of several timeframes from one cascade; each bit-equal to ``build``'s."""
    step = named_step(instrument.base_timeframe if base_step_us is None else base_step_us)
    wanted = sorted(set(timeframes), key=lambda t: t.rank)
    for timeframe in wanted:
        _require_divides(step, timeframe, instrument)
    check_bars(raw, f"{instrument.id} base bars")
    if raw.is_empty():
        return {t: Built(CANDLES.empty(), 0) for t in wanted}
    base, out_of_session = _in_session(raw, calendar_for(instrument), step)
    if not base.bars.ts.size:
        return {t: Built(CANDLES.empty(), out_of_session) for t in wanted}
    return {
        t: Built(_frame(r, base, instrument, t, watermark_us), out_of_session)
        for t, r in zip(wanted, _resampled(base, wanted), strict=True)
    }


def complete(candles: pl.DataFrame) -> pl.DataFrame:
    """Return the rows (``tables.CANDLES``) that are complete; raise ``SchemaError`` for others."""
    bars = CANDLES.conform(candles)
    return bars if bars["complete"].all(ignore_nulls=False) else bars.filter("complete")


def check_bars(frame: pl.DataFrame, name: str) -> None:
    """Raise ``MalformedBarsError`` that names the first bad bar and the rule that it breaks.

    Rules: ``ts`` ascending, without duplicates; prices finite and above 0; high and low around
    open and close; volume finite and not negative, or null. Raises ``SchemaError`` for a column
    that is missing or of another type.
    """
    _check_schema(frame, name)
    ts = _instants(frame["ts"])
    open_, high, low, close = (_floats(frame[c]) for c in _PRICES)
    volume = _floats(frame["volume"])
    # comparisons with NaN are false, so a null or NaN price fails without a test of its own
    good = (low > 0) & (low <= open_) & (low <= close) & (high >= open_) & (high >= close)
    good &= high < np.inf
    is_volume_good = (volume >= 0) & (volume < np.inf)
    if frame["volume"].null_count():
        is_volume_good |= frame["volume"].is_null().to_numpy()
    good &= is_volume_good
    good[1:] &= ts[1:] > ts[:-1]
    if frame["ts"].null_count():
        good &= frame["ts"].is_not_null().to_numpy()
    if not good.all():
        row = int(good.argmin())
        raise MalformedBarsError(f"{name}: {_broken_rule(frame, row)}")


def infer_step(frame: pl.DataFrame) -> int:
    """Return the step of a file of bars in microseconds, whatever is missing from it.

    The smallest gap, if the other gaps are multiples of it (but for those that daylight saving
    moved), else the greatest common divisor; about a day is a day, about a week is a week.
    """
    gaps = np.diff(_instants(frame["ts"]))
    if not gaps.size:
        raise InputError(f"step: expected at least 2 bars to infer it from, was {frame.height}")
    smallest = int(gaps.min())
    if smallest <= 0:
        row = int(gaps.argmin()) + 1
        raise MalformedBarsError(f"bars: {_broken_rule(frame, row)}")
    if smallest >= _SHORTEST_WEEK_US:
        return Timeframe.W.microseconds
    if smallest >= _SHORTEST_DAY_US:
        return Timeframe.D.microseconds
    on_step = np.count_nonzero(gaps % smallest == 0) / gaps.size
    return smallest if on_step >= _SHARE_ON_STEP else int(np.gcd.reduce(gaps))


def from_trades(trades: pl.DataFrame, *, step_us: int) -> pl.DataFrame:
    """Return bars (ts, open, high, low, close, volume) of ``step_us``, cut at its multiples in UTC.

    ``trades`` has ts, price and, where known, quantity (else volume is null); trades that share
    an instant count in the order given. A step without a trade makes no bar.
    """
    if trades.is_empty():
        columns = ("ts", *_PRICES, "volume")
        return pl.DataFrame(schema={c: CANDLES.schema[c] for c in columns})
    ts = _instants(trades["ts"])
    price = _floats(trades["price"])
    bad = ~((price > 0) & (price < np.inf))
    if bad.any():
        row = int(bad.argmax())
        raise MalformedBarsError(
            f"trades: expected a finite price above 0, was {trades['price'][row]} "
            f"at {trades['ts'][row]}"
        )
    quantity = (
        _floats(trades["quantity"])
        if "quantity" in trades.columns
        else series(np.full(ts.size, np.nan), "quantity")
    )
    opens = np.unique(ts // step_us) * step_us
    try:
        made = resample(
            Bars(ts, price, price, price, price, quantity),
            [Bounds(instants(opens, "opens"), instants(opens + step_us, "ends"))],
        )
    except ValueError as e:
        raise MalformedBarsError(f"trades: {e}") from e
    return pl.DataFrame(_columns(made[0].bars)).select(*_OHLCV)


def from_ticks(quotes: pl.DataFrame, *, step_us: int, side: str = "bid") -> pl.DataFrame:
    """Return bars of one side of quotes (ts, bid, ask); volume is null: a quote is no trade."""
    return from_trades(quotes.select("ts", pl.col(side).alias("price")), step_us=step_us)


def _require_divides(step: Step, timeframe: Timeframe, instrument: Instrument) -> None:
    base, length = step_name(step), step_length(step)
    if length > timeframe.microseconds:
        raise InputError(
            f"timeframe: expected {base} (the base of {instrument.id}) or coarser, "
            f"was {timeframe.value}"
        )
    # days and weeks are made of sessions, and a session is cut from its open by any step
    if timeframe.is_intraday and timeframe.microseconds % length:
        raise InputError(
            f"timeframe: expected a multiple of {base} (the base of {instrument.id}), "
            f"was {timeframe.value}"
        )


def _in_session(raw: pl.DataFrame, calendar: SessionCalendar, step: Step) -> tuple[_Base, int]:
    ts = _instants(raw["ts"])
    found = calendar.sessions(int(ts[0]), int(ts[-1]) + 1)
    low = np.searchsorted(ts, found.open_us)  # sessions are few: look them up in the bars
    high = np.searchsorted(ts, found.close_us)
    inside = int((high - low).sum())
    out_of_session = ts.size - inside
    columns = [_floats(raw[c]) for c in (*_PRICES, "volume")]
    source = raw["source"]
    if out_of_session:
        depth = np.zeros(ts.size + 1, dtype=np.int64)
        np.add.at(depth, low, 1)
        np.add.at(depth, high, -1)
        kept = np.flatnonzero(np.cumsum(depth[:-1]) > 0)
        ts, source = ts[kept], source[kept]
        columns = [column[kept] for column in columns]
    if inside:
        _require_on_grid(ts, np.repeat(found.open_us, high - low), calendar, step)
    return _Base(Bars(ts, *columns), source, step, calendar), out_of_session


def _require_on_grid(
    ts: Instants,
    session_open: npt.NDArray[np.int64],
    calendar: SessionCalendar,
    step: Step,
) -> None:
    if isinstance(step, Timeframe) and not step.is_intraday:
        calendar.bar_ends(step, ts)
        return
    length = step_length(step)
    since_open = ts - session_open
    off = since_open // length * length != since_open  # twice as fast as the remainder
    if off.any():
        calendar.bar_ends(step, ts[off][:1])  # raises, naming the bar


def _resampled(base: _Base, timeframes: Sequence[Timeframe]) -> list[Resampled]:
    first, last = int(base.bars.ts[0]), int(base.bars.ts[-1])
    grids = []
    for timeframe in timeframes:
        # a bar that holds the first base bar may have opened up to a week before
        back = 2 * MICROSECONDS_PER_DAY + (
            timeframe.microseconds if timeframe is Timeframe.W else 0
        )
        grid = base.calendar.grid(timeframe, first - back, last + 1)
        grids.append(Bounds(instants(grid.open_us, "open_us"), instants(grid.end_us, "end_us")))
    return resample(base.bars, grids)


def _frame(
    made: Resampled,
    base: _Base,
    instrument: Instrument,
    timeframe: Timeframe,
    watermark_us: int,
) -> pl.DataFrame:
    if timeframe.is_intraday:  # inside one session, and cut from its open as the base is
        scheduled = -((made.bars.ts - made.end_us) // step_length(base.step))
    else:
        scheduled = base.calendar.scheduled(base.step, made.bars.ts, made.end_us)
    n = made.end_us.size
    # no expressions: a plan costs a tenth of a millisecond, and a month of H4 has 180 rows
    return pl.DataFrame(
        [
            pl.Series("instrument", [instrument.id]).new_from_index(0, n),
            pl.Series("timeframe", [timeframe.value]).new_from_index(0, n),
            pl.Series("ts", made.bars.ts).cast(INSTANT),
            *(pl.Series(name, getattr(made.bars, name)) for name in _PRICES),
            pl.Series("volume", made.bars.volume, nan_to_null=True),
            pl.Series("n_missing", scheduled - made.count).cast(pl.Int32),
            pl.Series("complete", made.end_us <= watermark_us),
            base.source[made.first.astype(np.uint32)].alias("source"),
            pl.Series("known_at", made.end_us).cast(INSTANT),
        ]
    )


def _columns(bars: Bars) -> dict[str, Instants | Series]:
    return dict(zip(bars._fields, bars, strict=True))


def _check_schema(frame: pl.DataFrame, name: str) -> None:
    found = frame.schema  # made anew at every call
    for column in ("ts", *_PRICES, "volume"):
        expected = CANDLES.schema[column]
        if column not in found:
            raise SchemaError(f"{name}.{column}: expected {expected}, was missing")
        if found[column] != expected:
            raise SchemaError(f"{name}.{column}: expected {expected}, was {found[column]}")


def _broken_rule(frame: pl.DataFrame, row: int) -> str:
    bar = frame.row(row, named=True)
    return next(_complaints(bar, frame["ts"][row - 1] if row else None, row))


def _complaints(bar: dict[str, Any], before: dt.datetime | None, row: int) -> Iterator[str]:
    ts = bar["ts"]
    if ts is None:
        yield f"ts: expected an instant, was null in row {row}"
    if before is not None and ts == before:
        yield f"ts {ts}: expected one bar, was a duplicate in row {row}"
    if before is not None and ts < before:
        yield f"ts {ts}: expected ascending order, was after {before} in row {row}"
    for price in _PRICES:
        if bar[price] is None or not 0 < bar[price] < np.inf:
            yield f"{price} at {ts}: expected a finite price above 0, was {bar[price]}"
    if bar["high"] < max(bar["open"], bar["close"], bar["low"]):
        yield f"high at {ts}: expected the bar's highest price, was {bar['high']}"
    if bar["low"] > min(bar["open"], bar["close"]):
        yield f"low at {ts}: expected the bar's lowest price, was {bar['low']}"
    yield f"volume at {ts}: expected null or a finite number >= 0, was {bar['volume']}"


def _instants(ts: pl.Series) -> Instants:
    known = ts.cast(pl.Int64)
    return instants((known.fill_null(0) if known.null_count() else known).to_numpy(), "ts")


def _floats(values: pl.Series) -> Series:
    return series(values.to_numpy(), values.name)  # null becomes NaN
