"""Levels from frames: ids, context, state from month to month, and the fold."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from market.errors import InputError, MalformedBarsError
from market.instruments import Instrument
from market.tables import INSTANT, LEVEL_EVENT_NAMES, LEVEL_EVENTS
from market.timeframes import MICROSECONDS_PER_HOUR, Timeframe
from pipeline import candles, level_fold, levels

Frame = Callable[[levels.Extended], pl.DataFrame]
START_US = 1_500_000_000_000_000 // MICROSECONDS_PER_HOUR * MICROSECONDS_PER_HOUR
QUICK = levels.LevelConfig(atr_period=3, flip_bars=5, expiry_bars=12, max_active=5)


def instrument(calendar: str = "crypto", base: Timeframe = Timeframe.H1) -> Instrument:
    return Instrument(
        id="TEST", asset_class=calendar, calendar=calendar, provider="csv", symbol="TEST",
        base_timeframe=base, tick_size=0.01, lot_size=1.0,
    )  # fmt: skip


def raw_bars(n: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    opens = 100.0 + np.cumsum(rng.normal(0, 0.4, n))
    closes = opens + rng.normal(0, 0.4, n)
    wicks = np.abs(rng.normal(0, 0.2, (2, n)))
    return pl.DataFrame(
        {
            "ts": pl.Series(START_US + MICROSECONDS_PER_HOUR * np.arange(n)).cast(INSTANT),
            "open": opens.round(2),
            "high": (np.maximum(opens, closes) + wicks[0]).round(2),
            "low": (np.minimum(opens, closes) - wicks[1]).round(2),
            "close": closes.round(2),
            "volume": pl.Series([None] * n, dtype=pl.Float64()),
            "source": ["test"] * n,
        }
    )


def hourly(n: int, seed: int, *, watermark_us: int | None = None) -> pl.DataFrame:
    raw = raw_bars(n, seed)
    until = START_US + n * MICROSECONDS_PER_HOUR if watermark_us is None else watermark_us
    return candles.build(
        raw, instrument=instrument(), timeframe=Timeframe.H1, watermark_us=until
    ).rows


def extend(
    frame: pl.DataFrame, state: dict[str, np.ndarray] | None = None,
    config: levels.LevelConfig = QUICK,
) -> levels.Extended:  # fmt: skip
    return levels.extend(
        levels.initial(config) if state is None else state, frame, config=config,
        instrument=instrument(), timeframe=Timeframe.H1,
    )  # fmt: skip


def test_rows_keep_the_tables_and_say_when_they_were_known() -> None:
    frame = hourly(400, 1)
    done = extend(frame)
    LEVEL_EVENTS.conform(done.events)
    levels.CONTEXT.conform(done.context)
    assert done.context.height == 400
    assert set(done.events["event"]) == set(LEVEL_EVENT_NAMES)
    ends = dict(zip(frame["ts"], frame["known_at"], strict=True))
    assert all(ends[ts] == known for ts, known in done.events.select("ts", "known_at").iter_rows())
    assert not done.events["event_id"].is_duplicated().any()
    for column in LEVEL_EVENTS.required:
        assert done.events[column].null_count() == 0, column
    assert not done.events.select(pl.col(pl.Float64).is_nan().any()).row(0).count(True)


def test_ids_derive_from_instrument_timeframe_birth_and_index() -> None:
    events = extend(hourly(100, 2)).events
    born = events.filter(pl.col("event").str.starts_with("NEW"))
    stamp = born["ts"].dt.strftime("%Y%m%dT%H%M%SZ")
    assert born["level_id"].to_list() == [f"TEST_H1_{s}_0" for s in stamp]
    assert (events["event_id"] == events["level_id"] + "_" + events["ts"].dt.strftime(
        "%Y%m%dT%H%M%SZ") + "_" + events["event"]).all()  # fmt: skip


def test_within_a_bar_events_are_in_the_order_of_the_steps() -> None:
    steps = ["BREAK", "FLIP", "TOUCH", "DEACTIVATE", "NEW"]
    config = levels.LevelConfig(atr_period=3)  # 64 levels are never reached: no eviction
    frame = hourly(3000, 3)
    done = extend(frame, config=config)
    # a touch by a candle that does not enter the band is one of the step that makes levels
    band = 0.1 * pl.col("atr")
    is_contact = (pl.col("low") <= pl.col("price") + band) & (
        pl.col("high") >= pl.col("price") - band
    )
    order = (
        done.events.join(frame.select("ts", "high", "low"), on="ts", maintain_order="left")
        .join(done.context.select("ts", "atr"), on="ts", maintain_order="left")
        .filter(is_contact | ~pl.col("event").str.starts_with("TOUCH"))
        .select(
            "ts",
            pl.col("event")
            .str.split("_")
            .list.first()
            .replace_strict(steps, range(5), return_dtype=pl.Int64)
            .alias("step"),
            "level_id",
        )
    )
    assert_frame_equal(order, order.sort("ts", "step", "level_id"))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), cuts=st.lists(st.integers(0, 200), max_size=4))
def test_months_or_all_at_once_are_the_same(seed: int, cuts: list[int]) -> None:
    frame = hourly(200, seed)
    whole, state, parts = extend(frame), levels.initial(QUICK), []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 200], strict=True):
        parts.append(extend(frame[start:stop], state))
        state = parts[-1].state
    assert_frame_equal(pl.concat([p.events for p in parts]), whole.events, check_exact=True)
    assert_frame_equal(pl.concat([p.context for p in parts]), whole.context, check_exact=True)
    for name, value in whole.state.items():
        np.testing.assert_array_equal(state[name], value)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), until=st.integers(0, 250), data=st.data())
def test_the_fold_over_events_is_the_machines_own_table(
    seed: int, until: int, data: st.DataObject
) -> None:
    frame = hourly(250, seed)
    as_of = START_US + until * MICROSECONDS_PER_HOUR
    as_of += data.draw(st.integers(0, MICROSECONDS_PER_HOUR - 1))
    events = extend(frame).events.sample(fraction=1.0, shuffle=True, seed=seed)
    folded = level_fold.fold(events, as_of)
    state = extend(frame[:until]).state
    expected = level_fold.table(state, instrument=instrument(), timeframe=Timeframe.H1)
    assert_frame_equal(folded.select(expected.columns), expected, check_exact=True)


def test_the_fold_agrees_with_the_context() -> None:
    frame = hourly(400, 6)
    done = extend(frame)
    row = frame.row(350, named=True)
    as_of = int(frame["known_at"].to_physical()[350])
    active = level_fold.fold(done.events, as_of).filter(pl.col("status") == "active")
    above = active.filter(
        (pl.col("level_type") == "resistance") & (pl.col("price") > row["close"])
    ).sort("price")
    assert done.context["resistance"][350] == above["price"][0]
    assert done.context["resistance_id"][350] == above["level_id"][0]
    assert done.context["resistance_touches"][350] == above["touches"][0]


def test_incomplete_candles_feed_nothing() -> None:
    until = START_US + 100 * MICROSECONDS_PER_HOUR
    done = extend(hourly(130, 4, watermark_us=until))
    assert_frame_equal(done.context, extend(hourly(130, 4)[:100]).context)
    assert done.context.height == 100


def test_a_frame_that_nobody_asks_for_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[str]()
    for name in ("_events", "_context"):
        real = getattr(levels, name)

        def noted(done: levels.Extended, *, name: str = name, real: Frame = real) -> pl.DataFrame:
            made.append(name)
            return real(done)

        monkeypatch.setattr(levels, name, noted)
    done = extend(hourly(100, 5))
    assert made == []
    assert done.context is done.context
    assert made == ["_context"]
    assert done.events is done.events
    assert made == ["_context", "_events"]


def test_a_name_with_a_percent_sign_is_no_pattern_of_a_date() -> None:
    done = levels.extend(
        levels.initial(QUICK), hourly(100, 5), config=QUICK, instrument="A%Y%%", timeframe="H1"
    )
    plain = extend(hourly(100, 5))
    for frame, column in (
        ("events", "level_id"),
        ("events", "event_id"),
        ("context", "support_id"),
    ):
        expected = getattr(plain, frame)[column].str.replace_all("TEST", "A%Y%%", literal=True)
        assert getattr(done, frame)[column].equals(expected)


def test_no_candles_leave_the_state_as_it_was() -> None:
    state = extend(hourly(100, 5)).state
    done = extend(hourly(100, 5)[:0], state)
    assert done.events.is_empty()
    assert done.context.is_empty()
    for name in state:
        np.testing.assert_array_equal(done.state[name], state[name])


def test_the_preset_of_the_source_measures_in_shares_of_price() -> None:
    frame = hourly(600, 7)
    done = extend(frame, config=levels.SOURCE)
    close = frame["close"]
    broken = done.events.filter(pl.col("event") == "BREAK_RESISTANCE").join(
        frame.select("ts", "close"), on="ts"
    )
    assert broken.height > 5
    assert (broken["close"] > broken["price"] * 1.002).all()
    touched = done.events.filter(pl.col("event") == "TOUCH_UP").join(
        frame.select("ts", "high", "low"), on="ts"
    )
    assert (touched["high"] >= touched["price"] * 0.999 * (1 - 1e-12)).all()
    assert (touched["low"] <= touched["price"] * 1.001 * (1 + 1e-12)).all()
    assert close.len() == 600


def test_candles_fed_twice_or_out_of_order_are_refused() -> None:
    frame = hourly(50, 8)
    state = extend(frame).state
    with pytest.raises(InputError, match="candles: expected to begin after 2017-"):
        extend(frame[40:], state)
    with pytest.raises(MalformedBarsError, match="expected ascending order"):
        extend(frame.reverse())


def test_a_configuration_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match="atr_period: expected >= 1"):
        levels.initial(levels.LevelConfig(atr_period=0))
    with pytest.raises(InputError, match="unit: expected atr or price"):
        levels.initial(levels.LevelConfig(unit="percent"))  # type: ignore[arg-type]


def test_eurusd_h4_has_as_many_levels_as_a_trial_found(shared_data: Path) -> None:
    raw = pl.read_parquet(shared_data / "ohlcv" / "EURUSD_1h_oanda_2007-2016_bid.parquet")
    raw = raw.with_columns(pl.col("ts").cast(INSTANT), source=pl.lit("oanda"))
    until = int(raw["ts"].to_physical()[-1]) + MICROSECONDS_PER_HOUR
    frame = candles.build(
        raw, instrument=instrument("fx"), timeframe=Timeframe.H4, watermark_us=until
    ).rows
    done = levels.extend(levels.initial(), frame, instrument="EURUSD", timeframe=Timeframe.H4)
    event, n = done.events["event"], done.context.height
    assert set(event) == set(LEVEL_EVENT_NAMES)
    # the trial: 0.26 new levels a bar, 32 standing
    assert 0.24 < event.str.starts_with("NEW").sum() / n < 0.32
    change = event.str.starts_with("NEW").cast(pl.Int64) - event.str.starts_with("DEACT").cast(
        pl.Int64
    )
    standing = done.events.select("ts", change=change).group_by("ts").agg(pl.col("change").sum())
    by_bar = frame.select("ts").join(standing, on="ts", how="left").sort("ts")["change"]
    assert 28 < by_bar.fill_null(0).cum_sum().mean() < 40  # type: ignore[operator]
