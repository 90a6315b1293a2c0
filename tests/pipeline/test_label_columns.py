"""Labels of levels, history and whole paths in the table: against plain Python, and their laws."""

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_series_equal

from kernels import forward_labels_history
from market.calendars import calendar_for
from market.timeframes import Timeframe
from pipeline import candles, label_series, labels, levels
from pipeline.labels import LabelConfig
from tests.naive import labels as naive
from tests.naive.levels import Book, Candle
from tests.pipeline.label_cases import HOUR, instrument, random_raw, us

LEVELS = levels.LevelConfig(atr_period=3)
FEW = levels.LevelConfig(atr_period=3, max_active=2)
"""So few levels at a time that the bar which flips one may evict it too."""


def built(raw: pl.DataFrame, calendar: str = "crypto") -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return H4 candles and their hourly path."""
    until = us(raw["ts"][-1]) + HOUR
    frame, path = (
        candles.build(raw, instrument=instrument(calendar), timeframe=t, watermark_us=until).rows
        for t in (Timeframe.H4, Timeframe.H1)
    )
    return frame.filter("complete"), path


def labelled(
    frame: pl.DataFrame, path: pl.DataFrame, config: LabelConfig, calendar: str = "crypto",
    *, first: int = 0, rules: levels.LevelConfig = LEVELS,
) -> pl.DataFrame:  # fmt: skip
    """Label candles at once, or in two parts where the second starts from states at ``first``."""
    of = instrument(calendar)
    until = us(path["ts"][-1]) + HOUR
    rows, state, history = [], levels.initial(rules), label_series.initial()
    for part in (frame[:first], frame[first:]):
        if part.is_empty():
            continue
        ahead = frame.filter(pl.col("ts") > part["ts"][-1])[: config.horizon + 1]
        played = levels.extend(
            state, pl.concat([part, ahead]), config=rules, instrument=of, timeframe=Timeframe.H4
        )
        series = label_series.follow(
            history, played, state, calendar=calendar_for(of), timeframe=Timeframe.H4,
            horizon=config.horizon, config=rules,
        )  # fmt: skip
        rows.append(
            labels.compute(
                part, played.context[: part.height], path, instrument=of, timeframe=Timeframe.H4,
                config=config, watermark_us=until, series=series,
            )
        )  # fmt: skip
        history = label_series.after(series, us(part["ts"][-1]) + 1)
        state = levels.extend(
            state, part, config=rules, instrument=of, timeframe=Timeframe.H4
        ).state
    return pl.concat(rows)


def twin(
    frame: pl.DataFrame, path: pl.DataFrame, horizon: int, rules: levels.LevelConfig = LEVELS
) -> list[dict[str, Any]]:
    """Return what each row with a whole horizon says, from candles and path alone."""
    bars, hours = frame.rows(named=True), path.rows(named=True)
    book = Book(rules.rules)
    for bar in bars:
        book.feed(Candle(bar["open"], bar["high"], bar["low"], bar["close"]))
    n = len(bars)
    ended = range(n - horizon)
    counts = [
        math.nan if i < rules.atr_period or i not in ended
        else float(sum(i < e.bar <= i + horizon for e in book.events))
        for i in range(n)
    ]  # fmt: skip
    returns = [bars[i + horizon]["close"] / bars[i]["close"] - 1 if i in ended else math.nan
               for i in range(n)]  # fmt: skip
    ends = [i + horizon for i in range(n)]
    rows = []
    for i in ended:
        entry, inside = bars[i], bars[i + 1 : i + 1 + horizon]
        price, end = entry["close"], inside[-1]["known_at"]
        walk = [h for h in hours if entry["known_at"] <= h["ts"] < end]
        side, t, _ = naive.trend([price, *(b["close"] for b in inside)])
        widest = max(b["high"] - b["low"] for b in inside) / (entry["high"] - entry["low"]) - 1
        touch = naive.first(
            [{**h, "ts": 0} for h in walk], price * (1.0 + 0.01), price * (1.0 - 0.01)
        )
        closes = [b["close"] for b in bars[: i + 1]]
        primary = 0.0 if i < 49 else float(np.sign(np.mean(closes[-20:]) - np.mean(closes[-50:])))
        row: dict[str, Any] = {
            **naive.path_statistics(price, [(h["high"], h["low"], h["close"]) for h in walk]),
            "range_expansion": widest, "trend_scan_sign": side, "trend_scan_t": t,
            "triple_barrier": 0 if touch is None else None if touch[1] == 2 else touch[1],
            "primary": primary,
            "return_quantile": naive.decile(
                returns[i], naive.matured(returns, range(n), ends, i, 40), 10
            ),
            "event_burst": naive.burst(
                counts[i], naive.matured(counts, range(n), ends, i, 40), 10
            ),
        }  # fmt: skip
        if i >= rules.atr_period:
            found = naive.level_labels(book, i, horizon)
            row |= {k: found[k] for k in found if not k.startswith(("lowest", "highest"))}
            edges = found["lowest_resistance"], found["highest_support"]
            beyond = [
                d for h in walk for d in (h["close"] - edges[0], edges[1] - h["close"])
                if not math.isnan(d)
            ]  # fmt: skip
            row["max_penetration"] = max(0.0, *beyond) if beyond else math.nan
        rows.append(row)
    return rows


@pytest.fixture
def short_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty matured values and ten at least, so that few bars fill and overfill the history."""
    for name in ("return_quantile", "event_burst"):
        kernel = getattr(forward_labels_history, name)
        monkeypatch.setattr(
            label_series, name, lambda *a, kernel=kernel: kernel(*a, lookback=40, fewest=10)
        )
    monkeypatch.setattr(label_series, "LOOKBACK", 40)


@pytest.mark.slow
@pytest.mark.usefixtures("short_history")
@pytest.mark.parametrize(
    ("seed", "horizon", "rules"), [(1, 3, LEVELS), (2, 6, LEVELS), (3, 9, LEVELS), (4, 6, FEW)]
)
def test_every_column_is_that_of_plain_python(
    seed: int, horizon: int, rules: levels.LevelConfig
) -> None:
    frame, path = built(random_raw(520, seed))
    rows = labelled(frame, path, LabelConfig(horizon=horizon), rules=rules).rows(named=True)
    expected = twin(frame, path, horizon, rules)
    told = set[str]()
    for row, said in zip(rows, expected, strict=False):
        primary = said.pop("primary")
        outcome = row["enhanced_triple_barrier"] or row["return_sign"]
        if primary and not row["is_ambiguous"] and row["atr"]:
            assert row["meta_label"] == int(primary * outcome > 0), row["ts"]
            told.add("meta_label")
        else:
            assert row["meta_label"] is None
        for name, value in said.items():
            if name == "max_penetration" and not math.isnan(value):
                value /= row["atr"]  # noqa: PLW2901 - the twin says prices
            is_null = value is None or math.isnan(value)
            same = None if is_null else pytest.approx(value, rel=1e-6, abs=1e-9)
            assert row[name] == same, (name, row["ts"])
            told |= set() if is_null else {name}
    assert told >= {"return_quantile", "event_burst", "max_penetration", "touch_run", "meta_label"}
    for row in rows[len(expected) :]:
        assert row["status"] == "pending"
        assert all(row[name] is None for name in said)


@pytest.mark.slow
@pytest.mark.usefixtures("short_history")
@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10**6), first=st.integers(1, 140),
       calendar=st.sampled_from(["crypto", "fx"]), holes=st.sampled_from([0.0, 0.1]),
       rules=st.sampled_from([LEVELS, FEW]))  # fmt: skip
def test_two_parts_are_the_whole(
    seed: int, first: int, calendar: str, holes: float, rules: levels.LevelConfig
) -> None:
    frame, path = built(random_raw(620, seed, holes=holes, calendar=calendar), calendar)
    whole = labelled(frame, path, LabelConfig(), calendar, rules=rules)
    cut = min(first, frame.height - 1)
    assert labelled(frame, path, LabelConfig(), calendar, first=cut, rules=rules).equals(whole)


def test_a_flip_that_its_own_bar_evicts_is_a_flip_in_one_part_and_in_two() -> None:
    frame, path = built(random_raw(500, 43))
    log = levels.extend(
        levels.initial(FEW), frame, config=FEW, instrument="T", timeframe=Timeframe.H4
    ).events
    flips, ends = (log.filter(pl.col("event").str.starts_with(x)) for x in ("FLIP", "DEACTIVATE"))
    (ts,) = flips.join(ends, on=["level_id", "ts"])["ts"]
    bar = frame["ts"].search_sorted(ts)
    assert bar == 26
    whole = labelled(frame, path, LabelConfig(), rules=FEW)
    assert whole["flip_occurred"][bar - 1] is True  # of a level that stood, broken, at its close
    for cut in (bar - 3, bar, bar + 1):
        assert labelled(frame, path, LabelConfig(), rules=FEW, first=cut).equals(whole)


@pytest.mark.slow
def test_scaled_prices_keep_every_label() -> None:
    raw = random_raw(800, 5)
    prices = pl.col("open", "high", "low", "close") * 4.0
    here, there = (labelled(*built(r), LabelConfig()) for r in (raw, raw.with_columns(prices)))
    at = here.columns.index("forward_return")
    for name in here.columns[at:]:
        assert_series_equal(here[name], there[name], rel_tol=1e-9)
        assert here[name].null_count() < here.height, name


@pytest.mark.slow
def test_a_state_knows_nothing_of_the_bars_after_it() -> None:
    raw = random_raw(500, 6)
    other = raw.with_columns(
        pl.when(pl.int_range(pl.len()) >= 240).then(pl.col(c) * 1.5).otherwise(pl.col(c)).alias(c)
        for c in ("open", "high", "low", "close")
    )
    states = []
    for bars in (raw, other):
        frame, _ = built(bars)
        played = levels.extend(
            levels.initial(LEVELS), frame, config=LEVELS, instrument="T", timeframe=Timeframe.H4
        )
        series = label_series.follow(
            label_series.initial(), played, levels.initial(LEVELS), config=LEVELS,
            calendar=calendar_for(instrument("crypto")), timeframe=Timeframe.H4, horizon=6,
        )  # fmt: skip
        states.append(label_series.after(series, us(frame["ts"][60])))
    assert states[0].keys() == states[1].keys()
    for name, values in states[0].items():
        np.testing.assert_array_equal(values, states[1][name], err_msg=name)


@pytest.mark.slow
def test_a_part_knows_when_a_level_that_stands_was_made() -> None:
    """The bar that made it counts as a contact, in its band or not: cut right behind it."""
    frame, path = built(random_raw(1200, 4))
    whole = labelled(frame, path, LabelConfig())
    made = levels.extend(
        levels.initial(LEVELS), frame, config=LEVELS, instrument="T", timeframe=Timeframe.H4
    ).events.filter(pl.col("event").str.contains("NEW|FLIP"))
    cuts = frame["ts"].search_sorted(made["ts"]).unique().to_list()
    assert len(cuts) > 50
    for cut in cuts[:-1]:
        for behind in (1, 2):
            parts = labelled(frame, path, LabelConfig(), first=cut + behind)
            assert parts.equals(whole), (cut, behind)
