"""Labels over random and real bars: the laws, the slow twin, and what a trial found."""

import itertools
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from market.calendars import calendar_for
from market.tables import INSTANT, LABELS
from market.timeframes import Timeframe
from pipeline import candles, labels, levels
from pipeline.labels import LabelConfig
from tests.naive import labels as naive
from tests.pipeline.label_cases import (
    HOUR,
    OUTCOMES,
    RAW_START,
    instrument,
    line,
    random_raw,
    us,
)

# --- laws over random bars, with holes, against the slow twin ------------------------------------


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6), calendar=st.sampled_from(["crypto", "fx"]),
    horizon=st.integers(1, 9), k=st.sampled_from([0.5, 1.0, 2.0]),
    cut=st.integers(30, 190), ended=st.none() | st.integers(60, 190),
    holes=st.sampled_from([0.0, 0.1, 0.4]),
)  # fmt: skip
def test_agrees_with_its_slow_twin(  # noqa: PLR0917 - hypothesis draws them by name
    seed: int, calendar: str, horizon: int, k: float, cut: int, ended: int | None, holes: float
) -> None:
    config = LabelConfig(horizon=horizon, k=k)
    until = RAW_START + cut * HOUR
    ended_us = None if ended is None else RAW_START + ended * HOUR
    raw = random_raw(170, seed, holes=holes, calendar=calendar)
    frame, known, path = line(raw, calendar, until)
    rows = labels.compute(
        frame, known, path, instrument=instrument(calendar), timeframe=Timeframe.H4,
        config=config, watermark_us=until, ended_us=ended_us,
    )  # fmt: skip
    frame = frame.filter("complete")
    plain = [f.with_columns(pl.col(INSTANT).cast(pl.Int64)) for f in (frame, known, path)]
    assert rows.height == frame.height
    found = rows.with_columns(pl.col(INSTANT).cast(pl.Int64)).iter_rows(named=True)
    for row, bar, seen in zip(found, *(p.iter_rows(named=True) for p in plain[:2]), strict=True):
        expected = dict.fromkeys(OUTCOMES) | naive.label(
            bar, seen, plain[2], calendar=calendar_for(instrument(calendar)),
            timeframes=(Timeframe.H4, Timeframe.H1), config=config, watermark_us=until,
            ended_us=ended_us,
        )  # fmt: skip
        for name, value in expected.items():
            is_number = isinstance(value, float)
            same = pytest.approx(value, rel=1e-12, abs=1e-15) if is_number else value
            assert row[name] == same, (name, row)


def labelled(
    raw: pl.DataFrame, *, frame: pl.DataFrame, known: pl.DataFrame, path: pl.DataFrame
) -> pl.DataFrame:
    until = us(raw["ts"][-1]) + HOUR
    return labels.compute(
        frame, known, path, instrument=instrument("crypto"), timeframe=Timeframe.H4,
        watermark_us=until,
    )  # fmt: skip


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), power=st.integers(-8, 8))
def test_mirrored_prices_flip_the_label_and_scaled_prices_keep_it(seed: int, power: int) -> None:
    raw = random_raw(400, seed, holes=0.05)
    frame, known, path = line(raw, "crypto", us(raw["ts"][-1]) + HOUR)
    here = labelled(raw, frame=frame, known=known, path=path)
    c = 2.0**power
    prices = pl.col("open", "high", "low", "close") * c
    scaled = labelled(
        raw,
        frame=frame.with_columns(prices),
        known=known.with_columns(pl.col("atr", "support", "resistance") * c),
        path=path.with_columns(prices),
    )
    same = [c for c in LABELS.schema if c not in ("entry_price", "atr", "upper_barrier",
            "lower_barrier", "nearest_support", "nearest_resistance")]  # fmt: skip
    assert_frame_equal(scaled.select(same), here.select(same), rel_tol=1e-12)

    def mirror(f: pl.DataFrame) -> pl.DataFrame:
        return f.with_columns(
            open=-pl.col("open"), high=-pl.col("low"), low=-pl.col("high"), close=-pl.col("close")
        )

    swapped = known.with_columns(
        support=-pl.col("resistance"), resistance=-pl.col("support"),
        support_id="resistance_id", resistance_id="support_id",
    )  # fmt: skip
    there = labelled(raw, frame=mirror(frame), known=swapped, path=mirror(path))
    for column in ("enhanced_triple_barrier", "label_unadjusted"):
        assert there[column].to_list() == [x and -x for x in here[column]]
    assert there["label_if_long"].to_list() == [x and -x for x in here["label_if_short"]]
    for column in ("t1", "status", "time_to_barrier_bars", "is_ambiguous"):
        assert_frame_equal(there.select(column), here.select(column))


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), junk=st.floats(1.0, 500.0), pick=st.integers(0, 60))
def test_bars_after_t1_and_before_t_c_change_nothing(seed: int, junk: float, pick: int) -> None:
    raw = random_raw(400, seed)
    frame, known, path = line(raw, "crypto", us(raw["ts"][-1]) + HOUR)
    chosen = slice(20 + pick % 50, 21 + pick % 50)
    args = {"frame": frame[chosen], "known": known[chosen]}
    row = labelled(raw, path=path, **args).row(0, named=True)
    t_c, t1 = frame["known_at"][chosen][0], row["t1"]
    outside = (pl.col("ts") < t_c) | (pl.col("ts") >= t1)
    altered = path.with_columns(
        pl.when(outside).then(pl.lit(junk)).otherwise(pl.col(c)).alias(c)
        for c in ("open", "high", "low", "close")
    )
    again = labelled(raw, path=altered, **args).row(0, named=True)
    held = [
        "enhanced_triple_barrier", "barrier_hit", "t1", "status", "time_to_barrier_bars",
        "time_to_barrier_path_bars", "label_if_long", "upper_barrier", "known_at",
    ]  # fmt: skip
    assert {c: again[c] for c in held} == {c: row[c] for c in held}
    before = path.with_columns(
        pl.when(pl.col("ts") < t_c).then(pl.lit(junk)).otherwise(pl.col(c)).alias(c)
        for c in ("open", "high", "low", "close")
    )
    assert labelled(raw, path=before, **args).row(0, named=True) == row


def test_a_wider_band_is_touched_no_sooner() -> None:
    raw = random_raw(600, 11)
    frame, known, path = line(raw, "crypto", us(raw["ts"][-1]) + HOUR)
    bare = known.with_columns(support=None, resistance=None).cast(dict(levels.CONTEXT.schema))  # type: ignore[arg-type]
    times = [
        labels.compute(
            frame, bare, path, instrument=instrument("crypto"), timeframe=Timeframe.H4,
            config=LabelConfig(k=k), watermark_us=us(raw["ts"][-1]) + HOUR,
        )["time_to_barrier_path_bars"].fill_null(0)
        for k in (0.5, 1.0, 2.0, 4.0)
    ]  # fmt: skip
    for narrow, wide in itertools.pairwise(times):
        assert (wide >= narrow).all()
    assert (times[-1] > times[0]).any()


# --- real bars ------------------------------------------------------------------------------------


def test_eurusd_h4_labels_are_mixed_as_a_trial_found(shared_data: Path) -> None:
    raw = pl.read_parquet(shared_data / "ohlcv" / "EURUSD_1h_oanda_2007-2016_bid.parquet")
    raw = raw.with_columns(pl.col("ts").cast(INSTANT), source=pl.lit("oanda"))
    until = us(raw["ts"][-1]) + HOUR
    frame, hourly = (
        candles.build(raw, instrument=instrument(), timeframe=t, watermark_us=until).rows
        for t in (Timeframe.H4, Timeframe.H1)
    )
    known = levels.extend(
        levels.initial(), frame, instrument="EURUSD", timeframe=Timeframe.H4
    ).context

    def shares(path: pl.DataFrame, base: Timeframe) -> dict[str, float]:
        rows = labels.compute(
            frame, known, path, instrument=instrument(base=base), timeframe=Timeframe.H4,
            watermark_us=until,
        ).filter(status="final")  # fmt: skip
        values = rows["enhanced_triple_barrier"]
        return {
            **{str(x): (values == x).fill_null(value=False).mean() for x in (-1, 0, 1)},  # type: ignore[misc]
            "plain": (rows["label_unadjusted"] == 0).mean(),  # type: ignore[dict-item]
            "both": rows["is_ambiguous"].mean(),  # type: ignore[dict-item]
            "upper": rows["is_upper_adjusted"].mean(),  # type: ignore[dict-item]
            "lower": rows["is_lower_adjusted"].mean(),  # type: ignore[dict-item]
        }

    coarse = shares(frame, Timeframe.H4)
    # the trial: 36 / 25 / 37 %, 55 % zeros without levels, both in one H4 bar 2 %, half adjusted
    expected = {"-1": 0.36, "0": 0.25, "1": 0.37, "plain": 0.55, "both": 0.02}
    assert {k: coarse[k] for k in expected} == pytest.approx(expected, abs=0.02)
    assert (coarse["upper"], coarse["lower"]) == pytest.approx((0.5, 0.5), abs=0.06)
    assert shares(hourly, Timeframe.H1)["both"] < coarse["both"] / 3
