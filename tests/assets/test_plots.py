"""The levels' picture: every level that was a barrier in the month, from when until when."""

import re
from functools import partial

import polars as pl
import pytest

from assets import plots
from market.months import month_start
from market.ports import State
from market.timeframes import Timeframe
from pipeline import candles, level_fold, levels
from tests.fakes.line import BTC, hourly

JUNE_US = month_start("2017-06")
extend = partial(levels.extend, instrument=BTC, timeframe="H4")
draw = partial(plots.levels, instrument="BTC", timeframe="H4", month="2017-06")
LINE = re.compile(r'<line x1="([\d.]+)" x2="([\d.]+)" y1="([\d.]+)"[^>]*stroke="(#\w+)"')


@pytest.fixture(scope="module")
def june() -> tuple[pl.DataFrame, levels.Extended, State]:
    """Return June's candles, what the machine made of them, and the machine before June."""
    built = candles.build(
        hourly(BTC).with_columns(source=pl.lit("frame")),
        instrument=BTC,
        timeframe=Timeframe.H4,
        watermark_us=month_start("2017-07"),
    ).rows
    is_june = pl.col("ts").dt.timestamp("us") >= JUNE_US
    before = extend(levels.initial(), built.filter(~is_june)).state
    rows = built.filter(is_june)
    return rows, extend(before, rows), before


def spans(picture: bytes) -> list[tuple[float, float, float, str]]:
    return [(float(a), float(b), float(y), c) for a, b, y, c in LINE.findall(picture.decode())]


def test_levels_of_months_before_stand_from_the_start_though_nothing_happens(
    june: tuple[pl.DataFrame, levels.Extended, State],
) -> None:
    rows, done, before = june
    standing = level_fold.table(before, instrument="BTC", timeframe="H4")
    low, high = min(rows["low"]), max(rows["high"])
    seen = standing.filter(pl.col("price").is_between(low, high))
    active = seen.filter(pl.col("status") == "active")
    assert 0 < active.height < seen.height  # some are broken: no barrier, not drawn
    lines = spans(draw(rows, done.events.clear(), before))
    assert len(lines) == active.height
    first, last = plots._x(0, rows.height), plots._x(rows.height - 1, rows.height)
    assert {(a, b) for a, b, _, _ in lines} == {(round(first, 1), round(last, 1))}
    colours = active["level_type"].replace_strict({"support": plots.UP, "resistance": plots.DOWN})
    assert sorted(c for *_, c in lines) == sorted(colours)


def test_each_span_has_its_beginning_and_those_that_last_are_the_levels_after_the_month(
    june: tuple[pl.DataFrame, levels.Extended, State],
) -> None:
    rows, done, before = june
    is_seen = pl.col("price").is_between(min(rows["low"]), max(rows["high"]))
    at_start, at_end = (
        level_fold.table(state, instrument="BTC", timeframe="H4").filter(
            is_seen, pl.col("status") == "active"
        )
        for state in (before, done.state)
    )
    begun = done.events.filter(is_seen, pl.col("event").str.contains("^(NEW|FLIP)"))
    lines = spans(draw(rows, done.events, before))
    assert len(lines) == at_start.height + begun.height
    last = round(plots._x(rows.height - 1, rows.height), 1)
    lasting = [y for _, end, y, _ in lines if end == last]
    low, high = min(rows["low"]), max(rows["high"])
    expected = [round(plots._y(price, low, high), 1) for price in at_end["price"]]
    assert sorted(lasting) == pytest.approx(sorted(expected), abs=0.11)


def test_of_a_long_month_the_newest_bars_are_drawn_with_what_stands_among_them(
    june: tuple[pl.DataFrame, levels.Extended, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, done, before = june
    monkeypatch.setattr(plots, "MAX_BARS", 40)
    shown = rows.tail(40)
    begins = shown["ts"][0]
    earlier = extend(before, rows.head(rows.height - 40)).state
    is_seen = pl.col("price").is_between(min(shown["low"]), max(shown["high"]))
    standing = level_fold.table(earlier, instrument="BTC", timeframe="H4").filter(
        is_seen, pl.col("status") == "active"
    )
    begun = done.events.filter(
        is_seen, pl.col("event").str.contains("^(NEW|FLIP)"), pl.col("ts") >= begins
    )
    lines = spans(draw(rows, done.events, before))
    assert standing.height
    assert begun.height
    assert len(lines) == standing.height + begun.height  # and none that was over by then
    first = round(plots._x(0, 40), 1)
    assert sum(a == first for a, *_ in lines) >= standing.height


def test_a_month_without_bars_is_a_title_alone() -> None:
    rows = candles.build(
        hourly(BTC).head(0).with_columns(source=pl.lit("frame")),
        instrument=BTC,
        timeframe=Timeframe.H4,
        watermark_us=JUNE_US,
    ).rows
    picture = draw(rows, extend(levels.initial(), rows).events, levels.initial())
    assert b"BTC H4 2017-06" in picture
    assert not spans(picture)
