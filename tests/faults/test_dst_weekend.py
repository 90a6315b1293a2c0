"""A weekend in which New York changes its clocks, from raw bars to a label that is asked for.

What is expected is counted on New York's own clock by ``zoneinfo``, not by the calendars tested.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from starlette.testclient import TestClient

from assets.line import Line
from market.instruments import Instrument
from market.settings import ServingSettings
from market.timeframes import Timeframe
from serving.app import create_app
from serving.label_types import LABEL_TYPES
from serving.labels import rows as labels_of
from tests.fakes.line import EUR, FrameProvider, Workshop, line_of, stages_of
from tests.proofs.synthetic import bars
from tests.serving.fakes import UNLIMITED, FakeRegistry
from tests.serving.label_world import candle_of, iso

pytestmark = pytest.mark.slow

NEW_YORK = ZoneInfo("America/New_York")
ACME = Instrument("ACME", "equity", "us_equity", "frame", "ACME", Timeframe.M30, 0.01, 1.0)
DAY = dt.timedelta(days=1)
HORIZON = 6
HOLIDAYS = {
    dt.date(2017, 2, 20),
    dt.date(2017, 4, 14),
    dt.date(2017, 11, 23),
    dt.date(2017, 12, 25),
}
HALF_DAYS = {dt.date(2017, 11, 24)}


@dataclass(frozen=True, slots=True)
class Weekend:
    """The Sunday of the change, the months around it, and the offsets before and after in hours."""

    sunday: dt.date
    months: tuple[str, str, str]
    before: int
    after: int


SPRING = Weekend(dt.date(2017, 3, 12), ("2017-02", "2017-03", "2017-04"), 5, 4)
AUTUMN = Weekend(dt.date(2017, 11, 5), ("2017-10", "2017-11", "2017-12"), 4, 5)


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of the label's timeframe as the exchange's own clock has it."""

    open: dt.datetime
    close: dt.datetime


def local(day: dt.date, hour: int, minute: int = 0) -> dt.datetime:
    """Return an instant of New York's clock in UTC."""
    naive = dt.datetime.combine(day, dt.time(hour, minute), NEW_YORK)
    return naive.astimezone(dt.UTC)


def days(months: Sequence[str]) -> Iterator[dt.date]:
    """Yield the weekdays of some months."""
    day = dt.date.fromisoformat(f"{months[0]}-01")
    while f"{day:%Y-%m}" <= months[-1]:
        if day.weekday() < 5:
            yield day
        day += DAY


def fx_bars(months: Sequence[str], hours: int) -> list[Bar]:
    """Return the bars of so many hours: a day opens at 17:00 in New York on the evening before."""
    found, first = [], dt.datetime.fromisoformat(f"{months[0]}-01T00:00:00+00:00")
    for day in days(months):
        opens, closes = local(day - DAY, 17), local(day, 17)
        step = dt.timedelta(hours=hours)
        count = (closes - opens) // step
        found += [Bar(opens + i * step, opens + (i + 1) * step) for i in range(count)]
    return [bar for bar in found if bar.open >= first]  # the first day begins in the month before


def stock_bars(months: Sequence[str], minutes: int) -> list[Bar]:
    """Return the bars of so many minutes from 09:30 on; the day's last may be short."""
    found = []
    for day in days(months):
        if day in HOLIDAYS:
            continue
        opens, closes = local(day, 9, 30), local(day, 13 if day in HALF_DAYS else 16)
        step = dt.timedelta(minutes=minutes)
        count = -(-(closes - opens) // step)
        starts = [opens + i * step for i in range(count)]
        found += [Bar(start, min(start + step, closes)) for start in starts]
    return found


@dataclass(frozen=True, slots=True)
class Market:
    """An instrument, the timeframe that is labelled, and its bars by New York's clock."""

    instrument: Instrument
    timeframe: str
    weekend: Weekend
    base: list[Bar]
    higher: list[Bar]


def market_of(name: str, weekend: Weekend) -> Market:
    if name == "fx":
        base, higher = fx_bars(weekend.months, 1), fx_bars(weekend.months, 4)
        return Market(EUR, "H4", weekend, base, higher)
    base, higher = stock_bars(weekend.months, 30), stock_bars(weekend.months, 60)
    return Market(ACME, "H1", weekend, base, higher)


@dataclass(frozen=True, slots=True)
class Made:
    """A market, its line materialised, and its base bars by their open."""

    market: Market
    line: Line
    frame: pl.DataFrame

    def table(self, name: str) -> pl.DataFrame:
        """Return all rows of the labelled timeframe."""
        instrument, timeframe = self.market.instrument.id, self.market.timeframe
        return self.line.lake.newest(name, timeframe, instrument, rows=1_000_000)

    def around(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows from the Thursday before the weekend to the Wednesday after it."""
        sunday = dt.datetime.combine(self.market.weekend.sunday, dt.time(), dt.UTC)
        return frame.filter(pl.col("ts").is_between(sunday - 3 * DAY, sunday + 4 * DAY))


CASES = [(name, weekend) for name in ("fx", "us_equity") for weekend in (SPRING, AUTUMN)]
NAMES = [f"{name}-{weekend.sunday}" for name, weekend in CASES]


@pytest.fixture(scope="module", params=CASES, ids=NAMES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Bring three months from the source to labels, as the line does."""
    market = market_of(*request.param)
    ts = pl.Series("ts", [bar.open for bar in market.base]).cast(pl.Datetime("us", "UTC"))
    frame = bars(ts.len(), seed=11).insert_column(0, ts)
    line = line_of(tmp_path_factory.mktemp("dst"), FrameProvider(frame), market.instrument)
    timeframes = market.instrument.base_timeframe.value, market.timeframe
    stages = stages_of(*timeframes, groups=["raw_candles", "candles", "levels", "labels"])
    Workshop(line).run(stages, market.weekend.months, instrument=market.instrument.id)
    return Made(market, line, frame)


def test_candles_open_and_close_by_new_yorks_clock_and_lack_nothing(made: Made) -> None:
    candles = made.table("candles")
    expected = made.market.higher
    assert candles["ts"].to_list() == [bar.open for bar in expected]
    assert candles["known_at"].to_list() == [bar.close for bar in expected]
    assert candles["complete"].all()
    assert candles["n_missing"].sum() == 0
    hours = {t.hour for t in made.around(candles)["ts"]}
    before, after = made.market.weekend.before, made.market.weekend.after
    if made.market.timeframe == "H4":  # 17, 21, 1, 5, 9 and 13 o'clock, in either time
        assert hours == {(h + shift) % 24 for h in range(1, 25, 4) for shift in (before, after)}
    else:
        assert hours == {h + shift for h in range(9, 16) for shift in (before, after)}


def test_prices_are_those_of_the_bars_inside(made: Made) -> None:
    rows = made.frame.rows(named=True)
    for candle, bar in zip(
        made.table("candles").iter_rows(named=True), made.market.higher, strict=True
    ):
        inside = [row for row in rows if bar.open <= row["ts"] < bar.close]
        assert candle["high"] == max(row["high"] for row in inside)
        assert candle["low"] == min(row["low"] for row in inside)
        assert (candle["open"], candle["close"]) == (inside[0]["open"], inside[-1]["close"])


def test_a_horizon_is_bars_of_the_market_not_hours_of_a_clock(made: Made) -> None:
    position = {bar.open: i for i, bar in enumerate(made.market.higher)}
    seen = 0
    for row in made.around(made.table("labels")).iter_rows(named=True):
        entry = position[row["ts"]]
        closes, ends = made.market.higher[entry].close, made.market.higher[entry + HORIZON].close
        path = made.frame.filter(pl.col("ts").is_between(closes, ends, closed="left"))
        assert (row["status"], row["known_at"], row["matured_at"]) == ("final", ends, ends)
        assert (row["path_bars"], row["path_bars_missing"]) == (path.height, 0)
        price = row["entry_price"]
        assert row["forward_return"] == pytest.approx(path["close"][-1] / price - 1.0, abs=1e-12)
        assert row["mfe"] == pytest.approx(max(max(path["high"]) / price - 1.0, 0.0), abs=1e-12)
        assert row["mae"] == pytest.approx(min(min(path["low"]) / price - 1.0, 0.0), abs=1e-12)
        assert (row["enhanced_triple_barrier"], row["t1"]) == touched(made, row, path, ends)
        seen += 1
    assert seen >= 5 * HORIZON


def touched(
    made: Made, row: dict[str, Any], path: pl.DataFrame, ends: dt.datetime
) -> tuple[int | None, dt.datetime]:
    """Return which barrier a path touches first, and the end of the bar that does."""
    for bar in path.iter_rows(named=True):
        is_up, is_down = bar["high"] >= row["upper_barrier"], bar["low"] <= row["lower_barrier"]
        if is_up or is_down:
            side = None if is_up and is_down else 1 if is_up else -1
            return side, next(b.close for b in made.market.base if b.open == bar["ts"])
    return 0, ends


def test_a_label_that_is_asked_for_is_the_one_that_is_materialised(made: Made) -> None:
    stored = {row["ts"]: row for row in labels_of(made.table("labels"), LABEL_TYPES)}
    settings = ServingSettings(
        compute_warm=False, anonymous="all", log_requests=False, cache_bytes=0, **UNLIMITED
    )
    lake, book = made.line.lake, made.line.book
    with TestClient(create_app(settings, lake=lake, registry=FakeRegistry(), book=book)) as client:
        for candle in made.around(made.table("candles")).iter_rows(named=True):
            body = {
                "instrument_id": made.market.instrument.id,
                "granularity": made.market.timeframe,
                "candle": candle_of(candle),
            }
            answer = client.post("/v1/labels/compute", json=body)
            assert answer.status_code == 200, answer.text
            found, expected = answer.json(), stored[candle["ts"]]
            assert (found["status"], found["known_at"]) == ("final", iso(expected["known_at"]))
            barrier = expected["labels"].pop("enhanced_triple_barrier")
            told = found["labels"].pop("enhanced_triple_barrier")
            assert told == {
                k: iso(v) if isinstance(v, dt.datetime) else v for k, v in barrier.items()
            }
            assert found["labels"] == expected["labels"]
